// SPDX-License-Identifier: Apache-2.0
#include "tests/system/launcher_support.h"

#include <csignal>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/wire/rank_status.h"
#include "launch/attempt/cgroup.h"
#include "launch/attempt/command_line.h"
#include "launch/attempt/proc.h"
#include "launch/attempt/scratch.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;

const std::string kProgram = std::string(TALARIA_BIN_DIR) + "/launcher_program";
const std::string kLaunch = std::string(TALARIA_BIN_DIR) + "/talaria-launch";

[[noreturn]] void become_launcher(const fs::path& input, const fs::path& output,
                                  const std::string& crash_point, uid_t uid) {
  ::setsid();
  const int in = ::open(input.c_str(), O_RDONLY);
  const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (uid != 0 && (::setgid(uid) != 0 || ::setuid(uid) != 0)) ::_exit(126);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed leaves no attempt running
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  ::unsetenv("TALARIA_CRASH_POINT");
  if (!crash_point.empty()) ::setenv("TALARIA_CRASH_POINT", crash_point.c_str(), 1);
  ::execl(kLaunch.c_str(), kLaunch.c_str(), nullptr);
  ::_exit(127);
}

pid_t parent_of(pid_t pid) {
  const std::string stat = read_proc_file(fmt::format("/proc/{}/stat", pid));
  const std::size_t at = stat.rfind(") ");
  if (at == std::string::npos) return 0;
  std::istringstream fields(stat.substr(at + 2));
  char state = 0;
  pid_t parent = 0;
  fields >> state >> parent;
  return parent;
}

bool is_worker(pid_t pid, int rank) {
  if (read_proc_file(fmt::format("/proc/{}/comm", pid)) != "launcher_progra\n") return false;
  const std::string environment = read_proc_file(fmt::format("/proc/{}/environ", pid));
  const std::string entry = fmt::format("OMPI_COMM_WORLD_RANK={}", rank) + '\0';
  return environment.find(entry) != std::string::npos &&
         environment.find(wire::kStatusFdVariable) != std::string::npos;
}

}  // namespace

LauncherTest::LauncherTest() {
  static int number = 0;
  id_ = fmt::format("test-{}-{}", ::getpid(), ++number);
  folder_ = fs::temp_directory_path() / ("talaria_" + id_);
  fs::remove_all(folder_);
  fs::create_directories(folder_);
  fs::permissions(folder_, fs::perms::all);
}

LauncherTest::~LauncherTest() {
  for (const pid_t pid : launchers_) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  if (!launchers_.empty()) {
    for (const FoundProcess& process : find_attempt_processes(id_)) ::kill(process.pid, SIGKILL);
    remove_scratch(id_);
    AttemptCgroup::make(own_cgroups(), "talaria-" + id_, 0).remove();
  }
  fs::remove_all(folder_);
}

AttemptSpec LauncherTest::spec(int ranks, const std::vector<std::string>& words) const {
  AttemptSpec spec;
  spec.attempt_id = id_;
  spec.ranks = ranks;
  spec.run_directory = (folder_ / "run").string();
  spec.working_directory = folder_.string();
  spec.job_toml = "[job]\n";
  spec.secret = "00ff";
  spec.channel = "localhost:1";
  spec.argv = {kProgram,
               "mpirun",
               std::to_string(ranks),
               (folder_ / "starts").string(),
               kLaunch,
               "rank",
               "--attempt-dir",
               attempt().string(),
               "--",
               kProgram,
               "rank"};
  spec.argv.insert(spec.argv.end(), words.begin(), words.end());
  return spec;
}

pid_t LauncherTest::start(const AttemptSpec& spec, const std::string& crash_point, uid_t uid) {
  const fs::path input = folder_ / "input.json";
  std::ofstream(input) << to_json(spec);
  const pid_t pid = check_sys(::fork(), "fork", kLaunch);
  if (pid == 0) become_launcher(input, folder_ / "output", crash_point, uid);
  launchers_.push_back(pid);
  return pid;
}

int LauncherTest::wait(pid_t launcher, double seconds) {
  int status = 0;
  const bool ended =
      eventually([&] { return ::waitpid(launcher, &status, WNOHANG) == launcher; }, seconds);
  if (!ended) {
    ADD_FAILURE() << "the launcher did not end in " << seconds << " s: " << text("launcher.log");
    return -1;
  }
  std::erase(launchers_, launcher);
  return status;
}

ExitReport LauncherTest::run(const AttemptSpec& spec) {
  const int status = wait(start(spec));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << status << " " << read_proc_file((folder_ / "output").string()) << text("launcher.log");
  return report();
}

ExitReport LauncherTest::report() const {
  const auto found = read_exit(folder_ / "run", 1);
  if (!found) {
    ADD_FAILURE() << "no exit.json; launcher.log: " << text("launcher.log");
    return {};
  }
  EXPECT_EQ(found->attempt_id, id_);
  EXPECT_TRUE(found->survivors.empty());
  return *found;
}

bool LauncherTest::eventually(const std::function<bool()>& condition, double seconds) {
  const double end = monotonic_seconds() + seconds;
  while (!condition()) {
    if (monotonic_seconds() > end) return false;
    ::usleep(1000);
  }
  return true;
}

pid_t LauncherTest::worker(int rank) const {
  for (const FoundProcess& process : find_attempt_processes(id_)) {
    if (is_worker(process.pid, rank)) return process.pid;
  }
  return 0;
}

pid_t LauncherTest::shim(int rank) const {
  const pid_t pid = worker(rank);
  return pid == 0 ? 0 : parent_of(pid);
}

bool LauncherTest::is_running(int ranks) const {
  for (int rank = 0; rank < ranks; ++rank) {
    if (text(rank_file(rank, ".log")).find("ready") == std::string::npos) return false;
  }
  return true;
}

std::string LauncherTest::text(const std::string& file) const {
  return read_proc_file((attempt() / file).string());
}

int LauncherTest::starts() const {
  const std::string lines = read_proc_file((folder_ / "starts").string());
  return static_cast<int>(std::count(lines.begin(), lines.end(), '\n'));
}

void LauncherTest::expect_nothing_left() const {
  std::istringstream escaped(read_proc_file((folder_ / "escaped").string()));
  for (pid_t pid = 0; escaped >> pid;) {
    const char state = process_state(pid);
    EXPECT_TRUE(state == '\0' || state == 'Z') << "a daemon is left: " << pid;
  }
  for (const FoundProcess& process : find_attempt_processes(id_)) {
    ADD_FAILURE() << "left: " << process.pid << " "
                  << read_proc_file(fmt::format("/proc/{}/cmdline", process.pid));
  }
  for (const auto& entry : fs::directory_iterator("/dev/shm")) {
    EXPECT_EQ(entry.path().string().find(id_), std::string::npos) << entry.path();
  }
  for (const CgroupPlace& place : own_cgroups()) {
    EXPECT_FALSE(fs::exists(place.folder / ("talaria-" + id_))) << place.folder;
  }
}

}  // namespace talaria::launch
