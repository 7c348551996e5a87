// SPDX-License-Identifier: Apache-2.0
// What a reward model's scores say about comparisons: the loss that trains it, and its accuracy by
// margin, which is its calibration. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/objective.h"
#include "storage/chat/rows.h"

namespace talaria::worker {

// The comparisons of one row: places[c][k] where the reward of answer k is read, ranks[c][k].
struct RowComparisons {
  std::vector<std::vector<storage::AnswerPlace>> places;
  std::vector<std::vector<std::int32_t>> ranks;
};

// Sum over a row's comparisons of their pairwise loss, divided by `comparisons` (of the step).
class PairwiseObjective final : public model::ScalarObjective {
 public:
  // rows[s]: of sample s of this data rank's batch; must outlive the object.
  PairwiseObjective(std::span<const RowComparisons> rows, double comparisons)
      : rows_(rows), comparisons_(comparisons) {}
  double evaluate(std::int64_t sample, std::span<const float> values,
                  std::span<float> d_values) override;

 private:
  std::span<const RowComparisons> rows_;
  double comparisons_;
};

// Counts pairs of different ranks. Bins are of the probability that the model gives the answer
// which it prefers, sigmoid(|difference|): 0.5 to 0.6, ..., 0.9 to 1.
class PreferenceCounter {
 public:
  // values: [T] of the row. A comparison with a reward that is not finite is counted as such and
  // its pairs in nothing else.
  void add(const RowComparisons& row, std::span<const float> values);

  // Mean over comparisons; NaN where one has a reward that is not finite, and without any.
  double loss() const;
  // Share of pairs with better above worse (equal rewards are no success); NaN without pairs.
  double accuracy() const;
  // accuracy, margin (mean of better - worse), calibration_error (mean over pairs of |accuracy -
  // mean probability| of their bin), and for each bin calibration/0.5_pairs and, where it has any,
  // calibration/0.5_accuracy and calibration/0.5_probability (mean). Where there are some,
  // nonfinite: comparisons with a reward that is not finite.
  std::map<std::string, double> metrics() const;

 private:
  struct Bin {
    std::int64_t pairs = 0;
    std::int64_t correct = 0;
    double probability = 0.0;  // sum
  };
  std::array<Bin, 5> bins_{};
  std::int64_t comparisons_ = 0;
  std::int64_t nonfinite_ = 0;  // of comparisons_
  std::int64_t pairs_ = 0;
  std::int64_t correct_ = 0;
  double loss_ = 0.0;
  double margin_ = 0.0;  // sum over pairs
};

}  // namespace talaria::worker
