// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/watch.h"

#include <algorithm>

#include "cluster/base/config.h"

namespace talaria::coordinator {
namespace {

Deadlines fixed_deadlines(const launch::MonitorSection& monitor) {
  return {monitor.start_seconds,    monitor.setup_seconds, monitor.restore_seconds,
          monitor.rollout_seconds,  monitor.score_seconds, monitor.step_seconds,
          monitor.evaluate_seconds, monitor.save_seconds,  monitor.finish_seconds};
}

// A step, or the part of PPO's that comes before its updates.
bool in_a_step(wire::Phase phase) {
  return phase == wire::Phase::kRollout || phase == wire::Phase::kScore ||
         phase == wire::Phase::kStep;
}

}  // namespace

StageWatch::StageWatch(const JobRow& job, const StageRow& stage)
    : job_(launch::parse_job(ConfigFile::parse(stage.job_toml, "job file"))),
      toml_(stage.job_toml),
      folder_(stage.run_directory, identity_of(job.uid, job.gid)) {}

void StageWatch::begin(const AttemptRow& attempt, double failure_noticed, double now) {
  attempt_ = attempt;
  since_ = now;
  const auto ranks = static_cast<std::size_t>(job_.cluster.ranks);
  ranks_.assign(ranks, {});
  connections_.assign(ranks, 0);
  launches = 0;
  last_launch = 0.0;
  launcher_error.clear();
  launcher_end.reset();
  asked = false;
  killed = 0.0;
  hang.reset();
  complaint.clear();
  noticed = failure_noticed;
  first_step_ = -1;
  paced_from_ = -1;
  newest_step_ = -1;
  restart_told_ = failure_noticed <= 0.0;
}

bool StageWatch::admits(const wire::Hello& hello) const {
  return !ranks_.empty() && hello.attempt_id == attempt_.attempt_id &&
         wire::equal_secrets(hello.secret, attempt_.secret) && hello.rank >= 0 &&
         hello.rank < job_.cluster.ranks && hello.world == job_.cluster.ranks;
}

void StageWatch::joined(const wire::Hello& hello, double now) {
  const auto rank = static_cast<std::size_t>(hello.rank);
  ++connections_[rank];
  RankSignal& signal = ranks_[rank];
  signal.heard = true;
  signal.connected = true;
  signal.left = false;
  signal.last_heard = now;
  signal.host = hello.host;
  signal.pid = hello.pid;
}

void StageWatch::said(int rank, const wire::RankMessage& message, double now) {
  RankSignal& signal = ranks_[static_cast<std::size_t>(rank)];
  signal.last_heard = now;
  if (std::holds_alternative<wire::Bye>(message)) signal.left = true;
  const auto* beat = std::get_if<wire::Beat>(&message);
  if (beat == nullptr) return;
  times_.observe(signal.beat, *beat);
  signal.beat = *beat;
  if (first_step_ < 0 && in_a_step(beat->phase)) first_step_ = beat->step;
  note_step(beat->step, now);
}

void StageWatch::note_step(std::int64_t step, double now) {
  if (first_step_ < 0 || step <= std::max(first_step_, newest_step_)) return;
  newest_step_ = step;
  newest_step_time_ = now;
  if (paced_from_ >= 0) return;
  paced_from_ = step;
  paced_since_ = now;
}

void StageWatch::lost(int rank) {
  const auto index = static_cast<std::size_t>(rank);
  if (--connections_[index] == 0) ranks_[index].connected = false;
}

void StageWatch::forgive(double seconds) {
  since_ += seconds;
  for (RankSignal& rank : ranks_) rank.last_heard += seconds;
}

double StageWatch::beat_seconds() const { return job_.beat_seconds(); }

std::optional<Hang> StageWatch::find_hang(double now) const {
  return coordinator::find_hang(ranks_, times_.deadlines(fixed_deadlines(job_.monitor)),
                                beat_seconds(), since_, now);
}

ProgressView StageWatch::progress() const {
  ProgressView view;
  view.steps = job_.train.steps;
  for (const RankSignal& rank : ranks_) view.ranks_connected += rank.connected ? 1 : 0;
  const auto heard =
      std::find_if(ranks_.begin(), ranks_.end(), [](const RankSignal& rank) { return rank.heard; });
  if (heard == ranks_.end()) return view;
  const wire::Beat& beat = heard->beat;
  view.step = beat.step;
  view.loss = beat.loss;
  view.tokens_per_second = beat.tokens_per_second;
  view.mfu = beat.mfu;
  view.validation_loss = beat.validation_loss;
  view.checkpoint_step = beat.checkpoint_step;
  const std::int64_t paced = newest_step_ - paced_from_;
  if (paced_from_ >= 0 && paced > 0) {
    view.seconds_left = (newest_step_time_ - paced_since_) / static_cast<double>(paced) *
                        static_cast<double>(view.steps - beat.step);
  }
  return view;
}

std::vector<RankView> StageWatch::rank_views(double now) const {
  std::vector<RankView> views;
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    const RankSignal& signal = ranks_[rank];
    RankView view;
    view.rank = static_cast<int>(rank);
    if (signal.heard) {
      view.host = signal.host;
      view.pid = signal.pid;
      view.connected = signal.connected;
      view.silent_seconds = now - signal.last_heard;
      view.phase = wire::phase_name(signal.beat.phase);
      view.phase_seconds = signal.beat.phase_seconds;
      view.wait = wire::wait_name(signal.beat.wait);
      view.step = signal.beat.step;
      view.rss_bytes = signal.beat.rss_bytes;
    }
    views.push_back(std::move(view));
  }
  return views;
}

bool StageWatch::restarted() {
  if (restart_told_ || first_step_ < 0) return false;
  restart_told_ = std::any_of(ranks_.begin(), ranks_.end(), [this](const RankSignal& rank) {
    return rank.heard && rank.beat.step > first_step_;
  });
  return restart_told_;
}

std::string StageWatch::host_of(int rank) const {
  return ranks_[static_cast<std::size_t>(rank)].host;
}

}  // namespace talaria::coordinator
