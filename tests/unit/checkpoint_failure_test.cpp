// SPDX-License-Identifier: Apache-2.0
// A save that does not end well: killed at every named point, or out of space. The older checkpoint
// loads, nothing else is taken for one, and the next attempt saves.
#include <csignal>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "cluster/base/error.h"
#include "storage/checkpoint/crash_point.h"
#include "tests/unit/checkpoint_support.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using test::ChildEnd;
using test::save;
using test::Scratch;
using testing::HasSubstr;

constexpr test::Tiling kTiling = {3, 2, 2, 0};

// Saves step 2 and prunes to one, killed at the point.
ChildEnd killed_save(const fs::path& root, const std::string& point, int hit) {
  return test::in_child([&] {
    arm_crash_point(point, hit);
    save({root, 2, 1}, kTiling);
    ThreadPool pool(1);
    prune_checkpoints(root, 1, pool);
    fmt::print("{}\n", unreached_crash_point());
    return crash_point_was_missed() ? kExitFailed : kExitDone;
  });
}

std::int64_t newest_after_crash(const std::string& point) {
  const bool committed =
      point == "after_rename" || point == "before_prune" || point == "prune.renamed";
  return committed ? 2 : 1;
}

class CrashPoint : public testing::TestWithParam<std::string_view> {};

TEST_P(CrashPoint, LeavesACheckpointThatLoads) {
  const std::string point(GetParam());
  const int hits = point.starts_with("shard.") ? 3 : 1;
  for (int hit = 1; hit <= hits; ++hit) {
    const Scratch scratch;
    ThreadPool pool(1);
    save({scratch.path(), 1, 1}, kTiling);
    const ChildEnd end = killed_save(scratch.path(), point, hit);
    ASSERT_EQ(end.signal, SIGKILL) << "the point was not reached: " << end.output;
    const Restored restored = find_restorable(scratch.path(), pool);
    ASSERT_TRUE(restored.checkpoint);
    const std::int64_t step = newest_after_crash(point);
    EXPECT_EQ(restored.checkpoint->step, step);
    EXPECT_TRUE(restored.skipped.empty()) << "nothing else has the name of a checkpoint";
    EXPECT_EQ(test::wrong_elements(restored.checkpoint->path, {2, 1, 1, 0}, step), 0);
    save({scratch.path(), 2, 2}, kTiling);
    save({scratch.path(), 3, 2}, kTiling);
    prune_checkpoints(scratch.path(), 1, pool);
    const std::vector<fs::path> left(fs::directory_iterator(scratch.path()),
                                     fs::directory_iterator{});
    EXPECT_EQ(left, std::vector<fs::path>{scratch.path() / step_name(3)}) << "nothing stale stays";
  }
}

std::string test_name(const testing::TestParamInfo<std::string_view>& info) {
  std::string name(info.param);
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Checkpoint, CrashPoint, testing::ValuesIn(crash_point_names()), test_name);

TEST(CrashPoints, AMissedPointIsTold) {
  const Scratch scratch;
  const ChildEnd end = killed_save(scratch.path(), "shard.synced", 4);
  EXPECT_EQ(end.signal, 0);
  EXPECT_EQ(end.exit_code, kExitFailed);
  EXPECT_EQ(end.output, "crash point shard.synced: armed for hit 4, reached 3 times\n");
  EXPECT_THROW(arm_crash_point("shard.sunk", 1), UsageError);
  EXPECT_THROW(arm_crash_point("shard.synced", 0), UsageError);
  EXPECT_FALSE(crash_point_was_missed());
}

TEST(CrashPoints, OrdersAreReadWhole) {
  const CrashOrder whole = parse_crash_order("step.begin:3:7:2", "X");
  EXPECT_EQ(whole.name, "step.begin");
  EXPECT_EQ(whole.hit, 3);
  EXPECT_EQ(whole.rank, 7);
  EXPECT_EQ(whole.attempt, 2);
  const CrashOrder brief = parse_crash_order("before_rename:1", "X");
  EXPECT_EQ(brief.rank, 0);
  EXPECT_EQ(brief.attempt, 0);
  for (const char* text : {"", "x", "x:", "x:0", "x:1y", "x:1:", "x:1:-1", "x:1:0:0", "x:1:0:1:1",
                           "x:99999999999", "x: 1"}) {
    EXPECT_THROW(parse_crash_order(text, "X"), UsageError) << text;
  }
}

TEST(CrashPoints, OfTheLoopAreKnown) {
  for (const std::string_view name : loop_crash_point_names()) {
    const ChildEnd end = test::in_child([&] {
      arm_crash_point(std::string(name), 2);
      crash_point(name);
      fmt::print("passed once\n");
      std::fflush(stdout);
      crash_point(name);
      return 0;
    });
    EXPECT_EQ(end.signal, SIGKILL);
    EXPECT_EQ(end.output, "passed once\n");
  }
}

// A crash while a checkpoint of the same step is replaced.
TEST(CrashPoints, ReplacingNeverLeavesNeither) {
  for (const char* point : {"before_rename", "after_rename"}) {
    const Scratch scratch;
    ThreadPool pool(1);
    save({scratch.path(), 2, 1}, {1, 1, 1, 0});
    EXPECT_EQ(killed_save(scratch.path(), point, 1).signal, SIGKILL);
    const Restored restored = find_restorable(scratch.path(), pool);
    ASSERT_TRUE(restored.checkpoint);
    EXPECT_EQ(restored.checkpoint->world, point == std::string("before_rename") ? 1 : 3);
    EXPECT_EQ(test::wrong_elements(restored.checkpoint->path, {1, 1, 1, 0}, 2), 0);
  }
}

// About 3 MB a save.
const std::vector<test::TestTensor>& big_model() {
  static const std::vector<test::TestTensor> model = {{"tok_embed", {1000, 256}, false, 1},
                                                      {"ln_f.bias", {256, 1}, true, 1}};
  return model;
}

// A save that must fail for lack of space at `root`, beside a good checkpoint of step 1. Returns 0
// when all is as it should be, 10 when the save went through.
int check_full(const fs::path& root) {
  ThreadPool pool(1);
  try {
    save({root, 2, 1}, {2, 2, 1, 0}, big_model());
  } catch (const DiskFull& full) {
    fmt::print("{}\n", full.what());
    const Restored restored = find_restorable(root, pool);
    if (!restored.checkpoint || restored.checkpoint->step != 1 || !restored.skipped.empty())
      return 2;
    if (test::wrong_elements(restored.checkpoint->path, {1, 1, 1, 0}, 1) != 0) return 3;
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.path().filename() != step_name(1)) return 4;
    }
    return 0;
  }
  return verify_checkpoint(root / step_name(2), pool).ok() ? 10 : 5;
}

constexpr int kNotPermitted = 77;

// Mounts a tmpfs of `kilobytes`, visible to this process only, and runs check_full on it.
ChildEnd on_small_tmpfs(const fs::path& at, std::int64_t kilobytes) {
  return test::in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      return kNotPermitted;
    }
    const std::string size = fmt::format("size={}k", kilobytes);
    if (::mount("tmpfs", at.c_str(), "tmpfs", 0, size.c_str()) != 0) return kNotPermitted;
    save({at, 1, 1}, {1, 1, 1, 0});
    return check_full(at);
  });
}

// The same by a limit on the size of files, which needs no privileges.
ChildEnd under_file_limit(const fs::path& at, std::int64_t kilobytes) {
  return test::in_child([&] {
    save({at, 1, 1}, {1, 1, 1, 0});
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit size{static_cast<rlim_t>(kilobytes) * 1024, static_cast<rlim_t>(kilobytes) * 1024};
    if (::setrlimit(RLIMIT_FSIZE, &size) != 0) return 98;
    return check_full(at);
  });
}

void expect_remedy(const ChildEnd& end, const fs::path& root) {
  EXPECT_EQ(end.exit_code, 0) << end.output;
  EXPECT_THAT(end.output,
              testing::AllOf(HasSubstr("write " + root.string() + "/tmp-step-00000002"),
                             HasSubstr("bytes needed"), HasSubstr("free. Free space there"),
                             HasSubstr("--run-dir")));
}

TEST(FullDisk, SmallFileSystem) {
  const Scratch probe;
  const bool permitted = on_small_tmpfs(probe.path(), 1000).exit_code != kNotPermitted;
  if (!permitted) fmt::print("mount is not permitted here: RLIMIT_FSIZE stands in for the tmpfs\n");
  std::set<std::string> full_files;
  const auto fits = [&](std::int64_t kilobytes) {
    const Scratch scratch;
    const ChildEnd end = permitted ? on_small_tmpfs(scratch.path(), kilobytes)
                                   : under_file_limit(scratch.path(), kilobytes);
    if (end.exit_code == 10) return true;
    expect_remedy(end, scratch.path());
    for (const char* file : {"shard-00000", "shard-00001", kIndexName, kManifestName}) {
      if (end.output.find(file) != std::string::npos) full_files.insert(file);
    }
    return false;
  };
  // The smallest size that suffices, then every page below it, where the last files no longer fit.
  std::int64_t full = 400;
  std::int64_t enough = 8000;
  ASSERT_FALSE(fits(full));
  ASSERT_TRUE(fits(enough));
  while (enough - full > 4) {
    const std::int64_t middle = (full + enough) / 8 * 4;
    (fits(middle) ? enough : full) = middle;
  }
  for (int pages = 1; pages <= 12; ++pages) EXPECT_FALSE(fits(enough - 4 * pages));
  EXPECT_TRUE(full_files.contains("shard-00000"));
  if (permitted) {
    EXPECT_THAT(full_files, testing::IsSupersetOf({"shard-00001", kIndexName, kManifestName}));
  }
}

TEST(FullDisk, FileSizeLimit) {
  for (const std::int64_t kilobytes : {1, 4, 64, 1000}) {
    const Scratch scratch;
    expect_remedy(under_file_limit(scratch.path(), kilobytes), scratch.path());
  }
}

}  // namespace
}  // namespace talaria::storage
