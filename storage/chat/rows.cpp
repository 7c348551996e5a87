// SPDX-License-Identifier: Apache-2.0
#include "storage/chat/rows.h"

#include <limits>

#include "cluster/base/error.h"

namespace talaria::storage {
namespace {

std::int32_t checked(std::size_t tokens) {
  TALARIA_CHECK(tokens >= 1 && tokens <= std::numeric_limits<std::int32_t>::max(), "{} tokens",
                tokens);
  return static_cast<std::int32_t>(tokens);
}

template <class Unit>
std::vector<std::int32_t> lengths_of(std::span<const Unit> units) {
  std::vector<std::int32_t> lengths;
  lengths.reserve(units.size());
  for (const Unit& unit : units) lengths.push_back(row_tokens(unit));
  return lengths;
}

// A row that is filled from the left.
class RowBuilder {
 public:
  RowBuilder(std::int64_t length, std::int32_t pad_id)
      : length_(static_cast<std::size_t>(length)), pad_id_(pad_id) {
    row_.inputs.reserve(length_);
    row_.targets.reserve(length_);
    row_.starts.reserve(length_);
    row_.weights.reserve(length_);
  }

  std::int32_t size() const { return static_cast<std::int32_t>(row_.inputs.size()); }

  void add(std::int32_t input, std::int32_t target, std::int32_t start, float weight) {
    TALARIA_CHECK(row_.inputs.size() < length_, "more than {} tokens in a row", length_);
    row_.inputs.push_back(input);
    row_.targets.push_back(target);
    row_.starts.push_back(start);
    row_.weights.push_back(weight);
  }

  Row finish() {
    while (row_.inputs.size() < length_) add(pad_id_, pad_id_, size(), 0);
    return std::move(row_);
  }

 private:
  std::size_t length_;
  std::int32_t pad_id_;
  Row row_;
};

}  // namespace

std::int32_t row_tokens(const Conversation& conversation) {
  return checked(conversation.ids.size() - 1);
}

std::int32_t row_tokens(const Comparison& comparison) {
  std::size_t tokens = 0;
  for (const std::vector<std::int32_t>& answer : comparison.answers) {
    tokens += comparison.prompt.size() + answer.size();
  }
  return checked(tokens);
}

std::vector<std::int32_t> row_tokens(std::span<const Conversation> conversations) {
  return lengths_of(conversations);
}

std::vector<std::int32_t> row_tokens(std::span<const Comparison> comparisons) {
  return lengths_of(comparisons);
}

Row conversation_row(std::span<const Conversation* const> conversations, std::int64_t length,
                     std::int32_t pad_id) {
  RowBuilder row(length, pad_id);
  for (const Conversation* conversation : conversations) {
    const std::int32_t start = row.size();
    const auto& ids = conversation->ids;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      row.add(ids[i], ids[i + 1], start, conversation->trained[i + 1] != 0 ? 1.0F : 0.0F);
    }
  }
  return row.finish();
}

ComparisonRow comparison_row(std::span<const Comparison* const> comparisons, std::int64_t length,
                             std::int32_t pad_id) {
  RowBuilder row(length, pad_id);
  ComparisonRow result;
  for (const Comparison* comparison : comparisons) {
    std::vector<AnswerPlace>& places = result.places.emplace_back();
    for (const std::vector<std::int32_t>& answer : comparison->answers) {
      std::vector<std::int32_t> ids = comparison->prompt;
      ids.insert(ids.end(), answer.begin(), answer.end());
      const std::int32_t start = row.size();
      for (std::size_t i = 0; i < ids.size(); ++i) {
        row.add(ids[i], i + 1 < ids.size() ? ids[i + 1] : pad_id, start, 0);
      }
      places.push_back({row.size() - 1});
    }
  }
  result.row = row.finish();
  return result;
}

}  // namespace talaria::storage
