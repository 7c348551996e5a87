// SPDX-License-Identifier: Apache-2.0
// `talaria eval perplexity`: how well a model foretells text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "worker/inference_model.h"

namespace talaria::worker {

struct PerplexityOptions {
  InferenceOptions model;
  // At most one of the two; neither: the validation part of the job's data.sources.
  std::filesystem::path data;  // a token file: its documents end to end, each behind end of text
  std::filesystem::path text;  // a text, behind end of text
  std::int64_t stride = 0;     // targets from a window to the next; 0: those of a whole window
  std::int64_t limit = 0;      // windows; 0: all
  bool json = false;
};

// A window reads targets [first, first + T) of a stream of N + 1 ids (target t is id t + 1) and
// counts those from `counted` on: the earlier ones were counted by the window before.
struct StreamWindow {
  std::int64_t first = 0;
  std::int64_t length = 0;
  std::int64_t counted = 0;
};
// Windows of at most `length` targets, each `stride` further than the one before, so that every
// target but those of the first window has length - stride ids before the window's own; each of
// `targets` is counted once. 1 <= stride <= length. Pure.
std::vector<StreamWindow> stream_windows(std::int64_t targets, std::int64_t length,
                                         std::int64_t stride);

int eval_perplexity(parallel::Process* process, const PerplexityOptions& options);

}  // namespace talaria::worker
