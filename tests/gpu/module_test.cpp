// SPDX-License-Identifier: Apache-2.0
// The real libtalaria_cuda.so: first what must hold on any machine, then on a GPU.
#include <cstdint>
#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "cluster/device/backend.h"
#include "parallel/nccl/nccl.h"

namespace talaria {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::StartsWith;

TEST(CudaModule, LoadsAndSaysWhatItFound) {
  const BackendChoice choice = choose_backend(BackendRequest::kAuto);
  ASSERT_TRUE(choice.module) << choice.reason;
  DeviceDriver* driver = choice.module->function<DeviceEntry>(kDeviceEntry)();
  ASSERT_NE(driver, nullptr);
  const Result<int> count = driver->device_count();
  if (count) {
    EXPECT_GE(count.value(), 1);
    EXPECT_LT(count.value(), 1000);
    EXPECT_THAT(choice.reason, ContainsRegex("^(cuda: [0-9]+ device|cpu: .*compute capability)"));
  } else {
    EXPECT_EQ(choice.device, DeviceKind::kCpu);
    EXPECT_EQ(choice.reason, "cpu: " + count.error());
    EXPECT_THAT(count.error(), ContainsRegex("\\(cudaGetDeviceCount answered [0-9]+\\)$"));
  }
}

TEST(CudaModule, ItsErrorsNameTheCallAndTheCode) {
  const BackendChoice choice = choose_backend(BackendRequest::kAuto);
  ASSERT_TRUE(choice.module) << choice.reason;
  DeviceDriver* driver = choice.module->function<DeviceEntry>(kDeviceEntry)();
  try {
    driver->open(4711);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), StartsWith("cudaGetDeviceProperties: device 4711: "));
    EXPECT_THAT(error.what(), ContainsRegex("\\(CUDA error [0-9]+\\)$"));
  }
}

#if TALARIA_WITH_NCCL
parallel::NcclModule* nccl_of(const BackendChoice& choice) {
  const auto entry = choice.module->function<parallel::NcclEntry>(parallel::kNcclEntry);
  if (entry == nullptr) fail("{} has no {}", choice.module->path().string(), parallel::kNcclEntry);
  return entry();
}

TEST(CudaModule, NcclIsThereOrSaysWhyNot) {
  const BackendChoice choice = choose_backend(BackendRequest::kAuto);
  ASSERT_TRUE(choice.module) << choice.reason;
  parallel::NcclModule* nccl = nccl_of(choice);
  const Result<int> version = nccl->version();
  if (version) {
    EXPECT_GE(version.value(), 20000);
  } else {
    EXPECT_THAT(version.error(), HasSubstr("libnccl.so.2"));
    EXPECT_THROW(nccl->make_communicator(parallel::make_single_communicator(), 0), Error);
  }
  if (choice.device == DeviceKind::kCpu) {
    EXPECT_THROW(nccl->make_communicator(parallel::make_single_communicator(), 0), Error);
  }
}
#endif

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    choice_ = choose_backend(BackendRequest::kAuto);
    if (choice_.device != DeviceKind::kCuda) GTEST_SKIP() << "needs a GPU: " << choice_.reason;
  }
  BackendChoice choice_;
};

TEST_F(Gpu, RunsAKernelOnEveryDevice) {
  const int count = choice_.driver->device_count().value();
  for (int index = 0; index < count; ++index) choice_.driver->open(index)->probe();
}

TEST_F(Gpu, CopiesThereAndBack) {
  const std::unique_ptr<Device> device = choice_.driver->open(0);
  const std::unique_ptr<DeviceStream> stream = device->make_stream();
  std::vector<float> data(1'000'003);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i);
  const std::unique_ptr<DeviceBuffer> buffer =
      device->allocate(static_cast<std::int64_t>(data.size() * sizeof(float)) + 8);
  std::vector<float> back(data.size());
  stream->upload(std::as_bytes(std::span(data)), *buffer, 8);
  stream->download(*buffer, 8, std::as_writable_bytes(std::span(back)));
  stream->synchronize();
  EXPECT_TRUE(back == data);
  EXPECT_THROW(stream->upload(std::as_bytes(std::span(data)), *buffer, 12), Error);
  EXPECT_THROW(stream->upload(std::as_bytes(std::span(data)), *buffer, -1), Error);
  EXPECT_EQ(device->allocate(0)->data(), nullptr);
  EXPECT_THROW(device->allocate(std::int64_t{1} << 50), Error);
}

#if TALARIA_WITH_NCCL
TEST_F(Gpu, NcclOfOneRankIsTheIdentity) {
  parallel::NcclModule* nccl = nccl_of(choice_);
  if (!nccl->version()) GTEST_SKIP() << "needs a GPU with NCCL: " << nccl->version().error();
  const std::unique_ptr<parallel::Communicator> comm =
      nccl->make_communicator(parallel::make_single_communicator(), 0);
  EXPECT_EQ(comm->transport(), "nccl");
  std::vector<float> data(20'000'000);  // more than one piece
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i % 1000);
  const std::vector<float> want = data;
  comm->all_reduce_sum(std::span<float>(data));
  EXPECT_TRUE(data == want);
  comm->reduce_scatter_sum(data);
  EXPECT_TRUE(data == want);
  comm->all_gather(std::as_writable_bytes(std::span(data)));
  EXPECT_TRUE(data == want);
  comm->broadcast(std::as_writable_bytes(std::span(data)), 0);
  EXPECT_TRUE(data == want);
  std::vector<std::int64_t> counts = {1, -2, 3};
  comm->all_reduce_sum(std::span<std::int64_t>(counts));
  EXPECT_EQ(counts, (std::vector<std::int64_t>{1, -2, 3}));
  EXPECT_EQ(comm->counters().bytes_sent, 0U);
}
#endif

}  // namespace
}  // namespace talaria
