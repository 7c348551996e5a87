// SPDX-License-Identifier: Apache-2.0
// Finite-difference checks of every operation of ref/ that has a gradient. A loss is the dot
// product of an operation's output with random weights, which then are the gradient `dy`.
#include "model/ref/ops.h"
#include "tests/unit/gradient_check.h"
#include "tests/unit/ops_support.h"

namespace talaria::model::test {
namespace {

using ref::In;
using ref::Out;
using Values = std::vector<double>;

Dropout some_dropout(float probability) { return {probability, {99, 7, 2}, 5}; }

TEST(RefGradients, Products) {
  Random random(1);
  for (const std::int64_t a_shards : {1, 2}) {
    Twin a = random.normal({3, a_shards, 5, 4});
    Twin b = random.normal({2, 7, 4});
    Twin bt = random.normal({2, 4, 7});
    Twin dy = random.normal({3, 2, 5, 7});
    Twin y({3, 2, 5, 7});
    const auto loss_nt = [&] {
      ref::matmul_nt(a.d(), b.d(), y.d());
      return dot(y.f64, dy.f64);
    };
    const auto loss_nn = [&] {
      ref::matmul_nn(a.d(), bt.d(), y.d());
      return dot(y.f64, dy.f64);
    };
    Twin db({2, 7, 4});
    Twin dbt({2, 4, 7});
    ref::matmul_tn_add(dy.d(), a.d(), db.d());
    ref::matmul_tn_add(a.d(), dy.d(), dbt.d());
    expect_gradient("nt: b", b.f64, db.f64, loss_nt);
    expect_gradient("nn: b", bt.f64, dbt.f64, loss_nn);
    // A shared a gets its gradient as partials of the shards, summed by the tree.
    Twin partial({3, 2, 5, 4});
    Twin sum({3, 5, 4});
    ref::matmul_nn(dy.d(), b.d(), partial.d());
    if (a_shards == 1) ref::tree_sum_shards(partial.d(), sum.d());
    expect_gradient("nt: a", a.f64, a_shards == 1 ? sum.f64 : partial.f64, loss_nt);
    ref::matmul_nt(dy.d(), bt.d(), partial.d());
    if (a_shards == 1) ref::tree_sum_shards(partial.d(), sum.d());
    expect_gradient("nn: a", a.f64, a_shards == 1 ? sum.f64 : partial.f64, loss_nn);
  }
}

TEST(RefGradients, TreeSumOfThreeShards) {
  Random random(2);
  Twin partial = random.normal({2, 3, 2, 3});
  Twin dy = random.normal({2, 2, 3});
  Twin y({2, 2, 3});
  Values expected;
  for (int n = 0; n < 2; ++n) {
    for (int v = 0; v < 3; ++v) {
      expected.insert(expected.end(), dy.f64.begin() + n * 6, dy.f64.begin() + (n + 1) * 6);
    }
  }
  expect_gradient("partial", partial.f64, expected, [&] {
    ref::tree_sum_shards(partial.d(), y.d());
    return dot(y.f64, dy.f64);
  });
}

TEST(RefGradients, AddBias) {
  Random random(3);
  const Twin x0 = random.normal({3, 2, 5, 3});
  Twin bias = random.normal({2, 3});
  Twin dy = random.normal({3, 2, 5, 3});
  Twin dbias({2, 3});
  ref::add_bias_backward(dy.d(), dbias.d());
  expect_gradient("bias", bias.f64, dbias.f64, [&] {
    Twin x = x0;
    ref::add_bias(x.d(), bias.d());
    return dot(x.f64, dy.f64);
  });
}

TEST(RefGradients, Gelu) {
  Random random(4);
  Twin x = random.normal({37}, 2.0F);
  Twin dy = random.normal({37});
  Twin y({37});
  Twin dx({37});
  ref::gelu_backward(x.d(), dy.d(), dx.d());
  expect_gradient("x", x.f64, dx.f64, [&] {
    ref::gelu(x.d(), y.d());
    return dot(y.f64, dy.f64);
  });
}

// Chunks partition the tokens: their sums add up to the gradient of the parameter.
Values add_chunks(const Twin& sums) {
  const std::size_t columns = sums.f64.size() / static_cast<std::size_t>(sums.dims[0]);
  Values total(columns);
  for (std::size_t i = 0; i < sums.f64.size(); ++i) total[i % columns] += sums.f64[i];
  return total;
}

TEST(RefGradients, BiasDropoutResidual) {
  Random random(5);
  for (const float probability : {0.0F, 0.4F}) {
    const Dropout dropout = some_dropout(probability);
    Twin x = random.normal({12, 5});
    Twin bias = random.normal({5});
    Twin residual = random.normal({12, 5});
    Twin dy = random.normal({12, 5});
    Twin y({12, 5});
    const auto loss = [&] {
      ref::bias_dropout_residual(x.d(), bias.d(), residual.d(), 6, dropout, y.d());
      return dot(y.f64, dy.f64);
    };
    Twin dx({12, 5});
    Twin sums({3, 5});
    ref::dropout_backward(dy.d(), 6, dropout, dx.d());
    ref::token_sums(dx.d(), 6, sums.d());
    expect_gradient("x", x.f64, dx.f64, loss);
    expect_gradient("bias", bias.f64, add_chunks(sums), loss);
    expect_gradient("residual", residual.f64, dy.f64, loss);
  }
}

TEST(RefGradients, LayerNorm) {
  Random random(6);
  for (const std::int64_t columns : {1, 7}) {
    Twin x = random.normal({12, columns});
    Twin gain = random.normal({columns});
    Twin bias = random.normal({columns});
    Twin dy = random.normal({12, columns});
    Twin y({12, columns});
    Twin mean({12});
    Twin rstd({12});
    const auto loss = [&] {
      ref::layernorm(x.d(), gain.d(), bias.d(), y.d(), mean.d(), rstd.d());
      return dot(y.f64, dy.f64);
    };
    loss();
    Twin dx({12, columns});
    Twin gain_sums({2, columns});
    Twin bias_sums({2, columns});
    ref::layernorm_backward(dy.d(), x.d(), gain.d(), mean.d(), rstd.d(), 6, dx.d(), gain_sums.d(),
                            bias_sums.d());
    expect_gradient("x", x.f64, dx.f64, loss);
    expect_gradient("gain", gain.f64, add_chunks(gain_sums), loss);
    expect_gradient("bias", bias.f64, add_chunks(bias_sums), loss);
  }
}

TEST(RefGradients, Attention) {
  Random random(7);
  for (const float probability : {0.0F, 0.3F}) {
    // 2 items of 2 samples of 5 tokens; 2 shards of 2 heads of 3 elements, from head 1 of 6.
    const AttentionShape shape = {5, 2, 3, 1, 6};
    const Dropout dropout = some_dropout(probability);
    Twin qkv = random.normal({2, 2, 10, 18});
    Twin dy = random.normal({2, 2, 10, 6});
    Twin y({2, 2, 10, 6});
    Twin lse({2, 2, 10, 2});
    const std::vector<std::int32_t> starts = {0, 0, 0, 0, 0, 0, 0, 2, 2, 4,
                                              0, 1, 2, 3, 4, 0, 1, 1, 1, 1};
    const IdView segments(starts.data(), {20});
    const auto loss = [&] {
      ref::attention(qkv.d(), segments, shape, dropout, y.d(), lse.d());
      return dot(y.f64, dy.f64);
    };
    loss();
    Twin dqkv = random.normal({2, 2, 10, 18});
    ref::attention_backward(dy.d(), qkv.d(), segments, y.d(), lse.d(), shape, dropout, dqkv.d());
    expect_gradient("qkv", qkv.f64, dqkv.f64, loss);
  }
}

// A later token never changes an earlier output; the first token attends to itself alone.
TEST(RefAttention, IsCausal) {
  Random random(8);
  const AttentionShape shape = {4, 1, 3, 0, 1};
  Twin qkv = random.normal({1, 1, 4, 9});
  Twin y({1, 1, 4, 3});
  Twin lse({1, 1, 4, 1});
  const std::vector<std::int32_t> starts(4, 0);
  const IdView segments(starts.data(), {4});
  ref::attention(qkv.d(), segments, shape, {}, y.d(), lse.d());
  for (std::size_t i = 0; i < 3; ++i) EXPECT_DOUBLE_EQ(y.f64[i], qkv.f64[6 + i]);
  Values before(y.f64.begin(), y.f64.begin() + 9);
  for (std::size_t i = 27; i < 36; ++i) qkv.f64[i] += 1.0;
  ref::attention(qkv.d(), segments, shape, {}, y.d(), lse.d());
  EXPECT_EQ(before, Values(y.f64.begin(), y.f64.begin() + 9));
}

// A segment of a row gets the outputs that it gets alone.
TEST(RefAttention, SegmentsDoNotMeet) {
  Random random(18);
  const AttentionShape shape = {7, 1, 3, 0, 1};
  Twin qkv = random.normal({1, 1, 7, 9});
  Twin y({1, 1, 7, 3});
  Twin lse({1, 1, 7, 1});
  const std::vector<std::int32_t> starts = {0, 0, 0, 3, 3, 3, 3};
  ref::attention(qkv.d(), IdView(starts.data(), {7}), shape, {}, y.d(), lse.d());
  Twin alone({1, 1, 4, 3});
  Twin alone_lse({1, 1, 4, 1});
  const std::vector<std::int32_t> zeros(4, 0);
  ref::attention(In(qkv.f64.data() + 27, {1, 1, 4, 9}), IdView(zeros.data(), {4}), {4, 1, 3, 0, 1},
                 {}, alone.d(), alone_lse.d());
  EXPECT_EQ(alone.f64, Values(y.f64.begin() + 9, y.f64.end()));
  EXPECT_EQ(alone_lse.f64, Values(lse.f64.begin() + 3, lse.f64.end()));
}

TEST(RefGradients, Embeddings) {
  Random random(9);
  const std::vector<std::int32_t> ids = {0, 3, 4, 3, 9, 5, 7, 3};
  const IdView id_view(ids.data(), {8});
  const std::vector<std::int32_t> places = {0, 1, 2, 3, 0, 0, 1, 5};
  const IdView place_view(places.data(), {8});
  Twin table = random.normal({5, 3});  // rows 3 .. 7
  Twin positions = random.normal({6, 3});
  Twin dy = random.normal({8, 3});
  Twin x({8, 3});
  Twin y({8, 3});
  const Dropout dropout = some_dropout(0.3F);
  const auto loss = [&] {
    ref::embed(id_view, table.d(), 3, x.d());
    ref::position_dropout(x.d(), place_view, positions.d(), 4, dropout, y.d());
    return dot(y.f64, dy.f64);
  };
  Twin dx({8, 3});
  Twin dtable({5, 3});
  Twin dpositions({6, 3});
  ref::dropout_backward(dy.d(), 4, dropout, dx.d());
  ref::embed_backward(place_view, dx.d(), 0, dpositions.d());
  ref::embed_backward(id_view, dx.d(), 3, dtable.d());
  expect_gradient("table", table.f64, dtable.f64, loss);
  expect_gradient("positions", positions.f64, dpositions.f64, loss);
}

TEST(RefGradients, RowDots) {
  Random random(20);
  Twin x = random.normal({12, 7});
  Twin weight = random.normal({7});
  Twin bias = random.normal({1});
  Twin dy = random.normal({12});
  Twin y({12});
  const auto loss = [&] {
    ref::row_dots(x.d(), weight.d(), bias.d(), y.d());
    return dot(y.f64, dy.f64);
  };
  Twin dx({12, 7});
  Twin weight_sums({3, 7});
  Twin bias_sums({3, 1});
  ref::row_dots_backward(dy.d(), x.d(), weight.d(), 6, dx.d(), weight_sums.d(), bias_sums.d());
  expect_gradient("x", x.f64, dx.f64, loss);
  expect_gradient("weight", weight.f64, add_chunks(weight_sums), loss);
  expect_gradient("bias", bias.f64, add_chunks(bias_sums), loss);
}

TEST(RefGradients, CrossEntropy) {
  Random random(10);
  for (const std::int64_t shards : {1, 2, 3}) {
    const std::int64_t columns = 5;
    const std::int64_t vocab = shards * columns - 2;
    const std::vector<std::int32_t> targets = {0, 2, static_cast<std::int32_t>(vocab - 1)};
    const IdView ids(targets.data(), {3});
    Twin logits = random.normal({shards, 3, columns}, 2.0F);
    Twin stats({shards, 3, 4});
    Twin lse({3});
    Twin losses({3});
    Twin entropies({3});
    Twin scales = random.normal({3});
    Twin entropy_scales = random.normal({3});
    const auto loss = [&] {
      ref::cross_entropy_stats(logits.d(), ids, 0, vocab, stats.d());
      ref::cross_entropy_losses(stats.d(), lse.d(), losses.d(), entropies.d());
      return dot(losses.f64, scales.f64) + dot(entropies.f64, entropy_scales.f64);
    };
    loss();
    Twin dlogits = logits;
    ref::cross_entropy_backward(dlogits.d(), ids, lse.d(), 0, vocab, scales.d(), entropies.d(),
                                entropy_scales.d());
    expect_gradient("logits", logits.f64, dlogits.f64, loss);
    // Without entropies: the first term alone.
    std::fill(entropy_scales.f64.begin(), entropy_scales.f64.end(), 0.0);
    Twin plain = logits;
    Twin with_zeros = logits;
    ref::cross_entropy_backward(plain.d(), ids, lse.d(), 0, vocab, scales.d());
    ref::cross_entropy_backward(with_zeros.d(), ids, lse.d(), 0, vocab, scales.d(), entropies.d(),
                                entropy_scales.d());
    EXPECT_EQ(plain.f64, with_zeros.f64);
  }
}

TEST(RefCrossEntropy, UniformLogitsCostTheLogOfTheVocabulary) {
  const std::int32_t target = 4;
  Twin logits({2, 1, 8});
  Twin stats({2, 1, 4});
  double lse = 0.0;
  double loss = 0.0;
  double entropy = 0.0;
  ref::cross_entropy_stats(logits.d(), IdView(&target, {1}), 0, 11, stats.d());
  ref::cross_entropy_losses(stats.d(), Out(&lse, {1}), Out(&loss, {1}), Out(&entropy, {1}));
  EXPECT_NEAR(loss, std::log(11.0), 1e-14);
  EXPECT_NEAR(entropy, std::log(11.0), 1e-14);
}

// Against the closed form after one step from zero moments: w - lr (sign(g) + decay w).
TEST(RefOptimizer, FirstStepIsTheSign) {
  double weight = 2.0;
  double gradient = -0.3;
  double m = 0.0;
  double v = 0.0;
  AdamW config;
  config.learning_rate = 0.01F;
  config.weight_decay = 0.5F;
  config.correction1 = 1.0F - config.beta1;
  config.correction2 = 1.0F - config.beta2;
  ref::adamw(config, Out(&weight, {1}), In(&gradient, {1}), Out(&m, {1}), Out(&v, {1}));
  EXPECT_NEAR(weight, 2.0 - 0.01 * (-1.0 + 0.5 * 2.0), 1e-7);
  EXPECT_NEAR(m, 0.1 * -0.3, 1e-8);
  EXPECT_NEAR(v, 0.05 * 0.09, 1e-8);
}

}  // namespace
}  // namespace talaria::model::test
