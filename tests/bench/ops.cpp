// SPDX-License-Identifier: Apache-2.0
// bench_ops: the time of every operation on the CPU, for the shapes of GPT-2 124M and of the
// quickstart, beside the limit measured in the same run: for products the matrix peak, for the rest
// the bandwidth of a memory copy, which small shapes, living in cache, may exceed.
//   bench_ops [--threads N] [--json]
#include "model/ops.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "cluster/base/clock.h"
#include "cluster/device/buffer.h"
#include "model/cpu/isa.h"
#include "worker/peak.h"

namespace talaria {
namespace {

using namespace talaria::model;

struct Sizes {
  const char* name;
  std::int64_t items, shards, length, hidden, heads, ffn, vocab_chunk;
};
constexpr Sizes kSizes[] = {{"gpt2-124m", 1, 1, 1024, 768, 12, 3072, 12544},
                            {"quickstart", 2, 2, 128, 256, 8, 1024, 1024}};

struct Row {
  std::string shape, operation;
  double seconds;
  double rate;  // FLOP/s or bytes/s
  bool product;
};

// The best of several runs, at least three and a tenth of a second of them.
double best_seconds(const std::function<void()>& run) {
  run();
  double best = 1e30;
  double total = 0.0;
  for (int i = 0; i < 3 || (total < 0.1 && i < 1000); ++i) {
    const double start = monotonic_seconds();
    run();
    const double seconds = monotonic_seconds() - start;
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

// Bytes read and written a second by copying 256 MiB.
double copy_bandwidth(ThreadPool& pool) {
  const std::int64_t count = std::int64_t{1} << 26;
  HostBuffer<float> from(count);
  HostBuffer<float> to(count);
  const std::int64_t parts = pool.size();
  const double seconds = best_seconds([&] {
    pool.run(parts, [&](std::int64_t part, int) {
      const std::int64_t begin = count * part / parts;
      const std::int64_t end = count * (part + 1) / parts;
      std::memcpy(to.data() + begin, from.data() + begin,
                  static_cast<std::size_t>(end - begin) * sizeof(float));
    });
  });
  return 2.0 * static_cast<double>(count) * sizeof(float) / seconds;
}

class Bench {
 public:
  Bench(const Sizes& sizes, ThreadPool& pool, std::vector<Row>& rows) : s_(sizes), rows_(rows) {
    stream_.pool = &pool;
  }
  void products();
  void attention();
  void attention_of(const char* what, const std::vector<std::int32_t>& list,
                    const model::AttentionShape& shape, std::int64_t c);
  void pointwise();
  void head();
  void optimizer();

 private:
  // Room for the largest tensor, filled with small values of both signs.
  TensorView tensor(std::initializer_list<std::int64_t> dims) {
    std::int64_t count = 1;
    for (const std::int64_t dim : dims) count *= dim;
    buffers_.emplace_back(count);
    float* data = buffers_.back().data();
    for (std::int64_t i = 0; i < count; ++i) data[i] = static_cast<float>(i % 251 - 125) * 4e-3F;
    return {data, dims};
  }
  void flops(const std::string& operation, const std::function<void()>& run) {
    std::uint64_t count = 0;
    stream_.matmul_flops = &count;
    run();
    stream_.matmul_flops = nullptr;
    const double seconds = best_seconds(run);
    rows_.push_back({s_.name, operation, seconds, static_cast<double>(count) / seconds, true});
    buffers_.clear();
  }
  // `floats` read and written.
  void bytes(const std::string& operation, std::int64_t floats, const std::function<void()>& run) {
    const double seconds = best_seconds(run);
    rows_.push_back(
        {s_.name, operation, seconds, 4.0 * static_cast<double>(floats) / seconds, false});
    buffers_.clear();
  }
  void product(const char* name, std::int64_t columns, std::int64_t depth, bool shared_input);

  std::int64_t tokens() const { return s_.items * s_.length; }

  const Sizes& s_;
  std::vector<Row>& rows_;
  Stream stream_;
  std::vector<HostBuffer<float>> buffers_;
};

// A linear layer y = x w^T of one shard's columns and depth: forward and both gradients.
void Bench::product(const char* name, std::int64_t columns, std::int64_t depth, bool shared_input) {
  const std::int64_t x_shards = shared_input ? 1 : s_.shards;
  const std::string shape = fmt::format("{} {}x{}x{}", name, s_.length, columns, depth);
  const auto input = [&] { return tensor({s_.items, x_shards, s_.length, depth}); };
  const auto weight = [&] { return tensor({s_.shards, columns, depth}); };
  const auto output = [&] { return tensor({s_.items, s_.shards, s_.length, columns}); };
  TensorView x = input(), w = weight(), y = output();
  flops(shape + " y", [&] { matmul_nt(stream_, x, w, y); });
  x = tensor({s_.items, s_.shards, s_.length, depth}), w = weight(), y = output();
  flops(shape + " dx", [&] { matmul_nn(stream_, y, w, x); });
  x = input(), w = weight(), y = output();
  flops(shape + " dw", [&] { matmul_tn_add(stream_, y, x, w); });
}

void Bench::products() {
  const std::int64_t c = s_.hidden;
  const std::int64_t v = s_.shards;
  product("qkv", 3 * c / v, c, true);
  product("attn.proj", c, c / v, false);
  product("mlp.fc", s_.ffn / v, c, true);
  product("mlp.proj", c, s_.ffn / v, false);
  product("head chunk", s_.vocab_chunk, c, true);
}

void Bench::attention() {
  const AttentionShape shape = {s_.length, s_.heads / s_.shards, s_.hidden / s_.heads, 0, s_.heads};
  const std::int64_t c = s_.hidden / s_.shards;
  const std::int64_t rows = s_.items * s_.length;
  // One segment a sample, and segments of 64 tokens.
  std::vector<std::int32_t> whole(static_cast<std::size_t>(rows), 0);
  std::vector<std::int32_t> short_segments;
  for (std::int64_t t = 0; t < rows; ++t) {
    short_segments.push_back(static_cast<std::int32_t>(t % s_.length / 64 * 64));
  }
  attention_of("", whole, shape, c);
  attention_of(", segments of 64", short_segments, shape, c);
}

void Bench::attention_of(const char* what, const std::vector<std::int32_t>& list,
                         const AttentionShape& shape, std::int64_t c) {
  const IdView starts(list.data(), {static_cast<std::int64_t>(list.size())});
  for (const float probability : {0.0F, 0.1F}) {
    const Dropout dropout = {probability, {1, 2, 3}, 0};
    const TensorView qkv = tensor({s_.items, s_.shards, s_.length, 3 * c});
    const TensorView y = tensor({s_.items, s_.shards, s_.length, c});
    const TensorView lse = tensor({s_.items, s_.shards, s_.length, shape.heads});
    flops(fmt::format("attention, dropout {}{}", probability, what),
          [&] { model::attention(stream_, qkv, starts, shape, dropout, y, lse); });
    const TensorView qkv2 = tensor({s_.items, s_.shards, s_.length, 3 * c});
    const TensorView y2 = tensor({s_.items, s_.shards, s_.length, c});
    const TensorView dy = tensor({s_.items, s_.shards, s_.length, c});
    const TensorView lse2 = tensor({s_.items, s_.shards, s_.length, shape.heads});
    const TensorView dqkv = tensor({s_.items, s_.shards, s_.length, 3 * c});
    flops(fmt::format("attention_backward, dropout {}{}", probability, what),
          [&] { attention_backward(stream_, dy, qkv2, starts, y2, lse2, shape, dropout, dqkv); });
  }
}

void Bench::pointwise() {
  const std::int64_t c = s_.hidden;
  const std::int64_t n = tokens();
  const auto rows = [&] { return tensor({n, c}); };
  const auto wide = [&] { return tensor({s_.items, s_.shards, s_.length, s_.ffn / s_.shards}); };
  const Dropout dropout = {0.1F, {1, 2, 3}, 0};
  TensorView a = rows(), b = rows(), d = rows(), gain = tensor({c}), bias = tensor({c});
  TensorView mean = tensor({n}), rstd = tensor({n});
  bytes("layernorm", 2 * n * c, [=, this] { layernorm(stream_, a, gain, bias, b, mean, rstd); });
  a = rows(), b = rows(), d = rows(), gain = tensor({c}), mean = tensor({n}), rstd = tensor({n});
  TensorView sums = tensor({1, c}), sums2 = tensor({1, c});
  bytes("layernorm_backward", 4 * n * c, [=, this] {
    layernorm_backward(stream_, a, b, gain, mean, rstd, s_.length, d, sums, sums2);
  });
  a = wide(), b = wide();
  bytes("gelu", 2 * n * s_.ffn, [=, this] { gelu(stream_, a, b); });
  a = wide(), b = wide();
  bytes("gelu_backward", 3 * n * s_.ffn, [=, this] { gelu_backward(stream_, a, b, b); });
  a = wide(), bias = tensor({s_.shards, s_.ffn / s_.shards});
  bytes("add_bias", 2 * n * s_.ffn, [=, this] { add_bias(stream_, a, bias); });
  a = wide(), bias = tensor({s_.shards, s_.ffn / s_.shards});
  bytes("add_bias_backward", n * s_.ffn, [=, this] { add_bias_backward(stream_, a, bias); });
  a = rows(), b = rows(), d = rows(), bias = tensor({c});
  bytes("bias_dropout_residual", 3 * n * c,
        [=, this] { bias_dropout_residual(stream_, a, bias, b, s_.length, dropout, d); });
  a = rows(), b = rows();
  bytes("dropout_backward", 2 * n * c,
        [=, this] { dropout_backward(stream_, a, s_.length, dropout, b); });
  a = tensor({s_.items, s_.shards, s_.length, c}), b = tensor({s_.items, s_.length, c});
  bytes("tree_sum_shards", (s_.shards + 1) * n * c, [=, this] { tree_sum_shards(stream_, a, b); });
  a = rows(), sums = tensor({1, c});
  bytes("token_sums", n * c, [=, this] { token_sums(stream_, a, s_.length, sums); });
}

void Bench::head() {
  const std::int64_t n = tokens();
  const std::int64_t columns = s_.vocab_chunk;
  const std::int64_t chunk = 128;  // rows whose logits exist at once
  std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>((i * 7919) % static_cast<std::size_t>(columns));
  }
  const IdView targets(ids.data(), {chunk});
  TensorView logits = tensor({1, chunk, columns}), stats = tensor({1, chunk, 3});
  bytes("cross_entropy_stats", chunk * columns,
        [&] { cross_entropy_stats(stream_, logits, targets, 0, columns, stats); });
  logits = tensor({1, chunk, columns});
  TensorView lse = tensor({chunk}), scales = tensor({chunk});
  bytes("cross_entropy_backward", 2 * chunk * columns,
        [&] { cross_entropy_backward(stream_, logits, targets, lse, 0, columns, scales); });
  TensorView table = tensor({columns, s_.hidden}), x = tensor({n, s_.hidden});
  const IdView inputs(ids.data(), {n});
  bytes("embed", 2 * n * s_.hidden, [&] { embed(stream_, inputs, table, 0, x); });
  table = tensor({columns, s_.hidden}), x = tensor({n, s_.hidden});
  bytes("embed_backward", 3 * n * s_.hidden, [&] { embed_backward(stream_, inputs, x, 0, table); });
}

void Bench::optimizer() {
  const std::int64_t count = s_.ffn * s_.hidden;
  const auto flat = [&] { return tensor({s_.ffn, s_.hidden}); };
  TensorView w = flat(), g = flat(), m = flat(), v = flat();
  AdamW config;
  config.learning_rate = 1e-6F;
  bytes("adamw", 7 * count, [&] { adamw(stream_, config, w, g, m, v); });
  g = flat();
  std::vector<double> sums(static_cast<std::size_t>(s_.ffn));
  bytes("row_sums_of_squares", count,
        [&] { row_sums_of_squares(stream_, g, Tensor<double>(sums.data(), {s_.ffn})); });
}

void print_table(const std::vector<Row>& rows, double peak, double copy) {
  fmt::print("matrix peak {:.1f} GFLOP/s, memory copy {:.1f} GB/s\n", peak * 1e-9, copy * 1e-9);
  fmt::print("{:<11} {:<36} {:>9} {:>9} {:<8} {:>6}\n", "shape", "operation", "ms", "rate", "",
             "limit");
  for (const Row& row : rows) {
    fmt::print("{:<11} {:<36} {:>9.4f} {:>9.1f} {:<8} {:>5.0f}%\n", row.shape, row.operation,
               row.seconds * 1e3, row.rate * 1e-9, row.product ? "GFLOP/s" : "GB/s",
               100.0 * row.rate / (row.product ? peak : copy));
  }
}

void print_json(const std::vector<Row>& rows, double peak, double copy, int threads) {
  fmt::print(
      "{{\"benchmark\": \"ops\", \"threads\": {}, \"isa\": \"{}\", \"onednn\": \"{}\", "
      "\"matrix_peak_flops\": {:.6g}, \"copy_bytes_per_second\": {:.6g}, \"rows\": [",
      threads, model::cpu::cpu_kernels_isa(), model::cpu::onednn_version(), peak, copy);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    fmt::print(
        "{}\n  {{\"shape\": \"{}\", \"operation\": \"{}\", \"seconds\": {:.6g}, \"{}\": {:.6g}, "
        "\"share_of_limit\": {:.4f}}}",
        i == 0 ? "" : ",", row.shape, row.operation, row.seconds,
        row.product ? "flops" : "bytes_per_second", row.rate,
        row.rate / (row.product ? peak : copy));
  }
  fmt::print("\n]}}\n");
}

int run(int argc, char** argv) {
  bool json = false;
  int threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") {
      json = true;
    } else if (argument == "--threads" && i + 1 < argc && std::atoi(argv[i + 1]) > 0) {
      threads = std::atoi(argv[++i]);
    } else {
      fmt::print(stderr, "usage: bench_ops [--threads N] [--json]\n");
      return kExitUsage;
    }
  }
  ThreadPool pool(threads);
  const double peak = worker::measure_matrix_peak(threads, true);
  const double copy = copy_bandwidth(pool);
  std::vector<Row> rows;
  for (const Sizes& sizes : kSizes) {
    Bench bench(sizes, pool, rows);
    bench.products();
    bench.attention();
    bench.pointwise();
    bench.head();
    bench.optimizer();
  }
  if (json) {
    print_json(rows, peak, copy, threads);
  } else {
    print_table(rows, peak, copy);
  }
  return kExitDone;
}

}  // namespace
}  // namespace talaria

int main(int argc, char** argv) { return talaria::run(argc, argv); }
