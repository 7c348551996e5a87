// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/checkpoint_command.h"

#include <algorithm>
#include <cstdio>
#include <thread>

#include <CLI/CLI.hpp>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "storage/checkpoint/show.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string path;
  std::string tensor;
  bool as_json = false;
};

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    fail_errno("write", "standard output");
  }
}

fs::path existing_folder(const Options& options, const char* verb) {
  std::error_code error;
  if (!fs::is_directory(options.path, error)) {
    fail_usage("checkpoint {} {}: no such folder; give {}", verb, options.path,
               verb == std::string_view("list") ? "a run's checkpoints/ folder"
                                                : "a checkpoint's folder, for example "
                                                  "runs/NAME/checkpoints/step-00001000");
  }
  // "x/step-00000001/" has an empty last component.
  const fs::path path = fs::path(options.path).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

int list(const Options& options) {
  const fs::path root = existing_folder(options, "list");
  const std::vector<CheckpointInfo> checkpoints = list_checkpoints(root);
  print(describe_list(checkpoints, options.as_json));
  const std::size_t folders = step_folders(root).size();
  if (folders > checkpoints.size()) {
    fmt::print(stderr, "{} more folders hold no valid manifest: `checkpoint verify {}` says why\n",
               folders - checkpoints.size(), options.path);
  }
  return kExitDone;
}

int show(const Options& options) {
  const fs::path dir = existing_folder(options, "show");
  const CheckpointReader reader(dir);
  print(options.tensor.empty() ? describe_checkpoint(dir, reader.manifest(), options.as_json)
                               : describe_tensor(reader, options.tensor, options.as_json));
  return kExitDone;
}

int verify(const Options& options) {
  const fs::path path = existing_folder(options, "verify");
  std::error_code error;
  const bool one =
      parse_step_name(path.filename().string()) >= 0 || fs::exists(path / kManifestName, error);
  const std::vector<fs::path> dirs = one ? std::vector<fs::path>{path} : step_folders(path);
  if (dirs.empty()) fail("checkpoint verify {}: holds no checkpoint", options.path);
  ThreadPool pool(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 8U)));
  const double start = monotonic_seconds();
  std::vector<VerifyReport> reports;
  reports.reserve(dirs.size());
  for (const fs::path& dir : dirs) reports.push_back(verify_checkpoint(dir, pool));
  print(describe_verification(reports, monotonic_seconds() - start, options.as_json));
  const bool ok = std::all_of(reports.begin(), reports.end(), [](const auto& r) { return r.ok(); });
  return ok ? kExitDone : kExitFailed;
}

int run(int argc, char** argv, std::span<const CheckpointVerb> more) {
  for (const CheckpointVerb& verb : more) {
    if (argc > 1 && argv[1] == std::string_view(verb.name)) return verb.run(argc - 1, argv + 1);
  }
  CLI::App app(more.empty() ? "Looks at checkpoints." : "Looks at checkpoints, and exchanges them.",
               "checkpoint");
  app.require_subcommand(1);
  Options options;
  CLI::App* list_app =
      app.add_subcommand("list", "committed checkpoints of a run, the newest first");
  list_app->add_option("ROOT", options.path, "the run's checkpoints/ folder")->required();
  CLI::App* show_app = app.add_subcommand("show", "what a checkpoint holds");
  show_app->add_option("DIR", options.path, "a checkpoint's folder")->required();
  show_app->add_option("--tensor", options.tensor, "read this tensor, checked: NAME or GROUP/NAME");
  CLI::App* verify_app = app.add_subcommand("verify", "reads every byte; exit 1 on damage");
  verify_app->add_option("DIR_OR_ROOT", options.path, "one checkpoint, or all of a run")
      ->required();
  for (CLI::App* each : {list_app, show_app, verify_app}) {
    each->add_flag("--json", options.as_json, "for programs");
  }
  for (const CheckpointVerb& verb : more) app.add_subcommand(verb.name, verb.description);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    fail_usage("checkpoint: {}; `checkpoint --help` lists what is allowed", error.what());
  }
  if (list_app->parsed()) return list(options);
  if (show_app->parsed()) return show(options);
  return verify(options);
}

}  // namespace

int checkpoint_command(int argc, char** argv, std::span<const CheckpointVerb> more) {
  try {
    return run(argc, argv, more);
  } catch (const UsageError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return kExitUsage;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return kExitFailed;
  }
}

}  // namespace talaria::storage
