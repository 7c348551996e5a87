// SPDX-License-Identifier: Apache-2.0
// Tables, merged logs, the registry of runs, and where a coordinator is looked for.
#include <filesystem>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "coordinator/command/context.h"
#include "coordinator/command/format.h"
#include "coordinator/command/listing.h"
#include "coordinator/command/log_merge.h"
#include "coordinator/command/registry.h"
#include "coordinator/command/table.h"
#include "tests/support/fake_service.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A folder of its own, gone at the end of the test.
class Folder : public testing::Test {
 protected:
  Folder() {
    std::string name = (fs::temp_directory_path() / "talaria_command_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~Folder() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    write_file_atomic(folder_ / name, text);
  }
  fs::path folder_;
};

TEST(Table, ColumnsAreAsWideAsTheirWords) {
  Table table({">ID", "NAME"});
  table.add({"7", "first"});
  table.add({"123", "x\ny"});
  EXPECT_EQ(table.text(), " ID  NAME\n  7  first\n123  x\\ny\n");
}

TEST(Table, TheWidestGivesWay) {
  Table table({">ID", "NAME", "STATE"});
  table.add({"1", std::string(100, 'n'), "running"});
  const std::string text = table.text(40);
  std::size_t start = 0;
  for (std::size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
    EXPECT_LE(display_width(text.substr(start, end - start)), 40);
  }
  EXPECT_THAT(text, HasSubstr("n~"));
  EXPECT_THAT(text, HasSubstr("running"));
}

TEST(Stamp, ReadsWhatRanksWrite) {
  EXPECT_DOUBLE_EQ(*stamp_of("2026-11-24T14:40:00.123Z rank 3: step 1"), 1795531200.123);
  EXPECT_DOUBLE_EQ(*stamp_of("1970-01-01T00:00:00.000Z"), 0.0);
  for (const char* text :
       {"", "2026-11-24", "2026-11-24T14:40:00Z text and more of it", "x026-11-24T14:40:00.123Z",
        "2026-11-24 14:40:00.123Z", " 2026-11-24T14:40:00.123Z"}) {
    EXPECT_FALSE(stamp_of(text).has_value()) << text;
  }
}

class Logs : public Folder {
 protected:
  std::vector<std::string> merged(std::optional<int> rank = std::nullopt) {
    std::vector<std::string> lines;
    merge_logs(attempt_logs(folder_, 1, rank),
               [&](const LogLine& line) { lines.push_back(log_text(line)); });
    return lines;
  }
};

TEST_F(Logs, LinesStandInTheOrderOfTime) {
  write("attempt-001/rank-00000.log",
        "before any stamp\n2026-11-24T14:40:00.100Z a\n  more of a\n2026-11-24T14:40:00.300Z c\n");
  write("attempt-001/rank-00012.log", "2026-11-24T14:40:00.200Z b\n  more of b\nno end");
  write("attempt-001/launcher.log", "2026-11-24T14:40:00.250Z mpirun says\r\n");
  write("attempt-001/rank-00000.exit.json", "{}");
  write("attempt-001/rank-x.log", "not a rank\n");
  EXPECT_THAT(merged(),
              ElementsAre("rank 0   | before any stamp", "rank 0   | 2026-11-24T14:40:00.100Z a",
                          "rank 0   |   more of a", "rank 12  | 2026-11-24T14:40:00.200Z b",
                          "rank 12  |   more of b",  //
                          "rank 12  | no end", "launcher | 2026-11-24T14:40:00.250Z mpirun says",
                          "rank 0   | 2026-11-24T14:40:00.300Z c"));
  EXPECT_THAT(merged(12), ElementsAre("rank 12  | 2026-11-24T14:40:00.200Z b",
                                      "rank 12  |   more of b", "rank 12  | no end"));
  EXPECT_THAT(merged(5), IsEmpty());
}

TEST_F(Logs, AClockThatGoesBackKeepsTheOrderOfItsFile) {
  write("attempt-001/rank-00000.log",
        "2026-11-24T14:40:09.000Z late\n2026-11-24T14:40:01.000Z early\n");
  write("attempt-001/rank-00001.log", "2026-11-24T14:40:05.000Z other\n");
  EXPECT_THAT(merged(), ElementsAre(HasSubstr("other"), HasSubstr("late"), HasSubstr("early")));
}

TEST_F(Logs, WhatRanksWriteIsHarmless) {
  write("attempt-001/rank-00000.log", "\x1b[2J\tx\x07\xC2\x9B\xFF\n");
  EXPECT_THAT(merged(), ElementsAre("rank 0   | \\x1b[2J    x\\x07\\u009b\\xff"));
}

TEST_F(Logs, LongLinesComeInPieces) {
  write("attempt-001/rank-00000.log", std::string(300'000, 'x') + "\nend\n");
  const std::vector<std::string> lines = merged();
  std::size_t letters = 0;
  for (const std::string& line : lines) letters += std::count(line.begin(), line.end(), 'x');
  EXPECT_EQ(letters, 300'000U);
  EXPECT_GE(lines.size(), 5U);
  EXPECT_EQ(lines.back(), "rank 0   | end");
}

TEST_F(Logs, AGrowingFileGivesWholeLines) {
  write("attempt-001/rank-00000.log", "one\ntw");
  LogFile file(folder_ / "attempt-001/rank-00000.log", 1, 0);
  EXPECT_EQ(file.next(true)->text, "one");
  EXPECT_FALSE(file.next(true).has_value());
  append_line(file.path(), "o");
  EXPECT_EQ(file.next(true)->text, "two");
  EXPECT_FALSE(file.next(true).has_value());
  append_line(file.path(), "three");
  EXPECT_EQ(file.next(true)->text, "three");
  LogFile missing(folder_ / "nothing.log", 1, 0);
  EXPECT_FALSE(missing.next(false).has_value());
}

TEST_F(Logs, LinksAndPipesAreRefused) {
  write("secret", "s\n");
  fs::create_directories(folder_ / "attempt-001");
  fs::create_symlink(folder_ / "secret", folder_ / "attempt-001/rank-00000.log");
  EXPECT_THROW(merged(), Error);
  fs::remove(folder_ / "attempt-001/rank-00000.log");
  ASSERT_EQ(::mkfifo((folder_ / "attempt-001/rank-00000.log").c_str(), 0600), 0);
  EXPECT_THROW(merged(), Error);
}

TEST_F(Folder, RegisteredRunsAreFoundUntilTheyAreGone) {
  const fs::path registry = folder_ / "state/runs";
  EXPECT_THAT(registered_runs(registry), IsEmpty());
  write("runs/a \"quoted\"/coordinator/state.db", "");
  write("runs/b/coordinator/state.db", "");
  register_run(registry, (folder_ / "runs/a \"quoted\"").string());
  register_run(registry, (folder_ / "runs/b").string());
  register_run(registry, (folder_ / "runs/b").string());
  write("state/runs/foreign.json", "not json");
  EXPECT_THAT(registered_runs(registry),
              testing::UnorderedElementsAre(folder_ / "runs/a \"quoted\"", folder_ / "runs/b"));
  fs::remove_all(folder_ / "runs/b");
  EXPECT_THAT(registered_runs(registry), ElementsAre(folder_ / "runs/a \"quoted\""));
  EXPECT_EQ(std::distance(fs::directory_iterator(registry), fs::directory_iterator()), 1);
}

TEST(Places, TheOwnCoordinatorComesBeforeRoots) {
  Environment environment;
  environment.home = "/h";
  EXPECT_THAT(places_to_look(environment, "/given"), ElementsAre("/given"));
  EXPECT_EQ(user_state_folder(environment), "/h/.local/state/talaria");
  environment.state_home = "/x";
  EXPECT_EQ(user_state_folder(environment), "/x/talaria");
  environment.state_home = "not-absolute";
  EXPECT_EQ(user_state_folder(environment), "/h/.local/state/talaria");
  const std::vector<fs::path> places = places_to_look(environment, "");
  EXPECT_EQ(places.back(), "/var/lib/talaria");
  EXPECT_EQ(places.size(), ::geteuid() == 0 ? 1U : 2U);
  environment.state_directory = "/env";
  EXPECT_THAT(places_to_look(environment, ""), ElementsAre("/env"));
  EXPECT_EQ(user_state_folder({}), "");
  EXPECT_THAT(places_to_look({}, ""), ElementsAre("/var/lib/talaria"));
}

TEST(Listing, JobsAndOneJob) {
  FoundJob job;
  job.view = fake_job("evil\x1b[2J\nname", 1001, 1000.0);
  job.view.job.id = 7;
  job.daemon = true;
  job.view.stages[0].row.state = StageState::kRunning;
  job.view.stages[0].progress = {412, 1000, 3.2145, 12345.0, 0.412, 3.4012, 400, 270.0, 8};
  job.view.stages[0].ranks = {{3, "node1", 17, true, 0.1, "save", 2.5, "barrier", 412, 1 << 30}};
  const std::string table = jobs_table({job}, 1060.0, 0);
  EXPECT_THAT(table, HasSubstr(" 7  evil\\x1b[2J\\nname  user1001  running"));
  EXPECT_THAT(table, HasSubstr("412/1000  3.2145  12,345  4 min 30 s  1 min 00 s"));
  const std::string text = job_text(job.view, "running", 1060.0, 0);
  EXPECT_THAT(text, HasSubstr("job 7  evil\\x1b[2J\\nname  running"));
  EXPECT_THAT(text, HasSubstr("save"));
  EXPECT_THAT(text, HasSubstr("barrier"));
  EXPECT_THAT(text, HasSubstr("submitted"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("hands on")));
  EXPECT_THAT(jobs_json({job}), HasSubstr("\"source\":\"daemon\""));
}

TEST(Listing, AStagesGatesAndWhatItHandsOn) {
  JobView view = fake_job("graph", 1001, 1000.0);
  StageView& stage = view.stages[0];
  stage.gates = {{"sft.loss < 3", 2.46913578, true},
                 {"reward.accuracy >= 0.6", 0.5, false},
                 {"reward.margin > 0", std::nullopt, std::nullopt}};
  stage.artifact.emplace();
  stage.artifact->kind = "reward";
  stage.artifact->checkpoint = "checkpoints/step-00000100";
  stage.artifact->weights_hash = "aa";
  stage.artifact->metrics = {{"accuracy", 0.62513}, {"loss", 0.5}};
  stage.artifact->data = "dd";
  stage.artifact->job_hash = "ee";
  stage.artifact->origins = {{"weights", "/runs/graph/checkpoints/step-00000007", 7, "bb"},
                             {"value", "/x\x1b[2J", 9, "cc"}};
  const std::string text = job_text(view, "done", 1060.0, 0);
  for (const char* line :
       {"  gate            sft.loss < 3, holds: 2.46914\n",
        "  gate            reward.accuracy >= 0.6, does not hold: 0.5\n",
        "  gate            reward.margin > 0, not measured yet\n",
        "  hands on        checkpoints/step-00000100 (weights aa)\n",
        "  metrics         accuracy 0.6251\n", "  made from       data dd, job file ee\n",
        "  start.weights   stage graph, step 7 (weights bb)\n",
        "  start.value     /x\\x1b[2J, step 9 (weights cc)\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(Listing, SampleAnswersBeforeAndNow) {
  JobView view = fake_job("line", 1001, 1000.0);
  StageView& stage = view.stages[0];
  stage.samples = {{"evil\x1b[2J\n", {0, "a\tb", true, -1.23456}, std::nullopt},
                   {"12+34=", {0, "9", false, 0.0}, std::nullopt}};
  const std::string early = job_text(view, "running", 1060.0, 0);
  EXPECT_THAT(early, HasSubstr("\nPROMPT         ANSWER BEFORE   SCORE\n"
                               "evil\\x1b[2J\\n  a\\tb           -1.235\n"
                               "12+34=         9               0.000\n"));
  EXPECT_THAT(early, Not(HasSubstr("\x1b")));
  EXPECT_THAT(early, Not(HasSubstr("ANSWER AT")));

  stage.samples[1].now = {20, "46", true, 1.0};
  EXPECT_THAT(job_text(view, "running", 1060.0, 0),
              HasSubstr("\nPROMPT         ANSWER BEFORE  ANSWER AT STEP 20  SCORE BEFORE    NOW\n"
                        "evil\\x1b[2J\\n  a\\tb           -                        -1.235      -\n"
                        "12+34=         9              46                        0.000  1.000\n"));

  // Cut where the terminal ends, and where there is none, too.
  stage.samples[1].now->text = std::string(5000, 'x');
  for (const int width : {60, 100, 0}) {
    const std::string text = job_text(view, "running", 1060.0, width);
    const std::size_t begin = text.find("\n12+34=") + 1;
    ASSERT_NE(begin, 0U);
    const std::string row = text.substr(begin, text.find('\n', begin) - begin);
    EXPECT_EQ(row.size(), static_cast<std::size_t>(width > 0 ? width : 160)) << row;
    EXPECT_THAT(row, HasSubstr("x~ "));
  }
}

}  // namespace
}  // namespace talaria::coordinator
