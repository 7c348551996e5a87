// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "cluster/base/thread_pool.h"
#include "launch/job.h"
#include "storage/checkpoint/reader.h"
#include "storage/exchange/hf_tokenizer.h"
#include "storage/exchange/new_folder.h"
#include "worker/checkpointing.h"
#include "worker/hugging_face.h"
#include "worker/start.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

std::string shown(const fs::path& path) { return one_line(path.string()); }

storage::Gpt2Shape to_shape(const model::GptConfig& c) {
  return {c.layers, c.hidden, c.heads, c.ffn, c.context, c.vocab};
}

std::optional<storage::Tokenizer> choose_tokenizer(const ExportOptions& options,
                                                   const launch::Job& job) {
  if (options.no_tokenizer) return std::nullopt;
  const fs::path folder =
      options.tokenizer.empty() ? fs::path(job.data.tokenizer) : options.tokenizer;
  if (folder.empty()) {
    fail_usage(
        "checkpoint export: the job file names no tokenizer; allowed: --tokenizer DIR or "
        "--no-tokenizer");
  }
  std::optional<storage::Tokenizer> tokenizer = storage::Tokenizer::load(folder);
  if (tokenizer->vocab_size() > job.model.vocab) {
    fail_usage("{}: {} tokens, but the model knows {}; name the tokenizer it was trained with",
               shown(folder), tokenizer->vocab_size(), job.model.vocab);
  }
  return tokenizer;
}

}  // namespace

std::string export_model(const ExportOptions& options) {
  const fs::path out = settled(options.out);
  storage::NewFolder folder(out);
  ThreadPool pool(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 8U)));
  const fs::path checkpoint = resolve_start(settled(options.from).string(), "", pool);
  const TrainingState state = read_training_state(checkpoint);
  const launch::Job job =
      launch::parse_job(ConfigFile::parse(state.job_toml, (checkpoint / "manifest.json").string()));
  const storage::CheckpointReader reader(checkpoint);
  storage::Gpt2Export wanted;
  wanted.shape = to_shape(job.model);
  wanted.max_shard_bytes = options.max_shard_bytes;
  wanted.extras.dropout = job.train.dropout;
  wanted.extras.type = options.type;
  try {
    storage::check_exportable(reader, wanted.shape);
  } catch (const UsageError& error) {
    fail_usage("{}: {}", shown(checkpoint), error.what());
  }
  const std::optional<storage::Tokenizer> tokenizer = choose_tokenizer(options, job);
  if (tokenizer) wanted.extras.end_of_text = tokenizer->end_of_text();
  storage::export_gpt2(reader, wanted, folder.temporary());
  if (tokenizer) {
    storage::write_hf_tokenizer(*tokenizer, wanted.shape.context, folder.temporary());
  }
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder.temporary())) {
    files.push_back(entry.path().filename().string());
  }
  std::sort(files.begin(), files.end());
  folder.commit();

  if (options.as_json) {
    json::array names(files.begin(), files.end());
    const json::object result = {{"folder", out.string()},
                                 {"checkpoint", checkpoint.string()},
                                 {"weights_hash", reader.manifest().weights_hash},
                                 {"files", std::move(names)}};
    return json::serialize(result) + "\n";
  }
  return fmt::format(
      "checkpoint    {}\nmodel         {}\nweights_hash  {}\nfolder        {}\nfiles         {}\n",
      shown(checkpoint), describe(wanted.shape), reader.manifest().weights_hash, shown(out),
      fmt::join(files, " "));
}

}  // namespace talaria::worker
