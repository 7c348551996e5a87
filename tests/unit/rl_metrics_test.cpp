// SPDX-License-Identifier: Apache-2.0
// The page about PPO's metrics has a row for every name, in order, and no other row.
#include "worker/rl_metrics.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/file.h"

namespace talaria::worker {
namespace {

std::vector<std::string> documented_names() {
  const std::string page = read_file(std::string(TALARIA_SOURCE_DIR) + "/docs/metrics.md");
  const std::string row = "\n| `";
  std::vector<std::string> names;
  for (std::size_t at = page.find(row); at != std::string::npos; at = page.find(row, at + 1)) {
    const std::size_t begin = at + row.size();
    names.push_back(page.substr(begin, page.find('`', begin) - begin));
  }
  return names;
}

TEST(PpoMetrics, AreThoseOfThePage) {
  EXPECT_THAT(std::vector<std::string>(metric::kPpoMetrics.begin(), metric::kPpoMetrics.end()),
              testing::ElementsAreArray(documented_names()));
}

}  // namespace
}  // namespace talaria::worker
