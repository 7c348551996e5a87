// SPDX-License-Identifier: Apache-2.0
// Lines of chat data that cannot be used, given to the real program: each ends the run with its
// reason, or is skipped and counted where the job allows that.
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/system/recipe_jobs.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ChatLines : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_lines_{}", ::getpid()),
                          kRecipeModel);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }

  // Good lines, then these.
  static ChildResult run(const std::string& kind, const std::vector<std::string>& lines,
                         std::int64_t allowed) {
    const bool is_sft = kind == "sft";
    const fs::path file = jobs_->path() / (is_sft ? "chat.jsonl" : "pairs.jsonl");
    is_sft ? write_conversations(file, 60) : write_comparisons(file, 60);
    std::ofstream out(file, std::ios::app);
    for (const std::string& line : lines) out << line << "\n";
    out.close();
    fs::remove_all(jobs_->path() / "run");
    RunPlan plan;
    plan.layout = {2, 1, 1};
    plan.set = recipe_keys(*jobs_, kind);
    plan.set.insert(plan.set.end(),
                    {"train.steps=6", fmt::format("data.max_bad_lines={}", allowed)});
    return jobs_->run("run", plan, 60);
  }
  static bool stepped() { return !jobs_->loss_bits("run").empty(); }

 private:
  static JobFolder* jobs_;
};
JobFolder* ChatLines::jobs_ = nullptr;

struct Bad {
  const char* kind;
  std::string line;
  const char* reason;
};

std::string repeated(const std::string& word, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += word;
  return text;
}

std::vector<Bad> bad_lines() {
  return {
      {"sft", R"({"prompt": "x", "completion": ""})", "has no words"},
      {"sft",
       R"({"messages": [{"role": "user", "content": "x"}, {"role": "bot", "content": "y"}]})",
       "bot"},
      {"sft", "{\"prompt\": \"x\xFF\", \"completion\": \"y\"}", "UTF-8"},
      {"reward", R"({"prompt": "x", "chosen": " ", "rejected": "y"})", "has no words"},
      {"reward",
       R"({"prompt": [{"role": "judge", "content": "x"}], "chosen": "a", "rejected": "b"})",
       "judge"},
      {"reward", "{\"prompt\": \"x\", \"chosen\": \"\xC3\x28\", \"rejected\": \"b\"}", "UTF-8"},
      {"reward", R"({"prompt": "x", "answers": ["a", "b"], "ranks": [1, null]})", "ranks"},
      {"reward", R"({"prompt": "x", "answers": ["a", "b"], "ranks": [1, NaN]})", ""},
  };
}

TEST_F(ChatLines, ABadLineEndsTheRunWithItsPlaceAndReason) {
  for (const Bad& bad : bad_lines()) {
    SCOPED_TRACE(bad.line);
    const ChildResult result = run(bad.kind, {bad.line}, 0);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr("l:61: "));
    EXPECT_THAT(result.output, HasSubstr(bad.reason));
    EXPECT_THAT(result.output, HasSubstr("data.max_bad_lines"));
    EXPECT_FALSE(stepped());
  }
}

TEST_F(ChatLines, AsManyAsTheJobAllowsAreSkippedAndCounted) {
  for (const char* kind : {"sft", "reward"}) {
    SCOPED_TRACE(kind);
    std::vector<std::string> lines;
    for (const Bad& bad : bad_lines()) {
      if (std::string(bad.kind) == kind) lines.push_back(bad.line);
    }
    const auto count = static_cast<std::int64_t>(lines.size());
    const ChildResult all = run(kind, lines, count);
    EXPECT_EQ(all.exit_code, 0) << all.output;
    EXPECT_THAT(all.output, HasSubstr(fmt::format("skipped {} bad (", count)));
    EXPECT_THAT(all.output, HasSubstr("l:61: "));
    EXPECT_TRUE(stepped());
    const ChildResult one_less = run(kind, lines, count - 1);
    EXPECT_EQ(one_less.exit_code, 2) << one_less.output;
    EXPECT_FALSE(stepped());
  }
}

TEST_F(ChatLines, APromptLongerThanTheContextIsCounted) {
  const std::string prompt = repeated("the row waits ", 200);
  const ChildResult sft =
      run("sft", {fmt::format(R"({{"prompt": "{}", "completion": "y"}})", prompt)}, 0);
  EXPECT_EQ(sft.exit_code, 0) << sft.output;
  EXPECT_THAT(sft.output, HasSubstr("skipped 1 too long ("));
  EXPECT_THAT(sft.output, HasSubstr("tokens; allowed: 129"));
  // Too long for the context alone, and for the row.
  const ChildResult reward =
      run("reward",
          {fmt::format(R"({{"prompt": "{}", "chosen": "y", "rejected": "{}"}})", "x",
                       repeated("file ", 130)),
           fmt::format(R"({{"prompt": "{}", "chosen": "y", "rejected": "z"}})", prompt)},
          0);
  EXPECT_EQ(reward.exit_code, 0) << reward.output;
  EXPECT_THAT(reward.output, HasSubstr("skipped 2 too long"));
}

TEST_F(ChatLines, AnswersThatAreEqualAreCountedAndGiveNoLabel) {
  const ChildResult result = run("reward",
                                 {R"({"prompt": "x", "chosen": "same", "rejected": "same"})",
                                  R"({"prompt": "x", "answers": ["a", "a", "a"]})"},
                                 0);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("skipped 2 with equal answers ("));
  EXPECT_TRUE(stepped());
}

}  // namespace
}  // namespace talaria::worker
