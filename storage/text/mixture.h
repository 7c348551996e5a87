// SPDX-License-Identifier: Apache-2.0
// Which source each sample comes from, as a pure function of the sample's index: after n samples,
// for every n, the count of each source lies within 1 of weight * n.
#pragma once

#include <cstdint>
#include <vector>

namespace talaria::storage {

// One fixed pattern of sources, repeated. Weights become fractions of a whole: exact where their
// ratios have a common denominator up to 65,536 (0.5, 0.3, 0.2), else multiples of 2^-20 (then
// weight * n means that multiple). The pattern is the earliest-deadline-first schedule of the
// windows in which each source's j-th sample must fall (Baruah et al., "Proportionate progress",
// Algorithmica 1996), so that no count ever runs a whole sample ahead or behind.
class Mixture {
 public:
  // Weights are finite and positive, each at least 2^-20 of their sum, at most 4096 of them; throws
  // UsageError otherwise, naming the number of the weight, counted from 1.
  explicit Mixture(const std::vector<double>& weights);

  struct Slot {
    std::int64_t source;
    std::int64_t index;  // how many earlier samples this source gave
  };
  // sample >= 0
  Slot at(std::int64_t sample) const;

  std::int64_t period() const { return static_cast<std::int64_t>(source_.size()); }
  // The share of each source in a period, as held; sums to 1.
  double weight(std::int64_t source) const;

 private:
  void schedule();

  std::vector<std::int64_t> count_;    // samples of each source in a period
  std::vector<std::uint16_t> source_;  // of each sample in a period
  std::vector<std::uint32_t> rank_;    // earlier samples of the same source in the period
};

}  // namespace talaria::storage
