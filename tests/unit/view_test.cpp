// SPDX-License-Identifier: Apache-2.0
// What people see of a running job: every line fits, says what it should, and is harmless.
#include "coordinator/command/view.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/command/events.h"
#include "coordinator/command/format.h"
#include "coordinator/command/screen.h"

namespace talaria::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr double kNow = 1'000'100.0;

JobView running_job() {
  JobView view;
  view.job.name = "quickstart";
  view.job.submitted = kNow - 192.0;
  StageView stage;
  stage.row.name = "quickstart";
  stage.row.state = StageState::kRunning;
  stage.row.ranks = 8;
  stage.row.restarts = 1;
  AttemptRow attempt;
  attempt.attempt = 2;
  stage.row.attempt = attempt;
  stage.progress = {412, 1000, 3.2145, 12345.0, 0.412, 3.4012, 400, 270.0, 8};
  stage.ranks = {{0, "node1", 17, true, 0.1, "step", 0.5, "", 412, 0}};
  view.stages.push_back(stage);
  return view;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(View, TellsAllOfARunningJob) {
  EXPECT_THAT(
      progress_block(running_job(), {79, false}, kNow),
      ElementsAre("quickstart  running  attempt 2  elapsed 3 min 12 s",
                  "[##############....................]  41 %  step 412/1000  ETA 4 min 30 s",
                  "loss 3.2145  val 3.4012  12,345 tok/s  MFU 41.2 %  ranks 8/8  checkpoint 400",
                  "restarts 1/3"));
}

TEST(View, FitsEveryWidth) {
  JobView view = running_job();
  view.job.name = "a-rather-long-name-\xE6\x97\xA5\xE6\x9C\xAC";  // two wide letters at its end
  view.notice = "state.db: no space left on device; nothing new is started until there is some";
  for (int width = 1; width <= 140; ++width) {
    for (const bool color : {false, true}) {
      for (const std::string& line : progress_block(view, {width, color}, kNow)) {
        EXPECT_LE(visible_width(line), width) << line;
      }
    }
  }
}

TEST(View, ColoursOnlyWhenAskedTo) {
  EXPECT_THAT(joined(progress_block(running_job(), {79, false}, kNow)), Not(HasSubstr("\033")));
  EXPECT_THAT(joined(progress_block(running_job(), {79, true}, kNow)),
              HasSubstr("\033[32mrunning"));
}

TEST(View, HostileTextIsHarmless) {
  const std::string hostile =
      "$(id)\x1b[2J\x1b]0;x\x07\r\n#SBATCH\xC2\x9B"
      "2J\xFF\xE2\x80\xAE";
  JobView view = running_job();
  view.job.name = hostile;
  view.notice = hostile;
  view.stages[0].row.name = hostile;
  view.stages[0].row.reason = hostile;
  view.stages[0].ranks[0].phase = hostile;
  view.stages.push_back(view.stages[0]);
  view.transitions = {{kNow, -1, 0, "run", "stop", hostile},
                      {kNow, 0, 0, "running", "failed", hostile},
                      {kNow, 0, 2, "planned", "running", hostile}};
  std::vector<std::string> lines = progress_block(view, {200, false}, kNow);
  for (const std::string& line : EventLog().update(view, kNow)) lines.push_back(line);
  lines.push_back(progress_line(view));
  view.stages[0].row.state = StageState::kFailed;
  lines.push_back(result_line(view));
  for (const std::string& line : lines) {
    for (const char c : line) {
      EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) << line;
    }
    EXPECT_THAT(line, Not(HasSubstr("\xC2\x9B")));
    EXPECT_THAT(line, Not(HasSubstr("\xFF")));
    EXPECT_THAT(line, Not(HasSubstr("\xE2\x80\xAE")));
  }
}

TEST(View, AQueuedJobSaysLittle) {
  JobView view = running_job();
  view.stages[0].row.state = StageState::kQueued;
  view.stages[0].row.attempt.reset();
  view.stages[0].row.restarts = 0;
  view.stages[0].progress = {};
  EXPECT_THAT(progress_block(view, {79, false}, kNow),
              ElementsAre("quickstart  queued  elapsed 3 min 12 s"));
  EXPECT_EQ(progress_line(view), "");
}

TEST(View, TheStageAtWorkIsShown) {
  JobView view = running_job();
  view.stages.push_back(view.stages[0]);
  view.stages[0].row.name = "pretrain";
  view.stages[0].row.state = StageState::kDone;
  view.stages[1].row.name = "sft";
  view.stages[1].row.key.stage = 1;
  EXPECT_THAT(progress_block(view, {79, false}, kNow)[0], HasSubstr("sft (2/2)"));
  EXPECT_THAT(progress_line(view), testing::StartsWith("sft  step 412/1000"));
  view.stages[1].row.state = StageState::kPending;
  EXPECT_EQ(current_stage(view).row.name, "sft");
  view.stages[1].row.state = StageState::kDone;
  EXPECT_EQ(current_stage(view).row.name, "sft");
}

TEST(View, ALineForALog) {
  EXPECT_EQ(progress_line(running_job()),
            "step 412/1000  loss 3.2145  val 3.4012  12,345 tok/s  MFU 41.2 %  ETA 4 min 30 s  "
            "checkpoint 400");
  JobView view = running_job();
  view.stages[0].progress.loss = std::nan("");
  view.stages[0].progress.ranks_connected = 7;
  EXPECT_THAT(progress_line(view), HasSubstr("loss -"));
  EXPECT_THAT(progress_line(view), HasSubstr("ranks 7/8"));
}

// Without the clock time at its beginning.
std::vector<std::string> texts(std::vector<std::string> lines) {
  for (std::string& line : lines) line.erase(0, 10);
  return lines;
}

TEST(Events, EachIsToldOnce) {
  JobView view = running_job();
  EventLog log;
  view.transitions = {{kNow, -1, 0, "", "run", "submitted"},
                      {kNow, 0, 0, "", "queued", "submitted"},
                      {kNow, 0, 0, "queued", "running", "attempt 1"},
                      {kNow, 0, 1, "", "planned", ""},
                      {kNow, 0, 1, "planned", "running", ""}};
  EXPECT_THAT(texts(log.update(view, kNow)), ElementsAre("attempt 1 starts, 8 ranks"));
  EXPECT_THAT(log.update(view, kNow), IsEmpty());

  view.stages[0].progress.checkpoint_step = 500;
  EXPECT_THAT(texts(log.update(view, kNow)), ElementsAre("checkpoint at step 500"));
  EXPECT_THAT(log.update(view, kNow), IsEmpty());
  // A restart begins behind the newest checkpoint that was seen: no news.
  view.stages[0].progress.checkpoint_step = 400;
  EXPECT_THAT(log.update(view, kNow), IsEmpty());

  view.stages[0].row.failures = 1;
  view.stages[0].row.not_before = kNow + 0.5;
  view.transitions.push_back({kNow, 0, 1, "running", "ended", "rank 3 was killed"});
  view.transitions.push_back({kNow, 0, 0, "running", "backoff", "rank 3 was killed"});
  EXPECT_THAT(texts(log.update(view, kNow)),
              ElementsAre("failed: rank 3 was killed; restart 1 of at most 3 in 0.5 s"));

  view.transitions.push_back({kNow, -1, 0, "run", "stop", "talaria cancel"});
  view.transitions.push_back({kNow, 0, 0, "running", "stopping", "stopped by request"});
  view.transitions.push_back({kNow, 0, 0, "stopping", "stopped", "stopped by request"});
  EXPECT_THAT(texts(log.update(view, kNow)),
              ElementsAre("asked to stop with a checkpoint: talaria cancel",
                          "stopping: stopped by request", "stopped by request"));
}

TEST(Events, AStagesEndTellsWhatItReached) {
  JobView view = running_job();
  StageView& stage = view.stages[0];
  stage.artifact.emplace();
  stage.artifact->kind = "pretrain";
  stage.artifact->step = 1000;
  stage.artifact->metrics = {{"loss", 2.31415}, {"validation_loss", 2.5}, {"mfu", 0.4}};
  view.transitions = {{kNow, 0, 0, "running", "done", ""},
                      {kNow, 0, 0, "running", "done", "done already"}};
  EXPECT_THAT(texts(EventLog().update(view, kNow)),
              ElementsAre("done; step 1000, loss 2.314, validation_loss 2.5",
                          "done already; step 1000, loss 2.314, validation_loss 2.5"));
}

TEST(Events, WhoComesLateSeesTheLastFew) {
  JobView view = running_job();
  for (int attempt = 1; attempt <= 20; ++attempt) {
    view.transitions.push_back({kNow, 0, attempt, "planned", "running", ""});
  }
  EventLog log;
  log.skip(view, 2);
  EXPECT_THAT(texts(log.update(view, kNow)),
              ElementsAre("attempt 19 starts, 8 ranks", "attempt 20 starts, 8 ranks"));
}

TEST(Events, OnesOwnWishNeedsNoLine) {
  JobView view = running_job();
  EventLog log;
  log.expect("Ctrl-C at talaria run");
  view.transitions = {{kNow, -1, 0, "run", "stop", "Ctrl-C at talaria run"},
                      {kNow, -1, 0, "stop", "kill", "talaria cancel"}};
  EXPECT_THAT(texts(log.update(view, kNow)), ElementsAre("asked to end at once: talaria cancel"));
}

TEST(Events, TheEndOnOneLine) {
  JobView view = running_job();
  view.stages[0].row.state = StageState::kDone;
  view.stages[0].row.reason = "done";
  view.stages[0].row.since = view.job.submitted + 60.0;
  EXPECT_EQ(result_line(view), "done: 412 steps, loss 3.2145, in 1 min 00 s");
  view.stages[0].row.state = StageState::kFailed;
  view.stages[0].row.reason = "gave up after 4 failures";
  EXPECT_EQ(result_line(view),
            "failed: gave up after 4 failures; 412 steps, loss 3.2145, in 1 min 00 s");
}

TEST(Events, TheEndNamesTheStageOfSeveral) {
  JobView view = running_job();
  view.stages.push_back(view.stages[0]);
  view.stages[0].row.state = StageState::kDone;
  StageView& last = view.stages[1];
  last.row.name = "ppo";
  last.row.state = StageState::kFailed;
  last.row.reason = "gate reward.accuracy >= 0.6 does not hold: 0.547";
  last.row.since = view.job.submitted + 60.0;
  last.progress = {};
  EXPECT_EQ(result_line(view),
            "stage ppo failed: gate reward.accuracy >= 0.6 does not hold: 0.547; in 1 min 00 s");
}

TEST(Screen, DrawsOverTheOldBlock) {
  EXPECT_EQ(redraw({}, {}, {"a", "b"}, 80), "a\033[K\r\nb\033[K\r\n");
  EXPECT_EQ(redraw({"a", "b"}, {"event"}, {"c", "d"}, 80),
            "\r\033[2Aevent\033[K\r\nc\033[K\r\nd\033[K\r\n\033[J");
  // 30 columns on a terminal that is now 20 wide stand on two rows.
  EXPECT_THAT(redraw({std::string(30, 'x')}, {}, {"y"}, 20), testing::StartsWith("\r\033[2A"));
  // A full row is not erased: the cursor would still stand on its last character.
  EXPECT_EQ(redraw({}, {"12345"}, {}, 5), "12345\r\n");
}

TEST(Screen, ColoursTakeNoRoom) {
  EXPECT_EQ(visible_width("\033[1mab\033[0m c"), 4);
  EXPECT_EQ(visible_width("\xE6\x97\xA5"), 2);
}

TEST(Wrap, BreaksBetweenWords) {
  EXPECT_THAT(wrap("14:40:00  failed: rank 3 was killed", 24, 10),
              ElementsAre("14:40:00  failed: rank 3", "          was killed"));
  EXPECT_THAT(wrap("short", 24, 10), ElementsAre("short"));
  EXPECT_THAT(wrap("", 24, 10), IsEmpty());
  for (const std::string& line : wrap("a bb ccc dddd eeeee ffffff", 8, 4)) {
    EXPECT_LE(display_width(line), 10);
  }
}

TEST(Format, DurationsAndNumbers) {
  EXPECT_EQ(format_duration(0.5), "0.5 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(245.0), "4 min 05 s");
  EXPECT_EQ(format_duration(7260.0), "2 h 01 min");
  EXPECT_EQ(format_duration(200'000.0), "2 d 7 h");
  EXPECT_EQ(format_duration(1e300), "years");
  EXPECT_EQ(format_duration(std::nan("")), "-");
  EXPECT_EQ(format_duration(-1.0), "-");
  EXPECT_EQ(format_count(1234567.0), "1,234,567");
  EXPECT_EQ(format_count(999.0), "999");
  EXPECT_EQ(format_count(2.5), "2.5");
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(std::int64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(format_date(0.0), "-");
  EXPECT_EQ(format_clock(INFINITY), "-");
}

TEST(Format, CutsByColumns) {
  EXPECT_EQ(clip("abcdef", 6), "abcdef");
  EXPECT_EQ(clip("abcdef", 4), "abc~");
  EXPECT_EQ(clip("\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", 4), "\xE6\x97\xA5~");
  EXPECT_EQ(clip("abc", 0), "");
}

}  // namespace
}  // namespace talaria::coordinator
