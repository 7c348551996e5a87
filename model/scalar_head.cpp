// SPDX-License-Identifier: Apache-2.0
#include "model/scalar_head.h"

#include <cmath>
#include <span>

namespace talaria::model {

ScalarHead::ScalarHead(const StageSetup& setup, Parameters& parameters, TokenSums& token_sums)
    : Head(setup, parameters, token_sums) {
  const std::int64_t c = setup.config.hidden;
  const double std_dev = 1.0 / std::sqrt(static_cast<double>(c + 1));
  const bool replica = setup.at.tensor == 0;
  weight_ = parameters.begin_weight();
  parameters.add_block({"value_head.weight", {1, c}, false, std_dev, 0.0F, true, c},
                       {{0, 0}, {1, c}}, 1, replica);
  bias_ = parameters.begin_weight();
  parameters.add_block({"value_head.bias", {1, 1}, true, 0.0, 0.0F, false, 1}, {{0, 0}, {1, 1}}, 1,
                       replica);
  weight_sums_ = token_sums.add(weight_, c);
  bias_sums_ = token_sums.add(bias_, 1);
}

void ScalarHead::begin(const StepContext& step, HeadPass& pass) {
  TALARIA_CHECK(!step.training || pass.objective.scalars != nullptr, "no objective");
  pass.losses.assign(static_cast<std::size_t>(pass.batch->samples()), 0.0);
  pass.values.assign(pass.batch->inputs.size(), 0.0F);
}

// ln_f's output is kept for backward, where the gradients of the weights are taken: token sums of
// all layers fold there, group by group.
void ScalarHead::forward(LayerResources& r, const StepContext&, const MicroBatch& batch,
                         HeadContext& ctx, HeadPass& pass) {
  const std::int64_t c = setup().config.hidden;
  const std::int64_t length = setup().length;
  normalise(r, ctx.x, ctx.kept, ctx.mean, ctx.rstd);
  row_dots(r.stream, ctx.kept, r.parameters.weight(weight_, {c}), r.parameters.weight(bias_, {1}),
           {pass.values.data() + batch.first_token, {setup().tokens()}});
  if (pass.objective.scalars == nullptr) return;
  const auto count = static_cast<std::size_t>(length);
  for (std::int64_t s = 0; s < setup().micro_batch; ++s) {
    const std::int64_t sample = batch.first_token / length + s;
    const std::span values =
        std::span(pass.values).subspan(static_cast<std::size_t>(sample) * count, count);
    pass.losses[static_cast<std::size_t>(sample)] =
        pass.objective.scalars->evaluate(sample, values, {ctx.d_values.data + s * length, count});
  }
}

void ScalarHead::backward(LayerResources& r, const HeadContext& ctx, TensorView d) {
  const std::int64_t c = setup().config.hidden;
  r.arena.reset();
  const TensorView d_normed = r.arena.take({setup().tokens(), c});
  row_dots_backward(r.stream, ctx.d_values, ctx.kept, r.parameters.weight(weight_, {c}),
                    setup().length, d_normed, r.token_sums.view(weight_sums_),
                    r.token_sums.view(bias_sums_));
  normalise_backward(r, d_normed, ctx, d);
}

}  // namespace talaria::model
