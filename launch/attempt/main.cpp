// SPDX-License-Identifier: Apache-2.0
// talaria-launch: the launcher of one attempt, whose spec is on standard input; and `talaria-launch
// rank`, which stands beside each rank. People start neither: `talaria run` does.
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/crash_point.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "cluster/wire/rank_status.h"
#include "launch/attempt/attempt.h"
#include "launch/attempt/launcher.h"
#include "launch/attempt/rank_shim.h"
#include "launch/attempt/supervisor.h"

namespace talaria::launch {
namespace {

constexpr const char* kHelp =
    "talaria-launch < spec.json                           run one attempt of a job\n"
    "talaria-launch rank --attempt-dir D -- COMMAND...    start a rank and say what it died of\n"
    "Both are started by talaria. Exit codes of the first: 0 attempt-NNN/exit.json tells the end,\n"
    "1 not even that could be written, 2 wrong usage, 3 another launcher has the run directory.\n";

constexpr std::size_t kMostSpecBytes = std::size_t{8} << 20;

std::string read_standard_input() {
  std::string text;
  char buffer[1 << 14];
  while (text.size() <= kMostSpecBytes) {
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (check_sys(got, "read", "standard input") == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  fail_usage("talaria-launch: the spec on standard input is above {} bytes", kMostSpecBytes);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> environment() {
  std::vector<std::string> list;
  for (char** entry = ::environ; *entry != nullptr; ++entry) list.emplace_back(*entry);
  return list;
}

// All processes of a tree inherit the variable: a name that does not begin with "launch." is of
// another program.
void arm_crash(const std::string& text, int attempt) {
  if (!text.starts_with("launch.")) return;
  const CrashOrder order = parse_crash_order(text, "TALARIA_CRASH_POINT");
  if (order.attempt != 0 && order.attempt != attempt) return;
  arm_crash_point(launcher_crash_points(), order.name, order.hit);
}

// A session of its own: what is sent to the starter's terminal or group does not come here. The
// leader of a group cannot have one, so its child becomes the launcher.
void begin_session() {
  if (::getsid(0) == ::getpid() || ::setsid() >= 0) return;
  const pid_t child = check_sys(::fork(), "fork", "talaria-launch");
  if (child == 0) {
    check_sys(::setsid(), "setsid", "talaria-launch");
    return;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  std::_Exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int launch_command() {
  block_launcher_signals();
  begin_session();
  ::close_range(STDERR_FILENO + 1, ~0U, 0);
  const std::string text = read_standard_input();
  AttemptSpec spec;
  try {
    spec = parse_spec(text);
  } catch (const Error& error) {
    fail_usage("talaria-launch: {}", error.what());
  }
  arm_crash(variable("TALARIA_CRASH_POINT"), spec.attempt);
  return run_launcher(spec, environment());
}

int own_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
    const std::string text = variable(name);
    int rank = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rank);
    if (error == std::errc() && end == text.data() + text.size() && rank >= 0) return rank;
  }
  fail_usage("talaria-launch rank: no rank in the environment; start it with mpirun or srun");
}

int rank_command(const std::vector<std::string>& words) {
  if (words.size() < 4 || words[0] != "--attempt-dir" || words[2] != "--") {
    fail_usage("talaria-launch rank: allowed is: --attempt-dir D -- COMMAND...");
  }
  ShimOptions options;
  options.rank = own_rank();
  options.attempt_folder = words[1];
  options.attempt_id = variable(wire::kAttemptIdVariable);
  if (!options.attempt_id.empty() && !is_attempt_id(options.attempt_id)) {
    fail_usage("{}: not of the form [a-z0-9-]+", wire::kAttemptIdVariable);
  }
  options.argv.assign(words.begin() + 3, words.end());
  options.environment = environment();
  return run_rank(options);
}

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) return launch_command();
  if (words[0] == "rank") return rank_command({words.begin() + 1, words.end()});
  if (words[0] == "--help" || words[0] == "-h") {
    fmt::print("{}", kHelp);
    return kExitDone;
  }
  fail_usage("talaria-launch: {}: unknown word; see talaria-launch --help", in_quotes(words[0]));
}

}  // namespace
}  // namespace talaria::launch

int main(int argc, char** argv) {
  talaria::set_log_identity("talaria-launch");
  try {
    return talaria::launch::run(argc, argv);
  } catch (const talaria::UsageError& error) {
    talaria::log_line(error.what());
    return talaria::kExitUsage;
  } catch (const std::exception& error) {
    talaria::log_line(error.what());
    return talaria::kExitFailed;
  }
}
