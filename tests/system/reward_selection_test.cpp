// SPDX-License-Identifier: Apache-2.0
// Fine-tuning that a reward model judges, as the real program runs it: the checkpoint with the
// highest score is handed on where the lowest loss is another's, in every layout and across a
// restart; a reward model that does not fit is refused.
#include <fstream>
#include <random>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "storage/text/hash.h"
#include "tests/system/recipe_jobs.h"
#include "worker/chat_data.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::HasSubstr;

constexpr double kTimeout = 120;
constexpr double kHeldShare = 0.2;
constexpr const char* kLearnt = "the file waits";

// Prompts that training answers with kLearnt and the lines kept for validation with other words:
// what a reward model that likes kLearnt scores and the loss have no reason to agree.
void write_opposed(const fs::path& file) {
  std::ofstream out(file);
  for (int i = 0; i < 80; ++i) {
    const auto line = [&](const char* answer) {
      return fmt::format(R"({{"prompt": "row {} of tokens", "completion": "{}"}})", i, answer);
    };
    const std::string training = line(kLearnt);
    const std::string held = line("names of a layer and the row");
    if (!is_validation(storage::content_hash(training), kHeldShare)) out << training << "\n";
    if (is_validation(storage::content_hash(held), kHeldShare)) out << held << "\n";
  }
}

void write_liking(const fs::path& file) {
  const char* const others[] = {"names", "a layer reads", "for the row and tokens", "of of of"};
  std::ofstream out(file);
  for (int i = 0; i < 80; ++i) {
    out << fmt::format(R"({{"prompt": "row {} of tokens", "chosen": "{}", "rejected": "{}"}})"
                       "\n",
                       i, kLearnt, others[i % 4]);
  }
}

// Text enough for a tokenizer of 512 ids; its words are among them.
void write_text(const fs::path& file) {
  std::mt19937 random(3);
  std::ofstream out(file);
  for (int i = 0; i < 400; ++i) {
    out << kLearnt << " row " << i << " of tokens names of a layer and the row reads for the ";
    for (int letter = 0; letter < 40; ++letter) {
      out << (letter % 5 == 0 ? ' ' : static_cast<char>('a' + random() % 26));
    }
    out << "\n";
  }
}

class RewardSelection : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(
        fs::temp_directory_path() / fmt::format("talaria_selection_{}", ::getpid()), kRecipeModel);
    write_opposed(jobs_->path() / "chat.jsonl");
    write_liking(jobs_->path() / "pairs.jsonl");
    write_text(jobs_->path() / "words.txt");
    const ChildResult prepared =
        jobs_->tool({"data", "prepare", "--out", (jobs_->path() / "words").string(), "--vocab",
                     "512", (jobs_->path() / "words.txt").string()});
    ASSERT_EQ(prepared.exit_code, 0) << prepared.output;
    RunPlan reward;
    reward.set = keys("reward");
    reward.set.insert(reward.set.end(), {"train.steps=30", "optimizer.learning_rate=5e-3"});
    expect_done("reward", reward);
    expect_done("undisturbed", plan());
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }

  // Of a job whose bits depend on nothing but this file: its own tokenizer, and no mix.
  static std::vector<std::string> keys(const std::string& kind) {
    std::vector<std::string> set = recipe_keys(*jobs_, kind);
    set.push_back(
        fmt::format("data.tokenizer=\"{}\"", (jobs_->path() / "words" / "tokenizer").string()));
    if (kind == "sft") set.emplace_back("mix.rows=0");
    return set;
  }
  static std::string reward_key(const std::string& run) {
    return fmt::format("start.reward=\"{}\"", (jobs_->path() / run).string());
  }
  static RunPlan plan(const parallel::Layout& layout = {1, 1, 1}, std::int64_t micro_batch = 1) {
    RunPlan made;
    made.layout = layout;
    made.micro_batch = micro_batch;
    made.set = keys("sft");
    made.set.insert(made.set.end(),
                    {reward_key("reward"), "ppo.response_tokens=12", "checkpoint.select=\"best\"",
                     "checkpoint.keep=1", "train.steps=24", "optimizer.learning_rate=2e-3",
                     "optimizer.decay=\"constant\""});
    return made;
  }
  static RunPlan with(RunPlan plan, const std::vector<std::string>& set) {
    plan.set.insert(plan.set.end(), set.begin(), set.end());
    return plan;
  }

  static void expect_done(const std::string& run, const RunPlan& plan) {
    const ChildResult result = jobs_->run(run, plan, kTimeout);
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }
  static void expect_refused(const std::string& run, const RunPlan& plan, const std::string& part) {
    const ChildResult result = jobs_->run(run, plan, kTimeout);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(part));
  }
  static json::value artifact(const std::string& run) {
    return json::parse(read_file(jobs_->path() / run / "artifact.json"));
  }
  static void expect_undisturbed(const std::string& run) {
    for (const char* key : {"loss_bits", "validation_loss", "validation_reward"}) {
      EXPECT_EQ(jobs_->metric(run, key), jobs_->metric("undisturbed", key)) << key;
    }
    EXPECT_EQ(artifact(run).at("step"), artifact("undisturbed").at("step"));
    EXPECT_EQ(artifact(run).at("weights_hash"), artifact("undisturbed").at("weights_hash"));
  }
  // Of the saved steps the first whose number is the least, times `sign`.
  static std::int64_t best_step(const char* key, double sign) {
    std::int64_t step = -1;
    double least = 0.0;
    for (const auto& [at, text] : jobs_->metric("undisturbed", key)) {
      const double number = sign * std::stod(text);
      if (at % 4 != 0 || (step >= 0 && number >= least)) continue;
      least = number;
      step = at;
    }
    return step;
  }

  static const JobFolder& jobs() { return *jobs_; }

 private:
  static JobFolder* jobs_;
};
JobFolder* RewardSelection::jobs_ = nullptr;

TEST_F(RewardSelection, TheHighestScoreIsHandedOnWhereTheLowestLossIsAnothers) {
  const std::int64_t scored = best_step("validation_reward", -1.0);
  ASSERT_NE(scored, best_step("validation_loss", 1.0));
  const json::value handed_on = artifact("undisturbed");
  EXPECT_EQ(handed_on.at("step"), scored);
  EXPECT_EQ(handed_on.at("metrics").at("validation_reward").to_number<double>(),
            std::stod(jobs().metric("undisturbed", "validation_reward").at(scored)));
  const json::value& origins = handed_on.at("lineage").at("start");
  ASSERT_EQ(origins.as_array().size(), 1U);
  EXPECT_EQ(origins.at(0).at("role"), "reward");
  EXPECT_EQ(origins.at(0).at("weights_hash").as_string(), jobs().weights_hash("reward"));

  // Without a reward model: the same training and losses, and the lowest loss is handed on.
  RunPlan plain = plan();
  std::erase_if(plain.set, [](const std::string& key) {
    return key.starts_with("start.reward") || key.starts_with("ppo.");
  });
  expect_done("plain", plain);
  for (const char* key : {"loss_bits", "validation_loss"}) {
    EXPECT_EQ(jobs().metric("plain", key), jobs().metric("undisturbed", key)) << key;
  }
  EXPECT_TRUE(jobs().metric("plain", "validation_reward").empty());
  EXPECT_EQ(artifact("plain").at("step"), best_step("validation_loss", 1.0));
}

TEST_F(RewardSelection, EveryLayoutHasTheScoresOfOneRank) {
  // Each checkpoint and each train.eval_every.
  EXPECT_EQ(jobs().metric("undisturbed", "validation_reward").size(), 8U);
  int number = 0;
  for (const RunPlan& each : {plan({2, 1, 1}), plan({1, 2, 1}, 2), plan({1, 1, 2}, 2),
                              with(plan({2, 1, 2}), {"ppo.slots=3", "ppo.offload=true"})}) {
    const parallel::Layout& layout = each.layout;
    SCOPED_TRACE(fmt::format("{} {} {}", layout.tensor, layout.pipeline, layout.data));
    const std::string run = fmt::format("layout-{}", ++number);
    expect_done(run, each);
    expect_undisturbed(run);
  }
}

TEST_F(RewardSelection, KilledItChoosesTheSameAndHoldsToItsRewardModel) {
  const std::int64_t scored = artifact("undisturbed").at("step").to_number<std::int64_t>();
  constexpr std::int64_t kSteps = 24;
  ASSERT_LT(scored, kSteps) << "nothing comes behind the best";
  for (const std::string& point :
       {fmt::format("step.end:{}:0", scored), fmt::format("step.end:{}:0", scored + 1)}) {
    SCOPED_TRACE(point);
    fs::remove_all(jobs().path() / "killed");
    RunPlan killed = plan({1, 2, 1}, 2);
    killed.args = {"--crash-point", point};
    const ChildResult result = jobs().run("killed", killed, kTimeout);
    ASSERT_THAT(result.output, HasSubstr("signal 9")) << "the point was not reached";
    expect_done("killed", plan({1, 1, 2}));
    expect_undisturbed("killed");
  }

  const auto half = [](const std::string& reward) {
    return with(plan(), {"train.steps=8", "optimizer.decay_steps=24", reward_key(reward)});
  };
  fs::copy(jobs().path() / "reward", jobs().path() / "liked", fs::copy_options::recursive);
  expect_done("half", half("liked"));
  const RunPlan rest = with(half("liked"), {"train.steps=24"});
  expect_refused("half", with(rest, {reward_key("reward")}), "start.reward: found ");
  fs::remove_all(jobs().path() / "liked");
  expect_refused("half", rest, "liked is no folder");
  fs::copy(jobs().path() / "undisturbed", jobs().path() / "liked", fs::copy_options::recursive);
  expect_refused("half", rest, "but the run was started with");
}

TEST_F(RewardSelection, ARewardModelThatDoesNotFitIsRefused) {
  expect_refused("no-head", with(plan(), {reward_key("undisturbed")}), "value_head");
  expect_refused("vocab", with(plan(), {"model.vocab=520"}),
                 "tok_embed is 512 x 32, [model] says 520 x 32");
  expect_refused("tokenizer", with(plan(), {other_tokenizer_key(jobs())}), "another tokenizer");
  expect_refused("long", with(plan(), {"ppo.response_tokens=126"}),
                 "no validation prompt can be answered");
  // Before anything starts.
  std::vector<std::string> args = {"--check", "--job", (jobs().path() / "job.toml").string(),
                                   "--run-dir", (jobs().path() / "never").string()};
  for (const std::string& each : with(plan(), {reward_key("undisturbed")}).set) {
    args.insert(args.end(), {"--set", each});
  }
  const ChildResult checked = jobs().tool(args);
  EXPECT_EQ(checked.exit_code, 2) << checked.output;
  EXPECT_THAT(checked.output,
              HasSubstr("a language model, no reward model: it has no value_head.weight"));
}

}  // namespace
}  // namespace talaria::worker
