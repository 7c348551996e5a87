// SPDX-License-Identifier: Apache-2.0
// Continues prompts with a model that is spread over tensor and pipeline ranks, with a cache of
// keys and values. Every sequence's bits are the same whatever else is generated beside it, for any
// number of slots and threads; in invariant numerics also for every layout.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "model/gpt_stage.h"
#include "model/sampler.h"

namespace talaria::model {

struct Prompt {
  std::vector<std::int32_t> ids;  // 1 to context - 1 of them
  std::uint64_t key = 0;          // names the prompt's random numbers
};

struct Continuation {
  std::vector<std::int32_t> ids;  // without the prompt; the stop token, if any, included
  std::vector<float> logprobs;    // of each, as in Drawn
  bool stopped = false;           // ended by a stop token, not by a limit
};

struct GenerationOptions {
  SamplerOptions sampler;
  std::int64_t max_tokens = 0;         // new ones, at most; the context is a limit too
  std::vector<std::int32_t> stop_ids;  // a drawn one ends its sequence
  std::int64_t vocab = 0;  // draw from the first so many ids, as if there were no others; 0: all
};

// Called on every rank with a sequence's next token. What it throws ends the call of generate(),
// and must be thrown on all ranks alike; the generator may be used again.
using TokenCallback = std::function<void(std::size_t prompt, std::int32_t id)>;

class Generator {
 public:
  // Reads the weights that `stage` has at the time of generate(). `slots`: sequences that are
  // decoded at once; a slot whose sequence ended takes the next prompt. `capacity`: longest
  // sequence, at most the context. `tensor` and `pipeline` are the stage's groups.
  // All references must outlive the generator.
  Generator(GptStage& stage, parallel::Communicator& tensor, parallel::Communicator& pipeline,
            std::int64_t slots, std::int64_t capacity);
  ~Generator();

  // Element i continues prompt i; the same on all ranks of tensor and pipeline, over which it is
  // collective. All bring the same prompts. Throws UsageError for a prompt that is empty or leaves
  // no room.
  std::vector<Continuation> generate(std::span<const Prompt> prompts,
                                     const GenerationOptions& options,
                                     const TokenCallback& on_token = nullptr);

  std::int64_t cache_bytes() const;

  // The largest message that a pipeline group must take for a generator of this model.
  static std::int64_t max_message_bytes(const GptConfig& config);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace talaria::model
