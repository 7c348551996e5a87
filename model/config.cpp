// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <fmt/core.h>

namespace talaria::model {

std::int64_t GptConfig::parameters() const {
  const std::int64_t attention = 4 * (hidden * hidden + hidden);
  const std::int64_t mlp = 2 * hidden * ffn + ffn + hidden;
  const std::int64_t norms = 2 * 2 * hidden;
  return (vocab + context) * hidden + layers * (attention + mlp + norms) + 2 * hidden;
}

double step_flops(const GptConfig& config, std::int64_t tokens, std::int64_t length,
                  bool causal_half) {
  const auto c = static_cast<double>(config.hidden);
  const auto f = static_cast<double>(config.ffn);
  const auto t = static_cast<double>(length);
  // Forward FLOPs of one token. Scores and weighted values: T multiply-adds a channel each.
  const double linear = 2.0 * (4.0 * c * c + 2.0 * c * f);
  const double attention = 2.0 * 2.0 * t * c * (causal_half ? 0.5 : 1.0);
  const double head = 2.0 * c * static_cast<double>(config.vocab);
  const double forward = static_cast<double>(config.layers) * (linear + attention) + head;
  return 3.0 * forward * static_cast<double>(tokens);  // a backward is two forwards
}

void validate(const GptConfig& config, std::vector<std::string>& problems) {
  struct Limit {
    const char* key;
    std::int64_t value;
    std::int64_t most;
  };
  // The upper ends keep every product of two sizes, and the parameter count, inside 64 bits.
  const Limit limits[] = {{"layers", config.layers, 1 << 14},   {"hidden", config.hidden, 1 << 18},
                          {"heads", config.heads, 1 << 16},     {"ffn", config.ffn, 1 << 20},
                          {"context", config.context, 1 << 20}, {"vocab", config.vocab, 1 << 24}};
  const std::size_t before = problems.size();
  for (const Limit& limit : limits) {
    if (limit.value >= 1 && limit.value <= limit.most) continue;
    problems.push_back(fmt::format("{}: found {}; allowed: an integer from 1 to {}", limit.key,
                                   limit.value, limit.most));
  }
  if (problems.size() > before) return;
  if (config.hidden % config.heads != 0) {
    problems.push_back(fmt::format("heads: found {}; allowed: a divisor of hidden ({})",
                                   config.heads, config.hidden));
  }
}

}  // namespace talaria::model
