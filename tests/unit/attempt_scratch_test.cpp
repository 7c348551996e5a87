// SPDX-License-Identifier: Apache-2.0
// The folder of an attempt on a node: who removes it, and which others go with it.
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/attempt/command_line.h"
#include "launch/attempt/proc.h"
#include "launch/attempt/scratch.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;

std::string id(const char* name) { return fmt::format("jscratch{}-{}", ::getpid(), name); }

fs::path folder(const char* name) { return attempt_scratch(id(name)); }

// A process with a path among its arguments, as the daemons of mpirun have it; it ends with this.
class Named {
 public:
  explicit Named(const fs::path& path) : pid_(::fork()) {
    if (pid_ == 0) {
      ::execlp("sh", "sh", "-c", "kill -STOP $$; :", path.c_str(), nullptr);
      ::_exit(127);
    }
    for (int tries = 0; !is_on_a_command_line(path.string()) && tries < 1000; ++tries) {
      ::usleep(10'000);
    }
  }
  Named(const Named&) = delete;
  Named& operator=(const Named&) = delete;
  ~Named() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
};

TEST(AttemptScratch, TheLastOfItsHoldersRemovesIt) {
  Scratch launcher(id("held"));
  Scratch shim(id("held"));
  std::ofstream(folder("held") / "segment") << "x";
  shim.release();
  EXPECT_TRUE(fs::exists(folder("held") / "segment"));
  launcher.release();
  EXPECT_FALSE(fs::exists(folder("held")));
}

TEST(AttemptScratch, WhatAKilledAttemptLeftGoesWithTheNextAttempt) {
  fs::create_directories(folder("killed") / "session");
  fs::create_directory(folder("waiting"));
  Scratch other(id("other"));
  ::usleep(3'100'000);
  fs::create_directory(folder("young"));
  {
    const Named daemon(folder("waiting"));
    Scratch(id("own")).release();
    EXPECT_FALSE(fs::exists(folder("own")));
    EXPECT_FALSE(fs::exists(folder("killed")));
    EXPECT_TRUE(fs::exists(folder("waiting"))) << "a daemon still waits to start ranks in it";
    EXPECT_TRUE(fs::exists(folder("other"))) << "it is held";
    EXPECT_TRUE(fs::exists(folder("young")));
  }
  Scratch(id("own")).release();
  EXPECT_FALSE(fs::exists(folder("waiting")));
  other.release();
  fs::remove(folder("young"));
}

}  // namespace
}  // namespace talaria::launch
