// SPDX-License-Identifier: Apache-2.0
#include "tests/system/kill_table/report.h"

#include <algorithm>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "cluster/base/text.h"

namespace talaria::kill_table {
namespace {

// "0.12 to 0.40", or "-" where nothing was measured.
std::string range(const std::vector<Blow>& blows, std::optional<double> Blow::*member) {
  std::optional<double> least;
  std::optional<double> most;
  for (const Blow& blow : blows) {
    if (!(blow.*member)) continue;
    least = std::min(least.value_or(*(blow.*member)), *(blow.*member));
    most = std::max(most.value_or(*(blow.*member)), *(blow.*member));
  }
  if (!least) return "-";
  if (blows.size() == 1) return fmt::format("{:.2f}", *least);
  return fmt::format("{:.2f} to {:.2f}", *least, *most);
}

std::string phases(const std::vector<Blow>& blows) {
  std::set<std::string> seen;
  for (const Blow& blow : blows) {
    if (!blow.phase.empty()) seen.insert(blow.phase);
  }
  return seen.empty() ? "-" : fmt::format("{}", fmt::join(seen, ", "));
}

// The line of an earlier text that begins so, with its line end; "" where there is none.
std::string line_of(const std::string& text, const std::string& beginning) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(beginning)) return line + "\n";
  }
  return "";
}

}  // namespace

void Report::add(const Row& row, const Blow& blow) {
  ++blows_;
  if (!blow.complaints.empty()) ++failed_;
  if (table_.empty() || table_.back().first != &row) table_.emplace_back(&row, std::vector<Blow>{});
  table_.back().second.push_back(blow);
  fmt::print(
      "{:13} at {:5.2f} s  phase {:8}  noticed {:>6}  next step {:>6}  restarts {}  {}\n", row.name,
      blow.instant, blow.phase.empty() ? "-" : blow.phase,
      blow.notice ? fmt::format("{:.2f} s", *blow.notice) : "-",
      blow.next_step ? fmt::format("{:.2f} s", *blow.next_step) : "-", blow.restarts,
      blow.complaints.empty() ? "ok" : fmt::format("FAILED: {}", fmt::join(blow.complaints, "; ")));
  if (!blow.text.empty()) fmt::print("              {}\n", one_line(blow.text));
  if (!blow.output.empty()) fmt::print("{}\n", blow.output);
}

std::string Report::table_line(const Row& row, const std::vector<Blow>& blows) const {
  int restarts = 0;
  bool good = true;
  for (const Blow& blow : blows) {
    restarts += blow.restarts;
    good = good && blow.complaints.empty();
  }
  const char* const result = !good             ? "FAILED"
                             : row.ends_failed ? "failed, says the remedy"
                                               : "same bits";
  return fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", row.title, blows.size(),
                     phases(blows), range(blows, &Blow::notice), range(blows, &Blow::next_step),
                     restarts, result, seed_);
}

std::string Report::markdown(const std::string& previous) const {
  std::string text =
      "# What was measured when things fail\n\n"
      "Written by `scripts/failures`; do not edit. A real job of 8 ranks (tensor 2, pipeline 2, "
      "data 2, invariant\n"
      "numerics; pretraining of 90 steps with a checkpoint every 15, PPO of 16 with one every 4) "
      "is "
      "started by `talaria run` and\n"
      "disturbed at random instants, in PPO's rows of the phase that is named. Every run must\n"
      "end by itself with the `loss_bits` of every step and the `weights_hash` of the undisturbed "
      "run, with no process of\n"
      "the run left under /proc and nothing left under /dev/shm, in the temporary directory or in "
      "the control groups.\n"
      "Bars: a dead process is noticed within 2 s, a hang within its deadline (here 4 s) + 5 s, a "
      "cut link within 15 s; from\n"
      "notice to the next step at most 15 s; no restart for the short stop. A full disk is noticed "
      "when something is written:\n"
      "its time is counted from the rank's death; that of a stopped mpirun from the 4 s that it "
      "may stand still. The rank that\n"
      "was struck must be named, with its phase, in events.jsonl; other victims have no phase.\n\n";
  text +=
      "| what happens | blows | phases hit | noticed after, s | to the next step, s | restarts | "
      "result | seed |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const Row& row : rows()) {
    const auto found = std::find_if(table_.begin(), table_.end(),
                                    [&](const auto& each) { return each.first == &row; });
    text += found == table_.end() ? line_of(previous, fmt::format("| {} |", row.title))
                                  : table_line(row, found->second);
  }
  return text;
}

}  // namespace talaria::kill_table
