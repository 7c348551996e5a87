// SPDX-License-Identifier: Apache-2.0
#include "worker/hugging_face_command.h"

#include <cstdint>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "worker/hugging_face.h"

namespace talaria::worker {
namespace {

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    fail_errno("write", "standard output");
  }
}

// False after --help.
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
  if (parsed(app, argc, argv)) print(import_model(options));
  return kExitDone;
}

int export_command(int argc, char** argv) {
  ExportOptions options;
  std::string type = "f32";
  CLI::App app("Writes a checkpoint as a folder that Hugging Face's transformers reads.", "export");
  app.add_option("CHECKPOINT", options.from, "a checkpoint, or a run: its newest that verifies")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--out", options.out, "the folder to make")->required();
  app.add_option("--dtype", type, "of the weights; bf16 and f16 round")
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
  if (!parsed(app, argc, argv)) return kExitDone;
  options.type = type == "f32"   ? storage::ElementType::kF32
                 : type == "f16" ? storage::ElementType::kF16
                                 : storage::ElementType::kBf16;
  print(export_model(options));
  return kExitDone;
}

}  // namespace

std::span<const storage::CheckpointVerb> exchange_verbs() {
  static constexpr storage::CheckpointVerb kVerbs[] = {
      {"import", "a checkpoint from a GPT-2 of Hugging Face", import_command},
      {"export", "a folder for transformers from a checkpoint", export_command}};
  return kVerbs;
}

}  // namespace talaria::worker
