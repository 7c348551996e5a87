// SPDX-License-Identifier: Apache-2.0
// The scripts of `talaria script`: they parse, shellcheck finds nothing, and whatever a user wrote
// reaches the command as it was written, or is refused in one line. They run here with stand-ins
// for mpirun and srun.
#include "launch/script/script.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "launch/script/script_command.h"
#include "tests/support/child_process.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr double kTimeout = 30;
constexpr const char* kJob =
    "[job]\nname = 'one'\n[data]\nsources = [{path = 'a.tok'}]\n[train]\nsteps = 5\n"
    "global_batch = 8\n[parallel]\ndata = 2\n";

// What people and attackers put into names.
std::vector<std::string> hostile_texts() {
  return {"$(id)",
          "`id`",
          "a'b",
          "a\"b",
          "'; touch PWNED; '",
          "\"; touch PWNED; \"",
          "a b  c",
          "-rf",
          "--",
          "../../etc",
          "~root",
          "*?[a-z]",
          "a\\b\\",
          "a;b&c|d>e<f",
          "!!",
          "#SBATCH",
          "${HOME}$PATH",
          "{a,b}",
          "a=b",
          "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80",
          std::string(200, 'x'),
          std::string(10240, 'x'),
          std::string(5000, '\''),
          "a\nb",
          "x\n#SBATCH --wrap=id\ny",
          "a\tb",
          "a\rb",
          "\x1b[31mred\x1b]0;title\x07",
          "a\x7f"};
}

// What a terminal may be given.
bool is_printable(const std::string& text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n') || byte == 0x7F) return false;
  }
  return true;
}

class Script : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("talaria_script_{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "bin");
    fs::create_directories(folder_ / "work");
    // The stand-in writes down its arguments and where it was called.
    stand_in("mpirun", "printf '%s\\0' \"$PWD\" \"$@\" >" + path("argv"));
    stand_in("srun", "printf '%s\\0' \"$PWD\" \"$@\" >" + path("argv"));
    stand_in("scontrol", "printf '%s ' \"$@\" >>" + path("scontrol"));
    stand_in("sleep", "echo \"$1\" >>" + path("sleeps"));
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void stand_in(const std::string& name, const std::string& body) const {
    const fs::path file = folder_ / "bin" / name;
    std::ofstream(file) << "#!/bin/bash\n" << body << "\n";
    ASSERT_EQ(::chmod(file.c_str(), 0755), 0);
  }

  ScriptPaths paths() const {
    return {.worker = "/opt/talaria/bin/talaria-worker",
            .job_file = path("job.toml"),
            .run_directory = path("runs/one"),
            .working_directory = path("work"),
            .overrides = {}};
  }

  static StagedJob parse(const std::string& text) {
    return parse_stages(ConfigFile::parse(text, "j.toml"));
  }

  ChildResult run(const std::string& script,
                  const std::function<void(pid_t, const std::string&)>& watch = nullptr) const {
    std::ofstream(folder_ / "script.sh") << script;
    return run_child({"env", "PATH=" + path("bin") + ":/usr/bin:/bin", "SLURM_JOB_ID=77", "bash",
                      path("script.sh")},
                     kTimeout, watch);
  }

  // What the stand-in was called with; the folder first.
  std::vector<std::string> argv() const {
    std::vector<std::string> words;
    std::string word;
    for (const char c : read_file(folder_ / "argv")) {
      if (c == '\0') {
        words.push_back(std::move(word));
        word.clear();
      } else {
        word += c;
      }
    }
    return words;
  }

  std::vector<std::string> lines(const std::string& name) const {
    std::vector<std::string> all;
    std::ifstream in(folder_ / name);
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }

  fs::path folder_;
};

// Parts of a run of bash -n and shellcheck over files that all have to pass.
void expect_clean(const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    const ChildResult parsed = run_child({"bash", "-n", file}, kTimeout);
    EXPECT_EQ(parsed.exit_code, 0) << parsed.output << read_file(file);
  }
  std::vector<std::string> check = {"shellcheck"};
  check.insert(check.end(), files.begin(), files.end());
  const ChildResult checked = run_child(check, 120);
  EXPECT_EQ(checked.exit_code, 0) << checked.output;
}

TEST_F(Script, HostileValuesAreRefusedOrReachTheCommandAsTheyAre) {
  std::vector<std::string> files;
  int harmless = 0;
  const StagedJob job = parse(kJob);
  for (const std::string& text : hostile_texts()) {
    ScriptPaths hostile = paths();
    hostile.worker = path(text);
    hostile.job_file = path(text + ".toml");
    hostile.run_directory = path("runs/" + text);
    hostile.overrides = {"data.tokenizer=" + text, text};
    for (const bool slurm : {false, true}) {
      std::string script;
      try {
        script = slurm ? slurm_script(job, hostile, {}) : mpirun_script(job, hostile);
      } catch (const UsageError& error) {
        EXPECT_TRUE(is_printable(error.what())) << error.what();
        EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
        EXPECT_LT(std::string(error.what()).size(), 400U);
        continue;
      }
      ++harmless;
      EXPECT_TRUE(is_printable(script));
      const ChildResult result = run(script);
      ASSERT_EQ(result.exit_code, 0) << result.output << script;
      const std::vector<std::string> found = argv();
      EXPECT_EQ(found[0], path("work"));
      const std::vector<std::string> command(std::find(found.begin(), found.end(), hostile.worker),
                                             found.end());
      EXPECT_THAT(command, ElementsAre(hostile.worker, "--job", hostile.job_file, "--set",
                                       hostile.overrides[0], "--set", hostile.overrides[1],
                                       "--run-dir", hostile.run_directory));
      EXPECT_FALSE(fs::exists(folder_ / "work/PWNED"));
      files.push_back(path(fmt::format("{}.sh", files.size())));
      std::ofstream(files.back()) << script;
    }
  }
  EXPECT_EQ(harmless, 2 * 21);
  expect_clean(files);
}

TEST_F(Script, LongOverridesReachTheCommand) {
  for (const std::string& text : {std::string(10240, 'x'), std::string(10240, '\'')}) {
    ScriptPaths hostile = paths();
    hostile.overrides = {"data.tokenizer=" + text};
    ASSERT_EQ(run(mpirun_script(parse(kJob), hostile)).exit_code, 0);
    EXPECT_THAT(argv(), testing::Contains("data.tokenizer=" + text));
  }
}

TEST_F(Script, FoldersWithHostileNamesAreEntered) {
  for (const std::string& text : hostile_texts()) {
    if (text.size() > 255 || one_line(text) != text || text.find('/') != std::string::npos)
      continue;
    ScriptPaths hostile = paths();
    hostile.working_directory = path(text);
    fs::create_directory(hostile.working_directory);
    ASSERT_EQ(run(mpirun_script(parse(kJob), hostile)).exit_code, 0) << text;
    EXPECT_EQ(argv()[0], hostile.working_directory);
  }
}

TEST_F(Script, PathsThatCannotExistAreRefused) {
  ScriptPaths hostile = paths();
  hostile.run_directory = "/" + std::string(10240, 'x');
  try {
    mpirun_script(parse(kJob), hostile);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), StartsWith("--run-dir \"/xxx"));
    EXPECT_THAT(error.what(), HasSubstr("10241 bytes; allowed: a path of at most 4095 bytes"));
  }
}

TEST_F(Script, SlurmWishesAreNarrow) {
  const auto message = [&](const SlurmWishes& wishes) -> std::string {
    try {
      const std::string script = slurm_script(parse(kJob), paths(), wishes);
      // Nothing but directives stands between the first line and the comments.
      EXPECT_THAT(script, StartsWith("#!/usr/bin/env bash\n#SBATCH --job-name=one\n"));
    } catch (const UsageError& error) {
      EXPECT_TRUE(is_printable(error.what()));
      return error.what();
    }
    return "";
  };
  for (const std::string& text : hostile_texts()) {
    EXPECT_NE(message({.time = text}), "") << text;
    if (text.find_first_not_of("xabc") == std::string::npos && text.size() < 1024) continue;
    EXPECT_NE(message({.partition = text}), "") << text;
    EXPECT_NE(message({.account = text}), "") << text;
    if (text != "../../etc" && text != "a=b") {
      EXPECT_NE(message({.output = text}), "") << text;
    }
  }
  for (const char* time : {"0:00:30", "01:00:00", "999:59:59", "2-12:00:00"}) {
    EXPECT_EQ(message({.time = time}), "");
  }
  for (const char* time : {"", "60", "1:60:00", "1:00:60", "1:0:0", "1-100:00:00", "1:00:00 ",
                           "-1:00:00", "1:00", "1:00:00:00"}) {
    EXPECT_EQ(message({.time = time}).empty(), *time == '\0') << time;
  }
  EXPECT_EQ(message({.nodes = 2,
                     .time = "",
                     .partition = "a,b-c.d",
                     .account = "x_1",
                     .output = "/x/run-%j.log"}),
            "");
}

TEST_F(Script, SlurmDirectivesAskForWhatTheLargestStageNeeds) {
  const StagedJob job = parse(std::string(kJob) +
                              "[[stage]]\nname = 'a'\n[[stage]]\nname = 'b'\nparallel.data = 4\n"
                              "cluster = { threads_per_rank = 3, memory_gib = 1.5 }\n");
  const std::string script = slurm_script(
      job, paths(),
      {.nodes = 2, .time = "1:00:00", .partition = "main", .account = "me", .output = "x-%j.log"});
  EXPECT_THAT(script, StartsWith("#!/usr/bin/env bash\n"
                                 "#SBATCH --job-name=one\n"
                                 "#SBATCH --nodes=2\n"
                                 "#SBATCH --ntasks=4\n"
                                 "#SBATCH --cpus-per-task=3\n"
                                 "#SBATCH --mem=1536M\n"
                                 "#SBATCH --time=1:00:00\n"
                                 "#SBATCH --partition=main\n"
                                 "#SBATCH --account=me\n"
                                 "#SBATCH --output=x-%j.log\n"
                                 "#SBATCH --signal=USR1@120\n"
                                 "#SBATCH --requeue\n"
                                 "#SBATCH --open-mode=append\n"
                                 "# "));
  stand_in("srun", "printf '%s ' \"$@\" >>" + path("calls") + "; echo >>" + path("calls"));
  ASSERT_EQ(run(script).exit_code, 0);
  const std::string common = "/opt/talaria/bin/talaria-worker --job " + path("job.toml");
  EXPECT_THAT(lines("calls"),
              ElementsAre("--ntasks=2 --cpus-per-task=1 --mpi=pmix --wait=60 " + common +
                              " --stage a --run-dir " + path("runs/one/a "),
                          "--ntasks=4 --cpus-per-task=3 --mpi=pmix --wait=60 " + common +
                              " --stage b --run-dir " + path("runs/one/b ")));
  std::ofstream(folder_ / "slurm.sh") << script;
  expect_clean({path("slurm.sh")});
}

TEST_F(Script, HostsBecomeArgumentsOfMpirun) {
  const StagedJob job = parse(std::string(kJob) +
                              "[cluster]\nlauncher = 'mpirun'\nhosts = ['n1', 'n2']\n"
                              "launch_agent = '/usr/bin/ssh -x'\n");
  const std::string script = mpirun_script(job, paths());
  ASSERT_EQ(run(script).exit_code, 0);
  const std::vector<std::string> found = argv();
  const std::vector<std::string> begin(found.begin() + 1, found.begin() + 11);
  EXPECT_THAT(begin, ElementsAre("-n", "2", "--host", "n1:1,n2:1", "--map-by", "slot", "--bind-to",
                                 "none", "--mca", "plm_rsh_agent"));
  EXPECT_EQ(found[11], "/usr/bin/ssh -x");
  std::ofstream(folder_ / "hosts.sh") << script;
  expect_clean({path("hosts.sh")});
}

// mpirun ends with the exit codes of `codes`, one after the other.
std::string ends_with(const std::string& file, const std::string& codes) {
  return fmt::format(
      "codes=({}); n=0; [ ! -f {}.n ] || n=$(cat {}.n); echo $((n + 1)) >{}.n; "
      "exit \"${{codes[n]}}\"",
      codes, file, file, file);
}

TEST_F(Script, FailuresAreTriedAgainWithBackOff) {
  stand_in("mpirun", ends_with(path("runs"), "1 137 134 0"));
  const ChildResult fine = run(mpirun_script(parse(kJob), paths()));
  EXPECT_EQ(fine.exit_code, 0) << fine.output;
  EXPECT_THAT(lines("sleeps"), ElementsAre("1", "2", "4"));
  EXPECT_THAT(fine.output, HasSubstr("one: exit code 137; again in 2 s, restart 2 of 3"));
}

TEST_F(Script, ACrashLoopIsGivenUp) {
  stand_in("mpirun", ends_with(path("runs"), "1 1 1 1 0"));
  const ChildResult given_up = run(mpirun_script(parse(kJob), paths()));
  EXPECT_EQ(given_up.exit_code, 1);
  EXPECT_THAT(given_up.output, HasSubstr("given up after 4 failures without a new checkpoint"));
  EXPECT_EQ(read_file(folder_ / "runs.n"), "4\n");
}

TEST_F(Script, ProgressForgivesFailuresAndWaitsAreCapped) {
  // Every third failure comes after a new checkpoint.
  stand_in("mpirun", "n=0; [ ! -f " + path("n") + " ] || n=$(cat " + path("n") +
                         "); n=$((n + 1)); echo $n >" + path("n") +
                         "; [ $((n % 3)) -ne 0 ] || mkdir -p " + path("runs/one/checkpoints") +
                         "/step-000$n; [ $n -lt 9 ] || exit 0; exit 1");
  EXPECT_EQ(run(mpirun_script(parse(kJob), paths())).exit_code, 0);
  EXPECT_THAT(lines("sleeps"), ElementsAre("1", "2", "1", "2", "4", "1", "2", "4"));
  fs::remove(folder_ / "sleeps");
  stand_in("mpirun", "exit 1");
  EXPECT_EQ(run(mpirun_script(parse(std::string(kJob) + "[cluster]\nmax_restarts = 8\n"), paths()))
                .exit_code,
            1);
  EXPECT_THAT(lines("sleeps"), ElementsAre("1", "2", "4", "8", "16", "32", "60", "60"));
}

TEST_F(Script, WrongUsageAndEarlyStopsAreNotTriedAgain) {
  for (const int code : {2, 75}) {
    fs::remove(folder_ / "runs.n");
    stand_in("mpirun", ends_with(path("runs"), fmt::format("{} 0", code)));
    EXPECT_EQ(run(mpirun_script(parse(kJob), paths())).exit_code, code);
    EXPECT_EQ(read_file(folder_ / "runs.n"), "1\n");
  }
}

TEST_F(Script, SlurmQueuesAgainWhatWasStoppedEarly) {
  stand_in("srun", "exit 75");
  EXPECT_EQ(run(slurm_script(parse(kJob), paths(), {})).exit_code, 75);
  EXPECT_THAT(read_file(folder_ / "scontrol"), "requeue 77 ");
  fs::remove(folder_ / "scontrol");
  // But not what was cancelled.
  stand_in("srun", "trap 'exit 75' USR1; echo ready; while :; do /bin/sleep 0.02; done");
  bool sent = false;
  const ChildResult cancelled =
      run(slurm_script(parse(kJob), paths(), {}), [&](pid_t pid, const std::string& output) {
        if (sent || output.find("ready") == std::string::npos) return;
        sent = true;
        ::kill(pid, SIGTERM);
      });
  EXPECT_EQ(cancelled.exit_code, 75) << cancelled.output;
  EXPECT_FALSE(fs::exists(folder_ / "scontrol"));
}

TEST_F(Script, SignalsBecomeOneRequestToSave) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    fs::remove(folder_ / "heard");
    stand_in("mpirun", "for s in HUP INT TERM; do trap \"echo $s >>" + path("heard") +
                           "\" $s; done; trap 'echo USR1 >>" + path("heard") +
                           "; exit 75' USR1; echo ready; while :; do /bin/sleep 0.02; done");
    bool sent = false;
    const ChildResult result =
        run(mpirun_script(parse(kJob), paths()), [&](pid_t pid, const std::string& output) {
          if (sent || output.find("ready") == std::string::npos) return;
          sent = true;
          ::kill(-pid, signal);  // as a terminal does: to the whole group
        });
    EXPECT_EQ(result.exit_code, 75) << result.output;
    EXPECT_FALSE(result.timed_out);
    EXPECT_THAT(lines("heard"), ElementsAre("USR1"));
  }
}

TEST_F(Script, ASecondSignalEndsAtOnce) {
  stand_in("mpirun",
           "trap 'echo first' USR1; trap 'exit 143' TERM; echo ready; "
           "while :; do /bin/sleep 0.02; done");
  int sent = 0;
  const ChildResult result =
      run(mpirun_script(parse(kJob), paths()), [&](pid_t pid, const std::string& output) {
        const bool wanted = (sent == 0 && output.find("ready") != std::string::npos) ||
                            (sent == 1 && output.find("first") != std::string::npos);
        if (!wanted) return;
        ++sent;
        ::kill(pid, SIGINT);
      });
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_EQ(sent, 2);
}

class ScriptCommand : public Script {
 protected:
  // Runs the command; returns what it printed, or the refusal.
  static std::string command(const std::vector<std::string>& args) {
    std::vector<std::string> words = {"talaria script"};
    words.insert(words.end(), args.begin(), args.end());
    std::vector<char*> pointers;
    pointers.reserve(words.size());
    for (std::string& word : words) pointers.push_back(word.data());
    testing::internal::CaptureStdout();
    try {
      script_command(static_cast<int>(pointers.size()), pointers.data(), "/x/talaria-worker");
    } catch (const UsageError& error) {
      EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
      EXPECT_TRUE(is_printable(error.what()));
      EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
      return error.what();
    }
    return testing::internal::GetCapturedStdout();
  }
};

TEST_F(ScriptCommand, PrintsWhatRuns) {
  std::ofstream(folder_ / "job.toml") << kJob;
  const std::string script =
      command({path("job.toml"), "--mpirun", "--set", "train.steps=7", "--set", "job.seed=3"});
  EXPECT_THAT(script, StartsWith("#!/usr/bin/env bash\n# Trains the job one under mpirun.\n"));
  ASSERT_EQ(run(script).exit_code, 0);
  const std::string here = fs::current_path().string();
  EXPECT_THAT(argv(),
              ElementsAre(here, "-n", "2", "--oversubscribe", "--bind-to", "none",
                          "/x/talaria-worker", "--job", path("job.toml"), "--set", "train.steps=7",
                          "--set", "job.seed=3", "--run-dir", here + "/runs/one"));
  EXPECT_THAT(command({path("job.toml"), "--slurm", "--time", "1:00:00", "--run-dir=-x"}),
              HasSubstr("run_dir=" + here + "/-x\n"));
}

TEST_F(ScriptCommand, BadArgumentsAreOneLine) {
  std::ofstream(folder_ / "job.toml") << kJob;
  const std::string job = path("job.toml");
  EXPECT_THAT(command({job}), HasSubstr("neither --mpirun nor --slurm is given"));
  EXPECT_THAT(command({job, "--mpirun", "--slurm"}), HasSubstr("--mpirun excludes --slurm"));
  EXPECT_THAT(command({job, "--mpirun", "--time", "1:00:00"}), HasSubstr("requires --slurm"));
  EXPECT_THAT(command({job, "--slurm", "--nodes", "0"}), HasSubstr("--nodes"));
  EXPECT_THAT(command({job, "--slurm", "--time", "1;id"}), HasSubstr("--time \"1;id\": allowed"));
  EXPECT_THAT(command({"/no/such.toml", "--mpirun"}), HasSubstr("/no/such.toml"));
  EXPECT_THAT(command({job, "--mpirun", "--set", "job.name=$(id)"}),
              StartsWith("--set job.name: job.name: found the string \"$(id)\""));
  EXPECT_THAT(command({job, "--mpirun", "--set", "data.tokenizer=a\nb"}),
              StartsWith("--set \"data.tokenizer=a\\nb\": has control characters"));
  for (const std::string& text : hostile_texts())
    command({text, text, "--slurm", "--account", text});
}

}  // namespace
}  // namespace talaria::launch
