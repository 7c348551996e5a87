// SPDX-License-Identifier: Apache-2.0
#include "worker/ppo/ppo_task.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <boost/json.hpp>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "model/rl/ema.h"
#include "model/rl/kl_controller.h"
#include "storage/checkpoint/crash_point.h"
#include "storage/checkpoint/reader.h"
#include "storage/text/permutation.h"
#include "worker/chat_data.h"
#include "worker/ppo/objectives.h"
#include "worker/rl_metrics.h"
#include "worker/samples.h"
#include "worker/start.h"

namespace talaria::worker {

namespace json = boost::json;

PpoTask::PpoTask(const launch::Job& job, bool leads)
    : job_(job),
      tokenizer_(open_tokenizer(job)),
      rollout_(job, tokenizer_, leads),
      scorer_(job, rollout_),
      fingerprint_(files_fingerprint(job, job.data.files, tokenizer_)),
      beta_(job.ppo.kl_coefficient) {
  if (job.mix.rows == 0) return;
  mix_.emplace(open_dataset(job));
  fingerprint_ = fmt::format("{}+{}", fingerprint_, mix_->fingerprint());
}

void PpoTask::build(const TaskResources& resources) {
  resources_.emplace(resources);
  policy_ = std::make_unique<Engine>(job_, resources.rank, resources.groups, resources.pool);
  load_start("weights", job_.start.weights, StartUse::kTrained, resources, *policy_);
  value_ = std::make_unique<Engine>(job_, resources.rank, resources.groups, resources.pool,
                                    EngineOptions{.head = model::HeadKind::kScalar,
                                                  .rows = job_.train.global_batch,
                                                  .learning_rate = job_.ppo.value_learning_rate});
  load_start("value", job_.start.value, StartUse::kTrained, resources, *value_);
  reference_ = std::make_unique<FrozenModel>(job_, "reference", job_.start.reference,
                                             model::HeadKind::kLanguageModel);
  reference_->open(resources);
  scorer_.open(resources);
  if (job_.ppo.ema > 0.0) {
    const model::Parameters& parameters = policy_->stage().parameters();
    average_ = HostBuffer<float>(parameters.count());
    std::memcpy(average_.data(), parameters.weights(),
                static_cast<std::size_t>(parameters.count()) * sizeof(float));
  }
}

std::vector<TaskModel> PpoTask::models() { return {{"", policy_.get()}, {"value_", value_.get()}}; }

std::vector<TaskBuffer> PpoTask::buffers() {
  if (job_.ppo.ema == 0.0) return {};
  return {{storage::kAveragedGroup, policy_.get(), average_.data()}};
}

model::Generator& PpoTask::generator() {
  if (generator_ == nullptr) {
    Groups& groups = resources_->groups;
    generator_ =
        std::make_unique<model::Generator>(policy_->stage(), *groups.tensor, *groups.pipeline,
                                           job_.ppo.slots, job_.train.sequence_length);
  }
  return *generator_;
}

void PpoTask::done_generating() {
  if (job_.ppo.offload) generator_.reset();
}

void PpoTask::begin() {
  if (!resources_->resumes) answer_samples(0);
}

std::string PpoTask::state() const {
  return json::serialize(json::object{{"beta_bits", std::bit_cast<std::int64_t>(beta_)},
                                      {"value_updates", value_->optimizer().updates()}});
}

void PpoTask::set_state(const std::string& text) {
  const json::value state = json::parse(text);
  beta_ = std::bit_cast<double>(state.at("beta_bits").to_number<std::int64_t>());
  value_->optimizer().set_updates(state.at("value_updates").to_number<std::int64_t>());
}

std::vector<std::vector<float>> PpoTask::pass(Engine& engine, const std::vector<Episode>& episodes,
                                              TokenNumber wanted) const {
  return forward_pass(
      engine, job_, static_cast<std::int64_t>(episodes.size()),
      [&](std::int64_t row, model::Batch& batch) {
        append_row(episode_row(episodes[static_cast<std::size_t>(row)], job_.train.sequence_length,
                               rollout_.pad()),
                   batch);
      },
      {wanted}, logit_scale());
}

std::vector<Experience> PpoTask::gather_experience(std::vector<Episode> episodes) {
  const Scorer::Scores scores = scorer_.score(episodes, true, resources_->groups);
  const auto nll = pass(*policy_, episodes, TokenNumber::kNll);
  const auto reference = pass(reference_->use(), episodes, TokenNumber::kNll);
  reference_->done();
  const auto values = pass(*value_, episodes, TokenNumber::kValue);
  const auto t = static_cast<std::size_t>(job_.train.sequence_length);
  std::vector<Experience> all(episodes.size());
  for (std::size_t e = 0; e < all.size(); ++e) {
    Experience& each = all[e];
    const auto row = [&](const std::vector<float>& numbers) {
      return at_actions(episodes[e], std::span(numbers).subspan(e * t, t));
    };
    each.score = scores.total[e];
    if (!scores.model.empty()) each.model_score = scores.model[e];
    if (!scores.rule.empty()) each.rule_score = scores.rule[e];
    each.logprobs = row(nll[0]);
    each.reference = row(reference[0]);
    each.values = row(values[0]);
    for (double& logprob : each.logprobs) logprob = -logprob;
    for (double& logprob : each.reference) logprob = -logprob;
    each.episode = std::move(episodes[e]);
  }
  estimate(all, job_.ppo, beta_);
  return all;
}

StepReport PpoTask::step(std::int64_t step, bool stop_requested) {
  const double started = monotonic_seconds();
  resources_->reporter.enter(wire::Phase::kRollout);
  storage::crash_point("rollout.begin");
  std::vector<Episode> episodes = rollout_.sample(step, generator(), resources_->groups);
  done_generating();
  const double rolled_out = monotonic_seconds();
  resources_->reporter.enter(wire::Phase::kScore);
  storage::crash_point("score.begin");
  const std::vector<Experience> all = gather_experience(std::move(episodes));
  const double scored = monotonic_seconds();
  resources_->reporter.enter(wire::Phase::kStep);
  storage::crash_point("update.begin");
  StepReport report;
  report.metrics = rollout_metrics(all, beta_);
  update(step, all, stop_requested, report);

  const model::KlController controller = {job_.ppo.kl == "adaptive", job_.ppo.kl_target,
                                          job_.ppo.kl_horizon};
  if (report.applied) beta_ = controller.next(beta_, mean_kl(all), job_.ppo.rollout_batch);
  steps_done_ = step + 1;
  double tokens = 0.0;
  for (const Experience& each : all) tokens += static_cast<double>(each.episode.tokens());
  report.metrics[std::string(metric::kLearningRate)] = report.learning_rate;
  report.metrics[std::string(metric::kEpisode)] =
      static_cast<double>((step + 1) * job_.ppo.rollout_batch);
  const double updated = monotonic_seconds();
  report.metrics[std::string(metric::kRolloutSeconds)] = rolled_out - started;
  report.metrics[std::string(metric::kScoreSeconds)] = scored - rolled_out;
  report.metrics[std::string(metric::kUpdateSeconds)] = updated - scored;
  report.metrics[std::string(metric::kTokensPerSecond)] = tokens / (rolled_out - started);
  report.metrics[std::string(metric::kEpisodesPerSecond)] =
      static_cast<double>(job_.ppo.rollout_batch) / (updated - started);
  return report;
}

std::vector<std::int64_t> PpoTask::epoch_order(std::int64_t step, std::int64_t epoch) const {
  const std::uint64_t key =
      storage::mix_keys(storage::mix_keys(job_.job.seed, static_cast<std::uint64_t>(step)),
                        static_cast<std::uint64_t>(epoch) + 1);
  const storage::Permutation permutation(job_.ppo.rollout_batch, key);
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < job_.ppo.rollout_batch; ++i) order.push_back(permutation(i));
  return order;
}

void PpoTask::update(std::int64_t step, const std::vector<Experience>& all, bool stop_requested,
                     StepReport& report) {
  UpdateCounter counter(job_.ppo);
  const std::int64_t per_epoch = job_.ppo.rollout_batch / job_.train.global_batch;
  bool goes_on = true;
  for (std::int64_t epoch = 0; epoch < job_.ppo.epochs && goes_on; ++epoch) {
    const std::vector<std::int64_t> order = epoch_order(step, epoch);
    for (std::int64_t m = 0; m < per_epoch && goes_on; ++m) {
      Minibatch episodes;
      for (std::int64_t i = 0; i < job_.train.global_batch; ++i) {
        const auto at = static_cast<std::size_t>(m * job_.train.global_batch + i);
        episodes.push_back(&all[static_cast<std::size_t>(order[at])]);
      }
      const std::int64_t number = (step * job_.ppo.epochs + epoch) * per_epoch + m;
      const double kl = update_policy(step, number, episodes, stop_requested, counter, report);
      // What the policy could not learn from, the value network does not learn from either.
      if (report.applied) update_value(step, episodes, counter, report);
      goes_on = report.applied && (job_.ppo.stop_kl == 0.0 || kl <= job_.ppo.stop_kl);
    }
  }
  report.metrics.merge(counter.metrics());
  report.loss = report.metrics.at(std::string(metric::kPolicyLoss));
}

double PpoTask::update_policy(std::int64_t step, std::int64_t update, const Minibatch& episodes,
                              bool stop_requested, UpdateCounter& counter, StepReport& report) {
  double tokens = 0.0;
  for (const Experience* each : episodes) tokens += static_cast<double>(each->episode.tokens());
  const auto mix_tokens = static_cast<double>(job_.mix.rows * job_.train.sequence_length);
  const double mix_weight = job_.mix.rows == 0 ? 0.0 : job_.mix.coefficient * tokens / mix_tokens;
  model::Batch batch;
  batch.length = job_.train.sequence_length;
  std::vector<const Experience*> own;
  std::vector<float> scales;
  for (const RowPlace& place : rows_of_rank(job_, policy_->at().data)) {
    if (place.mix) {
      own.push_back(nullptr);
      append_window(*mix_, update * job_.mix.rows + place.index, 1.0F, batch);
    } else {
      own.push_back(episodes[static_cast<std::size_t>(place.index)]);
      append_row(episode_row(own.back()->episode, batch.length, rollout_.pad()), batch);
    }
    scales.resize(batch.inputs.size(), place.mix ? 1.0F : logit_scale());
  }
  PolicyObjective objective(own, batch.length, mix_weight,
                            {job_.ppo.clip, job_.ppo.entropy_coefficient, tokens});
  const StepReport done = policy_->train_step(
      step, batch, {.tokens = &objective, .entropy = true, .logit_scales = scales}, tokens,
      stop_requested);
  report.applied &= done.applied;
  report.stop |= done.stop;
  if (!done.applied) report.nonfinite_rank = done.nonfinite_rank;
  report.grad_norm = done.grad_norm;
  report.learning_rate = done.learning_rate;
  if (done.applied && job_.ppo.ema > 0.0) {
    const auto count = static_cast<std::size_t>(average_.count());
    model::update_average(resources_->pool, {average_.data(), count},
                          {policy_->stage().parameters().weights(), count}, job_.ppo.ema);
  }
  std::vector<const Experience*> rows;
  for (const RowPlace& place : rows_of_step(job_)) {
    rows.push_back(place.mix ? nullptr : episodes[static_cast<std::size_t>(place.index)]);
  }
  const std::vector<float> nll = policy_->gather(policy_->stage().token_nll());
  const std::vector<float> entropy = policy_->gather(policy_->stage().token_entropy());
  counter.add_mix(rows, nll, static_cast<std::size_t>(batch.length));
  return counter.add_policy(rows, nll, entropy, static_cast<std::size_t>(batch.length));
}

void PpoTask::update_value(std::int64_t step, const Minibatch& episodes, UpdateCounter& counter,
                           StepReport& report) {
  double tokens = 0.0;
  for (const Experience* each : episodes) tokens += static_cast<double>(each->episode.tokens());
  const auto first = episodes.begin() + value_->first_sample();
  const std::vector<const Experience*> own(first,
                                           first + value_->stage().setup().samples_per_rank());
  model::Batch batch;
  batch.length = job_.train.sequence_length;
  for (const Experience* each : own) {
    append_row(episode_row(each->episode, batch.length, rollout_.pad()), batch);
  }
  ValueObjective objective(own, job_.ppo.value_clip, tokens);
  const StepReport done = value_->train_step(step, batch, {.scalars = &objective}, tokens, false);
  report.applied &= done.applied;
  if (!done.applied) report.nonfinite_rank = done.nonfinite_rank;
  counter.add_value(episodes, value_->gather(value_->stage().token_values()),
                    static_cast<std::size_t>(batch.length));
}

std::optional<Evaluation> PpoTask::answer_samples(std::int64_t step) {
  float* const weights = policy_->stage().parameters().weights();
  const auto exchange = [&] {
    std::swap_ranges(average_.data(), average_.data() + average_.count(), weights);
  };
  exchange();
  const std::vector<Episode> episodes =
      rollout_.answer(job_.train.eval_samples, generator(), resources_->groups);
  exchange();
  done_generating();
  const Scorer::Scores scores = scorer_.score(episodes, false, resources_->groups);
  if (resources_->rank == 0) write_samples(step, episodes, scores);
  if (rollout_.validation().empty()) return std::nullopt;
  const auto mean = [](const std::vector<double>& numbers) {
    double sum = 0.0;
    for (const double number : numbers) sum += number;
    return sum / static_cast<double>(numbers.size());
  };
  Evaluation found;
  found.loss = -mean(scores.total);
  found.metrics["validation_score"] = -found.loss;
  if (!scores.model.empty()) found.metrics["validation_model_score"] = mean(scores.model);
  if (!scores.rule.empty()) found.metrics["validation_rule_score"] = mean(scores.rule);
  return found;
}

std::optional<Evaluation> PpoTask::evaluate() { return answer_samples(steps_done_); }

void PpoTask::write_samples(std::int64_t step, const std::vector<Episode>& episodes,
                            const Scorer::Scores& scores) const {
  constexpr std::size_t kMostShown = 16;
  for (std::size_t e = 0; e < std::min(episodes.size(), kMostShown); ++e) {
    json::object line;
    line["step"] = step;
    line["prompt"] = rollout_.prompt_of(episodes[e], false).text;
    // Tokens may be parts of characters.
    line["response"] = valid_utf8(rollout_.words(episodes[e]));
    line["stopped"] = episodes[e].stopped;
    line["score"] = scores.total[e];
    append_line(resources_->run_path / "samples.jsonl", json::serialize(line));
  }
}

void PpoTask::check_unchanged() const {
  if (mix_) mix_->check_unchanged();
}

std::int64_t PpoTask::step_tokens() const {
  return job_.ppo.rollout_batch * job_.train.sequence_length;
}

double PpoTask::step_flops() const {
  // A forward pass is a third of a step: reference, reward model, policy and value network score
  // the rollout; the two that are trained make `epochs` passes.
  const double pass = model::step_flops(job_.model, step_tokens(), job_.train.sequence_length);
  return pass *
         ((scorer_.has_model() ? 4.0 : 3.0) / 3.0 + 2.0 * static_cast<double>(job_.ppo.epochs));
}

}  // namespace talaria::worker
