// SPDX-License-Identifier: Apache-2.0
// A GPT-2 from a folder of Hugging Face into a checkpoint, and back (docs/hugging-face.md): what
// `checkpoint import` and `checkpoint export` do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "launch/job.h"
#include "storage/exchange/gpt2_files.h"

namespace talaria::worker {

struct ImportOptions {
  std::filesystem::path from;       // config.json, safetensors, tokenizer files
  std::filesystem::path out;        // a run directory, its checkpoints/, or its step-00000000
  std::filesystem::path tokenizer;  // empty: tokenizer/ beside checkpoints/
  bool as_json = false;
};

struct ExportOptions {
  std::filesystem::path from;       // a checkpoint, or a run: its newest that verifies
  std::filesystem::path out;        // made whole or not at all
  std::filesystem::path tokenizer;  // empty: the job file's
  storage::ElementType type = storage::ElementType::kF32;
  std::int64_t max_shard_bytes = storage::Gpt2Export{}.max_shard_bytes;
  bool no_tokenizer = false;
  bool as_json = false;
};

// Both return what goes to stdout. Throw UsageError in one line for what is refused, Error where
// reading or writing fails.
std::string import_model(const ImportOptions& options);
std::string export_model(const ExportOptions& options);

// Of the job of a checkpoint: whether it was imported, so that its data.sources name nothing.
bool is_imported(const launch::Job& job);

// "12 layers, 768 channels, ..."
std::string describe(const storage::Gpt2Shape& shape);

// An absolute path without "." and without "/" at the end.
std::filesystem::path settled(const std::filesystem::path& path);

}  // namespace talaria::worker
