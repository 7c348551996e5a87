// SPDX-License-Identifier: Apache-2.0
// Layout equality under real mpirun: the same loss bits at each of 20 steps and the same weights in
// every layout. Under `fast` the same layouts must differ from one rank, else the comparison proves
// nothing. The first case makes the references that the others, each a process of its own, compare
// with.
#include <map>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

constexpr double kTimeout = 400;
constexpr int kFastSteps = 3;

struct Row {
  const char* name;
  parallel::Layout layout;
  std::int64_t micro_batch;
  const char* schedule;
  bool zero;
  int threads;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
std::string name_of(const testing::TestParamInfo<Row>& info) { return info.param.name; }

RunPlan plan_of(const Row& row) {
  RunPlan plan;
  plan.layout = row.layout;
  plan.micro_batch = row.micro_batch;
  plan.schedule = row.schedule;
  plan.zero = row.zero;
  plan.threads = row.threads;
  return plan;
}

RunPlan fast(RunPlan plan) {
  plan.invariant = false;
  plan.set = {fmt::format("train.steps={}", kFastSteps), "optimizer.decay_steps=20",
              "train.eval_every=0"};
  return plan;
}

const Row kReference = {"one_rank", {1, 1, 1}, 1, "gpipe", true, 1};

JobFolder folder(bool reuse) { return {TALARIA_LAYOUTS_DIR, kLayoutsModel, reuse}; }

// A run of its own: what an earlier test run left is removed.
ChildResult run_anew(const JobFolder& jobs, const std::string& name, const RunPlan& plan) {
  std::filesystem::remove_all(jobs.path() / name);
  return jobs.run(name, plan, kTimeout);
}

TEST(Layouts, Reference) {
  const JobFolder jobs = folder(false);
  const ChildResult result = run_anew(jobs, "one_rank", plan_of(kReference));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(jobs.loss_bits("one_rank").size(), 20U);
  const ChildResult again = run_anew(jobs, "one_rank-fast", fast(plan_of(kReference)));
  ASSERT_EQ(again.exit_code, 0) << again.output;
}

class Layout : public testing::TestWithParam<Row> {};

TEST_P(Layout, HasTheBitsOfOneRank) {
  const Row& row = GetParam();
  const JobFolder jobs = folder(true);
  ASSERT_EQ(jobs.loss_bits("one_rank").size(), 20U) << "run Layouts.Reference first";
  const ChildResult result = run_anew(jobs, row.name, plan_of(row));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(jobs.loss_bits(row.name), jobs.loss_bits("one_rank"));
  EXPECT_EQ(jobs.metric(row.name, "grad_norm"), jobs.metric("one_rank", "grad_norm"));
  EXPECT_EQ(jobs.metric(row.name, "validation_loss"), jobs.metric("one_rank", "validation_loss"));
  EXPECT_EQ(jobs.weights_hash(row.name), jobs.weights_hash("one_rank"));

  const bool changes_sums =
      row.layout.tensor != 1 || row.layout.data != 1 || row.micro_batch != kReference.micro_batch;
  if (!changes_sums) return;
  const std::string name = std::string(row.name) + "-fast";
  const ChildResult loose = run_anew(jobs, name, fast(plan_of(row)));
  ASSERT_EQ(loose.exit_code, 0) << loose.output;
  EXPECT_EQ(jobs.loss_bits(name).size(), static_cast<std::size_t>(kFastSteps));
  EXPECT_NE(jobs.loss_bits(name), jobs.loss_bits("one_rank-fast"))
      << "fast numerics gave the bits of one rank: this case proves nothing";
}

INSTANTIATE_TEST_SUITE_P(
    Mpirun, Layout,
    testing::Values(Row{"tp1_pp1_dp1_mb2_t2", {1, 1, 1}, 2, "1f1b", false, 2},
                    Row{"tp2_pp1_dp1_mb1", {2, 1, 1}, 1, "1f1b", true, 1},
                    Row{"tp2_pp1_dp1_mb2_gpipe", {2, 1, 1}, 2, "gpipe", false, 1},
                    Row{"tp1_pp2_dp1_mb1_t2", {1, 2, 1}, 1, "1f1b", true, 2},
                    Row{"tp1_pp1_dp2_mb1", {1, 1, 2}, 1, "1f1b", true, 1},
                    Row{"tp1_pp1_dp2_mb2_full", {1, 1, 2}, 2, "gpipe", false, 1},
                    Row{"tp2_pp2_dp2_mb2", {2, 2, 2}, 2, "1f1b", true, 1},
                    Row{"tp2_pp2_dp2_mb1_gpipe", {2, 2, 2}, 1, "gpipe", false, 1},
                    Row{"tp4_pp2_dp1_mb1", {4, 2, 1}, 1, "1f1b", true, 1},
                    Row{"tp1_pp4_dp2_mb2", {1, 4, 2}, 2, "1f1b", true, 1},
                    Row{"tp4_pp1_dp2_mb1_gpipe", {4, 1, 2}, 1, "gpipe", true, 1},
                    Row{"tp1_pp4_dp2_mb1_gpipe", {1, 4, 2}, 1, "gpipe", true, 1}),
    name_of);

}  // namespace
}  // namespace talaria::worker
