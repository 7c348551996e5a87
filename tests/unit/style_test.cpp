// SPDX-License-Identifier: Apache-2.0
// The tree keeps its rules, and each rule finds what is planted against it.
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "tests/support/style_rules.h"

namespace talaria::testing_support {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A folder with the given files, gone at the end of the test.
class PlantedTree {
 public:
  explicit PlantedTree(const std::vector<std::pair<std::string, std::string>>& files)
      : root_(std::filesystem::temp_directory_path() /
              ("talaria_style_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(root_);
    for (const auto& [path, content] : files) {
      std::filesystem::create_directories((root_ / path).parent_path());
      write_file_atomic(root_ / path, content);
    }
  }
  ~PlantedTree() { std::filesystem::remove_all(root_); }
  PlantedTree(const PlantedTree&) = delete;
  PlantedTree& operator=(const PlantedTree&) = delete;
  const std::filesystem::path& root() const { return root_; }

 private:
  std::filesystem::path root_;
};

TEST(Style, TheWholeTreeIsLookedAt) {
  const std::vector<std::string> files = project_files(TALARIA_SOURCE_DIR);
  for (const char* path : {"cluster/base/config.cpp", "scripts/test", ".ci/run", "CMakeLists.txt",
                           "tests/unit/style_test.cpp", "docs/job-file.md"}) {
    EXPECT_THAT(files, testing::Contains(path));
  }
}

TEST(Style, FoldersIncludeOnlyWhatTheyMay) {
  EXPECT_THAT(include_violations(TALARIA_SOURCE_DIR), IsEmpty());
}

TEST(Style, PlantedIncludesAreFound) {
  const PlantedTree tree({
      {"cluster/base/a.h", "#include <vector>\n"},
      {"cluster/bad.cpp", "#include \"cluster/base/a.h\"\n#include \"parallel/mesh.h\"\n"},
      {"parallel/mesh.h", "#include \"cluster/base/a.h\"\n"},
      {"parallel/comm/comm.h", "\n"},
      {"parallel/bad.cpp", "  #  include \"model/ops.h\"  // why not\n"},
      {"model/ops.h", "#include \"parallel/comm/comm.h\"\n"},
      {"model/config.h", "\n"},
      {"storage/good.cpp", "#include \"parallel/mesh.h\"\n"},
      {"storage/bad.cpp", "#include \"parallel/comm/comm.h\"\n"},
      {"launch/job.h", "#include \"model/config.h\"\n"},
      {"launch/rules.h", "#include \"model/ops.h\"\n"},
      {"worker/good.cpp", "#include \"launch/job.h\"\n#include \"storage/s.h\"\n"},
      {"storage/s.h", "\n"},
      {"worker/bad.cpp", "#include \"launch/rules.h\"\n"},
      {"coordinator/bad.cpp", "#include \"model/config.h\"\n"},
      {"tests/unit/good.cpp", "#include \"worker/w.h\"\n"},
      {"worker/w.h", "#include \"tests/unit/t.h\"\n"},
      {"tests/unit/t.h", "#include \"t2.h\"\n"},
      {"other/x.cpp", "\n"},
      {"build/release/x.cpp", "#include \"nowhere.h\"\n"},
  });
  EXPECT_THAT(
      include_violations(tree.root()),
      ElementsAre("cluster/bad.cpp:2: includes \"parallel/mesh.h\"; allowed in cluster/: cluster/",
                  "coordinator/bad.cpp:1: includes \"model/config.h\"; allowed in coordinator/: "
                  "cluster/, launch/ or coordinator/",
                  "launch/rules.h:1: includes \"model/ops.h\"; allowed in launch/: cluster/, "
                  "parallel/mesh.h, parallel/box.h, parallel/schedule.h, model/config.h or launch/",
                  "other/x.cpp:1: source in a folder without a row in the include table",
                  "parallel/bad.cpp:1: includes \"model/ops.h\"; allowed in parallel/: cluster/ or "
                  "parallel/",
                  "storage/bad.cpp:1: includes \"parallel/comm/comm.h\"; allowed in storage/: "
                  "cluster/, parallel/mesh.h, parallel/box.h, parallel/schedule.h or storage/",
                  "tests/unit/t.h:1: includes \"t2.h\"; allowed: paths from the root of the "
                  "project, <...> for others",
                  "worker/bad.cpp:1: includes \"launch/rules.h\"; allowed in worker/: cluster/, "
                  "parallel/, model/, storage/, launch/job.h, launch/stages.h, launch/gate.h, "
                  "launch/artifact.h, launch/artifact_json.h or worker/",
                  "worker/w.h:1: includes \"tests/unit/t.h\"; allowed in worker/: cluster/, "
                  "parallel/, model/, storage/, launch/job.h, launch/stages.h, launch/gate.h, "
                  "launch/artifact.h, launch/artifact_json.h or worker/"));
}

TEST(Style, EverySourceSaysItsLicence) {
  EXPECT_THAT(licence_violations(TALARIA_SOURCE_DIR), IsEmpty());
}

TEST(Style, PlantedFilesWithoutLicenceAreFound) {
  const std::string slashes = "// SPDX-License-Identifier: Apache-2.0\n";
  const std::string hash = "# SPDX-License-Identifier: Apache-2.0\n";
  const PlantedTree tree({{"cluster/good.h", slashes},
                          {"cluster/bad.h", "#pragma once\n" + slashes},
                          {"cluster/bad.cu", hash},
                          {"cluster/CMakeLists.txt", "x\n"},
                          {"scripts/good", "#!/usr/bin/env bash\n" + hash},
                          {"scripts/bad", "#!/usr/bin/env bash\n\n" + hash},
                          {"scripts/list.txt", "x\n"},
                          {"examples/bad.toml", ""},
                          {"docs/page.md", "x\n"}});
  EXPECT_THAT(licence_violations(tree.root()),
              ElementsAre(testing::StartsWith("cluster/CMakeLists.txt:1: no licence"),
                          testing::StartsWith("cluster/bad.cu:1: no licence"),
                          testing::StartsWith("cluster/bad.h:1: no licence"),
                          testing::StartsWith("examples/bad.toml:1: no licence"),
                          testing::StartsWith("scripts/bad:2: no licence")));
}

TEST(Style, NoPathOfOneMachine) {
  EXPECT_THAT(machine_path_violations(TALARIA_SOURCE_DIR), IsEmpty());
}

TEST(Style, PlantedMachinePathsAreFound) {
  const std::string home = std::string("/ho") + "me/someone/x";
  const PlantedTree tree(
      {{"docs/a.md", "fine\ncd " + home + "\n"},
       {"scripts/b", "x=\"" + std::string("/ro") + "ot/.cache\"\n"},
       {"docs/good.md", "the network/" + std::string("wo") + "rk/x and /usr/lib\n"}});
  EXPECT_THAT(machine_path_violations(tree.root()),
              ElementsAre(testing::StartsWith("docs/a.md:2: a path of one machine: cd "),
                          testing::StartsWith("scripts/b:1: a path of one machine: x=")));
}

}  // namespace
}  // namespace talaria::testing_support
