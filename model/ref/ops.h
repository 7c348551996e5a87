// SPDX-License-Identifier: Apache-2.0
// The specification: every operation of model/ops.h in double, by plain loops. Shapes and meaning
// are as stated there; sums run in one order, so only rounding separates a backend from this.
// Dropout draws the same random words as the backends.
#pragma once

#include "model/ops.h"

namespace talaria::model::ref {

using In = Tensor<const double>;
using Out = Tensor<double>;

void matmul_nt(In a, In b, Out c);
void matmul_nn(In a, In b, Out c);
void matmul_tn_add(In a, In b, Out c);
void tree_sum_shards(Out partial, Out out);
void add_bias(Out x, In bias);
void add_bias_backward(In dy, Out dbias);
void scale_rows(In factors, Out x);
void token_sums(In dy, std::int64_t length, Out sums);
void gelu(In x, Out y);
void gelu_backward(In x, In dy, Out dx);
void bias_dropout_residual(In x, In bias, In residual, std::int64_t length, const Dropout& dropout,
                           Out y);
void dropout_backward(In dy, std::int64_t length, const Dropout& dropout, Out dx);
void add_into(Out a, In b);
void layernorm(In x, In gain, In bias, Out y, Out mean, Out rstd);
void layernorm_backward(In dy, In x, In gain, In mean, In rstd, std::int64_t length, Out dx,
                        Out gain_sums, Out bias_sums);
void attention(In qkv, IdView starts, const AttentionShape& shape, const Dropout& dropout, Out y,
               Out lse);
void attention_backward(In dy, In qkv, IdView starts, In y, In lse, const AttentionShape& shape,
                        const Dropout& dropout, Out dqkv);
void matmul_rows(In a, In b, Out c);
void cached_attention(In qkv, IdView slots, IdView positions, std::int64_t heads,
                      std::int64_t head_size, Out keys, Out values, Out y);
void embed(IdView ids, In table, std::int64_t first_row, Out y);
void embed_backward(IdView ids, In dy, std::int64_t first_row, Out dtable);
void position_dropout(In x, IdView positions, In table, std::int64_t length, const Dropout& dropout,
                      Out y);
void cross_entropy_stats(In logits, IdView targets, std::int64_t first_row, std::int64_t vocab,
                         Out stats);
void cross_entropy_losses(In stats, Out lse, Out losses, Out entropies = {});
void cross_entropy_backward(Out logits, IdView targets, In lse, std::int64_t first_row,
                            std::int64_t vocab, In scales, In entropies = {},
                            In entropy_scales = {});
void row_dots(In x, In weight, In bias, Out y);
void row_dots_backward(In dy, In x, In weight, std::int64_t length, Out dx, Out weight_sums,
                       Out bias_sums);
void adamw(const AdamW& config, Out weight, In gradient, Out m, Out v);
void row_sums_of_squares(In x, Out sums);

// What dropout multiplies element `element` of sample `sample` by: 1 / (1 - p), or 0.
double dropout_factor(const Dropout& dropout, std::int64_t sample, std::int64_t element);

}  // namespace talaria::model::ref
