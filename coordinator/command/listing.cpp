// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/listing.h"

#include <cmath>

#include <boost/json.hpp>

#include "cluster/base/text.h"
#include "coordinator/api/lineage.h"
#include "coordinator/command/events.h"
#include "coordinator/command/follow.h"
#include "coordinator/command/format.h"
#include "coordinator/command/table.h"
#include "coordinator/command/view.h"

namespace talaria::coordinator {
namespace {

std::string dash() { return std::string(1, '-'); }

std::string or_dash(const std::string& text) { return text.empty() ? dash() : text; }

std::string ago(double time, double now) {
  return time > 0.0 ? format_duration(std::floor(std::max(0.0, now - time))) : dash();
}

std::string step_cell(const ProgressView& p) {
  if (p.step == 0 && p.steps == 0) return dash();
  return p.steps > 0 ? fmt::format("{}/{}", p.step, p.steps) : std::to_string(p.step);
}

std::string stage_cell(const JobView& view) {
  const StageRow& row = current_stage(view).row;
  if (view.stages.size() < 2) return row.kind;
  return fmt::format("{} {}/{}", row.name, row.key.stage + 1, view.stages.size());
}

// With the folder of a run, where that is called otherwise.
std::string name_cell(const FoundJob& job) {
  const std::string folder = std::filesystem::path(job.view.job.run_directory).filename().string();
  const std::string& name = job.view.job.name;
  return job.daemon || folder == name ? name : fmt::format("{} ({})", name, folder);
}

std::string score_cell(const SampleAnswer& answer) { return fmt::format("{:.3f}", answer.score); }

std::string attempts_table(const StageView& stage, double now, int width) {
  Table table({">ATTEMPT", "STATE", "OUTCOME", ">EXIT", "STARTED", ">LASTED", "REASON"});
  for (const AttemptRow& row : stage.attempts) {
    const bool over = row.state == AttemptState::kEnded;
    table.add({std::to_string(row.attempt), name(row.state), or_dash(row.outcome),
               over ? std::to_string(row.exit_code) : dash(), format_date(row.planned),
               ago(row.planned, over ? row.ended : now), or_dash(row.reason)});
  }
  return table.text(width);
}

std::string ranks_table(const StageView& stage, int width) {
  Table table({">RANK", "HOST", ">PID", "PHASE", ">FOR", ">STEP", "WAITS IN", ">MEMORY", ">HEARD"});
  for (const RankView& rank : stage.ranks) {
    table.add({std::to_string(rank.rank), or_dash(rank.host),
               rank.pid > 0 ? std::to_string(rank.pid) : dash(), or_dash(rank.phase),
               format_duration(rank.phase_seconds), std::to_string(rank.step), or_dash(rank.wait),
               format_bytes(rank.rss_bytes),
               rank.connected ? format_duration(rank.silent_seconds) : "away"});
  }
  return table.text(width);
}

// Answers before and after the training. A prompt may be pages long, so that the table has a width
// also where there is no terminal.
std::string samples_table(const StageView& stage, int width) {
  constexpr int kWidthOfFiles = 160;
  std::int64_t step = -1;
  for (const SampleView& row : stage.samples) {
    if (row.now) step = std::max(step, row.now->step);
  }
  std::vector<std::string> headings = {"PROMPT", "ANSWER BEFORE", ">SCORE"};
  if (step >= 0) {
    headings = {"PROMPT", "ANSWER BEFORE", fmt::format("ANSWER AT STEP {}", step), ">SCORE BEFORE",
                ">NOW"};
  }
  Table table(headings);
  for (const SampleView& row : stage.samples) {
    std::vector<std::string> cells = {row.prompt, row.before.text, score_cell(row.before)};
    if (step >= 0) {
      cells.insert(cells.begin() + 2, row.now ? row.now->text : dash());
      cells.push_back(row.now ? score_cell(*row.now) : dash());
    }
    table.add(cells);
  }
  return table.text(width > 0 ? width : kWidthOfFiles);
}

std::string history_table(const JobView& view, int width) {
  Table table({"TIME", "OF", "FROM", "TO", "REASON"});
  for (const TransitionRow& row : view.transitions) {
    std::string of = "job";
    if (row.stage >= 0) {
      const auto at = static_cast<std::size_t>(row.stage);
      of = at < view.stages.size() ? view.stages[at].row.name : std::to_string(row.stage);
      if (row.attempt > 0) of += fmt::format(" attempt {}", row.attempt);
    }
    table.add({format_date(row.time), of, or_dash(row.from), row.to, or_dash(row.reason)});
  }
  return table.text(width);
}

std::string gate_text(const GateView& gate) {
  if (!gate.value) return gate.gate + ", not measured yet";
  return fmt::format("{}, {}: {:.6g}", gate.gate,
                     gate.holds.value_or(false) ? "holds" : "does not hold", *gate.value);
}

// What the stage hands on, and what it was made from.
std::string artifact_text(const launch::Artifact& artifact, const JobView& view) {
  std::string text;
  const auto line = [&](const std::string& key, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<16}{}\n", one_line(key), one_line(value));
  };
  line("hands on", fmt::format("{} (weights {})", artifact.checkpoint, artifact.weights_hash));
  line("metrics", metrics_text(artifact));
  line("made from", fmt::format("data {}, job file {}", artifact.data, artifact.job_hash));
  for (const launch::Origin& origin : artifact.origins) {
    const std::string stage = origin_stage(view, origin);
    line("start." + origin.role, fmt::format("{}, step {} (weights {})",
                                             stage.empty() ? origin.checkpoint : "stage " + stage,
                                             origin.step, origin.weights_hash));
  }
  return text;
}

std::string stage_text(const StageView& stage, const JobView& view, double now, int width) {
  const StageRow& row = stage.row;
  std::string text = fmt::format(
      "\nstage {} ({}): {} for {}, {} ranks, {} restarts, at most {} "
      "failures in a row\n",
      one_line(row.name), one_line(row.kind), name(row.state), ago(row.since, now), row.ranks,
      row.restarts, row.max_restarts);
  const auto line = [&](const char* key, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<16}{}\n", key, one_line(value));
  };
  line("reason", row.reason);
  std::string after;
  for (const std::string& each : row.after) after += (after.empty() ? "" : ", ") + each;
  line("after", after);
  for (const GateView& gate : stage.gates) line("gate", gate_text(gate));
  line("run directory", row.run_directory);
  const ProgressView& p = stage.progress;
  if (p.step > 0 || p.steps > 0) {
    line("step", step_cell(p));
    line("loss", format_loss(p.loss));
    if (p.validation_loss) line("validation loss", format_loss(*p.validation_loss));
    if (p.tokens_per_second > 0.0) line("tokens/s", format_count(p.tokens_per_second));
    if (p.mfu > 0.0) line("MFU", fmt::format("{:.1f} %", 100.0 * p.mfu));
    if (p.checkpoint_step >= 0) line("last checkpoint", fmt::format("step {}", p.checkpoint_step));
    if (p.seconds_left > 0.0) line("ETA", format_duration(std::round(p.seconds_left)));
  }
  if (stage.artifact) text += artifact_text(*stage.artifact, view);
  if (!stage.samples.empty()) text += fmt::format("\n{}", samples_table(stage, width));
  if (!stage.attempts.empty()) text += fmt::format("\n{}", attempts_table(stage, now, width));
  if (!stage.ranks.empty()) text += fmt::format("\n{}", ranks_table(stage, width));
  return text;
}

}  // namespace

std::string jobs_table(const std::vector<FoundJob>& jobs, double now, int width) {
  Table table(
      {">ID", "NAME", "USER", "STATE", "STAGE", ">STEP", ">LOSS", ">TOK/S", ">ETA", ">SINCE"});
  for (const FoundJob& job : jobs) {
    const StageView& stage = current_stage(job.view);
    const ProgressView& p = stage.progress;
    const bool works = holds_slot(stage.row.state);
    table.add({job.daemon ? std::to_string(job.view.job.id) : "run", name_cell(job),
               job.view.job.user, job.state_word(), stage_cell(job.view), step_cell(p),
               p.step > 0 ? format_loss(p.loss) : dash(),
               works && p.tokens_per_second > 0.0 ? format_count(p.tokens_per_second) : dash(),
               works && p.seconds_left > 0.0 ? format_duration(std::round(p.seconds_left)) : dash(),
               ago(stage.row.since, now)});
  }
  return table.text(width);
}

std::string jobs_json(const std::vector<FoundJob>& jobs) {
  boost::json::array all;
  for (const FoundJob& job : jobs) {
    boost::json::object object = boost::json::parse(to_json(job.view, Detail::kList)).as_object();
    object["source"] = job.daemon ? "daemon" : "run";
    object["served"] = job.served;
    object["state"] = job.state_word();
    all.push_back(std::move(object));
  }
  return boost::json::serialize(boost::json::object{{"jobs", std::move(all)}});
}

std::string job_text(const JobView& view, const std::string& state, double now, int width) {
  const JobRow& job = view.job;
  std::string text = fmt::format("job {}  {}  {}\n", job.id, one_line(job.name), state);
  const auto line = [&](const char* key, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<16}{}\n", key, one_line(value));
  };
  line("user", fmt::format("{} (uid {})", job.user, job.uid));
  line("submitted",
       fmt::format("{} ({} ago)", format_date(job.submitted), ago(job.submitted, now)));
  line("asked for", job.wish == Wish::kRun ? "" : name(job.wish));
  line("run directory", job.run_directory);
  line("started in", job.working_directory);
  line("warning", view.notice);
  for (const StageView& stage : view.stages) text += stage_text(stage, view, now, width);
  if (!view.transitions.empty()) text += fmt::format("\n{}", history_table(view, width));
  return text;
}

}  // namespace talaria::coordinator
