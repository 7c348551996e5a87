// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <filesystem>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/thread_pool.h"

namespace talaria {
namespace {

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
