// SPDX-License-Identifier: Apache-2.0
#include "parallel/schedule.h"

#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <map>
#include <utility>

#include "cluster/base/error.h"

namespace talaria::parallel {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"gpipe", "1f1b"};

// Appends one pass with the transfers that a stage in the middle needs.
class Builder {
 public:
  Builder(int stage, int stages) : first_(stage == 0), last_(stage == stages - 1) {}

  void forward(int micro_batch) {
    if (!first_) add(ActionKind::kReceiveActivation, micro_batch);
    add(ActionKind::kForward, micro_batch);
    if (!last_) add(ActionKind::kSendActivation, micro_batch);
  }
  void backward(int micro_batch) {
    if (!last_) add(ActionKind::kReceiveGradient, micro_batch);
    add(ActionKind::kBackward, micro_batch);
    if (!first_) add(ActionKind::kSendGradient, micro_batch);
  }
  Schedule take() { return std::move(schedule_); }

 private:
  void add(ActionKind kind, int micro_batch) { schedule_.push_back({kind, micro_batch}); }

  bool first_;
  bool last_;
  Schedule schedule_;
};

}  // namespace

std::span<const std::string_view> schedule_names() { return kNames; }

Schedule make_schedule(std::string_view name, int stage, int stages, int micro_batches) {
  TALARIA_CHECK(stage >= 0 && stage < stages && micro_batches >= 1,
                "stage {} of {}, {} micro-batches", stage, stages, micro_batches);
  // Both schedules are the same loop; they differ in how far forwards run ahead of backwards.
  int ahead = 0;
  if (name == "gpipe") {
    ahead = micro_batches;
  } else if (name == "1f1b") {
    ahead = std::min(stages - stage, micro_batches);
  } else {
    fail_usage("schedule \"{}\": unknown, allowed are \"gpipe\" and \"1f1b\"", name);
  }
  Builder builder(stage, stages);
  int forwards = 0;
  for (int backward = 0; backward < micro_batches; ++backward) {
    while (forwards < std::min(backward + ahead, micro_batches)) builder.forward(forwards++);
    builder.backward(backward);
  }
  return builder.take();
}

Schedule make_forward_schedule(int stage, int stages, int micro_batches) {
  Builder builder(stage, stages);
  for (int i = 0; i < micro_batches; ++i) builder.forward(i);
  return builder.take();
}

int max_live_micro_batches(const Schedule& schedule) {
  int live = 0;
  int most = 0;
  for (const Action& action : schedule) {
    if (action.kind == ActionKind::kForward) most = std::max(most, ++live);
    if (action.kind == ActionKind::kBackward) --live;
  }
  return most;
}

std::string check_schedules(std::span<const Schedule> stages, int send_depth) {
  // One channel a (sender, receiver) pair, as the communicator's send and recv have.
  std::map<std::pair<int, int>, std::deque<Action>> channels;
  std::vector<std::size_t> next(stages.size(), 0);
  const auto step = [&](int stage, std::string& mismatch) {
    const Action action =
        stages[static_cast<std::size_t>(stage)][next[static_cast<std::size_t>(stage)]];
    const bool activation =
        action.kind == ActionKind::kReceiveActivation || action.kind == ActionKind::kSendActivation;
    switch (action.kind) {
      case ActionKind::kForward:
      case ActionKind::kBackward:
        return true;
      case ActionKind::kSendActivation:
      case ActionKind::kSendGradient: {
        auto& channel = channels[{stage, activation ? stage + 1 : stage - 1}];
        if (static_cast<int>(channel.size()) >= send_depth) return false;
        channel.push_back(action);
        return true;
      }
      case ActionKind::kReceiveActivation:
      case ActionKind::kReceiveGradient: {
        auto& channel = channels[{activation ? stage - 1 : stage + 1, stage}];
        if (channel.empty()) return false;
        if (channel.front().micro_batch != action.micro_batch) {
          mismatch = fmt::format("stage {} expects micro-batch {}, gets {}", stage,
                                 action.micro_batch, channel.front().micro_batch);
        }
        channel.pop_front();
        return true;
      }
    }
    return false;
  };
  while (true) {
    bool moved = false;
    bool done = true;
    std::string waiting;
    for (int stage = 0; stage < static_cast<int>(stages.size()); ++stage) {
      auto& at = next[static_cast<std::size_t>(stage)];
      std::string mismatch;
      while (at < stages[static_cast<std::size_t>(stage)].size() && step(stage, mismatch)) {
        if (!mismatch.empty()) return mismatch;
        ++at;
        moved = true;
      }
      if (at < stages[static_cast<std::size_t>(stage)].size()) {
        done = false;
        waiting += fmt::format(" stage {} at action {}", stage, at);
      }
    }
    if (done) return "";
    if (!moved) return "deadlock:" + waiting;
  }
}

std::string draw(const Schedule& schedule) {
  std::string text;
  for (const Action& action : schedule) {
    if (action.kind != ActionKind::kForward && action.kind != ActionKind::kBackward) continue;
    text += fmt::format("{}{}{}", text.empty() ? "" : " ",
                        action.kind == ActionKind::kForward ? 'F' : 'B', action.micro_batch);
  }
  return text;
}

std::vector<int> cut_by_cost(std::span<const double> costs, int parts) {
  const int n = static_cast<int>(costs.size());
  TALARIA_CHECK(parts >= 1 && n >= parts, "{} layers in {} stages", n, parts);
  std::vector<double> prefix(static_cast<std::size_t>(n) + 1, 0.0);
  for (int i = 0; i < n; ++i) {
    prefix[static_cast<std::size_t>(i) + 1] =
        prefix[static_cast<std::size_t>(i)] + costs[static_cast<std::size_t>(i)];
  }
  const auto sum = [&](int from, int to) {
    return prefix[static_cast<std::size_t>(to)] - prefix[static_cast<std::size_t>(from)];
  };
  // best[p][i]: smallest possible largest part when layers 0..i are cut into p parts.
  const double none = std::numeric_limits<double>::infinity();
  using Row = std::vector<double>;
  std::vector<Row> best(static_cast<std::size_t>(parts) + 1,
                        Row(static_cast<std::size_t>(n) + 1, none));
  std::vector<std::vector<int>> cut(static_cast<std::size_t>(parts) + 1,
                                    std::vector<int>(static_cast<std::size_t>(n) + 1, 0));
  best[0][0] = 0.0;
  for (int p = 1; p <= parts; ++p) {
    for (int i = p; i <= n; ++i) {
      for (int k = p - 1; k < i; ++k) {
        const double largest =
            std::max(best[static_cast<std::size_t>(p) - 1][static_cast<std::size_t>(k)], sum(k, i));
        auto& current = best[static_cast<std::size_t>(p)][static_cast<std::size_t>(i)];
        if (largest < current) {
          current = largest;
          cut[static_cast<std::size_t>(p)][static_cast<std::size_t>(i)] = k;
        }
      }
    }
  }
  std::vector<int> bounds(static_cast<std::size_t>(parts) + 1, n);
  for (int p = parts; p >= 1; --p) {
    bounds[static_cast<std::size_t>(p) - 1] =
        cut[static_cast<std::size_t>(p)]
           [static_cast<std::size_t>(bounds[static_cast<std::size_t>(p)])];
  }
  return bounds;
}

}  // namespace talaria::parallel
