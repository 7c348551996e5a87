// SPDX-License-Identifier: Apache-2.0
#include "launch/script/script_command.h"

#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "launch/script/script.h"

namespace talaria::launch {

namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string job_file;
  std::vector<std::string> overrides;
  std::string run_directory;
  bool mpirun = false;
  bool slurm = false;
  SlurmWishes wishes;
};

void add_options(CLI::App& app, Arguments& arguments) {
  app.add_option("JOB", arguments.job_file, "the job file (TOML)")->required();
  app.add_option("--set", arguments.overrides,
                 "table.key=value, in place of what the file says; as often as needed")
      ->allow_extra_args(false);
  app.add_option("--run-dir", arguments.run_directory, "default: runs/<job.name>");
  auto* const mpirun = app.add_flag("--mpirun", arguments.mpirun, "a script that calls mpirun");
  auto* const slurm = app.add_flag("--slurm", arguments.slurm, "a script for sbatch");
  slurm->excludes(mpirun);
  SlurmWishes& wishes = arguments.wishes;
  for (CLI::Option* option :
       {app.add_option("--nodes", wishes.nodes, "Slurm: number of nodes")
            ->check(CLI::Range(1, 1 << 20)),
        app.add_option("--time", wishes.time, "Slurm: longest time, HH:MM:SS or D-HH:MM:SS"),
        app.add_option("--partition", wishes.partition, "Slurm: partition"),
        app.add_option("--account", wishes.account, "Slurm: account"),
        app.add_option("--output", wishes.output,
                       "Slurm: file of the log, for example run-%j.log")}) {
    option->needs(slurm);
  }
}

}  // namespace

int script_command(int argc, char** argv, const std::string& worker) {
  Arguments arguments;
  CLI::App app("Prints a script that runs the job without a coordinator.", "talaria script");
  add_options(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error) == 0 ? kExitDone : kExitUsage;
    fail_usage("talaria script: {}; see talaria script --help", one_line(error.what()));
  }
  if (!arguments.mpirun && !arguments.slurm) {
    fail_usage("talaria script: neither --mpirun nor --slurm is given; allowed: one of them");
  }
  const StagedJob job = parse_stages(ConfigFile::load(arguments.job_file, arguments.overrides));
  if (arguments.run_directory.empty())
    arguments.run_directory = (fs::path("runs") / job.name).string();
  const auto absolute = [](const std::string& path) {
    return fs::absolute(path).lexically_normal().string();
  };
  const ScriptPaths paths{.worker = worker,
                          .job_file = absolute(arguments.job_file),
                          .run_directory = absolute(arguments.run_directory),
                          .working_directory = fs::current_path().string(),
                          .overrides = arguments.overrides};
  const std::string text =
      arguments.slurm ? slurm_script(job, paths, arguments.wishes) : mpirun_script(job, paths);
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    fail_errno("write", "standard output");
  }
  return kExitDone;
}

}  // namespace talaria::launch
