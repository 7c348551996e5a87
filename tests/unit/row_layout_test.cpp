// SPDX-License-Identifier: Apache-2.0
// Which rows of a step a data rank feeds: every row once, and in invariant numerics the same rows
// in the same order in every sample group, whatever the layout.
#include "worker/row_layout.h"

#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace talaria::worker {
namespace {

launch::Job job_of(std::int64_t batch, std::int64_t mix, int groups, int data) {
  launch::Job job;
  job.train.global_batch = batch;
  job.mix.rows = mix;
  job.job.numerics = {true, 1, groups};
  job.parallel.layout.data = data;
  return job;
}

std::vector<std::pair<bool, std::int64_t>> flat(const std::vector<RowPlace>& places) {
  std::vector<std::pair<bool, std::int64_t>> all;
  for (const RowPlace& place : places) all.emplace_back(place.mix, place.index);
  return all;
}

TEST(RowLayout, EveryGroupHasItsShareTheMainRowsFirst) {
  const std::vector<std::pair<bool, std::int64_t>> expected = {{false, 0}, {false, 1}, {true, 0},
                                                               {false, 2}, {false, 3}, {true, 1}};
  EXPECT_EQ(flat(rows_of_step(job_of(4, 2, 2, 1))), expected);
}

TEST(RowLayout, TheRanksRowsEndToEndAreTheStepInEveryLayout) {
  for (const std::int64_t mix : {0, 4, 8}) {
    const auto whole = flat(rows_of_step(job_of(12, mix, 4, 1)));
    ASSERT_EQ(whole.size(), static_cast<std::size_t>(12 + mix));
    EXPECT_EQ(std::set(whole.begin(), whole.end()).size(), whole.size()) << "a row twice";
    for (const int data : {1, 2, 4}) {
      const launch::Job job = job_of(12, mix, 4, data);
      std::vector<std::pair<bool, std::int64_t>> joined;
      for (int rank = 0; rank < data; ++rank) {
        const auto own = flat(rows_of_rank(job, rank));
        EXPECT_EQ(own.size(), static_cast<std::size_t>(job.samples_per_rank()));
        joined.insert(joined.end(), own.begin(), own.end());
      }
      EXPECT_EQ(joined, whole) << mix << " " << data;
    }
  }
}

TEST(RowLayout, WithoutAMixItIsTheGlobalBatchInOrder) {
  const std::vector<RowPlace> rows = rows_of_step(job_of(6, 0, 2, 1));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_FALSE(rows[i].mix);
    EXPECT_EQ(rows[i].index, static_cast<std::int64_t>(i));
  }
}

}  // namespace
}  // namespace talaria::worker
