// SPDX-License-Identifier: Apache-2.0
// What keys of a job file demand of each other. The first broken rule is refused, at its line.
#include <algorithm>
#include <cctype>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cluster/base/text.h"
#include "launch/job_reader.h"

namespace talaria::launch {

bool is_run_name(const std::string& name) {
  const auto is_allowed = [](unsigned char c) {
    return c < 0x80 && (std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-');
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), is_allowed) &&
         std::isalnum(static_cast<unsigned char>(name[0])) != 0;
}

namespace {

void settle_job(const JobReader& reader, const Job& job) {
  if (!reader.given("job.name")) {
    reader.refuse("job.name", fmt::format("missing; {}", kRunNameRule));
  }
  if (!is_run_name(job.job.name)) {
    reader.refuse("job.name",
                  fmt::format("found the string {}; {}", in_quotes(job.job.name), kRunNameRule));
  }
}

void settle_model(const JobReader& reader, Job& job) {
  model::GptConfig& model = job.model;
  if (!reader.given("model.ffn") && model.hidden <= (std::int64_t{1} << 40)) {
    model.ffn = 4 * model.hidden;
  }
  std::vector<std::string> problems;
  model::validate(model, problems);
  if (!problems.empty()) {
    const std::size_t colon = problems[0].find(": ");
    reader.refuse("model." + problems[0].substr(0, colon), problems[0].substr(colon + 2));
  }
  if (const auto kv_heads = reader.integer("model.kv_heads");
      kv_heads && *kv_heads != model.heads) {
    reader.refuse("model.kv_heads",
                  fmt::format("found {}; allowed: {} (model.heads: family gpt2 shares no keys)",
                              *kv_heads, model.heads));
  }
}

void settle_data(const JobReader& reader, const Job& job) {
  if (!job.data.sources.empty()) return;
  if (job.job.kind != "pretrain" && job.mix.rows == 0) return;
  reader.refuse("data.sources",
                "missing; allowed: one or more token files made by `talaria-worker data prepare`, "
                "sources = [{ path = \"data/text.tok\", weight = 1.0 }]");
}

void settle_length(const JobReader& reader, Job& job) {
  TrainSection& train = job.train;
  if (!reader.given("train.sequence_length")) train.sequence_length = job.model.context;
  // Where several pieces share a row, none of them has more than the context.
  const bool packs = job.job.kind == "reward" || (job.job.kind == "sft" && job.data.packing);
  if (train.sequence_length > job.model.context && !packs) {
    reader.refuse("train.sequence_length",
                  fmt::format("found {}; allowed: an integer from 1 to {} (model.context)",
                              train.sequence_length, job.model.context));
  }
}

void settle_steps(const JobReader& reader, Job& job) {
  TrainSection& train = job.train;
  const bool has_steps = reader.given("train.steps");
  const bool has_tokens = reader.given("train.tokens");
  if (has_steps == has_tokens) {
    reader.refuse(has_steps ? "train.tokens" : "train.steps",
                  fmt::format("{}; allowed: exactly one of train.steps and train.tokens",
                              has_steps ? "found beside train.steps" : "missing"));
  }
  // Both factors are below 2^31.
  const std::int64_t step_tokens = train.global_batch * train.sequence_length;
  if (has_tokens) {
    train.steps = train.tokens / step_tokens + (train.tokens % step_tokens == 0 ? 0 : 1);
    if (train.steps > kMostSteps) {
      reader.refuse("train.tokens", fmt::format("found {}, which is {} steps; allowed: at most {} "
                                                "steps",
                                                train.tokens, train.steps, kMostSteps));
    }
  }
  if (__builtin_mul_overflow(train.steps, step_tokens, &train.tokens)) {
    reader.refuse(has_steps ? "train.steps" : "train.tokens",
                  fmt::format("{} steps of {} tokens overflow 64 bits; allowed: fewer", train.steps,
                              step_tokens));
  }
}

void settle_layout(const JobReader& reader, Job& job) {
  const parallel::Layout& layout = job.parallel.layout;
  // Each axis is at most 2^20.
  const std::int64_t world = std::int64_t{layout.tensor} * layout.pipeline * layout.data;
  const std::string product = fmt::format("parallel.tensor {} x pipeline {} x data {}",
                                          layout.tensor, layout.pipeline, layout.data);
  if (world > kMostRanks) {
    const char* const largest = layout.data >= layout.tensor && layout.data >= layout.pipeline
                                    ? "parallel.data"
                                : layout.tensor >= layout.pipeline ? "parallel.tensor"
                                                                   : "parallel.pipeline";
    reader.refuse(largest,
                  fmt::format("{} is {} ranks; allowed: at most {}", product, world, kMostRanks));
  }
  if (!reader.given("cluster.ranks")) job.cluster.ranks = static_cast<int>(world);
  if (job.cluster.ranks != world) {
    reader.refuse("cluster.ranks",
                  fmt::format("found {}; allowed: {} ({})", job.cluster.ranks, world, product));
  }
  if (layout.pipeline > job.model.layers + 1) {
    reader.refuse("parallel.pipeline",
                  fmt::format("found {}; allowed: an integer from 1 to {} (model.layers + 1)",
                              layout.pipeline, job.model.layers + 1));
  }
  const std::int64_t unit = layout.data * job.train.micro_batch;  // below 2^51
  if (job.train.global_batch % unit != 0) {
    reader.refuse("train.global_batch",
                  fmt::format("found {}; allowed: a multiple of {} (parallel.data {} x "
                              "train.micro_batch {})",
                              job.train.global_batch, unit, layout.data, job.train.micro_batch));
  }
}

// The powers of two that divide `number`, ascending, none above `most`.
std::vector<std::int64_t> powers_of_two(std::int64_t number, std::int64_t most) {
  std::vector<std::int64_t> all;
  for (std::int64_t d = 1; d <= std::min(number, most) && number % d == 0; d *= 2) all.push_back(d);
  return all;
}

// Divisors of `number`, ascending, none above `most`.
std::vector<std::int64_t> divisors(std::int64_t number, std::int64_t most) {
  std::vector<std::int64_t> all;
  for (std::int64_t d = 1; d <= most && d * d <= number; ++d) {
    if (number % d != 0) continue;
    all.push_back(d);
    if (number / d != d && number / d <= most) all.push_back(number / d);
  }
  std::sort(all.begin(), all.end());
  return all;
}

// "1, 2 or 4"; of very many the first.
std::string list(const std::vector<std::int64_t>& numbers) {
  constexpr std::size_t kMostShown = 32;
  std::vector<std::string> words;
  for (const std::int64_t number : numbers) {
    if (words.size() == kMostShown) break;
    words.push_back(fmt::format("{}", number));
  }
  if (words.size() < numbers.size()) words.emplace_back("one of the larger ones");
  return join_or(words);
}

bool contains(const std::vector<std::int64_t>& numbers, std::int64_t number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

// One of the two fixed splits of invariant numerics: V with tp, or U with dp.
struct Split {
  const char* key;       // "job.virtual_shards"
  const char* axis_key;  // "parallel.tensor"
  std::int64_t axis;
  std::int64_t divided;    // what it must divide: one number, the greatest common divisor
  std::string divided_by;  // the same in words
};

constexpr std::int64_t kUsualSplit = 8;

// Returns the split: as given, or as saved, or the largest legal one up to kUsualSplit.
int settle_split(const JobReader& reader, const Split& split, int given, const int* saved) {
  const std::vector<std::int64_t> legal = powers_of_two(split.divided, 1 << 20);
  const std::string words =
      fmt::format("allowed: {} (invariant numerics: powers of two that divide {})", list(legal),
                  split.divided_by);
  const bool is_given = reader.given(split.key);
  if (is_given && !contains(legal, given)) {
    reader.refuse(split.key, fmt::format("found {}; {}", given, words));
  }
  std::int64_t value = given;
  if (!is_given && saved != nullptr) value = *saved;
  if (!is_given && saved == nullptr) {
    if (!contains(legal, split.axis)) {
      reader.refuse(split.axis_key, fmt::format("found {}; {}", split.axis, words));
    }
    for (const std::int64_t power : legal) {
      if (power <= kUsualSplit) value = power;
    }
    value = std::max(value, split.axis);
  }
  if (value % split.axis != 0) {
    reader.refuse(split.axis_key,
                  fmt::format("found {}; allowed: {} (powers of two that divide {} = {})",
                              split.axis, list(powers_of_two(value, value)), split.key, value));
  }
  return static_cast<int>(value);
}

void settle_numerics(const JobReader& reader, const Job* saved, Job& job) {
  model::Numerics& numerics = job.job.numerics;
  const parallel::Layout& layout = job.parallel.layout;
  const std::int64_t width = std::gcd(std::gcd(job.model.heads, job.model.hidden),
                                      std::gcd(job.model.ffn, job.train.sequence_length));
  const std::string shapes =
      fmt::format("model.heads {}, hidden {}, ffn {} and train.sequence_length {}", job.model.heads,
                  job.model.hidden, job.model.ffn, job.train.sequence_length);
  if (!numerics.invariant) {
    for (const char* key : {"job.virtual_shards", "job.sample_groups"}) {
      if (!reader.given(key)) continue;
      reader.refuse(key,
                    "found with fast numerics; allowed: with job.numerics = \"invariant\" only");
    }
    if (width % layout.tensor != 0) {
      reader.refuse("parallel.tensor",
                    fmt::format("found {}; allowed: {} (divisors of {})", layout.tensor,
                                list(divisors(width, 1 << 10)), shapes));
    }
    numerics.virtual_shards = layout.tensor;
    numerics.sample_groups = layout.data;
    return;
  }
  const bool resumes = saved != nullptr && saved->job.numerics.invariant;
  numerics.virtual_shards = settle_split(
      reader, {"job.virtual_shards", "parallel.tensor", layout.tensor, width, shapes},
      numerics.virtual_shards, resumes ? &saved->job.numerics.virtual_shards : nullptr);
  // Every group has the same share of the main rows and of the mix.
  const std::int64_t batch = std::gcd(job.train.global_batch, job.mix.rows);
  const std::string rows = job.mix.rows == 0
                               ? fmt::format("train.global_batch {}", job.train.global_batch)
                               : fmt::format("train.global_batch {} and mix.rows {}",
                                             job.train.global_batch, job.mix.rows);
  numerics.sample_groups = settle_split(
      reader,
      {"job.sample_groups", "parallel.data", layout.data, batch / job.train.micro_batch,
       fmt::format("{} / micro_batch {}", rows, job.train.micro_batch)},
      numerics.sample_groups, resumes ? &saved->job.numerics.sample_groups : nullptr);
  // A group is folded micro-batch by micro-batch; one may not reach into the next group.
  const std::int64_t group = batch / numerics.sample_groups;
  if (group % job.train.micro_batch != 0) {
    reader.refuse("train.micro_batch",
                  fmt::format("found {}; allowed: {} (divisors of a group, {} / job.sample_groups "
                              "{})",
                              job.train.micro_batch, list(divisors(group, group)), rows,
                              numerics.sample_groups));
  }
}

void settle_optimizer(const JobReader& reader, const Job* saved, Job& job) {
  OptimizerSection& optimizer = job.optimizer;
  if (!reader.given("optimizer.min_learning_rate")) {
    optimizer.min_learning_rate = optimizer.learning_rate / 10.0;
  }
  if (optimizer.min_learning_rate > optimizer.learning_rate) {
    reader.refuse("optimizer.min_learning_rate",
                  fmt::format("found {}; allowed: a number from 0 to {} (optimizer.learning_rate)",
                              optimizer.min_learning_rate, optimizer.learning_rate));
  }
  if (!reader.given("optimizer.decay_steps")) {
    // A trial of few steps ends inside the warm-up and must not fail for that.
    optimizer.decay_steps = saved != nullptr
                                ? saved->optimizer.decay_steps
                                : std::max(job.train.steps, optimizer.warmup_steps + 1);
  }
  if (optimizer.warmup_steps >= optimizer.decay_steps) {
    reader.refuse("optimizer.warmup_steps",
                  fmt::format("found {}; allowed: an integer from 0 to {} (less than "
                              "optimizer.decay_steps)",
                              optimizer.warmup_steps, optimizer.decay_steps - 1));
  }
}

}  // namespace

void settle(const JobReader& reader, const Job* saved, Job& job) {
  settle_job(reader, job);
  settle_model(reader, job);
  settle_data(reader, job);
  settle_length(reader, job);
  settle_layout(reader, job);
  settle_recipe(reader, job);
  settle_steps(reader, job);
  settle_numerics(reader, saved, job);
  settle_optimizer(reader, saved, job);
  settle_cluster(reader, job);
  settle_monitor(reader, job);
}

}  // namespace talaria::launch
