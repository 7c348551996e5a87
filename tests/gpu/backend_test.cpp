// SPDX-License-Identifier: Apache-2.0
// The choice of the backend, on any machine: stand-ins for the module play what is not there.
#include "cluster/device/backend.h"

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/error.h"

namespace talaria {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

std::filesystem::path fakes(const char* name) {
  return std::filesystem::path(TALARIA_FAKES) / name;
}

TEST(Backend, TheCpuIsTakenWhenAskedFor) {
  const BackendChoice choice = choose_backend(BackendRequest::kCpu, fakes("works"));
  EXPECT_EQ(choice.device, DeviceKind::kCpu);
  EXPECT_EQ(choice.reason, "cpu: asked for");
}

TEST(Backend, AMissingModuleIsSaid) {
  for (const BackendRequest request : {BackendRequest::kAuto, BackendRequest::kCuda}) {
    const BackendChoice choice = choose_backend(request, "/no/such/folder");
    EXPECT_EQ(choice.device, DeviceKind::kCpu);
    EXPECT_EQ(choice.reason, "cpu: no CUDA module: /no/such/folder/libtalaria_cuda.so is missing");
    EXPECT_FALSE(choice.module);
  }
}

TEST(Backend, AModuleThatDoesNotLoadIsSaid) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / fmt::format("talaria-backend-{}", ::getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "libtalaria_cuda.so") << "not a library";
  const BackendChoice choice = choose_backend(BackendRequest::kAuto, folder);
  std::filesystem::remove_all(folder);
  EXPECT_EQ(choice.device, DeviceKind::kCpu);
  EXPECT_THAT(choice.reason, ContainsRegex("^cpu: no CUDA module: .*libtalaria_cuda.so does not "
                                           "load: .*(invalid ELF header|file too short)"));
}

TEST(Backend, AModuleOfAnotherVersionIsSaid) {
  const BackendChoice choice = choose_backend(BackendRequest::kAuto, fakes("old_version"));
  EXPECT_EQ(choice.device, DeviceKind::kCpu);
  EXPECT_THAT(choice.reason, HasSubstr("is of another version of Talaria"));
  EXPECT_THAT(choice.reason, HasSubstr(kDeviceEntry));
}

TEST(Backend, DevicesThatAreTooOldAreSaid) {
  const BackendChoice choice = choose_backend(BackendRequest::kAuto, fakes("too_old"));
  EXPECT_EQ(choice.device, DeviceKind::kCpu);
  EXPECT_EQ(choice.reason,
            "cpu: Fake 2000 has compute capability 7.5, and the module needs 8.0 or newer");
}

TEST(Backend, ADeviceIsTaken) {
  const BackendChoice choice = choose_backend(BackendRequest::kAuto, fakes("works"));
  EXPECT_EQ(choice.device, DeviceKind::kCuda);
  EXPECT_EQ(choice.reason, "cuda: 2 devices, Fake 9000 (compute capability 9.0, 80 GiB)");
  ASSERT_NE(choice.driver, nullptr);
  try {
    choice.driver->open(1);
    FAIL();
  } catch (const Error& error) {  // an exception made by a module is our Error here, too
    EXPECT_STREQ(error.what(), "fake device 1 does not open");
  }
}

TEST(Backend, TheFolderIsTheExecutables) {
  EXPECT_TRUE(std::filesystem::exists(executable_folder() / "gpu_backend"));
}

std::string output_of(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) fail_errno("popen", command);
  std::string output;
  std::array<char, 4096> buffer;
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), got);
  }
  if (::pclose(pipe) != 0) fail("{} failed", command);
  return output;
}

TEST(Backend, NoProgramLinksCuda) {
  int programs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TALARIA_BIN_DIR)) {
    if (!entry.is_regular_file() || entry.path().extension() == ".so") continue;
    std::string magic(4, '\0');
    std::ifstream(entry.path(), std::ios::binary).read(magic.data(), 4);
    if (magic != "\177ELF") continue;
    const std::string dynamic = output_of(fmt::format("readelf -d '{}'", entry.path().string()));
    EXPECT_THAT(dynamic, HasSubstr("(NEEDED)")) << entry.path();
    EXPECT_THAT(dynamic, Not(ContainsRegex("NEEDED.*(cuda|cudnn|nccl|cublas)"))) << entry.path();
    ++programs;
  }
  EXPECT_GE(programs, 1);
}

}  // namespace
}  // namespace talaria
