// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/subprocess.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <span>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria {
namespace {

constexpr std::size_t kMostOutput = 1 << 20;
constexpr int kPollMilliseconds = 10;

struct Pipe {
  UniqueFd read_end, write_end;
};

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  check_sys(::pipe2(ends, O_CLOEXEC), "pipe2", "");
  Pipe pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
  check_sys(::fcntl(ends[0], F_SETFL, O_NONBLOCK), "fcntl", "pipe");
  return pipe;
}

// A file in memory: the program may read it or not, and nobody waits or gets a SIGPIPE.
UniqueFd input_file(const std::string& input) {
  if (input.empty()) return open_file("/dev/null", O_RDONLY);
  UniqueFd fd(check_sys(::memfd_create("input", MFD_CLOEXEC), "memfd_create", ""));
  write_all(fd.get(), std::as_bytes(std::span(input)), "standard input");
  check_sys(::lseek(fd.get(), 0, SEEK_SET), "lseek", "standard input");
  return fd;
}

// posix_spawnp, which says why a program could not be started; 0: it runs as `child`.
int spawn(const std::vector<std::string>& argv, int in, int out, int err, pid_t& child) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const int error = ::posix_spawnp(&child, words[0], &files, &attributes, words.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  return error;
}

// Takes what is there. False at the end of the stream.
bool drain(int fd, std::string& text) {
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return true;
    check_sys(got, "read", "pipe");
    if (got == 0) return false;
    text.append(buffer, std::min(static_cast<std::size_t>(got), kMostOutput - text.size()));
  }
}

bool has_ended(pid_t child) {
  siginfo_t info{};
  // Not reaped yet: its number, and so its group's, stays its own until then.
  check_sys(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT), "waitid",
            "");
  return info.si_pid == child;
}

void reap(pid_t child, Captured& result) {
  ::kill(-child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail_errno("waitpid", "");
  }
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  result.exit_code = WIFSIGNALED(status) ? 128 + result.signal : WEXITSTATUS(status);
}

}  // namespace

Captured run_captured(const std::vector<std::string>& argv, double timeout_seconds,
                      const std::string& input) {
  TALARIA_CHECK(!argv.empty());
  Captured result;
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  const UniqueFd in = input_file(input);
  pid_t child = -1;
  if (const int error = spawn(argv, in.get(), out.write_end.get(), err.write_end.get(), child)) {
    result.exit_code = 127;
    result.err = describe_errno("exec", argv[0], error);
    return result;
  }
  out.write_end.reset();
  err.write_end.reset();
  const double deadline = monotonic_seconds() + timeout_seconds;
  bool ended = false;
  while (!ended && !result.timed_out) {
    pollfd fds[] = {{out.read_end.get(), POLLIN, 0}, {err.read_end.get(), POLLIN, 0}};
    if (::poll(fds, 2, kPollMilliseconds) < 0 && errno != EINTR) fail_errno("poll", "pipes");
    ended = has_ended(child);
    if (out.read_end && !drain(out.read_end.get(), result.out)) out.read_end.reset();
    if (err.read_end && !drain(err.read_end.get(), result.err)) err.read_end.reset();
    result.timed_out = !ended && monotonic_seconds() >= deadline;
  }
  reap(child, result);
  return result;
}

}  // namespace talaria
