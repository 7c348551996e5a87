// SPDX-License-Identifier: Apache-2.0
#include "worker/preference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "model/rl/pairwise.h"

namespace talaria::worker {
namespace {

std::vector<double> rewards_at(const std::vector<storage::AnswerPlace>& places,
                               std::span<const float> values) {
  std::vector<double> rewards;
  rewards.reserve(places.size());
  for (const storage::AnswerPlace& place : places) {
    rewards.push_back(static_cast<double>(values[static_cast<std::size_t>(place.last)]));
  }
  return rewards;
}

double share(std::int64_t part, std::int64_t whole) {
  if (whole == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

double PairwiseObjective::evaluate(std::int64_t sample, std::span<const float> values,
                                   std::span<float> d_values) {
  std::fill(d_values.begin(), d_values.end(), 0.0F);
  const RowComparisons& row = rows_[static_cast<std::size_t>(sample)];
  double loss = 0.0;
  for (std::size_t c = 0; c < row.places.size(); ++c) {
    const std::vector<double> rewards = rewards_at(row.places[c], values);
    std::vector<double> gradient(rewards.size());
    loss += model::pairwise_loss(rewards, row.ranks[c], gradient).loss;
    for (std::size_t k = 0; k < rewards.size(); ++k) {
      d_values[static_cast<std::size_t>(row.places[c][k].last)] =
          static_cast<float>(gradient[k] / comparisons_);
    }
  }
  return loss;
}

void PreferenceCounter::add(const RowComparisons& row, std::span<const float> values) {
  for (std::size_t c = 0; c < row.places.size(); ++c) {
    const std::vector<double> rewards = rewards_at(row.places[c], values);
    const std::vector<std::int32_t>& ranks = row.ranks[c];
    ++comparisons_;
    if (!std::all_of(rewards.begin(), rewards.end(), [](double r) { return std::isfinite(r); })) {
      ++nonfinite_;
      continue;
    }
    std::vector<double> unused(rewards.size());
    const model::PairwiseResult result = model::pairwise_loss(rewards, ranks, unused);
    loss_ += result.loss;
    pairs_ += result.pairs;
    correct_ += result.correct;
    margin_ += result.margin * static_cast<double>(result.pairs);
    for (std::size_t i = 0; i < rewards.size(); ++i) {
      for (std::size_t j = 0; j < rewards.size(); ++j) {
        if (ranks[i] >= ranks[j]) continue;  // i is the better one
        const double difference = rewards[i] - rewards[j];
        const double probability = 1.0 / (1.0 + std::exp(-std::abs(difference)));
        const auto bin = static_cast<std::size_t>(std::min(4.0, (probability - 0.5) * 10.0));
        ++bins_[bin].pairs;
        bins_[bin].correct += difference > 0.0 ? 1 : 0;
        bins_[bin].probability += probability;
      }
    }
  }
}

double PreferenceCounter::loss() const {
  if (nonfinite_ > 0 || comparisons_ == 0) return std::numeric_limits<double>::quiet_NaN();
  return loss_ / static_cast<double>(comparisons_);
}

double PreferenceCounter::accuracy() const { return share(correct_, pairs_); }

std::map<std::string, double> PreferenceCounter::metrics() const {
  std::map<std::string, double> metrics;
  metrics["accuracy"] = accuracy();
  metrics["margin"] = margin_ / static_cast<double>(pairs_);
  double error = 0.0;
  for (std::size_t b = 0; b < bins_.size(); ++b) {
    const Bin& bin = bins_[b];
    error += std::abs(static_cast<double>(bin.correct) - bin.probability);
    const std::string name = fmt::format("calibration/0.{}", 5 + b);
    metrics[name + "_pairs"] = static_cast<double>(bin.pairs);
    if (bin.pairs == 0) continue;
    metrics[name + "_accuracy"] = share(bin.correct, bin.pairs);
    metrics[name + "_probability"] = bin.probability / static_cast<double>(bin.pairs);
  }
  if (nonfinite_ > 0) metrics["nonfinite"] = static_cast<double>(nonfinite_);
  metrics["calibration_error"] = error / static_cast<double>(pairs_);
  return metrics;
}

}  // namespace talaria::worker
