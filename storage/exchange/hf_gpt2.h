// SPDX-License-Identifier: Apache-2.0
// GPT-2 as Hugging Face's transformers has it: config.json, and which of its tensors is which of
// ours. Theirs keep linear weights as [in, out] ("Conv1D") and q, k, v in one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/box.h"
#include "storage/exchange/element_type.h"

namespace talaria::storage {

struct Gpt2Shape {
  std::int64_t layers = 0;
  std::int64_t hidden = 0;
  std::int64_t heads = 0;
  std::int64_t ffn = 0;
  std::int64_t context = 0;
  std::int64_t vocab = 0;
  bool operator==(const Gpt2Shape&) const = default;
};

// Reads config.json. Throws UsageError, one line with the key, for a shape outside of what the
// engine takes, and for anything that would be computed in another way than here: activation,
// epsilon, scaling, cross attention, an untied head, pruned heads, quantised weights, own code.
// Keys that transformers' GPT-2 does not compute with are not looked at.
Gpt2Shape parse_gpt2_config(std::string_view text, const std::string& file);

// What config.json says beside the shape.
struct Gpt2ConfigExtras {
  ElementType type = ElementType::kF32;
  double dropout = 0.0;           // of embeddings, attention and residuals
  std::int64_t end_of_text = -1;  // id that begins and ends a text; -1: not known
};

// The text of config.json, which parse_gpt2_config reads back as `shape`.
std::string gpt2_config_text(const Gpt2Shape& shape, const Gpt2ConfigExtras& extras);

// One of our tensors, and where it lies in theirs.
struct Gpt2Tensor {
  std::string name;  // "blocks.3.attn.k.weight"
  parallel::Dims global = {0, 0};
  bool vector = false;
  std::int64_t hash_columns = 0;
  // Theirs, without "transformer.": "h.3.attn.c_attn.weight", [C, 3C].
  std::string theirs;
  std::vector<std::int64_t> their_shape;
  // Matrices: ours[o][i] is theirs[i][first + o] where `transposed`, else theirs[o][i]. Vectors:
  // ours[i] is theirs[first + i].
  bool transposed = false;
  std::int64_t first = 0;
};

// All tensors, in the order of the model; those that share one of theirs are neighbours, by
// `first`.
std::vector<Gpt2Tensor> gpt2_tensors(const Gpt2Shape& shape);

inline constexpr std::string_view kGpt2Prefix = "transformer.";
inline constexpr std::string_view kGpt2Head = "lm_head.weight";

// Constant masks that older versions of transformers store with the weights: h.N.attn.bias and
// h.N.attn.masked_bias (without the prefix), N below `layers`.
bool is_gpt2_mask(std::string_view theirs, std::int64_t layers);

}  // namespace talaria::storage
