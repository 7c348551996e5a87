// SPDX-License-Identifier: Apache-2.0
// Generation in rounds: every live sequence brings the tokens that its cache lacks (a prompt, then
// the token drawn last), cut into passes of bounded rows; the last stage draws, and one broadcast
// tells all stages. What a round holds follows from the tokens alone, so all ranks plan the same.
#include "model/generator.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "cluster/base/error.h"
#include "cluster/device/buffer.h"

namespace talaria::model {
namespace {

// Rows of a pass: enough to keep a prompt's products busy, few enough to keep them in the cache.
constexpr std::int64_t kPassRows = 128;
// Rows whose logits are held at once.
constexpr std::int64_t kLogitRows = 64;

std::int64_t round_up(std::int64_t x, std::int64_t to) { return (x + to - 1) / to * to; }

// A sequence that occupies a slot.
struct Sequence {
  std::size_t prompt = 0;
  std::vector<std::int32_t> ids;  // of the prompt and drawn
  std::int64_t cached = 0;        // how many of them the cache holds
};

struct Pass {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> slots;
  std::vector<std::int32_t> positions;
  std::vector<std::int64_t> last_rows;  // after which a token is drawn, slots ascending
};

template <class T>
std::span<std::byte> bytes_of(std::vector<T>& values) {
  return std::as_writable_bytes(std::span(values));
}

}  // namespace

struct Generator::State {
  State(GptStage& stage_in, parallel::Communicator& tensor, parallel::Communicator& pipeline_in,
        std::int64_t slots_in, std::int64_t capacity_in)
      : stage(stage_in),
        pipeline(pipeline_in),
        setup(stage_in.setup()),
        capacity(capacity_in),
        pass_rows(std::min(kPassRows, setup.tokens())),
        slots(static_cast<std::size_t>(slots_in)),
        rows(pass_rows * setup.config.hidden),
        drawn_rows(std::min(kLogitRows, pass_rows) * setup.config.hidden) {
    TALARIA_CHECK(slots_in > 0 && capacity > 0 && capacity <= setup.config.context,
                  "{} slots of {} tokens", slots_in, capacity);
    TALARIA_CHECK(tensor.size() == setup.layout.tensor && pipeline.size() == setup.layout.pipeline,
                  "groups of {} and {}", tensor.size(), pipeline.size());
    const std::int64_t heads = setup.shards() * setup.per_shard(setup.config.heads);
    const std::int64_t tokens = round_up(capacity, kCacheTokens);
    const std::int64_t lanes = round_up(setup.config.head_size(), kCacheLanes);
    const std::int64_t count =
        checked_product(slots_in, heads * tokens * lanes, "cache of keys and values");
    for (std::int64_t l = setup.first_layer; l < setup.last_layer; ++l) {
      const auto take = [&]() -> TensorView {
        memory.emplace_back(count);
        return {memory.back().data(), {slots_in, heads, tokens, lanes}};
      };
      const TensorView keys = take();
      caches.push_back({keys, take()});
    }
  }

  void check(std::span<const Prompt> prompts) const;
  void seat(std::span<const Prompt> prompts);
  std::vector<Pass> plan();
  void run(const Pass& pass, std::size_t first_drawn);
  void draw_rows(const Pass& pass, const TensorView& x, std::size_t first_drawn);
  void draw_chunk(ConstTensorView logits, std::span<const std::int32_t> of_slots,
                  std::size_t first_drawn);

  GptStage& stage;
  parallel::Communicator& pipeline;
  const StageSetup& setup;
  std::int64_t capacity;
  std::int64_t pass_rows;
  std::vector<std::optional<Sequence>> slots;
  std::vector<HostBuffer<float>> memory;  // of the caches
  std::vector<LayerCache> caches;
  HostBuffer<float> rows;        // [pass_rows, C]
  HostBuffer<float> drawn_rows;  // [kLogitRows, C]

  // Of the call of generate() that runs.
  std::span<const Prompt> prompts;
  SamplerOptions sampler;
  std::size_t vocab = 0;
  std::size_t next_prompt = 0;
  std::vector<Drawn> drawn;  // of a round, in the order of the passes' last rows
};

void Generator::State::check(std::span<const Prompt> wanted) const {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const std::vector<std::int32_t>& ids = wanted[i].ids;
    if (ids.empty()) fail_usage("prompt {}: no tokens; a prompt needs at least one", i + 1);
    if (static_cast<std::int64_t>(ids.size()) >= capacity) {
      fail_usage("prompt {}: {} tokens leave no room in a sequence of {}; shorten it", i + 1,
                 ids.size(), capacity);
    }
    for (const std::int32_t id : ids) {
      if (id >= 0 && id < setup.config.vocab) continue;
      fail_usage("prompt {}: token {} is not in the vocabulary of {}", i + 1, id,
                 setup.config.vocab);
    }
  }
}

// Gives free slots the next prompts.
void Generator::State::seat(std::span<const Prompt> waiting) {
  for (std::optional<Sequence>& slot : slots) {
    if (slot || next_prompt == waiting.size()) continue;
    slot.emplace();
    slot->prompt = next_prompt;
    slot->ids = waiting[next_prompt].ids;
    ++next_prompt;
  }
}

// All that the caches lack.
std::vector<Pass> Generator::State::plan() {
  std::vector<Pass> passes;
  for (std::size_t s = 0; s < slots.size(); ++s) {
    if (!slots[s]) continue;
    Sequence& sequence = *slots[s];
    const auto length = static_cast<std::int64_t>(sequence.ids.size());
    for (; sequence.cached < length; ++sequence.cached) {
      if (passes.empty() || static_cast<std::int64_t>(passes.back().ids.size()) == pass_rows) {
        passes.emplace_back();
      }
      Pass& pass = passes.back();
      pass.ids.push_back(sequence.ids[static_cast<std::size_t>(sequence.cached)]);
      pass.slots.push_back(static_cast<std::int32_t>(s));
      pass.positions.push_back(static_cast<std::int32_t>(sequence.cached));
    }
    passes.back().last_rows.push_back(static_cast<std::int64_t>(passes.back().ids.size()) - 1);
  }
  return passes;
}

void Generator::State::run(const Pass& pass, std::size_t first_drawn) {
  const auto count = static_cast<std::int64_t>(pass.ids.size());
  const TensorView x(rows.data(), {count, setup.config.hidden});
  const auto bytes = std::as_writable_bytes(std::span(x.data, static_cast<std::size_t>(x.count())));
  if (!setup.is_first()) pipeline.recv(bytes, setup.at.pipeline - 1);
  stage.infer({{pass.slots.data(), {count}}, {pass.positions.data(), {count}}},
              {pass.ids.data(), {count}}, caches, x);
  if (!setup.is_last()) return pipeline.send(bytes, setup.at.pipeline + 1);
  draw_rows(pass, x, first_drawn);
}

void Generator::State::draw_rows(const Pass& pass, const TensorView& x, std::size_t first_drawn) {
  const std::int64_t c = setup.config.hidden;
  const std::int64_t most = drawn_rows.count() / c;
  const auto all = static_cast<std::int64_t>(pass.last_rows.size());
  for (std::int64_t first = 0; first < all; first += most) {
    const std::int64_t count = std::min(most, all - first);
    std::vector<std::int32_t> of_slots;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = pass.last_rows[static_cast<std::size_t>(first + i)];
      of_slots.push_back(pass.slots[static_cast<std::size_t>(row)]);
      std::memcpy(drawn_rows.data() + i * c, x.data + row * c,
                  static_cast<std::size_t>(c) * sizeof(float));
    }
    draw_chunk(stage.infer_logits({drawn_rows.data(), {count, c}}), of_slots,
               first_drawn + static_cast<std::size_t>(first));
  }
}

// logits [all V, R, Vocab/Vall]
void Generator::State::draw_chunk(ConstTensorView logits, std::span<const std::int32_t> of_slots,
                                  std::size_t first_drawn) {
  const auto draw_one = [&](std::int64_t row, int) {
    const std::int64_t part = logits.dim(2);
    const Sequence& sequence =
        *slots[static_cast<std::size_t>(of_slots[static_cast<std::size_t>(row)])];
    std::vector<float> whole;
    std::span<const float> row_logits;
    if (logits.dim(0) == 1) {
      row_logits = {logits.data + row * part, vocab};
    } else {
      whole.reserve(static_cast<std::size_t>(logits.dim(0) * part));
      for (std::int64_t v = 0; v < logits.dim(0); ++v) {
        const float* from = logits.data + (v * logits.dim(1) + row) * part;
        whole.insert(whole.end(), from, from + part);
      }
      row_logits = std::span(whole).first(vocab);
    }
    drawn[first_drawn + static_cast<std::size_t>(row)] =
        draw(row_logits, sampler, prompts[sequence.prompt].key,
             static_cast<std::int64_t>(sequence.ids.size()));
  };
  stage.pool().run(logits.dim(1), draw_one);
}

Generator::Generator(GptStage& stage, parallel::Communicator& tensor,
                     parallel::Communicator& pipeline, std::int64_t slots, std::int64_t capacity)
    : state_(std::make_unique<State>(stage, tensor, pipeline, slots, capacity)) {}

Generator::~Generator() = default;

std::int64_t Generator::max_message_bytes(const GptConfig& config) {
  return kPassRows * config.hidden * static_cast<std::int64_t>(sizeof(float));
}

std::int64_t Generator::cache_bytes() const {
  std::int64_t bytes = 0;
  for (const HostBuffer<float>& each : state_->memory) {
    bytes += each.count() * static_cast<std::int64_t>(sizeof(float));
  }
  return bytes;
}

std::vector<Continuation> Generator::generate(std::span<const Prompt> prompts,
                                              const GenerationOptions& options,
                                              const TokenCallback& on_token) {
  State& s = *state_;
  s.check(prompts);
  std::vector<Continuation> continuations(prompts.size());
  if (options.max_tokens <= 0) return continuations;
  s.prompts = prompts;
  s.sampler = options.sampler;
  TALARIA_CHECK(options.vocab >= 0 && options.vocab <= s.setup.config.vocab, "vocab {}",
                options.vocab);
  s.vocab = static_cast<std::size_t>(options.vocab > 0 ? options.vocab : s.setup.config.vocab);
  s.next_prompt = 0;
  for (std::optional<Sequence>& slot : s.slots) slot.reset();
  const auto ends = [&](const Sequence& sequence, Continuation& continuation) {
    continuation.stopped = std::find(options.stop_ids.begin(), options.stop_ids.end(),
                                     sequence.ids.back()) != options.stop_ids.end();
    return continuation.stopped ||
           static_cast<std::int64_t>(continuation.ids.size()) == options.max_tokens ||
           static_cast<std::int64_t>(sequence.ids.size()) == s.capacity;
  };

  while (true) {
    s.seat(prompts);
    const std::vector<Pass> passes = s.plan();
    if (passes.empty()) return continuations;
    std::size_t drawn = 0;
    for (const Pass& pass : passes) drawn += pass.last_rows.size();
    s.drawn.assign(drawn, {});
    drawn = 0;
    for (const Pass& pass : passes) {
      s.run(pass, drawn);
      drawn += pass.last_rows.size();
    }
    s.pipeline.broadcast(bytes_of(s.drawn), s.pipeline.size() - 1);
    drawn = 0;
    for (std::optional<Sequence>& slot : s.slots) {
      if (!slot) continue;
      const Drawn& next = s.drawn[drawn++];
      Continuation& continuation = continuations[slot->prompt];
      slot->ids.push_back(next.id);
      continuation.ids.push_back(next.id);
      continuation.logprobs.push_back(next.logprob);
      if (on_token) on_token(slot->prompt, next.id);
      if (ends(*slot, continuation)) slot.reset();
    }
  }
}

}  // namespace talaria::model
