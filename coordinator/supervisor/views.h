// SPDX-License-Identifier: Apache-2.0
// What a coordinator shows of its jobs: plain values, made anew for each question.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/state/store.h"
#include "launch/artifact.h"

namespace talaria::coordinator {

// What one rank last said; empty fields where it never spoke.
struct RankView {
  int rank = 0;
  std::string host;
  std::int64_t pid = 0;
  bool connected = false;
  double silent_seconds = 0.0;
  std::string phase;
  double phase_seconds = 0.0;
  std::string wait;
  std::int64_t step = 0;
  std::int64_t rss_bytes = 0;
};

// How far a stage is, from its ranks' reports.
struct ProgressView {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  double loss = 0.0;
  double tokens_per_second = 0.0;
  double mfu = 0.0;
  std::optional<double> validation_loss;
  std::int64_t checkpoint_step = -1;
  double seconds_left = 0.0;  // 0: not known yet
  int ranks_connected = 0;
};

// What a gate asks for, and what there is.
struct GateView {
  std::string gate;             // "reward.accuracy >= 0.6"
  std::optional<double> value;  // as measured; nothing before that
  std::optional<bool> holds;
};

// An answer of a PPO job stage to one of its validation prompts.
struct SampleAnswer {
  std::int64_t step = 0;
  std::string text;
  bool stopped = false;  // by a stop token; else cut at the largest length
  double score = 0.0;
};

struct SampleView {
  std::string prompt;
  SampleAnswer before;              // the first training
  std::optional<SampleAnswer> now;  // of the newest evaluation; nothing before there is one
};

struct StageView {
  StageRow row;
  std::vector<AttemptRow> attempts;
  ProgressView progress;
  std::vector<RankView> ranks;
  std::vector<GateView> gates;
  std::optional<launch::Artifact> artifact;  // what its folder hands on
  std::vector<SampleView> samples;           // only after add_samples()
};

struct JobView {
  JobRow job;
  std::vector<StageView> stages;
  std::vector<TransitionRow> transitions;
  std::string notice;  // what hinders the coordinator now ("state.db: disk full ..."), else ""
};

}  // namespace talaria::coordinator
