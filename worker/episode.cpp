// SPDX-License-Identifier: Apache-2.0
#include "worker/episode.h"

#include <algorithm>

#include "cluster/base/error.h"

namespace talaria::worker {

storage::Row episode_row(const Episode& episode, std::int64_t length, std::int32_t pad) {
  const std::size_t t = static_cast<std::size_t>(length);
  const std::size_t ids = episode.prompt.size() + episode.tokens();
  TALARIA_CHECK(ids <= t && episode.tokens() > 0, "{} ids in a row of {}", ids, t);
  storage::Row row;
  row.inputs = episode.prompt;
  row.inputs.insert(row.inputs.end(), episode.response.begin(), episode.response.end());
  row.inputs.resize(t, pad);
  row.targets.assign(row.inputs.begin() + 1, row.inputs.end());
  row.targets.push_back(pad);
  row.starts.assign(t, 0);
  for (std::size_t i = ids; i < t; ++i) row.starts[i] = static_cast<std::int32_t>(i);
  row.weights.assign(t, 0.0F);
  const auto first = row.weights.begin() + static_cast<std::ptrdiff_t>(episode.first_action());
  std::fill_n(first, episode.tokens(), 1.0F);
  return row;
}

std::vector<double> at_actions(const Episode& episode, std::span<const float> row) {
  const auto part = row.subspan(episode.first_action(), episode.tokens());
  return {part.begin(), part.end()};
}

}  // namespace talaria::worker
