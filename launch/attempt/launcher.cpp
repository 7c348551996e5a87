// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/launcher.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <optional>

#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/crash_point.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/lock_file.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "launch/attempt/cgroup.h"
#include "launch/attempt/command.h"
#include "launch/attempt/reaper.h"
#include "launch/attempt/records.h"
#include "launch/attempt/scratch.h"
#include "launch/attempt/small_file.h"
#include "launch/attempt/supervisor.h"
#include "launch/attempt/verdict.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr double kLockSeconds = 1.0;
constexpr double kKillSeconds = 10.0;
constexpr double kExitWriteSeconds = 30.0;
constexpr std::size_t kMostLastWords = 64;
constexpr std::size_t kLogEndBytes = std::size_t{1} << 14;

// Held until the process ends. Nothing when another holds it. The lock belongs to the open file,
// so a child between fork and exec may keep a dead launcher's for a moment.
std::optional<UniqueFd> take_lock(const AttemptSpec& spec) {
  const fs::path path = fs::path(spec.run_directory) / "launch.lock";
  UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const double end = monotonic_seconds() + kLockSeconds;
  while (::fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) fail_errno("fcntl(F_OFD_SETLK)", path.string());
    if (monotonic_seconds() > end) return std::nullopt;
    ::usleep(10'000);
  }
  const std::string holder =
      fmt::format("pid {} on {}, attempt {}\n", ::getpid(), host_name(), spec.attempt_id);
  // Over the old words: on a full disk their place is still there.
  write_all(fd.get(), std::as_bytes(std::span(holder)), path);
  check_sys(::ftruncate(fd.get(), static_cast<off_t>(holder.size())), "ftruncate", path.string());
  return fd;
}

void send_output_to(const fs::path& log) {
  const UniqueFd null = open_file("/dev/null", O_RDONLY);
  const UniqueFd fd = open_file(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW);
  check_sys(::dup2(null.get(), STDIN_FILENO), "dup2", "standard input");
  check_sys(::dup2(fd.get(), STDOUT_FILENO), "dup2", "standard output");
  check_sys(::dup2(fd.get(), STDERR_FILENO), "dup2", "standard error");
}

class Launcher {
 public:
  Launcher(const AttemptSpec& spec, const std::vector<std::string>& environment)
      : spec_(spec),
        environment_(attempt_environment(environment, spec)),
        folder_(attempt_folder(spec.run_directory, spec.attempt)),
        cgroup_name_("talaria-" + spec.attempt_id),
        records_(spec.run_directory, spec.attempt, spec.ranks) {
    facts_.ranks = spec.ranks;
    facts_.command = one_line(fs::path(spec.argv[0]).filename().string());
    report_.attempt_id = spec.attempt_id;
    report_.attempt = spec.attempt;
    report_.started = wall_seconds();
  }

  void run() {
    reserve_exit();
    try {
      if (!adopt()) start_and_wait();
    } catch (const std::exception& error) {
      log_line(error.what());
      facts_.cause = one_line(error.what());
    }
    crash_point("launch.ended");
    end();
    remove_scratch(spec_.attempt_id);
    if (!cgroup_.remove()) log_warning("a control group of the attempt could not be removed");
    crash_point("launch.cleaned");
    write_exit();
    crash_point("launch.exit_written");
  }

 private:
  // Room for the report, in case the disk fills up.
  void reserve_exit() {
    const std::size_t ranks = std::min(static_cast<std::size_t>(spec_.ranks), kMostRanks);
    exit_.emplace(folder_ / "exit.json", 0644, (std::size_t{1} << 15) + 300 * ranks);
  }

  // Was the attempt started by a launcher that is dead? Then only its end is left to do.
  bool adopt() {
    const auto text = read_small_file(spec_.run_directory, folder_.filename() / "started.json");
    if (!text) return false;
    facts_.cause = "the launcher of the attempt was killed";
    json::error_code error;
    const json::value value = json::parse(*text, error);
    const json::object* started = error ? nullptr : value.if_object();
    if (started == nullptr) return true;  // cut short by a power failure: nothing runs
    if (const auto* when = started->if_contains("started"); when && when->is_double()) {
      report_.started = when->get_double();
    }
    std::vector<std::string> folders;
    if (const auto* list = started->if_contains("cgroups"); list && list->is_array()) {
      for (const json::value& folder : list->get_array()) {
        if (folder.is_string()) folders.emplace_back(folder.get_string());
      }
    }
    cgroup_ = AttemptCgroup::find(folders, cgroup_name_);
    log_info("{}; what is left of it will be ended", facts_.cause);
    return true;
  }

  void write_files() {
    write_small_file(folder_ / "spec.json", 0600, to_json(spec_), false);
    write_small_file(folder_ / "secret", 0600, spec_.secret, false);
    write_small_file(folder_ / "channel", 0644, spec_.channel, false);
    write_small_file(folder_ / "job.toml", 0644, spec_.job_toml, false);
    scratch_.emplace(spec_.attempt_id);
  }

  void write_started() {
    const std::vector<std::string> folders = cgroup_.folders();
    json::object started;
    started["started"] = report_.started;
    started["pid"] = ::getpid();
    started["host"] = host_name();
    started["cgroups"] = json::array(folders.begin(), folders.end());
    write_small_file(folder_ / "started.json", 0644, json::serialize(started) + "\n", true);
  }

  void start_and_wait() {
    write_files();
    crash_point("launch.files_written");
    cgroup_ = AttemptCgroup::make(own_cgroups(), cgroup_name_, spec_.memory_limit);
    crash_point("launch.cgroup_made");
    write_started();
    crash_point("launch.started_written");
    if (end_is_requested() || stop_is_requested()) {
      facts_.never_started = true;
      return;
    }
    const std::int64_t ooms = cgroup_.oom_kills();
    const pid_t pid = start_command(spec_, environment_, cgroup_);
    reaper_.set_command(pid);
    crash_point("launch.command_started");
    if (spec_.memory_limit > 0 && !cgroup_.limits_memory()) {
      log_warning("memory_limit: this user may make no memory control group here; no limit is set");
    }
    facts_.cause = Supervisor(spec_, reaper_, records_).wait();
    facts_.command_out_of_memory = cgroup_.oom_kills() > ooms;
    facts_.command_status = reaper_.command_status();
  }

  void end() {
    records_.look();
    facts_.before_kill = records_.by_rank();
    ended_ = wall_seconds();
    report_.survivors = end_processes(spec_.attempt_id, cgroup_, reaper_, kKillSeconds);
    crash_point("launch.killed");
    records_.look();
    facts_.exits = records_.by_rank();
    for (const RankExit& exit : facts_.before_kill) {
      if (!is_failure(exit) || facts_.last_words.size() == kMostLastWords) continue;
      const std::vector<std::string> lines = lines_of(exit);
      if (!lines.empty()) facts_.last_words[exit.rank] = lines.back();
    }
  }

  void judge_attempt() {
    facts_.command_lines = last_lines(end_of_log("launcher.log"));
    const Verdict verdict = judge(facts_);
    report_.outcome = verdict.outcome;
    report_.exit_code = outcome_code(verdict.outcome);
    report_.reason = verdict.reason;
    report_.first = verdict.first;
    report_.ranks = facts_.exits;
    const bool failed = verdict.outcome == Outcome::kFailed || verdict.outcome == Outcome::kInvalid;
    if (failed) report_.failed = verdict.failed > 0.0 ? verdict.failed : ended_;
    report_.last_lines = verdict.first ? lines_of(*verdict.first) : std::vector<std::string>();
    if (report_.last_lines.empty()) report_.last_lines = facts_.command_lines;
  }

  std::vector<std::string> lines_of(const RankExit& exit) const {
    return last_lines(end_of_log(rank_file(exit.rank, ".log")));
  }

  std::string end_of_log(const std::string& name) const {
    return read_file_end(spec_.run_directory, folder_.filename() / name, kLogEndBytes);
  }

  // A full disk may get room again; meanwhile the launcher is alive and a coordinator waits. After
  // that it is not, and the next launcher writes the report.
  void write_exit() {
    judge_attempt();
    const double give_up = monotonic_seconds() + kExitWriteSeconds;
    for (unsigned wait_ms = 100;; wait_ms = std::min(wait_ms * 2, 2000U)) {
      try {
        report_.ended = wall_seconds();
        if (!exit_) reserve_exit();
        exit_->write(to_json(report_), true);
        return;
      } catch (const Error& error) {
        exit_.reset();
        log_warning("{}", error.what());
        if (monotonic_seconds() > give_up) throw;
      }
      ::usleep(wait_ms * 1000);
    }
  }

  const AttemptSpec& spec_;
  std::vector<std::string> environment_;
  fs::path folder_;
  std::string cgroup_name_;
  RankRecords records_;
  Reaper reaper_;
  std::optional<Scratch> scratch_;  // so that no rank's end removes what mpirun still uses
  AttemptCgroup cgroup_;
  std::optional<ReservedFile> exit_;
  Facts facts_;
  ExitReport report_;
  double ended_ = 0.0;
};

}  // namespace

const std::vector<std::string_view>& launcher_crash_points() {
  static const std::vector<std::string_view> names = {
      "launch.locked",          "launch.files_written",   "launch.cgroup_made",
      "launch.started_written", "launch.command_started", "launch.ended",
      "launch.killed",          "launch.cleaned",         "launch.exit_written"};
  return names;
}

int run_launcher(const AttemptSpec& spec, const std::vector<std::string>& environment) {
  fs::create_directories(spec.run_directory);
  const std::optional<UniqueFd> lock = take_lock(spec);
  if (!lock) {
    const LauncherState holder = find_launcher(spec.run_directory);
    log_line(fmt::format("{}: in use by pid {} on {}, attempt {}", one_line(spec.run_directory),
                         holder.pid, holder.host, holder.attempt_id));
    return kExitHeld;
  }
  crash_point("launch.locked");
  if (read_exit(spec.run_directory, spec.attempt)) return kExitDone;
  const fs::path folder = attempt_folder(spec.run_directory, spec.attempt);
  fs::create_directories(folder);
  send_output_to(folder / "launcher.log");
  check_sys(::prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl", "PR_SET_CHILD_SUBREAPER");
  Launcher(spec, environment).run();
  return kExitDone;
}

}  // namespace talaria::launch
