// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/follow.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <ctime>
#include <optional>
#include <utility>

#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/command/events.h"
#include "coordinator/command/format.h"
#include "coordinator/command/screen.h"
#include "coordinator/command/view.h"
#include "launch/attempt/attempt.h"

namespace talaria::coordinator {
namespace {

constexpr double kLookSeconds = 0.25;
constexpr double kSameRequestSeconds = 0.25;
constexpr double kLineSeconds = 10.0;
constexpr std::size_t kOldEvents = 5;

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

// Waits, or returns the stop signal that came; 0: none.
int wait_or_signal(double seconds, bool signals) {
  const double whole = std::floor(seconds);
  const timespec time = {static_cast<std::time_t>(whole),
                         static_cast<long>((seconds - whole) * 1e9)};
  if (!signals) {
    ::nanosleep(&time, nullptr);
    return 0;
  }
  const sigset_t set = stop_signals();
  const int signal = ::sigtimedwait(&set, nullptr, &time);
  if (signal < 0 && errno != EAGAIN && errno != EINTR) fail_errno("sigtimedwait", "");
  return std::max(signal, 0);
}

const char* signal_word(int signal) {
  return signal == SIGINT ? "Ctrl-C" : signal == SIGTERM ? "SIGTERM" : "SIGHUP";
}

// Event lines, broken below their text.
std::vector<std::string> wrapped(const std::vector<std::string>& lines, int width) {
  constexpr int kStampWidth = 10;
  std::vector<std::string> broken;
  for (const std::string& line : lines) {
    for (std::string& part : wrap(line, width, kStampWidth)) broken.push_back(std::move(part));
  }
  return broken;
}

// Draws what a look has shown.
class Display {
 public:
  explicit Display(const FollowOptions& options) : options_(options), screen_(options.fd) {}

  void show(const JobView& view) {
    const double now = wall_seconds();
    if (!begun_ && !options_.from_the_start) events_.skip(view, kOldEvents);
    begun_ = true;
    std::vector<std::string> lines = events_.update(view, now);
    lines.insert(lines.begin(), notes_.begin(), notes_.end());
    notes_.clear();
    if (options_.style == ProgressStyle::kView) {
      // One column stays free, so that no line of the block ever fills its row.
      const ViewStyle style = {screen_.width() - 1, options_.color};
      screen_.draw(wrapped(lines, style.width), progress_block(view, style, now));
    } else if (options_.style == ProgressStyle::kLines) {
      for (const std::string& line : lines) put(line);
      show_line(view);
    }
  }

  void expect(const std::string& reason) { events_.expect(reason); }
  // A line of our own, shown with the next look.
  void note(const std::string& text) {
    notes_.push_back(fmt::format("{}  {}", format_clock(wall_seconds()), text));
  }
  // The same at once, while there is nothing to look at.
  void note_now(const std::string& text) {
    note(text);
    if (options_.style == ProgressStyle::kView) {
      screen_.draw(wrapped(notes_, screen_.width() - 1), {});
    } else if (options_.style == ProgressStyle::kLines) {
      for (const std::string& line : notes_) put(line);
    }
    notes_.clear();
  }

 private:
  void show_line(const JobView& view) {
    const std::string line = progress_line(view);
    const double now = monotonic_seconds();
    const std::int64_t step = current_stage(view).progress.step;
    const bool first = step > 0 && !shown_step_;
    if (line.empty() || (now < next_line_ && !first)) return;
    shown_step_ = step > 0;
    next_line_ = now + kLineSeconds;
    put(line);
  }
  // A reader that is gone is no reason to end a job.
  void put(const std::string& line) const {
    const std::string text = line + "\n";
    [[maybe_unused]] const ssize_t done = ::write(options_.fd, text.data(), text.size());
  }

  const FollowOptions& options_;
  Screen screen_;
  EventLog events_;
  std::vector<std::string> notes_;
  bool begun_ = false;
  bool shown_step_ = false;
  double next_line_ = monotonic_seconds() + kLineSeconds;  // the first step comes sooner
};

// Passes the n-th stop signal on. Throws where the user insists a third time.
void pass_on(int signal, int count, const Client& client, std::int64_t job, Display& display) {
  if (count > 2) {
    fail("left by {}; the job may still be ending, see: talaria ps", signal_word(signal));
  }
  const char* const word = signal_word(signal);
  const std::string reason = fmt::format("{} at talaria run", word);
  display.expect(reason);
  try {
    client.wish(job, count == 1 ? Wish::kStop : Wish::kKill, reason);
    display.note(count == 1 ? fmt::format("{}: the ranks stop with a checkpoint; once more ends "
                                          "them at once",
                                          word)
                            : fmt::format("{} again: the ranks are ended at once", word));
  } catch (const Error& error) {
    display.note(fmt::format("{}: {}", signal_word(signal), error.what()));
  }
}

void note_away(const Error& error, bool& away, Display& display) {
  if (std::exchange(away, true)) return;
  display.note_now(fmt::format("{}; the job goes on without, and the coordinator is waited for",
                               one_line(error.what())));
}

// The rank that failed first: where its log is, and how that ends.
void show_first_failure(const StageView& stage) {
  if (!stage.row.attempt) return;
  const std::string& run = stage.row.run_directory;
  const int attempt = stage.row.attempt->attempt;
  std::optional<launch::ExitReport> report;
  try {
    report = launch::read_exit(run, attempt);
  } catch (const Error& error) {
    log_line(one_line(error.what()));
  }
  const std::filesystem::path folder = launch::attempt_folder(run, attempt);
  const bool ranked = report && report->first;
  const std::filesystem::path log =
      folder / (ranked ? launch::rank_file(report->first->rank, ".log") : "launcher.log");
  if (report) {
    for (const std::string& line : report->last_lines) log_line("  " + one_line(line));
  }
  log_line(fmt::format("log: {}", one_line(log.string())));
}

}  // namespace

StageState state_of(const JobView& view) {
  std::vector<StageState> states;
  for (const StageView& stage : view.stages) states.push_back(stage.row.state);
  return job_state(states);
}

ProgressStyle progress_style(const std::string& word, const Environment& environment) {
  if (word == "none") return ProgressStyle::kNone;
  if (word == "lines") return ProgressStyle::kLines;
  if (word == "view") return ProgressStyle::kView;
  const bool terminal = ::isatty(STDERR_FILENO) == 1 && !environment.dumb_terminal;
  return terminal ? ProgressStyle::kView : ProgressStyle::kLines;
}

void block_stop_signals() {
  const sigset_t set = stop_signals();
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, nullptr)) {
    fail_errno("pthread_sigmask", "", error);
  }
}

JobView follow(const Client& client, std::int64_t job, const FollowOptions& options) {
  Display display(options);
  int signals = 0;
  double last_signal = -kSameRequestSeconds;
  bool away = false;
  while (true) {
    options.check();
    try {
      JobView view = client.show(job);
      if (std::exchange(away, false)) display.note("the coordinator is back");
      display.show(view);
      if (ended(state_of(view))) return view;
    } catch (const NoCoordinator& error) {
      options.check();
      if (!options.wait_for_coordinator) throw;
      note_away(error, away, display);
    } catch (const Refusal& refusal) {
      // Overrun or in trouble, which passes.
      if (refusal.status < 500) throw;
      note_away(refusal, away, display);
    }
    const int signal = wait_or_signal(kLookSeconds, options.signals_stop);
    if (signal == 0) continue;
    // timeout(1) and some supervisors send one request twice, to the process and to its group.
    const double now = monotonic_seconds();
    if (now - std::exchange(last_signal, now) < kSameRequestSeconds) continue;
    pass_on(signal, ++signals, client, job, display);
  }
}

int report_end(const JobView& view) {
  const StageView& stage = current_stage(view);
  log_line(result_line(view));
  switch (state_of(view)) {
    case StageState::kDone:
      return kExitDone;
    case StageState::kStopped:
      log_line("start it again to go on from the newest checkpoint");
      return kExitStoppedEarly;
    case StageState::kFailed:
      show_first_failure(stage);
      log_line(stage.progress.checkpoint_step > 0
                   ? fmt::format("once the cause is mended, start it again: it goes on from the "
                                 "checkpoint at step {}",
                                 stage.progress.checkpoint_step)
                   : std::string("once the cause is mended, start it again"));
      return kExitFailed;
    default:
      return kExitFailed;
  }
}

}  // namespace talaria::coordinator
