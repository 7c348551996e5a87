// SPDX-License-Identifier: Apache-2.0
// PPO jobs under mpirun: every layout gives the same bits, and a job that was killed or stopped
// anywhere ends with those of the undisturbed one. Frozen models are what they were, or refused.
#include <csignal>
#include <fstream>
#include <map>
#include <sstream>

#include <boost/json.hpp>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "storage/checkpoint/crash_point.h"
#include "storage/checkpoint/reader.h"
#include "tests/support/ppo_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr double kTimeout = 120;
constexpr std::size_t kSteps = 6;

class Ppo : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(make_ppo_folder(
        fs::temp_directory_path() / fmt::format("talaria_ppo_{}", ::getpid()), kSmallPpo));
    const ChildResult result = jobs_->run("undisturbed", plan(1, 1, 1), kTimeout);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    ASSERT_EQ(jobs_->loss_bits("undisturbed").size(), kSteps);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }

  static RunPlan plan(int tensor, int pipeline, int data, std::int64_t micro_batch = 2) {
    RunPlan made;
    made.layout = {tensor, pipeline, data};
    made.micro_batch = micro_batch;
    made.set = {"checkpoint.every=2", "checkpoint.keep=10"};
    return made;
  }

  static void expect_undisturbed(const std::string& run) {
    for (const char* key : {"loss_bits",
                            "learning_rate",
                            "grad_norm",
                            "validation_loss",
                            "tokens",
                            "mix_loss",
                            "validation_model_score",
                            "validation_rule_score",
                            "objective/kl",
                            "objective/scores",
                            "objective/model_scores",
                            "objective/rule_scores",
                            "objective/kl_coefficient",
                            "objective/entropy",
                            "val/explained_variance",
                            "val/ratio",
                            "val/ratio_var",
                            "loss/value_avg",
                            "policy/entropy_avg",
                            "policy/approxkl_avg",
                            "response/length",
                            "sampler/logprob_max_difference",
                            "episode"}) {
      EXPECT_EQ(jobs_->metric(run, key), jobs_->metric("undisturbed", key)) << key;
      EXPECT_FALSE(jobs_->metric(run, key).empty()) << key;
    }
    EXPECT_EQ(jobs_->weights_hash(run), jobs_->weights_hash("undisturbed"));
    EXPECT_EQ(beta_bits(run), beta_bits("undisturbed"));
    // Of both networks, their moments and the averaged weights.
    EXPECT_EQ(tensor_hashes(run), tensor_hashes("undisturbed"));
  }

  // Of every tensor of the newest checkpoint, by its group and name.
  static std::map<std::string, std::string> tensor_hashes(const std::string& run) {
    const storage::CheckpointReader reader(jobs_->checkpoints(run).back());
    std::map<std::string, std::string> hashes;
    for (const storage::TensorRecord& tensor : reader.manifest().tensors) {
      hashes[tensor.full_name()] = tensor.hash.hex();
    }
    EXPECT_TRUE(hashes.contains("ema_param/ln_f.weight"));
    EXPECT_TRUE(hashes.contains("value_adam_v/value_head.weight"));
    return hashes;
  }
  // Greedy answer of a run's model to a sum.
  static std::string answer(const std::string& run) {
    const ChildResult result =
        jobs_->tool({"generate", "--run-dir", (jobs_->path() / run).string(), "--prompt",
                     "12+34=", "--tokens", "5", "--temperature", "0"});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output.substr(result.output.find("12+34="));
  }
  // Of the KL penalty's coefficient in the newest checkpoint.
  static std::string beta_bits(const std::string& run) {
    const auto manifest =
        boost::json::parse(read_file(jobs_->checkpoints(run).back() / "manifest.json"));
    return boost::json::serialize(manifest.at("meta").at("task").at("beta_bits"));
  }
  static double number(const std::string& run, const std::string& key, std::int64_t step) {
    return std::stod(jobs_->metric(run, key).at(step));
  }

  static void expect_refused(const std::string& run, const RunPlan& plan, const std::string& part) {
    const ChildResult result = jobs_->run(run, plan, kTimeout);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(part));
  }

  // Killed where `point` says, started again on another layout: nothing else shows.
  static void kill_and_continue(const std::string& run, const std::string& point) {
    SCOPED_TRACE(point);
    RunPlan killed_plan = plan(1, 2, 1);
    killed_plan.args = {"--crash-point", point};
    const ChildResult killed = jobs_->run(run, killed_plan, kTimeout);
    ASSERT_NE(killed.output.find("signal 9"), std::string::npos)
        << "the point was not reached: " << killed.output;
    const ChildResult continued = jobs_->run(run, plan(1, 1, 2), kTimeout);
    ASSERT_EQ(continued.exit_code, 0) << continued.output;
    EXPECT_THAT(continued.output, HasSubstr("continuing from"));
    expect_undisturbed(run);
    fs::remove_all(jobs_->path() / run);
  }

  static const JobFolder& jobs() { return *jobs_; }

 private:
  static JobFolder* jobs_;
};

JobFolder* Ppo::jobs_ = nullptr;

// An average that hardly moves is the start, however far the policy went.
TEST_F(Ppo, AveragedWeightsAreEvaluatedUsedAndExported) {
  RunPlan far = plan(1, 1, 1);
  far.set.insert(far.set.end(), {"optimizer.learning_rate=0.1", "train.steps=3", "ppo.ema=0"});
  const ChildResult raw = jobs().run("raw", far, kTimeout);
  ASSERT_EQ(raw.exit_code, 0) << raw.output;
  far.set.back() = "ppo.ema=0.9999999";
  const ChildResult averaged = jobs().run("averaged", far, kTimeout);
  ASSERT_EQ(averaged.exit_code, 0) << averaged.output;
  ASSERT_NE(answer("raw"), answer("sft"));
  EXPECT_EQ(answer("averaged"), answer("sft"));

  const auto answers_at = [](const std::string& run, int step) {
    std::istringstream lines(read_file(jobs().path() / run / "samples.jsonl"));
    std::vector<std::string> found;
    for (std::string line; std::getline(lines, line);) {
      const auto value = boost::json::parse(line);
      if (value.at("step") == step) {
        found.emplace_back(value.at("response").as_string());
      }
    }
    EXPECT_EQ(found.size(), 3U);
    return found;
  };
  EXPECT_NE(answers_at("raw", 3), answers_at("raw", 0));
  EXPECT_EQ(answers_at("averaged", 3), answers_at("averaged", 0));

  for (const char* run : {"raw", "averaged"}) {
    const std::string out = (jobs().path() / (std::string(run) + "-export")).string();
    const ChildResult exported =
        jobs().tool({"checkpoint", "export", (jobs().path() / run).string(), "--out", out});
    ASSERT_EQ(exported.exit_code, 0) << exported.output;
    const ChildResult imported =
        jobs().tool({"checkpoint", "import", out, "--out",
                     (jobs().path() / (std::string(run) + "-again")).string()});
    ASSERT_EQ(imported.exit_code, 0) << imported.output;
    EXPECT_EQ(answer(std::string(run) + "-again"), answer(run));
  }
}

TEST_F(Ppo, TheJobUsesWhatItIsToldTo) {
  // What the other cases compare would be worth little if it did not change.
  EXPECT_NE(number("undisturbed", "objective/kl_coefficient", 1),
            number("undisturbed", "objective/kl_coefficient", 2));
  EXPECT_NE(number("undisturbed", "objective/kl", 6), 0.0);
  EXPECT_EQ(number("undisturbed", "objective/kl", 1), 0.0);
  EXPECT_EQ(number("undisturbed", "episode", 6), 96.0);
  EXPECT_GT(number("undisturbed", "val/ratio_var", 3), 0.0);
  EXPECT_LE(number("undisturbed", "sampler/logprob_max_difference", 6), 1e-4);
  const auto manifest =
      boost::json::parse(read_file(jobs().checkpoints("undisturbed").back() / "manifest.json"));
  EXPECT_EQ(manifest.at("meta").at("start").as_array().size(), 4U);
  const std::string samples = read_file(jobs().path() / "undisturbed" / "samples.jsonl");
  EXPECT_THAT(samples, HasSubstr("\"step\":0"));
  EXPECT_THAT(samples, HasSubstr("\"step\":3"));
  EXPECT_THAT(samples, HasSubstr("\"step\":6"));
  // Any tokens may be sampled, also parts of characters; each line is JSON.
  std::istringstream lines(samples);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(boost::json::parse(line).at("response").is_string());
  }
}

TEST_F(Ppo, ItsTemperatureIsOfTheResponsesInEveryPassAndNotOfTheMix) {
  for (const char* temperature : {"1.0", "0.5"}) {
    RunPlan still = plan(1, 1, 1);
    still.set = {fmt::format("ppo.temperature={}", temperature), "train.steps=1",
                 "optimizer.warmup_steps=0", "optimizer.learning_rate=1e-12",
                 "ppo.value_learning_rate=1e-12"};
    const ChildResult result = jobs().run(temperature, still, kTimeout);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    // The weights do not move: updates find what scoring found, and that what the sampler found.
    EXPECT_NEAR(number(temperature, "val/ratio", 1), 1.0, 1e-6);
    EXPECT_LE(number(temperature, "policy/approxkl_avg", 1), 1e-10);
    EXPECT_LE(number(temperature, "sampler/logprob_max_difference", 1), 1e-4);
  }
  EXPECT_NEAR(number("0.5", "mix_loss", 1), number("1.0", "mix_loss", 1), 1e-6);
  EXPECT_LT(number("0.5", "policy/entropy_avg", 1), number("1.0", "policy/entropy_avg", 1));
}

TEST_F(Ppo, EveryLayoutGivesTheSameBits) {
  int number = 0;
  for (const RunPlan& each : {plan(2, 1, 1), plan(1, 2, 1), plan(1, 1, 2), plan(2, 2, 2, 1)}) {
    const parallel::Layout& layout = each.layout;
    SCOPED_TRACE(fmt::format("{} {} {}", layout.tensor, layout.pipeline, layout.data));
    const std::string run = fmt::format("layout-{}", ++number);
    const ChildResult result = jobs().run(run, each, kTimeout);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    expect_undisturbed(run);
  }
}

TEST_F(Ppo, FastNumericsDiffer) {
  RunPlan fast = plan(1, 1, 2);
  fast.invariant = false;
  const ChildResult result = jobs().run("fast", fast, kTimeout);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(jobs().weights_hash("fast"), jobs().weights_hash("undisturbed"));
  // The first rollout is sampled by the same weights: only rounding may tell them apart.
  EXPECT_NEAR(number("fast", "objective/scores", 1), number("undisturbed", "objective/scores", 1),
              0.2);
}

TEST_F(Ppo, KilledInAnyPhaseItEndsWithTheSameBits) {
  // The points of the fifth step: a checkpoint of the fourth is there, and beta has moved.
  int number = 0;
  for (const char* point : {"rollout.begin", "score.begin", "update.begin"}) {
    for (const int rank : {0, 1}) {
      kill_and_continue(fmt::format("killed-{}", ++number), fmt::format("{}:4:{}", point, rank));
    }
  }
}

TEST_F(Ppo, KilledInACheckpointItEndsWithTheSameBits) {
  // Rank 0 commits; what another rank passes in a save is its shard.
  int number = 0;
  for (const char* point : {"before_rename:2:0", "after_rename:2:0"}) {
    kill_and_continue(fmt::format("commit-{}", ++number), point);
  }
  for (const std::string_view name : storage::crash_point_names()) {
    if (!name.starts_with("shard.")) continue;
    kill_and_continue(fmt::format("commit-{}", ++number), fmt::format("{}:2:1", name));
    break;
  }
}

TEST_F(Ppo, StoppedByASignalItContinues) {
  bool sent = false;
  RunPlan stopped = plan(2, 1, 1);
  stopped.set = {"checkpoint.every=0"};
  const ChildResult result =
      jobs().run("stopped", stopped, kTimeout, [&](pid_t pid, const std::string&) {
        if (sent || jobs().loss_bits("stopped").empty()) return;
        ::kill(pid, SIGUSR1);
        sent = true;
      });
  ASSERT_EQ(result.exit_code, 75) << result.output;
  ASSERT_LT(jobs().loss_bits("stopped").size(), kSteps);
  // A run that continues may keep its frozen models elsewhere.
  RunPlan rest = plan(1, 2, 1);
  rest.set = {"checkpoint.every=0", "ppo.offload=true", "ppo.slots=3"};
  const ChildResult continued = jobs().run("stopped", rest, kTimeout);
  ASSERT_EQ(continued.exit_code, 0) << continued.output;
  expect_undisturbed("stopped");
}

TEST_F(Ppo, OffloadGivesTheSameBits) {
  RunPlan offload = plan(1, 1, 2);
  offload.set.emplace_back("ppo.offload=true");
  const ChildResult result = jobs().run("offload", offload, kTimeout);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  expect_undisturbed("offload");
}

TEST_F(Ppo, OffloadTakesLessMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer holds on to what was freed";
#endif
  const std::string folder = jobs().path().string();
  RunPlan larger = plan(1, 1, 1);
  larger.set = {"model.hidden=384", "model.layers=4", "train.steps=1", "optimizer.warmup_steps=0"};
  larger.job_file = "sft.toml";
  ASSERT_EQ(jobs().run("larger-sft", larger, kTimeout).exit_code, 0);
  larger.job_file = "reward.toml";
  larger.set.push_back(fmt::format("start.weights=\"{}/larger-sft\"", folder));
  ASSERT_EQ(jobs().run("larger-reward", larger, kTimeout).exit_code, 0);
  larger.job_file = "job.toml";
  larger.set.push_back(fmt::format("start.reward=\"{}/larger-reward\"", folder));
  ASSERT_EQ(jobs().run("larger", larger, kTimeout).exit_code, 0);
  larger.set.emplace_back("ppo.offload=true");
  ASSERT_EQ(jobs().run("larger-offload", larger, kTimeout).exit_code, 0);
  EXPECT_EQ(jobs().weights_hash("larger-offload"), jobs().weights_hash("larger"));
  // Two models of 7.2 million weights.
  const double saved = number("larger", "rss_bytes", 1) - number("larger-offload", "rss_bytes", 1);
  fmt::print("{:.0f} MB less of {:.0f}\n", saved / 1e6, number("larger", "rss_bytes", 1) / 1e6);
  EXPECT_GT(saved, 0.8 * 2 * 7.2e6 * 4);
}

TEST_F(Ppo, ALargeStepEndsTheUpdatesOfAnIteration) {
  RunPlan early = plan(1, 1, 1);
  early.set.emplace_back("ppo.stop_kl=1e-12");
  early.set.emplace_back("train.steps=2");
  early.set.emplace_back("optimizer.decay_steps=6");
  const ChildResult result = jobs().run("early", early, kTimeout);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  // The second minibatch of four is the last: the first one's update made its ratio another.
  const auto manifest =
      boost::json::parse(read_file(jobs().checkpoints("early").back() / "manifest.json"));
  EXPECT_EQ(manifest.at("meta").at("optimizer").at("updates").to_number<int>(), 4);
  EXPECT_EQ(manifest.at("meta").at("task").at("value_updates").to_number<int>(), 4);
  EXPECT_NE(jobs().loss_bits("early").at(1), jobs().loss_bits("undisturbed").at(1));
}

TEST_F(Ppo, UpdatesThatAreNotFiniteAreLeftOutAndEarlierOnesStand) {
  RunPlan wild = plan(1, 1, 2);
  wild.set = {"ppo.value_learning_rate=1000", "optimizer.weight_decay=1000", "checkpoint.every=1",
              "checkpoint.keep=10"};
  const ChildResult result = jobs().run("wild", wild, kTimeout);
  EXPECT_EQ(result.exit_code, 1) << result.output;
  // The policy has learned from minibatches of the first of them.
  EXPECT_THAT(result.output, HasSubstr("step 1: update skipped, not finite on rank "));
  EXPECT_THAT(result.output, HasSubstr("step 3: loss or gradient norm was not finite 3 steps in a "
                                       "row, first seen on rank "));
  EXPECT_THAT(result.output, HasSubstr("; updates with such numbers were left out. Lower "));
  EXPECT_GT(number("wild", "policy/approxkl_avg", 1), 0.0);
}

TEST_F(Ppo, FrozenWeightsThatChangedAreRefused) {
  RunPlan some = plan(1, 1, 1);
  some.set = {fmt::format("start.reference=\"{}/frozen\"", jobs().path().string()),
              "checkpoint.every=2", "train.steps=2", "optimizer.decay_steps=6"};
  fs::copy(jobs().path() / "sft", jobs().path() / "frozen", fs::copy_options::recursive);
  ASSERT_EQ(jobs().run("changed", some, kTimeout).exit_code, 0);
  fs::remove_all(jobs().path() / "frozen");
  fs::copy(jobs().path() / "undisturbed", jobs().path() / "frozen", fs::copy_options::recursive);
  some.set[2] = "train.steps=6";
  expect_refused("changed", some, "start.reference: ");
  expect_refused("changed", some, "but the run was started with");
}

TEST_F(Ppo, AStartThatDoesNotFitIsRefused) {
  const std::string folder = jobs().path().string();
  RunPlan other = plan(1, 1, 1);
  // A policy is no reward model.
  other.set = {fmt::format("start.reward=\"{}/sft\"", folder)};
  expect_refused("no-head", other, "start.reward: ");
  expect_refused("no-head", other, "a language model, no reward model");
  // Another vocabulary: the tensors have another shape.
  other.set = {"model.vocab=300"};
  expect_refused("vocab", other, "make [model] that of the checkpoint");
  // Another tokenizer of the same size.
  std::ofstream(jobs().path() / "text2.txt") << std::string(4000, 'a') << " b c d e f g h\n";
  const ChildResult prepared = jobs().tool(
      {"data", "prepare", "--out", folder + "/data2", "--vocab", "258", folder + "/text.txt"});
  ASSERT_EQ(prepared.exit_code, 0) << prepared.output;
  other.set = {fmt::format("data.tokenizer=\"{}/data2/tokenizer\"", folder), "mix.rows=0",
               "model.vocab=258"};
  expect_refused("tokenizer", other, "another tokenizer");
  other.set = {"start.reward=\"no such\""};
  expect_refused("missing", other, "start.reward: \"no such\": no such is no folder");
}

TEST_F(Ppo, APromptThatTheRuleCannotCompareWithIsRefused) {
  const std::string file = (jobs().path() / "some.jsonl").string();
  const std::string good = read_file(jobs().path() / "prompts.jsonl");
  RunPlan other = plan(1, 1, 1);
  other.set = {fmt::format("data.files=[\"{}\"]", file)};
  write_file_atomic(file, good + "{\"prompt\":\"1+1=\"}\n");
  expect_refused("unanswered", other, "some.jsonl:401: no \"answer\", with which a rule of kind ");
  write_file_atomic(file, good + "{\"prompt\":\"1+1=\",\"answer\":\"two\"}\n");
  other.set.insert(other.set.end(), {"rewards.rule=\"match\"", "rewards.pattern=\"(.+)\"",
                                     "rewards.compare=\"number\""});
  expect_refused("no-number", other, "some.jsonl:401: the \"answer\" \"two\" is no number");
}

}  // namespace
}  // namespace talaria::worker
