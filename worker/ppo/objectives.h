// SPDX-License-Identifier: Apache-2.0
// The losses of PPO as the heads ask for them: clipped ratio and entropy bonus of the policy, with
// rows of pretraining text beside them (PPO-ptx), and the clipped loss of the value network.
#pragma once

#include <span>
#include <vector>

#include "model/objective.h"
#include "worker/ppo/experience.h"

namespace talaria::worker {

struct PolicyLoss {
  double clip = 0.2;
  double entropy_coefficient = 0.0;
  double divisor = 1.0;  // tokens of the minibatch
};

class PolicyObjective final : public model::TokenObjective {
 public:
  // rows[s]: the episode of sample s, or nullptr for a row of pretraining text, whose tokens count
  // `mix_weight` nll. `length` is T. All must outlive the object.
  PolicyObjective(std::span<const Experience* const> rows, std::int64_t length, double mix_weight,
                  const PolicyLoss& loss)
      : rows_(rows), length_(length), mix_weight_(mix_weight), loss_(loss) {}

  bool uses_entropy() const override { return loss_.entropy_coefficient != 0.0; }
  void evaluate(model::TokenRange range, std::span<const float> nll, std::span<const float> entropy,
                std::span<float> losses, std::span<float> d_nll,
                std::span<float> d_entropy) override;

 private:
  std::span<const Experience* const> rows_;
  std::int64_t length_;
  double mix_weight_;
  PolicyLoss loss_;
};

class ValueObjective final : public model::ScalarObjective {
 public:
  // rows[s]: the episode of sample s; must outlive the object.
  ValueObjective(std::span<const Experience* const> rows, double clip, double divisor)
      : rows_(rows), clip_(clip), divisor_(divisor) {}
  double evaluate(std::int64_t sample, std::span<const float> values,
                  std::span<float> d_values) override;

 private:
  std::span<const Experience* const> rows_;
  double clip_;
  double divisor_;
};

}  // namespace talaria::worker
