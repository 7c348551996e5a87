// SPDX-License-Identifier: Apache-2.0
// Stands in for mpirun and for the worker in the launcher's tests, without MPI.
//   launcher_program mpirun RANKS STARTS COMMAND...   starts COMMAND as each rank, waits for all;
//                                                     appends a line to the file STARTS
//   launcher_program rank DO...                       DO is said by the words of run_rank below
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "cluster/wire/rank_status.h"

// The dump test looks for this name; so it is not inlined, and not static.
namespace talaria_test {
[[gnu::noinline]] void a_rank_that_waits_for_ever();
void a_rank_that_waits_for_ever() {
  while (true) ::pause();
}
}  // namespace talaria_test

namespace talaria {
namespace {

int rank() { return std::atoi(std::getenv("OMPI_COMM_WORLD_RANK")); }

std::vector<char*> pointers(char** words) {
  std::vector<char*> list;
  for (; *words != nullptr; ++words) list.push_back(*words);
  list.push_back(nullptr);
  return list;
}

// Like mpirun 4.1: each rank in a group of its own, SIGUSR1 passed on, the code of the first bad
// end.
int fake_mpirun(int ranks, const std::string& starts, char** command) {
  append_line(starts, "started");
  std::vector<pid_t> children;
  for (int i = 0; i < ranks; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::setpgid(0, 0);
      ::setenv("OMPI_COMM_WORLD_RANK", std::to_string(i).c_str(), 1);
      ::execv(command[0], pointers(command).data());
      ::_exit(127);
    }
    children.push_back(pid);
  }
  int code = 0;
  for (const pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    const int ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (code == 0) code = ended;
  }
  return code;
}

wire::RankStatus& status() {
  const int fd = std::atoi(std::getenv(wire::kStatusFdVariable));
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) std::abort();
  return *static_cast<wire::RankStatus*>(page);
}

bool asked_to_stop() {
  sigset_t waiting;
  ::sigpending(&waiting);
  return ::sigismember(&waiting, SIGUSR1) == 1;
}

// A daemon in a session of its own, far from its parent; its pid goes to the file `escaped`.
void escape(const char* without_environment) {
  if (::fork() != 0) return;
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  append_line("escaped", std::to_string(::getpid()));
  ::signal(SIGTERM, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  const char* argv[] = {"sleep", "600", nullptr};
  const char* none[] = {nullptr};
  if (std::strcmp(without_environment, "bare") == 0) {
    ::execve("/bin/sleep", const_cast<char**>(argv), const_cast<char**>(none));
  }
  ::execv("/bin/sleep", const_cast<char**>(argv));
  ::_exit(1);
}

// Always a step ahead: each process starts the next and ends. For 30 s, in case nobody ends it.
void respawn() {
  if (::fork() != 0) return;
  ::setsid();
  const double end = monotonic_seconds() + 30;
  while (monotonic_seconds() < end) {
    if (::fork() > 0) ::_exit(0);
  }
  ::_exit(0);
}

void eat_memory() {
  std::vector<char*> pieces;
  constexpr std::size_t kPiece = std::size_t{8} << 20;
  while (true) {
    pieces.push_back(new char[kPiece]);
    std::memset(pieces.back(), 1, kPiece);
  }
}

// Each word is done in turn; "@2" before a word: by rank 2 only.
int run_rank(char** words) {
  for (; *words != nullptr; ++words) {
    std::string word = *words;
    if (word.starts_with("@")) {
      const std::size_t end = word.find(':');
      if (std::stoi(word.substr(1, end - 1)) != rank()) continue;
      word = word.substr(end + 1);
    }
    const std::size_t colon = word.find('=');
    const std::string verb = word.substr(0, colon);
    const std::string value = colon == std::string::npos ? "" : word.substr(colon + 1);
    if (verb == "exit") return std::stoi(value);
    if (verb == "say") fmt::print("{}\n", value);
    if (verb == "sleep") ::usleep(static_cast<useconds_t>(std::stod(value) * 1e6));
    if (verb == "die") ::raise(std::stoi(value));
    if (verb == "escape") escape(value.c_str());
    if (verb == "respawn") respawn();
    if (verb == "eat") eat_memory();
    if (verb == "wait") talaria_test::a_rank_that_waits_for_ever();
    if (verb == "save") {
      status().step = 17;
      status().enter(wire::Phase::kSave);
    }
    if (verb == "until_stop") {
      while (!asked_to_stop()) ::usleep(1000);
      return 75;
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace talaria

int main(int argc, char** argv) {
  if (argc > 4 && std::strcmp(argv[1], "mpirun") == 0) {
    return talaria::fake_mpirun(std::atoi(argv[2]), argv[3], argv + 4);
  }
  if (argc > 2 && std::strcmp(argv[1], "rank") == 0) return talaria::run_rank(argv + 2);
  return 64;
}
