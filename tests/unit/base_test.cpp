// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <filesystem>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/log.h"
#include "cluster/base/thread_pool.h"

namespace talaria {
namespace {

TEST(Log, TimesAreUtcWithMilliseconds) {
  EXPECT_EQ(utc_time(0.0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(utc_time(1795531200.1239), "2026-11-24T14:40:00.123Z");
  EXPECT_EQ(utc_time(951782399.9999), "2000-02-28T23:59:59.999Z");
  EXPECT_EQ(utc_time(-0.5), "1969-12-31T23:59:59.500Z");
}

// In a child: how lines begin is fixed for the life of a process.
TEST(LogDeathTest, LinesCarryTimeAndNameWhereAsked) {
  const auto lines = [] {
    log_info("one");
    set_log_identity("rank 3");
    log_warning("two");
    set_log_times();
    log_info("three");
    log_unnamed("four");
    std::_Exit(0);
  };
  const std::string time = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z ";
  EXPECT_EXIT(lines(), testing::ExitedWithCode(0),
              "^one\nrank 3: warning: two\n" + time + "rank 3: three\n" + time + "four\n$");
}

TEST(ThreadPool, RunsEveryUnitOnce) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 50; ++round) {
      std::vector<std::atomic<int>> runs(97);
      pool.run(97, [&](std::int64_t unit, int thread) {
        ASSERT_LT(thread, threads);
        ++runs[static_cast<std::size_t>(unit)];
      });
      for (const auto& count : runs) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, RethrowsTheFirstExceptionAndStaysUsable) {
  ThreadPool pool(2);
  EXPECT_THROW(pool.run(8,
                        [](std::int64_t unit, int) {
                          if (unit == 5) fail("unit {}", unit);
                        }),
               Error);
  std::atomic<int> done = 0;
  pool.run(8, [&](std::int64_t, int) { ++done; });
  EXPECT_EQ(done, 8);
}

TEST(File, AtomicWriteReplacesWholeContent) {
  const auto path = std::filesystem::temp_directory_path() / "talaria_base_test.txt";
  write_file_atomic(path, "one");
  write_file_atomic(path, "two, longer");
  EXPECT_EQ(read_file(path), "two, longer");
  EXPECT_EQ(MappedFile(path).text(), "two, longer");
  std::filesystem::remove(path);
}

TEST(File, ErrorsNameTheCallAndThePath) {
  try {
    read_file("/no/such/file");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("open /no/such/file: No such file"));
  }
}

TEST(Error, CheckedProductRefusesOverflow) {
  EXPECT_EQ(checked_product(1 << 20, 1 << 20, "bytes"), std::int64_t{1} << 40);
  EXPECT_THROW(checked_product(std::int64_t{1} << 40, std::int64_t{1} << 40, "bytes"), Error);
}

}  // namespace
}  // namespace talaria
