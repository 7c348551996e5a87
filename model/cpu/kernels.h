// SPDX-License-Identifier: Apache-2.0
// The CPU backend: every operation of model/ops.h, whose comments are the contract. Shapes are
// checked by the caller (model/ops.cpp). Ops of several ranks may run at once, each on its own
// pool.
#pragma once

#include <string>

#include "model/ops.h"

namespace talaria::model::cpu {

void matmul_nt(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c);
void matmul_nn(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c);
void matmul_tn_add(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c);
void matmul_rows(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c);
void tree_sum_shards(const Stream& stream, TensorView partial, TensorView out);
void add_bias(const Stream& stream, TensorView x, ConstTensorView bias);
void add_bias_backward(const Stream& stream, ConstTensorView dy, TensorView dbias);
void scale_rows(const Stream& stream, ConstTensorView factors, TensorView x);
void token_sums(const Stream& stream, ConstTensorView dy, std::int64_t length, TensorView sums);
void gelu(const Stream& stream, ConstTensorView x, TensorView y);
void gelu_backward(const Stream& stream, ConstTensorView x, ConstTensorView dy, TensorView dx);
void bias_dropout_residual(const Stream& stream, ConstTensorView x, ConstTensorView bias,
                           ConstTensorView residual, std::int64_t length, const Dropout& dropout,
                           TensorView y);
void dropout_backward(const Stream& stream, ConstTensorView dy, std::int64_t length,
                      const Dropout& dropout, TensorView dx);
void add_into(const Stream& stream, TensorView a, ConstTensorView b);
void layernorm(const Stream& stream, ConstTensorView x, ConstTensorView gain, ConstTensorView bias,
               TensorView y, TensorView mean, TensorView rstd);
void layernorm_backward(const Stream& stream, ConstTensorView dy, ConstTensorView x,
                        ConstTensorView gain, ConstTensorView mean, ConstTensorView rstd,
                        std::int64_t length, TensorView dx, TensorView gain_sums,
                        TensorView bias_sums);
void attention(const Stream& stream, ConstTensorView qkv, IdView starts,
               const AttentionShape& shape, const Dropout& dropout, TensorView y, TensorView lse);
void attention_backward(const Stream& stream, ConstTensorView dy, ConstTensorView qkv,
                        IdView starts, ConstTensorView y, ConstTensorView lse,
                        const AttentionShape& shape, const Dropout& dropout, TensorView dqkv);
void cached_attention(const Stream& stream, ConstTensorView qkv, IdView slots, IdView positions,
                      std::int64_t heads, std::int64_t head_size, TensorView keys,
                      TensorView values, TensorView y);
void embed(const Stream& stream, IdView ids, ConstTensorView table, std::int64_t first_row,
           TensorView y);
void embed_backward(const Stream& stream, IdView ids, ConstTensorView dy, std::int64_t first_row,
                    TensorView dtable);
void position_dropout(const Stream& stream, ConstTensorView x, IdView positions,
                      ConstTensorView table, std::int64_t length, const Dropout& dropout,
                      TensorView y);
void cross_entropy_stats(const Stream& stream, ConstTensorView logits, IdView targets,
                         std::int64_t first_row, std::int64_t vocab, TensorView stats);
void cross_entropy_losses(const Stream& stream, ConstTensorView stats, TensorView lse,
                          TensorView losses, TensorView entropies);
void cross_entropy_backward(const Stream& stream, TensorView logits, IdView targets,
                            ConstTensorView lse, std::int64_t first_row, std::int64_t vocab,
                            ConstTensorView scales, ConstTensorView entropies,
                            ConstTensorView entropy_scales);
void row_dots(const Stream& stream, ConstTensorView x, ConstTensorView weight, ConstTensorView bias,
              TensorView y);
void row_dots_backward(const Stream& stream, ConstTensorView dy, ConstTensorView x,
                       ConstTensorView weight, std::int64_t length, TensorView dx,
                       TensorView weight_sums, TensorView bias_sums);
void adamw(const Stream& stream, const AdamW& config, TensorView weight, ConstTensorView gradient,
           TensorView m, TensorView v);
void row_sums_of_squares(const Stream& stream, ConstTensorView x, Tensor<double> sums);

}  // namespace talaria::model::cpu
