// SPDX-License-Identifier: Apache-2.0
#include "parallel/schedule.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "cluster/base/error.h"

namespace talaria::parallel {
namespace {

std::vector<Schedule> all_stages(std::string_view name, int stages, int micro_batches) {
  std::vector<Schedule> all;
  all.reserve(static_cast<std::size_t>(stages));
  for (int s = 0; s < stages; ++s) all.push_back(make_schedule(name, s, stages, micro_batches));
  return all;
}

TEST(Schedule, DrawsTheTextbookOrders) {
  EXPECT_EQ(draw(make_schedule("gpipe", 1, 2, 3)), "F0 F1 F2 B0 B1 B2");
  EXPECT_EQ(draw(make_schedule("1f1b", 0, 4, 5)), "F0 F1 F2 F3 B0 F4 B1 B2 B3 B4");
  EXPECT_EQ(draw(make_schedule("1f1b", 3, 4, 5)), "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4");
  EXPECT_EQ(draw(make_forward_schedule(0, 2, 2)), "F0 F1");
}

TEST(Schedule, NoScheduleDeadlocksWithOneMessageInFlight) {
  for (const std::string_view name : schedule_names()) {
    for (int stages = 1; stages <= 9; ++stages) {
      for (const int micro_batches : {1, 2, 3, 5, 8, 17}) {
        EXPECT_EQ(check_schedules(all_stages(name, stages, micro_batches), 1), "")
            << name << " " << stages << " stages, " << micro_batches << " micro-batches";
      }
    }
  }
}

TEST(Schedule, TheCheckerSeesADeadlockAndAMismatch) {
  std::vector<Schedule> stages = all_stages("1f1b", 2, 2);
  std::swap(stages[1][0],
            stages[1][1]);  // forward before its activation came: harmless to channels
  EXPECT_EQ(check_schedules(stages, 1), "");
  stages = all_stages("1f1b", 2, 2);
  std::rotate(stages[0].begin(), stages[0].begin() + 1, stages[0].end());
  stages[0].insert(stages[0].begin(), {ActionKind::kReceiveGradient, 0});
  EXPECT_NE(check_schedules(stages, 1).find("deadlock"), std::string::npos);
  stages = all_stages("gpipe", 2, 2);
  for (Action& action : stages[0]) {
    if (action.kind == ActionKind::kSendActivation) action.micro_batch ^= 1;
  }
  EXPECT_EQ(check_schedules(stages, 2), "stage 1 expects micro-batch 0, gets 1");
}

TEST(Schedule, LiveMicroBatchesAreTheSchedulesPromise) {
  for (int stages = 1; stages <= 6; ++stages) {
    for (int micro_batches = 1; micro_batches <= 9; ++micro_batches) {
      for (int stage = 0; stage < stages; ++stage) {
        EXPECT_EQ(max_live_micro_batches(make_schedule("gpipe", stage, stages, micro_batches)),
                  micro_batches);
        EXPECT_EQ(max_live_micro_batches(make_schedule("1f1b", stage, stages, micro_batches)),
                  std::min(stages - stage, micro_batches));
      }
    }
  }
}

TEST(Schedule, UnknownNamesAreRefused) {
  EXPECT_THROW(make_schedule("zigzag", 0, 1, 1), UsageError);
}

TEST(CutByCost, BalancesWithTheHeadCounted) {
  const std::vector<double> costs = {1, 1, 1, 1, 2.5};
  EXPECT_EQ(cut_by_cost(costs, 1), (std::vector<int>{0, 5}));
  EXPECT_EQ(cut_by_cost(costs, 2), (std::vector<int>{0, 3, 5}));
  EXPECT_EQ(cut_by_cost(costs, 5), (std::vector<int>{0, 1, 2, 3, 4, 5}));
  // The largest part is the best possible one: compare with all cuts.
  for (int parts = 2; parts <= 3; ++parts) {
    const std::vector<int> bounds = cut_by_cost(costs, parts);
    double largest = 0;
    for (int p = 0; p < parts; ++p) {
      double sum = 0;
      for (int i = bounds[static_cast<std::size_t>(p)]; i < bounds[static_cast<std::size_t>(p) + 1];
           ++i) {
        sum += costs[static_cast<std::size_t>(i)];
      }
      largest = std::max(largest, sum);
    }
    EXPECT_DOUBLE_EQ(largest, parts == 2 ? 3.5 : 2.5);
  }
}

}  // namespace
}  // namespace talaria::parallel
