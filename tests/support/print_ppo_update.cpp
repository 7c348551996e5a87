// SPDX-License-Identifier: Apache-2.0
// print_ppo_update: one update of PPO on a small model and a made-up minibatch, as JSON: weights,
// episodes with what is known of them, and the losses and gradients that the engine found. For a
// test that lets another program compute the same.
#include <algorithm>
#include <cmath>
#include <string>

#include <boost/json.hpp>
#include <fmt/core.h>

#include "parallel/communicator.h"
#include "tests/support/ppo_fixtures.h"
#include "worker/chat_data.h"
#include "worker/engine.h"
#include "worker/ppo/objectives.h"

namespace talaria::worker {
namespace {

namespace json = boost::json;

constexpr double kBeta = 0.1;
constexpr double kMixWeight = 0.25;

launch::Job small_job() {
  launch::Job job;
  job.job.kind = "ppo";
  job.job.seed = 21;
  job.model = {.layers = 2, .hidden = 32, .heads = 4, .ffn = 128, .context = 12, .vocab = 61};
  job.train.global_batch = 6;
  job.train.sequence_length = 12;
  job.mix.rows = 2;
  job.optimizer.decay_steps = 10;
  job.ppo.entropy_coefficient = 0.03;
  job.ppo.gamma = 0.95;
  job.ppo.lambda = 0.9;
  return job;
}

// Weights that matter: those of a new model, five times as large, and biases and norms of their
// own.
void spread(Engine& engine) {
  for (parallel::NamedBox& box : engine.stage().parameters().weight_boxes()) {
    const std::int64_t count = box.box.extent[0] * box.box.extent[1];
    for (std::int64_t i = 0; i < count; ++i) {
      box.data[i] *= box.vector ? 1.0F : 5.0F;
      if (box.vector) box.data[i] += 0.1F * std::sin(static_cast<float>(i) * 1.3F);
    }
  }
}

json::array numbers(const float* data, std::int64_t count) {
  json::array all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(static_cast<double>(data[i]));
  return all;
}

json::object tensors(Engine& engine, const float* base) {
  json::object all;
  const float* const weights = engine.stage().parameters().weights();
  for (const parallel::NamedBox& box : engine.optimizer().owned_weights()) {
    all[box.tensor] =
        json::object{{"shape", {box.global[0], box.global[1]}},
                     {"data", numbers(base + (box.data - weights), box.global[0] * box.global[1])}};
  }
  return all;
}

json::object describe(const Experience& each) {
  return {{"prompt", json::value_from(each.episode.prompt)},
          {"response", json::value_from(each.episode.response)},
          {"logprobs", json::value_from(each.logprobs)},
          {"reference", json::value_from(each.reference)},
          {"values", json::value_from(each.values)},
          {"score", each.score},
          {"advantages", json::value_from(each.advantages)},
          {"returns", json::value_from(each.returns)}};
}

class Update {
 public:
  Update() : job_(small_job()) {
    for (auto* group : {&groups_.world, &groups_.tensor, &groups_.pipeline, &groups_.data}) {
      *group = parallel::make_single_communicator();
    }
    all_ = made_up_experiences(job_.train.global_batch, job_.model.vocab, job_.ppo, kBeta);
    for (const Experience& each : all_) {
      rows_.push_back(&each);
      tokens_ += static_cast<double>(each.episode.tokens());
    }
  }

  json::object policy() {
    Engine engine(job_, 0, groups_, pool_);
    std::vector<const Experience*> rows = rows_;
    model::Batch batch = episodes();
    for (std::int64_t m = 0; m < job_.mix.rows; ++m) {
      storage::Row row;
      for (std::int64_t t = 0; t < batch.length; ++t) {
        row.inputs.push_back(text(m, t));
        row.targets.push_back(text(m, t + 1));
      }
      row.starts.resize(row.inputs.size(), 0);
      row.weights.resize(row.inputs.size(), 1.0F);
      append_row(row, batch);
      rows.push_back(nullptr);
    }
    PolicyObjective objective(rows, batch.length, kMixWeight,
                              {job_.ppo.clip, job_.ppo.entropy_coefficient, tokens_});
    return update(engine, batch, {.tokens = &objective});
  }

  json::object value() {
    Engine engine(job_, 0, groups_, pool_,
                  {.head = model::HeadKind::kScalar, .rows = job_.train.global_batch});
    ValueObjective objective(rows_, job_.ppo.value_clip, tokens_);
    return update(engine, episodes(), {.scalars = &objective});
  }

  json::object setting() const {
    json::array episodes;
    for (const Experience& each : all_) episodes.push_back(describe(each));
    json::array mix;
    for (std::int64_t m = 0; m < job_.mix.rows; ++m) {
      json::array ids;
      for (std::int64_t t = 0; t <= job_.train.sequence_length; ++t) ids.push_back(text(m, t));
      mix.push_back(ids);
    }
    return {
        {"layers", job_.model.layers},
        {"heads", job_.model.heads},
        {"clip", job_.ppo.clip},
        {"value_clip", job_.ppo.value_clip},
        {"entropy_coefficient", job_.ppo.entropy_coefficient},
        {"gamma", job_.ppo.gamma},
        {"lambda", job_.ppo.lambda},
        {"beta", kBeta},
        // Of the mean loss a token of the text.
        {"mix_coefficient",
         kMixWeight * static_cast<double>(job_.mix.rows * job_.train.sequence_length) / tokens_},
        {"episodes", episodes},
        {"mix", mix}};
  }

 private:
  std::int32_t text(std::int64_t row, std::int64_t t) const {
    return static_cast<std::int32_t>((row * 11 + t * t * 7 + 2) % job_.model.vocab);
  }

  model::Batch episodes() const {
    model::Batch batch;
    for (const Experience& each : all_) {
      append_row(episode_row(each.episode, job_.train.sequence_length, 0), batch);
    }
    return batch;
  }

  json::object update(Engine& engine, const model::Batch& batch,
                      const model::PassObjective& objective) {
    spread(engine);
    json::object out;
    out["weights"] = tensors(engine, engine.stage().parameters().weights());
    const StepReport report = engine.train_step(0, batch, objective, tokens_, false);
    out["loss"] = report.loss;
    out["grad_norm"] = report.grad_norm;
    out["gradients"] = tensors(engine, engine.stage().parameters().gradients());
    return out;
  }

  launch::Job job_;
  Groups groups_;
  ThreadPool pool_{1};
  std::vector<Experience> all_;
  std::vector<const Experience*> rows_;
  double tokens_ = 0.0;
};

}  // namespace
}  // namespace talaria::worker

int main() {
  talaria::worker::Update update;
  boost::json::object out = update.setting();
  out["policy"] = update.policy();
  out["value"] = update.value();
  fmt::print("{}\n", boost::json::serialize(out));
  return 0;
}
