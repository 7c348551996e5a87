// SPDX-License-Identifier: Apache-2.0
// The shape of a GPT and the numerics of a job. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace talaria::model {

// GPT-2's architecture: pre-LayerNorm, learned positions, GELU (tanh form), tied head.
struct GptConfig {
  std::int64_t layers = 12;     // L
  std::int64_t hidden = 768;    // C
  std::int64_t heads = 12;      // NH
  std::int64_t ffn = 3072;      // width of the MLP
  std::int64_t context = 1024;  // rows of pos_embed
  std::int64_t vocab = 50257;   // V, rows of tok_embed

  std::int64_t head_size() const { return hidden / heads; }
  // Parameters without padding; the tied head counts once.
  std::int64_t parameters() const;
  bool operator==(const GptConfig&) const = default;
};

// What turns ln_f's output into a loss: the product with the token embedding and a distribution
// over the vocabulary, or one number a token (reward models, value networks).
enum class HeadKind : std::uint8_t { kLanguageModel, kScalar };

// FLOPs of one training step (forward and backward) of `tokens` tokens in sequences of `length`:
// 72 B T L C^2 (1 + T/6C + V/12LC), Narayanan et al. 2021 (arXiv:2104.04473) eq. 3 without
// recomputation, generalised to any ffn width. With `causal_half` attention products count half.
double step_flops(const GptConfig& config, std::int64_t tokens, std::int64_t length,
                  bool causal_half = false);

// Adds its sentences to `problems`, one a broken rule, in the form "key: what, what is allowed".
void validate(const GptConfig& config, std::vector<std::string>& problems);

// How sums are split, fixed by the job and not by the layout (docs/numerics.md). In `fast` numerics
// virtual_shards = tp, sample_groups = dp and a product takes a whole micro-batch.
struct Numerics {
  bool invariant = false;
  int virtual_shards = 1;  // V
  int sample_groups = 1;   // U
};

}  // namespace talaria::model
