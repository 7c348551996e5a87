// SPDX-License-Identifier: Apache-2.0
// What a trainer reads: samples of T+1 ids, the inputs and the targets one further, as a pure
// function of (seed, index) over a weighted mixture of token files. No state beyond the index.
//
// Training: a Mixture picks the source of a sample. A source's training documents, laid end to end
// in a circle, are cut into windows of T targets; each epoch of a source visits all its windows
// once, in a seeded permutation, from a seeded starting point, so that windows differ by epoch.
// Validation: documents with content hash / 2^64 < validation, laid end to end per source and cut
// into whole windows, which never change.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "storage/text/mixture.h"
#include "storage/text/token_file.h"

namespace talaria::storage {

struct SourceSpec {
  std::string path;  // a token file
  double weight = 1;
};

struct DatasetConfig {
  std::vector<SourceSpec> sources;
  double validation = 0;  // share of documents, by hash, kept from training; 0 <= v < 1
  std::uint64_t seed = 0;
  std::int64_t sequence_length = 0;  // T
  std::int64_t vocab = 0;            // ids the model knows: at least the files' vocabulary
};

// Const functions may run in any thread.
class Dataset {
 public:
  // Throws UsageError when a source is missing, empty, made with another tokenizer than the first,
  // has a larger vocabulary than `vocab`, or has no training window; when a weight or the share of
  // validation is not allowed. Throws Error when a file is damaged.
  explicit Dataset(const DatasetConfig& config);
  ~Dataset();
  Dataset(Dataset&&) noexcept;

  // Where a sample was cut from.
  struct Origin {
    std::int64_t source;  // index in config.sources
    std::int64_t epoch;   // of that source; 0 in validation
    std::int64_t window;  // of that epoch, in order of the stream
    std::int64_t first;   // position of the sample's first id in the source's stream
  };

  // tokens.size() == T + 1, index >= 0. Throws Error naming file and byte offset on an id outside
  // the vocabulary.
  void training_sample(std::int64_t index, std::span<std::int32_t> tokens) const;
  Origin training_origin(std::int64_t index) const;

  // Whole windows of all sources' validation documents. The order is the same for every seed and
  // spreads each source evenly, so that the first n samples represent all of them.
  std::int64_t validation_samples() const { return validation_samples_; }
  void validation_sample(std::int64_t index, std::span<std::int32_t> tokens) const;
  Origin validation_origin(std::int64_t index) const;

  // Bytes of text that each id stands for, end of text 0: Tokenizer::token_lengths(). Needed by
  // validation_bytes; throws UsageError when the files have another vocabulary.
  void set_token_bytes(std::vector<std::int32_t> bytes);
  // Bytes of text that the T targets of a validation sample stand for.
  std::int64_t validation_bytes(std::int64_t index) const;

  std::int64_t sources() const;
  std::int64_t training_tokens(std::int64_t source) const;
  std::int64_t training_windows(std::int64_t source) const;  // in an epoch
  std::int64_t validation_windows(std::int64_t source) const;
  const Mixture& mixture() const { return mixture_; }
  const std::string& tokenizer() const { return tokenizer_; }  // fingerprint

  // 32 hex digits that name the content of the sources in their order, without their paths.
  std::string fingerprint() const;

  // Throws Error when a source's file is no longer the one that was opened.
  void check_unchanged() const;

 private:
  struct Source;
  const Source& at(std::int64_t source) const;
  void check_sample(std::int64_t index, std::size_t tokens) const;

  DatasetConfig config_;
  Mixture mixture_;
  std::vector<Source> sources_;
  std::string tokenizer_;
  std::int64_t validation_samples_ = 0;
  std::vector<std::int32_t> token_bytes_;
};

}  // namespace talaria::storage
