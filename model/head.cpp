// SPDX-License-Identifier: Apache-2.0
#include "model/head.h"

namespace talaria::model {

Head::Head(const StageSetup& setup, Parameters& parameters, TokenSums& token_sums) : setup_(setup) {
  const std::int64_t c = setup.config.hidden;
  const auto add = [&](const char* name, float value) {
    const std::int64_t offset = parameters.begin_weight();
    parameters.add_block({name, {c, 1}, true, 0.0, value, false, 1}, {{0, 0}, {c, 1}}, c,
                         setup.at.tensor == 0);
    return offset;
  };
  gain_ = add("ln_f.weight", 1.0F);
  bias_ = add("ln_f.bias", 0.0F);
  gain_sums_ = token_sums.add(gain_, c);
  bias_sums_ = token_sums.add(bias_, c);
}

std::int64_t Head::context_count() const { return setup_.tokens() * (setup_.config.hidden + 3); }

HeadContext Head::make_context() const {
  const std::int64_t bt = setup_.tokens();
  const std::int64_t c = setup_.config.hidden;
  HeadContext ctx;
  ctx.buffer = HostBuffer<float>(context_count());
  ctx.kept = {ctx.buffer.data(), {bt, c}};
  ctx.mean = {ctx.buffer.data() + bt * c, {bt}};
  ctx.rstd = {ctx.buffer.data() + bt * c + bt, {bt}};
  ctx.d_values = {ctx.buffer.data() + bt * c + 2 * bt, {bt}};
  return ctx;
}

void Head::normalise(LayerResources& r, ConstTensorView x, TensorView y, TensorView mean,
                     TensorView rstd) const {
  const std::int64_t c = setup_.config.hidden;
  layernorm(r.stream, x, r.parameters.weight(gain_, {c}), r.parameters.weight(bias_, {c}), y, mean,
            rstd);
}

void Head::normalise_backward(LayerResources& r, ConstTensorView d_normed, const HeadContext& ctx,
                              TensorView d) const {
  layernorm_backward(r.stream, d_normed, ctx.x, r.parameters.weight(gain_, {setup_.config.hidden}),
                     ctx.mean, ctx.rstd, setup_.length, d, r.token_sums.view(gain_sums_),
                     r.token_sums.view(bias_sums_));
}

}  // namespace talaria::model
