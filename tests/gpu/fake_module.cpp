// SPDX-License-Identifier: Apache-2.0
// Stands in for libtalaria_cuda.so in tests of the choice: of another version (no entry point),
// with two devices, or with devices that are too old.
#include "cluster/device/device.h"

#if !defined(TALARIA_FAKE_old_version)

namespace talaria {
namespace {

class FakeDriver final : public DeviceDriver {
 public:
  Result<int> device_count() override { return 2; }
  DeviceInfo info(int) override {
#if defined(TALARIA_FAKE_works)
    return {"Fake 9000", 9, 0, std::int64_t{80} << 30};
#else
    return {"Fake 2000", 7, 5, std::int64_t{8} << 30};
#endif
  }
  std::unique_ptr<Device> open(int index) override { fail("fake device {} does not open", index); }
};

}  // namespace
}  // namespace talaria

extern "C" talaria::DeviceDriver* talaria_cuda_device_v1() {
  static talaria::FakeDriver driver;
  return &driver;
}

#endif
