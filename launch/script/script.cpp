// SPDX-License-Identifier: Apache-2.0
#include "launch/script/script.h"

#include <algorithm>
#include <climits>
#include <string_view>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "launch/script/script_text.h"

namespace talaria::launch {

namespace {

// One word of the script, which is read by people on terminals as well.
std::string quoted(const char* what, const std::string& value) {
  if (one_line(value) != value) {
    fail_usage(
        "{} {}: has control characters or bytes that are no UTF-8; allowed: text that can be "
        "printed",
        what, in_quotes(value));
  }
  return shell_quote(value);
}

std::string quoted_path(const char* what, const std::string& path) {
  if (path.size() >= PATH_MAX) {
    fail_usage("{} {}: {} bytes; allowed: a path of at most {} bytes", what, in_quotes(path),
               path.size(), PATH_MAX - 1);
  }
  TALARIA_CHECK(path.starts_with('/'), "{} {} is not absolute", what, path);
  return quoted(what, path);
}

// The names that all commands below use, and the folder that they run in.
std::string variables(const ScriptPaths& paths) {
  std::string options = "--job \"$job\"";
  for (const std::string& each : paths.overrides) options += " --set " + quoted("--set", each);
  return fmt::format(
      "worker={}\njob={}\nrun_dir={}\noptions=({})\n\n"
      "cd {}  # relative paths of the job file begin here\n\n",
      quoted_path("talaria-worker", paths.worker), quoted_path("job file", paths.job_file),
      quoted_path("--run-dir", paths.run_directory), options,
      quoted_path("working directory", paths.working_directory));
}

// What a person wrote is quoted on purpose where shellcheck would ask whether it was meant so.
std::string shellcheck_line(const ScriptPaths& paths) {
  std::string all = paths.worker + paths.job_file + paths.run_directory + paths.working_directory;
  for (const std::string& each : paths.overrides) all += each;
  if (all.find_first_of("$`\\'") == std::string::npos) return "";
  return "# shellcheck disable=SC1003,SC2016  # values in single quotes are meant as they stand\n";
}

constexpr const char* kMpiSettings =
    R"(# Open MPI: root may run it too; ranks that wait give their core away; no copies through ptrace, which
# many containers forbid.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none

)";

// What starts the ranks of one job stage, up to the worker.
std::string mpirun_words(const Job& job) {
  std::string words = fmt::format("mpirun -n {}", job.cluster.ranks);
  if (job.cluster.hosts.empty()) return words + " --oversubscribe --bind-to none";
  // A cut link is noticed after 5 + 3 x 2 s instead of minutes.
  return words + fmt::format(
                     " --host {} --map-by slot --bind-to none \\\n"
                     "  --mca plm_rsh_agent {} \\\n"
                     "  --mca oob_tcp_keepalive_time 3 --mca oob_tcp_keepalive_intvl 2 \\\n"
                     "  --mca oob_tcp_keepalive_probes 3",
                     shell_quote(host_list(job.cluster)), shell_quote(job.cluster.launch_agent));
}

std::string srun_words(const Job& job) {
  // A rank that died leaves the others waiting; ranks that stop together need seconds.
  return fmt::format("srun --ntasks={} --cpus-per-task={} --mpi=pmix --wait=60", job.cluster.ranks,
                     job.cluster.threads_per_rank);
}

// One call of `train` a job stage.
std::string trains(const StagedJob& job, std::string (*start)(const Job&)) {
  std::string text;
  for (const Stage& stage : job.stages) {
    const std::string name = shell_quote(stage.name);
    const std::string folder = job.staged ? fmt::format("\"$run_dir\"/{}", name) : "\"$run_dir\"";
    text += fmt::format(
        "\ntrain {} {} {} \\\n  {} \\\n  \"$worker\" \"${{options[@]}}\"{} --run-dir {}\n", name,
        folder, stage.job.cluster.max_restarts, start(stage.job),
        job.staged ? " --stage " + name : "", folder);
  }
  return text;
}

std::string title(const StagedJob& job, const char* how) {
  std::string stages;
  for (const Stage& stage : job.stages) stages += (stages.empty() ? "" : ", then ") + stage.name;
  return fmt::format("# Trains the job {} {}{}.\n", job.name, how,
                     job.staged ? fmt::format(", stage after stage:\n# {}", stages) : "");
}

constexpr const char* kExitCodes =
    "# Exit codes: 0 done, 1 failed, 2 wrong usage or invalid job file, 75 stopped early with a "
    "checkpoint.\n";

bool consists_of(std::string_view text, std::string_view marks) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           marks.find(c) != std::string_view::npos;
  });
}

// A name that #SBATCH reads as it stands.
void check_word(const char* option, const std::string& value, const char* marks, const char* what) {
  constexpr std::size_t kMostBytes = 1024;
  if (value.empty() ||
      (value.size() <= kMostBytes && value[0] != '-' && consists_of(value, marks))) {
    return;
  }
  fail_usage("{} {}: allowed: {} of at most {} characters of A-Z a-z 0-9 {}, no - first", option,
             in_quotes(value), what, kMostBytes, marks);
}

// [D-]HH:MM:SS
bool is_duration(std::string_view text) {
  std::size_t at = 0;
  const auto digits = [&](std::size_t least, std::size_t most) {
    const std::size_t begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - begin >= least && at - begin <= most;
  };
  const auto mark = [&](char c) {
    return at < text.size() && text[at] == c ? (++at, true) : false;
  };
  if (!digits(1, 4)) return false;
  if (mark('-') && !digits(1, 2)) return false;
  if (!mark(':') || !digits(2, 2) || text[at - 2] > '5') return false;
  return mark(':') && digits(2, 2) && text[at - 2] <= '5' && at == text.size();
}

void check(const SlurmWishes& wishes) {
  check_word("--partition", wishes.partition, "_.,-", "names");
  check_word("--account", wishes.account, "_.-", "a name");
  check_word("--output", wishes.output, "_./%@+=:,-", "a path");
  if (!wishes.time.empty() && !is_duration(wishes.time)) {
    fail_usage("--time {}: allowed: HH:MM:SS or D-HH:MM:SS", in_quotes(wishes.time));
  }
}

// The most that a stage needs, of a number that each names.
template <class Number>
Number most(const StagedJob& job, Number (*of)(const Job&)) {
  Number value{};
  for (const Stage& stage : job.stages) value = std::max(value, of(stage.job));
  return value;
}

std::string directives(const StagedJob& job, const SlurmWishes& wishes) {
  std::string text;
  const auto add = [&text](const char* option, const std::string& value) {
    if (!value.empty()) text += fmt::format("#SBATCH --{}={}\n", option, value);
  };
  add("job-name", job.name);
  if (wishes.nodes > 0) add("nodes", std::to_string(wishes.nodes));
  add("ntasks", std::to_string(most<int>(job, [](const Job& j) { return j.cluster.ranks; })));
  add("cpus-per-task",
      std::to_string(most<int>(job, [](const Job& j) { return j.cluster.threads_per_rank; })));
  const auto memory = most<std::int64_t>(job, [](const Job& j) { return j.memory_limit(); });
  constexpr std::int64_t kMebibyte = 1 << 20;
  if (memory > 0) add("mem", fmt::format("{}M", std::max<std::int64_t>(1, memory / kMebibyte)));
  add("time", wishes.time);
  add("partition", wishes.partition);
  add("account", wishes.account);
  add("output", wishes.output);
  // The ranks, not this script, hear SIGUSR1 two minutes before the end, and save.
  add("signal", "USR1@120");
  return text + "#SBATCH --requeue\n#SBATCH --open-mode=append\n";
}

}  // namespace

std::string mpirun_script(const StagedJob& job, const ScriptPaths& paths) {
  return "#!/usr/bin/env bash\n" + title(job, "under mpirun") +
         "# Ctrl-C or SIGTERM stops it with a checkpoint; run it again and it goes on from "
         "there.\n" +
         kExitCodes + shellcheck_line(paths) + "set -euo pipefail\n\n" + variables(paths) +
         kMpiSettings + signals_text("setsid ") + "\n" + train_text("  exit 75\n") +
         trains(job, mpirun_words);
}

std::string slurm_script(const StagedJob& job, const ScriptPaths& paths,
                         const SlurmWishes& wishes) {
  check(wishes);
  return "#!/usr/bin/env bash\n" + directives(job, wishes) + title(job, "under Slurm") +
         "# Submit it with sbatch. Before the time is up the ranks get SIGUSR1, save a checkpoint "
         "and end\n"
         "# with 75; the job is then queued again, and goes on from there. scancel ends it for "
         "good.\n" +
         kExitCodes + shellcheck_line(paths) + "set -euo pipefail\n\n" + variables(paths) +
         kMpiSettings + signals_text("") + "\n" +
         train_text(
             "  [ \"$stops\" -gt 0 ] || scontrol requeue \"$SLURM_JOB_ID\" || true\n"
             "  exit 75\n") +
         trains(job, srun_words);
}

}  // namespace talaria::launch
