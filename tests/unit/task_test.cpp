// SPDX-License-Identifier: Apache-2.0
// Fine-tuning and reward models in this process: packed rows give the numbers of unpacked ones, the
// mix adds what it says, demonstrations end with mean reward 0.
#include "worker/task.h"

#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/generator.h"
#include "storage/text/prepare.h"
#include "tests/unit/one_rank.h"
#include "tests/unit/reward_model.h"
#include "worker/chat_data.h"
#include "worker/exchange.h"
#include "worker/forward_pass.h"
#include "worker/start.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct Built {
  Built(const launch::Job& wanted, const fs::path& run) : job(wanted), task(make_task(job, false)) {
    task->build(rank.resources(run));
    task->begin();
  }
  Engine& engine() { return *task->models().front().engine; }

  launch::Job job;
  test::OneRank rank;
  std::unique_ptr<Task> task;
};

std::string complaint(const launch::Job& job) {
  try {
    make_task(job, false);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no complaint";
}

// The losses of the trained tokens of every validation conversation, by its index, as evaluate()
// left them in the stage.
std::map<std::int32_t, std::vector<float>> token_losses(Built& built) {
  const launch::Job& job = built.job;
  storage::ChatCounts counts;
  const storage::Tokenizer tokenizer = open_tokenizer(job);
  const auto split = split_units(
      storage::read_conversations({job.data.files.front()}, tokenizer,
                                  chat_options(job, job.model.context + 1, false), counts),
      job.data.validation);
  const auto rows = storage::pack_epoch(storage::row_tokens(split.validation),
                                        job.train.sequence_length, job.data.packing, 0, 0);
  built.task->evaluate();
  const std::span<const float> nll = built.engine().stage().token_nll();
  std::map<std::int32_t, std::vector<float>> losses;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::size_t at = row * static_cast<std::size_t>(job.train.sequence_length);
    for (const std::int32_t unit : rows[row]) {
      const storage::Conversation& each = split.validation[static_cast<std::size_t>(unit)];
      for (std::size_t i = 1; i < each.ids.size(); ++i, ++at) {
        if (each.trained[i] != 0) losses[unit].push_back(nll[at]);
      }
    }
  }
  return losses;
}

TEST(SftTask, PackedTokensHaveTheLossesOfUnpackedOnes) {
  const test::ScratchFolder folder("packing");
  const std::string file = folder.write("chat.jsonl", test::conversation_lines(120));
  const std::vector<std::string> set = {"train.sequence_length=48", "train.eval_samples=1000",
                                        "train.global_batch=4"};
  auto without = set;
  without.emplace_back("data.packing=false");
  Built packed(folder.job("sft", file, set), folder.path() / "run");
  Built unpacked(folder.job("sft", file, without), folder.path() / "run");
  const auto a = token_losses(packed);
  const auto b = token_losses(unpacked);
  ASSERT_GT(a.size(), 20U);
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [unit, losses] : a) {
    const std::vector<float>& others = b.at(unit);
    ASSERT_EQ(losses.size(), others.size());
    for (std::size_t i = 0; i < losses.size(); ++i) {
      EXPECT_NEAR(losses[i], others[i], 1e-5 * std::abs(others[i])) << unit << " " << i;
    }
  }
  const double mean = packed.task->evaluate()->loss;
  EXPECT_NEAR(mean, unpacked.task->evaluate()->loss, 1e-5 * mean);
}

TEST(SftTask, ItsLossIsTheMeanOverTheTrainedTokens) {
  const test::ScratchFolder folder("mean");
  // One line: all rows of all steps hold it.
  const std::string file =
      folder.write("chat.jsonl", "{\"prompt\": \"ab\", \"completion\": \"cd\"}\n");
  Built built(folder.job("sft", file, {"data.validation=0", "train.steps=40"}),
              folder.path() / "run");
  const StepReport report = built.task->step(0, false);
  EXPECT_EQ(report.metrics.at("trained_tokens"), 6.0) << "2 rows of c, d and the end";
  EXPECT_NEAR(report.loss, std::log(257.0), 0.2);
  EXPECT_FALSE(built.task->evaluate().has_value()) << "nothing is kept for validation";
  for (int step = 1; step < 30; ++step) built.task->step(step, false);
  EXPECT_LT(built.task->step(30, false).loss, 0.5);
}

// The folder's token file, as data prepare makes it.
std::string token_file(const test::ScratchFolder& folder) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += fmt::format("line {} of the text\n", i);
  storage::PrepareOptions options;
  options.out = folder.path() / "prepared";
  options.tokenizer = folder.path() / "tokenizer";
  options.sources = {folder.write("text.txt", text)};
  storage::prepare(options);
  return (folder.path() / "prepared/text.tok").string();
}

TEST(SftTask, TheMixIsTrainedByItsCoefficientAndToldApart) {
  const test::ScratchFolder folder("mix");
  const std::string file = folder.write("chat.jsonl", test::conversation_lines(60));
  const std::string source = fmt::format("data.sources=[{{path=\"{}\"}}]", token_file(folder));
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> set = {"train.sequence_length=48", source};
    set.insert(set.end(), more.begin(), more.end());
    Built built(folder.job("sft", file, set), folder.path() / "run");
    StepReport report = built.task->step(0, false);
    return std::pair(report, test::weights_of(built.engine()));
  };
  const auto [plain, plain_weights] = run({});
  const auto [nothing, nothing_weights] = run({"mix.rows=2", "mix.coefficient=0"});
  const auto [mixed, mixed_weights] = run({"mix.rows=2", "mix.coefficient=3"});
  // The main rows' loss is what is reported, whatever stands beside them.
  EXPECT_EQ(nothing.loss, plain.loss);
  EXPECT_EQ(mixed.loss, plain.loss);
  EXPECT_EQ(nothing_weights, plain_weights);
  EXPECT_NE(mixed_weights, plain_weights);
  EXPECT_EQ(nothing.metrics.count("mix_loss"), 0U);
  EXPECT_NEAR(mixed.metrics.at("mix_loss"), std::log(257.0), 0.2);
  EXPECT_GT(mixed.grad_norm, 1.5 * plain.grad_norm);
}

// A job of fine-tuning with a reward model whose every number is `bias`, or that of its first
// weights.
launch::Job judged_job(const test::ScratchFolder& folder, std::vector<std::string> set,
                       std::optional<float> bias = std::nullopt) {
  const std::string file = folder.write("chat.jsonl", test::conversation_lines(60));
  test::OneRank rank;
  const std::string reward = test::save_reward_model(folder.job("sft", file), rank.groups(),
                                                     rank.pool(), folder.path() / "reward", bias);
  set.push_back(fmt::format("start.reward={}", reward));
  return folder.job("sft", file, set);
}

// The job's validation prompts, read as prompts.
std::vector<storage::PromptLine> validation_prompts(const launch::Job& job) {
  storage::ChatCounts counts;
  return split_units(storage::read_prompts({job.data.files.front()}, open_tokenizer(job),
                                           chat_options(job, 0, false), counts),
                     job.data.validation)
      .validation;
}

TEST(SftTask, AnswersToValidationPromptsAreScoredAtTheirLastToken) {
  const test::ScratchFolder folder("judged");
  const launch::Job job = judged_job(folder, {"ppo.response_tokens=5", "train.eval_samples=4"});
  Built built(job, folder.path() / "run");
  for (int step = 0; step < 3; ++step) built.task->step(step, false);
  const Evaluation found = *built.task->evaluate();

  Groups& groups = built.rank.groups();
  Engine reward(job, 0, groups, built.rank.pool(), {.head = model::HeadKind::kScalar});
  read_start(job.start.reward, reward);
  model::Generator generator(built.engine().stage(), *groups.tensor, *groups.pipeline, 1, 48);
  model::GenerationOptions options;
  options.sampler.temperature = 0.0;
  options.max_tokens = 5;
  options.stop_ids = {talaria::test::kTinyEndOfText};
  const std::vector<storage::PromptLine> prompts = validation_prompts(job);
  ASSERT_GT(prompts.size(), 4U);
  double sum = 0.0;
  for (std::size_t i = 0; i < 4; ++i) {
    std::vector<std::int32_t> ids = prompts[i].ids;
    const model::Prompt prompt = {ids, 0};
    const auto answer = generator.generate({&prompt, 1}, options).front().ids;
    ids.insert(ids.end(), answer.begin(), answer.end());
    const std::size_t last = ids.size() - 1;
    model::Batch batch;
    batch.length = job.train.sequence_length;
    ids.resize(static_cast<std::size_t>(batch.length), 7);
    batch.inputs = batch.targets = ids;
    for (std::size_t at = 0; at < ids.size(); ++at) {
      batch.starts.push_back(at > last ? static_cast<std::int32_t>(at) : 0);
    }
    batch.weights.assign(ids.size(), 0.0F);
    reward.evaluate(batch);
    sum += static_cast<double>(reward.stage().token_values()[last]);
  }
  EXPECT_DOUBLE_EQ(found.metrics.at("validation_reward"), sum / 4.0);
  EXPECT_EQ(found.judged(), -found.metrics.at("validation_reward"));
  EXPECT_NE(found.judged(), found.loss);
  ASSERT_EQ(built.rank.origins.size(), 1U);
  EXPECT_EQ(built.rank.origins[0].role, "reward");
}

TEST(SftTask, PromptsThatLeaveNoRoomForAnAnswerAreSkippedAndCounted) {
  const test::ScratchFolder folder("room");
  const launch::Job job = judged_job(folder, {"ppo.response_tokens=38", "train.eval_samples=1000"});
  std::size_t fit = 0;
  const std::vector<storage::PromptLine> prompts = validation_prompts(job);
  for (const storage::PromptLine& each : prompts) fit += each.ids.size() + 38 <= 48 ? 1 : 0;
  ASSERT_GT(fit, 0U);
  ASSERT_LT(fit, prompts.size());
  testing::internal::CaptureStderr();
  make_task(job, true);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr(fmt::format("{} validation prompts for start.reward; skipped {} too long",
                                    fit, prompts.size() - fit)));
  EXPECT_THAT(complaint(folder.job("sft", job.data.files.front(),
                                   {"start.reward=x", "ppo.response_tokens=47"})),
              HasSubstr("no validation prompt can be answered"));
  EXPECT_THAT(
      complaint(folder.job("sft", job.data.files.front(),
                           {"start.reward=x", "ppo.response_tokens=5", "data.validation=1e-9"})),
      HasSubstr("start.reward: no line is kept for validation"));
}

TEST(SftTask, AScoreThatIsNoNumberIsNeverTheBest) {
  const test::ScratchFolder folder("nan");
  Built built(judged_job(folder, {"ppo.response_tokens=5"}, std::nanf("")), folder.path() / "run");
  const Evaluation found = *built.task->evaluate();
  EXPECT_TRUE(std::isfinite(found.loss));
  EXPECT_TRUE(std::isnan(found.metrics.at("validation_reward")));
  EXPECT_FALSE(std::isfinite(found.judged()));
}

TEST(SftTask, AModelThatIsBrokenIsNotAsked) {
  const test::ScratchFolder folder("broken");
  Built built(judged_job(folder, {"ppo.response_tokens=5"}), folder.path() / "run");
  for (const parallel::NamedBox& box : built.engine().stage().parameters().weight_boxes()) {
    box.data[0] = std::nanf("");
  }
  const Evaluation found = *built.task->evaluate();
  EXPECT_TRUE(std::isnan(found.loss));
  EXPECT_TRUE(std::isnan(found.metrics.at("validation_reward")));
  EXPECT_FALSE(std::isfinite(found.judged()));
}

TEST(RewardTask, DemonstrationsEndWithMeanRewardZero) {
  const test::ScratchFolder folder("demonstrations");
  const std::string file = folder.write("pairs.jsonl", test::comparison_lines(40));
  const std::string good = folder.write("good.jsonl", test::conversation_lines(23));
  Built built(folder.job("reward", file, {fmt::format("reward.demonstrations=[\"{}\"]", good)}),
              folder.path() / "run");
  for (int step = 0; step < 4; ++step) built.task->step(step, false);

  storage::ChatCounts counts;
  const auto demonstrations =
      storage::read_conversations({good}, open_tokenizer(built.job),
                                  chat_options(built.job, built.job.model.context, false), counts);
  ASSERT_EQ(demonstrations.size(), 23U);
  const auto mean = [&] {
    const auto values = forward_pass(
        built.engine(), built.job, static_cast<std::int64_t>(demonstrations.size()),
        [&](std::int64_t row, model::Batch& batch) {
          const storage::Comparison one = {
              {}, {demonstrations[static_cast<std::size_t>(row)].ids}, {0}, 0, {}};
          const storage::Comparison* const all[] = {&one};
          append_row(storage::comparison_row(all, built.job.train.sequence_length, 256).row, batch);
        },
        {TokenNumber::kValue});
    double sum = 0.0;
    for (std::size_t i = 0; i < demonstrations.size(); ++i) {
      sum += static_cast<double>(
          values[0][i * static_cast<std::size_t>(built.job.train.sequence_length) +
                    demonstrations[i].ids.size() - 1]);
    }
    return sum / static_cast<double>(demonstrations.size());
  };
  EXPECT_GT(std::abs(mean()), 1e-3) << "else the shift proves nothing";
  const Evaluation before = built.task->evaluate().value();
  built.task->finish();
  EXPECT_NEAR(mean(), 0.0, 1e-6);
  const Evaluation after = built.task->evaluate().value();
  EXPECT_NEAR(after.loss, before.loss, 1e-6) << "differences stay";
  EXPECT_EQ(after.metrics.at("accuracy"), before.metrics.at("accuracy"));
}

TEST(RewardTask, DemonstrationsWithoutANumberEndTheRun) {
  const test::ScratchFolder folder("nonumber");
  const std::string file = folder.write("pairs.jsonl", test::comparison_lines(20));
  const std::string good = folder.write("good.jsonl", test::conversation_lines(3));
  Built built(folder.job("reward", file, {fmt::format("reward.demonstrations=[\"{}\"]", good)}),
              folder.path() / "run");
  for (const auto& box : built.engine().stage().parameters().weight_boxes()) {
    if (box.tensor == "value_head.bias") box.data[0] = std::nanf("");
  }
  const Evaluation evaluation = built.task->evaluate().value();
  EXPECT_TRUE(std::isnan(evaluation.loss));
  EXPECT_GT(evaluation.metrics.at("nonfinite"), 0.0);
  EXPECT_FALSE(built.task->step(0, false).applied);
  testing::internal::CaptureStderr();
  EXPECT_THROW(built.task->finish(), AgreedFailure);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("their mean reward is nan"));
}

TEST(RewardTask, LearnsAndCountsPairs) {
  const test::ScratchFolder folder("pairs");
  const std::string file = folder.write("pairs.jsonl", test::comparison_lines(40));
  Built built(folder.job("reward", file), folder.path() / "run");
  const StepReport first = built.task->step(0, false);
  EXPECT_NEAR(first.loss, std::log(2.0), 0.4);
  EXPECT_GT(first.metrics.at("comparisons"), 2.0) << "several share a row";
  for (int step = 1; step < 25; ++step) built.task->step(step, false);
  EXPECT_GT(built.task->evaluate()->metrics.at("accuracy"), 0.8);
}

TEST(Tasks, WhatLeavesNothingToTrainOnIsRefused) {
  const test::ScratchFolder folder("nothing");
  const std::string chat = folder.write("chat.jsonl", test::conversation_lines(3));
  const std::string pairs = folder.write("pairs.jsonl", test::comparison_lines(3));
  EXPECT_THAT(complaint(folder.job("sft", chat, {"data.validation=0.9999999"})),
              HasSubstr("no conversation is left for training"));
  EXPECT_THAT(complaint(folder.job("reward", pairs, {"data.validation=0.9999999"})),
              HasSubstr("no comparison is left for training"));
  EXPECT_THAT(complaint(folder.job("sft", chat, {"model.context=2"})), HasSubstr("3 too long"));
  EXPECT_THAT(complaint(folder.job("reward", pairs, {"train.sequence_length=4"})),
              HasSubstr("3 too long"));
  EXPECT_THAT(complaint(folder.job("reward", pairs, {"model.context=3"})),
              HasSubstr("model.context"));
  EXPECT_THAT(complaint(folder.job("sft", "/no/such.jsonl")), HasSubstr("/no/such.jsonl"));
}

}  // namespace
}  // namespace talaria::worker
