// SPDX-License-Identifier: Apache-2.0
// The JSONL files of a job as units of training and validation: read, counted, split by the hash of
// the line, packed into rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/job.h"
#include "model/batch.h"
#include "storage/chat/chat_file.h"
#include "storage/chat/packing.h"
#include "storage/chat/rows.h"
#include "storage/text/dataset.h"
#include "storage/text/tokenizer.h"

namespace talaria::worker {

// Options of reading: the template, the longest unit (as ChatOptions says), how many bad lines are
// allowed; the rank that `leads` says them.
storage::ChatOptions chat_options(const launch::Job& job, std::int64_t max_tokens, bool leads);

// The tokenizer of the job; throws UsageError when the model has fewer ids than it.
storage::Tokenizer open_tokenizer(const launch::Job& job);

// 32 hex digits that name the files' content and the order in which they are read, the template and
// the tokenizer.
std::string files_fingerprint(const launch::Job& job, const std::vector<std::string>& files,
                              const storage::Tokenizer& tokenizer);

// "2 bad, 1 too long (FILE:LINE: the first one's reason)"; "" where nothing was skipped.
std::string skipped_text(const storage::ChatCounts& counts);
// Says what was read and what was skipped; without `validation` it was not split.
void tell_counts(const storage::ChatCounts& counts, const char* what, std::size_t training,
                 std::optional<std::size_t> validation = std::nullopt);

// Throws UsageError where the best checkpoint shall be handed on and nothing is there to judge by.
void check_selectable(const launch::Job& job, std::size_t validation);

// Whether the line with this hash is kept from training.
bool is_validation(std::uint64_t hash, double share);

template <class Unit>
struct SplitUnits {
  std::vector<Unit> training;
  std::vector<Unit> validation;
};
template <class Unit>
SplitUnits<Unit> split_units(std::vector<Unit> units, double share) {
  SplitUnits<Unit> split;
  for (Unit& unit : units) {
    (is_validation(unit.hash, share) ? split.validation : split.training)
        .push_back(std::move(unit));
  }
  return split;
}

// Appends a row to a batch of the same T.
void append_row(const storage::Row& row, model::Batch& batch);
// A window of pretraining text, each of its tokens of weight `weight`.
void append_window(const storage::Dataset& data, std::int64_t sample, float weight,
                   model::Batch& batch);

}  // namespace talaria::worker
