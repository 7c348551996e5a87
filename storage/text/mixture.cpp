// SPDX-License-Identifier: Apache-2.0
#include "storage/text/mixture.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <tuple>

#include "cluster/base/error.h"

namespace talaria::storage {
namespace {

constexpr std::int64_t kExactPeriod = 1 << 16;
constexpr std::int64_t kPeriod = 1 << 20;
constexpr std::size_t kMaxSources = 4096;

// shares[i] * period as whole numbers when all of them are whole; else nothing.
std::vector<std::int64_t> whole_counts(const std::vector<double>& shares, std::int64_t period) {
  std::vector<std::int64_t> counts;
  for (const double share : shares) {
    const double exact = share * static_cast<double>(period);
    const double whole = std::round(exact);
    if (whole < 1 || std::abs(exact - whole) > 1e-9) return {};
    counts.push_back(static_cast<std::int64_t>(whole));
  }
  const std::int64_t sum = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  return sum == period ? counts : std::vector<std::int64_t>{};
}

// Largest remainders: floors, then one more for the largest fractions until the sum is the period.
std::vector<std::int64_t> rounded_counts(const std::vector<double>& shares, std::int64_t period) {
  std::vector<std::int64_t> counts;
  std::vector<std::pair<double, std::size_t>> remainders;
  std::int64_t left = period;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const double exact = shares[i] * static_cast<double>(period);
    counts.push_back(static_cast<std::int64_t>(exact));
    remainders.emplace_back(static_cast<double>(counts.back()) - exact, i);
    left -= counts.back();
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t i = 0; left > 0; ++i, --left) ++counts[remainders[i].second];
  return counts;
}

}  // namespace

Mixture::Mixture(const std::vector<double>& weights) {
  if (weights.empty() || weights.size() > kMaxSources) {
    fail_usage("a mixture of {} sources; allowed are 1 .. {}", weights.size(), kMaxSources);
  }
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i]) || weights[i] <= 0) {
      fail_usage("weight {} of source {}: weights are positive, finite numbers", weights[i], i + 1);
    }
    sum += weights[i];
  }
  std::vector<double> shares;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    shares.push_back(weights[i] / sum);
    if (!(shares.back() * static_cast<double>(kPeriod) >= 1)) {
      fail_usage("weight {} of source {} is less than a millionth of their sum {}; leave it out",
                 weights[i], i + 1, sum);
    }
  }
  for (std::int64_t period = 1; period <= kExactPeriod && count_.empty(); ++period) {
    count_ = whole_counts(shares, period);
  }
  if (count_.empty()) count_ = rounded_counts(shares, kPeriod);
  schedule();
}

// Sample j (from 0) of a source with `count` of `period` slots may come at slot floor(j period /
// count) at the earliest and ceil((j + 1) period / count) - 1 at the latest.
void Mixture::schedule() {
  const std::int64_t period = std::accumulate(count_.begin(), count_.end(), std::int64_t{0});
  using Entry = std::tuple<std::int64_t, std::size_t>;
  using Queue = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;
  Queue waiting;  // (earliest slot, source)
  Queue ready;    // (latest slot, source)
  std::vector<std::int64_t> given(count_.size(), 0);
  for (std::size_t i = 0; i < count_.size(); ++i) waiting.emplace(0, i);
  for (std::int64_t slot = 0; slot < period; ++slot) {
    while (!waiting.empty() && std::get<0>(waiting.top()) <= slot) {
      const std::size_t i = std::get<1>(waiting.top());
      waiting.pop();
      ready.emplace(((given[i] + 1) * period + count_[i] - 1) / count_[i] - 1, i);
    }
    TALARIA_CHECK(!ready.empty() && std::get<0>(ready.top()) >= slot, "slot {}", slot);
    const std::size_t i = std::get<1>(ready.top());
    ready.pop();
    source_.push_back(static_cast<std::uint16_t>(i));
    rank_.push_back(static_cast<std::uint32_t>(given[i]++));
    if (given[i] < count_[i]) waiting.emplace(given[i] * period / count_[i], i);
  }
}

Mixture::Slot Mixture::at(std::int64_t sample) const {
  TALARIA_CHECK(sample >= 0, "sample {}", sample);
  const std::int64_t round = sample / period();
  const auto slot = static_cast<std::size_t>(sample % period());
  const std::uint16_t source = source_[slot];
  return {source, round * count_[source] + rank_[slot]};
}

double Mixture::weight(std::int64_t source) const {
  return static_cast<double>(count_[static_cast<std::size_t>(source)]) /
         static_cast<double>(period());
}

}  // namespace talaria::storage
