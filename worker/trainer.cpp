// SPDX-License-Identifier: Apache-2.0
#include "worker/trainer.h"

#include <cmath>
#include <csignal>
#include <fstream>
#include <memory>
#include <numbers>
#include <optional>
#include <thread>

#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/stages.h"
#include "worker/checkpointing.h"
#include "worker/engine.h"
#include "worker/exchange.h"
#include "worker/peak.h"
#include "worker/run_directory.h"
#include "worker/samples.h"
#include "worker/signals.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

constexpr int kNonfiniteLimit = 3;

// A rank's resident memory in bytes, or 0 where /proc does not tell.
std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  statm >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

class Trainer {
 public:
  Trainer(parallel::Process& process, const TrainOptions& options)
      : process_(process), options_(options), leads_(process.rank() == 0) {
    groups_.world = process.make_world();
  }

  int run();

 private:
  // Rank 0: job file, run directory, newest checkpoint. Throws UsageError.
  void prepare_as_leader();
  // Tells all ranks what rank 0 found.
  void share_preparation();
  void build();
  Groups make_groups();
  void restore();
  int loop();
  void report(const StepReport& step, double seconds, std::optional<double> validation);
  std::optional<double> evaluate();
  void save();
  int stop_early();
  int stop_nonfinite(const StepReport& step);
  void event(const std::string& kind, const std::string& text) {
    if (leads_) directory_->record_event(attempt_, process_.rank(), kind, text);
  }

  parallel::Process& process_;
  const TrainOptions& options_;
  bool leads_;
  Groups groups_;
  launch::Job job_;
  std::optional<RunDirectory> directory_;  // rank 0 only
  fs::path run_path_;
  int attempt_ = 1;
  bool complete_ = false;
  std::optional<FoundCheckpoint> found_;  // rank 0 only
  fs::path restored_from_;                // empty: a fresh start
  std::unique_ptr<ThreadPool> pool_;
  std::optional<storage::Dataset> data_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Progress> progress_;
  TrainingState state_;
  double peak_ = 0.0;            // FLOP/s of the whole job's machines
  EvaluationPlan evaluation_;    // the same at every evaluation
  double validation_bytes_ = 0;  // rank 0: of the text that an evaluation's targets stand for
  std::int64_t saved_step_ = 0;
  std::optional<double> last_validation_;
};

void Trainer::prepare_as_leader() {
  const ConfigFile file =
      launch::stage_file(ConfigFile::load(options_.job_file, options_.overrides), options_.stage);
  job_ = launch::parse_job(file);
  const parallel::Layout& layout = job_.parallel.layout;
  if (layout.world_size() != process_.size()) {
    fail_usage(
        "{}: parallel: tensor {} x pipeline {} x data {} is {} ranks, but {} were started; start "
        "with mpirun -n {}, or change [parallel]",
        options_.job_file, layout.tensor, layout.pipeline, layout.data, layout.world_size(),
        process_.size(), layout.world_size());
  }
  run_path_ =
      options_.run_directory.empty() ? fs::path("runs") / job_.job.name : options_.run_directory;
  if (options_.check_only) return;
  directory_.emplace(run_path_);
  ThreadPool pool(std::max(1, job_.cluster.threads_per_rank));
  std::vector<std::string> skipped;
  found_ = find_checkpoint(directory_->checkpoints(), pool, skipped);
  if (found_) {
    const launch::Job saved = launch::parse_job(
        ConfigFile::parse(found_->state.job_toml, (found_->path / "manifest.json").string()));
    job_ = launch::continue_job(file, saved);
    complete_ = found_->state.step >= job_.train.steps;
  }
  if (complete_) return;
  attempt_ = directory_->begin_attempt(options_.attempt);
  directory_->save_job(job_.effective_toml);
  for (const std::string& reason : skipped) {
    log_warning("{}", reason);
    directory_->record_event(attempt_, 0, "fallback", reason);
  }
  if (found_) {
    for (const std::string& warning : found_->warnings) log_warning("{}", warning);
  }
}

void Trainer::share_preparation() {
  parallel::Communicator& world = *groups_.world;
  const std::string toml = broadcast_string(world, leads_ ? job_.effective_toml : "", 0);
  if (!leads_) job_ = launch::parse_job(ConfigFile::parse(toml, options_.job_file));
  run_path_ = broadcast_string(world, run_path_.string(), 0);
  restored_from_ = broadcast_string(world, found_ ? found_->path.string() : "", 0);
  std::int64_t numbers[2] = {attempt_, complete_ ? 1 : 0};
  world.broadcast(std::as_writable_bytes(std::span(numbers)), 0);
  attempt_ = static_cast<int>(numbers[0]);
  complete_ = numbers[1] != 0;
}

Groups Trainer::make_groups() {
  const parallel::Coordinate at = parallel::coordinate_of(job_.parallel.layout, process_.rank());
  Groups groups;
  groups.world = std::move(groups_.world);
  groups.tensor = process_.make_group(parallel::tensor_group(job_.parallel.layout, at), {});
  groups.data = process_.make_group(parallel::data_group(job_.parallel.layout, at), {});
  parallel::GroupOptions pipeline;
  pipeline.max_message_bytes = max_message_bytes(job_);
  groups.pipeline =
      process_.make_group(parallel::pipeline_group(job_.parallel.layout, at), pipeline);
  return groups;
}

void Trainer::build() {
  pool_ = std::make_unique<ThreadPool>(job_.cluster.threads_per_rank);
  // Alone on its node while the others wait, the first rank measures what the cores can do.
  double peak = 0.0;
  if (process_.local_rank() == 0) {
    peak = measure_matrix_peak(static_cast<int>(std::thread::hardware_concurrency()), false);
  }
  std::vector<double> peaks(1, peak);
  groups_.world->all_reduce_sum(std::span(peaks));
  peak_ = peaks[0];
  engine_ = std::make_unique<Engine>(job_, process_.rank(), make_groups(), *pool_);
  state_.data_fingerprint = data_->fingerprint();
  state_.job_toml = job_.effective_toml;
  evaluation_ = plan_evaluation(*data_, job_);
  for (std::int64_t s = 0; leads_ && s < evaluation_.samples; ++s) {
    validation_bytes_ += static_cast<double>(data_->validation_bytes(s));
  }
}

void Trainer::restore() {
  if (restored_from_.empty()) {
    event("start",
          fmt::format("attempt {}: {} ranks, from the beginning", attempt_, process_.size()));
    return;
  }
  const TrainingState saved = read_training_state(restored_from_);
  load_checkpoint(*engine_, restored_from_, saved);
  state_.step = saved.step;
  state_.updates = saved.updates;
  state_.nonfinite_in_a_row = saved.nonfinite_in_a_row;
  saved_step_ = saved.step;
  event("restart", fmt::format("attempt {}: {} ranks, from {}", attempt_, process_.size(),
                               restored_from_.string()));
  if (leads_) log_info("continuing from {}", restored_from_.string());
}

std::optional<double> Trainer::evaluate() {
  const EvaluationPlan& plan = evaluation_;
  if (plan.samples == 0) return std::nullopt;
  const std::vector<double> losses =
      engine_->evaluate(evaluation_ids(*data_, job_, plan, engine_->at().data));
  double sum = 0.0;
  for (std::int64_t s = 0; s < plan.samples; ++s) sum += losses[static_cast<std::size_t>(s)];
  data_->check_unchanged();
  return sum / static_cast<double>(plan.samples * job_.train.sequence_length);
}

void Trainer::save() {
  state_.updates = engine_->optimizer().updates();
  const fs::path path = save_checkpoint(*engine_, job_, state_, run_path_ / "checkpoints", attempt_,
                                        job_.checkpoint.keep, *pool_);
  saved_step_ = state_.step;
  event("checkpoint", path.string());
}

void Trainer::report(const StepReport& step, double seconds, std::optional<double> validation) {
  if (!leads_) return;
  const std::int64_t batch_tokens = job_.train.global_batch * job_.train.sequence_length;
  Metric metric;
  metric.step = state_.step;
  metric.attempt = attempt_;
  metric.tokens = state_.step * batch_tokens;
  metric.loss = step.loss;
  metric.grad_norm = step.grad_norm;
  metric.learning_rate = step.learning_rate;
  metric.step_seconds = seconds;
  metric.tokens_per_second = static_cast<double>(batch_tokens) / seconds;
  metric.mfu =
      model::step_flops(job_.model, batch_tokens, job_.train.sequence_length) / seconds / peak_;
  metric.rss_bytes = resident_bytes();
  metric.validation_loss = validation;
  if (validation && validation_bytes_ > 0) {
    metric.validation_bits_per_byte =
        *validation * static_cast<double>(evaluation_.samples * job_.train.sequence_length) /
        std::numbers::ln2 / validation_bytes_;
  }
  directory_->record(metric);
  if (validation) last_validation_ = validation;
  progress_->show({state_.step, job_.train.steps, step.loss, metric.tokens_per_second, metric.mfu,
                   last_validation_, saved_step_});
}

int Trainer::stop_early() {
  if (saved_step_ != state_.step) save();
  engine_->groups().world->barrier();
  if (leads_) {
    progress_->finish();
    event("signal", fmt::format("stopped after step {} with a checkpoint", state_.step));
    log_info("stopped after step {} of {} with a checkpoint; run it again to continue", state_.step,
             job_.train.steps);
  }
  return kExitStoppedEarly;
}

int Trainer::stop_nonfinite(const StepReport& step) {
  const std::string text = fmt::format(
      "step {}: loss or gradient norm was not finite {} steps in a row, first seen on rank {}; the "
      "weights are those of step {}. Lower optimizer.learning_rate or look at the data, then "
      "continue "
      "from the last checkpoint",
      state_.step, kNonfiniteLimit, step.nonfinite_rank, state_.step - kNonfiniteLimit);
  event("failure", text);
  if (leads_) {
    progress_->finish();
    log_line(text);
  }
  return kExitFailed;
}

int Trainer::loop() {
  progress_ =
      std::make_unique<Progress>(leads_ ? options_.progress : ProgressStyle::kNone, state_.step);
  const auto due = [this](std::int64_t every) {
    return state_.step == job_.train.steps || (every > 0 && state_.step % every == 0);
  };
  while (state_.step < job_.train.steps) {
    const double start = monotonic_seconds();
    const StepReport step = engine_->train_step(
        state_.step, training_ids(*data_, job_, state_.step, engine_->first_sample()),
        stop_signal() != 0);
    const double seconds = monotonic_seconds() - start;
    ++state_.step;
    state_.nonfinite_in_a_row = step.applied ? 0 : state_.nonfinite_in_a_row + 1;
    if (!step.applied && leads_) {
      progress_->note(fmt::format("step {} skipped: not finite on rank {} (loss {}, norm {})",
                                  state_.step, step.nonfinite_rank, step.loss, step.grad_norm));
    }
    report(step, seconds, due(job_.train.eval_every) ? evaluate() : std::nullopt);
    if (state_.nonfinite_in_a_row >= kNonfiniteLimit) return stop_nonfinite(step);
    // A step that was skipped is no place to come back to.
    if (step.applied && due(job_.checkpoint.every)) save();
    if (step.stop && state_.step < job_.train.steps) return stop_early();
  }
  if (saved_step_ != state_.step) save();
  if (leads_) progress_->finish();
  event("done", fmt::format("{} steps", state_.step));
  return kExitDone;
}

int Trainer::run() {
  const int prepared = agree(*groups_.world, [this] {
    if (leads_) prepare_as_leader();
  });
  if (prepared != kExitDone) return prepared;
  share_preparation();
  if (complete_) {
    if (leads_) {
      log_info("{}: complete, {} steps are done; a larger train.steps continues it",
               run_path_.string(), job_.train.steps);
    }
    return kExitDone;
  }
  const int opened = agree(*groups_.world, [this] {
    data_.emplace(open_dataset(job_));
    if (found_ && found_->state.data_fingerprint != data_->fingerprint()) {
      fail_usage(
          "{}: the data is not what {} was trained on (fingerprint {}, now {}); bring the old "
          "data back, or start a new run with another --run-dir",
          options_.job_file, run_path_.string(), found_->state.data_fingerprint,
          data_->fingerprint());
    }
  });
  if (opened != kExitDone) return opened;
  if (options_.check_only) {
    if (leads_) log_info("{}: valid", options_.job_file);
    return kExitDone;
  }
  if (leads_) log_info("backend {}", options_.backend);
  build();
  restore();
  return loop();
}

}  // namespace

int train(parallel::Process& process, const TrainOptions& options) {
  return Trainer(process, options).run();
}

}  // namespace talaria::worker
