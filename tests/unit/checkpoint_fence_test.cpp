// SPDX-License-Identifier: Apache-2.0
// The fence: once a newer attempt has begun, an older one commits nothing, whatever the moment.
#include <atomic>
#include <csignal>
#include <fstream>
#include <functional>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "storage/checkpoint/fence.h"
#include "tests/unit/checkpoint_support.h"

namespace {

// What happens just before a file or folder gets another name; the test sets it.
std::function<void()>& before_rename() {
  static std::function<void()> hook;
  return hook;
}

}  // namespace

// In the place of the C library's, for this program.
extern "C" int rename(const char* from, const char* to) noexcept {
  if (before_rename()) before_rename()();
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using test::Scratch;
using testing::HasSubstr;

constexpr test::Tiling kTiling = {1, 1, 1, 0};

// A save that can be held between its begin and its commit.
class Save {
 public:
  explicit Save(const CheckpointRef& ref) : ref_(ref), temporary_(begin_checkpoint(ref)) {
    boxes_ = test::cut(test::small_model(), kTiling, ref.step, true);
    record_ = write_shard(temporary_, 0, 1, boxes_[0].groups);
  }
  void commit() const { commit_checkpoint(ref_, temporary_, std::span(&record_, 1), "{}"); }
  const fs::path& temporary() const { return temporary_; }

 private:
  CheckpointRef ref_;
  fs::path temporary_;
  std::vector<test::RankBoxes> boxes_;
  std::string record_;
};

std::string complaint(const std::function<void()>& deed) {
  try {
    deed();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

TEST(Fence, OnlyRises) {
  const Scratch scratch;
  const fs::path root = scratch.path() / "run/checkpoints";
  EXPECT_EQ(read_fence(root), 0);
  raise_fence(root, 3);
  raise_fence(root, 3);
  EXPECT_EQ(read_fence(root), 3);
  EXPECT_THAT(complaint([&] { raise_fence(root, 2); }),
              HasSubstr("fence: attempt 2 may not begin: attempt 3 has begun"));
  raise_fence(root, 2'000'000'000);
  EXPECT_EQ(read_fence(root), 2'000'000'000);
  EXPECT_EQ(read_file(root / "fence"), "2000000000\n");
}

TEST(Fence, ADamagedOneIsNamed) {
  const Scratch scratch;
  for (const char* content : {"x\n", "3", "-3\n", "3\n3\n", "99999999999\n", "\n", " 3\n"}) {
    std::ofstream(scratch.path() / "fence") << content;
    for (const auto& deed : std::vector<std::function<void()>>{
             [&] { read_fence(scratch.path()); }, [&] { raise_fence(scratch.path(), 5); },
             [&] { const FencePass pass(scratch.path(), 5, "commit"); }}) {
      EXPECT_THAT(complaint(deed), HasSubstr("fence: damaged")) << content;
    }
  }
}

TEST(Fence, AnEmptyOneWasNeverRaised) {
  const Scratch scratch;
  std::ofstream(scratch.path() / "fence").flush();
  EXPECT_EQ(read_fence(scratch.path()), 0);
  const FencePass pass(scratch.path(), 1, "commit");
}

TEST(Fence, WithoutOneEverybodyCommits) {
  const Scratch scratch;
  Save({scratch.path(), 1, 1}).commit();
  EXPECT_EQ(list_checkpoints(scratch.path()).size(), 1U);
  EXPECT_FALSE(fs::exists(scratch.path() / "fence")) << "a save makes no fence";
}

TEST(Fence, AnOlderAttemptBetweenBeginAndCommitFails) {
  const Scratch scratch;
  raise_fence(scratch.path(), 3);
  const Save old({scratch.path(), 10, 3});
  raise_fence(scratch.path(), 4);
  EXPECT_THAT(complaint([&] { old.commit(); }),
              HasSubstr("fence: attempt 3 may not commit: attempt 4 has begun"));
  EXPECT_FALSE(fs::exists(scratch.path() / step_name(10)));
  EXPECT_FALSE(fs::exists(old.temporary()));
  EXPECT_THAT(complaint([&] {
                begin_checkpoint({scratch.path(), 11, 3});
              }),
              HasSubstr("attempt 3 may not begin a checkpoint: attempt 4 has begun"));
  Save({scratch.path(), 10, 4}).commit();
  ASSERT_EQ(list_checkpoints(scratch.path()).size(), 1U);
  EXPECT_EQ(list_checkpoints(scratch.path())[0].attempt, 4);
}

TEST(Fence, AnOlderAttemptThatCommittedBeforeStays) {
  const Scratch scratch;
  raise_fence(scratch.path(), 3);
  const Save old({scratch.path(), 10, 3});
  old.commit();
  raise_fence(scratch.path(), 4);
  ThreadPool pool(1);
  const Restored restored = find_restorable(scratch.path(), pool);
  ASSERT_TRUE(restored.checkpoint);
  EXPECT_EQ(restored.checkpoint->attempt, 3);
}

TEST(Fence, ANewerSaveSurvivesTheOldOnesCommit) {
  const Scratch scratch;
  raise_fence(scratch.path(), 3);
  const Save old({scratch.path(), 10, 3});
  raise_fence(scratch.path(), 4);
  // A new attempt removes what the old one has written so far.
  Save({scratch.path(), 10, 4}).commit();
  EXPECT_FALSE(fs::exists(old.temporary()));
  EXPECT_NE(complaint([&] { old.commit(); }), "nothing");
  ASSERT_EQ(list_checkpoints(scratch.path()).size(), 1U);
  EXPECT_EQ(list_checkpoints(scratch.path())[0].attempt, 4);
}

TEST(Fence, ACommitHoldsTheLockAcrossItsRename) {
  const Scratch scratch;
  raise_fence(scratch.path(), 1);
  const Save save({scratch.path(), 10, 1});
  std::atomic<bool> raised = false;
  std::thread raiser;
  int renames = 0;
  before_rename() = [&] {
    ++renames;
    raiser = std::thread([&] {
      raise_fence(scratch.path(), 2);
      raised = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(raised) << "a newer attempt began between the check and the rename";
  };
  save.commit();
  before_rename() = nullptr;
  ASSERT_EQ(renames, 1);
  raiser.join();
  EXPECT_EQ(read_fence(scratch.path()), 2);
}

TEST(Fence, AKilledHolderHoldsNothing) {
  const Scratch scratch;
  raise_fence(scratch.path(), 1);
  const test::ChildEnd end = test::in_child([&] {
    const FencePass pass(scratch.path(), 1, "commit");
    return std::raise(SIGKILL);
  });
  ASSERT_EQ(end.signal, SIGKILL);
  const double start = monotonic_seconds();
  raise_fence(scratch.path(), 2);
  EXPECT_LT(monotonic_seconds() - start, 5.0);
}

TEST(Fence, ARaiseWaitsForTheHolderOfAPass) {
  const Scratch scratch;
  raise_fence(scratch.path(), 1);
  std::optional<FencePass> pass(std::in_place, scratch.path(), 1, "commit");
  std::atomic<bool> raised = false;
  std::thread raiser([&] {
    raise_fence(scratch.path(), 2);
    raised = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(raised);
  EXPECT_EQ(read_fence(scratch.path()), 1);
  pass.reset();
  raiser.join();
  EXPECT_EQ(read_fence(scratch.path()), 2);
}

// An old attempt commits one step after the other; it ends with 0 when the fence stopped it. What
// it has committed is told through the pipe before and after each commit.
int commit_until_fenced(const fs::path& root, int told) {
  for (std::int64_t step = 1; step < 10'000; ++step) {
    try {
      Save({root, step, 1}).commit();
    } catch (const Error& error) {
      return std::string(error.what()).find("attempt 2 has begun") != std::string::npos ? 0 : 2;
    }
    write_all(told, std::as_bytes(std::span(&step, 1)), "pipe");
  }
  return 3;
}

TEST(Fence, ARaceOfTwoProcessesNeverLetsAnOldCommitThrough) {
  for (int round = 0; round < 15; ++round) {
    const Scratch scratch;
    raise_fence(scratch.path(), 1);
    int ends[2];
    check_sys(::pipe(ends), "pipe", "");
    const UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    const pid_t pid = check_sys(::fork(), "fork", "");
    if (pid == 0) ::_exit(commit_until_fenced(scratch.path(), writer.get()));
    writer.reset();
    std::int64_t step = 0;
    ASSERT_EQ(::read(reader.get(), &step, sizeof step), static_cast<ssize_t>(sizeof step));
    std::this_thread::sleep_for(std::chrono::microseconds(1700 * round));
    raise_fence(scratch.path(), 2);
    const auto frozen = list_checkpoints(scratch.path());
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_EQ(list_checkpoints(scratch.path()).size(), frozen.size())
        << "a commit came through after the fence was raised";
    for (const auto& entry : fs::directory_iterator(scratch.path())) {
      EXPECT_FALSE(entry.path().filename().string().starts_with("tmp-")) << entry.path();
    }
  }
}

TEST(Fence, OfManyThatRaiseTheHighestStands) {
  const Scratch scratch;
  std::vector<std::thread> threads;
  std::atomic<int> refused = 0;
  for (int first = 1; first <= 4; ++first) {
    threads.emplace_back([&, first] {
      for (int attempt = first; attempt <= 60; attempt += 4) {
        try {
          raise_fence(scratch.path(), attempt);
        } catch (const UsageError&) {
          ++refused;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(read_fence(scratch.path()), 60);
  EXPECT_LT(refused, 60);
}

}  // namespace
}  // namespace talaria::storage
