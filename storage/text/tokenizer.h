// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE as GPT-2's. A tokenizer is a folder with GPT-2's two files, encoder.json and
// vocab.bpe, whether it came from there or was trained here (tokenizer_training.h); the id of
// <|endoftext|> ends every document of a token file. Any bytes encode, and decode to themselves.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/base/thread_pool.h"
#include "storage/text/merge_table.h"
#include "storage/text/word_splitter.h"

namespace talaria::storage {

inline constexpr std::string_view kEndOfText = "<|endoftext|>";
inline constexpr std::string_view kEncoderFile = "encoder.json";
inline constexpr std::string_view kMergesFile = "vocab.bpe";

// What all encoders of one tokenizer share; immutable once built.
struct TokenizerTables {
  std::vector<std::string> tokens;            // id -> bytes
  std::array<std::uint32_t, 256> byte_ids{};  // byte -> id of its token
  MergeTable merges;
  std::int32_t end_of_text = 0;
  std::string encoder_json;  // the two files, byte for byte
  std::string vocab_bpe;
  std::string fingerprint;
  WordPattern pattern;
};

// A merge by the ids of its parts and of its result.
struct MergeLine {
  std::uint32_t left = 0;
  std::uint32_t right = 0;
  std::uint32_t token = 0;
};

// Immutable and cheap to copy: copies share their tables. All functions may run in any thread.
class Tokenizer {
 public:
  // Reads a folder. Throws UsageError in one line that names file and line or byte offset: a file
  // is missing, JSON is broken, ids are not exactly 0 .. n-1, a byte or <|endoftext|> has no token,
  // a merge names an unknown token.
  static Tokenizer load(const std::filesystem::path& folder);
  // The same from two files of any names: Hugging Face's vocab.json and merges.txt are such.
  static Tokenizer load(const std::filesystem::path& encoder, const std::filesystem::path& merges);

  // From tokens by id (the 256 single bytes among them; <|endoftext|> at `end_of_text`) and merges
  // in order of rank.
  static Tokenizer assemble(std::vector<std::string> tokens, const std::vector<MergeLine>& merges,
                            std::int32_t end_of_text);

  // Writes encoder.json and vocab.bpe, each atomically, creating the folder.
  void save(const std::filesystem::path& folder) const;

  std::int64_t vocab_size() const { return static_cast<std::int64_t>(tables_->tokens.size()); }
  std::int32_t end_of_text() const { return tables_->end_of_text; }
  // 32 hex digits: XXH3-128 of encoder.json followed by vocab.bpe.
  const std::string& fingerprint() const { return tables_->fingerprint; }

  // The ids of one text. "<|endoftext|>" in the text is text; its id is never produced. For many
  // texts use encode_all or an Encoder, which keep their caches.
  std::vector<std::int32_t> encode(std::string_view text) const;
  // Text i becomes result i; texts are spread over the pool and the result does not depend on it.
  std::vector<std::vector<std::int32_t>> encode_all(std::span<const std::string> texts,
                                                    ThreadPool& pool) const;

  // Throws UsageError naming the position of an id outside the vocabulary.
  std::string decode(std::span<const std::int32_t> ids) const;
  // The bytes of a token, 0 <= id < vocab_size; the text "<|endoftext|>" for its id.
  std::string_view bytes_of(std::int32_t id) const;
  // Bytes of text that each id stands for: end of text counts 0.
  std::vector<std::int32_t> token_lengths() const;

  const std::shared_ptr<const TokenizerTables>& tables() const { return tables_; }

 private:
  explicit Tokenizer(std::shared_ptr<const TokenizerTables> tables) : tables_(std::move(tables)) {}
  std::shared_ptr<const TokenizerTables> tables_;
};

}  // namespace talaria::storage
