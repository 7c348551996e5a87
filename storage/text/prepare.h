// SPDX-License-Identifier: Apache-2.0
// Text to token files, `data prepare`: trains or takes a tokenizer, encodes every source, and
// leaves in one folder
//   tokenizer/        encoder.json and vocab.bpe
//   NAME.tok          one a source (docs/token-file.md)
//   prepare.json      what was made from what; written last, so a folder without it is unfinished
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "storage/text/text_source.h"

namespace talaria::storage {

inline constexpr std::int64_t kDefaultVocab = 8192;

struct PrepareOptions {
  std::filesystem::path out;
  std::optional<std::filesystem::path> tokenizer;  // a folder to take instead of training
  std::int64_t vocab = kDefaultVocab;              // of a trained tokenizer
  int threads = 1;
  std::vector<std::string> sources;  // PATH or NAME=PATH
  std::int64_t document_bytes = kDefaultDocumentBytes;
  std::int64_t max_bad = 0;  // bad JSONL lines left out before it stops, each source
  bool again = false;        // makes everything anew

  // Throws UsageError.
  void validate() const;
};

struct PreparedSource {
  std::string name;
  std::filesystem::path file;  // the token file
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  std::int64_t text_bytes = 0;
  std::int64_t bad_lines = 0;
};

struct PrepareResult {
  bool reused = false;    // everything was there already, from the same input and options
  std::string tokenizer;  // fingerprint
  std::int64_t vocab = 0;
  std::vector<PreparedSource> sources;
};

// Progress goes to stderr. The same input and options give the same bytes, whatever the threads.
// Throws UsageError for bad input (missing or empty text, bad lines, equal names, another prepare
// at work in the folder) and Error when reading or writing fails.
PrepareResult prepare(const PrepareOptions& options);

}  // namespace talaria::storage
