// SPDX-License-Identifier: Apache-2.0
// The cpu kernels against ref/, over shapes with tails, and their bits over pool sizes. Attention
// has a file of its own.
#include <limits>

#include "model/ref/ops.h"
#include "tests/unit/ops_support.h"

namespace talaria::model::test {
namespace {

constexpr std::int64_t kWidths[] = {1, 7, 16, 33, 64, 130, 768};

Dropout some_dropout(float probability) { return {probability, {0x1234567890ABCDEFULL, 17, 5}, 3}; }

struct ProductCase {
  std::int64_t items, shards, rows, columns, depth;
  bool shared_a;  // a's shard dim is 1
};
constexpr ProductCase kProducts[] = {{1, 1, 1, 1, 1, false},      {1, 1, 5, 7, 3, false},
                                     {2, 2, 33, 16, 7, true},     {3, 4, 31, 130, 33, false},
                                     {2, 1, 128, 768, 64, true},  {1, 2, 100, 300, 257, true},
                                     {2, 2, 64, 64, 1024, false}, {1, 1, 256, 1030, 130, false}};

TEST(CpuProducts, NtAndNnMatchRef) {
  Random random(1);
  for (const ProductCase& p : kProducts) {
    const std::int64_t a_shards = p.shared_a ? 1 : p.shards;
    const Dims dims = {p.items, p.shards, p.rows, p.columns, p.depth};
    Twin a = random.normal({p.items, a_shards, p.rows, p.depth});
    Twin b = random.normal({p.shards, p.columns, p.depth});
    Twin bt = random.normal({p.shards, p.depth, p.columns});
    Twin c = random.normal({p.items, p.shards, p.rows, p.columns});  // overwritten
    compare(
        describe("nt", dims), {&c}, 2e-6,
        [&](const Stream& s) { matmul_nt(s, a.f(), b.f(), c.f()); },
        [&] { ref::matmul_nt(a.d(), b.d(), c.d()); });
    compare(
        describe("nn", dims), {&c}, 2e-6,
        [&](const Stream& s) { matmul_nn(s, a.f(), bt.f(), c.f()); },
        [&] { ref::matmul_nn(a.d(), bt.d(), c.d()); });
  }
}

TEST(CpuProducts, TnAddMatchesRef) {
  Random random(2);
  for (const ProductCase& p : kProducts) {
    const std::int64_t a_shards = p.shared_a ? 1 : p.shards;
    const Dims dims = {p.items, p.shards, p.rows, p.columns, p.depth};
    Twin a = random.normal({p.items, a_shards, p.depth, p.rows});
    Twin b = random.normal({p.items, p.shards, p.depth, p.columns});
    Twin b_shared = random.normal({p.items, 1, p.depth, p.columns});
    Twin c = random.normal({p.shards, p.rows, p.columns});  // added to
    compare(
        describe("tn", dims), {&c}, 2e-6,
        [&](const Stream& s) { matmul_tn_add(s, a.f(), b.f(), c.f()); },
        [&] { ref::matmul_tn_add(a.d(), b.d(), c.d()); });
    compare(
        describe("tn, shared b", dims), {&c}, 2e-6,
        [&](const Stream& s) { matmul_tn_add(s, a.f(), b_shared.f(), c.f()); },
        [&] { ref::matmul_tn_add(a.d(), b_shared.d(), c.d()); });
  }
}

// One call over three samples folds as three calls over one sample do, and each sample's and each
// shard's product has the bits it has alone.
TEST(CpuProducts, ItemsAndShardsDoNotChangeBits) {
  Random random(3);
  ThreadPool pool(2);
  Stream stream;
  stream.pool = &pool;
  const std::int64_t rows = 128;
  const std::int64_t depth = 96;
  const std::int64_t columns = 200;
  Twin a = random.normal({3, 2, rows, depth});
  Twin b = random.normal({2, columns, depth});
  Twin c({3, 2, rows, columns});
  Twin sums = random.normal({2, depth, columns});
  Twin alone_sums = sums;
  matmul_nt(stream, a.f(), b.f(), c.f());
  matmul_tn_add(stream, a.f(), c.f(), sums.f());
  for (std::int64_t n = 0; n < 3; ++n) {
    for (std::int64_t v = 0; v < 2; ++v) {
      const TensorView a_alone(a.f32.data() + (n * 2 + v) * rows * depth, {1, 1, rows, depth});
      const TensorView b_alone(b.f32.data() + v * columns * depth, {1, columns, depth});
      Twin c_alone({1, 1, rows, columns});
      matmul_nt(stream, a_alone, b_alone, c_alone.f());
      EXPECT_EQ(0, std::memcmp(c_alone.f32.data(), c.f32.data() + (n * 2 + v) * rows * columns,
                               c_alone.f32.size() * sizeof(float)));
      matmul_tn_add(stream, a_alone, c_alone.f(),
                    TensorView(alone_sums.f32.data() + v * depth * columns, {1, depth, columns}));
    }
  }
  EXPECT_EQ(sums.f32, alone_sums.f32);
}

TEST(CpuProducts, SplitProductsAndFlops) {
  Random random(4);
  ThreadPool pool(2);
  std::uint64_t flops = 0;
  Stream stream;
  stream.pool = &pool;
  stream.split_products = true;
  stream.matmul_flops = &flops;
  Twin a = random.normal({1, 1, 200, 300});
  Twin b = random.normal({1, 400, 300});
  Twin c({1, 1, 200, 400});
  matmul_nt(stream, a.f(), b.f(), c.f());
  ref::matmul_nt(a.d(), b.d(), c.d());
  EXPECT_LE(relative_error(c), 2e-6);
  EXPECT_EQ(flops, 2U * 200 * 300 * 400);
}

TEST(CpuPointwise, TreeSumOfShards) {
  Random random(5);
  for (const std::int64_t shards : {1, 2, 3, 4, 5, 8}) {
    Twin partial = random.normal({2, shards, 9, 33});
    Twin out({2, 9, 33});
    compare(
        describe("tree", {shards}), {&out}, 1e-6,
        [&](const Stream& s) { tree_sum_shards(s, partial.f(), out.f()); },
        [&] { ref::tree_sum_shards(partial.d(), out.d()); });
  }
  // (1e8 + 1) + (-1e8 + 3) in f32: the tree rounds 1e8 + 1 to 1e8 and -1e8 + 3 to -1e8.
  std::vector<float> partial = {1e8F, 1.0F, -1e8F, 3.0F};
  float sum = 1.0F;
  tree_sum_shards({}, TensorView(partial.data(), {1, 4, 1, 1}), TensorView(&sum, {1, 1, 1}));
  EXPECT_EQ(sum, (1e8F + 1.0F) + (-1e8F + 3.0F));
}

TEST(CpuPointwise, BiasesAndTokenSums) {
  Random random(6);
  for (const std::int64_t columns : kWidths) {
    Twin x = random.normal({3, 2, 11, columns});
    Twin bias = random.normal({2, columns});
    Twin dbias = random.normal({2, columns});
    compare(
        describe("add_bias", x.dims), {&x}, 1e-6,
        [&](const Stream& s) { add_bias(s, x.f(), bias.f()); },
        [&] { ref::add_bias(x.d(), bias.d()); });
    compare(
        describe("add_bias_backward", x.dims), {&dbias}, 2e-6,
        [&](const Stream& s) { add_bias_backward(s, x.f(), dbias.f()); },
        [&] { ref::add_bias_backward(x.d(), dbias.d()); });
    for (const std::int64_t chunks : {1, 2, 4}) {
      Twin dy = random.normal({3 * 12, columns});
      Twin sums = random.normal({chunks, columns});
      compare(
          describe("token_sums", {chunks, columns}), {&sums}, 2e-6,
          [&](const Stream& s) { token_sums(s, dy.f(), 12, sums.f()); },
          [&] { ref::token_sums(dy.d(), 12, sums.d()); });
    }
  }
}

TEST(CpuPointwise, FactorsOfRows) {
  Random random(8);
  for (const std::int64_t columns : kWidths) {
    Twin x = random.normal({33, columns});
    Twin factors = random.normal({33});
    compare(
        describe("scale_rows", x.dims), {&x}, 1e-6,
        [&](const Stream& s) { scale_rows(s, factors.f(), x.f()); },
        [&] { ref::scale_rows(factors.d(), x.d()); });
  }
}

TEST(CpuPointwise, GeluAndAdd) {
  Random random(7);
  for (const Dims& dims : {Dims{1}, Dims{7}, Dims{33, 3}, Dims{2, 3, 50, 130}}) {
    Twin x = random.normal(dims, 3.0F);
    Twin dy = random.normal(dims);
    Twin y(dims);
    compare(
        describe("gelu", dims), {&y}, 1e-6, [&](const Stream& s) { gelu(s, x.f(), y.f()); },
        [&] { ref::gelu(x.d(), y.d()); });
    compare(
        describe("gelu_backward in place", dims), {&dy}, 1e-6,
        [&](const Stream& s) { gelu_backward(s, x.f(), dy.f(), dy.f()); },
        [&] { ref::gelu_backward(x.d(), dy.d(), dy.d()); });
    compare(
        describe("add_into", dims), {&x}, 1e-6, [&](const Stream& s) { add_into(s, x.f(), y.f()); },
        [&] { ref::add_into(x.d(), y.d()); });
  }
}

TEST(CpuPointwise, Dropouts) {
  Random random(8);
  const std::int64_t length = 13;
  for (const std::int64_t columns : {1, 7, 16, 33, 768, 2050}) {
    for (const float probability : {0.0F, 0.1F, 0.75F}) {
      const Dropout dropout = some_dropout(probability);
      Twin x = random.normal({3 * length, columns});
      Twin bias = random.normal({columns});
      Twin residual = random.normal({3 * length, columns});
      Twin table = random.normal({length + 2, columns});
      const std::vector<std::int32_t> places =
          random.ids(3 * length, static_cast<std::int32_t>(length) + 2);
      const IdView positions(places.data(), {3 * length});
      compare(
          describe("bias_dropout_residual", x.dims), {&residual}, 1e-6,
          [&](const Stream& s) {
            bias_dropout_residual(s, x.f(), bias.f(), residual.f(), length, dropout, residual.f());
          },
          [&] {
            ref::bias_dropout_residual(x.d(), bias.d(), residual.d(), length, dropout,
                                       residual.d());
          });
      Twin dx({3 * length, columns});
      compare(
          describe("dropout_backward", x.dims), {&dx}, 1e-6,
          [&](const Stream& s) { dropout_backward(s, x.f(), length, dropout, dx.f()); },
          [&] { ref::dropout_backward(x.d(), length, dropout, dx.d()); });
      compare(
          describe("position_dropout", x.dims), {&x}, 1e-6,
          [&](const Stream& s) {
            position_dropout(s, x.f(), positions, table.f(), length, dropout, x.f());
          },
          [&] { ref::position_dropout(x.d(), positions, table.d(), length, dropout, x.d()); });
    }
  }
}

TEST(CpuLayerNorm, MatchesRef) {
  Random random(9);
  const std::int64_t length = 12;
  for (const std::int64_t columns : kWidths) {
    for (const std::int64_t chunks : {1, 4}) {
      Twin x = random.normal({2 * length, columns}, 2.0F);
      for (std::size_t i = 0; i < x.f32.size(); ++i) x.set(i, x.f32[i] + 1.5F);
      Twin gain = random.normal({columns});
      Twin bias = random.normal({columns});
      Twin dy = random.normal({2 * length, columns});
      Twin y({2 * length, columns});
      Twin mean({2 * length});
      Twin rstd({2 * length});
      // With one column every value equals its mean, and the eps alone keeps rstd finite.
      compare(
          describe("layernorm", x.dims), {&y, &mean, &rstd}, 3e-6,
          [&](const Stream& s) {
            layernorm(s, x.f(), gain.f(), bias.f(), y.f(), mean.f(), rstd.f());
          },
          [&] { ref::layernorm(x.d(), gain.d(), bias.d(), y.d(), mean.d(), rstd.d()); });
      Twin dx = random.normal({2 * length, columns});
      Twin gain_sums = random.normal({chunks, columns});
      Twin bias_sums = random.normal({chunks, columns});
      compare(
          describe("layernorm_backward", x.dims), {&dx, &gain_sums, &bias_sums}, 1e-5,
          [&](const Stream& s) {
            layernorm_backward(s, dy.f(), x.f(), gain.f(), mean.f(), rstd.f(), length, dx.f(),
                               gain_sums.f(), bias_sums.f());
          },
          [&] {
            ref::layernorm_backward(dy.d(), x.d(), gain.d(), mean.d(), rstd.d(), length, dx.d(),
                                    gain_sums.d(), bias_sums.d());
          });
    }
  }
}

TEST(CpuRowDots, MatchRef) {
  Random random(20);
  const std::int64_t length = 12;
  for (const std::int64_t columns : kWidths) {
    for (const std::int64_t chunks : {1, 4}) {
      Twin x = random.normal({2 * length, columns});
      Twin weight = random.normal({columns});
      Twin bias = random.normal({1});
      Twin dy = random.normal({2 * length});
      Twin y({2 * length});
      compare(
          describe("row_dots", x.dims), {&y}, 2e-6,
          [&](const Stream& s) { row_dots(s, x.f(), weight.f(), bias.f(), y.f()); },
          [&] { ref::row_dots(x.d(), weight.d(), bias.d(), y.d()); });
      Twin dx = random.normal({2 * length, columns});  // overwritten
      Twin weight_sums = random.normal({chunks, columns});
      Twin bias_sums = random.normal({chunks, 1});
      compare(
          describe("row_dots_backward", x.dims), {&dx, &weight_sums, &bias_sums}, 2e-6,
          [&](const Stream& s) {
            row_dots_backward(s, dy.f(), x.f(), weight.f(), length, dx.f(), weight_sums.f(),
                              bias_sums.f());
          },
          [&] {
            ref::row_dots_backward(dy.d(), x.d(), weight.d(), length, dx.d(), weight_sums.d(),
                                   bias_sums.d());
          });
    }
  }
}

TEST(CpuEmbedding, MatchesRef) {
  Random random(13);
  for (const std::int64_t columns : kWidths) {
    const std::vector<std::int32_t> ids = random.ids(40, 30);
    const IdView id_view(ids.data(), {40});
    Twin table = random.normal({12, columns});
    Twin dy = random.normal({40, columns});
    Twin y = random.normal({40, columns});
    compare(
        describe("embed", y.dims), {&y}, 0.0,
        [&](const Stream& s) { embed(s, id_view, table.f(), 9, y.f()); },
        [&] { ref::embed(id_view, table.d(), 9, y.d()); });
    compare(
        describe("embed_backward", y.dims), {&table}, 1e-6,
        [&](const Stream& s) { embed_backward(s, id_view, dy.f(), 9, table.f()); },
        [&] { ref::embed_backward(id_view, dy.d(), 9, table.d()); });
  }
}

TEST(CpuEmbedding, AbsentRowsArePlusZero) {
  const std::int32_t id = 3;
  float table = -0.0F;
  float y = 1.0F;
  embed({}, IdView(&id, {1}), TensorView(&table, {1, 1}), 0, TensorView(&y, {1, 1}));
  EXPECT_EQ(y, 0.0F);
  EXPECT_FALSE(std::signbit(y));
}

// `width` 4: with entropies.
void check_cross_entropy(Random& random, Twin& logits, IdView ids, std::int64_t vocab,
                         std::int64_t width) {
  const std::int64_t rows = ids.dim(0);
  Twin stats({logits.dims[0], rows, width});
  Twin lse({rows});
  Twin losses({rows});
  Twin entropies({rows});
  cross_entropy_stats({}, logits.f(), ids, 0, vocab, stats.f());
  ref::cross_entropy_stats(logits.d(), ids, 0, vocab, stats.d());
  for (std::size_t i = 0; i < stats.f32.size(); ++i) {
    if (std::isinf(stats.f64[i])) {
      ASSERT_EQ(stats.f32[i], -std::numeric_limits<float>::infinity());
    } else {
      ASSERT_NEAR(stats.f32[i], stats.f64[i], 1e-6 * std::abs(stats.f64[i]));
    }
  }
  const bool with = width == 4;
  compare(
      describe("losses", stats.dims), {&lse, &losses, &entropies}, 2e-6,
      [&](const Stream& s) {
        cross_entropy_losses(s, stats.f(), lse.f(), losses.f(),
                             with ? entropies.f() : TensorView());
      },
      [&] {
        ref::cross_entropy_losses(stats.d(), lse.d(), losses.d(),
                                  with ? entropies.d() : Tensor<double>());
      });
  Twin scales = random.normal({rows});
  Twin entropy_scales = random.normal({rows});
  compare(
      describe("cross_entropy_backward", logits.dims), {&logits}, 1e-5,
      [&](const Stream& s) {
        cross_entropy_backward(s, logits.f(), ids, lse.f(), 0, vocab, scales.f(),
                               with ? entropies.f() : TensorView(),
                               with ? entropy_scales.f() : TensorView());
      },
      [&] {
        ref::cross_entropy_backward(logits.d(), ids, lse.d(), 0, vocab, scales.d(),
                                    with ? entropies.d() : Tensor<double>(),
                                    with ? entropy_scales.d() : Tensor<double>());
      });
}

TEST(CpuCrossEntropy, MatchesRefWithPadding) {
  Random random(14);
  for (const std::int64_t shards : {1, 2, 4}) {
    for (const std::int64_t columns : {16, 33, 130}) {
      // The last shard is all padding when there is more than one.
      const std::int64_t vocab = shards == 1 ? columns - 5 : (shards - 1) * columns - 3;
      const std::int64_t rows = 21;
      const std::vector<std::int32_t> targets = random.ids(rows, static_cast<std::int32_t>(vocab));
      const IdView ids(targets.data(), {rows});
      for (const std::int64_t width : {3, 4}) {
        Twin logits = random.normal({shards, rows, columns}, 4.0F);
        check_cross_entropy(random, logits, ids, vocab, width);
      }
    }
  }
}

// Ranks that hold 1, 2 or 4 of four shards compute the same stats, hence the same loss bits.
TEST(CpuCrossEntropy, HoldingFewerShardsDoesNotChangeBits) {
  Random random(15);
  const std::int64_t columns = 48;
  const std::int64_t rows = 10;
  const std::int64_t vocab = 4 * columns - 20;
  const std::vector<std::int32_t> targets = random.ids(rows, static_cast<std::int32_t>(vocab));
  const IdView ids(targets.data(), {rows});
  Twin logits = random.normal({4, rows, columns}, 3.0F);
  Twin whole({4, rows, 4});
  cross_entropy_stats({}, logits.f(), ids, 0, vocab, whole.f());
  for (const std::int64_t held : {1, 2}) {
    Twin parts({4, rows, 4});
    for (std::int64_t v = 0; v < 4; v += held) {
      cross_entropy_stats(
          {}, TensorView(logits.f32.data() + v * rows * columns, {held, rows, columns}), ids,
          v * columns, vocab, TensorView(parts.f32.data() + v * rows * 4, {held, rows, 4}));
    }
    EXPECT_EQ(parts.f32, whole.f32);
  }
  Twin lse({rows});
  Twin losses({rows});
  Twin entropies({rows});
  cross_entropy_losses({}, whole.f(), lse.f(), losses.f(), entropies.f());
  for (std::int64_t row = 0; row < rows; ++row) {
    float maximum = whole.f32[static_cast<std::size_t>(row * 4)];
    float target = whole.f32[static_cast<std::size_t>(row * 4 + 2)];
    for (std::int64_t v = 1; v < 4; ++v) {
      maximum = std::max(maximum, whole.f32[static_cast<std::size_t>((v * rows + row) * 4)]);
      target = std::max(target, whole.f32[static_cast<std::size_t>((v * rows + row) * 4 + 2)]);
    }
    EXPECT_NEAR(losses.f32[static_cast<std::size_t>(row)],
                lse.f32[static_cast<std::size_t>(row)] - target, 0.0);
    EXPECT_GE(lse.f32[static_cast<std::size_t>(row)], maximum);
  }
}

TEST(CpuCrossEntropy, ExtremeLogits) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<std::int32_t> targets = {0, 1, 2, 0};
  const IdView ids(targets.data(), {4});
  Twin logits({1, 4, 3});
  const float rows[4][3] = {{1e38F, -1e38F, 0.0F},
                            {-1e38F, -1e38F, -1e38F},
                            {-infinity, 88.0F, 88.0F},
                            {std::nanf(""), 0.0F, 0.0F}};
  std::memcpy(logits.f32.data(), rows, sizeof rows);
  Twin stats({1, 4, 4});
  Twin lse({4});
  Twin losses({4});
  Twin entropies({4});
  const std::vector<float> ones(4, 1.0F);
  cross_entropy_stats({}, logits.f(), ids, 0, 3, stats.f());
  cross_entropy_losses({}, stats.f(), lse.f(), losses.f(), entropies.f());
  Twin both = logits;
  cross_entropy_backward({}, logits.f(), ids, lse.f(), 0, 3, ConstTensorView(ones.data(), {4}));
  cross_entropy_backward({}, both.f(), ids, lse.f(), 0, 3, ConstTensorView(ones.data(), {4}),
                         entropies.f(), ConstTensorView(ones.data(), {4}));
  // Probabilities of 0 have no entropy and no gradient, however far below they lie.
  EXPECT_EQ(entropies.f32[0], 0.0F);
  EXPECT_NEAR(entropies.f32[1], std::log(3.0), 1e-5);
  EXPECT_NEAR(entropies.f32[2], std::log(2.0), 1e-5);
  EXPECT_TRUE(std::isnan(entropies.f32[3]));
  for (std::size_t i = 0; i < 9; ++i) {
    if (i / 3 == 1) continue;  // its probabilities do not add up to 1
    EXPECT_NEAR(both.f32[i], logits.f32[i], 1e-5) << i;
  }
  EXPECT_EQ(losses.f32[0], 0.0F);
  EXPECT_EQ(lse.f32[1], -1e38F);
  EXPECT_NEAR(losses.f32[2], std::log(2.0), 1e-5);
  EXPECT_TRUE(std::isnan(losses.f32[3]));  // a non-finite value must not disappear
  EXPECT_EQ(logits.f32[0], 0.0F);
  EXPECT_EQ(logits.f32[1], 0.0F);
  EXPECT_EQ(logits.f32[6], 0.0F);
  EXPECT_NEAR(logits.f32[8], -0.5, 1e-5);
}

TEST(CpuOptimizer, AdamwMatchesRefOverSteps) {
  Random random(16);
  for (const Dims& dims : {Dims{1}, Dims{33}, Dims{20, 1000}}) {
    Twin weight = random.normal(dims);
    Twin m(dims);
    Twin v(dims);
    for (int step = 1; step <= 3; ++step) {
      Twin gradient = random.normal(dims, 0.1F);
      AdamW config;
      config.learning_rate = 1e-2F;
      config.weight_decay = 0.1F;
      config.correction1 = 1.0F - std::pow(config.beta1, static_cast<float>(step));
      config.correction2 = 1.0F - std::pow(config.beta2, static_cast<float>(step));
      config.gradient_scale = 0.7F;
      compare(
          describe("adamw", dims), {&weight, &m, &v}, 1e-6,
          [&](const Stream& s) { adamw(s, config, weight.f(), gradient.f(), m.f(), v.f()); },
          [&] { ref::adamw(config, weight.d(), gradient.d(), m.d(), v.d()); });
    }
  }
}

TEST(CpuOptimizer, RowSumsOfSquares) {
  Random random(17);
  for (const std::int64_t columns : kWidths) {
    Twin x = random.normal({9, columns});
    std::vector<double> sums(9);
    std::vector<double> expected(9);
    row_sums_of_squares({}, x.f(), Tensor<double>(sums.data(), {9}));
    ref::row_sums_of_squares(x.d(), Tensor<double>(expected.data(), {9}));
    for (std::size_t i = 0; i < 9; ++i) EXPECT_NEAR(sums[i], expected[i], 1e-13 * expected[i]);
  }
}

// Ranks as threads: several callers at once, each with its own pool.
TEST(CpuKernels, SeveralRanksAtOnce) {
  Random random(18);
  Twin a = random.normal({2, 2, 64, 96});
  Twin b = random.normal({2, 300, 96});
  Twin expected({2, 2, 64, 300});
  matmul_nt({}, a.f(), b.f(), expected.f());
  std::vector<Twin> results(4, Twin({2, 2, 64, 300}));
  std::vector<std::thread> ranks;
  ranks.reserve(results.size());
  for (Twin& result : results) {
    ranks.emplace_back([&a, &b, &result] {
      ThreadPool pool(2);
      Stream stream;
      stream.pool = &pool;
      for (int i = 0; i < 5; ++i) matmul_nt(stream, a.f(), b.f(), result.f());
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (const Twin& result : results) EXPECT_EQ(result.f32, expected.f32);
}

TEST(CpuKernels, CudaIsRefused) {
  float x = 0.0F;
  TensorView view_x(&x, {1}, DeviceKind::kCuda);
  Stream stream;
  stream.device = DeviceKind::kCuda;
  EXPECT_THROW(gelu(stream, view_x, view_x), Error);
}

TEST(CpuKernelsDeathTest, WrongShapesAreBugs) {
  float x[6] = {};
  EXPECT_DEATH(gelu({}, TensorView(x, {2, 3}), TensorView(x, {3, 2})), "x is \\[2, 3, 1, 1\\]");
}

}  // namespace
}  // namespace talaria::model::test
