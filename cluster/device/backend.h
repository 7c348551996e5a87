// SPDX-License-Identifier: Apache-2.0
// Which backend this process computes with, and why. The CUDA backend is a module beside the
// executable; where it, the driver or a device is missing, the choice is the CPU and says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "cluster/device/device.h"
#include "cluster/device/module.h"
#include "cluster/device/tensor.h"

namespace talaria {

enum class BackendRequest : std::uint8_t { kAuto, kCpu, kCuda };

struct BackendChoice {
  DeviceKind device = DeviceKind::kCpu;
  // A sentence: "cpu: no CUDA driver on this machine (cudaGetDeviceCount answered 35)".
  std::string reason;
  // Where the module loaded, whatever the choice.
  std::optional<Module> module;
  // Set for kCuda.
  DeviceDriver* driver = nullptr;
};

// The folder of the running executable.
std::filesystem::path executable_folder();

// Never throws for something missing. A caller that must have CUDA (kCuda) refuses to start when
// `device` is not kCuda, giving `reason`.
BackendChoice choose_backend(BackendRequest requested,
                             const std::filesystem::path& folder = executable_folder());

}  // namespace talaria
