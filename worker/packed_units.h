// SPDX-License-Identifier: Apache-2.0
// The units that a task trains on (conversations or comparisons), split into training and
// validation, and the packed rows of both.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/job.h"
#include "storage/chat/packing.h"
#include "storage/chat/rows.h"
#include "worker/chat_data.h"

namespace talaria::worker {

// The units of one row, in order.
template <class Unit>
using RowUnits = std::vector<const Unit*>;

// from[indices[0]], from[indices[1]], ... while `from` lives.
template <class Unit>
RowUnits<Unit> units_at(std::span<const std::int32_t> indices, const std::vector<Unit>& from) {
  RowUnits<Unit> units;
  units.reserve(indices.size());
  for (const std::int32_t index : indices) {
    units.push_back(&from[static_cast<std::size_t>(index)]);
  }
  return units;
}

// What the units are called, and what brings more of them.
struct UnitWords {
  const char* one;
  const char* many;
  const char* advice;
};

template <class Unit>
class PackedUnits {
 public:
  // Splits `units` by data.validation. The rank that `leads` says how many there are and what
  // `counts` left out. Throws UsageError where none is left for training, or none for validation
  // where checkpoint.select asks for some.
  PackedUnits(const launch::Job& job, std::vector<Unit> units, const storage::ChatCounts& counts,
              const UnitWords& words, bool leads) {
    SplitUnits<Unit> split = split_units(std::move(units), job.data.validation);
    training_ = std::move(split.training);
    validation_ = std::move(split.validation);
    if (leads) tell_counts(counts, words.many, training_.size(), validation_.size());
    if (training_.empty()) {
      fail_usage("data.files: no {} is left for training; {}", words.one, words.advice);
    }
    check_selectable(job, validation_.size());
    const std::int64_t length = job.train.sequence_length;
    rows_.emplace(storage::row_tokens(training_), length, job.data.packing, job.job.seed);
    if (!validation_.empty()) {
      validation_rows_ =
          storage::pack_epoch(storage::row_tokens(validation_), length, job.data.packing, 0, 0);
      const auto most = static_cast<std::size_t>(job.train.eval_samples);
      if (validation_rows_.size() > most) validation_rows_.resize(most);
    }
    if (!leads) return;
    log_info("{} rows an epoch, {:.1f} epochs", rows_->rows_in_first_epoch(),
             static_cast<double>(job.train.steps * job.train.global_batch) /
                 static_cast<double>(rows_->rows_in_first_epoch()));
  }

  // Row `index` of training, from 0, over all epochs.
  RowUnits<Unit> training(std::int64_t index) { return units_at(rows_->row(index), training_); }
  // Row `index` of validation_rows(), of which there are at most train.eval_samples.
  RowUnits<Unit> validation(std::int64_t index) const {
    return units_at(validation_rows_[static_cast<std::size_t>(index)], validation_);
  }
  // All of them, also what train.eval_samples leaves out.
  const std::vector<Unit>& validation_units() const { return validation_; }
  std::int64_t validation_rows() const {
    return static_cast<std::int64_t>(validation_rows_.size());
  }

 private:
  std::vector<Unit> training_;
  std::vector<Unit> validation_;
  std::optional<storage::PackedRows> rows_;
  std::vector<std::vector<std::int32_t>> validation_rows_;
};

}  // namespace talaria::worker
