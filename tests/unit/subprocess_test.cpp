// SPDX-License-Identifier: Apache-2.0
// run_captured: what a program says, how it ends, and that nothing waits for it for ever.
#include "cluster/base/subprocess.h"

#include <csignal>

#include <gtest/gtest.h>

#include "cluster/base/clock.h"

namespace talaria {
namespace {

TEST(Subprocess, KeepsBothStreamsAndTheExitCode) {
  const Captured run = run_captured({"sh", "-c", "echo out; echo err >&2; exit 7"}, 10.0);
  EXPECT_EQ(run.exit_code, 7);
  EXPECT_EQ(run.signal, 0);
  EXPECT_FALSE(run.timed_out);
  EXPECT_EQ(run.out, "out\n");
  EXPECT_EQ(run.err, "err\n");
}

TEST(Subprocess, ArgumentsArriveAsTheyAre) {
  const std::string hostile = "$(id)\n'\"; -x \x1b[2J";
  EXPECT_EQ(run_captured({"printf", "%s", hostile}, 10.0).out, hostile);
}

TEST(Subprocess, GivesInput) {
  const std::string text(300'000, 'x');
  EXPECT_EQ(run_captured({"cat"}, 10.0, text).out, text);
  EXPECT_EQ(run_captured({"cat"}, 10.0).out, "");
  EXPECT_EQ(run_captured({"true"}, 10.0, text).exit_code, 0);  // never reads it
}

TEST(Subprocess, OutputIsBounded) {
  const Captured run = run_captured({"head", "-c", "5000000", "/dev/zero"}, 20.0);
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.out.size(), std::size_t{1} << 20);
}

TEST(Subprocess, AMissingProgramIsSaid) {
  const Captured run = run_captured({"/nonexistent/program"}, 10.0);
  EXPECT_EQ(run.exit_code, 127);
  EXPECT_EQ(run.err, "exec /nonexistent/program: No such file or directory (errno 2)");
}

TEST(Subprocess, TheTimeLimitKills) {
  const double start = monotonic_seconds();
  const Captured run = run_captured({"sh", "-c", "echo begun; sleep 60"}, 0.3);
  EXPECT_TRUE(run.timed_out);
  EXPECT_EQ(run.signal, SIGKILL);
  EXPECT_EQ(run.out, "begun\n");
  EXPECT_LT(monotonic_seconds() - start, 10.0);
}

TEST(Subprocess, WhatHoldsThePipesOpenIsNotWaitedFor) {
  const double start = monotonic_seconds();
  const Captured run = run_captured({"sh", "-c", "sleep 60 & echo $!"}, 30.0);
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_LT(monotonic_seconds() - start, 10.0);
  const auto left = static_cast<pid_t>(std::stol(run.out));
  while (::kill(left, 0) == 0 && monotonic_seconds() - start < 10.0) {
    run_captured({"sleep", "0.01"}, 5.0);
    // Killed; whoever inherited it may be slow to reap it.
    const std::string state = run_captured({"ps", "-o", "state=", "-p", run.out}, 5.0).out;
    if (state.starts_with("Z") || state.empty()) break;
  }
  EXPECT_LT(monotonic_seconds() - start, 10.0);
}

TEST(Subprocess, ASignalIsTold) {
  const Captured run = run_captured({"sh", "-c", "kill -TERM $$"}, 10.0);
  EXPECT_EQ(run.signal, SIGTERM);
  EXPECT_EQ(run.exit_code, 128 + SIGTERM);
}

}  // namespace
}  // namespace talaria
