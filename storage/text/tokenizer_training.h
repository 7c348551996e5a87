// SPDX-License-Identifier: Apache-2.0
// Trains a byte-level BPE: counts the words of the user's text, then merges the most frequent pair
// of neighbouring tokens until the vocabulary is full (Sennrich et al., arXiv:1508.07909, on
// bytes). The result depends on the text alone: neither on its order, nor on threads, nor on a
// seed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cluster/base/thread_pool.h"
#include "storage/text/tokenizer.h"

namespace talaria::storage {

// 256 bytes and <|endoftext|>.
inline constexpr std::int64_t kSmallestVocab = 257;
inline constexpr std::int64_t kLargestTrainedVocab = std::int64_t{1} << 20;

class TokenizerTrainer {
 public:
  TokenizerTrainer();

  // Counts the words of these documents besides those of earlier calls. Memory grows with the
  // number of different words, not with the text.
  void count(std::span<const std::string> documents, ThreadPool& pool);

  // A vocabulary of exactly `vocab_size` ids: bytes, merged tokens, <|endoftext|> last. Pairs are
  // merged by count, ties by the smaller ids (left first). Throws UsageError when the size is not
  // allowed or the text has too few repeated pairs. `progress(done)` hears of merged tokens.
  Tokenizer train(std::int64_t vocab_size,
                  const std::function<void(std::int64_t done)>& progress = {}) const;

 private:
  struct WordHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view word) const;
  };
  using WordCounts = std::unordered_map<std::string, std::int64_t, WordHash, std::equal_to<>>;

  std::shared_ptr<const WordPattern> pattern_;
  std::vector<WordCounts> counts_;  // one per thread of the pool; summed by train()
};

// For small texts: count and train in one call.
Tokenizer train_tokenizer(std::span<const std::string> texts, std::int64_t vocab_size,
                          ThreadPool& pool);

}  // namespace talaria::storage
