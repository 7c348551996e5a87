// SPDX-License-Identifier: Apache-2.0
// Which prompts an iteration of PPO takes, and what a response scores: rules, reward model,
// weights, limits, refusals. The value network's learning rate.
#include <cmath>
#include <fstream>
#include <limits>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "parallel/communicator.h"
#include "tests/support/chat_fixtures.h"
#include "tests/unit/reward_model.h"
#include "worker/exchange.h"
#include "worker/ppo/scorer.h"
#include "worker/start.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

launch::Job small_ppo_job(const fs::path& folder) {
  launch::Job job;
  job.job.kind = "ppo";
  job.job.seed = 3;
  job.model = {.layers = 1, .hidden = 16, .heads = 2, .ffn = 64, .context = 12, .vocab = 257};
  job.data.files = {(folder / "prompts.jsonl").string()};
  job.data.chat = "plain";
  job.data.validation = 0.0;
  job.train.global_batch = 4;
  job.train.sequence_length = 12;
  job.optimizer.decay_steps = 10;
  job.ppo.rollout_batch = 4;
  job.ppo.response_tokens = 5;
  job.ppo.slots = 2;
  job.rewards.rule = "exact";
  return job;
}

// A model of one rank, and files in a folder of its own.
class PpoParts : public testing::Test {
 protected:
  PpoParts()
      : folder_(fs::temp_directory_path() / fmt::format("talaria_ppo_parts_{}", ::getpid())),
        reporter_(std::make_shared<wire::RankStatus>()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (auto* group : {&groups_.world, &groups_.tensor, &groups_.pipeline, &groups_.data}) {
      *group = parallel::make_single_communicator();
    }
    std::ofstream prompts(folder_ / "prompts.jsonl");
    for (int i = 0; i < 7; ++i) {
      prompts << fmt::format("{{\"prompt\":\"{}=\",\"answer\":\"{}\"}}\n", i, i);
    }
  }
  ~PpoParts() override { fs::remove_all(folder_); }

  TaskResources resources() { return {0, groups_, pool_, reporter_, folder_, "", false, origins_}; }

  // An episode of prompt `line` that answers `words`.
  static Episode answered(const Rollout& rollout, std::int64_t line, const std::string& words,
                          bool stopped = true) {
    Episode episode;
    episode.line = line;
    episode.prompt = rollout.training()[static_cast<std::size_t>(line)].ids;
    episode.response = talaria::test::bytes_as_ids(words);
    if (stopped) episode.response.push_back(talaria::test::kTinyEndOfText);
    episode.stopped = stopped;
    return episode;
  }

  std::string reward_model(const launch::Job& job, std::optional<float> bias) {
    const fs::path root = folder_ / fmt::format("reward-{}", ++reward_models_);
    return worker::test::save_reward_model(job, groups_, pool_, root, bias);
  }

  fs::path folder_;
  Groups groups_;
  ThreadPool pool_{1};
  Reporter reporter_;
  std::vector<Origin> origins_;
  storage::Tokenizer tokenizer_ = talaria::test::tiny_tokenizer();
  int reward_models_ = 0;
};

using RolloutOf = PpoParts;
using ScorerOf = PpoParts;
using ValueNetwork = PpoParts;

std::vector<std::int64_t> lines_of(const std::vector<Episode>& episodes) {
  std::vector<std::int64_t> lines;
  lines.reserve(episodes.size());
  for (const Episode& each : episodes) lines.push_back(each.line);
  return lines;
}

TEST_F(RolloutOf, EveryPromptComesOnceAnEpochWhateverCameBefore) {
  const launch::Job job = small_ppo_job(folder_);
  const Rollout rollout(job, tokenizer_, false);
  Engine engine(job, 0, groups_, pool_);
  model::Generator generator(engine.stage(), *groups_.tensor, *groups_.pipeline, 2, 12);
  std::vector<Episode> all;
  for (std::int64_t iteration = 0; iteration < 7; ++iteration) {
    const auto episodes = rollout.sample(iteration, generator, groups_);
    ASSERT_EQ(episodes.size(), 4U);
    all.insert(all.end(), episodes.begin(), episodes.end());
  }
  std::set<std::vector<std::int64_t>> orders;
  for (std::size_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<std::int64_t> lines;
    for (std::size_t i = 0; i < 7; ++i) lines.push_back(all[epoch * 7 + i].line);
    orders.insert(lines);
    EXPECT_EQ(std::set<std::int64_t>(lines.begin(), lines.end()).size(), 7U) << epoch;
  }
  EXPECT_EQ(orders.size(), 4U);
  // Another object, asked for one iteration only.
  const auto again = Rollout(job, tokenizer_, false).sample(3, generator, groups_);
  std::set<std::vector<std::int32_t>> responses;
  for (std::size_t e = 0; e < 4; ++e) {
    EXPECT_EQ(again[e].line, all[12 + e].line);
    EXPECT_EQ(again[e].prompt, rollout.training()[static_cast<std::size_t>(again[e].line)].ids);
    EXPECT_EQ(again[e].response, all[12 + e].response);
    EXPECT_EQ(again[e].sampler_logprobs, all[12 + e].sampler_logprobs);
  }
  // The same prompt is answered otherwise in another epoch.
  for (const Episode& each : all) {
    if (each.line == 0) responses.insert(each.response);
    EXPECT_TRUE(each.stopped || each.response.size() == 5);
    EXPECT_EQ(each.response.size(), each.sampler_logprobs.size());
  }
  EXPECT_EQ(responses.size(), 4U);
  launch::Job other = job;
  other.job.seed = 4;
  EXPECT_NE(lines_of(Rollout(other, tokenizer_, false).sample(0, generator, groups_)),
            lines_of({all.begin(), all.begin() + 4}));
}

TEST_F(RolloutOf, AnswersAreTheLikeliestToTheFirstValidationPrompts) {
  launch::Job job = small_ppo_job(folder_);
  Engine engine(job, 0, groups_, pool_);
  model::Generator generator(engine.stage(), *groups_.tensor, *groups_.pipeline, 2, 12);
  const Rollout without(job, tokenizer_, false);
  EXPECT_THAT(lines_of(without.answer(3, generator, groups_)), ElementsAre(0, 1, 2));
  EXPECT_EQ(without.answer(100, generator, groups_).size(), 7U);
  job.data.validation = 0.5;
  const Rollout split(job, tokenizer_, false);
  ASSERT_FALSE(split.validation().empty());
  ASSERT_EQ(split.validation().size() + split.training().size(), 7U);
  const auto first = split.answer(100, generator, groups_);
  EXPECT_EQ(first.size(), split.validation().size());
  EXPECT_EQ(first[0].prompt, split.validation()[0].ids);
  EXPECT_EQ(split.prompt_of(first[0], false).text, split.validation()[0].text);
  EXPECT_EQ(split.prompt_of(first[0], true).text, split.training()[0].text);
  EXPECT_EQ(split.answer(1, generator, groups_)[0].response, first[0].response);
}

TEST_F(RolloutOf, WordsAreWithoutTheStopToken) {
  const Rollout rollout(small_ppo_job(folder_), tokenizer_, false);
  EXPECT_EQ(rollout.words(answered(rollout, 0, "42")), "42");
  EXPECT_EQ(rollout.words(answered(rollout, 0, "42", false)), "42");
  EXPECT_EQ(rollout.words(answered(rollout, 0, "")), "");
}

TEST_F(ScorerOf, ARuleIsWeightedAndLimited) {
  launch::Job job = small_ppo_job(folder_);
  const Rollout rollout(job, tokenizer_, false);
  const std::vector<Episode> episodes = {answered(rollout, 3, rollout.training()[3].answer),
                                         answered(rollout, 3, "no")};
  const Scorer::Scores plain = Scorer(job, rollout).score(episodes, true, groups_);
  EXPECT_THAT(plain.total, ElementsAre(1.0, 0.0));
  EXPECT_THAT(plain.rule, ElementsAre(1.0, 0.0));
  EXPECT_TRUE(plain.model.empty());
  job.rewards.rule_weight = -3.0;
  EXPECT_THAT(Scorer(job, rollout).score(episodes, true, groups_).total, ElementsAre(-3.0, 0.0));
  job.rewards.clip = 2.0;
  EXPECT_THAT(Scorer(job, rollout).score(episodes, true, groups_).total, ElementsAre(-2.0, 0.0));
}

TEST_F(ScorerOf, AnUnfinishedResponseHasAScoreOfItsOwn) {
  launch::Job job = small_ppo_job(folder_);
  const Rollout rollout(job, tokenizer_, false);
  const std::string right = rollout.training()[3].answer;
  const std::vector<Episode> episodes = {answered(rollout, 3, right),
                                         answered(rollout, 3, right, false)};
  EXPECT_THAT(Scorer(job, rollout).score(episodes, true, groups_).total, ElementsAre(1.0, 1.0));
  job.rewards.score_unfinished = false;
  job.rewards.unfinished_score = -1.5;
  EXPECT_THAT(Scorer(job, rollout).score(episodes, true, groups_).total, ElementsAre(1.0, -1.5));
}

TEST_F(ScorerOf, AModelIsAskedAtTheLastToken) {
  launch::Job job = small_ppo_job(folder_);
  job.start.reward = reward_model(job, std::nullopt);
  job.rewards.model = 2.0;
  job.rewards.rule_weight = 0.5;
  const Rollout rollout(job, tokenizer_, false);
  Scorer scorer(job, rollout);
  EXPECT_TRUE(scorer.has_model());
  scorer.open(resources());
  const std::vector<Episode> episodes = {answered(rollout, 3, rollout.training()[3].answer),
                                         answered(rollout, 1, "abc"),
                                         answered(rollout, 2, "x", false)};
  const Scorer::Scores scores = scorer.score(episodes, true, groups_);
  Engine engine(job, 0, groups_, pool_, {.head = model::HeadKind::kScalar});
  read_start(job.start.reward, engine);
  for (std::size_t e = 0; e < episodes.size(); ++e) {
    // The response alone in a row that ends with it.
    std::vector<std::int32_t> ids = episodes[e].prompt;
    ids.insert(ids.end(), episodes[e].response.begin(), episodes[e].response.end());
    const std::size_t count = ids.size();
    model::Batch batch;
    batch.length = 12;
    ids.resize(12, 7);
    batch.inputs = batch.targets = ids;
    batch.starts.assign(12, 0);
    batch.weights.assign(12, 0.0F);
    engine.evaluate(batch);
    const auto expected = static_cast<double>(engine.stage().token_values()[count - 1]);
    EXPECT_EQ(scores.model[e], expected);
    EXPECT_DOUBLE_EQ(scores.total[e], 2.0 * expected + 0.5 * scores.rule[e]);
  }
  EXPECT_NE(scores.model[0], scores.model[1]);
  ASSERT_EQ(origins_.size(), 1U);
  EXPECT_EQ(origins_[0].role, "reward");
}

TEST_F(ScorerOf, AModelThatIsReadAnewSaysTheSame) {
  launch::Job job = small_ppo_job(folder_);
  job.start.reward = reward_model(job, std::nullopt);
  const Rollout rollout(job, tokenizer_, false);
  const std::vector<Episode> episodes = {answered(rollout, 3, "ab"), answered(rollout, 1, "c")};
  Scorer stays(job, rollout);
  stays.open(resources());
  const std::vector<double> expected = stays.score(episodes, true, groups_).total;
  job.ppo.offload = true;
  Scorer leaves(job, rollout);
  leaves.open(resources());
  EXPECT_EQ(leaves.score(episodes, true, groups_).total, expected);
  EXPECT_EQ(leaves.score(episodes, true, groups_).total, expected);
}

TEST_F(ScorerOf, AScoreThatIsNoNumberIsRefusedWithItsPrompt) {
  launch::Job job = small_ppo_job(folder_);
  job.start.reward = reward_model(job, std::numeric_limits<float>::quiet_NaN());
  const Rollout rollout(job, tokenizer_, false);
  Scorer scorer(job, rollout);
  scorer.open(resources());
  testing::internal::CaptureStderr();
  EXPECT_THROW(scorer.score({answered(rollout, 5, "1")}, true, groups_), AgreedFailure);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("the score of a response to \"5=\" is nan"));
  EXPECT_THAT(said, HasSubstr("start.reward"));
}

TEST_F(ScorerOf, NoLimitAndNoOtherScoreHidesWhatIsNoNumber) {
  launch::Job job = small_ppo_job(folder_);
  job.start.reward = reward_model(job, std::numeric_limits<float>::infinity());
  job.rewards.clip = 1.0;
  job.rewards.score_unfinished = false;
  const Rollout rollout(job, tokenizer_, false);
  Scorer scorer(job, rollout);
  scorer.open(resources());
  for (const bool stopped : {true, false}) {
    Episode episode = answered(rollout, 5, "1");
    episode.stopped = stopped;
    testing::internal::CaptureStderr();
    EXPECT_THROW(scorer.score({episode}, true, groups_), AgreedFailure);
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("a response to \"5=\" is"));
  }
}

TEST_F(ScorerOf, ARuleNeedsAnswersThatItCanCompareWith) {
  launch::Job job = small_ppo_job(folder_);
  const auto refusal = [&](const std::string& lines) -> std::string {
    std::ofstream(folder_ / "prompts.jsonl") << lines;
    const Rollout rollout(job, tokenizer_, false);
    try {
      Scorer scorer(job, rollout);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no refusal";
  };
  const std::string one = "{\"prompt\":\"1=\",\"answer\":\"1\"}\n";
  const std::string ten = "{\"prompt\":\"10=\",\"answer\":\"ten\"}\n";
  const std::string none = "{\"prompt\":\"none=\"}\n";
  EXPECT_EQ(refusal(one + ten), "no refusal");
  EXPECT_THAT(refusal(one + none), HasSubstr("prompts.jsonl:2: no \"answer\""));
  EXPECT_THAT(refusal(one + one + "{\"prompt\":\"2=\",\"answer\":\" \"}\n"),
              HasSubstr("prompts.jsonl:3: the \"answer\" is blank"));
  job.rewards.rule = "match";
  job.rewards.pattern = "(.)";
  job.rewards.compare = "number";
  EXPECT_THAT(refusal(one + ten),
              HasSubstr("prompts.jsonl:2: the \"answer\" \"ten\" is no number"));
  // Validation prompts too: of many such lines one that is kept for it, behind good ones.
  job.data.validation = 0.5;
  std::string good;
  std::string bad;
  for (int i = 0; i < 9; ++i) {
    good += fmt::format("{{\"prompt\":\"{}=\",\"answer\":\"1\"}}\n", i);
    bad += fmt::format("{{\"prompt\":\"{}=\",\"answer\":\"x\"}}\n", i);
  }
  std::ofstream(folder_ / "prompts.jsonl") << bad;
  const std::string kept = Rollout(job, tokenizer_, false).validation().at(0).text;
  EXPECT_THAT(refusal(good + fmt::format("{{\"prompt\":\"{}\",\"answer\":\"x\"}}\n", kept)),
              HasSubstr("prompts.jsonl:10: the \"answer\" \"x\" is no number"));
  job.data.validation = 0.0;
  std::ofstream(folder_ / "prompts.jsonl") << one + none;
  const Rollout rollout(job, tokenizer_, false);
  // A rule that compares with nothing needs none.
  job.rewards.compare = "no";
  job.rewards.pattern = "a";
  Scorer scorer(job, rollout);
  EXPECT_THAT(scorer.score({answered(rollout, 1, "aba")}, true, groups_).total, ElementsAre(2.0));
}

TEST_F(ValueNetwork, HasALearningRateOfItsOwn) {
  launch::Job job = small_ppo_job(folder_);
  job.optimizer.learning_rate = 1e-2;
  job.optimizer.min_learning_rate = 1e-3;
  job.optimizer.warmup_steps = 2;
  EXPECT_EQ(model::learning_rate(learning_rate_schedule(job, 0.0), 5), 0.0);
  const model::LearningRateSchedule own = learning_rate_schedule(job, 4e-2);
  const model::LearningRateSchedule policys = learning_rate_schedule(job);
  for (std::int64_t step = 0; step < 15; ++step) {
    EXPECT_DOUBLE_EQ(model::learning_rate(own, step), 4.0 * model::learning_rate(policys, step));
  }
  Engine engine(job, 0, groups_, pool_,
                {.head = model::HeadKind::kScalar, .rows = 1, .learning_rate = 4e-2});
  struct Ones final : model::ScalarObjective {
    double evaluate(std::int64_t, std::span<const float>, std::span<float> d_values) override {
      std::fill(d_values.begin(), d_values.end(), 1.0F);
      return 1.0;
    }
  } ones;
  const Rollout rollout(job, tokenizer_, false);
  model::Batch batch;
  batch.length = 12;
  const storage::Row row = episode_row(answered(rollout, 0, "a"), 12, 0);
  batch.inputs = row.inputs;
  batch.targets = row.targets;
  batch.starts = row.starts;
  batch.weights = row.weights;
  const StepReport report = engine.train_step(0, batch, {.scalars = &ones}, 1.0, false);
  EXPECT_TRUE(report.applied);
  EXPECT_DOUBLE_EQ(report.learning_rate, model::learning_rate(own, 0));
}

}  // namespace
}  // namespace talaria::worker
