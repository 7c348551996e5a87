// SPDX-License-Identifier: Apache-2.0
// The CUDA devices behind cluster/device/device.h, and the module's entry point for them.
#include "cluster/device/device.h"

#include <utility>
#include <vector>

#include "cluster/cuda/handles.h"
#include "cluster/cuda/probe.h"

namespace talaria::cuda {
namespace {

void select(int index) {
  check_cuda(cudaSetDevice(index), "cudaSetDevice", fmt::format("device {}", index));
}

class Buffer final : public DeviceBuffer {
 public:
  explicit Buffer(std::int64_t bytes) : memory_(allocate_memory(bytes)), bytes_(bytes) {}
  void* data() override { return memory_.get(); }
  std::int64_t bytes() const override { return bytes_; }

 private:
  UniqueMemory memory_;
  std::int64_t bytes_;
};

std::byte* at(DeviceBuffer& buffer, std::int64_t offset, std::size_t bytes) {
  const auto length = static_cast<std::int64_t>(bytes);
  if (offset < 0 || length > buffer.bytes() - offset) {
    fail("copy of {} bytes at {} of a device buffer of {}", bytes, offset, buffer.bytes());
  }
  return static_cast<std::byte*>(buffer.data()) + offset;
}

class Stream final : public DeviceStream {
 public:
  explicit Stream(int device) : device_(device), stream_(make_stream()) {}

  void upload(std::span<const std::byte> host, DeviceBuffer& buffer, std::int64_t offset) override {
    select(device_);
    check_cuda(cudaMemcpyAsync(at(buffer, offset, host.size()), host.data(), host.size(),
                               cudaMemcpyHostToDevice, stream_.get()),
               "cudaMemcpyAsync", "host to device");
  }
  void download(DeviceBuffer& buffer, std::int64_t offset, std::span<std::byte> host) override {
    select(device_);
    check_cuda(cudaMemcpyAsync(host.data(), at(buffer, offset, host.size()), host.size(),
                               cudaMemcpyDeviceToHost, stream_.get()),
               "cudaMemcpyAsync", "device to host");
  }
  void synchronize() override {
    check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
  }
  cudaStream_t get() const { return stream_.get(); }

 private:
  int device_;
  UniqueStream stream_;
};

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, DeviceInfo info) : index_(index), info_(std::move(info)) {}

  const DeviceInfo& info() const override { return info_; }
  std::unique_ptr<DeviceBuffer> allocate(std::int64_t bytes) override {
    select(index_);
    return std::make_unique<Buffer>(bytes);
  }
  std::unique_ptr<DeviceStream> make_stream() override {
    select(index_);
    return std::make_unique<Stream>(index_);
  }
  void probe() override {
    constexpr std::int64_t kWords = std::int64_t{1} << 20;
    select(index_);
    Buffer buffer(kWords * std::int64_t{sizeof(std::uint32_t)});
    Stream stream(index_);
    launch_probe(static_cast<std::uint32_t*>(buffer.data()), kWords, stream.get());
    std::vector<std::uint32_t> words(kWords);
    stream.download(buffer, 0, std::as_writable_bytes(std::span(words)));
    stream.synchronize();
    for (std::int64_t i = 0; i < kWords; ++i) {
      const std::uint32_t got = words[static_cast<std::size_t>(i)];
      if (got != probe_word(i)) {
        fail("device {} ({}): the probe kernel wrote {} to word {}, expected {}", index_,
             info_.name, got, i, probe_word(i));
      }
    }
  }

 private:
  int index_;
  DeviceInfo info_;
};

class CudaDriver final : public DeviceDriver {
 public:
  Result<int> device_count() override {
    int count = 0;  // stays unwritten on an error
    const cudaError_t rc = cudaGetDeviceCount(&count);
    if (rc == cudaSuccess && count > 0) return count;
    const std::string answer = fmt::format("cudaGetDeviceCount answered {}", static_cast<int>(rc));
    if (rc == cudaErrorInsufficientDriver) return Result<int>::failure(why_no_driver(answer));
    if (rc == cudaSuccess || rc == cudaErrorNoDevice) {
      return Result<int>::failure(fmt::format("no CUDA device on this machine ({})", answer));
    }
    return Result<int>::failure(
        fmt::format("CUDA does not work: {} ({})", cudaGetErrorString(rc), answer));
  }

  DeviceInfo info(int index) override {
    cudaDeviceProp properties{};
    check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties",
               fmt::format("device {}", index));
    return {properties.name, properties.major, properties.minor,
            static_cast<std::int64_t>(properties.totalGlobalMem)};
  }

  std::unique_ptr<Device> open(int index) override {
    DeviceInfo found = info(index);
    select(index);
    return std::make_unique<CudaDevice>(index, std::move(found));
  }

 private:
  static std::string why_no_driver(const std::string& answer) {
    int version = 0;
    if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) {
      return fmt::format("no CUDA driver on this machine ({})", answer);
    }
    return fmt::format(
        "the CUDA driver is too old: it serves CUDA {}.{}, this build is of {}.{} ({})",
        version / 1000, version % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
        answer);
  }
};

}  // namespace
}  // namespace talaria::cuda

extern "C" __attribute__((visibility("default"))) talaria::DeviceDriver* talaria_cuda_device_v1() {
  static talaria::cuda::CudaDriver driver;
  return &driver;
}
