// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/command.h"

#include <algorithm>
#include <csignal>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "cluster/wire/rank_status.h"

namespace talaria::launch {
namespace {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Pipe make_pipe() {
  int ends[2];
  check_sys(::pipe2(ends, O_CLOEXEC), "pipe2", "the command");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// All that the child needs, made before the fork: after it only system calls are allowed.
struct Child {
  pid_t parent = 0;
  const char* folder = nullptr;
  int go = -1;      // a byte comes when the parent has put the child into its groups
  int failed = -1;  // takes the errno of what failed; exec closes it
  std::vector<char*> argv;
  std::vector<char*> environment;
};

[[noreturn]] void run_child(const Child& child) {
  sigset_t none;
  ::sigemptyset(&none);
  char byte = 0;
  const bool ready = ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == child.parent &&
                     ::read(child.go, &byte, 1) == 1 && ::setpgid(0, 0) == 0 &&
                     ::chdir(child.folder) == 0 && ::sigprocmask(SIG_SETMASK, &none, nullptr) == 0;
  if (ready) ::execvpe(child.argv[0], child.argv.data(), child.environment.data());
  const int error = errno;
  [[maybe_unused]] const ssize_t told = ::write(child.failed, &error, sizeof error);
  ::_exit(127);
}

}  // namespace

std::vector<char*> exec_words(const std::vector<std::string>& texts) {
  std::vector<char*> words;
  words.reserve(texts.size() + 1);
  for (const std::string& text : texts) words.push_back(const_cast<char*>(text.c_str()));
  words.push_back(nullptr);
  return words;
}

std::vector<std::string> attempt_environment(const std::vector<std::string>& base,
                                             const AttemptSpec& spec) {
  std::vector<std::string> environment = base;
  const auto set = [&environment](const std::string& name, const std::string& value) {
    const std::string begin = name + "=";
    environment.erase(
        std::remove_if(environment.begin(), environment.end(),
                       [&](const std::string& entry) { return entry.starts_with(begin); }),
        environment.end());
    environment.push_back(begin + value);
  };
  for (const auto& [name, value] : spec.environment) set(name, value);
  set(wire::kAttemptIdVariable, spec.attempt_id);
  return environment;
}

pid_t start_command(const AttemptSpec& spec, const std::vector<std::string>& environment,
                    AttemptCgroup& cgroup) {
  Pipe go = make_pipe();
  Pipe failed = make_pipe();
  const Child child{::getpid(),         spec.working_directory.c_str(), go.read.get(),
                    failed.write.get(), exec_words(spec.argv),          exec_words(environment)};
  const pid_t pid = check_sys(::fork(), "fork", spec.argv[0]);
  if (pid == 0) run_child(child);
  failed.write.reset();
  cgroup.admit(pid);
  const char byte = 1;
  check_sys(::write(go.write.get(), &byte, 1), "write", "the command's pipe");
  int error = 0;
  ssize_t got = 0;
  do {
    got = ::read(failed.read.get(), &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  check_sys(got, "read", "the command's pipe");
  if (got == 0) return pid;
  int status = 0;
  check_sys(::waitpid(pid, &status, 0), "waitpid", spec.argv[0]);
  fail("cannot start {} in {}: {}", one_line(spec.argv[0]), one_line(spec.working_directory),
       std::string(::strerrordesc_np(error)));
}

}  // namespace talaria::launch
