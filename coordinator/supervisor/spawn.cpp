// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/spawn.h"

#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "launch/attempt/pidfd.h"

namespace talaria::coordinator {
namespace {

// A memory file with this content, at its beginning.
UniqueFd memory_file(const char* name, const std::string& content) {
  UniqueFd fd(check_sys(::memfd_create(name, MFD_CLOEXEC), "memfd_create", name));
  write_all(fd.get(), std::as_bytes(std::span(content)), name);
  check_sys(::lseek(fd.get(), 0, SEEK_SET), "lseek", name);
  return fd;
}

std::vector<std::string> clean_environment(const Identity& user) {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + user.home,
          "USER=" + user.name, "LOGNAME=" + user.name, "LANG=C.UTF-8"};
}

// All that the child needs, made before the fork: after it only system calls are allowed.
struct Prepared {
  std::vector<char*> argv;
  std::vector<char*> environment;
  int input = -1;
  int errors = -1;
  const char* folder = nullptr;
  const Identity* user = nullptr;
  bool switches = false;
};

[[noreturn]] void become_launcher(const Prepared& prepared) {
  ::setsid();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGPIPE, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) {
    ::signal(signal, SIG_DFL);
  }
  const Identity& user = *prepared.user;
  if (prepared.switches) {
    if (::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0 ||
        ::syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0 ||
        ::syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0) {
      ::_exit(126);
    }
  }
  ::dup2(prepared.input, STDIN_FILENO);
  ::dup2(prepared.errors, STDOUT_FILENO);
  ::dup2(prepared.errors, STDERR_FILENO);
  if (::chdir(prepared.folder) != 0) {
    constexpr char kText[] = "the working directory is gone or closed to the user\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText, sizeof kText - 1);
    ::_exit(125);
  }
  ::execve(prepared.argv[0], prepared.argv.data(), prepared.environment.data());
  ::_exit(127);
}

}  // namespace

LauncherChild spawn_launcher(const std::string& program, const launch::AttemptSpec& spec,
                             const Identity& user) {
  LauncherChild child;
  const UniqueFd input = memory_file("spec", launch::to_json(spec));
  child.errors = memory_file("launcher-errors", "");
  std::vector<std::string> variables;
  Prepared prepared;
  prepared.switches = ::geteuid() == 0 && user.uid != 0;
  if (prepared.switches) {
    variables = clean_environment(user);
  } else {
    for (char** each = environ; *each != nullptr; ++each) variables.emplace_back(*each);
  }
  std::string path = program;
  prepared.argv = {path.data(), nullptr};
  for (std::string& variable : variables) prepared.environment.push_back(variable.data());
  prepared.environment.push_back(nullptr);
  prepared.input = input.get();
  prepared.errors = child.errors.get();
  prepared.folder = spec.working_directory.c_str();
  prepared.user = &user;
  child.pid = check_sys(::fork(), "fork", program);
  if (child.pid == 0) become_launcher(prepared);
  child.pidfd = launch::open_process(child.pid);
  return child;
}

}  // namespace talaria::coordinator
