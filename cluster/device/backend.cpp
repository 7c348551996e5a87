// SPDX-License-Identifier: Apache-2.0
#include "cluster/device/backend.h"

#include <utility>

namespace talaria {
namespace {

constexpr const char* kModuleName = "libtalaria_cuda.so";
constexpr int kOldestCapability = 8;  // sm_80: the oldest code in the module

// The driver of the module, with the device count; or why CUDA cannot be used.
struct Found {
  DeviceDriver* driver = nullptr;
  std::string sentence;
};

Found find_devices(const Module& module) {
  const auto entry = module.function<DeviceEntry>(kDeviceEntry);
  if (entry == nullptr) {
    return {nullptr, fmt::format("{} is of another version of Talaria: it has no {}; install both "
                                 "from the same build",
                                 module.path().string(), kDeviceEntry)};
  }
  DeviceDriver* driver = entry();
  const Result<int> count = driver->device_count();
  if (!count) return {nullptr, count.error()};
  const DeviceInfo info = driver->info(0);
  if (info.capability_major < kOldestCapability) {
    return {
        nullptr,
        fmt::format("{} has compute capability {}.{}, and the module needs {}.0 or newer",
                    info.name, info.capability_major, info.capability_minor, kOldestCapability)};
  }
  return {driver, fmt::format("{} device{}, {} (compute capability {}.{}, {} GiB)", count.value(),
                              count.value() == 1 ? "" : "s", info.name, info.capability_major,
                              info.capability_minor, info.memory_bytes >> 30)};
}

}  // namespace

std::filesystem::path executable_folder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

BackendChoice choose_backend(BackendRequest requested, const std::filesystem::path& folder) {
  BackendChoice choice;
  if (requested == BackendRequest::kCpu) {
    choice.reason = "cpu: asked for";
    return choice;
  }
  Result<Module> module = Module::open(folder / kModuleName);
  if (!module) {
    choice.reason = fmt::format("cpu: no CUDA module: {}", module.error());
    return choice;
  }
  const Found found = find_devices(module.value());
  choice.module = std::move(module.value());
  choice.driver = found.driver;
  if (found.driver != nullptr) choice.device = DeviceKind::kCuda;
  choice.reason = (found.driver != nullptr ? "cuda: " : "cpu: ") + found.sentence;
  return choice;
}

}  // namespace talaria
