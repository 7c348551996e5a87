// SPDX-License-Identifier: Apache-2.0
// What the last stage minimises, seen from a token's log-probability or from a row's scalars. The
// heads call it inside their forward pass, where they also take their gradients. Every rank of a
// tensor group calls it with the same numbers and must get the same answers.
#pragma once

#include <cstdint>
#include <span>

namespace talaria::model {

// Tokens [first, first + count) of this data rank's batch, counted over [samples, T].
struct TokenRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

// A loss that is a sum over tokens of l(nll, entropy), nll = -log p(target), both in nats.
class TokenObjective {
 public:
  virtual ~TokenObjective() = default;
  // Whether the entropy of the distribution is wanted; else `entropy` and `d_entropy` are empty.
  virtual bool uses_entropy() const { return false; }
  // losses[i] = the loss of token i; d_nll[i], d_entropy[i] = its derivatives, times whatever the
  // loss is divided by (so gradients need no further factor). Spans of range.count.
  virtual void evaluate(TokenRange range, std::span<const float> nll,
                        std::span<const float> entropy, std::span<float> losses,
                        std::span<float> d_nll, std::span<float> d_entropy) = 0;
};

// A loss of one row's scalars, for a scalar head (reward model, value network).
class ScalarObjective {
 public:
  virtual ~ScalarObjective() = default;
  // `sample`: of this data rank's batch. values[t]: the head's output at token t of the row. Writes
  // the derivative by each value (0 where it does not matter), divided as above; returns the row's
  // loss in f64, not divided.
  virtual double evaluate(std::int64_t sample, std::span<const float> values,
                          std::span<float> d_values) = 0;
};

// What a pass wants of the last stage's head; of the two objectives that of its kind. A training
// pass needs it. Without one a language model's losses are weight nll, a scalar head has none.
struct PassObjective {
  TokenObjective* tokens = nullptr;
  ScalarObjective* scalars = nullptr;
  bool entropy = false;  // keep the entropies though no objective uses them
  // [samples, T]: factors of the tokens' logits, 1 / temperature; empty: 1. Of a language model;
  // must outlive the pass.
  std::span<const float> logit_scales = {};
};

// sum of weights[t] nll[t] times `scale`: pretraining and fine-tuning. losses[t] = weight nll.
class CrossEntropyObjective final : public TokenObjective {
 public:
  // `weights` of the batch, must outlive the object.
  CrossEntropyObjective(std::span<const float> weights, float scale)
      : weights_(weights), scale_(scale) {}
  void evaluate(TokenRange range, std::span<const float> nll, std::span<const float> entropy,
                std::span<float> losses, std::span<float> d_nll,
                std::span<float> d_entropy) override;

 private:
  std::span<const float> weights_;
  float scale_;
};

}  // namespace talaria::model
