// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/loop.h"

#include <algorithm>
#include <chrono>
#include <csignal>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/supervisor/gates.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr auto kTick = std::chrono::milliseconds(200);
// A tick that comes this much later than due means that the coordinator itself stood still.
constexpr double kStoodStill = 2.0;
// How long a hung rank's stack is waited for, and how often the kill is said again.
constexpr double kStackSeconds = 3.0;
constexpr double kKillAgain = 2.0;
// Plans follow from plans (a stage ends, the next is queued, it starts); this many in one tick.
constexpr int kRounds = 8;

fs::path made(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    fail_usage("{}: cannot make the folder of the coordinator's state: {}", folder.string(),
               error.message());
  }
  return folder;
}

}  // namespace

Loop::Loop(boost::asio::io_context& io, const Options& options)
    : io_(io),
      options_(options),
      lock_(made(options.state_directory) / "lock", options.state_directory.string(),
            "another coordinator serves this state; use it, or name another folder"),
      store_(options.state_directory / "state.db"),
      timer_(io) {}

void Loop::start() {
  listener_ = std::make_unique<RankListener>(io_, options_.bind_address, rank_handlers());
  tick();
}

void Loop::wake() {
  stale_ = true;
  // The pending wait ends with operation_aborted, which ticks like a passed time.
  timer_.cancel();
}

void Loop::tick() {
  const double now = monotonic_seconds();
  const double due = std::chrono::duration<double>(kTick).count();
  if (last_tick_ > 0.0 && now - last_tick_ > due + kStoodStill) {
    for (auto& [key, watch] : watches_) watch.forgive(now - last_tick_);
  }
  last_tick_ = now;
  try {
    work();
    notice_.clear();
  } catch (const StorageFull& error) {
    // Nothing was changed. What runs goes on running; the same plan is made again.
    notice_ = error.what();
    complain("state", notice_);
    stale_ = true;
  } catch (const Error& error) {
    notice_ = error.what();
    complain("coordinator", notice_);
    stale_ = true;
  }
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code&) {
    if (!io_.stopped()) tick();
  });
}

void Loop::work() {
  for (int round = 0; round < kRounds; ++round) {
    refresh();
    look_at_ranks();
    const std::map<StageKey, Observation> seen = observe();
    const double now = wall_seconds();
    std::vector<Action> actions = reconcile(jobs_, seen, now);
    if (actions.empty()) actions = starts(now);
    if (actions.empty()) return;
    for (const Action& action : actions) act(action);
    stale_ = true;
  }
}

std::vector<Action> Loop::starts(double now) const {
  const Limits limits{options_.parallel_jobs};
  std::map<StageKey, std::string> gates;
  for (const StageKey& stage : to_judge(jobs_, limits, now)) {
    gates[stage] = judge_gates(job_of(stage), row_of(stage));
  }
  return schedule(jobs_, limits, gates, now);
}

// Reads the jobs again if they changed; keeps watches for exactly the attempts that have not ended.
void Loop::refresh() {
  if (!stale_) return;
  jobs_ = store_.unended_jobs();
  stale_ = false;
  std::map<StageKey, StageWatch> kept;
  for (const JobRow& job : jobs_) {
    for (const StageRow& stage : job.stages) {
      if (!stage.attempt || !holds_slot(stage.state)) continue;
      auto found = watches_.extract(stage.key);
      if (found.empty()) {
        // Lists of jobs come without job files.
        const auto whole = store_.job(job.id);
        TALARIA_CHECK(whole.has_value(), "job {}", job.id);
        kept.emplace(stage.key,
                     StageWatch(job, whole->stages.at(static_cast<std::size_t>(stage.key.stage))));
      } else {
        kept.insert(std::move(found));
      }
      StageWatch& watch = kept.at(stage.key);
      const bool lives = stage.attempt->state != AttemptState::kEnded;
      if (!lives || watch.attempt().attempt_id == stage.attempt->attempt_id) continue;
      // Adopted, or planned a moment ago.
      double noticed = 0.0;
      for (const AttemptRow& before : store_.attempts(stage.key)) {
        // Only a restart by itself counts as one, not a retry that somebody asked for later.
        if (before.attempt < stage.attempt->attempt && stage.failures > 0) noticed = before.ended;
      }
      watch.begin(*stage.attempt, noticed, monotonic_seconds());
      watch.folder().write_channel(stage.attempt->attempt, channel_address(watch.job()));
    }
  }
  watches_ = std::move(kept);
  attempts_.clear();
  for (const auto& [key, watch] : watches_) {
    if (!watch.attempt().attempt_id.empty()) attempts_[watch.attempt().attempt_id] = key;
  }
}

void Loop::look_at_ranks() {
  const double now = monotonic_seconds();
  for (auto& [key, watch] : watches_) {
    judge_hang(key, watch, now);
    if (!watch.restarted()) continue;
    RunEvent event;
    event.time = wall_seconds();
    event.attempt = watch.attempt().attempt;
    event.kind = "restart";
    event.seconds_to_next_step = event.time - watch.noticed;
    event.text =
        fmt::format("attempt {}: the first step was done {:.1f} s after the failure was noticed",
                    event.attempt, *event.seconds_to_next_step);
    watch.folder().record(event);
  }
}

// A hung rank is named, its stack asked for, then the attempt is ended.
void Loop::judge_hang(const StageKey& stage, StageWatch& watch, double now) {
  if (!watch.hang) {
    watch.hang = watch.find_hang(now);
    if (!watch.hang) return;
    const Hang& hang = *watch.hang;
    watch.hang_since = now;
    watch.complaint = hang.describe(watch.host_of(hang.rank));
    RunEvent event;
    event.time = wall_seconds();
    event.attempt = watch.attempt().attempt;
    event.rank = hang.all_left ? -1 : hang.rank;
    event.kind = "failure";
    event.text = watch.complaint;
    event.phase = wire::phase_name(hang.phase);
    event.step = hang.step;
    event.detected_seconds = hang.seconds;
    watch.folder().record(event);
    log_info("job {}: {}", stage.job, watch.complaint);
    if (!hang.all_left) {
      watch.folder().ask_for_stack(event.attempt, hang.rank);
      signal(stage, SIGUSR2);
    }
    return;
  }
  const bool stack = watch.folder().has_stack(watch.attempt().attempt, watch.hang->rank);
  if (!stack && now - watch.hang_since < kStackSeconds) return;
  if (watch.killed > 0.0 && now - watch.killed < kKillAgain) return;
  watch.killed = now;
  signal(stage, SIGQUIT);
}

std::map<StageKey, Observation> Loop::observe() {
  std::map<StageKey, Observation> seen;
  for (const JobRow& job : jobs_) {
    for (const StageRow& stage : job.stages) {
      const auto at = watches_.find(stage.key);
      if (at == watches_.end() || !stage.attempt || stage.attempt->state == AttemptState::kEnded) {
        continue;
      }
      // One that has just been started may not hold its lock yet; nothing is decided over its head.
      const Observation observation = observe(stage, at->second);
      const bool begins = at->second.launcher_end != nullptr && !observation.reported &&
                          observation.launcher != Observation::Launcher::kAlive;
      if (!begins) seen.emplace(stage.key, observation);
    }
  }
  return seen;
}

Observation Loop::observe(const StageRow& stage, StageWatch& watch) const {
  Observation seen;
  // First the launcher, then its report: one that is gone has reported before.
  const launch::LauncherState launcher = watch.folder().launcher();
  if (launcher.alive) {
    const bool ours = launcher.attempt_id == stage.attempt->attempt_id;
    seen.launcher = ours ? Observation::Launcher::kAlive : Observation::Launcher::kForeign;
    seen.holder = fmt::format("pid {} on {}", launcher.pid, launcher.host);
  }
  try {
    if (const auto report = watch.folder().exit_report(stage.attempt->attempt)) {
      seen.reported = true;
      seen.outcome = launch::outcome_name(report->outcome);
      seen.exit_code = report->exit_code;
      seen.reason = report->reason;
    }
  } catch (const Error& error) {
    seen.reported = true;
    seen.outcome = launch::outcome_name(launch::Outcome::kFailed);
    seen.exit_code = kExitFailed;
    seen.reason = error.what();
  }
  seen.started = watch.folder().has_started(stage.attempt->attempt);
  seen.complaint = watch.complaint;
  seen.launches = watch.launches;
  seen.last_launch = watch.last_launch;
  seen.asked = watch.asked;
  seen.killed = watch.killed > 0.0;
  if (!seen.reported) seen.reason = watch.launcher_error;
  if (seen.reported) seen.new_checkpoint = watch.folder().checkpoint_since(stage.attempt->planned);
  return seen;
}

const StageWatch* Loop::watch(const StageKey& stage) const {
  const auto at = watches_.find(stage);
  return at == watches_.end() ? nullptr : &at->second;
}

StageWatch& Loop::watch_of(const StageKey& stage) {
  const auto at = watches_.find(stage);
  TALARIA_CHECK(at != watches_.end(), "job {} stage {} is not watched", stage.job, stage.stage);
  return at->second;
}

const JobRow& Loop::job_of(const StageKey& stage) const {
  const auto at = std::find_if(jobs_.begin(), jobs_.end(),
                               [&](const JobRow& job) { return job.id == stage.job; });
  TALARIA_CHECK(at != jobs_.end(), "job {}", stage.job);
  return *at;
}

const StageRow& Loop::row_of(const StageKey& stage) const {
  return job_of(stage).stages.at(static_cast<std::size_t>(stage.stage));
}

StageWatch* Loop::find_attempt(const std::string& attempt_id) {
  const auto at = attempts_.find(attempt_id);
  return at == attempts_.end() ? nullptr : &watches_.at(at->second);
}

RankListener::Handlers Loop::rank_handlers() {
  RankListener::Handlers handlers;
  handlers.admit = [this](const wire::Hello& hello) -> std::string {
    const StageWatch* const watch = find_attempt(hello.attempt_id);
    return watch != nullptr && watch->admits(hello) ? "" : "no attempt that is watched here";
  };
  handlers.beat_seconds = [this](const std::string& attempt_id) {
    const StageWatch* const watch = find_attempt(attempt_id);
    return watch != nullptr ? watch->beat_seconds() : 1.0;
  };
  handlers.joined = [this](const wire::Hello& hello) {
    if (StageWatch* const watch = find_attempt(hello.attempt_id)) {
      watch->joined(hello, monotonic_seconds());
    }
  };
  handlers.said = [this](const std::string& attempt_id, int rank,
                         const wire::RankMessage& message) {
    if (StageWatch* const watch = find_attempt(attempt_id)) {
      watch->said(rank, message, monotonic_seconds());
    }
  };
  handlers.lost = [this](const std::string& attempt_id, int rank) {
    if (StageWatch* const watch = find_attempt(attempt_id)) watch->lost(rank);
  };
  return handlers;
}

std::string Loop::channel_address(const launch::Job& job) {
  if (job.cluster.hosts.empty()) {
    return fmt::format("{}:{}", options_.bind_address, listener_->port());
  }
  if (!wide_listener_)
    wide_listener_ = std::make_unique<RankListener>(io_, "0.0.0.0", rank_handlers());
  const std::string name = options_.advertised.empty() ? host_name() : options_.advertised;
  return fmt::format("{}:{}", name, wide_listener_->port());
}

void Loop::complain(const std::string& about, const std::string& text) {
  std::string& last = complaints_[about];
  if (last == text) return;
  last = text;
  log_warning("{}: {}", about, one_line(text));
}

}  // namespace talaria::coordinator
