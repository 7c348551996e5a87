// SPDX-License-Identifier: Apache-2.0
// Packed rows and the objectives that tests minimise over them: each a pure function in double, for
// the reference GPT, and the same behind the heads' interfaces, for the engine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "model/batch.h"
#include "model/objective.h"

namespace talaria::model::test {

// Where the segments of row `sample` begin: of 2 to 9 tokens, then tokens that stand alone.
inline std::vector<std::int32_t> packed_starts(std::int64_t sample, std::int64_t length) {
  std::vector<std::int32_t> starts;
  std::int64_t size = sample;
  while (static_cast<std::int64_t>(starts.size()) < length) {
    const auto start = static_cast<std::int64_t>(starts.size());
    size = start > length * 7 / 8 ? 1 : 2 + (size * 5 + 3) % 8;
    const std::int64_t end = std::min(length, start + size);
    for (std::int64_t t = start; t < end; ++t) starts.push_back(static_cast<std::int32_t>(start));
  }
  return starts;
}

// Cuts the rows of a batch, the first being sample `first`, into segments, and gives the tokens
// weights of 0, 1/2 and 1; 0 at the end of a segment.
inline void pack(Batch& batch, std::int64_t first) {
  batch.starts.clear();
  for (std::int64_t s = 0; s < batch.samples(); ++s) {
    const std::vector<std::int32_t> row = packed_starts(first + s, batch.length);
    batch.starts.insert(batch.starts.end(), row.begin(), row.end());
  }
  for (std::size_t i = 0; i < batch.weights.size(); ++i) {
    const bool row_ends = (i + 1) % static_cast<std::size_t>(batch.length) == 0;
    const bool ends = row_ends || batch.starts[i + 1] != batch.starts[i];
    batch.weights[i] =
        ends ? 0.0F
             : static_cast<float>((first * batch.length + static_cast<std::int64_t>(i)) % 3) * 0.5F;
  }
}

struct TokenTerm {
  double loss = 0.0;
  double d_nll = 0.0;
  double d_entropy = 0.0;
};

// A policy's clipped loss with an entropy bonus, for made-up old probabilities and advantages.
// `token` counts over [samples, T] of the whole step.
inline TokenTerm policy_like(std::int64_t token, double weight, double nll, double entropy) {
  const double at = static_cast<double>(token);
  const double advantage = std::cos(0.9 * at + 0.4);
  const double ratio = std::exp(0.3 * std::sin(1.7 * at) + 4.0 - nll);
  const double plain = -advantage * ratio;
  const double clipped = -advantage * std::clamp(ratio, 0.4, 1.6);
  return {weight * (std::max(plain, clipped) - 0.05 * entropy),
          plain >= clipped ? weight * advantage * ratio : 0.0, -0.05 * weight};
}

class PolicyLikeObjective final : public TokenObjective {
 public:
  // The batch begins at token `first` of the step; derivatives are divided by `divisor`.
  PolicyLikeObjective(std::span<const float> weights, std::int64_t first, double divisor)
      : weights_(weights), first_(first), divisor_(divisor) {}
  bool uses_entropy() const override { return true; }
  void evaluate(TokenRange range, std::span<const float> nll, std::span<const float> entropy,
                std::span<float> losses, std::span<float> d_nll,
                std::span<float> d_entropy) override {
    for (std::size_t i = 0; i < nll.size(); ++i) {
      const std::int64_t token = range.first + static_cast<std::int64_t>(i);
      const TokenTerm term = policy_like(
          first_ + token, static_cast<double>(weights_[static_cast<std::size_t>(token)]),
          static_cast<double>(nll[i]), static_cast<double>(entropy[i]));
      losses[i] = static_cast<float>(term.loss);
      d_nll[i] = static_cast<float>(term.d_nll / divisor_);
      d_entropy[i] = static_cast<float>(term.d_entropy / divisor_);
    }
  }

 private:
  std::span<const float> weights_;
  std::int64_t first_;
  double divisor_;
};

// Of one row: every segment of more than one token shall score higher, at its last token, than
// those behind it, and none far from 0. Sum over the pairs of -log sigmoid(earlier - later), and of
// the squares / 20.
inline double pairwise_like(std::span<const std::int32_t> starts, std::span<const double> values,
                            std::span<double> d_values) {
  std::vector<std::size_t> ends;
  for (std::size_t t = 0; t < starts.size(); ++t) {
    const bool last = t + 1 == starts.size() || starts[t + 1] != starts[t];
    if (last && starts[t] < static_cast<std::int32_t>(t)) ends.push_back(t);
  }
  std::fill(d_values.begin(), d_values.end(), 0.0);
  double loss = 0.0;
  for (std::size_t a = 0; a < ends.size(); ++a) {
    loss += 0.05 * values[ends[a]] * values[ends[a]];
    d_values[ends[a]] += 0.1 * values[ends[a]];
    for (std::size_t b = a + 1; b < ends.size(); ++b) {
      const double difference = values[ends[a]] - values[ends[b]];
      loss += std::log1p(std::exp(-difference));
      const double d = -1.0 / (1.0 + std::exp(difference));
      d_values[ends[a]] += d;
      d_values[ends[b]] -= d;
    }
  }
  return loss;
}

class PairwiseLikeObjective final : public ScalarObjective {
 public:
  PairwiseLikeObjective(const Batch& batch, double divisor) : batch_(batch), divisor_(divisor) {}
  double evaluate(std::int64_t sample, std::span<const float> values,
                  std::span<float> d_values) override {
    const std::vector<double> in(values.begin(), values.end());
    std::vector<double> d(values.size());
    const double loss =
        pairwise_like(std::span(batch_.starts)
                          .subspan(static_cast<std::size_t>(sample) * values.size(), values.size()),
                      in, d);
    for (std::size_t t = 0; t < d.size(); ++t) d_values[t] = static_cast<float>(d[t] / divisor_);
    return loss;
  }

 private:
  const Batch& batch_;
  double divisor_;
};

}  // namespace talaria::model::test
