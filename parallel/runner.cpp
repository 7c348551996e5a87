// SPDX-License-Identifier: Apache-2.0
#include "parallel/runner.h"

#include <algorithm>
#include <map>
#include <span>

namespace talaria::parallel {
namespace {

std::span<std::byte> bytes_of(const TensorView& view) {
  return std::as_writable_bytes(std::span(view.data, static_cast<std::size_t>(view.count())));
}

bool opens(ActionKind kind) {
  return kind == ActionKind::kReceiveActivation || kind == ActionKind::kForward;
}

}  // namespace

RunnerStatistics run_schedule(const Schedule& schedule, Stage& stage, Communicator& pipeline) {
  // A micro-batch closes after its last action.
  std::map<int, std::size_t> last_action;
  for (std::size_t i = 0; i < schedule.size(); ++i) last_action[schedule[i].micro_batch] = i;

  const int here = pipeline.rank();
  RunnerStatistics statistics;
  std::map<int, bool> live;
  for (std::size_t i = 0; i < schedule.size(); ++i) {
    const int id = schedule[i].micro_batch;
    if (opens(schedule[i].kind) && !live.contains(id)) {
      stage.open(id);
      live[id] = true;
      statistics.max_live = std::max(statistics.max_live, static_cast<int>(live.size()));
    }
    switch (schedule[i].kind) {
      case ActionKind::kReceiveActivation:
        pipeline.recv(bytes_of(stage.input(id)), here - 1);
        break;
      case ActionKind::kForward:
        stage.forward(id);
        break;
      case ActionKind::kSendActivation:
        pipeline.send(bytes_of(stage.output(id)), here + 1);
        break;
      case ActionKind::kReceiveGradient:
        pipeline.recv(bytes_of(stage.output_gradient(id)), here + 1);
        break;
      case ActionKind::kBackward:
        stage.backward(id);
        break;
      case ActionKind::kSendGradient:
        pipeline.send(bytes_of(stage.input_gradient(id)), here - 1);
        break;
    }
    if (last_action[id] == i) {
      stage.close(id);
      live.erase(id);
    }
  }
  return statistics;
}

}  // namespace talaria::parallel
