// SPDX-License-Identifier: Apache-2.0
// Causal attention, with the whole T x T matrix of one head at a time.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/ref/ops.h"

namespace talaria::model::ref {
namespace {

// Addresses of one head of one sample; `t` is a token of the sample, `i` an element of the head.
struct HeadView {
  HeadView(const In& qkv, const AttentionShape& shape_in, std::int64_t sample_in,
           std::int64_t shard, std::int64_t head)
      : shape(shape_in),
        sample(sample_in),
        global_head(shape.first_head + shard * shape.heads + head) {
    const std::int64_t per_item = qkv.dim(2) / shape.length;
    first_row =
        (sample / per_item * qkv.dim(1) + shard) * qkv.dim(2) + sample % per_item * shape.length;
    local_head = head;
  }
  std::int64_t width() const { return shape.heads * shape.head_size; }
  // part: 0 q, 1 k, 2 v
  std::int64_t qkv_at(std::int64_t part, std::int64_t t, std::int64_t i) const {
    return ((first_row + t) * 3 + part) * width() + local_head * shape.head_size + i;
  }
  std::int64_t y_at(std::int64_t t, std::int64_t i) const {
    return (first_row + t) * width() + local_head * shape.head_size + i;
  }
  std::int64_t lse_at(std::int64_t t) const { return (first_row + t) * shape.heads + local_head; }
  double factor(const Dropout& dropout, std::int64_t query, std::int64_t key) const {
    return dropout_factor(dropout, dropout.first_sample + sample,
                          (global_head * shape.length + query) * shape.length + key);
  }

  AttentionShape shape;
  std::int64_t sample;  // in the micro-batch
  std::int64_t global_head;
  std::int64_t first_row = 0;
  std::int64_t local_head = 0;
};

double score(const In& qkv, const HeadView& head, std::int64_t query, std::int64_t key) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < head.shape.head_size; ++i) {
    sum += qkv.data[head.qkv_at(0, query, i)] * qkv.data[head.qkv_at(1, key, i)];
  }
  return sum / std::sqrt(static_cast<double>(head.shape.head_size));
}

template <class Body>
void for_heads(const In& qkv, const AttentionShape& shape, const Body& body) {
  const std::int64_t samples = qkv.dim(0) * qkv.dim(2) / shape.length;
  for (std::int64_t sample = 0; sample < samples; ++sample) {
    for (std::int64_t shard = 0; shard < qkv.dim(1); ++shard) {
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        body(HeadView(qkv, shape, sample, shard, head));
      }
    }
  }
}

}  // namespace

void attention(In qkv, IdView starts, const AttentionShape& shape, const Dropout& dropout, Out y,
               Out lse) {
  for_heads(qkv, shape, [&](const HeadView& head) {
    std::vector<double> scores(static_cast<std::size_t>(shape.length));
    for (std::int64_t query = 0; query < shape.length; ++query) {
      const std::int64_t start = starts.data[head.sample * shape.length + query];
      double maximum = -std::numeric_limits<double>::infinity();
      for (std::int64_t key = start; key <= query; ++key) {
        scores[static_cast<std::size_t>(key)] = score(qkv, head, query, key);
        maximum = std::max(maximum, scores[static_cast<std::size_t>(key)]);
      }
      double sum = 0.0;
      for (std::int64_t key = start; key <= query; ++key) {
        sum += std::exp(scores[static_cast<std::size_t>(key)] - maximum);
      }
      const double log_sum = maximum + std::log(sum);
      lse.data[head.lse_at(query)] = log_sum;
      for (std::int64_t key = start; key <= query; ++key) {
        double& weight = scores[static_cast<std::size_t>(key)];
        weight = std::exp(weight - log_sum) * head.factor(dropout, query, key);
      }
      for (std::int64_t i = 0; i < shape.head_size; ++i) {
        double out = 0.0;
        for (std::int64_t key = start; key <= query; ++key) {
          out += scores[static_cast<std::size_t>(key)] * qkv.data[head.qkv_at(2, key, i)];
        }
        y.data[head.y_at(query, i)] = out;
      }
    }
  });
}

void attention_backward(In dy, In qkv, IdView starts, In y, In lse, const AttentionShape& shape,
                        const Dropout& dropout, Out dqkv) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
  std::fill(dqkv.data, dqkv.data + dqkv.count(), 0.0);
  for_heads(qkv, shape, [&](const HeadView& head) {
    for (std::int64_t query = 0; query < shape.length; ++query) {
      const std::int64_t start = starts.data[head.sample * shape.length + query];
      double dy_y = 0.0;
      for (std::int64_t i = 0; i < shape.head_size; ++i) {
        dy_y += dy.data[head.y_at(query, i)] * y.data[head.y_at(query, i)];
      }
      for (std::int64_t key = start; key <= query; ++key) {
        const double p = std::exp(score(qkv, head, query, key) - lse.data[head.lse_at(query)]);
        const double factor = head.factor(dropout, query, key);
        double dp = 0.0;
        for (std::int64_t i = 0; i < shape.head_size; ++i) {
          dp += dy.data[head.y_at(query, i)] * qkv.data[head.qkv_at(2, key, i)] * factor;
        }
        const double dscore = p * (dp - dy_y) * scale;
        for (std::int64_t i = 0; i < shape.head_size; ++i) {
          dqkv.data[head.qkv_at(0, query, i)] += dscore * qkv.data[head.qkv_at(1, key, i)];
          dqkv.data[head.qkv_at(1, key, i)] += dscore * qkv.data[head.qkv_at(0, query, i)];
          dqkv.data[head.qkv_at(2, key, i)] += p * factor * dy.data[head.y_at(query, i)];
        }
      }
    }
  });
}

void cached_attention(In qkv, IdView slots, IdView positions, std::int64_t heads,
                      std::int64_t head_size, Out keys, Out values, Out y) {
  const std::int64_t rows = qkv.dim(1);
  const std::int64_t all_heads = qkv.dim(0) * heads;
  std::vector<double> p(static_cast<std::size_t>(keys.dim(2)));
  for (std::int64_t unit = 0; unit < all_heads * rows; ++unit) {
    const std::int64_t head = unit / rows;
    const std::int64_t row = unit % rows;
    const std::int64_t width = heads * head_size;
    const double* q = qkv.data + (head / heads * rows + row) * 3 * width + head % heads * head_size;
    const std::int64_t cache = (slots.data[row] * all_heads + head) * keys.dim(2) * keys.dim(3);
    const std::int64_t last = positions.data[row];
    for (std::int64_t i = 0; i < head_size; ++i) {
      keys.data[cache + last * keys.dim(3) + i] = q[width + i];
      values.data[cache + last * keys.dim(3) + i] = q[2 * width + i];
    }
    double maximum = -std::numeric_limits<double>::infinity();
    for (std::int64_t t = 0; t <= last; ++t) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < head_size; ++i) {
        sum += q[i] * keys.data[cache + t * keys.dim(3) + i];
      }
      p[static_cast<std::size_t>(t)] = sum / std::sqrt(static_cast<double>(head_size));
      maximum = std::max(maximum, p[static_cast<std::size_t>(t)]);
    }
    double total = 0.0;
    for (std::int64_t t = 0; t <= last; ++t) {
      p[static_cast<std::size_t>(t)] = std::exp(p[static_cast<std::size_t>(t)] - maximum);
      total += p[static_cast<std::size_t>(t)];
    }
    for (std::int64_t i = 0; i < head_size; ++i) {
      double sum = 0.0;
      for (std::int64_t t = 0; t <= last; ++t) {
        sum += p[static_cast<std::size_t>(t)] / total * values.data[cache + t * keys.dim(3) + i];
      }
      y.data[(head / heads * rows + row) * width + head % heads * head_size + i] = sum;
    }
  }
}

}  // namespace talaria::model::ref
