// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/view.h"

#include <algorithm>
#include <cmath>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "coordinator/command/format.h"

namespace talaria::coordinator {
namespace {

constexpr const char* kBold = "\033[1m";
constexpr const char* kGreen = "\033[32m";
constexpr const char* kYellow = "\033[33m";
constexpr const char* kRed = "\033[31m";
constexpr const char* kPlain = "\033[0m";

const char* color_of(StageState state) {
  switch (state) {
    case StageState::kRunning:
    case StageState::kDone:
      return kGreen;
    case StageState::kFailed:
    case StageState::kCancelled:
      return kRed;
    default:
      return kYellow;
  }
}

// Words of a line with the colours they are drawn in.
struct Field {
  std::string text;
  const char* color = "";
};

// Sets fields two blanks apart, as many on a line as fit; what is too long for one is cut.
void flow(std::vector<std::string>& lines, const std::vector<Field>& fields,
          const ViewStyle& style) {
  std::string line;
  int used = 0;
  for (const Field& field : fields) {
    if (field.text.empty()) continue;
    const std::string text = clip(field.text, style.width);
    const int width = display_width(text);
    if (used > 0 && used + 2 + width > style.width) {
      lines.push_back(line);
      line.clear();
      used = 0;
    }
    if (used > 0) line += "  ";
    const bool colored = style.color && *field.color != '\0';
    line += colored ? field.color + text + kPlain : text;
    used += (used > 0 ? 2 : 0) + width;
  }
  if (used > 0) lines.push_back(line);
}

std::string bar(std::int64_t step, std::int64_t steps, int width) {
  const double share = steps > 0 ? static_cast<double>(step) / static_cast<double>(steps) : 0.0;
  const auto filled = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
  return fmt::format("[{:#<{}}{:.<{}}] {:3.0f} %", "", filled, "", width - filled,
                     std::floor(100.0 * std::clamp(share, 0.0, 1.0)));
}

std::vector<Field> heading(const JobView& view, const StageView& stage, double now) {
  const StageRow& row = stage.row;
  std::vector<Field> fields = {{one_line(view.job.name), kBold},
                               {name(row.state), color_of(row.state)}};
  if (view.stages.size() > 1) {
    fields.push_back(
        {fmt::format("{} ({}/{})", one_line(row.name), row.key.stage + 1, view.stages.size())});
  }
  if (row.attempt) fields.push_back({fmt::format("attempt {}", row.attempt->attempt)});
  if (row.state == StageState::kBackoff) {
    fields.push_back({fmt::format(
        "again in {}", format_duration(std::ceil(std::max(0.0, row.not_before - now))))});
  }
  const double end = ended(row.state) ? row.since : now;
  fields.push_back({"elapsed " + format_duration(std::floor(end - view.job.submitted))});
  return fields;
}

// Empty while there is nothing to tell.
std::string speed_field(const ProgressView& p) {
  return p.tokens_per_second > 0.0 ? format_count(p.tokens_per_second) + " tok/s" : "";
}
std::string mfu_field(const ProgressView& p) {
  return p.mfu > 0.0 ? fmt::format("MFU {:.1f} %", 100.0 * p.mfu) : "";
}
std::string loss_field(const ProgressView& p) {
  return p.step > 0 ? "loss " + format_loss(p.loss) : "";
}
std::string validation_field(const ProgressView& p) {
  return p.validation_loss ? "val " + format_loss(*p.validation_loss) : "";
}
std::string checkpoint_field(const ProgressView& p) {
  return p.checkpoint_step >= 0 ? fmt::format("checkpoint {}", p.checkpoint_step) : "";
}

// Ranks are at work: speed and time left mean something.
bool at_work(const StageRow& row) {
  return row.state == StageState::kRunning || row.state == StageState::kStopping;
}

// What rank 0 does, where that is not a step.
std::string phase_field(const StageView& stage) {
  if (!at_work(stage.row)) return "";
  if (stage.ranks.empty() || !stage.ranks.front().connected) return "ranks start";
  const std::string& phase = stage.ranks.front().phase;
  return phase.empty() || phase == "step" ? "" : "in " + one_line(phase);
}

std::vector<Field> work(const StageView& stage) {
  const ProgressView& p = stage.progress;
  const StageRow& row = stage.row;
  const bool works = at_work(row);
  std::vector<Field> fields = {{loss_field(p)},
                               {validation_field(p)},
                               {works ? speed_field(p) : ""},
                               {works ? mfu_field(p) : ""}};
  if (holds_slot(row.state)) {
    fields.push_back({fmt::format("ranks {}/{}", p.ranks_connected, row.ranks)});
  }
  fields.push_back({checkpoint_field(p)});
  if (row.restarts > 0) {
    fields.push_back({fmt::format("restarts {}/{}", row.restarts, row.max_restarts), kYellow});
  }
  fields.push_back({phase_field(stage)});
  return fields;
}

}  // namespace

const StageView& current_stage(const JobView& view) {
  TALARIA_CHECK(!view.stages.empty());
  const auto find = [&](auto wanted) {
    return std::find_if(view.stages.begin(), view.stages.end(),
                        [&](const StageView& stage) { return wanted(stage.row.state); });
  };
  if (const auto at = find(holds_slot); at != view.stages.end()) return *at;
  const auto open = find([](StageState state) { return state != StageState::kDone; });
  return open == view.stages.end() ? view.stages.back() : *open;
}

std::vector<std::string> progress_block(const JobView& view, const ViewStyle& style, double now) {
  const StageView& stage = current_stage(view);
  const ProgressView& p = stage.progress;
  std::vector<std::string> lines;
  flow(lines, heading(view, stage, now), style);
  if (p.steps > 0) {
    const int width = std::clamp(style.width - 45, 10, 40);
    std::vector<Field> fields = {{bar(p.step, p.steps, width)},
                                 {fmt::format("step {}/{}", p.step, p.steps)}};
    if (p.seconds_left > 0.0 && at_work(stage.row)) {
      fields.push_back({"ETA " + format_duration(std::round(p.seconds_left))});
    }
    flow(lines, fields, style);
  }
  flow(lines, work(stage), style);
  if (!view.notice.empty()) flow(lines, {{"warning: " + one_line(view.notice), kYellow}}, style);
  return lines;
}

std::string progress_line(const JobView& view) {
  const StageView& stage = current_stage(view);
  const ProgressView& p = stage.progress;
  if (p.steps == 0 || p.ranks_connected == 0 || !at_work(stage.row)) return "";
  std::vector<std::string> parts = {
      view.stages.size() > 1 ? one_line(stage.row.name) : "",
      fmt::format("step {}/{}", p.step, p.steps),
      loss_field(p),
      validation_field(p),
      speed_field(p),
      mfu_field(p),
      p.seconds_left > 0.0 ? "ETA " + format_duration(std::round(p.seconds_left)) : "",
      p.ranks_connected < stage.row.ranks
          ? fmt::format("ranks {}/{}", p.ranks_connected, stage.row.ranks)
          : "",
      checkpoint_field(p)};
  std::string line;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    line += (line.empty() ? "" : "  ") + part;
  }
  return line;
}

std::vector<std::string> wrap(const std::string& text, int width, int indent) {
  std::vector<std::string> lines;
  std::string line;
  std::size_t at = 0;
  while (at < text.size()) {
    // A word with the blanks before it.
    const std::size_t word = std::min(text.find_first_not_of(' ', at), text.size());
    const std::size_t end = std::min(text.find(' ', word), text.size());
    const std::string piece = text.substr(at, end - at);
    const bool fits = display_width(line) + display_width(piece) <= width;
    const bool begun = line.find_first_not_of(' ') != std::string::npos;
    if (!fits && begun) {
      lines.push_back(line);
      line.assign(static_cast<std::size_t>(std::min(indent, width / 2)), ' ');
      line += text.substr(word, end - word);
    } else {
      line += piece;
    }
    at = end;
  }
  if (!line.empty()) lines.push_back(line);
  return lines;
}

}  // namespace talaria::coordinator
