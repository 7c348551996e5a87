// SPDX-License-Identifier: Apache-2.0
// Fine-tuning and reward models as the real program runs them: every layout gives the bits of one
// rank, a run that was killed or stopped ends with the bits of the undisturbed one, the best
// checkpoint is what is handed on, and weights come from where the job says or are refused.
#include <csignal>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "tests/system/recipe_jobs.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using parallel::Layout;
using testing::HasSubstr;

constexpr double kTimeout = 120;

class RecipeFolder : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_recipe_{}", ::getpid()),
                          kRecipeModel);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }
  // No case sees the runs or the files of another.
  void SetUp() override {
    write_conversations(jobs_->path() / "chat.jsonl", 120);
    write_comparisons(jobs_->path() / "pairs.jsonl", 90);
    for (const auto& entry : fs::directory_iterator(jobs_->path())) {
      if (entry.is_directory() && entry.path().filename() != "data") fs::remove_all(entry.path());
    }
  }
  static const JobFolder& jobs() { return *jobs_; }

  static RunPlan plan(const std::string& kind, const Layout& layout = {1, 1, 1},
                      std::int64_t micro_batch = 1) {
    RunPlan plan;
    plan.layout = layout;
    plan.micro_batch = micro_batch;
    plan.set = recipe_keys(jobs(), kind);
    return plan;
  }
  static RunPlan with(RunPlan plan, const std::vector<std::string>& set) {
    plan.set.insert(plan.set.end(), set.begin(), set.end());
    return plan;
  }

  static void expect_done(const std::string& run, const RunPlan& plan) {
    const ChildResult result = jobs().run(run, plan, kTimeout);
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }

  static json::value artifact(const std::string& run) {
    return json::parse(read_file(jobs().path() / run / "artifact.json"));
  }
  static std::string handed_on(const std::string& run) {
    return std::string(artifact(run).at("checkpoint").as_string());
  }

 private:
  static JobFolder* jobs_;
};
JobFolder* RecipeFolder::jobs_ = nullptr;

class Recipe : public RecipeFolder, public testing::WithParamInterface<const char*> {
 protected:
  static RunPlan plan(const Layout& layout = {1, 1, 1}, std::int64_t micro_batch = 1) {
    return RecipeFolder::plan(GetParam(), layout, micro_batch);
  }
  static void expect_undisturbed(const std::string& run) {
    for (const char* key : {"loss_bits", "grad_norm", "validation_loss", "mix_loss", "accuracy",
                            "training_accuracy", "trained_tokens"}) {
      EXPECT_EQ(jobs().metric(run, key), jobs().metric("undisturbed", key)) << key;
    }
    EXPECT_EQ(jobs().weights_hash(run), jobs().weights_hash("undisturbed"));
    EXPECT_EQ(artifact(run).at("weights_hash"), artifact("undisturbed").at("weights_hash"));
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, Recipe, testing::Values("sft", "reward"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_P(Recipe, EveryLayoutHasTheBitsOfOneRank) {
  expect_done("undisturbed", plan());
  EXPECT_EQ(jobs().loss_bits("undisturbed").size(), 12U);
  EXPECT_EQ(jobs().metric("undisturbed", "validation_loss").size(), 2U);
  EXPECT_EQ(jobs().metric("undisturbed", "mix_loss").size(),
            std::string(GetParam()) == "sft" ? 12U : 0U);
  const auto fast = [](RunPlan each) {
    each.invariant = false;
    return with(each, {"train.steps=3"});
  };
  expect_done("fast", fast(plan()));
  struct Row {
    Layout layout;
    std::int64_t micro_batch;
    const char* schedule;
    bool zero;
  };
  for (const Row& row : {Row{{2, 1, 1}, 1, "1f1b", true}, Row{{1, 2, 1}, 2, "gpipe", true},
                         Row{{1, 1, 2}, 2, "1f1b", false}, Row{{4, 1, 1}, 2, "1f1b", true},
                         Row{{2, 1, 2}, 1, "1f1b", true}, Row{{1, 3, 2}, 1, "1f1b", true}}) {
    const std::string name =
        fmt::format("tp{}pp{}dp{}", row.layout.tensor, row.layout.pipeline, row.layout.data);
    SCOPED_TRACE(name);
    RunPlan each = plan(row.layout, row.micro_batch);
    each.schedule = row.schedule;
    each.zero = row.zero;
    expect_done(name, each);
    expect_undisturbed(name);
    expect_done(name + "-fast", fast(each));
    EXPECT_NE(jobs().loss_bits(name + "-fast"), jobs().loss_bits("fast"))
        << "fast numerics gave the bits of one rank: this row proves nothing";
  }
}

TEST_P(Recipe, KilledOrStoppedItEndsWithTheSameBits) {
  expect_done("undisturbed", plan());
  struct Kill {
    const char* point;
    int hit;
    std::size_t checkpoints;  // that are there afterwards
  };
  for (const Kill& kill : {Kill{"step.begin", 7, 1}, Kill{"step.end", 7, 1},
                           Kill{"before_rename", 2, 1}, Kill{"after_rename", 3, 3}}) {
    SCOPED_TRACE(kill.point);
    const std::string run = fmt::format("killed-{}", kill.point);
    RunPlan killed = plan({1, 2, 1}, 2);
    killed.args = {"--crash-point", fmt::format("{}:{}:0", kill.point, kill.hit)};
    const ChildResult result = jobs().run(run, killed, kTimeout);
    ASSERT_NE(result.exit_code, 0);
    ASSERT_THAT(result.output, HasSubstr("signal 9")) << "the point was not reached";
    EXPECT_EQ(jobs().checkpoints(run).size(), kill.checkpoints);
    EXPECT_FALSE(fs::exists(jobs().path() / run / "artifact.json"));
    expect_done(run, plan({2, 1, 1}));
    expect_undisturbed(run);
  }
  // Stopped once in mid-run, where no checkpoint is due.
  bool sent = false;
  const ChildResult stopped = jobs().run("stopped", with(plan({1, 1, 2}), {"checkpoint.every=0"}),
                                         kTimeout, [&](pid_t pid, const std::string&) {
                                           if (sent || jobs().loss_bits("stopped").size() < 2)
                                             return;
                                           ::kill(pid, SIGUSR1);
                                           sent = true;
                                         });
  ASSERT_EQ(stopped.exit_code, 75) << stopped.output;
  EXPECT_EQ(jobs().checkpoints("stopped").size(), 1U);
  expect_done("stopped", plan({1, 1, 1}, 2));
  expect_undisturbed("stopped");
}

// Labels and words that nothing explains are learnt by heart: validation gets worse in time.
TEST_P(Recipe, TheBestCheckpointIsKeptAndHandedOnAlsoAcrossARestart) {
  write_conversations(jobs().path() / "chat.jsonl", 16);
  write_comparisons(jobs().path() / "pairs.jsonl", 24);
  const RunPlan best = with(
      plan(), {"checkpoint.select=\"best\"", "checkpoint.keep=1", "train.steps=24",
               "optimizer.learning_rate=2e-2", "optimizer.decay=\"constant\"", "train.dropout=0"});
  expect_done("best", best);
  std::string step;
  double least = 1e9;
  std::size_t saves = 0;
  for (const auto& [at, loss] : jobs().metric("best", "validation_loss")) {
    if (at % 4 != 0) continue;
    ++saves;
    if (std::stod(loss) < least) {
      least = std::stod(loss);
      step = fmt::format("checkpoints/step-{:08}", at);
    }
  }
  EXPECT_EQ(saves, 6U) << "each checkpoint is evaluated";
  ASSERT_NE(step, "checkpoints/step-00000024") << "the best must not be the last";
  EXPECT_EQ(handed_on("best"), step);
  const json::value manifest =
      json::parse(read_file(jobs().path() / "best" / step / "manifest.json"));
  EXPECT_EQ(artifact("best").at("weights_hash"), manifest.at("weights_hash"));
  EXPECT_EQ(artifact("best").at("metrics").at("validation_loss").to_number<double>(), least);
  EXPECT_EQ(jobs().checkpoints("best").size(), 2U) << "the newest and the best";

  RunPlan killed = best;
  killed.args = {"--crash-point", "step.end:21:0"};
  EXPECT_NE(jobs().run("again", killed, kTimeout).exit_code, 0);
  expect_done("again", best);
  EXPECT_EQ(handed_on("again"), step);
  EXPECT_EQ(artifact("again").at("weights_hash"), artifact("best").at("weights_hash"));

  // A run that is complete hands on what its job file now says.
  const RunPlan last = with(best, {"checkpoint.select=\"last\""});
  expect_done("again", last);
  EXPECT_EQ(handed_on("again"), "checkpoints/step-00000024");
  fs::remove(jobs().path() / "again" / "artifact.json");
  expect_done("again", best);
  EXPECT_EQ(handed_on("again"), step) << "a kill may have come before it was written";

  const ChildResult next = jobs().run(
      "next",
      with(plan(), {fmt::format("start.weights=\"{}\"", (jobs().path() / "best").string()),
                    "train.steps=6"}),
      kTimeout);
  EXPECT_EQ(next.exit_code, 0) << next.output;
  EXPECT_THAT(next.output, HasSubstr((jobs().path() / "best" / step).string()));
}

class Start : public RecipeFolder {};

TEST_F(Start, WeightsComeFromAStageARunOrACheckpointAndTheirOriginIsKept) {
  RunPlan base;
  base.set = {"train.steps=6"};
  expect_done("chain/base", base);
  const std::string run = (jobs().path() / "chain/base").string();
  const std::string checkpoint = run + "/checkpoints/step-00000006";
  const auto from = [&](const std::string& start) {
    return with(plan("sft"), {"train.steps=6", fmt::format("start.weights=\"{}\"", start)});
  };
  expect_done("chain/sft", from("stage:base"));
  expect_done("chain/run", from(run));
  expect_done("chain/checkpoint", from(checkpoint));
  expect_done("chain/none", with(plan("sft"), {"train.steps=6"}));
  for (const char* same : {"chain/run", "chain/checkpoint"}) {
    EXPECT_EQ(jobs().loss_bits(same), jobs().loss_bits("chain/sft"));
    EXPECT_EQ(jobs().weights_hash(same), jobs().weights_hash("chain/sft"));
  }
  EXPECT_NE(jobs().loss_bits("chain/none"), jobs().loss_bits("chain/sft"));
  const json::value origin = artifact("chain/sft").at("lineage").at("start").at(0);
  EXPECT_EQ(origin.at("role"), "weights");
  EXPECT_EQ(fs::path(std::string(origin.at("checkpoint").as_string())), fs::path(checkpoint));
  EXPECT_EQ(origin.at("weights_hash").as_string(), jobs().weights_hash("chain/base"));

  // The scalar head is new, in every layout the same.
  const auto reward = [&](const Layout& layout) {
    return with(plan("reward", layout), {"start.weights=\"stage:sft\"", "train.steps=6"});
  };
  expect_done("chain/reward", reward({1, 1, 1}));
  expect_done("chain/reward2", reward({2, 1, 2}));
  EXPECT_EQ(jobs().weights_hash("chain/reward"), jobs().weights_hash("chain/reward2"));
}

TEST_F(Start, ACheckpointOfAnotherShapeOrVocabularyIsRefused) {
  RunPlan base;
  base.set = {"train.steps=6"};
  expect_done("base", base);
  const std::string start = fmt::format("start.weights=\"{}\"", (jobs().path() / "base").string());
  const auto refusal = [&](const std::vector<std::string>& set) {
    fs::remove_all(jobs().path() / "refused");
    RunPlan refused = with(plan("reward", {2, 1, 1}), {start});
    refused.invariant = false;
    const ChildResult result = jobs().run("refused", with(refused, set), kTimeout);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_TRUE(jobs().loss_bits("refused").empty());
    return result.output;
  };
  EXPECT_THAT(refusal({"model.vocab=520"}),
              HasSubstr("tok_embed is 512 x 32, [model] says 520 x 32"));
  EXPECT_THAT(refusal({"model.heads=2"}), HasSubstr("a model with 4 heads, [model] says 2"));
  EXPECT_THAT(refusal({"model.layers=1"}), HasSubstr("it has more than 1 layers"));
  EXPECT_THAT(refusal({"model.vocab=500"}), HasSubstr("the tokenizer has 512 ids"));
  EXPECT_THAT(refusal({"start.weights=\"stage:nobody\""}), HasSubstr("nobody is no folder"));
  EXPECT_THAT(refusal({other_tokenizer_key(jobs())}), HasSubstr("another tokenizer"));
}

TEST_F(Start, ARunGoesOnWithTheWeightsThatItHasAndTheDataThatItBeganWith) {
  RunPlan base;
  base.set = {"train.steps=6"};
  expect_done("lost", base);
  const std::string start = fmt::format("start.weights=\"{}\"", (jobs().path() / "lost").string());
  expect_done("kept", with(plan("sft"), {start, "train.steps=6", "optimizer.decay_steps=12"}));
  fs::remove_all(jobs().path() / "lost");
  const RunPlan more = with(plan("sft"), {start, "optimizer.decay_steps=12"});
  expect_done("kept", more);
  EXPECT_EQ(jobs().loss_bits("kept").size(), 12U);

  const fs::path chat = jobs().path() / "chat.jsonl";
  const std::string before = read_file(chat);
  std::string changed = before;
  changed[changed.find("reads") + 1] = 'o';
  write_file_atomic(chat, changed);
  const ChildResult refused = jobs().run("kept", with(more, {"train.steps=14"}), kTimeout);
  write_file_atomic(chat, before);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("the data is not what"));
  EXPECT_EQ(jobs().loss_bits("kept").size(), 12U);
}

TEST_F(Start, DemonstrationsShiftTheBiasInEveryLayoutAlike) {
  write_conversations(jobs().path() / "good.jsonl", 20);
  const auto shifted = [&](const Layout& layout, bool zero) {
    RunPlan each = with(
        plan("reward", layout),
        {fmt::format("reward.demonstrations=[\"{}\"]", (jobs().path() / "good.jsonl").string()),
         "train.steps=6"});
    each.zero = zero;
    return each;
  };
  expect_done("plain", with(plan("reward"), {"train.steps=6"}));
  expect_done("one", shifted({1, 1, 1}, true));
  expect_done("four", shifted({2, 1, 2}, true));
  expect_done("six", shifted({1, 3, 2}, false));
  EXPECT_NE(jobs().weights_hash("one"), jobs().weights_hash("plain"));
  EXPECT_EQ(jobs().loss_bits("one"), jobs().loss_bits("plain")) << "it is done at the end";
  EXPECT_EQ(jobs().weights_hash("four"), jobs().weights_hash("one"));
  EXPECT_EQ(jobs().weights_hash("six"), jobs().weights_hash("one"));
}

}  // namespace
}  // namespace talaria::worker
