// SPDX-License-Identifier: Apache-2.0
#include "worker/continue_prompts.h"

#include <algorithm>
#include <cstdlib>

namespace talaria::worker {
namespace {

// Responses of several data ranks, `most` tokens each, as arrays that one all-gather moves.
struct Packed {
  Packed(std::size_t count, std::size_t most)
      : most_tokens(most), ids(count * most), logprobs(count * most), lengths(count) {}

  void put(std::size_t at, const model::Continuation& continuation) {
    std::copy(continuation.ids.begin(), continuation.ids.end(), ids.begin() + offset(at));
    std::copy(continuation.logprobs.begin(), continuation.logprobs.end(),
              logprobs.begin() + offset(at));
    const auto length = static_cast<std::int32_t>(continuation.ids.size());
    lengths[at] = continuation.stopped ? -length : length;
  }

  void get(std::size_t at, Episode& episode) const {
    const auto length = static_cast<std::ptrdiff_t>(std::abs(lengths[at]));
    episode.response.assign(ids.begin() + offset(at), ids.begin() + offset(at) + length);
    episode.sampler_logprobs.assign(logprobs.begin() + offset(at),
                                    logprobs.begin() + offset(at) + length);
    episode.stopped = lengths[at] < 0;
  }

  std::ptrdiff_t offset(std::size_t at) const {
    return static_cast<std::ptrdiff_t>(at * most_tokens);
  }

  std::size_t most_tokens;
  std::vector<std::int32_t> ids;
  std::vector<float> logprobs;
  std::vector<std::int32_t> lengths;  // negative where a stop token came
};

}  // namespace

std::vector<Episode> continue_prompts(std::span<const model::Prompt> prompts,
                                      const model::GenerationOptions& options,
                                      model::Generator& generator, Groups& groups) {
  const auto ranks = static_cast<std::size_t>(groups.data->size());
  const std::size_t per_rank = (prompts.size() + ranks - 1) / ranks;
  const std::size_t first =
      std::min(static_cast<std::size_t>(groups.data->rank()) * per_rank, prompts.size());
  const std::vector<model::Continuation> own = generator.generate(
      prompts.subspan(first, std::min(per_rank, prompts.size() - first)), options);
  Packed packed(per_rank * ranks, static_cast<std::size_t>(options.max_tokens));
  for (std::size_t i = 0; i < own.size(); ++i) packed.put(first + i, own[i]);
  groups.data->all_gather(std::as_writable_bytes(std::span(packed.ids)));
  groups.data->all_gather(std::as_writable_bytes(std::span(packed.logprobs)));
  groups.data->all_gather(std::as_writable_bytes(std::span(packed.lengths)));
  std::vector<Episode> episodes(prompts.size());
  for (std::size_t e = 0; e < episodes.size(); ++e) {
    episodes[e].line = static_cast<std::int64_t>(e);
    episodes[e].prompt = prompts[e].ids;
    packed.get(e, episodes[e]);
  }
  return episodes;
}

}  // namespace talaria::worker
