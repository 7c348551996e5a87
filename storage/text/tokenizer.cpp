// SPDX-License-Identifier: Apache-2.0
#include "storage/text/tokenizer.h"

#include <optional>

#include "storage/text/encoder.h"

namespace talaria::storage {

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  Encoder(*this).encode(text, ids);
  return ids;
}

std::vector<std::vector<std::int32_t>> Tokenizer::encode_all(std::span<const std::string> texts,
                                                             ThreadPool& pool) const {
  std::vector<std::optional<Encoder>> encoders(static_cast<std::size_t>(pool.size()));
  std::vector<std::vector<std::int32_t>> result(texts.size());
  pool.run(static_cast<std::int64_t>(texts.size()), [&](std::int64_t unit, int thread) {
    auto& encoder = encoders[static_cast<std::size_t>(thread)];
    if (!encoder) encoder.emplace(*this);
    const auto i = static_cast<std::size_t>(unit);
    result[i].reserve(texts[i].size() / 3);
    encoder->encode(texts[i], result[i]);
  });
  return result;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string bytes;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) {
      fail_usage("id {} at position {} is outside the vocabulary of {} tokens", ids[i], i,
                 vocab_size());
    }
    bytes += tables_->tokens[static_cast<std::size_t>(ids[i])];
  }
  return bytes;
}

std::string_view Tokenizer::bytes_of(std::int32_t id) const {
  TALARIA_CHECK(id >= 0 && id < vocab_size(), "id {}", id);
  return tables_->tokens[static_cast<std::size_t>(id)];
}

std::vector<std::int32_t> Tokenizer::token_lengths() const {
  std::vector<std::int32_t> lengths;
  lengths.reserve(tables_->tokens.size());
  for (const std::string& token : tables_->tokens) {
    lengths.push_back(static_cast<std::int32_t>(token.size()));
  }
  lengths[static_cast<std::size_t>(tables_->end_of_text)] = 0;
  return lengths;
}

}  // namespace talaria::storage
