// SPDX-License-Identifier: Apache-2.0
// The head of a reward model or a value network: one number a token,
//   value_t = value_head.weight . ln_f(x_t) + value_head.bias
// (Stiennon et al. 2020, arXiv:2009.01325), and an objective of a row's numbers. Its tensors are
// whole on every tensor rank.
#pragma once

#include "model/head.h"

namespace talaria::model {

class ScalarHead final : public Head {
 public:
  // Declares value_head.weight [1, C], drawn with std 1 / sqrt(C + 1), and value_head.bias [1].
  ScalarHead(const StageSetup& setup, Parameters& parameters, TokenSums& token_sums);

  void begin(const StepContext& step, HeadPass& pass) override;
  void forward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
               HeadContext& ctx, HeadPass& pass) override;
  void backward(LayerResources& r, const HeadContext& ctx, TensorView d) override;

 private:
  std::int64_t weight_;
  std::int64_t bias_;
  std::size_t weight_sums_;
  std::size_t bias_sums_;
};

}  // namespace talaria::model
