// SPDX-License-Identifier: Apache-2.0
// A whole GPT-2 on one batch, in double, composed of the operations of model/ref/ops.h: what every
// layout of the parallel engine must compute up to f32 rounding. Pre-LayerNorm, learned positions,
// tanh GELU, tied head; dropout after the embedding, on attention probabilities, after the
// attention's projection and after the MLP's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/batch.h"
#include "model/config.h"

namespace talaria::model::ref {

// By the names of checkpoints ("blocks.3.attn.q.weight", [out, in]); row-major, no padding.
using NamedTensors = std::map<std::string, std::vector<double>>;

struct GptBatch {
  Batch tokens;  // B rows of T
  // Dropout: which random bits, and the global index of the first sample.
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::int64_t first_sample = 0;
  float dropout = 0.0F;
  // [B T]: factors of the tokens' logits; empty: 1.
  std::vector<double> logit_scales = {};
};

// Every parameter's number of elements.
std::map<std::string, std::int64_t> gpt_tensors(const GptConfig& config,
                                                HeadKind head = HeadKind::kLanguageModel);

// A loss of all tokens' nll = -log p(target) and entropies, [B T] each. Returns it and writes its
// derivatives.
using TokenLoss = std::function<double(std::span<const double> nll, std::span<const double> entropy,
                                       std::span<double> d_nll, std::span<double> d_entropy)>;

// The loss of a batch. With `gradients`, its gradient by every parameter (overwritten).
double gpt_loss(const GptConfig& config, const NamedTensors& parameters, const GptBatch& batch,
                const TokenLoss& loss, NamedTensors* gradients = nullptr);
// Of the mean cross-entropy over all B T targets, whatever their weights.
double gpt_loss(const GptConfig& config, const NamedTensors& parameters, const GptBatch& batch,
                NamedTensors* gradients = nullptr);

// A loss of all tokens' values [B T] of a scalar head. Returns it and writes its derivatives.
using ValueLoss = std::function<double(std::span<const double> values, std::span<double> d_values)>;
double gpt_value_loss(const GptConfig& config, const NamedTensors& parameters,
                      const GptBatch& batch, const ValueLoss& loss,
                      NamedTensors* gradients = nullptr);

}  // namespace talaria::model::ref
