// SPDX-License-Identifier: Apache-2.0
// `talaria-worker generate` on a small trained model: one text as it comes, many prompts as JSON,
// the same texts from ranks of mpirun, and what is refused.
#include <algorithm>
#include <fstream>
#include <sstream>

#include <boost/json.hpp>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/text.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Generate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_gen_{}", ::getpid()),
                          kTinyModel);
    RunPlan plan;
    plan.set = {"train.steps=30"};
    const ChildResult result = jobs_->run("run", plan, 120);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    std::ofstream(jobs_->path() / "prompts.jsonl")
        << "{\"prompt\": \"The tensor\"}\n\n{\"id\": 7, \"prompt\": \"// caf\\u00e9\"}\n"
        << "{\"prompt\": \"\"}\n{\"prompt\": \"namespace\"}\n";
    std::ofstream(jobs_->path() / "lines.txt") << "The tensor\r\nnamespace\n";
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }

  static ChildResult tool(const std::vector<std::string>& args) { return jobs_->tool(args); }
  static ChildResult generate(const std::vector<std::string>& args) {
    std::vector<std::string> all = {"generate", "--run-dir", (jobs_->path() / "run").string()};
    all.insert(all.end(), args.begin(), args.end());
    return jobs_->tool(all);
  }
  static ChildResult on_ranks(int ranks, const std::vector<std::string>& args) {
    std::vector<std::string> all = {"mpirun",
                                    "-n",
                                    std::to_string(ranks),
                                    "--oversubscribe",
                                    "--bind-to",
                                    "none",
                                    std::string(TALARIA_BIN_DIR) + "/talaria-worker",
                                    "generate",
                                    "--run-dir",
                                    (jobs_->path() / "run").string()};
    all.insert(all.end(), args.begin(), args.end());
    return run_child(all, 60);
  }
  static std::string file(const char* name) { return (jobs_->path() / name).string(); }

  static std::vector<boost::json::object> parse(const std::string& output) {
    std::vector<boost::json::object> records;
    std::istringstream lines(output);
    for (std::string line; std::getline(lines, line);) {
      records.push_back(boost::json::parse(line).as_object());
    }
    return records;
  }

 private:
  static inline JobFolder* jobs_ = nullptr;
};

TEST_F(Generate, ContinuesOnePrompt) {
  // More tokens than the context holds.
  const ChildResult result = generate({"--prompt", "The tensor", "--tokens", "100"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_TRUE(result.output.starts_with("The tensor")) << result.output;
  EXPECT_GT(result.output.size(), 60U);
  EXPECT_EQ(utf8_prefix(result.output), result.output.size());
  EXPECT_EQ(generate({"--prompt", "The tensor", "--tokens", "100"}).output, result.output);
  EXPECT_NE(generate({"--prompt", "The tensor", "--tokens", "100", "--seed", "2"}).output,
            result.output);
}

TEST_F(Generate, ManyPromptsAsJson) {
  const ChildResult result =
      generate({"--prompts", file("prompts.jsonl"), "--json", "--tokens", "12"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto records = parse(result.output);
  ASSERT_EQ(records.size(), 4U) << result.output;
  const std::vector<std::string> prompts = {"The tensor", "// caf\xC3\xA9", "", "namespace"};
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].at("prompt").as_string(), prompts[i]);
    EXPECT_TRUE(records[i].at("text").is_string());
    const auto tokens = records[i].at("tokens").as_array().size();
    EXPECT_TRUE(records[i].at("stopped").as_bool() ? tokens <= 12 : tokens == 12);
  }
  // How many run at once changes nothing; a text file says the same.
  EXPECT_EQ(generate({"--prompts", file("prompts.jsonl"), "--json", "--tokens", "12", "--batch",
                      "1", "--threads", "1"})
                .output,
            result.output);
  const auto plain =
      parse(generate({"--prompts", file("lines.txt"), "--json", "--tokens", "12"}).output);
  ASSERT_EQ(plain.size(), 2U);
  EXPECT_EQ(plain[0], records[0]);
  EXPECT_EQ(plain[1].at("prompt").as_string(), "namespace");
}

TEST_F(Generate, RanksGiveTheSameTexts) {
  const std::vector<std::string> args = {
      "--prompts", file("prompts.jsonl"), "--json", "--tokens", "40", "--top-p", "0.9"};
  const ChildResult alone = generate(args);
  ASSERT_EQ(alone.exit_code, 0) << alone.output;
  for (const auto& [tensor, pipeline] : {std::pair{2, 2}, {2, 1}, {1, 2}}) {
    std::vector<std::string> spread = args;
    for (const std::string word : {"--tensor", "--pipeline"}) {
      spread.push_back(word);
      spread.push_back(std::to_string(word == "--tensor" ? tensor : pipeline));
    }
    const ChildResult result = on_ranks(tensor * pipeline, spread);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(result.output, alone.output) << tensor << " x " << pipeline;
  }
}

TEST_F(Generate, RefusesAnotherTokenizerOfTheSameSize) {
  const ChildResult made =
      tool({"data", "prepare", "--out", file("other"), "--vocab", "512", file("headers.txt")});
  ASSERT_EQ(made.exit_code, 0) << made.output;
  const ChildResult other =
      generate({"--prompt", "The tensor", "--tokenizer", file("other/tokenizer")});
  EXPECT_EQ(other.exit_code, 2) << other.output;
  EXPECT_THAT(other.output, HasSubstr(file("other/tokenizer") + ": another tokenizer ("));
  EXPECT_THAT(other.output, HasSubstr(file("run/checkpoints/step-00000030") + " was trained with"));
  EXPECT_EQ(std::count(other.output.begin(), other.output.end(), '\n'), 1) << other.output;
  // Its own, elsewhere.
  std::filesystem::copy(file("data/tokenizer"), file("moved"));
  const std::vector<std::string> prompt = {"--prompt", "The tensor", "--tokens", "8"};
  std::vector<std::string> moved = prompt;
  moved.insert(moved.end(), {"--tokenizer", file("moved")});
  const ChildResult own = generate(moved);
  EXPECT_EQ(own.exit_code, 0) << own.output;
  EXPECT_EQ(own.output, generate(prompt).output);
}

TEST_F(Generate, RefusesWhatItCannotDo) {
  std::ofstream(file("bad.jsonl")) << "{\"prompt\": \"a\"}\n{\"prompt\": 3}\n";
  std::ofstream(file("broken.jsonl")) << "{\"prompt\": \n";
  std::ofstream(file("latin.txt")) << "ab\n"
                                   << "caf\xE9\n";
  std::ofstream(file("empty.txt")) << "\n\n";
  std::ofstream(file("long.txt")) << std::string(4000, '7') << "\n";
  const auto refused = [](const ChildResult& result, const std::string& part) {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    const std::size_t at = result.output.find(part);
    EXPECT_NE(at, std::string::npos) << part << " is not in\n" << result.output;
    EXPECT_EQ(result.output.find(part, at + 1), std::string::npos) << "said twice";
  };
  refused(generate({"--prompts", file("bad.jsonl")}), "bad.jsonl:2: no string \"prompt\"");
  refused(generate({"--prompts", file("broken.jsonl")}), "broken.jsonl:1: found");
  refused(generate({"--prompts", file("latin.txt")}), "latin.txt:2: byte 4 is no UTF-8");
  refused(generate({"--prompts", file("empty.txt")}), "no prompts");
  refused(generate({"--prompts", file("long.txt")}), "leave no room in the model's context");
  refused(generate({"--prompts", file("none.txt")}), "no such file");
  refused(on_ranks(2, {"--prompts", file("bad.jsonl"), "--tensor", "2"}), "bad.jsonl:2");
  refused(generate({"--tensor", "2"}), "are 2 ranks, found 1; start with mpirun -n 2");
  refused(on_ranks(2, {"--prompt", "a"}), "are 1 ranks, found 2");
  refused(on_ranks(3, {"--tensor", "3"}), "--tensor 3: allowed are divisors of heads");
}

}  // namespace
}  // namespace talaria::worker
