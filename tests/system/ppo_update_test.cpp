// SPDX-License-Identifier: Apache-2.0
// One update of PPO against PyTorch: the losses and every gradient of policy and value network,
// with the same weights and the same minibatch.
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <boost/json.hpp>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "tests/support/child_process.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;

constexpr double kTimeout = 120;

std::string python() {
  const char* named = std::getenv("TALARIA_TEST_PYTHON");
  return named != nullptr ? named : "python3";
}

TEST(PpoUpdate, PyTorchFindsTheSameLossesAndGradients) {
  if (run_child({python(), "-c", "import torch"}, kTimeout).exit_code != 0) {
    GTEST_SKIP() << "needs PyTorch: python3-torch, or $TALARIA_TEST_PYTHON";
  }
  const ChildResult ours =
      run_child({std::string(TALARIA_BIN_DIR) + "/print_ppo_update"}, kTimeout);
  ASSERT_EQ(ours.exit_code, 0) << ours.output;
  const fs::path file =
      fs::temp_directory_path() / fmt::format("talaria_ppo_update_{}.json", ::getpid());
  write_file_atomic(file.string(), ours.output);
  const ChildResult theirs = run_child(
      {python(), std::string(TALARIA_SOURCE_DIR) + "/tests/system/ppo_update.py", file.string()},
      kTimeout);
  fs::remove(file);
  ASSERT_EQ(theirs.exit_code, 0) << theirs.output;
  const boost::json::object far =
      boost::json::parse(theirs.output.substr(theirs.output.find('{'))).as_object();
  std::size_t gradients = 0;
  double worst = 0.0;
  for (const auto& [name, difference] : far) {
    const auto found = difference.to_number<double>();
    EXPECT_LE(found, 1e-4) << std::string(name);
    worst = std::max(worst, found);
    gradients += std::string_view(name).find('.') != std::string_view::npos ? 1 : 0;
  }
  fmt::print("{} numbers, largest relative difference {:.1e}\n", far.size(), worst);
  // Two models of two layers with 16 tensors each, and their ends.
  EXPECT_GE(gradients, 2U * 2U * 16U);
}

}  // namespace
}  // namespace talaria
