// SPDX-License-Identifier: Apache-2.0
// The state on a file system of a few hundred kilobytes: full, read-only, and with room again.
// Where mounting is not permitted a limit on the size of files stands in for the full disk.
#include <csignal>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "tests/support/simulated_coordinator.h"
#include "tests/support/state_fixtures.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;
using test::history_fault;
using test::in_child;
using test::sample_end;
using test::sample_job;
using test::TempFolder;
using testing::AllOf;
using testing::HasSubstr;
using S = StageState;

constexpr int kNotPermitted = 77;

bool mount_tmpfs(const fs::path& at, int kilobytes) {
  const std::string size = fmt::format("size={}k", kilobytes);
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", at.c_str(), "tmpfs", 0, size.c_str()) == 0;
}

// Runs `body` in a child with the folder on a small file system of its own. False where that is not
// permitted. EXPECTs of the body print, and make it fail.
bool on_small_disk(const fs::path& folder, int kilobytes, const std::function<void()>& body) {
  const int code = in_child([&] {
    if (!mount_tmpfs(folder, kilobytes)) return kNotPermitted;
    body();
    return testing::Test::HasFailure() ? 1 : 0;
  });
  EXPECT_TRUE(code == 0 || code == kNotPermitted) << "exit code " << code;
  return code != kNotPermitted;
}

// Takes all but about `left` bytes of the disk.
void fill(const fs::path& ballast, std::int64_t left) {
  const UniqueFd fd = open_file(ballast, O_WRONLY | O_CREAT | O_TRUNC);
  const std::string block(4096, 'x');
  while (static_cast<std::int64_t>(fs::space(ballast.parent_path()).available) > left) {
    if (::write(fd.get(), block.data(), block.size()) <= 0) return;
  }
}

std::string storage_error(const std::function<void()>& action) {
  try {
    action();
  } catch (const StorageFull& error) {
    return error.what();
  } catch (const Error& error) {
    return fmt::format("another error: {}", error.what());
  }
  return "no error";
}

// All that the state says, to see that nothing changed.
std::string content(const Store& store) {
  std::string text;
  for (const JobRow& job : store.all_jobs()) {
    EXPECT_EQ(history_fault(store, job), "");
    text += fmt::format("{} {} {};", job.id, name(job.wish), store.transitions(job.id).size());
    for (const StageRow& stage : job.stages) {
      text += fmt::format("{} {} {}\n", name(stage.state), stage.failures,
                          store.attempts(stage.key).size());
    }
  }
  return text;
}

// Job 1 runs its first attempt, job 2 waits.
void begin(Store& store) {
  store.submit(sample_job("/1"), 1.0);
  store.submit(sample_job("/2"), 1.0);
  store.plan_attempt({1, 0}, 1, "id-1", "secret", 2.0);
}

JobRow large_job(const std::string& run_directory) {
  JobRow job = sample_job(run_directory);
  job.stages[0].job_toml = std::string(20000, 'x');
  return job;
}

// Every kind of write that `store`, after begin(), allows.
struct Write {
  const char* what;
  std::function<void(Store&)> act;
};

std::vector<Write> writes() {
  return {{"submit", [](Store& store) { store.submit(large_job("/3"), 3.0); }},
          {"running",
           [](Store& store) {
             store.attempt_running({1, 0}, 1, 3.0);
           }},
          {"wish", [](Store& store) { store.wish(1, Wish::kStop, "", 3.0); }},
          {"move",
           [](Store& store) {
             store.move({1, 0}, S::kStopping, "", 3.0);
           }},
          {"end",
           [](Store& store) {
             store.end_attempt({1, 0}, 1, sample_end(S::kStopped), 4.0);
           }},
          {"retry", [](Store& store) { store.retry(1, 5.0); }},
          {"plan", [](Store& store) {
             store.plan_attempt({1, 0}, 1, "id-2", "secret", 6.0);
           }}};
}

TEST(FullDisk, EveryWriteFailsWhollyAndGoesOnWithRoom) {
  const TempFolder folder;
  const bool permitted = on_small_disk(folder.path(), 512, [&] {
    const fs::path file = folder / "state.db";
    const fs::path ballast = folder / "ballast";
    Store store(file);
    begin(store);
    for (const Write& write : writes()) {
      const std::string before = content(store);
      // From no room at all to room for a part of it.
      for (std::int64_t left = 0; left <= 8192; left += 4096) {
        fill(ballast, left);
        const std::string text = storage_error([&] { write.act(store); });
        if (text == "no error") {
          EXPECT_GT(left, 0) << write.what << " on a disk without room";
          break;
        }
        EXPECT_THAT(text, AllOf(HasSubstr(file.string()), HasSubstr("nothing was changed"),
                                HasSubstr("free space")))
            << write.what;
        EXPECT_EQ(content(store), before) << write.what;
        EXPECT_EQ(content(Store(file, true)), before) << write.what;
        fs::remove(ballast);
      }
      fs::remove(ballast);
      if (content(store) == before) write.act(store);
      EXPECT_NE(content(store), before) << write.what;
    }
    EXPECT_EQ(content(Store(file, true)), content(store));
  });
  if (!permitted) fmt::print("mount is not permitted here\n");
}

// The disk is so full that even the smallest write fails.
TEST(FullDisk, FailsAtTheFirstByte) {
  const TempFolder folder;
  int failed = 0;
  on_small_disk(folder.path(), 512, [&] {
    Store store(folder / "state.db");
    begin(store);
    // What the log has room for already is used up first.
    fill(folder / "ballast", 0);
    std::string text;
    for (int i = 0; i < 100 && text != "full"; ++i) {
      text = storage_error([&] { store.submit(large_job(fmt::format("/n{}", i)), 3.0); });
      if (text != "no error") text = "full";
    }
    EXPECT_EQ(text, "full");
    const std::string before = content(store);
    for (int i = 0; i < 20; ++i) {
      failed +=
          storage_error([&] { store.submit(large_job("/again"), 3.0); }) != "no error" ? 1 : 0;
    }
    EXPECT_EQ(failed, 20);
    EXPECT_EQ(content(store), before);
  });
}

TEST(FullDisk, ANewStateSaysSo) {
  const TempFolder folder;
  on_small_disk(folder.path(), 256, [&] {
    fill(folder / "ballast", 0);
    EXPECT_THAT(storage_error([&] { const Store store(folder / "state.db"); }),
                AllOf(HasSubstr("state.db"), HasSubstr("free space")));
    fs::remove(folder / "ballast");
    Store store(folder / "state.db");
    begin(store);
    EXPECT_EQ(store.all_jobs().size(), 2U);
  });
}

TEST(FullDisk, AReadOnlyFileSystemIsSaidAndCanBeLookedAt) {
  const TempFolder folder;
  on_small_disk(folder.path(), 512, [&] {
    const fs::path file = folder / "state.db";
    {
      Store store(file);
      begin(store);
    }
    ASSERT_EQ(::mount(nullptr, folder.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
    EXPECT_THAT(storage_error([&] { const Store store(file); }),
                AllOf(HasSubstr(file.string()), HasSubstr("writable")));
    EXPECT_THAT(storage_error([&] { const Store store(folder / "new.db"); }),
                AllOf(HasSubstr("new.db"), HasSubstr("writable")));
    EXPECT_EQ(Store(file, true).all_jobs().size(), 2U);
  });
}

// Needs no privileges: the log may not grow beyond some size.
TEST(FullDisk, AFileThatMayNotGrow) {
  const TempFolder folder;
  EXPECT_EQ(in_child([&] {
              Store store(folder / "state.db");
              begin(store);
              ::signal(SIGXFSZ, SIG_IGN);
              rlimit limit{};
              check_sys(::getrlimit(RLIMIT_FSIZE, &limit), "getrlimit", "RLIMIT_FSIZE");
              const rlimit small{200 * 1024, limit.rlim_max};
              check_sys(::setrlimit(RLIMIT_FSIZE, &small), "setrlimit", "RLIMIT_FSIZE");
              std::string before;
              std::string text = "no error";
              for (int i = 0; i < 100 && text == "no error"; ++i) {
                before = content(store);
                text = storage_error([&] { store.submit(large_job(fmt::format("/n{}", i)), 3.0); });
              }
              EXPECT_THAT(text, AllOf(HasSubstr("state.db"), HasSubstr("nothing was changed")));
              EXPECT_EQ(content(store), before);
              check_sys(::setrlimit(RLIMIT_FSIZE, &limit), "setrlimit", "RLIMIT_FSIZE");
              store.submit(large_job("/room"), 4.0);
              EXPECT_NE(content(store), before);
              return testing::Test::HasFailure() ? 1 : 0;
            }),
            0);
}

}  // namespace
}  // namespace talaria::coordinator
