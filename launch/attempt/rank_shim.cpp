// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/rank_shim.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <initializer_list>
#include <new>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/lock_file.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "cluster/wire/rank_status.h"
#include "launch/attempt/attempt.h"
#include "launch/attempt/cgroup.h"
#include "launch/attempt/command.h"
#include "launch/attempt/dump_child.h"
#include "launch/attempt/pidfd.h"
#include "launch/attempt/scratch.h"
#include "launch/attempt/small_file.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;

constexpr int kLookMs = 1000;  // how often files that another node wrote are looked for
constexpr std::size_t kRecordBytes = 4096;
constexpr useconds_t kTogetherUs = 400'000;
constexpr int kStopSignals[] = {SIGUSR1, SIGTERM, SIGINT};

sigset_t signal_set(bool with_own) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kStopSignals) ::sigaddset(&set, signal);
  if (with_own) {
    for (const int signal : {SIGUSR2, SIGHUP, SIGQUIT, SIGCHLD}) ::sigaddset(&set, signal);
  }
  return set;
}

// A page that the worker writes and that stays readable when it is dead.
class StatusPage {
 public:
  StatusPage() : fd_(check_sys(::memfd_create("talaria-status", 0), "memfd_create", "status")) {
    check_sys(::ftruncate(fd_.get(), kBytes), "ftruncate", "status");
    void* page = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (page == MAP_FAILED) fail_errno("mmap", "status");
    status_ = new (page) wire::RankStatus;
  }
  StatusPage(const StatusPage&) = delete;
  StatusPage& operator=(const StatusPage&) = delete;
  ~StatusPage() { ::munmap(status_, kBytes); }

  int fd() const { return fd_.get(); }
  const wire::RankStatus& status() const { return *status_; }

 private:
  static constexpr std::size_t kBytes = 4096;
  static_assert(sizeof(wire::RankStatus) <= kBytes);
  UniqueFd fd_;
  wire::RankStatus* status_ = nullptr;
};

class Shim {
 public:
  explicit Shim(const ShimOptions& options)
      : options_(options),
        parent_(::getppid()),
        parent_handle_(open_process(parent_)),
        node_(host_name()),
        dumps_(options.attempt_folder, options.rank) {
    const sigset_t set = signal_set(true);
    signals_.reset(check_sys(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd", ""));
    record_.emplace(file(".exit.json"), 0644, kRecordBytes);
  }

  int run() {
    std::optional<Scratch> scratch;
    if (!options_.attempt_id.empty()) scratch.emplace(options_.attempt_id);
    ooms_ = oom_kills(own_cgroups());
    started_ = wall_seconds();
    start_worker();
    look_at_files();
    while (!worker_ended()) {
      if (!orphaned_ && parent_is_gone()) end_worker();
      wait();
      hear_signals();
      look_at_files();
      dumps_.tend();
    }
    dumps_.finish();
    orphaned_ = orphaned_ || parent_is_gone();
    write_record();
    if (scratch) scratch->release();
    return follow();
  }

 private:
  fs::path file(const char* ending) const {
    return options_.attempt_folder / rank_file(options_.rank, ending);
  }

  // The stop signals stay blocked through exec: what arrives before the worker looks for them
  // waits. SIGUSR2 means nothing to a worker.
  [[noreturn]] void become_worker(const std::vector<char*>& argv,
                                  const std::vector<char*>& environment, pid_t shim) const {
    const sigset_t blocked = signal_set(false);
    const bool ready = ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == shim &&
                       ::signal(SIGUSR2, SIG_IGN) != SIG_ERR &&
                       ::sigprocmask(SIG_SETMASK, &blocked, nullptr) == 0;
    // Lets a dump look at the worker where Yama lets only an ancestor do so; elsewhere it fails.
    ::prctl(PR_SET_PTRACER, shim, 0, 0, 0);
    if (ready) ::execvpe(argv[0], argv.data(), environment.data());
    const char* text = ::strerrordesc_np(errno);
    for (const char* part : std::initializer_list<const char*>{"talaria-launch rank: cannot start ",
                                                               argv[0], ": ", text, "\n"}) {
      if (::write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
    }
    ::_exit(127);
  }

  void start_worker() {
    std::vector<std::string> environment = options_.environment;
    environment.push_back(fmt::format("{}={}", wire::kStatusFdVariable, page_.fd()));
    const std::vector<char*> argv = exec_words(options_.argv);
    const std::vector<char*> variables = exec_words(environment);
    const pid_t shim = ::getpid();
    worker_ = check_sys(::fork(), "fork", options_.argv[0]);
    if (worker_ == 0) become_worker(argv, variables, shim);
    worker_handle_ = open_process(worker_);
    dumps_.set_worker(worker_);
  }

  bool parent_is_gone() const { return ::getppid() != parent_; }

  // mpirun, or its daemon on this node, is gone: nobody else would end this rank.
  void end_worker() {
    orphaned_ = true;
    ::kill(worker_, SIGKILL);
  }

  void wait() const {
    struct pollfd ready[3] = {{signals_.get(), POLLIN, 0},
                              {worker_handle_.get(), POLLIN, 0},
                              {orphaned_ ? -1 : parent_handle_.get(), POLLIN, 0}};
    if (::poll(ready, 3, dumps_.running() ? 100 : kLookMs) < 0 && errno != EINTR) {
      fail_errno("poll", "the worker");
    }
  }

  void hear_signals() {
    struct signalfd_siginfo info {};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      const int signal = static_cast<int>(info.ssi_signo);
      if (signal == SIGUSR2) dumps_.look();
      if (std::count(std::begin(kStopSignals), std::end(kStopSignals), signal) > 0) pass_on(signal);
    }
  }

  // Each once: it waits in the worker until the worker ends.
  void pass_on(int signal) {
    if (passed_on_ != 0) return;
    passed_on_ = signal;
    ::kill(worker_, signal);
  }

  void look_at_files() {
    if (passed_on_ == 0 && ::access((options_.attempt_folder / "stop").c_str(), F_OK) == 0) {
      pass_on(SIGUSR1);
    }
    dumps_.look();
  }

  bool worker_ended() {
    siginfo_t info{};
    check_sys(::waitid(P_PID, static_cast<id_t>(worker_), &info, WEXITED | WNOHANG), "waitid",
              options_.argv[0]);
    if (info.si_pid == 0) return false;
    ended_ = wall_seconds();
    (info.si_code == CLD_EXITED ? exit_code_ : signal_) = info.si_status;
    return true;
  }

  RankExit record() const {
    RankExit exit;
    exit.rank = options_.rank;
    exit.node = one_line(node_);
    exit.pid = worker_;
    exit.exit_code = exit_code_;
    exit.signal = signal_;
    exit.out_of_memory = signal_ == SIGKILL && oom_kills(own_cgroups()) > ooms_;
    exit.orphaned = orphaned_;
    exit.started = started_;
    exit.ended = ended_;
    const wire::RankStatus& status = page_.status();
    if (status.phase_started.load() > 0.0) {
      exit.phase = wire::phase_name(static_cast<wire::Phase>(status.phase.load()));
    }
    exit.step = std::max<std::int64_t>(status.step.load(), 0);
    return exit;
  }

  // mpirun hears of the end only when this process is gone too, so it does not wait for a disk.
  void write_record() {
    try {
      record_->write(to_json(record()), false);
    } catch (const Error& error) {
      log_warning("{}", error.what());
    }
  }

  // 75 is no failure, but mpirun knows only 0 and ends the other ranks for anything else. It does
  // so within milliseconds: ranks that agree on a failure would be killed before the one that said
  // why has left its record.
  int follow() const {
    if (signal_ == 0) {
      const bool failed = exit_code_ != kExitDone && exit_code_ != kExitStoppedEarly;
      if (failed && !orphaned_) ::usleep(kTogetherUs);
      return failed ? exit_code_ : kExitDone;
    }
    const struct rlimit no_core {};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    sigset_t own;
    ::sigemptyset(&own);
    ::sigaddset(&own, signal_);
    ::signal(signal_, SIG_DFL);
    ::raise(signal_);
    ::sigprocmask(SIG_UNBLOCK, &own, nullptr);
    return 128 + signal_;
  }

  const ShimOptions& options_;
  pid_t parent_;
  UniqueFd parent_handle_;
  std::string node_;
  DumpChild dumps_;
  StatusPage page_;
  UniqueFd signals_;
  std::optional<ReservedFile> record_;
  pid_t worker_ = 0;
  UniqueFd worker_handle_;
  std::int64_t ooms_ = 0;
  double started_ = 0.0;
  double ended_ = 0.0;
  int exit_code_ = 0;
  int signal_ = 0;
  int passed_on_ = 0;
  bool orphaned_ = false;
};

}  // namespace

int run_rank(const ShimOptions& options) {
  const sigset_t set = signal_set(true);
  check_sys(::sigprocmask(SIG_BLOCK, &set, nullptr), "sigprocmask", "requests");
  const fs::path log = options.attempt_folder / rank_file(options.rank, ".log");
  {
    const UniqueFd fd = open_file(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW);
    check_sys(::dup2(fd.get(), STDOUT_FILENO), "dup2", log.string());
    check_sys(::dup2(fd.get(), STDERR_FILENO), "dup2", log.string());
  }
  return Shim(options).run();
}

}  // namespace talaria::launch
