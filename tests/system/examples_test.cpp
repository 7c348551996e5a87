// SPDX-License-Identifier: Apache-2.0
// The measured examples in little: their scripts run as they stand with a few steps, print their
// tables and fail their mark; their data is what the page about them says.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "cluster/base/subprocess.h"
#include "tests/support/text_fixtures.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::HasSubstr;

std::vector<json::object> lines_of(const fs::path& file) {
  std::vector<json::object> lines;
  std::istringstream text(read_file(file));
  for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line).as_object());
  return lines;
}

std::string text_of(const json::object& line, const char* key) {
  return std::string(line.at(key).as_string());
}

class Examples : public testing::Test {
 protected:
  Examples() : folder_(fs::temp_directory_path() / fmt::format("talaria_examples_{}", ::getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Examples() override { fs::remove_all(folder_); }

  Captured run(const std::vector<std::string>& words) const {
    std::vector<std::string> argv = {"env", "-C", folder_.string(),
                                     "XDG_STATE_HOME=" + (folder_ / "state").string(),
                                     "TALARIA_STATE_DIR=" + (folder_ / "daemon").string()};
    argv.insert(argv.end(), words.begin(), words.end());
    return run_captured(argv, 200);
  }

  // A script of examples/.
  Captured type(std::vector<std::string> words) const {
    words.at(0) = std::string(TALARIA_SOURCE_DIR) + "/examples/" + words.at(0);
    return run(words);
  }

  fs::path folder_;
};

TEST_F(Examples, AdditionsDataIsAllSumsAndNoneIsOnBothSides) {
  ASSERT_EQ(type({"addition/data", "a", "7"}).exit_code, 0);
  std::set<std::string> held;
  std::set<std::string> trained;
  const auto check = [](const json::object& line, const char* key, std::set<std::string>& prompts) {
    int a = 0;
    int b = 0;
    ASSERT_EQ(std::sscanf(text_of(line, "prompt").c_str(), "%d+%d=", &a, &b), 2);
    EXPECT_EQ(text_of(line, key), std::to_string(a + b));
    prompts.insert(text_of(line, "prompt"));
  };
  for (const auto& line : lines_of(folder_ / "a/heldout.jsonl")) check(line, "answer", held);
  for (const auto& line : lines_of(folder_ / "a/train.jsonl")) check(line, "completion", trained);
  EXPECT_EQ(held.size(), 500U);
  EXPECT_EQ(trained.size(), 7600U);
  for (const std::string& prompt : held) EXPECT_EQ(trained.count(prompt), 0U) << prompt;
  ASSERT_EQ(type({"addition/data", "b", "7"}).exit_code, 0);
  EXPECT_EQ(read_file(folder_ / "a/train.jsonl"), read_file(folder_ / "b/train.jsonl"));
  ASSERT_EQ(type({"addition/data", "c", "8"}).exit_code, 0);
  EXPECT_NE(read_file(folder_ / "a/train.jsonl"), read_file(folder_ / "c/train.jsonl"));
  EXPECT_EQ(type({"addition/data", "d", "x"}).exit_code, 2);
}

TEST_F(Examples, RewardsRanksFollowItsRule) {
  ASSERT_EQ(type({"reward/data", "a", "7"}).exit_code, 0);
  std::vector<json::object> lines = lines_of(folder_ / "a/train.jsonl");
  EXPECT_EQ(lines.size(), 1200U);
  const auto held = lines_of(folder_ / "a/heldout.jsonl");
  EXPECT_EQ(held.size(), 300U);
  lines.insert(lines.end(), held.begin(), held.end());
  const auto share = [](const std::string& answer) {
    std::istringstream words(answer);
    double count = 0.0;
    double vowels = 0.0;
    for (std::string word; words >> word; ++count) {
      EXPECT_EQ(word.size(), 5U) << word;
      if (std::string("aeiou").find(word[0]) != std::string::npos) ++vowels;
    }
    return vowels / count;
  };
  for (const json::object& line : lines) {
    const json::array& answers = line.at("answers").as_array();
    const json::array& ranks = line.at("ranks").as_array();
    ASSERT_EQ(answers.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
      for (std::size_t j = 0; j < 4; ++j) {
        EXPECT_EQ(
            share(std::string(answers[i].as_string())) > share(std::string(answers[j].as_string())),
            ranks[i].as_int64() < ranks[j].as_int64());
      }
    }
  }
}

TEST_F(Examples, ListsFollowTheGoldRuleAndRepeatNoWord) {
  ASSERT_EQ(type({"ppo-model/data", "a", "7"}).exit_code, 0);
  // Of the gold rule.
  const auto share = [](const std::string& answer) {
    std::istringstream words(answer);
    std::set<std::string> seen;
    double vowels = 0.0;
    for (std::string word; words >> word;) {
      EXPECT_TRUE(seen.insert(word).second) << answer;
      if (std::string("aeiou").find(word[0]) != std::string::npos) ++vowels;
    }
    EXPECT_GE(seen.size(), 3U);
    EXPECT_LE(seen.size(), 8U);
    return vowels / static_cast<double>(seen.size());
  };
  std::set<std::string> trained;
  for (const json::object& line : lines_of(folder_ / "a/train.jsonl")) {
    share(text_of(line, "completion"));
    trained.insert(text_of(line, "prompt"));
  }
  for (const json::object& line : lines_of(folder_ / "a/prompts.jsonl")) {
    trained.insert(text_of(line, "prompt"));
  }
  for (const char* file : {"ranked", "pairs"}) {
    for (const json::object& line : lines_of(folder_ / "a" / fmt::format("{}.jsonl", file))) {
      const json::array& answers = line.at("answers").as_array();
      const json::array& ranks = line.at("ranks").as_array();
      for (std::size_t i = 1; i < answers.size(); ++i) {
        EXPECT_EQ(
            share(std::string(answers[i].as_string())) > share(std::string(answers[0].as_string())),
            ranks[i].as_int64() < ranks[0].as_int64());
      }
      if (std::string(file) == "ranked") trained.insert(text_of(line, "prompt"));
    }
  }
  const auto held = lines_of(folder_ / "a/heldout.jsonl");
  EXPECT_EQ(held.size(), 300U);
  for (const json::object& line : held) {
    EXPECT_EQ(trained.count(text_of(line, "prompt")), 0U) << text_of(line, "prompt");
  }
}

TEST_F(Examples, AdditionRunsAndFewStepsMissTheMark) {
  const Captured ran =
      type({"addition/run", "--seeds", "5", "--bin", TALARIA_BIN_DIR, "--set", "train.steps=2"});
  EXPECT_EQ(ran.exit_code, 1) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("| seed | steps | exact before, % |"));
  EXPECT_THAT(ran.out, HasSubstr("\n| 5 | 2 | 0.0 | 0.0 | "));
  EXPECT_THAT(ran.err, HasSubstr("a seed missed the mark"));
  EXPECT_EQ(type({"addition/run", "--sed", "5"}).exit_code, 2);
}

TEST_F(Examples, RewardRunsAlsoOnTranscripts) {
  // Words enough for a vocabulary of 1024.
  std::mt19937 random(3);
  const auto words = [&] {
    std::string text;
    for (int letter = 0; letter < 100; ++letter) {
      text += letter % 5 == 0 ? ' ' : static_cast<char>('a' + random() % 26);
    }
    return text;
  };
  std::ofstream pairs(folder_ / "pairs.jsonl");
  for (int i = 0; i < 60; ++i) {
    const std::string question = words();
    pairs << fmt::format(
        R"({{"chosen": "\n\nHuman:{0}\n\nAssistant:{1}", "rejected": "\n\nHuman:{0}\n\nAssistant:{2}"}})",
        question, words(), words());
    pairs << "\n";
  }
  pairs.close();
  const Captured ran = type({"reward/run", "--seeds", "5", "--bin", TALARIA_BIN_DIR, "--hh",
                             (folder_ / "pairs.jsonl").string(), "--set", "train.steps=1", "--set",
                             "optimizer.learning_rate=1e-9"});
  EXPECT_EQ(ran.exit_code, 1) << ran.err;
  EXPECT_THAT(ran.out,
              testing::ContainsRegex("\n\\| 5 \\| 1 \\| 1[56][0-9][0-9] \\| 5[0-9.]+ \\| "));
  EXPECT_THAT(ran.out, HasSubstr("| hh-rlhf, seed |"));
  EXPECT_THAT(ran.out, testing::ContainsRegex("\n\\| 5 \\| 1 \\| [34][0-9] \\| [12][0-9] \\| "));
  EXPECT_THAT(ran.err, HasSubstr("a seed missed the mark"));
}

TEST_F(Examples, ChatsDataSaysWhatIsMissing) {
  const Captured pairs =
      type({"chat/data", "data/chat", "--bin", TALARIA_BIN_DIR, "--hh", "nowhere.jsonl"});
  EXPECT_EQ(pairs.exit_code, 2);
  EXPECT_THAT(pairs.err, testing::StartsWith("examples/chat/data: nowhere.jsonl is missing; "));
  EXPECT_EQ(pairs.err.find('\n'), pairs.err.size() - 1);
  EXPECT_EQ(type({"chat/data", "data/chat", "--shh", "x"}).exit_code, 2);
  EXPECT_FALSE(fs::exists(folder_ / "data"));
}

TEST_F(Examples, ChatsDataServeAllStagesOfItsGraph) {
  const fs::path pairs = test::shared_data("hh-rlhf/preferences.jsonl");
  TALARIA_NEEDS_SHARED(pairs);
  std::ofstream(folder_ / "text.txt") << test::random_prose(3, 300000);
  const Captured made = type({"chat/data", "data/chat", "--bin", TALARIA_BIN_DIR, "--hh",
                              pairs.string(), "--text", "text.txt"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("data/chat/prompts.jsonl: 526 lines used, 3 bad\n"));

  // The job file with gates that a model of two steps passes, and short answers.
  std::string job = read_file(fs::path(TALARIA_SOURCE_DIR) / "examples/chat.toml");
  const auto change = [&](const std::string& from, const std::string& to) {
    ASSERT_NE(job.find(from), std::string::npos) << from;
    job.replace(job.find(from), from.size(), to);
  };
  change("validation_loss < 5", "validation_loss < 9");
  change("accuracy >= 0.6", "accuracy >= 0");
  change("rollout_batch = 64", "rollout_batch = 16");
  change("response_tokens = 64", "response_tokens = 8");
  std::ofstream(folder_ / "chat.toml") << job;
  std::vector<std::string> command = {std::string(TALARIA_BIN_DIR) + "/talaria", "run",
                                      "chat.toml"};
  for (const char* key : {"train.steps=2", "model.layers=1", "model.hidden=32", "model.heads=4"}) {
    command.insert(command.end(), {"--set", key});
  }
  const auto handed_on = [&] {
    std::string all;
    for (const char* stage : {"pretrain", "sft", "reward", "ppo"}) {
      all += read_file(folder_ / "runs/chat" / stage / "artifact.json");
    }
    return all;
  };
  const Captured ran = run(command);
  ASSERT_EQ(ran.exit_code, 0) << ran.out << ran.err;
  const std::string first = handed_on();
  const Captured again = run(command);
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
  EXPECT_THAT(again.out + again.err, HasSubstr("ppo: done already; step 2"));
  EXPECT_EQ(handed_on(), first);
}

}  // namespace
}  // namespace talaria
