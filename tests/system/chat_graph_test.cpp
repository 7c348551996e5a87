// SPDX-License-Identifier: Apache-2.0
// The whole line from text to a chat model as one job: pretrain -> sft -> reward -> ppo on two
// ranks. What each stage was made from, a gate that holds PPO back, what is done already, and PPO
// killed and gone on with.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "tests/support/ppo_job.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr double kTimeout = 120;

constexpr const char* kJob = R"([job]
name = "line"
seed = 5

[cluster]
threads_per_rank = 1

[parallel]
data = 2

[model]
layers = 2
hidden = 32
heads = 4
context = 16
vocab = 257

[data]
tokenizer = "data/tokenizer"
validation = 0.05

[train]
steps = 8
global_batch = 8
sequence_length = 16
eval_samples = 8

[optimizer]
learning_rate = 3e-3
warmup_steps = 2

[[stage]]
name = "pretrain"
kind = "pretrain"
data.sources = [{ path = "data/text.tok" }]

[[stage]]
name = "sft"
kind = "sft"
gate = "pretrain.loss < 100"
start.weights = "stage:pretrain"
data.files = ["chat.jsonl"]
data.template = "plain"

[[stage]]
name = "reward"
kind = "reward"
start.weights = "stage:sft"
data.files = ["compare.jsonl"]
data.template = "plain"
train.sequence_length = 32

[[stage]]
name = "ppo"
kind = "ppo"
gate = "reward.accuracy GATE"
start.weights = "stage:sft"
start.reward = "stage:reward"
data.files = ["prompts.jsonl"]
data.template = "plain"
train.steps = 4
train.eval_every = 2
checkpoint.every = 2
ppo.rollout_batch = 16
ppo.response_tokens = 5
)";

// Of each file its bytes, and when it was written.
using Snapshot = std::map<fs::path, std::pair<std::string, fs::file_time_type>>;

class ChatGraph : public testing::Test {
 protected:
  ChatGraph()
      : folder_(fs::temp_directory_path() / fmt::format("talaria_chat_graph_{}", ::getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    worker::write_sums(folder_);
    const ChildResult prepared =
        run_child({std::string(TALARIA_BIN_DIR) + "/talaria-worker", "data", "prepare", "--out",
                   (folder_ / "data").string(), "--vocab", "257", (folder_ / "text.txt").string()},
                  kTimeout);
    EXPECT_EQ(prepared.exit_code, 0) << prepared.output;
  }
  ~ChatGraph() override { fs::remove_all(folder_); }

  // The job with the gate `reward.accuracy` + `gate` before PPO.
  void write_job(const std::string& gate) const {
    std::string text = kJob;
    text.replace(text.find("GATE"), 4, gate);
    std::ofstream(folder_ / "line.toml") << text;
  }

  using Watch = std::function<void(pid_t pid, const std::string& output)>;
  ChildResult talaria(const std::vector<std::string>& args, const std::string& crash = "",
                      const Watch& watch = nullptr) const {
    std::vector<std::string> all = {"env",
                                    "-C",
                                    folder_.string(),
                                    "HOME=" + folder_.string(),
                                    "XDG_STATE_HOME=" + (folder_ / "state").string(),
                                    "TALARIA_STATE_DIR=" + (folder_ / "daemon").string()};
    if (!crash.empty()) all.push_back("TALARIA_CRASH_POINT=" + crash);
    all.push_back(std::string(TALARIA_BIN_DIR) + "/talaria");
    all.insert(all.end(), args.begin(), args.end());
    return run_child(all, kTimeout, watch);
  }
  ChildResult run(const std::string& name, const std::string& crash = "",
                  const Watch& watch = nullptr) const {
    return talaria({"run", "line.toml", "--run-dir", "runs/" + name}, crash, watch);
  }

  fs::path path(const std::string& name) const { return folder_ / name; }
  fs::path stage(const std::string& run, const std::string& name) const {
    return folder_ / "runs" / run / name;
  }
  json::value artifact(const std::string& run, const std::string& name) const {
    return json::parse(read_file(stage(run, name) / "artifact.json"));
  }
  std::string weights(const std::string& run, const std::string& name) const {
    return std::string(artifact(run, name).at("weights_hash").as_string());
  }

  // What the stages before PPO have computed.
  Snapshot results(const std::string& run) const {
    Snapshot found;
    const auto add = [&](const fs::path& file) {
      found[file] = {read_file(file), fs::last_write_time(file)};
    };
    for (const char* name : {"pretrain", "sft", "reward"}) {
      add(stage(run, name) / "artifact.json");
      add(stage(run, name) / "metrics.jsonl");
      for (const auto& file : fs::recursive_directory_iterator(stage(run, name) / "checkpoints")) {
        if (file.is_regular_file() && file.path().filename() != "fence") add(file.path());
      }
    }
    return found;
  }

  // A second run directory in which all but PPO is done.
  void copy_before_ppo(const std::string& from, const std::string& to) const {
    for (const char* name : {"pretrain", "sft", "reward"}) {
      fs::create_directories(path("runs/" + to));
      fs::copy(stage(from, name), stage(to, name), fs::copy_options::recursive);
    }
  }

  fs::path folder_;
};

// The checkpoint of each role that `stage` of the run began with, by its hash.
std::map<std::string, std::string> origins_of(const json::value& artifact) {
  std::map<std::string, std::string> found;
  for (const json::value& each : artifact.at("lineage").at("start").as_array()) {
    found[std::string(each.at("role").as_string())] = each.at("weights_hash").as_string();
  }
  return found;
}

TEST_F(ChatGraph, AGateHoldsPpoBackAndTheLineageReachesThroughIt) {
  write_job("> 1");
  const ChildResult shut = run("g");
  EXPECT_EQ(shut.exit_code, 1) << shut.output;
  EXPECT_THAT(
      shut.output,
      AllOf(HasSubstr("pretrain: done; step 8"), HasSubstr("sft: done; step 8"),
            HasSubstr("reward: done; step 8"),
            HasSubstr("ppo: failed: gate reward.accuracy > 1 does not hold: "),
            HasSubstr("(runs/g/reward/artifact.json); train reward longer or change the gate"),
            Not(HasSubstr("restart"))));
  EXPECT_FALSE(fs::exists(stage("g", "ppo"))) << "nothing of the stage was started";
  const Snapshot before = results("g");

  write_job(">= 0");
  const ChildResult open = run("g");
  EXPECT_EQ(open.exit_code, 0) << open.output;
  EXPECT_THAT(open.output,
              AllOf(HasSubstr("pretrain: done already"), HasSubstr("sft: done already"),
                    HasSubstr("reward: done already"), HasSubstr("ppo: done; step 4")));
  EXPECT_TRUE(results("g") == before) << "a stage that is done was touched";
  const std::string ppo = weights("g", "ppo");

  // Each begins with what the one before has handed on.
  using Origins = std::map<std::string, std::string>;
  const std::string sft = weights("g", "sft");
  const std::string reward = weights("g", "reward");
  EXPECT_EQ(origins_of(artifact("g", "pretrain")), Origins());
  EXPECT_EQ(origins_of(artifact("g", "sft")), (Origins{{"weights", weights("g", "pretrain")}}));
  EXPECT_EQ(origins_of(artifact("g", "reward")), (Origins{{"weights", sft}}));
  EXPECT_EQ(origins_of(artifact("g", "ppo")),
            (Origins{{"weights", sft}, {"reference", sft}, {"reward", reward}, {"value", reward}}));
  EXPECT_NE(ppo, sft);

  const ChildResult show = talaria({"show", "runs/g"});
  const json::value lineage = artifact("g", "ppo").at("lineage");
  const auto text = [](const json::value& value) { return std::string(value.as_string()); };
  const std::string ppo_part = show.output.substr(show.output.find("\nstage ppo"));
  EXPECT_THAT(
      ppo_part,
      AllOf(HasSubstr("gate            reward.accuracy >= 0, holds: "),
            HasSubstr(fmt::format("hands on        checkpoints/step-00000004 (weights {})", ppo)),
            HasSubstr(fmt::format("made from       data {}, job file {}", text(lineage.at("data")),
                                  text(lineage.at("job")))),
            HasSubstr(fmt::format("start.weights   stage sft, step 8 (weights {})", sft)),
            HasSubstr(fmt::format("start.reference stage sft, step 8 (weights {})", sft)),
            HasSubstr(fmt::format("start.reward    stage reward, step 8 (weights {})", reward)),
            HasSubstr(fmt::format("start.value     stage reward, step 8 (weights {})", reward))));
  EXPECT_THAT(ppo_part, HasSubstr("ANSWER AT STEP 4"));

  const ChildResult again = run("g");
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("ppo: done already; step 4"));
  EXPECT_TRUE(results("g") == before);
  EXPECT_EQ(weights("g", "ppo"), ppo);
}

TEST_F(ChatGraph, ABadLineThatSeveralStagesReadIsSaidOnce) {
  const std::string text = kJob;
  const std::string sft =
      "[[stage]]\nname = \"{}\"\nkind = \"sft\"\nafter = []\ndata.files = [\"chat.jsonl\"]\n"
      "data.template = \"plain\"\ndata.max_bad_lines = 1\ntrain.steps = 1\n";
  std::ofstream(path("line.toml"))
      << text.substr(0, text.find("[[stage]]")) << fmt::format(fmt::runtime(sft), "one")
      << fmt::format(fmt::runtime(sft), "two");
  std::ofstream(path("chat.jsonl"), std::ios::app) << "{\"prompt\": 7}\n";
  const ChildResult result = run("bad");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  const std::string warning = "chat.jsonl:401: \"prompt\" is no string; the line is left out\n";
  const std::size_t said = result.output.find(warning);
  ASSERT_NE(said, std::string::npos) << result.output;
  EXPECT_EQ(result.output.find(warning, said + 1), std::string::npos) << result.output;
}

TEST_F(ChatGraph, PpoKilledEndsWithTheSameBits) {
  write_job(">= 0");
  const ChildResult undisturbed = run("g");
  ASSERT_EQ(undisturbed.exit_code, 0) << undisturbed.output;

  // A rank, in the third iteration's updates of the first attempt: the coordinator restarts it.
  copy_before_ppo("g", "rank");
  const ChildResult rank = run("rank", "update.begin:3:1:1");
  EXPECT_EQ(rank.exit_code, 0) << rank.output;
  EXPECT_THAT(rank.output,
              AllOf(HasSubstr("rank 1 "), HasSubstr("was killed by signal 9 (SIGKILL)"),
                    HasSubstr("restart 1 of at most 3"), HasSubstr("ppo: done; step 4")));
  EXPECT_EQ(weights("rank", "ppo"), weights("g", "ppo"));

  // `talaria run` itself, and with it the coordinator: the ranks go on, and so does a second one.
  copy_before_ppo("g", "whole");
  const ChildResult whole = run("whole", "", [&](pid_t pid, const std::string&) {
    if (fs::exists(stage("whole", "ppo") / "samples.jsonl")) ::kill(pid, SIGKILL);
  });
  EXPECT_EQ(whole.exit_code, 128 + SIGKILL) << whole.output;
  const ChildResult rest = run("whole");
  EXPECT_EQ(rest.exit_code, 0) << rest.output;
  EXPECT_THAT(rest.output, AllOf(HasSubstr("goes on with the run that was left"),
                                 HasSubstr("ppo: done; step 4")));
  EXPECT_EQ(weights("whole", "ppo"), weights("g", "ppo"));
}

}  // namespace
}  // namespace talaria
