// SPDX-License-Identifier: Apache-2.0
// A gate of a job stage: what an earlier stage must have reached before this one starts,
// "STAGE.METRIC OP NUMBER". And the metrics that a stage of each kind reports. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/base/error.h"

namespace talaria::launch {

enum class Comparison { kAtLeast, kAbove, kAtMost, kBelow, kEqual };

struct Gate {
  std::string stage;
  std::string metric;  // a name of stage_metrics() of that stage's kind
  Comparison comparison = Comparison::kAtLeast;
  double bound = 0.0;
  bool operator==(const Gate&) const = default;
};

// A stage that a gate may name.
struct GateStage {
  std::string name;
  std::string kind;
};

// Names in metrics.jsonl and artifact.json that a gate may ask a stage of this kind (job.kind) for;
// in the order in which they are listed to people.
const std::vector<std::string>& stage_metrics(std::string_view kind);
// Those of them that say in one line what such a stage has reached.
const std::vector<std::string>& key_metrics(std::string_view kind);

// Reads "reward.accuracy >= 0.6", blanks optional; `before`: the stages that are done before. Fails
// with "what is wrong; allowed: ...", without the text itself.
Result<Gate> parse_gate(std::string_view text, const std::vector<GateStage>& before);

// "reward.accuracy >= 0.6": parses to the same gate.
std::string describe(const Gate& gate);

// NaN never holds.
bool holds(const Gate& gate, double value);

// Why a gate keeps its stage from starting, or "" where it holds: "gate reward.accuracy >= 0.6 does
// not hold: 0.547". A metric that is missing is a failure, too.
std::string gate_fault(const Gate& gate, const std::map<std::string, double>& metrics);

}  // namespace talaria::launch
