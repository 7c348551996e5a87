// SPDX-License-Identifier: Apache-2.0
#include "worker/preparation.h"

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "launch/artifact.h"
#include "launch/gate.h"
#include "launch/stages.h"
#include "storage/checkpoint/verify.h"
#include "worker/exchange.h"
#include "worker/start.h"
#include "worker/task.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

// The job file, or the part of it that is one stage's.
ConfigFile job_file(const TrainOptions& options) {
  return launch::stage_file(ConfigFile::load(options.job_file, options.overrides), options.stage);
}

fs::path run_path_of(const TrainOptions& options, const launch::Job& job) {
  if (!options.run_directory.empty()) return options.run_directory;
  const fs::path folder = fs::path("runs") / job.job.name;
  return options.stage.empty() ? folder : folder / options.stage;
}

// The job of a run that goes on from this checkpoint.
launch::Job continued(const ConfigFile& file, const fs::path& checkpoint,
                      const TrainingState& state) {
  const launch::Job saved =
      launch::parse_job(ConfigFile::parse(state.job_toml, (checkpoint / "manifest.json").string()));
  return launch::continue_job(file, saved);
}

// What the coordinator judges of a stage that it starts, where nobody else does. The coordinator
// gives its workers the stage's own job file, which has no gates.
void check_gates(const TrainOptions& options, const fs::path& run_path) {
  if (options.stage.empty()) return;
  const launch::StagedJob job =
      launch::parse_stages(ConfigFile::load(options.job_file, options.overrides));
  for (const launch::Stage& stage : job.stages) {
    if (stage.name != options.stage) continue;
    for (const launch::Gate& gate : stage.gates) {
      const fs::path folder = run_path.parent_path() / gate.stage;
      const std::string file = (folder / launch::kArtifactName).string();
      const auto artifact = launch::read_artifact(folder);
      if (!artifact) {
        fail_usage("gate {} cannot be judged: {} is missing; run stage {} first",
                   launch::describe(gate), file, gate.stage);
      }
      const std::string fault = launch::gate_fault(gate, artifact->metrics);
      if (fault.empty()) continue;
      fail_usage("{} ({}); train {} longer or change the gate, then run it again", fault, file,
                 gate.stage);
    }
  }
}

void check_world(const TrainOptions& options, const launch::Job& job, int world) {
  const parallel::Layout& layout = job.parallel.layout;
  if (layout.world_size() == world) return;
  fail_usage(
      "{}: parallel: tensor {} x pipeline {} x data {} is {} ranks, but {} were started; start "
      "with mpirun -n {}, or change [parallel]",
      options.job_file, layout.tensor, layout.pipeline, layout.data, layout.world_size(), world,
      layout.world_size());
}

// Rank 0's part, in two steps so that the others know in between whether checkpoints are to be
// read, which can take long.
class Leader {
 public:
  Leader(const TrainOptions& options, Preparation& out) : options_(options), out_(out) {}

  void take_directory(int world) {
    file_.emplace(job_file(options_));
    out_.job = launch::parse_job(*file_);
    check_world(options_, out_.job, world);
    out_.run_path = run_path_of(options_, out_.job);
    check_gates(options_, out_.run_path);
    out_.directory.emplace(out_.run_path);
    // From here on no older attempt commits, so that what is found now stays the newest.
    out_.attempt = out_.directory->claim_attempt(options_.attempt);
  }

  bool has_checkpoints() const {
    return out_.directory && !storage::step_folders(out_.directory->checkpoints()).empty();
  }

  void find_checkpoint() {
    ThreadPool pool(std::max(1, out_.job.cluster.threads_per_rank));
    out_.found = worker::find_checkpoint(out_.directory->checkpoints(), pool, skipped_);
    if (!out_.found) return;
    out_.job = continued(*file_, out_.found->path, out_.found->state);
    check_origins(out_.job, out_.run_path, out_.found->state.origins);
    out_.restored_from = out_.found->path;
    out_.complete = out_.found->state.step >= out_.job.train.steps;
  }

  void begin_attempt() const {
    if (out_.complete) return;
    out_.directory->begin_attempt(out_.attempt);
    out_.directory->save_job(out_.job.effective_toml);
    for (const std::string& reason : skipped_) {
      log_warning("{}", reason);
      out_.directory->record_event(out_.attempt, 0, "fallback", reason);
    }
    if (!out_.found) return;
    for (const std::string& warning : out_.found->warnings) log_warning("{}", warning);
  }

 private:
  const TrainOptions& options_;
  Preparation& out_;
  std::optional<ConfigFile> file_;
  std::vector<std::string> skipped_;
};

// Tells all ranks what rank 0 found.
void share(parallel::Communicator& world, const TrainOptions& options, Preparation& out) {
  const bool leads = world.rank() == 0;
  const std::string toml = broadcast_string(world, leads ? out.job.effective_toml : "", 0);
  if (!leads) out.job = launch::parse_job(ConfigFile::parse(toml, options.job_file));
  out.run_path = broadcast_string(world, out.run_path.string(), 0);
  out.restored_from = broadcast_string(world, out.restored_from.string(), 0);
  std::int64_t numbers[2] = {out.attempt, out.complete ? 1 : 0};
  world.broadcast(std::as_writable_bytes(std::span(numbers)), 0);
  out.attempt = static_cast<int>(numbers[0]);
  out.complete = numbers[1] != 0;
}

}  // namespace

int prepare(parallel::Communicator& world, const TrainOptions& options, Reporter& reporter,
            Preparation& out) {
  const bool leads = world.rank() == 0;
  Leader leader(options, out);
  const int taken = agree(world, [&] {
    if (leads) leader.take_directory(world.size());
  });
  if (taken != kExitDone) return taken;
  std::int64_t restores = leads && leader.has_checkpoints() ? 1 : 0;
  world.broadcast(std::as_writable_bytes(std::span(&restores, 1)), 0);
  if (restores != 0) reporter.enter(wire::Phase::kRestore);
  const int found = agree(world, [&] {
    if (!leads) return;
    if (restores != 0) leader.find_checkpoint();
    leader.begin_attempt();
  });
  if (found != kExitDone) return found;
  reporter.enter(wire::Phase::kSetup);
  share(world, options, out);
  return kExitDone;
}

void check_same_data(const TrainOptions& options, const fs::path& run_path,
                     const std::string& trained_on, const std::string& now) {
  if (trained_on == now) return;
  fail_usage(
      "{}: the data is not what {} was trained on (fingerprint {}, now {}); bring the old data "
      "back, or start a new run with another --run-dir",
      options.job_file, run_path.string(), trained_on, now);
}

int check_job(const TrainOptions& options) {
  try {
    const ConfigFile file = job_file(options);
    launch::Job job = launch::parse_job(file);
    const fs::path run_path = run_path_of(options, job);
    const auto saved = storage::list_checkpoints(run_path / "checkpoints");
    std::optional<TrainingState> state;
    if (!saved.empty()) {
      state = read_training_state(saved.front().path);
      job = continued(file, saved.front().path, *state);
      check_origins(job, run_path, state->origins);
    } else {
      check_starts(job);
    }
    const std::unique_ptr<Task> task = make_task(job, true);
    if (state) {
      check_same_data(options, run_path, state->data_fingerprint, task->data_fingerprint());
    }
  } catch (const Error& error) {
    log_unnamed(error.what());
    return kExitUsage;
  }
  fmt::print("{}: valid\n", one_line(options.job_file));
  return kExitDone;
}

}  // namespace talaria::worker
