// SPDX-License-Identifier: Apache-2.0
// `talaria logs`: the files of the ranks, read directly with the user's own rights.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <set>

#include "cluster/base/clock.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/command/app.h"
#include "coordinator/command/follow.h"
#include "coordinator/command/log_merge.h"
#include "coordinator/command/options.h"
#include "coordinator/command/target.h"
#include "coordinator/command/view.h"

namespace talaria::coordinator {
namespace {

constexpr double kLookSeconds = 0.25;
constexpr double kAskSeconds = 1.0;
// What ranks wrote at the same time may be seen at different looks.
constexpr double kHoldSeconds = 0.5;

struct LogOptions {
  std::string word;
  std::string state_directory;
  std::string stage;
  int rank = -1;
  int attempt = 0;
  bool follow = false;
  bool json = false;

  std::optional<int> only_rank() const { return rank >= 0 ? std::optional(rank) : std::nullopt; }
};

void print_line(const LogLine& line, bool json) {
  fmt::print("{}\n", json ? log_json(line) : log_text(line));
}

const StageView& chosen_stage(const JobView& view, const std::string& name) {
  if (name.empty()) return current_stage(view);
  std::vector<std::string> names;
  for (const StageView& stage : view.stages) {
    if (stage.row.name == name) return stage;
    names.push_back(stage.row.name);
  }
  fail_usage("--stage {}: no such stage; allowed: {}", in_quotes(name), join_or(names));
}

int newest_attempt(const StageView& stage) {
  return stage.row.attempt ? stage.row.attempt->attempt : 0;
}

// Takes lines from growing files and prints them in the order of their stamps, a moment later.
class Follower {
 public:
  explicit Follower(const LogOptions& options) : options_(options) {}

  void open_new(const StageView& stage) {
    const int newest = options_.attempt > 0 ? options_.attempt : newest_attempt(stage);
    // Also those that came and went since the last look.
    int& from = first_.try_emplace(stage.row.run_directory, std::max(newest, 1)).first->second;
    for (; from <= newest; ++from) {
      open_attempt(stage.row.run_directory, from);
      if (from == newest) break;  // ranks may still open theirs
    }
  }

  // `over`: nobody writes any more.
  void print_new(bool over) {
    const double now = monotonic_seconds();
    for (LogFile& file : files_) {
      while (auto line = file.next(!over)) held_.push_back({std::move(*line), now});
    }
    std::stable_sort(held_.begin(), held_.end(),
                     [](const Held& a, const Held& b) { return a.line.time < b.line.time; });
    std::size_t ready = 0;
    while (ready < held_.size() && (over || now - held_[ready].seen >= kHoldSeconds)) {
      print_line(held_[ready++].line, options_.json);
    }
    held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(ready));
    std::fflush(stdout);
  }

 private:
  void open_attempt(const std::string& run_directory, int attempt) {
    for (LogFile& file : attempt_logs(run_directory, attempt, options_.only_rank())) {
      if (known_.insert(file.path().string()).second) files_.push_back(std::move(file));
    }
  }

  struct Held {
    LogLine line;
    double seen;
  };
  const LogOptions& options_;
  std::map<std::string, int> first_;  // attempt that may have files to open, by run directory
  std::set<std::string> known_;
  std::vector<LogFile> files_;
  std::vector<Held> held_;
};

void follow_logs(const FoundJob& job, const LogOptions& options) {
  Follower follower(options);
  double next_question = 0.0;
  JobView view = job.look();
  while (true) {
    if (monotonic_seconds() >= next_question) {
      try {
        view = job.look();
      } catch (const NoCoordinator&) {
        // It is away; the files go on.
      }
      next_question = monotonic_seconds() + kAskSeconds;
    }
    const StageView& stage = chosen_stage(view, options.stage);
    // An older attempt, and a stage that is over, write no more.
    const bool older = options.attempt > 0 && options.attempt < newest_attempt(stage);
    const bool over = ended(options.stage.empty() ? state_of(view) : stage.row.state) || older;
    follower.open_new(stage);
    follower.print_new(over);
    if (over) return;
    const timespec pause = {0, static_cast<long>(kLookSeconds * 1e9)};
    ::nanosleep(&pause, nullptr);
  }
}

int logs(const Context& context, const LogOptions& options) {
  const FoundJob job = find_job(context, options.state_directory, options.word);
  if (options.follow) {
    follow_logs(job, options);
    return kExitDone;
  }
  const StageView& stage = chosen_stage(job.view, options.stage);
  const int attempt = options.attempt > 0 ? options.attempt : newest_attempt(stage);
  std::vector<LogFile> files;
  if (attempt > 0) files = attempt_logs(stage.row.run_directory, attempt, options.only_rank());
  if (files.empty()) {
    log_line(attempt == 0 ? "no attempt has begun yet"
                          : fmt::format("attempt {} has no such log in {}", attempt,
                                        one_line(stage.row.run_directory)));
    return kExitDone;
  }
  merge_logs(std::move(files), [&](const LogLine& line) { print_line(line, options.json); });
  return kExitDone;
}

}  // namespace

void add_logs(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<LogOptions>();
  CLI::App* command = app.add_subcommand("logs", "Print what a job's ranks have written.");
  add_job_word(*command, options->word);
  command->add_flag("--follow,-f", options->follow, "go on, across restarts, until the job ends");
  command->add_option("--rank", options->rank, "of one rank only")
      ->check(CLI::Range(0, 1 << 20))
      ->type_name("R");
  command->add_option("--attempt", options->attempt, "default: the newest")
      ->check(CLI::Range(1, 1 << 30))
      ->type_name("N");
  command->add_option("--stage", options->stage, "default: the one at work")->type_name("NAME");
  add_state_option(*command, options->state_directory);
  add_json_flag(*command, options->json);
  example(*command, "talaria logs -f quickstart --rank 0",
          "Lines stand in the order of time, each with its rank.");
  command->callback([options, &context, &exit_code] { exit_code = logs(context, *options); });
}

}  // namespace talaria::coordinator
