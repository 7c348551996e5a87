// SPDX-License-Identifier: Apache-2.0
#include "tests/support/child_process.h"

#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria {
namespace {

[[noreturn]] void become(const std::vector<std::string>& argv, int output) {
  ::setpgid(0, 0);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                           "OMPI_MCA_mpi_yield_when_idle"}) {
    ::setenv(name, "1", 1);
  }
  ::setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
  std::vector<char*> pointers;
  for (const std::string& arg : argv) pointers.push_back(const_cast<char*>(arg.c_str()));
  pointers.push_back(nullptr);
  ::execvp(pointers[0], pointers.data());
  ::_exit(127);
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& argv, double timeout_seconds,
                      const std::function<void(pid_t, const std::string&)>& watch) {
  int ends[2];
  check_sys(::pipe2(ends, O_CLOEXEC), "pipe2", "output");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t pid = check_sys(::fork(), "fork", argv[0]);
  if (pid == 0) become(argv, write_end.get());
  write_end.reset();

  ChildResult result;
  const double deadline = monotonic_seconds() + timeout_seconds;
  char buffer[4096];
  // The pipe closes when the last process of the group has gone.
  while (true) {
    struct pollfd ready = {read_end.get(), POLLIN, 0};
    const int count = ::poll(&ready, 1, 5);
    if (count > 0) {
      const ssize_t got = ::read(read_end.get(), buffer, sizeof buffer);
      if (got == 0) break;
      if (got > 0) result.output.append(buffer, static_cast<std::size_t>(got));
    }
    if (watch) watch(pid, result.output);
    if (!result.timed_out && monotonic_seconds() > deadline) {
      result.timed_out = true;
      ::kill(-pid, SIGKILL);
    }
    if (result.timed_out && monotonic_seconds() > deadline + 10) break;
  }
  int status = 0;
  check_sys(::waitpid(pid, &status, 0), "waitpid", argv[0]);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace talaria
