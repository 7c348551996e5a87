// SPDX-License-Identifier: Apache-2.0
// The names of an attempt's files, and what a coordinator finds out from them: is the launcher
// alive, how did the attempt end.
#include <charconv>
#include <csignal>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/lock_file.h"
#include "launch/attempt/attempt.h"
#include "launch/attempt/pidfd.h"
#include "launch/attempt/small_file.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;

bool is_locked(int fd, const fs::path& path) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  check_sys(::fcntl(fd, F_OFD_GETLK, &lock), "fcntl(F_OFD_GETLK)", path.string());
  return lock.l_type != F_UNLCK;
}

// "pid 17 on host, attempt ID": all of it or nothing.
void read_holder(std::string_view text, LauncherState& state) {
  const auto take = [&text](std::string_view word) {
    if (!text.starts_with(word)) return false;
    text.remove_prefix(word.size());
    return true;
  };
  const auto take_name = [&text](std::string_view allowed) {
    const std::string_view name = text.substr(0, text.find_first_not_of(allowed));
    text.remove_prefix(name.size());
    return std::string(name.size() <= 255 ? name : "");
  };
  if (!take("pid ")) return;
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || pid < 1) return;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (!take(" on ")) return;
  constexpr std::string_view kIdLetters = "abcdefghijklmnopqrstuvwxyz0123456789-";
  constexpr std::string_view kHostLetters =
      "abcdefghijklmnopqrstuvwxyz0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ._";
  const std::string host = take_name(kHostLetters);
  if (host.empty() || !take(", attempt ")) return;
  const std::string id = take_name(kIdLetters);
  if (id.empty() || (text != "\n" && !text.empty())) return;
  state.pid = pid;
  state.host = host;
  state.attempt_id = id;
}

// The state, and the owner of the lock's file.
std::pair<LauncherState, uid_t> look(const fs::path& run_directory) {
  LauncherState state;
  const fs::path path = run_directory / "launch.lock";
  const UniqueFd fd = open_small_file(run_directory, "launch.lock");
  if (!fd || !is_locked(fd.get(), path)) return {state, 0};
  state.alive = true;
  char text[512];
  const ssize_t got = check_sys(::pread(fd.get(), text, sizeof text, 0), "read", path.string());
  read_holder(std::string_view(text, static_cast<std::size_t>(got)), state);
  struct stat info {};
  check_sys(::fstat(fd.get(), &info), "fstat", path.string());
  return {state, info.st_uid};
}

}  // namespace

fs::path attempt_folder(const fs::path& run_directory, int attempt) {
  return run_directory / fmt::format("attempt-{:03}", attempt);
}

std::string rank_file(int rank, const char* ending) {
  return fmt::format("rank-{:05}{}", rank, ending);
}

LauncherState find_launcher(const fs::path& run_directory) { return look(run_directory).first; }

bool signal_launcher(const fs::path& run_directory, const std::string& attempt_id, int signal) {
  const auto [state, owner] = look(run_directory);
  if (!state.alive || state.attempt_id != attempt_id || state.host != host_name()) return false;
  const UniqueFd process = open_process(state.pid);
  if (!process) return false;
  struct stat info {};
  if (::stat(fmt::format("/proc/{}", state.pid).c_str(), &info) != 0 || info.st_uid != owner) {
    return false;
  }
  // Still the holder: so the pid was its own when the handle was opened.
  const LauncherState again = find_launcher(run_directory);
  if (!again.alive || again.pid != state.pid || again.attempt_id != attempt_id) return false;
  return signal_process(process, signal);
}

std::optional<ExitReport> read_exit(const fs::path& run_directory, int attempt) {
  const fs::path folder = attempt_folder(run_directory, attempt).filename();
  const std::optional<std::string> text = read_small_file(run_directory, folder / "exit.json");
  if (!text) return std::nullopt;
  try {
    return parse_exit(*text);
  } catch (const Error& error) {
    fail("{}: {}", (run_directory / folder).string(), error.what());
  }
}

}  // namespace talaria::launch
