// SPDX-License-Identifier: Apache-2.0
#include "worker/row_layout.h"

namespace talaria::worker {

std::vector<RowPlace> rows_of_step(const launch::Job& job) {
  const std::int64_t groups = job.job.numerics.sample_groups;
  const std::int64_t main = job.train.global_batch / groups;
  const std::int64_t mix = job.mix.rows / groups;
  std::vector<RowPlace> rows;
  rows.reserve(static_cast<std::size_t>(job.step_rows()));
  for (std::int64_t group = 0; group < groups; ++group) {
    for (std::int64_t i = 0; i < main; ++i) rows.push_back({false, group * main + i});
    for (std::int64_t i = 0; i < mix; ++i) rows.push_back({true, group * mix + i});
  }
  return rows;
}

std::vector<RowPlace> rows_of_rank(const launch::Job& job, int data_rank) {
  const std::vector<RowPlace> all = rows_of_step(job);
  const auto begin = all.begin() + data_rank * job.samples_per_rank();
  return {begin, begin + job.samples_per_rank()};
}

}  // namespace talaria::worker
