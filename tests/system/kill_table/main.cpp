// SPDX-License-Identifier: Apache-2.0
// The kill table: a real job of 8 ranks, disturbed at random instants in every way that a cluster
// knows, must end by itself with the bits of the undisturbed run and leave nothing behind. Prints a
// line a blow; with --out it writes the table as Markdown (docs/failures.md).
#include <cmath>
#include <csignal>
#include <fstream>
#include <iostream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "tests/support/child_process.h"
#include "tests/support/ppo_job.h"
#include "tests/system/kill_table/report.h"
#include "tests/system/kill_table/rows.h"

namespace talaria::kill_table {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr double kWatchdog = 120.0;
// A blow may come too late (the run has ended) or miss its phase: it is tried again.
constexpr int kTries = 6;

// 8 ranks, steps of tens of milliseconds, a checkpoint every second or so.
const char* const kModel = R"(
[model]
layers = 4
hidden = 128
heads = 4
context = 64
vocab = 512

[train]
steps = 90
global_batch = 8
sequence_length = 64
dropout = 0.1
eval_every = 30
eval_samples = 8
)";

// Iterations of tenths of seconds, of which sampling, one sequence at a time, is a good part.
worker::PpoJobOptions ppo_options() {
  return {.train = "steps = 16\nglobal_batch = 8\neval_every = 8\neval_samples = 3\n",
          .ppo =
              "rollout_batch = 64\nslots = 1\nkl = \"adaptive\"\nkl_target = 0.5\n"
              "kl_horizon = 1000.0\nema = 0.9\n\n[mix]\nrows = 4\n"};
}

worker::JobFolder make_folder(const fs::path& folder, JobKind kind) {
  if (kind == JobKind::kPpo) return worker::make_ppo_folder(folder, ppo_options());
  return worker::JobFolder(folder, kModel);
}

struct Reference {
  std::map<std::int64_t, std::string> loss_bits;
  std::string weights_hash;
  double seconds = 0.0;
};

class Table {
 public:
  Table(const fs::path& folder, JobKind kind, std::uint64_t seed)
      : kind_(kind), jobs_(make_folder(folder, kind)), random_(seed) {}

  void measure_reference();
  Blow disturb(const Row& row, int number);

 private:
  std::vector<std::string> command(const std::string& run, const Row& row,
                                   const Scene& scene) const;
  ChildResult run_once(const std::string& run, const Row& row, Scene& scene, bool& struck);
  void judge(const Row& row, const std::string& run, const Scene& scene, const ChildResult& ended,
             const std::set<std::string>& scratch_before, Blow& blow);
  void judge_events(const Row& row, const Scene& scene, Blow& blow) const;

  JobKind kind_;
  worker::JobFolder jobs_;
  std::mt19937_64 random_;
  Reference reference_;
};

std::vector<std::string> Table::command(const std::string& run, const Row& row,
                                        const Scene& scene) const {
  std::vector<std::string> argv = scene.prefix;
  argv.insert(argv.end(), {std::string(TALARIA_BIN_DIR) + "/talaria", "run",
                           (jobs_.path() / "job.toml").string(), "--run-dir",
                           (jobs_.path() / run).string(), "--no-daemon", "--progress", "lines"});
  std::vector<std::string> set = {
      "parallel.tensor=2",
      "parallel.pipeline=2",
      "parallel.data=2",
      "job.numerics=\"invariant\"",
      "job.virtual_shards=4",
      "job.sample_groups=2",
      kind_ == JobKind::kPpo ? "checkpoint.every=4" : "checkpoint.every=15"};
  set.insert(set.end(), row.set.begin(), row.set.end());
  set.insert(set.end(), scene.set.begin(), scene.set.end());
  for (const std::string& each : set) {
    argv.emplace_back("--set");
    argv.push_back(each);
  }
  return argv;
}

void Table::measure_reference() {
  const ChildResult ended = run_child(command("reference", {}, {}), kWatchdog);
  if (ended.exit_code != 0) fail("the undisturbed run: exit {}\n{}", ended.exit_code, ended.output);
  reference_.loss_bits = jobs_.loss_bits("reference");
  reference_.weights_hash = jobs_.weights_hash("reference");
  const auto lines = read_lines(jobs_.path() / "reference" / "events.jsonl");
  reference_.seconds =
      lines.back().at("time").to_number<double>() - lines.front().at("time").to_number<double>();
  fmt::print("undisturbed: {} steps, {:.1f} s from the first rank's start to the end\n",
             reference_.loss_bits.size(), reference_.seconds);
}

ChildResult Table::run_once(const std::string& run, const Row& row, Scene& scene, bool& struck) {
  return run_child(command(run, row, scene), kWatchdog, [&](pid_t pid, const std::string&) {
    scene.coordinator = pid;
    if (!struck) {
      struck = row.strike(scene);
      if (struck) scene.struck_wall = wall_seconds();
    } else if (row.after) {
      row.after(scene);
    }
  });
}

Blow Table::disturb(const Row& row, int number) {
  for (int attempt = 1;; ++attempt) {
    const std::string run = fmt::format("{}-{}", row.name, number);
    fs::remove_all(jobs_.path() / run);
    Scene scene;
    scene.run = jobs_.path() / run;
    scene.random = &random_;
    scene.instant = std::uniform_real_distribution<>(0.0, 0.9 * reference_.seconds)(random_);
    if (row.prepare) row.prepare(scene);
    const std::set<std::string> scratch_before = scratch_paths({});
    bool struck = false;
    ChildResult ended = run_once(run, row, scene, struck);
    if (struck && row.again) ended = run_once(run, row, scene, struck);
    Blow blow;
    if (struck) judge(row, run, scene, ended, scratch_before, blow);
    while (!scene.mend.empty()) {
      scene.mend.back()();
      scene.mend.pop_back();
    }
    if (struck && !blow.missed) {
      if (blow.complaints.empty()) fs::remove_all(jobs_.path() / run);
      return blow;
    }
    fmt::print("{} at {:.2f} s missed{}\n", row.name, scene.instant,
               blow.phase.empty() ? "" : fmt::format(": phase {}", blow.phase));
    if (attempt == kTries) fail("{}: {} blows in a row missed", row.name, kTries);
  }
}

void Table::judge(const Row& row, const std::string& run, const Scene& scene,
                  const ChildResult& ended, const std::set<std::string>& scratch_before,
                  Blow& blow) {
  const fs::path folder = jobs_.path() / run;
  blow.instant = scene.instant;
  const auto expect = [&](bool holds, const std::string& complaint) {
    if (!holds) blow.complaints.push_back(complaint);
  };
  expect(!ended.timed_out, "it did not end by itself");
  expect(ended.exit_code == (row.ends_failed ? 1 : 0), fmt::format("exit {}", ended.exit_code));
  if (row.ends_failed) {
    expect(ended.output.find(row.remedy) != std::string::npos, "no remedy in the output");
  } else {
    expect(jobs_.loss_bits(run) == reference_.loss_bits, "other loss_bits");
    const bool saved = !jobs_.checkpoints(run).empty();
    expect(saved && jobs_.weights_hash(run) == reference_.weights_hash, "another weights_hash");
  }
  judge_events(row, scene, blow);
  for (const Process& left : processes_of(folder)) {
    blow.complaints.push_back(fmt::format("process {} is left", left.pid));
    ::kill(left.pid, SIGKILL);
  }
  for (const std::string& path : scratch_paths(attempt_ids(folder))) {
    if (!scratch_before.contains(path)) blow.complaints.push_back(path + " is left");
  }
  for (const std::string& id : attempt_ids(folder)) {
    expect(control_groups(id).empty(), "a control group is left");
    for (const fs::path& memory : scene.memory) {
      for (const auto& entry : fs::directory_iterator(memory)) {
        const std::string name = entry.path().filename();
        expect(name.find(id) == std::string::npos,
               fmt::format("{} is left by attempt {}", entry.path().string(), id));
      }
    }
  }
  if (!blow.complaints.empty()) blow.output = ended.output;
}

// What events.jsonl says of the failure and of the restart.
void Table::judge_events(const Row& row, const Scene& scene, Blow& blow) const {
  const fs::path& run = scene.run;
  const std::vector<json::object> failures = events(run, "failure");
  const std::vector<json::object> restarts = events(run, "restart");
  blow.restarts = static_cast<int>(restarts.size());
  if (!row.restarts) {
    if (!failures.empty()) blow.complaints.emplace_back("a failure without need");
    return;
  }
  if (failures.empty()) {
    // Struck after the last step: nothing was left to fail.
    blow.missed = read_lines(run / "events.jsonl").back().at("kind").as_string() == "done";
    if (!blow.missed) blow.complaints.emplace_back("no failure in events.jsonl");
    return;
  }
  const json::object& failure = failures.front();
  if (const json::value* phase = failure.if_contains("phase")) blow.phase = phase->as_string();
  if (!row.phase.empty() && blow.phase != row.phase) {
    blow.missed = true;
    return;
  }
  blow.text = std::string(failure.at("text").as_string());
  if (scene.rank >= 0 && (failure.at("rank").as_int64() != scene.rank || blow.phase.empty())) {
    blow.complaints.push_back(fmt::format(
        "rank {} was struck, but it says otherwise, or not in which phase", scene.rank));
  }
  if (const json::value* seconds = failure.if_contains("detected_seconds")) {
    blow.notice = row.from_blow ? failure.at("time").to_number<double>() - scene.struck_wall
                                : seconds->to_number<double>();
    if (*blow.notice > row.notice_bar) {
      blow.complaints.push_back(fmt::format("noticed after {:.2f} s", *blow.notice));
    }
  } else {
    blow.complaints.emplace_back("no detected_seconds");
  }
  for (const json::object& restart : restarts) {
    const double seconds = restart.at("seconds_to_next_step").to_number<double>();
    blow.next_step = std::max(blow.next_step.value_or(0.0), seconds);
    if (seconds > kNextStepBar) {
      blow.complaints.push_back(fmt::format("next step after {:.1f} s", seconds));
    }
  }
}

int run(int argc, char** argv) {
  int instants = 1;
  std::uint64_t seed = std::random_device{}();
  std::vector<std::string> chosen;
  std::string out;
  CLI::App app("Disturbs a real job of 8 ranks and demands the undisturbed run's bits.",
               "kill_table");
  app.add_option("--instants", instants, "random instants a row")->capture_default_str();
  app.add_option("--seed", seed, "of the instants; default: another each time");
  app.add_option("--rows", chosen, "names of rows; default: all")->delimiter(',');
  app.add_option("--out", out,
                 "writes the table as Markdown to this file; rows that were not run stay as "
                 "they are there");
  CLI11_PARSE(app, argc, argv);

  const fs::path folder = fs::temp_directory_path() / fmt::format("talaria_kill_{}", ::getpid());
  // The runs are nobody's but this table's: they do not show up in the user's list.
  check_sys(::setenv("XDG_STATE_HOME", (folder / "state").c_str(), 1), "setenv", "XDG_STATE_HOME");
  // What the runs leave in the temporary directory is seen, as nobody else uses this one.
  fs::create_directories(folder / "tmp");
  check_sys(::setenv("TMPDIR", (folder / "tmp").c_str(), 1), "setenv", "TMPDIR");
  fmt::print("seed {}\n", seed);
  std::map<JobKind, Table> tables;
  Report report(seed);
  for (const Row& row : rows()) {
    const bool wanted =
        chosen.empty() || std::find(chosen.begin(), chosen.end(), row.name) != chosen.end();
    if (!wanted) continue;
    auto table = tables.find(row.job);
    if (table == tables.end()) {
      const char* const name = row.job == JobKind::kPpo ? "ppo" : "pretrain";
      table = tables.try_emplace(row.job, folder / name, row.job, seed).first;
      table->second.measure_reference();
    }
    for (int number = 0; number < instants; ++number) {
      report.add(row, table->second.disturb(row, number));
      std::fflush(stdout);
    }
  }
  if (!out.empty()) write_file_atomic(out, report.markdown(fs::exists(out) ? read_file(out) : ""));
  std::error_code ignored;
  if (report.failed() == 0) fs::remove_all(folder, ignored);
  fmt::print("{} blows, {} failed\n", report.blows(), report.failed());
  return report.blows() > 0 && report.failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace talaria::kill_table

int main(int argc, char** argv) {
  try {
    return talaria::kill_table::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "kill_table: " << error.what() << "\n";
    return 1;
  }
}
