// SPDX-License-Identifier: Apache-2.0
// What a busy coordinator costs: the real daemon with a long queue, and a job of many ranks that
// report, beside what limits it in the same run: the disk's fsync, and the parsing of the reports.
//   bench_coordinator [--jobs 1000] [--ranks 1024] [--seconds 30] [--dir FOLDER] [--check] [--json]
#include <algorithm>
#include <cmath>
#include <csignal>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "cluster/wire/rank_message.h"
#include "coordinator/api/client.h"
#include "launch/attempt/attempt.h"
#include "tests/support/daemon.h"
#include "tests/support/simulated_ranks.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;

constexpr double kBeatSeconds = 5.0;
constexpr double kSubmitBar = 0.020;  // seconds, the 99th of 100
constexpr double kPsBar = 0.050;
constexpr double kRanksBar = 0.1;  // cores

struct Plan {
  int jobs = 1000;
  int ranks = 1024;
  double seconds = 30.0;
  std::string folder;
};

// Seconds of each of several repetitions.
struct Spread {
  std::vector<double> seconds;
  double cpu = 0.0;  // seconds for each, of the daemon and of commands

  double at(double share) const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    const auto last = static_cast<double>(sorted.size() - 1);
    return sorted[static_cast<std::size_t>(std::lround(share * last))];
  }
};

template <class Work>
Spread measure(int count, Work work) {
  Spread spread;
  for (int i = 0; i < count; ++i) {
    const double begin = monotonic_seconds();
    work(i);
    spread.seconds.push_back(monotonic_seconds() - begin);
  }
  return spread;
}

// CPU seconds of the commands that this process has waited for.
double children_seconds() {
  rusage usage{};
  check_sys(::getrusage(RUSAGE_CHILDREN, &usage), "getrusage", "children");
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The same, with the work that it makes: says more on a busy machine.
template <class Work>
Spread measure(const testing_support::Daemon& daemon, int count, Work work) {
  const double cpu = daemon.cpu_seconds() + children_seconds();
  Spread spread = measure(count, work);
  spread.cpu = (daemon.cpu_seconds() + children_seconds() - cpu) / count;
  return spread;
}

struct Measured {
  Spread sync, submit, list, command;
  double idle_cores = 0.0;  // with the queue, no ranks
  double rank_cores = 0.0;  // with the ranks beating
  double beats_a_second = 0.0;
  double parse_cores = 0.0;  // for parsing those beats alone
};

std::string job_toml(int ranks) {
  return fmt::format(
      "[job]\nname = \"bench\"\nnumerics = \"fast\"\n[parallel]\ndata = {0}\n"
      "[monitor]\nbeat_seconds = {1:.1f}\n[model]\nlayers = 1\nhidden = 64\nheads = 1\n"
      "context = 32\nvocab = 512\n[train]\nsteps = 1000000\nglobal_batch = {0}\n"
      "sequence_length = 32\n[data]\ntokenizer = \"tokenizer\"\n"
      "sources = [{{ path = \"text.tok\", weight = 1.0 }}]\n[optimizer]\nlearning_rate = 1e-3\n",
      ranks, kBeatSeconds);
}

// What one durable write of a page takes here.
Spread measure_sync(const fs::path& folder) {
  const fs::path path = folder / "sync";
  const UniqueFd fd = open_file(path, O_WRONLY | O_CREAT);
  const std::string page(4096, 'x');
  Spread spread = measure(200, [&](int) {
    write_all(fd.get(), std::as_bytes(std::span(page)), path);
    check_sys(::fdatasync(fd.get()), "fdatasync", path.string());
  });
  fs::remove(path);
  return spread;
}

double thread_seconds() {
  timespec now{};
  check_sys(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), "clock_gettime", "thread");
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// CPU seconds for one beat's parsing.
double measure_parsing() {
  constexpr int kRounds = 100'000;
  wire::Beat beat;
  beat.loss = 3.25;
  beat.rss_bytes = std::int64_t{1} << 30;
  const std::string frame = wire::encode_frame(beat);
  const double begin = thread_seconds();
  for (int i = 0; i < kRounds; ++i) {
    wire::FrameReader reader;
    reader.append(frame);
    const auto body = reader.next();
    TALARIA_CHECK(body && std::holds_alternative<wire::Beat>(wire::decode_body(*body)));
  }
  return (thread_seconds() - begin) / kRounds;
}

// The share of a core that the daemon takes while `work` runs.
template <class Work>
double measure_cores(const testing_support::Daemon& daemon, Work work) {
  const double cpu = daemon.cpu_seconds();
  const double begin = monotonic_seconds();
  work();
  return (daemon.cpu_seconds() - cpu) / (monotonic_seconds() - begin);
}

// Waits until the job's first attempt has its channel; returns its id.
std::string wait_for_attempt(const coordinator::Client& client, std::int64_t job,
                             const fs::path& run) {
  for (const double deadline = monotonic_seconds() + 30; monotonic_seconds() < deadline;) {
    const coordinator::JobView view = client.show(job);
    const bool running = !view.stages.empty() && view.stages[0].row.attempt &&
                         fs::exists(run / "attempt-001/started.json");
    if (running) return view.stages[0].row.attempt->attempt_id;
    ::usleep(20'000);
  }
  fail("job {} does not start", job);
}

std::string first_line(const fs::path& path) {
  const std::string text = read_file(path);
  return text.substr(0, text.find('\n'));
}

Measured run(const Plan& plan, testing_support::Daemon& daemon) {
  const fs::path folder = plan.folder;
  const coordinator::Client client(daemon.state_directory());
  const auto submit = [&](const std::string& name, int ranks) {
    return client.submit(
        {job_toml(ranks), name + ".toml", (folder / name).string(), folder.string()});
  };
  Measured measured;
  measured.sync = measure_sync(folder);
  // Runs all the while, so that the others wait.
  const std::int64_t big = submit("big", plan.ranks);
  const std::string attempt = wait_for_attempt(client, big, folder / "big");
  measured.submit =
      measure(daemon, plan.jobs, [&](int i) { submit(fmt::format("small-{}", i), 1); });
  measured.list = measure(daemon, 50, [&](int) {
    const auto listed = static_cast<int>(client.list(false).size());
    if (listed != plan.jobs + 1) fail("{} jobs are listed, not {}", listed, plan.jobs + 1);
  });
  measured.command = measure(daemon, 20, [&](int) {
    const Captured ps = daemon.ask({"ps"});
    if (ps.exit_code != 0) fail("talaria ps: {}", ps.err);
  });
  measured.idle_cores = measure_cores(daemon, [] { ::sleep(5); });

  const std::string channel = first_line(folder / "big/attempt-001/channel");
  const auto port = static_cast<std::uint16_t>(std::stoi(channel.substr(channel.rfind(':') + 1)));
  testing_support::SimulatedRanks ranks(port, attempt,
                                        first_line(folder / "big/attempt-001/secret"), plan.ranks);
  ranks.beat(kBeatSeconds, kBeatSeconds);
  std::int64_t beats = 0;
  measured.rank_cores =
      measure_cores(daemon, [&] { beats = ranks.beat(kBeatSeconds, plan.seconds); });
  measured.beats_a_second = static_cast<double>(beats) / plan.seconds;
  measured.parse_cores = measured.beats_a_second * measure_parsing();
  const auto& progress = client.show(big).stages.at(0).progress;
  if (progress.ranks_connected != plan.ranks || progress.step < 1) {
    fail("{} of {} ranks are connected, step {}", progress.ranks_connected, plan.ranks,
         progress.step);
  }
  return measured;
}

// Ends what the coordinator, which must be gone, has started, and removes the folder.
class Folder {
 public:
  explicit Folder(fs::path path) : path_(std::move(path)) { fs::create_directories(path_); }
  ~Folder() {
    std::error_code ignored;
    try {
      for (const auto& entry : fs::directory_iterator(path_)) {
        if (entry.is_directory()) end_launcher(entry.path());
      }
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", error.what());
    }
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

 private:
  static void end_launcher(const fs::path& run) {
    launch::LauncherState launcher = launch::find_launcher(run);
    if (launcher.alive) ::kill(launcher.pid, SIGQUIT);
    const double deadline = monotonic_seconds() + 20;
    while (launcher.alive && monotonic_seconds() < deadline) {
      ::usleep(20'000);
      launcher = launch::find_launcher(run);
    }
  }

  fs::path path_;
};

bool within_bars(const Measured& measured) {
  return measured.submit.at(0.99) < kSubmitBar && measured.command.at(0.5) < kPsBar &&
         measured.rank_cores < kRanksBar;
}

void print_table(const Plan& plan, const Measured& measured) {
  const auto line = [](const char* name, const Spread& spread) {
    fmt::print("{:<34} {:>7.2f} {:>7.2f} {:>7.2f} {:>7.2f}\n", name, 1e3 * spread.at(0.5),
               1e3 * spread.at(0.99), 1e3 * spread.at(1.0), 1e3 * spread.cpu);
  };
  fmt::print("{:<34} {:>7} {:>7} {:>7} {:>7}\n", fmt::format("{} queued jobs, ms", plan.jobs),
             "median", "p99", "max", "CPU");
  line("a page written and fdatasync", measured.sync);
  line("submit (bar: p99 < 20)", measured.submit);
  line("list, the API alone", measured.list);
  line("talaria ps (bar: median < 50)", measured.command);
  fmt::print("\n{} ranks, a report every {:.0f} s, for {:.0f} s\n", plan.ranks, kBeatSeconds,
             plan.seconds);
  fmt::print("{:<34} {:>7.4f}\n", "cores, queue only", measured.idle_cores);
  fmt::print("{:<34} {:>7.4f}  {:.0f} reports a second\n", "cores, ranks report (bar: < 0.1)",
             measured.rank_cores, measured.beats_a_second);
  fmt::print("{:<34} {:>7.4f}  {:.1f} times that is taken beyond the queue\n",
             "cores, parsing those reports alone", measured.parse_cores,
             (measured.rank_cores - measured.idle_cores) / measured.parse_cores);
}

boost::json::object describe(const Spread& spread) {
  return {{"median_ms", 1e3 * spread.at(0.5)},
          {"p99_ms", 1e3 * spread.at(0.99)},
          {"max_ms", 1e3 * spread.at(1.0)},
          {"cpu_ms", 1e3 * spread.cpu}};
}

void print_json(const Plan& plan, const Measured& measured) {
  const boost::json::object record = {
      {"bench", "coordinator"},
      {"jobs", plan.jobs},
      {"ranks", plan.ranks},
      {"fdatasync", describe(measured.sync)},
      {"submit", describe(measured.submit)},
      {"list", describe(measured.list)},
      {"ps", describe(measured.command)},
      {"idle_cores", measured.idle_cores},
      {"rank_cores", measured.rank_cores},
      {"reports_per_second", measured.beats_a_second},
      {"parse_cores", measured.parse_cores},
      {"submit_p99_of_fdatasync_p99", measured.submit.at(0.99) / measured.sync.at(0.99)},
      {"within_bars", within_bars(measured)}};
  fmt::print("{}\n", boost::json::serialize(record));
}

// In place of mpirun: runs until it is ended.
std::string make_mpirun(const fs::path& folder) {
  const fs::path path = folder / "mpirun";
  std::ofstream(path) << "#!/bin/sh\nexec sleep 100000\n";
  check_sys(::chmod(path.c_str(), 0755), "chmod", path.string());
  return path.string();
}

// A connection a rank, on both sides; the daemon inherits it.
void raise_open_files(int ranks) {
  rlimit limit{};
  check_sys(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit", "RLIMIT_NOFILE");
  const rlim_t needed = static_cast<rlim_t>(ranks) + 100;
  if (limit.rlim_max < needed)
    fail("ulimit -Hn is {}; {} ranks take {}", limit.rlim_max, ranks, needed);
  limit.rlim_cur = std::max(limit.rlim_cur, needed);
  check_sys(::setrlimit(RLIMIT_NOFILE, &limit), "setrlimit", "RLIMIT_NOFILE");
}

int measure_all(const Plan& plan, bool check, bool as_json) {
  raise_open_files(plan.ranks);
  const Folder folder(plan.folder);  // outlives the daemon
  testing_support::Daemon daemon(fs::path(plan.folder) / "state",
                                 {"--mpirun", make_mpirun(plan.folder)});
  daemon.start();
  if (daemon.dead()) fail("the coordinator does not start: {}", daemon.log());
  const Measured measured = run(plan, daemon);
  if (as_json) {
    print_json(plan, measured);
  } else {
    print_table(plan, measured);
  }
  return check && !within_bars(measured) ? kExitFailed : kExitDone;
}

}  // namespace
}  // namespace talaria

int main(int argc, char** argv) {
  talaria::Plan plan;
  bool check = false;
  bool as_json = false;
  std::string dir = talaria::fs::temp_directory_path().string();
  CLI::App app("The coordinator with a long queue and many ranks");
  app.add_option("--jobs", plan.jobs, "queued jobs")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--ranks", plan.ranks, "ranks that report")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--seconds", plan.seconds, "how long they report")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_option("--dir", dir, "where the state lies: the disk that is measured")
      ->capture_default_str();
  app.add_flag("--check", check, "exit 1 when a bar is missed");
  app.add_flag("--json", as_json, "one JSON object");
  CLI11_PARSE(app, argc, argv);
  try {
    plan.folder = fmt::format("{}/talaria_bench_{}", dir, ::getpid());
    return talaria::measure_all(plan, check, as_json);
  } catch (const talaria::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return talaria::kExitFailed;
  }
}
