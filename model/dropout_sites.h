// SPDX-License-Identifier: Apache-2.0
// The Philox stream of every random tensor: dropout sites are small numbers, initial weights hash
// their name. Part of the numerics' promise: changing one changes every run.
#pragma once

#include <cstdint>
#include <string_view>

namespace talaria::model {

constexpr std::uint32_t kEmbeddingDropout = 0;
constexpr std::uint32_t attention_dropout(std::int64_t layer) {
  return static_cast<std::uint32_t>(1 + 3 * layer);
}
constexpr std::uint32_t attention_residual_dropout(std::int64_t layer) {
  return static_cast<std::uint32_t>(2 + 3 * layer);
}
constexpr std::uint32_t mlp_residual_dropout(std::int64_t layer) {
  return static_cast<std::uint32_t>(3 + 3 * layer);
}

// Initial weights use this step number, which no training step reaches.
constexpr std::uint32_t kInitialStep = 0xFFFFFFFFU;
// FNV-1a of the tensor's name.
constexpr std::uint32_t initial_stream(std::string_view tensor) {
  std::uint32_t hash = 2166136261U;
  for (const char c : tensor) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

}  // namespace talaria::model
