// SPDX-License-Identifier: Apache-2.0
// What README and examples/ promise is typed as it stands there: the run of the quickstart in
// little, its continuation with another layout, the two stages, every command's --help.
#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "cluster/base/subprocess.h"
#include "tests/support/run_job.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kTalaria = std::string(TALARIA_BIN_DIR) + "/talaria";

class Readme : public testing::Test {
 protected:
  // A folder as scripts/quickstart leaves it, but with the project's own files as text.
  static void SetUpTestSuite() {
    jobs_ = new worker::JobFolder(
        fs::temp_directory_path() / fmt::format("talaria_readme_{}", ::getpid()),
        worker::kTinyModel);
    const fs::path folder = jobs_->path();
    fs::create_symlink(fs::path(TALARIA_SOURCE_DIR) / "examples", folder / "examples");
    std::vector<std::string> prepare = {"data", "prepare", "--vocab",
                                        "2048", "--out",   (folder / "data/quickstart").string()};
    for (const char* source : {"bible", "foldoc", "python", "man", "cpp"}) {
      const fs::path text = folder / (std::string(source) + ".txt");
      fs::copy_file(folder / "sources.txt", text);
      prepare.push_back(text.string());
    }
    ASSERT_EQ(jobs_->tool(prepare).exit_code, 0);
    fs::create_directories(folder / "build/release");
    fs::create_symlink(TALARIA_BIN_DIR, folder / "build/release/bin");
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }

  // A command line of README, in that folder, with `more` behind it.
  static Captured type(const std::string& line, const std::string& more) {
    return run_captured({"env", "-C", jobs_->path().string(),
                         "XDG_STATE_HOME=" + (jobs_->path() / "state").string(),
                         "TALARIA_STATE_DIR=" + (jobs_->path() / "daemon").string(), "bash", "-c",
                         line + " " + more},
                        120);
  }
  static std::string readme() { return read_file(fs::path(TALARIA_SOURCE_DIR) / "README.md"); }
  static fs::path path(const std::string& name) { return jobs_->path() / name; }

 private:
  static worker::JobFolder* jobs_;
};

worker::JobFolder* Readme::jobs_ = nullptr;

TEST_F(Readme, TheQuickstartsJobRunsAndGoesOnWithAnotherLayout) {
  const Captured first =
      type("build/release/bin/talaria run examples/quickstart.toml", "--set train.tokens=8192");
  ASSERT_EQ(first.exit_code, 0) << first.err;
  // The command as it stands in README, backslash and all; only shorter.
  const std::string text = readme();
  const std::regex command("    (build/release/bin/talaria run [^\n]*\\\\\n[^\n]*)\n");
  std::smatch found;
  ASSERT_TRUE(std::regex_search(text, found, command));
  EXPECT_THAT(std::string(found[1]), HasSubstr("parallel.tensor=2"));
  const Captured second = type(found[1], "--set train.tokens=16384");
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_THAT(
      read_file(path("runs/quickstart/events.jsonl")),
      testing::ContainsRegex("2 ranks, from [^\"]*/runs/quickstart/checkpoints/step-00000002"))
      << "the second run goes on from the first";
  const Captured summary = type("build/release/bin/talaria summary", "--run-dir runs/quickstart");
  EXPECT_THAT(summary.out, HasSubstr("4 (complete)"));
}

TEST_F(Readme, TheExampleOfTwoStagesRuns) {
  const Captured ended =
      type("build/release/bin/talaria run examples/two-stages.toml", "--set train.steps=2");
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* stage : {"small", "large"}) {
    EXPECT_TRUE(fs::exists(path("runs/two-stages") / stage / "checkpoints/step-00000002")) << stage;
  }
}

TEST_F(Readme, EveryCommandThatItNamesExplainsItself) {
  const std::string text = readme();
  std::set<std::string> names;
  const std::regex line("    talaria ([a-z]+(?:, [a-z]+)*)");
  for (auto at = std::sregex_iterator(text.begin(), text.end(), line); at != std::sregex_iterator();
       ++at) {
    std::istringstream words((*at)[1]);
    for (std::string word; words >> word;) {
      word.erase(std::remove(word.begin(), word.end(), ','), word.end());
      names.insert(word);
    }
  }
  EXPECT_GT(names.size(), 10U);
  for (const std::string& name : names) {
    const Captured help = run_captured({kTalaria, name, "--help"}, 20);
    EXPECT_EQ(help.exit_code, 0) << name << ": " << help.err;
    EXPECT_FALSE(help.out.empty()) << name;
  }
}

TEST_F(Readme, EveryFileThatItPointsToIsThere) {
  const std::string text = readme();
  const std::regex link("\\]\\(([^)#:]+)\\)|    (scripts/[a-z]+)");
  int count = 0;
  for (auto at = std::sregex_iterator(text.begin(), text.end(), link); at != std::sregex_iterator();
       ++at, ++count) {
    const std::string name = (*at)[1].matched ? (*at)[1] : (*at)[2];
    EXPECT_TRUE(fs::exists(fs::path(TALARIA_SOURCE_DIR) / name)) << name;
  }
  EXPECT_GT(count, 10);
}

}  // namespace
}  // namespace talaria
