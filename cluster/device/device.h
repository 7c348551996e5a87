// SPDX-License-Identifier: Apache-2.0
// What a device backend offers, as abstract classes that libtalaria_cuda.so implements: the program
// itself links no CUDA. Failures of the device throw Error, naming the CUDA call and its code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "cluster/base/error.h"

namespace talaria {

struct DeviceInfo {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int capability_major = 0;
  int capability_minor = 0;
  std::int64_t memory_bytes = 0;
};

// Memory of one device; freed with the object.
class DeviceBuffer {
 public:
  virtual ~DeviceBuffer() = default;
  virtual void* data() = 0;
  virtual std::int64_t bytes() const = 0;
};

// Work of one stream is done in the order in which it was given.
class DeviceStream {
 public:
  virtual ~DeviceStream() = default;
  // Copies host.size() bytes to or from `buffer` at `offset`. Ordered on the stream: the host
  // memory must live, unchanged, until synchronize(). Throws Error beyond the buffer's end.
  virtual void upload(std::span<const std::byte> host, DeviceBuffer& buffer,
                      std::int64_t offset) = 0;
  virtual void download(DeviceBuffer& buffer, std::int64_t offset, std::span<std::byte> host) = 0;
  // Waits for all work given so far.
  virtual void synchronize() = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  // Uninitialised. 0 bytes give a buffer whose data() is null.
  virtual std::unique_ptr<DeviceBuffer> allocate(std::int64_t bytes) = 0;
  virtual std::unique_ptr<DeviceStream> make_stream() = 0;
  // Runs a kernel over a few megabytes and checks every word that it wrote; throws Error.
  virtual void probe() = 0;
};

class DeviceDriver {
 public:
  // At least 1, or the sentence that says why there is none.
  virtual Result<int> device_count() = 0;
  virtual DeviceInfo info(int index) = 0;
  virtual std::unique_ptr<Device> open(int index) = 0;

 protected:
  ~DeviceDriver() = default;  // lives as long as the module
};

// The module's entry point: a C function of this name and type. The number changes with anything
// above, so that a module of another version is recognised before it is used.
inline constexpr const char* kDeviceEntry = "talaria_cuda_device_v1";
using DeviceEntry = DeviceDriver* (*)();

}  // namespace talaria
