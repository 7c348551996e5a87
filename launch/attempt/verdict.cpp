// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/verdict.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <iterator>
#include <sstream>
#include <string_view>

#include <fmt/format.h>
#include <sys/wait.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria::launch {
namespace {

constexpr std::size_t kMostLines = 20;
constexpr std::size_t kMostLineBytes = 400;
constexpr double kTogetherSeconds = 1.0;

bool ended_well(const RankExit& exit) {
  return exit.signal == 0 && (exit.exit_code == kExitDone || exit.exit_code == kExitStoppedEarly);
}

std::vector<RankExit> failures(const Facts& facts) {
  std::vector<RankExit> list;
  std::copy_if(facts.before_kill.begin(), facts.before_kill.end(), std::back_inserter(list),
               is_failure);
  std::sort(list.begin(), list.end(),
            [](const RankExit& a, const RankExit& b) { return a.ended < b.ended; });
  return list;
}

bool all_ended_with(const Facts& facts, int code) {
  return static_cast<int>(facts.exits.size()) == facts.ranks &&
         std::all_of(facts.exits.begin(), facts.exits.end(), [code](const RankExit& exit) {
           return exit.signal == 0 && exit.exit_code == code;
         });
}

// `failed` is sorted by time; `first` is one of them.
Verdict failed_rank(Outcome outcome, const RankExit& first, const std::vector<RankExit>& failed,
                    const Facts& facts) {
  Verdict verdict{outcome, describe(first), first, failed.front().ended};
  if (first.signal != 0) return verdict;
  for (const RankExit& exit : failed) {
    const bool together = exit.signal == 0 && exit.exit_code == first.exit_code &&
                          std::abs(exit.ended - first.ended) < kTogetherSeconds;
    const auto words = facts.last_words.find(exit.rank);
    if (!together || words == facts.last_words.end()) continue;
    verdict.first = exit;
    verdict.reason = fmt::format("{}: {}", describe(exit), without_time(words->second));
    return verdict;
  }
  return verdict;
}

// No rank's record tells of a failure, and not all ranks tell of a good end.
Verdict judge_command(const Facts& facts) {
  if (!facts.command_status) {
    return {Outcome::kFailed, "the attempt ended before its ranks did", std::nullopt, 0.0};
  }
  const int status = *facts.command_status;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  // A command that starts no `talaria-launch rank` speaks for its ranks.
  if (facts.exits.empty() && signal == 0) {
    if (code == kExitDone) return {Outcome::kDone, "", std::nullopt, 0.0};
    if (code == kExitStoppedEarly) {
      return {Outcome::kStopped, "stopped with a checkpoint", std::nullopt, 0.0};
    }
  }
  std::string reason =
      fmt::format("{} {}", facts.command, describe_end(code, signal, facts.command_out_of_memory));
  if (signal == 0) {
    reason += fmt::format(", and {} of {} ranks left no word of their end",
                          static_cast<std::size_t>(facts.ranks) - facts.exits.size(), facts.ranks);
    // Open MPI frames its messages with lines of dashes.
    const auto words = std::find_if(
        facts.command_lines.begin(), facts.command_lines.end(),
        [](const std::string& line) { return line.find_first_not_of('-') != std::string::npos; });
    if (words != facts.command_lines.end()) reason += ": " + *words;
  }
  return {Outcome::kFailed, reason, std::nullopt, 0.0};
}

}  // namespace

bool is_failure(const RankExit& exit) { return !exit.orphaned && !ended_well(exit); }

std::string describe_end(int exit_code, int signal, bool out_of_memory) {
  if (signal == 0) return fmt::format("ended with exit code {}", exit_code);
  const char* name = ::sigabbrev_np(signal);
  return fmt::format("was killed by signal {} ({}{}){}", signal, name == nullptr ? "" : "SIG",
                     name == nullptr ? "unknown" : name,
                     out_of_memory ? ": the kernel ran out of memory for it" : "");
}

std::string describe(const RankExit& exit) {
  std::string where;
  if (exit.phase == "step") {
    where = fmt::format(" in step {}", exit.step + 1);
  } else if (!exit.phase.empty()) {
    where = fmt::format(" in phase {} after step {}", one_line(exit.phase), exit.step);
  }
  return fmt::format("rank {} on {} {}{}", exit.rank, one_line(exit.node),
                     describe_end(exit.exit_code, exit.signal, exit.out_of_memory), where);
}

Verdict judge(const Facts& facts) {
  if (facts.never_started) {
    return {Outcome::kStopped, "stopped before a rank was started", std::nullopt, 0.0};
  }
  if (all_ended_with(facts, kExitDone)) return {Outcome::kDone, "", std::nullopt, 0.0};
  if (all_ended_with(facts, kExitStoppedEarly)) {
    return {Outcome::kStopped, "stopped with a checkpoint", std::nullopt, 0.0};
  }
  const std::vector<RankExit> failed = failures(facts);
  for (const RankExit& exit : failed) {
    if (exit.signal == 0 && exit.exit_code == kExitUsage) {
      return failed_rank(Outcome::kInvalid, exit, failed, facts);
    }
  }
  if (!failed.empty()) return failed_rank(Outcome::kFailed, failed.front(), failed, facts);
  if (!facts.cause.empty()) return {Outcome::kFailed, facts.cause, std::nullopt, 0.0};
  if (std::count_if(facts.exits.begin(), facts.exits.end(), ended_well) == facts.ranks) {
    return {Outcome::kFailed, "some ranks were done and others had stopped", std::nullopt, 0.0};
  }
  return judge_command(facts);
}

int outcome_code(Outcome outcome) {
  switch (outcome) {
    case Outcome::kDone:
      return kExitDone;
    case Outcome::kStopped:
      return kExitStoppedEarly;
    case Outcome::kInvalid:
      return kExitUsage;
    case Outcome::kFailed:
      break;
  }
  return kExitFailed;
}

std::string without_time(const std::string& line) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd.dddZ ";
  if (line.size() < kForm.size()) return line;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = line[i] >= '0' && line[i] <= '9';
    if (kForm[i] == 'd' ? !digit : line[i] != kForm[i]) return line;
  }
  return line.substr(kForm.size());
}

std::vector<std::string> last_lines(const std::string& end_of_log) {
  std::vector<std::string> lines;
  std::istringstream stream(end_of_log);
  for (std::string line; std::getline(stream, line);) {
    while (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.size() > kMostLineBytes) line.resize(kMostLineBytes);
    if (!line.empty()) lines.push_back(one_line(line));
  }
  if (lines.size() > kMostLines) lines.erase(lines.begin(), lines.end() - kMostLines);
  return lines;
}

}  // namespace talaria::launch
