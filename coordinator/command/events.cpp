// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/events.h"

#include <algorithm>

#include "cluster/base/text.h"
#include "coordinator/command/format.h"
#include "coordinator/command/view.h"
#include "launch/gate.h"

namespace talaria::coordinator {
namespace {

// ": reason" or nothing.
std::string because(const std::string& reason) {
  return reason.empty() ? "" : ": " + one_line(reason);
}

// "failed: reason"; a reason that says the word itself stands alone.
std::string told(const char* word, const std::string& reason) {
  return reason.starts_with(word) ? one_line(reason) : fmt::format("{}{}", word, because(reason));
}

const StageView* stage_of(const JobView& view, int stage) {
  for (const StageView& each : view.stages) {
    if (each.row.key.stage == stage) return &each;
  }
  return nullptr;
}

std::string wish_event(const TransitionRow& row) {
  if (row.from.empty()) return "";
  if (row.to == "stop") return "asked to stop with a checkpoint" + because(row.reason);
  if (row.to == "cancel") return "asked to cancel" + because(row.reason);
  if (row.to == "kill") return "asked to end at once" + because(row.reason);
  if (row.to == "run") return "asked to try again" + because(row.reason);
  return "";
}

// "; step 100, loss 2.314".
std::string reached(const launch::Artifact& artifact) {
  const std::string metrics = metrics_text(artifact);
  return fmt::format("; step {}{}{}", artifact.step, metrics.empty() ? "" : ", ", metrics);
}

std::string stage_event(const TransitionRow& row, const StageView& stage) {
  if (row.to == "backoff") {
    return fmt::format("failed{}; restart {} of at most {} in {}", because(row.reason),
                       stage.row.failures, stage.row.max_restarts,
                       format_duration(std::max(0.0, stage.row.not_before - row.time)));
  }
  if (row.to == "failed") return told("failed", row.reason);
  if (row.to == "done") {
    return told("done", row.reason) + (stage.artifact ? reached(*stage.artifact) : "");
  }
  if (row.to == "stopped") return told("stopped", row.reason);
  if (row.to == "cancelled") return told("cancelled", row.reason);
  if (row.to == "stopping") return told("stopping", row.reason);
  if (row.to == "queued" && !row.from.empty()) return told("queued", row.reason);
  return "";
}

std::string event_of(const TransitionRow& row, const JobView& view) {
  if (row.stage < 0) return wish_event(row);
  const StageView* stage = stage_of(view, row.stage);
  if (stage == nullptr) return "";
  std::string text;
  if (row.attempt == 0) {
    text = stage_event(row, *stage);
  } else if (row.to == "running") {
    text = fmt::format("attempt {} starts, {} ranks{}", row.attempt, stage->row.ranks,
                       because(row.reason));
  }
  if (text.empty() || view.stages.size() < 2) return text;
  return fmt::format("{}: {}", one_line(stage->row.name), text);
}

std::string stamped(double time, const std::string& text) {
  return fmt::format("{}  {}", format_clock(time), text);
}

}  // namespace

std::vector<std::string> EventLog::update(const JobView& view, double now) {
  std::vector<std::string> lines;
  for (; transitions_ < view.transitions.size(); ++transitions_) {
    const TransitionRow& row = view.transitions[transitions_];
    const bool own = row.stage < 0 && own_reasons_.count(row.reason) > 0;
    const std::string text = event_of(row, view);
    if (!text.empty() && !own) lines.push_back(stamped(row.time, text));
  }
  checkpoints_.resize(view.stages.size(), -1);
  for (std::size_t i = 0; i < view.stages.size(); ++i) {
    const std::int64_t step = view.stages[i].progress.checkpoint_step;
    const bool fresh = step > checkpoints_[i] && checkpoints_known_;
    if (fresh && step > 0)
      lines.push_back(stamped(now, fmt::format("checkpoint at step {}", step)));
    checkpoints_[i] = std::max(checkpoints_[i], step);
  }
  checkpoints_known_ = true;
  if (view.notice != notice_) {
    notice_ = view.notice;
    if (!notice_.empty()) lines.push_back(stamped(now, "warning: " + one_line(notice_)));
  }
  return lines;
}

void EventLog::skip(const JobView& view, std::size_t keep) {
  transitions_ = view.transitions.size() - std::min(keep, view.transitions.size());
}

std::string metrics_text(const launch::Artifact& artifact) {
  std::string text;
  for (const std::string& name : launch::key_metrics(artifact.kind)) {
    const auto found = artifact.metrics.find(name);
    if (found == artifact.metrics.end()) continue;
    text += fmt::format("{}{} {:.4g}", text.empty() ? "" : ", ", name, found->second);
  }
  return text;
}

std::string result_line(const JobView& view) {
  const StageView& stage = current_stage(view);
  std::vector<StageState> states;
  for (const StageView& each : view.stages) states.push_back(each.row.state);
  const StageState state = job_state(states);
  std::string details;
  if (stage.progress.step > 0) {
    details = fmt::format("{} steps, {}, ", stage.progress.step,
                          "loss " + format_loss(stage.progress.loss));
  }
  const double seconds = std::max(0.0, stage.row.since - view.job.submitted);
  const bool good = state == StageState::kDone;
  const std::string named =
      view.stages.size() > 1 ? fmt::format("stage {} ", one_line(stage.row.name)) : "";
  return fmt::format("{} {}in {}",
                     good ? "done:" : named + told(name(state), stage.row.reason) + ";", details,
                     format_duration(seconds));
}

}  // namespace talaria::coordinator
