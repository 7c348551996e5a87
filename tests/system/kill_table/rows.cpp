// SPDX-License-Identifier: Apache-2.0
#include "tests/system/kill_table/rows.h"

#include <csignal>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/subprocess.h"

namespace talaria::kill_table {
namespace {

namespace fs = std::filesystem;

// Seconds a rank may be in a phase, and mpirun may stand still, in the rows about SIGSTOP.
constexpr double kDeadline = 4.0;
constexpr double kShortStop = 1.5;
constexpr int kRanks = 8;

std::vector<std::string> short_deadlines() {
  std::vector<std::string> set;
  for (const char* phase : {"start", "setup", "restore", "step", "evaluate", "save", "finish"}) {
    set.push_back(fmt::format("monitor.{}_seconds={}", phase, kDeadline));
  }
  set.push_back(fmt::format("monitor.stopped_seconds={}", kDeadline));
  return set;
}

void run_or_fail(const std::vector<std::string>& argv) {
  const Captured done = run_captured(argv, 20);
  if (done.exit_code != 0) fail("{}: {}{}", fmt::join(argv, " "), done.out, done.err);
}

// Sends a signal to a process of the run that plays this part, once it has been there for
// `instant`.
bool blow(Scene& scene, Role role, int rank, int signal) {
  const auto victim = find(scene.run, role, rank);
  if (!victim) return false;
  const double now = monotonic_seconds();
  if (scene.started == 0.0) scene.started = now;
  if (now - scene.started < scene.instant) return false;
  if (::kill(victim->pid, signal) != 0) return false;
  scene.victim = victim->pid;
  scene.rank = rank;
  scene.struck = now;
  return true;
}

void choose_rank(Scene& scene) {
  if (scene.rank >= 0) return;
  scene.rank = std::uniform_int_distribution<int>(0, kRanks - 1)(*scene.random);
}

bool blow_random_rank(Scene& scene, int signal) {
  choose_rank(scene);
  return blow(scene, Role::kRank, scene.rank, signal);
}

// A random place in a phase of PPO's next step, in seconds from the end of the step that `line` of
// metrics.jsonl tells of: its phases take about as long as those of the step before.
double place_in_phase(const boost::json::object& line, const std::string& phase,
                      std::mt19937_64& random) {
  double before = 0.0;
  for (const char* each : {"rollout", "score", "update"}) {
    const double seconds = line.at(fmt::format("seconds/{}", each)).to_number<double>();
    if (phase == each) return before + std::uniform_real_distribution<>(0.1, 0.9)(random) * seconds;
    before += seconds;
  }
  fail("no phase {}", phase);
}

// Kills a random rank in a phase of the step that follows the instant.
bool blow_in_phase(Scene& scene, const std::string& phase) {
  choose_rank(scene);
  const double now = monotonic_seconds();
  if (scene.started == 0.0) {
    const auto victim = find(scene.run, Role::kRank, scene.rank);
    if (!victim) return false;
    scene.victim = victim->pid;
    scene.started = now;
  }
  if (now - scene.started < scene.instant) return false;
  if (scene.aimed == 0.0) {
    const auto lines = read_lines(scene.run / "metrics.jsonl");
    if (scene.seen == 0) scene.seen = lines.size();
    if (lines.empty() || lines.size() == scene.seen) return false;
    scene.aimed = lines.back().at("time").to_number<double>() +
                  place_in_phase(lines.back(), phase, *scene.random);
  }
  if (wall_seconds() < scene.aimed || ::kill(scene.victim, SIGKILL) != 0) return false;
  scene.struck = monotonic_seconds();
  return true;
}

// While a temporary checkpoint folder is there, the ranks save and rank 0 commits.
bool blow_saving_rank(Scene& scene, int rank) {
  std::error_code error;
  const fs::path checkpoints = scene.run / "checkpoints";
  static_cast<void>(blow(scene, Role::kMpirun, -1, 0));  // only looks at the clock
  scene.rank = rank;
  if (scene.started == 0.0 || monotonic_seconds() - scene.started < scene.instant) return false;
  for (fs::directory_iterator at(checkpoints, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    if (!at->path().filename().string().starts_with("tmp-step-")) continue;
    return blow(scene, Role::kRank, rank, SIGKILL);
  }
  return false;
}

// A stranger fills the attempt's memory group; of its processes the kernel is told to choose a
// rank.
bool exhaust_memory(Scene& scene) {
  choose_rank(scene);
  const auto victim = find(scene.run, Role::kRank, scene.rank);
  if (!victim) return false;
  const double now = monotonic_seconds();
  if (scene.started == 0.0) scene.started = now;
  if (now - scene.started < scene.instant) return false;
  std::optional<fs::path> group;
  for (const fs::path& each : control_groups(victim->attempt_id)) {
    // Version 1 or 2 of the memory controller.
    if (fs::exists(each / "memory.limit_in_bytes") || fs::exists(each / "memory.max")) group = each;
  }
  if (!group) fail("the launcher made no memory group for {}", victim->attempt_id);
  std::ofstream(fmt::format("/proc/{}/oom_score_adj", victim->pid)) << 1000;
  const pid_t hog = check_sys(::fork(), "fork", "memory hog");
  if (hog == 0) {
    std::ofstream(*group / "cgroup.procs") << ::getpid();
    for (int i = 0; i < 4096; ++i) {
      auto* block = new char[1 << 20];
      for (int at = 0; at < (1 << 20); at += 4096) block[at] = 1;
    }
    ::pause();
    ::_exit(0);
  }
  scene.struck = now;
  scene.mend.emplace_back([hog] {
    ::kill(hog, SIGKILL);
    ::waitpid(hog, nullptr, 0);
  });
  return true;
}

void mount_small(Scene& scene, const fs::path& folder, int megabytes) {
  fs::create_directories(folder);
  run_or_fail({"mount", "-t", "tmpfs", "-o", fmt::format("size={}m,mode=755", megabytes),
               "talaria-test", folder.string()});
  scene.mend.emplace_back([folder] { run_captured({"umount", "-l", folder.string()}, 10); });
}

// Writes until nothing more fits.
bool fill(Scene& scene, const fs::path& folder) {
  if (!find(scene.run, Role::kRank)) return false;
  const double now = monotonic_seconds();
  if (scene.started == 0.0) scene.started = now;
  if (now - scene.started < scene.instant) return false;
  std::ofstream filler(folder / "filler", std::ios::binary | std::ios::app);
  const std::string block(1 << 16, 'x');
  while (filler.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
  }
  filler.close();
  // What a block was too large for.
  std::ofstream rest(folder / "filler", std::ios::binary | std::ios::app);
  while (rest.put('x').flush()) {
  }
  scene.struck = now;
  return true;
}

Row rank_row() {
  return {.name = "rank", .title = "kill -9 of a rank", .strike = [](Scene& scene) {
            return blow_random_rank(scene, SIGKILL);
          }};
}

Row commit_row() {
  return {.name = "commit",
          .title = "kill -9 of rank 0 while a checkpoint is being committed",
          .strike = [](Scene& scene) { return blow_saving_rank(scene, 0); },
          .phase = "save"};
}

Row mpirun_row() {
  return {.name = "mpirun", .title = "kill -9 of mpirun", .strike = [](Scene& scene) {
            return blow(scene, Role::kMpirun, -1, SIGKILL);
          }};
}

Row launcher_row() {
  return {.name = "launcher", .title = "kill -9 of talaria-launch", .strike = [](Scene& scene) {
            return blow(scene, Role::kLauncher, -1, SIGKILL);
          }};
}

Row coordinator_row() {
  return {.name = "coordinator",
          .title = "kill -9 of the coordinator, started again",
          .strike =
              [](Scene& scene) {
                if (!find(scene.run, Role::kLauncher)) return false;
                const double now = monotonic_seconds();
                if (scene.started == 0.0) scene.started = now;
                if (now - scene.started < scene.instant) return false;
                scene.struck = now;
                return ::kill(scene.coordinator, SIGKILL) == 0;
              },
          .restarts = false,
          .again = true};
}

Row long_stop_row() {
  return {.name = "stop-long",
          .title = "SIGSTOP of a rank for longer than the deadline",
          .set = short_deadlines(),
          .strike = [](Scene& scene) { return blow_random_rank(scene, SIGSTOP); },
          .notice_bar = kDeadline + 5};
}

Row short_stop_row() {
  return {.name = "stop-short",
          .title = "SIGSTOP of a rank for shorter than the deadline",
          .set = short_deadlines(),
          .strike = [](Scene& scene) { return blow_random_rank(scene, SIGSTOP); },
          .after =
              [](Scene& scene) {
                if (scene.victim == 0 || monotonic_seconds() - scene.struck < kShortStop) return;
                ::kill(scene.victim, SIGCONT);
                scene.victim = 0;
              },
          .restarts = false};
}

Row stopped_mpirun_row() {
  return {.name = "stop-mpirun",
          .title = "SIGSTOP of mpirun",
          .set = short_deadlines(),
          .strike = [](Scene& scene) { return blow(scene, Role::kMpirun, -1, SIGSTOP); },
          .notice_bar = kDeadline + 5};
}

Row memory_row() {
  return {.name = "memory",
          .title = "out of memory in the attempt's control group",
          .set = {"cluster.memory_gib=1.5"},
          .strike = exhaust_memory};
}

// Room for two checkpoints of the job and little more.
constexpr int kCheckpointMegabytes = 24;

Row full_checkpoints_row(bool freed) {
  Row row{.name = freed ? "disk" : "disk-for-good",
          .title = freed ? "full disk under checkpoints, freed after the failure"
                         : "full disk under checkpoints, for good",
          .set = {"checkpoint.keep=1"},
          .strike = [](Scene& scene) { return fill(scene, scene.run / "checkpoints"); },
          .prepare =
              [](Scene& scene) {
                mount_small(scene, scene.run / "checkpoints", kCheckpointMegabytes);
              }};
  // The failure comes with the next save, not with the blow: its notice is measured from there.
  if (freed) {
    row.after = [](Scene& scene) {
      std::error_code ignored;
      if (!events(scene.run, "failure").empty()) {
        fs::remove(scene.run / "checkpoints" / "filler", ignored);
      }
    };
  } else {
    row.set.emplace_back("cluster.max_restarts=1");
    row.ends_failed = true;
    row.remedy = "Free space";
  }
  return row;
}

Row full_state_row() {
  return {.name = "disk-state",
          .title = "full disk under SQLite, freed after 3 s",
          .strike = [](Scene& scene) { return fill(scene, scene.run / "coordinator"); },
          .after =
              [](Scene& scene) {
                std::error_code ignored;
                if (monotonic_seconds() - scene.struck > 3.0) {
                  fs::remove(scene.run / "coordinator" / "filler", ignored);
                }
              },
          .prepare = [](Scene& scene) { mount_small(scene, scene.run / "coordinator", 2); },
          .restarts = false};
}

// Two nodes joined by cables to the machine that `talaria run` and mpirun are on; 4 ranks each.
void make_two_nodes(Scene& scene) {
  const std::string script = std::string(TALARIA_SOURCE_DIR) + "/tests/support/two_nodes";
  const std::string suffix = fmt::format("k{}", ::getpid());
  run_or_fail({script, suffix, "up"});
  scene.mend.emplace_back([script, suffix] { run_captured({script, suffix, "down"}, 30); });
  scene.prefix = {script, suffix, "on", "hub"};
  scene.set = {"cluster.launcher=\"mpirun\"", "cluster.hosts=[\"n1:4\", \"n2:4\"]",
               fmt::format("cluster.launch_agent=\"{} {} agent\"", script, suffix)};
  for (const char* node : {"hub", "n1", "n2"}) {
    const Captured folder = run_captured({script, suffix, "shm", node}, 10);
    scene.memory.emplace_back(folder.out.substr(0, folder.out.find('\n')));
  }
}

bool cut_cable(Scene& scene) {
  if (!find(scene.run, Role::kRank)) return false;
  const double now = monotonic_seconds();
  if (scene.started == 0.0) scene.started = now;
  if (now - scene.started < scene.instant) return false;
  run_or_fail({scene.prefix[0], scene.prefix[1], "cut", "n2"});
  scene.struck = now;
  return true;
}

// The cable is back once the failure was noticed: before, a new attempt could not start there.
void heal_cable(Scene& scene) {
  if (scene.struck == 0.0 || events(scene.run, "failure").empty()) return;
  run_or_fail({scene.prefix[0], scene.prefix[1], "heal", "n2"});
  scene.struck = 0.0;
}

Row link_row() {
  return {.name = "link",
          .title = "the network of one of two nodes is cut, and healed after the failure",
          .strike = cut_cable,
          .after = heal_cable,
          .prepare = make_two_nodes,
          .notice_bar = 15.0,
          .from_blow = true};
}

// `phase` by the name that seconds/... of metrics.jsonl has, `reported` as ranks report it.
Row ppo_row(const std::string& phase, const std::string& reported) {
  return {
      .name = "ppo-" + phase,
      .title = fmt::format("PPO: kill -9 of a rank in {}", phase == "score" ? "scoring" : phase),
      .strike = [phase](Scene& scene) { return blow_in_phase(scene, phase); },
      .phase = reported,
      .job = JobKind::kPpo};
}

Row ppo_checkpoint_row() {
  return {.name = "ppo-checkpoint",
          .title = "PPO: kill -9 of a rank in a checkpoint",
          .strike =
              [](Scene& scene) {
                choose_rank(scene);
                return blow_saving_rank(scene, scene.rank);
              },
          .phase = "save",
          .job = JobKind::kPpo};
}

}  // namespace

const std::vector<Row>& rows() {
  static const std::vector<Row> all = {rank_row(),
                                       commit_row(),
                                       mpirun_row(),
                                       launcher_row(),
                                       coordinator_row(),
                                       long_stop_row(),
                                       short_stop_row(),
                                       stopped_mpirun_row(),
                                       memory_row(),
                                       full_checkpoints_row(true),
                                       full_checkpoints_row(false),
                                       full_state_row(),
                                       link_row(),
                                       ppo_row("rollout", "rollout"),
                                       ppo_row("score", "score"),
                                       ppo_row("update", "step"),
                                       ppo_checkpoint_row()};
  return all;
}

}  // namespace talaria::kill_table
