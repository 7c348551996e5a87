// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "launch/job.h"
#include "storage/checkpoint/verify.h"
#include "storage/exchange/hf_tokenizer.h"
#include "worker/checkpointing.h"
#include "worker/hugging_face.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// The name of the job and of its data: both had to have one.
constexpr const char* kImported = "imported";

std::string shown(const fs::path& path) { return one_line(path.string()); }

model::GptConfig to_config(const storage::Gpt2Shape& s) {
  return {s.layers, s.hidden, s.heads, s.ffn, s.context, s.vocab};
}

// Where the checkpoint goes: `out` is a run directory, its checkpoints/, or its step-00000000.
fs::path checkpoints_root(const fs::path& out) {
  const std::string name = out.filename().string();
  if (storage::parse_step_name(name) == 0) return out.parent_path();
  if (storage::parse_step_name(name) > 0) {
    fail_usage("{}: an imported checkpoint is of step 0; allowed: a run directory, or .../{}",
               shown(out), storage::step_name(0));
  }
  return name == "checkpoints" ? out : out / "checkpoints";
}

// The job that such weights would come from: what a reader of a checkpoint asks for is the model
// and the tokenizer. It was never run, so its data has no tokens.
launch::Job imported_job(const storage::Gpt2Shape& shape, const fs::path& tokenizer) {
  const std::string text = fmt::format(
      "[job]\nname = \"{0}\"\n[model]\nfamily = \"gpt2\"\nlayers = {1}\nhidden = {2}\nheads = {3}\n"
      "ffn = {4}\ncontext = {5}\nvocab = {6}\n[data]\nsources = [{{ path = \"{0}\" }}]\n"
      "[train]\nsteps = 1\nglobal_batch = 1\n",
      kImported, shape.layers, shape.hidden, shape.heads, shape.ffn, shape.context, shape.vocab);
  // An absolute path is no TOML value, so it is taken as the string that it is.
  std::vector<std::string> set;
  if (!tokenizer.empty()) set.push_back("data.tokenizer=" + tokenizer.string());
  return launch::parse_job(ConfigFile::parse(text, "imported job", set));
}

// Files that are there already must be this tokenizer's.
void save_tokenizer(const storage::Tokenizer& tokenizer, const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / storage::kEncoderFile, error) ||
      fs::exists(folder / storage::kMergesFile, error)) {
    if (storage::Tokenizer::load(folder).fingerprint() == tokenizer.fingerprint()) return;
    fail_usage("{}: holds another tokenizer; choose another folder with --tokenizer-out",
               shown(folder));
  }
  tokenizer.save(folder);
}

}  // namespace

bool is_imported(const launch::Job& job) {
  return job.job.name == kImported && job.data.sources.size() == 1 &&
         job.data.sources[0].path == kImported;
}

fs::path settled(const fs::path& path) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

std::string describe(const storage::Gpt2Shape& shape) {
  return fmt::format("{} layers, {} channels, {} heads, ffn {}, context {}, vocabulary {}",
                     shape.layers, shape.hidden, shape.heads, shape.ffn, shape.context,
                     shape.vocab);
}

std::string import_model(const ImportOptions& options) {
  const fs::path root = checkpoints_root(settled(options.out));
  if (!storage::step_folders(root).empty()) {
    fail_usage("{}: holds checkpoints already; choose another --out", shown(root));
  }
  const auto tokenizer = storage::read_hf_tokenizer(options.from);
  if (!tokenizer && !options.tokenizer.empty()) {
    fail_usage(
        "{}: has no tokenizer.json and no vocab.json with merges.txt; leave --tokenizer-out "
        "away",
        shown(options.from));
  }
  const storage::ImportedGpt2 model = storage::import_gpt2(options.from);
  if (tokenizer && tokenizer->vocab_size() > model.shape.vocab) {
    fail_usage("{}: the tokenizer has {} tokens, but config.json says vocab_size {}",
               shown(options.from), tokenizer->vocab_size(), model.shape.vocab);
  }
  std::vector<std::string> problems;
  model::validate(to_config(model.shape), problems);
  if (!problems.empty()) fail_usage("{}: config.json: {}", shown(options.from), problems[0]);
  fs::path folder;
  if (tokenizer) {
    folder =
        options.tokenizer.empty() ? root.parent_path() / "tokenizer" : settled(options.tokenizer);
  }
  const launch::Job job = imported_job(model.shape, folder);
  if (tokenizer) save_tokenizer(*tokenizer, folder);
  TrainingState state;
  state.job_toml = job.effective_toml;
  if (tokenizer) state.tokenizer = tokenizer->fingerprint();
  const fs::path checkpoint = save_weights(model.group, job, state, root);

  const std::string hash = storage::CheckpointReader(checkpoint).manifest().weights_hash;
  if (options.as_json) {
    const json::object result = {{"checkpoint", checkpoint.string()},
                                 {"tokenizer", folder.string()},
                                 {"parameters", to_config(model.shape).parameters()},
                                 {"weights_hash", hash}};
    return json::serialize(result) + "\n";
  }
  return fmt::format(
      "model         {}\nweights       {} parameters, from {}\nweights_hash  {}\ncheckpoint    {}\n"
      "tokenizer     {}\n",
      describe(model.shape), to_config(model.shape).parameters(), model.dtypes, hash,
      shown(checkpoint), tokenizer ? shown(folder) : "none in the folder");
}

}  // namespace talaria::worker
