// SPDX-License-Identifier: Apache-2.0
// The parallel engine with ranks as threads: every layout gives the same bits in invariant
// numerics, other bits in fast numerics, and does its share of the work and no more.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <set>

#include <gtest/gtest.h>

#include "parallel/schedule.h"
#include "tests/support/local_engine.h"

namespace talaria::worker {
namespace {

using parallel::Layout;

constexpr int kSteps = 4;

std::vector<std::uint64_t> bits(const std::vector<double>& values) {
  std::vector<std::uint64_t> result;
  result.reserve(values.size());
  for (const double value : values) result.push_back(std::bit_cast<std::uint64_t>(value));
  return result;
}

void expect_same(const EngineRun& a, const EngineRun& b, const std::string& what) {
  EXPECT_EQ(bits(a.losses), bits(b.losses)) << what;
  EXPECT_EQ(bits(a.grad_norms), bits(b.grad_norms)) << what;
  EXPECT_EQ(bits(a.evaluation), bits(b.evaluation)) << what;
  ASSERT_EQ(a.weights.size(), b.weights.size()) << what;
  for (const auto& [name, weights] : a.weights) {
    const std::vector<float>& other = b.weights.at(name);
    ASSERT_EQ(weights.size(), other.size()) << what << " " << name;
    EXPECT_EQ(std::memcmp(weights.data(), other.data(), weights.size() * sizeof(float)), 0)
        << what << " " << name;
  }
}

const EngineRun& reference() {
  static const EngineRun run = run_engine(small_job(), kSteps);
  return run;
}

struct Row {
  Layout layout;
  std::int64_t micro_batch;
  const char* schedule;
  bool zero;
  int threads;
};

// Without it the case's name would hold the bytes of the padding.
void PrintTo(const Row& row, std::ostream* out) { *out << row.layout.world_size() << " ranks"; }

std::string name_of(const testing::TestParamInfo<Row>& info) {
  const Row& r = info.param;
  return fmt::format("tp{}_pp{}_dp{}_mb{}_{}_{}_t{}", r.layout.tensor, r.layout.pipeline,
                     r.layout.data, r.micro_batch, r.schedule[0] == 'g' ? "gpipe" : "1f1b",
                     r.zero ? "zero" : "full", r.threads);
}

class Layouts : public testing::TestWithParam<Row> {};

TEST_P(Layouts, GiveTheBitsOfOneRank) {
  launch::Job job = small_job();
  const Row& row = GetParam();
  job.parallel.layout = row.layout;
  job.parallel.schedule = row.schedule;
  job.parallel.zero = row.zero;
  job.train.micro_batch = row.micro_batch;
  job.cluster.threads_per_rank = row.threads;
  expect_same(run_engine(job, kSteps), reference(), "layout");
}

INSTANTIATE_TEST_SUITE_P(
    Engine, Layouts,
    testing::Values(Row{{1, 1, 1}, 2, "gpipe", true, 1}, Row{{1, 1, 1}, 1, "1f1b", false, 2},
                    Row{{2, 1, 1}, 1, "1f1b", true, 1}, Row{{2, 1, 1}, 2, "gpipe", false, 2},
                    Row{{1, 2, 1}, 1, "gpipe", true, 1}, Row{{1, 2, 1}, 2, "1f1b", true, 1},
                    Row{{1, 1, 2}, 1, "1f1b", true, 1}, Row{{1, 1, 2}, 2, "1f1b", false, 1},
                    Row{{2, 2, 2}, 1, "1f1b", true, 1}, Row{{2, 2, 2}, 2, "gpipe", false, 1},
                    Row{{4, 2, 1}, 1, "1f1b", true, 1}, Row{{1, 4, 2}, 1, "gpipe", true, 1},
                    Row{{4, 1, 2}, 2, "1f1b", true, 1}, Row{{1, 5, 1}, 1, "1f1b", true, 1},
                    Row{{1, 1, 4}, 2, "1f1b", true, 1}),
    name_of);

TEST(Engine, TheModelLearns) {
  const EngineRun run = run_engine(small_job(), 12);
  EXPECT_LT(run.losses.back(), run.losses.front() - 1.0);
  EXPECT_NEAR(run.losses.front(), std::log(199.0), 0.2);
}

TEST(Engine, FastNumericsDifferWhereTheLayoutDoes) {
  launch::Job job = small_job();
  const auto fast = [&](Layout layout, std::int64_t micro_batch) {
    job.parallel.layout = layout;
    job.train.micro_batch = micro_batch;
    job.job.numerics = {false, layout.tensor, layout.data};
    return run_engine(job, kSteps);
  };
  const EngineRun one = fast({1, 1, 1}, 1);
  expect_same(one, fast({1, 1, 1}, 1), "fast, the same layout again");
  expect_same(one, fast({1, 2, 1}, 1), "fast, pipeline only");
  for (const auto& [layout, micro_batch] :
       {std::pair{Layout{2, 1, 1}, 1}, {Layout{1, 1, 2}, 1}, {Layout{1, 1, 1}, 2}}) {
    const EngineRun other = fast(layout, micro_batch);
    EXPECT_NE(bits(one.losses), bits(other.losses)) << layout.tensor << layout.data << micro_batch;
    for (std::size_t i = 0; i < one.losses.size(); ++i) {
      EXPECT_NEAR(one.losses[i], other.losses[i], 2e-4);
    }
  }
}

TEST(Engine, WorkAndMemoryAreShared) {
  launch::Job job = small_job();
  const RankCounters one = run_engine(job, 2).ranks[0];
  job.parallel.layout = {2, 1, 1};
  for (const RankCounters& rank : run_engine(job, 2).ranks) {
    EXPECT_LE(static_cast<double>(rank.matmul_flops), 0.55 * static_cast<double>(one.matmul_flops));
    EXPECT_LE(static_cast<double>(rank.real_weights), 0.55 * static_cast<double>(one.real_weights));
  }
  job.parallel.layout = {1, 1, 2};
  const EngineRun sharded = run_engine(job, 2);
  for (const RankCounters& rank : sharded.ranks) {
    EXPECT_EQ(rank.moment_bytes, one.moment_bytes / 2);
    EXPECT_EQ(static_cast<std::int64_t>(rank.data_bytes_sent) -
                  2 * job.train.global_batch * static_cast<std::int64_t>(sizeof(double)) / 2,
              rank.data_bytes_expected);
  }
  job.parallel.zero = false;
  for (const RankCounters& rank : run_engine(job, 2).ranks) {
    EXPECT_EQ(rank.moment_bytes, one.moment_bytes);
  }
}

TEST(Engine, LiveMicroBatchesAreTheSchedules) {
  for (const char* schedule : {"gpipe", "1f1b"}) {
    launch::Job job = small_job();
    job.parallel.layout = {1, 4, 1};
    job.parallel.schedule = schedule;
    const EngineRun run = run_engine(job, 1);
    for (int stage = 0; stage < 4; ++stage) {
      EXPECT_EQ(run.ranks[static_cast<std::size_t>(stage)].max_live,
                parallel::max_live_micro_batches(parallel::make_schedule(
                    schedule, stage, 4, static_cast<int>(job.micro_batches()))));
    }
  }
}

TEST(Engine, ANonfiniteStepIsSkippedByAllAndNamesTheRank) {
  launch::Job job = small_job();
  job.parallel.layout = {2, 2, 1};
  std::mutex mutex;
  std::set<int> named;
  const EngineRun run = run_engine(job, 0, [&](int rank, Engine& engine) {
    if (rank == 3) engine.stage().parameters().weights()[100] = std::nanf("");
    std::vector<std::int32_t> ids(
        static_cast<std::size_t>(job.samples_per_rank() * (job.train.sequence_length + 1)), 1);
    const std::vector<float> before(engine.stage().parameters().weights(),
                                    engine.stage().parameters().weights() + 64);
    const StepReport report =
        engine.train_step(0, model::causal_batch(ids, job.train.sequence_length), false);
    EXPECT_FALSE(report.applied);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), engine.stage().parameters().weights()));
    EXPECT_EQ(engine.optimizer().updates(), 0);
    const std::lock_guard lock(mutex);
    named.insert(report.nonfinite_rank);
  });
  // The poison reaches every sum of the pipeline; all ranks name the first.
  EXPECT_EQ(named, std::set<int>{0});
}

}  // namespace
}  // namespace talaria::worker
