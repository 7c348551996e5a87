// SPDX-License-Identifier: Apache-2.0
// samples.jsonl of PPO as `talaria show` reads it.
#include "coordinator/supervisor/samples.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

std::string line(int step, const std::string& prompt, const std::string& response, double score) {
  return fmt::format(R"({{"step":{},"prompt":"{}","response":"{}","stopped":true,"score":{}}})"
                     "\n",
                     step, prompt, response, score);
}

std::vector<SampleView> parse(const std::string& text) { return parse_samples(text, text); }

TEST(Samples, TheFirstAnswerAndTheLast) {
  const std::string text = line(0, "a", "x", -1) + line(0, "b", "y", 0.5) + line(2, "a", "u", 0) +
                           line(2, "b", "v", 1) + line(4, "a", "x", 2) + line(4, "b", "w", 3);
  const std::vector<SampleView> rows = parse(text);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].prompt, "a");
  EXPECT_EQ(rows[0].before.step, 0);
  EXPECT_EQ(rows[0].before.text, "x");
  EXPECT_EQ(rows[0].before.score, -1.0);
  EXPECT_TRUE(rows[0].before.stopped);
  ASSERT_TRUE(rows[1].now);
  EXPECT_EQ(rows[1].now->step, 4);
  EXPECT_EQ(rows[1].now->text, "w");
  EXPECT_EQ(rows[1].now->score, 3.0);
}

TEST(Samples, BeforeTheFirstEvaluationThereIsNoAnswerNow) {
  // Written twice: the run was killed before its first checkpoint.
  const std::string group = line(0, "a", "x", 1) + line(0, "b", "y", 2);
  const std::vector<SampleView> rows = parse(group + group);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_FALSE(rows[0].now);
  EXPECT_FALSE(rows[1].now);
}

TEST(Samples, WhatIsNoSampleIsPassedOver) {
  const std::string good = line(0, "a", "x", 1);
  for (const std::string bad :
       {"", "{", "[]", "7", "null", R"({"step":0})", "\xff\xfe", R"({"step":0,"prompt":"b"})",
        R"({"step":"0","prompt":"b","response":"y","stopped":true,"score":1})",
        R"({"step":0.5,"prompt":"b","response":"y","stopped":true,"score":1})",
        R"({"step":0,"prompt":"b","response":"y","stopped":true,"score":null})"}) {
    EXPECT_EQ(parse(bad + "\n" + good).size(), 1U) << bad;
  }
  // The last line is being written.
  EXPECT_FALSE(parse(good + R"({"step":2,"prompt":"a","resp)").at(0).now);
  EXPECT_TRUE(parse("").empty());
}

class SamplesFile : public testing::Test {
 protected:
  SamplesFile() {
    std::string name = (fs::temp_directory_path() / "talaria_samples_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    view_.job.uid = ::getuid();
    view_.job.gid = ::getgid();
    view_.stages.resize(1);
    view_.stages[0].row.kind = "ppo";
    view_.stages[0].row.run_directory = folder_;
  }
  ~SamplesFile() override { fs::remove_all(folder_); }

  const std::vector<SampleView>& read() {
    add_samples(view_);
    return view_.stages[0].samples;
  }

  fs::path folder_;
  JobView view_;
};

TEST_F(SamplesFile, OfALongFileBothEndsAreRead) {
  const std::string longer(1000, 'z');
  std::ofstream file(folder_ / "samples.jsonl");
  for (int step = 0; step < 300; ++step) {
    for (int i = 0; i < 16; ++i) {
      file << line(step, fmt::format("prompt {}", i), longer + std::to_string(step), step);
    }
  }
  file.close();
  ASSERT_GT(fs::file_size(folder_ / "samples.jsonl"), 4U << 20);
  ASSERT_EQ(read().size(), 16U);
  for (const SampleView& row : view_.stages[0].samples) {
    EXPECT_EQ(row.before.text, longer + "0");
    ASSERT_TRUE(row.now);
    EXPECT_EQ(row.now->text, longer + "299");
  }
}

TEST_F(SamplesFile, OnlyAFileOfItsOwnIsRead) {
  EXPECT_TRUE(read().empty()) << "there is none";
  std::ofstream(folder_ / "other") << line(0, "a", "x", 1);
  fs::create_symlink(folder_ / "other", folder_ / "samples.jsonl");
  EXPECT_TRUE(read().empty());
  fs::remove(folder_ / "samples.jsonl");
  fs::create_directory(folder_ / "samples.jsonl");
  EXPECT_TRUE(read().empty());
  fs::remove(folder_ / "samples.jsonl");
  fs::rename(folder_ / "other", folder_ / "samples.jsonl");
  EXPECT_EQ(read().size(), 1U);
  view_.stages[0].row.kind = "sft";
  view_.stages[0].samples.clear();
  EXPECT_TRUE(read().empty());
}

}  // namespace
}  // namespace talaria::coordinator
