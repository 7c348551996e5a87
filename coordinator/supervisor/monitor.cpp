// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/monitor.h"

#include <algorithm>

#include <fmt/format.h>

namespace talaria::coordinator {
namespace {

constexpr double kUnknownSeconds = 600.0;
constexpr double kLeastSeconds = 30.0;
constexpr double kTolerance = 20.0;
// Beats may be late on a busy machine.
constexpr double kSilentBeats = 3.0;

std::size_t index(wire::Phase phase) { return static_cast<std::size_t>(phase); }

Hang look_at(const RankSignal& rank, int number, double beat_seconds, double watched_since,
             double now) {
  Hang hang;
  hang.rank = number;
  if (!rank.heard) {
    hang.silent = true;
    hang.seconds = now - watched_since;
    return hang;
  }
  const double silence = now - rank.last_heard;
  hang.phase = rank.beat.phase;
  hang.step = rank.beat.step;
  hang.wait = rank.beat.wait;
  hang.silent = silence > kSilentBeats * beat_seconds;
  hang.seconds = rank.beat.phase_seconds + silence;
  return hang;
}

// Whom to blame rather: a silent rank, then one that computes, then the one that is at it longest.
bool worse(const Hang& a, const Hang& b) {
  if (a.silent != b.silent) return a.silent;
  const bool a_computes = a.wait == wire::Wait::kNone;
  const bool b_computes = b.wait == wire::Wait::kNone;
  if (a_computes != b_computes) return a_computes;
  return a.seconds > b.seconds;
}

// Only when every rank has left.
std::optional<Hang> judge_the_left(std::span<const RankSignal> ranks, const Deadlines& deadlines,
                                   double now) {
  Hang hang;
  hang.all_left = true;
  hang.phase = wire::Phase::kFinish;
  double last = 0.0;
  for (const RankSignal& rank : ranks) {
    if (!rank.left) return std::nullopt;
    last = std::max(last, rank.last_heard);
    hang.step = rank.beat.step;
  }
  hang.seconds = now - last;
  if (hang.seconds <= deadlines[index(hang.phase)]) return std::nullopt;
  return hang;
}

}  // namespace

void PhaseTimes::observe(const wire::Beat& before, const wire::Beat& now) {
  const std::size_t was = index(before.phase);
  longest_[was] = std::max(longest_[was], before.phase_seconds);
  if (now.phase != before.phase || now.step != before.step) ended_[was] = true;
}

Deadlines PhaseTimes::deadlines(const Deadlines& fixed) const {
  Deadlines all{};
  for (std::size_t phase = 0; phase < all.size(); ++phase) {
    const double learned =
        ended_[phase] ? std::max(kLeastSeconds, kTolerance * longest_[phase]) : kUnknownSeconds;
    all[phase] = fixed[phase] > 0 ? fixed[phase] : learned;
  }
  return all;
}

std::string Hang::describe(const std::string& host) const {
  if (all_left) {
    return fmt::format("all ranks have ended, but what started them has not for {:.1f} s", seconds);
  }
  const std::string where = host.empty() ? "" : fmt::format(" on {}", host);
  const std::string doing =
      wait == wire::Wait::kNone ? "" : fmt::format(", waiting in {}", wire::wait_name(wait));
  return fmt::format("rank {}{} hangs: {:.1f} s in phase {} after step {}{}{}", rank, where,
                     seconds, wire::phase_name(phase), step, doing,
                     silent ? ", and says nothing" : "");
}

std::optional<Hang> find_hang(std::span<const RankSignal> ranks, const Deadlines& deadlines,
                              double beat_seconds, double watched_since, double now) {
  const bool any_heard =
      std::any_of(ranks.begin(), ranks.end(), [](const RankSignal& r) { return r.heard; });
  if (!any_heard) return std::nullopt;
  if (auto hang = judge_the_left(ranks, deadlines, now)) return hang;
  bool over = false;
  std::optional<Hang> worst;
  for (std::size_t number = 0; number < ranks.size(); ++number) {
    if (ranks[number].left) continue;
    const Hang hang =
        look_at(ranks[number], static_cast<int>(number), beat_seconds, watched_since, now);
    const bool late = hang.seconds > deadlines[index(hang.phase)];
    over = over || late;
    if (!late && !hang.silent) continue;
    if (!worst || worse(hang, *worst)) worst = hang;
  }
  return over ? worst : std::nullopt;
}

}  // namespace talaria::coordinator
