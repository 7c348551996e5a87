// SPDX-License-Identifier: Apache-2.0
#include "tests/support/run_job.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

const std::string kWorker = std::string(TALARIA_BIN_DIR) + "/talaria-worker";

// The project's own files of one kind, as one text.
void collect(const fs::path& to, const std::string& extension) {
  std::vector<fs::path> files;
  for (const char* folder :
       {"cluster", "parallel", "model", "storage", "worker", "launch", "tests", "docs"}) {
    for (const auto& entry :
         fs::recursive_directory_iterator(fs::path(TALARIA_SOURCE_DIR) / folder)) {
      if (entry.path().extension() == extension) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  std::ofstream out(to);
  for (const fs::path& file : files) out << read_file(file) << "\n\n";
}

std::map<std::int64_t, json::object> read_metrics(const fs::path& file) {
  std::map<std::int64_t, json::object> steps;
  if (!fs::exists(file)) return steps;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    json::error_code error;
    const json::value value = json::parse(line, error);
    if (!error) steps[value.at("step").to_number<std::int64_t>()] = value.as_object();
  }
  return steps;
}

}  // namespace

const char* const kLayoutsModel = R"(
[model]
layers = 4
hidden = 256
heads = 8
context = 256
vocab = 512

[train]
steps = 20
global_batch = 12
sequence_length = 256
dropout = 0.1
eval_every = 10
eval_samples = 8
)";

const char* const kTinyModel = R"(
[model]
layers = 4
hidden = 64
heads = 4
context = 32
vocab = 512

[train]
steps = 60
global_batch = 8
sequence_length = 32
dropout = 0.1
eval_every = 20
eval_samples = 8
)";

JobFolder::JobFolder(const fs::path& folder, const std::string& model_and_train, bool reuse)
    : folder_(folder) {
  if (reuse && fs::exists(folder_ / "job.toml")) return;
  fs::remove_all(folder_);
  fs::create_directories(folder_);
  collect(folder_ / "headers.txt", ".h");
  collect(folder_ / "sources.txt", ".cpp");
  const ChildResult prepared =
      tool({"data", "prepare", "--out", (folder_ / "data").string(), "--vocab", "512",
            (folder_ / "headers.txt").string(), (folder_ / "sources.txt").string()});
  if (prepared.exit_code != 0) fail("data prepare: {}", prepared.output);
  const std::string data = (folder_ / "data").string();
  std::ofstream(folder_ / "job.toml")
      << "[job]\nname = \"test\"\nseed = 11\n"
      << model_and_train << "\n[data]\ntokenizer = \"" << data << "/tokenizer\"\nsources = [\n"
      << "  { path = \"" << data << "/headers.tok\", weight = 1.0 },\n"
      << "  { path = \"" << data << "/sources.tok\", weight = 2.0 },\n]\nvalidation = 0.1\n"
      << "\n[optimizer]\nlearning_rate = 1e-3\nwarmup_steps = 5\n";
}

ChildResult JobFolder::run(const std::string& run, const RunPlan& plan, double timeout_seconds,
                           const std::function<void(pid_t, const std::string&)>& watch) const {
  const parallel::Layout& layout = plan.layout;
  std::vector<std::string> argv = plan.prefix;
  const auto add = [&argv](const std::vector<std::string>& words) {
    argv.insert(argv.end(), words.begin(), words.end());
  };
  add({"mpirun", "-n", std::to_string(layout.world_size()), "--oversubscribe", "--bind-to",
       "none"});
  add(plan.mpirun_args);
  add({kWorker, "--job", (folder_ / plan.job_file).string(), "--run-dir", (folder_ / run).string(),
       "--progress", "lines"});
  std::vector<std::string> set = {fmt::format("parallel.tensor={}", layout.tensor),
                                  fmt::format("parallel.pipeline={}", layout.pipeline),
                                  fmt::format("parallel.data={}", layout.data),
                                  fmt::format("parallel.schedule=\"{}\"", plan.schedule),
                                  fmt::format("parallel.zero={}", plan.zero),
                                  fmt::format("train.micro_batch={}", plan.micro_batch),
                                  fmt::format("cluster.threads_per_rank={}", plan.threads)};
  if (plan.invariant) {
    set.insert(set.end(),
               {"job.numerics=\"invariant\"", "job.virtual_shards=4", "job.sample_groups=2"});
  }
  set.insert(set.end(), plan.set.begin(), plan.set.end());
  for (const std::string& each : set) {
    argv.emplace_back("--set");
    argv.push_back(each);
  }
  add(plan.args);
  return run_child(argv, timeout_seconds, watch);
}

ChildResult JobFolder::tool(const std::vector<std::string>& args, double timeout_seconds) const {
  std::vector<std::string> argv = {kWorker};
  argv.insert(argv.end(), args.begin(), args.end());
  return run_child(argv, timeout_seconds);
}

std::map<std::int64_t, std::string> JobFolder::metric(const std::string& run,
                                                      const std::string& key) const {
  std::map<std::int64_t, std::string> values;
  for (const auto& [step, line] : read_metrics(folder_ / run / "metrics.jsonl")) {
    if (line.contains(key)) values[step] = json::serialize(line.at(key));
  }
  return values;
}

std::map<std::int64_t, std::string> JobFolder::loss_bits(const std::string& run) const {
  return metric(run, "loss_bits");
}

std::vector<fs::path> JobFolder::checkpoints(const std::string& run) const {
  std::vector<fs::path> found;
  const fs::path root = folder_ / run / "checkpoints";
  if (!fs::exists(root)) return found;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.path().filename().string().starts_with("step-")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string JobFolder::weights_hash(const std::string& run) const {
  const std::vector<fs::path> all = checkpoints(run);
  if (all.empty()) fail("{}: no checkpoint", run);
  const json::value manifest = json::parse(read_file(all.back() / "manifest.json"));
  return std::string(manifest.at("weights_hash").as_string());
}

}  // namespace talaria::worker
