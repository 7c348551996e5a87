// SPDX-License-Identifier: Apache-2.0
#include "worker/hugging_face.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "launch/job.h"
#include "storage/checkpoint/verify.h"
#include "storage/exchange/gpt2_files.h"
#include "storage/exchange/hf_tokenizer.h"
#include "worker/checkpointing.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct ImportOptions {
  fs::path from;
  fs::path out;
  fs::path tokenizer;
  bool as_json = false;
};

struct ExportOptions {
  fs::path from;
  fs::path out;
  fs::path tokenizer;
  std::string type = "f32";
  std::int64_t max_shard_bytes = storage::Gpt2Export{}.max_shard_bytes;
  bool no_tokenizer = false;
  bool as_json = false;
};

std::string shown(const fs::path& path) { return one_line(path.string()); }

// An absolute path without "." and a "/" at the end.
fs::path settled(const fs::path& path) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    fail_errno("write", "standard output");
  }
}

// Ends the process with kExitDone after --help.
bool parsed(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::Success& help) {
    app.exit(help);
    return false;
  } catch (const CLI::ParseError& error) {
    fail_usage("checkpoint {}: {}; `checkpoint {} --help` lists what is allowed", app.get_name(),
               one_line(error.what()), app.get_name());
  }
}

model::GptConfig to_config(const storage::Gpt2Shape& s) {
  return {s.layers, s.hidden, s.heads, s.ffn, s.context, s.vocab};
}

storage::Gpt2Shape to_shape(const model::GptConfig& c) {
  return {c.layers, c.hidden, c.heads, c.ffn, c.context, c.vocab};
}

std::string describe(const storage::Gpt2Shape& shape) {
  return fmt::format("{} layers, {} channels, {} heads, ffn {}, context {}, vocabulary {}",
                     shape.layers, shape.hidden, shape.heads, shape.ffn, shape.context,
                     shape.vocab);
}

// ---- import

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
      "[job]\nname = \"imported\"\n[model]\nfamily = \"gpt2\"\nlayers = {}\nhidden = {}\nheads = "
      "{}\nffn = {}\ncontext = {}\nvocab = {}\n[data]\nsources = [{{ path = \"imported\" }}]\n"
      "[train]\nsteps = 1\nglobal_batch = 1\n",
      shape.layers, shape.hidden, shape.heads, shape.ffn, shape.context, shape.vocab);
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

int import_model(const ImportOptions& options) {
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
  const fs::path checkpoint = save_weights(model.group, job, state, root);

  const std::string hash = storage::CheckpointReader(checkpoint).manifest().weights_hash;
  if (options.as_json) {
    const json::object result = {{"checkpoint", checkpoint.string()},
                                 {"tokenizer", folder.string()},
                                 {"parameters", to_config(model.shape).parameters()},
                                 {"weights_hash", hash}};
    print(json::serialize(result) + "\n");
    return kExitDone;
  }
  print(
      fmt::format("model         {}\nweights       {} parameters, from {}\nweights_hash  {}\n"
                  "checkpoint    {}\ntokenizer     {}\n",
                  describe(model.shape), to_config(model.shape).parameters(), model.dtypes, hash,
                  shown(checkpoint), tokenizer ? shown(folder) : "none in the folder"));
  return kExitDone;
}

// ---- export

// A checkpoint's folder that verifies: `from` itself, or the newest of a run.
fs::path choose_checkpoint(const fs::path& from) {
  const fs::path path = settled(from);
  ThreadPool pool(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 8U)));
  std::error_code error;
  if (storage::parse_step_name(path.filename().string()) >= 0 ||
      fs::exists(path / storage::kManifestName, error)) {
    const storage::VerifyReport report = storage::verify_checkpoint(path, pool);
    if (!report.ok()) fail("{}", one_line(report.damages.front().message()));
    return path;
  }
  const fs::path inner = path / "checkpoints";
  const storage::Restored restored =
      storage::find_restorable(fs::is_directory(inner, error) ? inner : path, pool);
  for (const storage::Skipped& each : restored.skipped) {
    log_warning("{}: {}", shown(each.path), each.reason);
  }
  if (!restored.checkpoint) {
    fail_usage("{}: no checkpoint that verifies; name a run directory or a checkpoint's folder",
               shown(from));
  }
  return restored.checkpoint->path;
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

// A folder that gets its name when it is whole, and is removed otherwise.
class NewFolder {
 public:
  explicit NewFolder(const fs::path& path) : path_(path) {
    refuse_existing();
    fs::create_directories(path_.parent_path());
    std::string name =
        (path_.parent_path() / fmt::format(".{}.XXXXXX", path_.filename().string())).string();
    if (::mkdtemp(name.data()) == nullptr) fail_errno("mkdtemp", name);
    temporary_ = name;
    fs::permissions(temporary_, fs::perms(0755));
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  }

  const fs::path& temporary() const { return temporary_; }

  void commit() {
    sync_directory(temporary_);
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
      if (errno == EEXIST) refuse_existing();
      fail_errno("renameat2", shown(path_));
    }
    temporary_.clear();
    sync_directory(path_.parent_path());
  }

 private:
  void refuse_existing() const {
    std::error_code error;
    if (!fs::exists(fs::symlink_status(path_, error))) return;
    fail_usage("{}: is there already; choose another --out", shown(path_));
  }

  fs::path path_;
  fs::path temporary_;
};

int export_model(const ExportOptions& options) {
  const fs::path checkpoint = choose_checkpoint(options.from);
  const TrainingState state = read_training_state(checkpoint);
  const launch::Job job =
      launch::parse_job(ConfigFile::parse(state.job_toml, (checkpoint / "manifest.json").string()));
  const storage::CheckpointReader reader(checkpoint);
  storage::Gpt2Export wanted;
  wanted.shape = to_shape(job.model);
  wanted.max_shard_bytes = options.max_shard_bytes;
  wanted.extras.dropout = job.train.dropout;
  wanted.extras.type = options.type == "f32"   ? storage::ElementType::kF32
                       : options.type == "f16" ? storage::ElementType::kF16
                                               : storage::ElementType::kBf16;
  try {
    storage::check_exportable(reader, wanted.shape);
  } catch (const UsageError& error) {
    fail_usage("{}: {}", shown(checkpoint), error.what());
  }
  const std::optional<storage::Tokenizer> tokenizer = choose_tokenizer(options, job);
  if (tokenizer) wanted.extras.end_of_text = tokenizer->end_of_text();
  const fs::path out = settled(options.out);
  NewFolder folder(out);
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
    print(json::serialize(result) + "\n");
    return kExitDone;
  }
  print(
      fmt::format("checkpoint    {}\nmodel         {}\nweights_hash  {}\nfolder        {}\n"
                  "files         {}\n",
                  shown(checkpoint), describe(wanted.shape), reader.manifest().weights_hash,
                  shown(out), fmt::join(files, " ")));
  return kExitDone;
}

// ---- command lines

int import_command(int argc, char** argv) {
  ImportOptions options;
  CLI::App app(
      "Makes a checkpoint of a GPT-2 of Hugging Face: weights to generate with, or to "
      "start a training from.",
      "import");
  app.add_option("HF_DIR", options.from, "config.json, safetensors and tokenizer files")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--out", options.out, "a run directory, new or without checkpoints")->required();
  app.add_option("--tokenizer-out", options.tokenizer, "default: tokenizer/ in the run directory");
  app.add_flag("--json", options.as_json, "for programs");
  return parsed(app, argc, argv) ? import_model(options) : static_cast<int>(kExitDone);
}

int export_command(int argc, char** argv) {
  ExportOptions options;
  CLI::App app("Writes a checkpoint as a folder that Hugging Face's transformers reads.", "export");
  app.add_option("CHECKPOINT", options.from, "a checkpoint, or a run: its newest that verifies")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--out", options.out, "the folder to make")->required();
  app.add_option("--dtype", options.type, "of the weights; bf16 and f16 round")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->capture_default_str();
  app.add_option("--max-shard-bytes", options.max_shard_bytes,
                 "weights of more than this are cut into several files")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 50))
      ->capture_default_str();
  auto* tokenizer =
      app.add_option("--tokenizer", options.tokenizer, "tokenizer folder; default: the job file's");
  app.add_flag("--no-tokenizer", options.no_tokenizer, "weights only")->excludes(tokenizer);
  app.add_flag("--json", options.as_json, "for programs");
  return parsed(app, argc, argv) ? export_model(options) : static_cast<int>(kExitDone);
}

}  // namespace

std::span<const storage::CheckpointVerb> exchange_verbs() {
  static constexpr storage::CheckpointVerb kVerbs[] = {
      {"import", "a checkpoint from a GPT-2 of Hugging Face", import_command},
      {"export", "a folder for transformers from a checkpoint", export_command}};
  return kVerbs;
}

}  // namespace talaria::worker
