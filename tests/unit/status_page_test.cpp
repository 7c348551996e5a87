// SPDX-License-Identifier: Apache-2.0
// The page that a rank shares with the process that waits for it.
#include "worker/status_page.h"

#include <cmath>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::worker {
namespace {

using wire::Phase;
using wire::RankStatus;

UniqueFd memory_file(std::size_t bytes) {
  UniqueFd fd(check_sys(::memfd_create("status", 0), "memfd_create", "status"));
  check_sys(::ftruncate(fd.get(), static_cast<off_t>(bytes)), "ftruncate", "status");
  return fd;
}

TEST(StatusPage, OwnMemoryWithoutADescriptor) {
  const auto status = open_status("");
  EXPECT_EQ(status->phase, static_cast<std::int32_t>(Phase::kStart));
  EXPECT_GT(status->phase_started, 0.0);
  EXPECT_EQ(status->checkpoint_step, -1);
  EXPECT_TRUE(std::isnan(status->loss));
}

TEST(StatusPage, TellsWhatAKilledRankDid) {
  const UniqueFd page = memory_file(4096);
  void* memory = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, page.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  const auto* seen = static_cast<const RankStatus*>(memory);
  const pid_t pid = check_sys(::fork(), "fork", "");
  if (pid == 0) {
    const auto status = open_status(std::to_string(page.get()));
    status->step = 17;
    status->enter(Phase::kSave);
    ::raise(SIGKILL);
  }
  int state = 0;
  ASSERT_EQ(::waitpid(pid, &state, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(state));
  EXPECT_EQ(seen->step, 17);
  EXPECT_EQ(seen->phase, static_cast<std::int32_t>(Phase::kSave));
  EXPECT_EQ(seen->checkpoint_step, -1);
  ::munmap(memory, 4096);
}

TEST(StatusPage, TheDescriptorIsClosed) {
  UniqueFd page = memory_file(4096);
  const int number = page.release();
  const auto status = open_status(std::to_string(number));
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
  status->enter(Phase::kFinish);
}

TEST(StatusPage, WhatIsNoPageIsDoneWithout) {
  int ends[2];
  check_sys(::pipe(ends), "pipe", "");
  const UniqueFd reader(ends[0]);
  const UniqueFd writer(ends[1]);
  const UniqueFd small = memory_file(sizeof(RankStatus) - 1);
  for (const std::string& text :
       {std::string("x"), std::string("-1"), std::string("1"), std::string("7 "),
        std::string("99999"), std::string("99999999999999999999"), std::to_string(writer.get()),
        std::to_string(small.get())}) {
    const auto status = open_status(text);
    EXPECT_EQ(status->phase, static_cast<std::int32_t>(Phase::kStart)) << text;
  }
  EXPECT_NE(::fcntl(small.get(), F_GETFD), -1) << "what is not ours is not closed";
}

}  // namespace
}  // namespace talaria::worker
