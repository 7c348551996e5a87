// SPDX-License-Identifier: Apache-2.0
// Every operation's one entrance: checks shapes, counts the FLOPs of products, picks the backend.
#include "model/ops.h"

#include <algorithm>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "model/cpu/kernels.h"

namespace talaria::model {
namespace {

using Dims = std::initializer_list<std::int64_t>;

template <class Element>
void expect(const Stream& stream, const char* name, const Tensor<Element>& x, Dims dims) {
  Tensor<Element> wanted(nullptr, dims);
  TALARIA_CHECK(x.shape == wanted.shape, "{} is [{}], not [{}]", name, fmt::join(x.shape, ", "),
                fmt::join(wanted.shape, ", "));
  TALARIA_CHECK(x.device == stream.device, "{} lies on another device than the stream", name);
  TALARIA_CHECK(x.data != nullptr || x.count() == 0, "{} has no data", name);
}

// `dim` is `whole`, or 1 and broadcast.
void expect_broadcast(const char* name, std::int64_t dim, std::int64_t whole) {
  TALARIA_CHECK(dim == whole || dim == 1, "{} is {}, not {} or 1", name, dim, whole);
}

void expect_samples(std::int64_t rows, std::int64_t length) {
  TALARIA_CHECK(length > 0 && rows % length == 0, "{} rows are not whole samples of {} tokens",
                rows, length);
}

void expect_chunks(std::int64_t length, std::int64_t chunks) {
  TALARIA_CHECK(chunks > 0 && length % chunks == 0, "{} tokens do not make {} equal chunks", length,
                chunks);
}

// The counter of a Philox word holds 32 bits of element / 4. `elements` is of one sample.
void expect_dropout(const Dropout& dropout, std::int64_t elements) {
  TALARIA_CHECK(dropout.probability >= 0.0F && dropout.probability < 1.0F, "probability {}",
                dropout.probability);
  TALARIA_CHECK(elements <= std::int64_t{1} << 34, "{} random elements in a sample", elements);
}

void count_flops(const Stream& stream, std::int64_t multiply_adds) {
  if (stream.matmul_flops != nullptr) {
    *stream.matmul_flops += 2 * static_cast<std::uint64_t>(multiply_adds);
  }
}

void expect_attention(const Stream& stream, const ConstTensorView& qkv, const IdView& starts,
                      const ConstTensorView& y, const ConstTensorView& lse,
                      const AttentionShape& shape, const Dropout& dropout) {
  const std::int64_t width = shape.heads * shape.head_size;
  const std::int64_t shards = qkv.dim(1);
  expect(stream, "qkv", qkv, {qkv.dim(0), shards, qkv.dim(2), 3 * width});
  expect(stream, "y", y, {qkv.dim(0), shards, qkv.dim(2), width});
  expect(stream, "lse", lse, {qkv.dim(0), shards, qkv.dim(2), shape.heads});
  expect(stream, "starts", starts, {qkv.dim(0) * qkv.dim(2)});
  expect_samples(qkv.dim(2), shape.length);
  TALARIA_CHECK(
      shape.first_head >= 0 && shape.first_head + shards * shape.heads <= shape.total_heads,
      "heads {} + {} x {} of {}", shape.first_head, shards, shape.heads, shape.total_heads);
  expect_dropout(dropout, shape.total_heads * shape.length * shape.length);
}

[[noreturn]] void no_cuda() { fail("no CUDA kernels in this build"); }

}  // namespace

std::int64_t attention_pairs(IdView starts, std::int64_t length) {
  std::int64_t pairs = 0;
  for (std::int64_t sample = 0; sample < starts.count(); sample += length) {
    AttentionBlock block;
    for (std::int64_t first = 0; first < length; first += block.queries) {
      block = attention_block(starts.data + sample, length, first);
      pairs += block.queries * block.keys();
    }
  }
  return pairs;
}

// --- products ------------------------------------------------------------------------------------

void matmul_nt(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c) {
  expect(stream, "a", a, {a.dim(0), a.dim(1), c.dim(2), a.dim(3)});
  expect(stream, "b", b, {b.dim(0), c.dim(3), a.dim(3)});
  expect(stream, "c", c, {c.dim(0), c.dim(1), c.dim(2), c.dim(3)});
  expect_broadcast("items of a", a.dim(0), c.dim(0));
  expect_broadcast("shards of a", a.dim(1), c.dim(1));
  expect_broadcast("shards of b", b.dim(0), c.dim(1));
  count_flops(stream, c.count() * a.dim(3));
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::matmul_nt(stream, a, b, c);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void matmul_nn(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c) {
  expect(stream, "a", a, {a.dim(0), a.dim(1), c.dim(2), a.dim(3)});
  expect(stream, "b", b, {b.dim(0), a.dim(3), c.dim(3)});
  expect(stream, "c", c, {c.dim(0), c.dim(1), c.dim(2), c.dim(3)});
  expect_broadcast("items of a", a.dim(0), c.dim(0));
  expect_broadcast("shards of a", a.dim(1), c.dim(1));
  expect_broadcast("shards of b", b.dim(0), c.dim(1));
  count_flops(stream, c.count() * a.dim(3));
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::matmul_nn(stream, a, b, c);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void matmul_tn_add(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c) {
  const std::int64_t items = std::max(a.dim(0), b.dim(0));
  expect(stream, "a", a, {a.dim(0), a.dim(1), a.dim(2), c.dim(1)});
  expect(stream, "b", b, {b.dim(0), b.dim(1), a.dim(2), c.dim(2)});
  expect(stream, "c", c, {c.dim(0), c.dim(1), c.dim(2)});
  expect_broadcast("items of a", a.dim(0), items);
  expect_broadcast("items of b", b.dim(0), items);
  expect_broadcast("shards of a", a.dim(1), c.dim(0));
  expect_broadcast("shards of b", b.dim(1), c.dim(0));
  count_flops(stream, c.count() * items * a.dim(2));
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::matmul_tn_add(stream, a, b, c);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void tree_sum_shards(const Stream& stream, TensorView partial, TensorView out) {
  expect(stream, "partial", partial, {out.dim(0), partial.dim(1), out.dim(1), out.dim(2)});
  expect(stream, "out", out, {out.dim(0), out.dim(1), out.dim(2)});
  TALARIA_CHECK(partial.dim(1) >= 1, "no shards");
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::tree_sum_shards(stream, partial, out);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- biases and factors --------------------------------------------------------------------------

void add_bias(const Stream& stream, TensorView x, ConstTensorView bias) {
  expect(stream, "x", x, {x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
  expect(stream, "bias", bias, {x.dim(1), x.dim(3)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::add_bias(stream, x, bias);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void add_bias_backward(const Stream& stream, ConstTensorView dy, TensorView dbias) {
  expect(stream, "dy", dy, {dy.dim(0), dy.dim(1), dy.dim(2), dy.dim(3)});
  expect(stream, "dbias", dbias, {dy.dim(1), dy.dim(3)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::add_bias_backward(stream, dy, dbias);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void scale_rows(const Stream& stream, ConstTensorView factors, TensorView x) {
  expect(stream, "factors", factors, {x.dim(0)});
  expect(stream, "x", x, {x.dim(0), x.dim(1)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::scale_rows(stream, factors, x);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void token_sums(const Stream& stream, ConstTensorView dy, std::int64_t length, TensorView sums) {
  expect(stream, "dy", dy, {dy.dim(0), sums.dim(1)});
  expect(stream, "sums", sums, {sums.dim(0), sums.dim(1)});
  expect_samples(dy.dim(0), length);
  expect_chunks(length, sums.dim(0));
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::token_sums(stream, dy, length, sums);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- pointwise -----------------------------------------------------------------------------------

void gelu(const Stream& stream, ConstTensorView x, TensorView y) {
  expect(stream, "x", x, {y.dim(0), y.dim(1), y.dim(2), y.dim(3)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::gelu(stream, x, y);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void gelu_backward(const Stream& stream, ConstTensorView x, ConstTensorView dy, TensorView dx) {
  expect(stream, "x", x, {dx.dim(0), dx.dim(1), dx.dim(2), dx.dim(3)});
  expect(stream, "dy", dy, {dx.dim(0), dx.dim(1), dx.dim(2), dx.dim(3)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::gelu_backward(stream, x, dy, dx);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void bias_dropout_residual(const Stream& stream, ConstTensorView x, ConstTensorView bias,
                           ConstTensorView residual, std::int64_t length, const Dropout& dropout,
                           TensorView y) {
  expect(stream, "x", x, {y.dim(0), y.dim(1)});
  expect(stream, "bias", bias, {y.dim(1)});
  expect(stream, "residual", residual, {y.dim(0), y.dim(1)});
  expect(stream, "y", y, {y.dim(0), y.dim(1)});
  expect_samples(y.dim(0), length);
  expect_dropout(dropout, length * y.dim(1));
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::bias_dropout_residual(stream, x, bias, residual, length, dropout, y);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void dropout_backward(const Stream& stream, ConstTensorView dy, std::int64_t length,
                      const Dropout& dropout, TensorView dx) {
  expect(stream, "dy", dy, {dx.dim(0), dx.dim(1)});
  expect(stream, "dx", dx, {dx.dim(0), dx.dim(1)});
  expect_samples(dx.dim(0), length);
  expect_dropout(dropout, length * dx.dim(1));
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::dropout_backward(stream, dy, length, dropout, dx);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void add_into(const Stream& stream, TensorView a, ConstTensorView b) {
  expect(stream, "b", b, {a.dim(0), a.dim(1), a.dim(2), a.dim(3)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::add_into(stream, a, b);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- LayerNorm -----------------------------------------------------------------------------------

void layernorm(const Stream& stream, ConstTensorView x, ConstTensorView gain, ConstTensorView bias,
               TensorView y, TensorView mean, TensorView rstd) {
  expect(stream, "x", x, {y.dim(0), y.dim(1)});
  expect(stream, "y", y, {y.dim(0), y.dim(1)});
  expect(stream, "gain", gain, {y.dim(1)});
  expect(stream, "bias", bias, {y.dim(1)});
  expect(stream, "mean", mean, {y.dim(0)});
  expect(stream, "rstd", rstd, {y.dim(0)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::layernorm(stream, x, gain, bias, y, mean, rstd);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void layernorm_backward(const Stream& stream, ConstTensorView dy, ConstTensorView x,
                        ConstTensorView gain, ConstTensorView mean, ConstTensorView rstd,
                        std::int64_t length, TensorView dx, TensorView gain_sums,
                        TensorView bias_sums) {
  const std::int64_t chunks = gain_sums.dim(0);
  expect(stream, "dy", dy, {dx.dim(0), dx.dim(1)});
  expect(stream, "x", x, {dx.dim(0), dx.dim(1)});
  expect(stream, "gain", gain, {dx.dim(1)});
  expect(stream, "mean", mean, {dx.dim(0)});
  expect(stream, "rstd", rstd, {dx.dim(0)});
  expect(stream, "dx", dx, {dx.dim(0), dx.dim(1)});
  expect(stream, "gain_sums", gain_sums, {chunks, dx.dim(1)});
  expect(stream, "bias_sums", bias_sums, {chunks, dx.dim(1)});
  expect_samples(dx.dim(0), length);
  expect_chunks(length, chunks);
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::layernorm_backward(stream, dy, x, gain, mean, rstd, length, dx, gain_sums,
                                     bias_sums);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- attention -----------------------------------------------------------------------------------

void attention(const Stream& stream, ConstTensorView qkv, IdView starts,
               const AttentionShape& shape, const Dropout& dropout, TensorView y, TensorView lse) {
  expect_attention(stream, qkv, starts, y, lse, shape, dropout);
  const std::int64_t heads = qkv.dim(1) * shape.heads;
  count_flops(stream, 2 * heads * attention_pairs(starts, shape.length) * shape.head_size);
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::attention(stream, qkv, starts, shape, dropout, y, lse);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void attention_backward(const Stream& stream, ConstTensorView dy, ConstTensorView qkv,
                        IdView starts, ConstTensorView y, ConstTensorView lse,
                        const AttentionShape& shape, const Dropout& dropout, TensorView dqkv) {
  expect_attention(stream, qkv, starts, y, lse, shape, dropout);
  expect(stream, "dy", dy, {y.dim(0), y.dim(1), y.dim(2), y.dim(3)});
  expect(stream, "dqkv", dqkv, {qkv.dim(0), qkv.dim(1), qkv.dim(2), qkv.dim(3)});
  const std::int64_t heads = qkv.dim(1) * shape.heads;
  count_flops(stream, 5 * heads * attention_pairs(starts, shape.length) * shape.head_size);
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::attention_backward(stream, dy, qkv, starts, y, lse, shape, dropout, dqkv);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- inference -----------------------------------------------------------------------------------

void matmul_rows(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c) {
  expect(stream, "a", a, {a.dim(0), c.dim(1), b.dim(2)});
  expect(stream, "b", b, {c.dim(0), c.dim(2), b.dim(2)});
  expect(stream, "c", c, {c.dim(0), c.dim(1), c.dim(2)});
  expect_broadcast("shards of a", a.dim(0), c.dim(0));
  count_flops(stream, c.count() * b.dim(2));
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::matmul_rows(stream, a, b, c);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void cached_attention(const Stream& stream, ConstTensorView qkv, IdView slots, IdView positions,
                      std::int64_t heads, std::int64_t head_size, TensorView keys,
                      TensorView values, TensorView y) {
  const std::int64_t shards = qkv.dim(0);
  const std::int64_t rows = qkv.dim(1);
  const std::int64_t padded = (head_size + kCacheLanes - 1) / kCacheLanes * kCacheLanes;
  expect(stream, "qkv", qkv, {shards, rows, 3 * heads * head_size});
  expect(stream, "y", y, {shards, rows, heads * head_size});
  expect(stream, "slots", slots, {rows});
  expect(stream, "positions", positions, {rows});
  expect(stream, "keys", keys, {keys.dim(0), shards * heads, keys.dim(2), padded});
  expect(stream, "values", values, {keys.dim(0), shards * heads, keys.dim(2), padded});
  TALARIA_CHECK(keys.dim(2) % kCacheTokens == 0, "a cache of {} tokens", keys.dim(2));
  std::int64_t pairs = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    TALARIA_CHECK(slots.data[r] >= 0 && slots.data[r] < keys.dim(0) && positions.data[r] >= 0 &&
                      positions.data[r] < keys.dim(2),
                  "row {}: token {} of slot {}", r, positions.data[r], slots.data[r]);
    pairs += positions.data[r] + 1;
  }
  count_flops(stream, 2 * head_size * pairs * shards * heads);
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::cached_attention(stream, qkv, slots, positions, heads, head_size, keys, values,
                                   y);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- embeddings ----------------------------------------------------------------------------------

void embed(const Stream& stream, IdView ids, ConstTensorView table, std::int64_t first_row,
           TensorView y) {
  expect(stream, "ids", ids, {y.dim(0)});
  expect(stream, "table", table, {table.dim(0), y.dim(1)});
  expect(stream, "y", y, {y.dim(0), y.dim(1)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::embed(stream, ids, table, first_row, y);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void embed_backward(const Stream& stream, IdView ids, ConstTensorView dy, std::int64_t first_row,
                    TensorView dtable) {
  expect(stream, "ids", ids, {dy.dim(0)});
  expect(stream, "dy", dy, {dy.dim(0), dtable.dim(1)});
  expect(stream, "dtable", dtable, {dtable.dim(0), dtable.dim(1)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::embed_backward(stream, ids, dy, first_row, dtable);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void position_dropout(const Stream& stream, ConstTensorView x, IdView positions,
                      ConstTensorView table, std::int64_t length, const Dropout& dropout,
                      TensorView y) {
  expect(stream, "x", x, {y.dim(0), y.dim(1)});
  expect(stream, "y", y, {y.dim(0), y.dim(1)});
  expect(stream, "positions", positions, {y.dim(0)});
  expect(stream, "table", table, {table.dim(0), y.dim(1)});
  expect_samples(y.dim(0), length);
  expect_dropout(dropout, length * y.dim(1));
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::position_dropout(stream, x, positions, table, length, dropout, y);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- cross-entropy -------------------------------------------------------------------------------

void cross_entropy_stats(const Stream& stream, ConstTensorView logits, IdView targets,
                         std::int64_t first_row, std::int64_t vocab, TensorView stats) {
  expect(stream, "logits", logits, {logits.dim(0), logits.dim(1), logits.dim(2)});
  expect(stream, "targets", targets, {logits.dim(1)});
  TALARIA_CHECK(stats.dim(2) == 3 || stats.dim(2) == 4, "{} stats", stats.dim(2));
  expect(stream, "stats", stats, {logits.dim(0), logits.dim(1), stats.dim(2)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::cross_entropy_stats(stream, logits, targets, first_row, vocab, stats);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void cross_entropy_losses(const Stream& stream, ConstTensorView stats, TensorView lse,
                          TensorView losses, TensorView entropies) {
  expect(stream, "stats", stats, {stats.dim(0), lse.dim(0), entropies ? 4 : 3});
  if (entropies) expect(stream, "entropies", entropies, {lse.dim(0)});
  expect(stream, "lse", lse, {lse.dim(0)});
  expect(stream, "losses", losses, {lse.dim(0)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::cross_entropy_losses(stream, stats, lse, losses, entropies);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void cross_entropy_backward(const Stream& stream, TensorView logits, IdView targets,
                            ConstTensorView lse, std::int64_t first_row, std::int64_t vocab,
                            ConstTensorView scales, ConstTensorView entropies,
                            ConstTensorView entropy_scales) {
  expect(stream, "logits", logits, {logits.dim(0), logits.dim(1), logits.dim(2)});
  expect(stream, "targets", targets, {logits.dim(1)});
  expect(stream, "lse", lse, {logits.dim(1)});
  expect(stream, "scales", scales, {logits.dim(1)});
  if (entropies) {
    expect(stream, "entropies", entropies, {logits.dim(1)});
    expect(stream, "entropy_scales", entropy_scales, {logits.dim(1)});
  }
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::cross_entropy_backward(stream, logits, targets, lse, first_row, vocab, scales,
                                         entropies, entropy_scales);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- a scalar of every row -----------------------------------------------------------------------

void row_dots(const Stream& stream, ConstTensorView x, ConstTensorView weight, ConstTensorView bias,
              TensorView y) {
  expect(stream, "x", x, {y.dim(0), weight.dim(0)});
  expect(stream, "weight", weight, {weight.dim(0)});
  expect(stream, "bias", bias, {1});
  expect(stream, "y", y, {y.dim(0)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::row_dots(stream, x, weight, bias, y);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void row_dots_backward(const Stream& stream, ConstTensorView dy, ConstTensorView x,
                       ConstTensorView weight, std::int64_t length, TensorView dx,
                       TensorView weight_sums, TensorView bias_sums) {
  const std::int64_t chunks = weight_sums.dim(0);
  expect(stream, "dy", dy, {dx.dim(0)});
  expect(stream, "x", x, {dx.dim(0), dx.dim(1)});
  expect(stream, "dx", dx, {dx.dim(0), dx.dim(1)});
  expect(stream, "weight", weight, {dx.dim(1)});
  expect(stream, "weight_sums", weight_sums, {chunks, dx.dim(1)});
  expect(stream, "bias_sums", bias_sums, {chunks, 1});
  expect_samples(dx.dim(0), length);
  expect_chunks(length, chunks);
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::row_dots_backward(stream, dy, x, weight, length, dx, weight_sums, bias_sums);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

// --- optimizer -----------------------------------------------------------------------------------

void adamw(const Stream& stream, const AdamW& config, TensorView weight, ConstTensorView gradient,
           TensorView m, TensorView v) {
  for (const ConstTensorView& x : {gradient, ConstTensorView(m), ConstTensorView(v)}) {
    expect(stream, "an operand of adamw", x,
           {weight.dim(0), weight.dim(1), weight.dim(2), weight.dim(3)});
  }
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::adamw(stream, config, weight, gradient, m, v);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

void row_sums_of_squares(const Stream& stream, ConstTensorView x, Tensor<double> sums) {
  expect(stream, "x", x, {x.dim(0), x.dim(1)});
  expect(stream, "sums", sums, {x.dim(0)});
  switch (stream.device) {
    case DeviceKind::kCpu:
      return cpu::row_sums_of_squares(stream, x, sums);
    case DeviceKind::kCuda:
      no_cuda();
  }
}

}  // namespace talaria::model
