// SPDX-License-Identifier: Apache-2.0
// Communicator over NCCL. Payloads in host memory go through one device buffer in pieces; every
// call returns when its result is in host memory.
#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>

#include "cluster/cuda/handles.h"
#include "parallel/comm/traffic.h"
#include "parallel/nccl/nccl.h"
#include "parallel/nccl/nccl_api.h"

namespace talaria::parallel {
namespace {

using cuda::check_cuda;

constexpr std::int64_t kStagingBytes = std::int64_t{64} << 20;
constexpr std::chrono::microseconds kPoll(20);

template <class T>
ncclDataType_t type_of();
template <>
ncclDataType_t type_of<float>() {
  return ncclFloat32;
}
template <>
ncclDataType_t type_of<double>() {
  return ncclFloat64;
}
template <>
ncclDataType_t type_of<std::int64_t>() {
  return ncclInt64;
}

template <class T>
std::int64_t length_of(std::span<T> data) {
  return static_cast<std::int64_t>(data.size());
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const NcclApi& api, std::unique_ptr<Communicator> host, int device)
      : api_(api),
        host_(std::move(host)),
        device_(device),
        exceptions_(std::uncaught_exceptions()) {
    ncclUniqueId id{};
    if (rank() == 0) api_.check(api_.get_unique_id(&id), "ncclGetUniqueId");
    host_->broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
    select();
    stream_ = cuda::make_stream();
    staging_ = cuda::allocate_memory(kStagingBytes);
    api_.check(api_.comm_init_rank(&comm_, size(), id, rank()), "ncclCommInitRank");
  }

  ~NcclCommunicator() override {
    if (comm_ == nullptr) return;
    if (std::uncaught_exceptions() > exceptions_) {
      api_.comm_abort(comm_);
    } else {
      api_.comm_destroy(comm_);
    }
  }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  std::string transport() const override { return "nccl"; }

  void all_reduce_sum(std::span<float> data) override { all_reduce(data); }
  void all_reduce_sum(std::span<double> data) override { all_reduce(data); }
  void all_reduce_sum(std::span<std::int64_t> data) override { all_reduce(data); }

  void reduce_scatter_sum(std::span<float> data) override {
    constexpr std::int64_t kElement = sizeof(float);
    if (length_of(data) % size() != 0) {
      fail("nccl group of {}: reduce_scatter_sum of {} elements", size(), data.size());
    }
    const std::int64_t chunk = length_of(data) / size();
    const std::int64_t slice = kStagingBytes / kElement / size();
    select();
    for (std::int64_t begin = 0; begin < chunk; begin += slice) {
      const std::int64_t length = std::min(slice, chunk - begin);
      for (int peer = 0; peer < size(); ++peer) {
        upload(peer * length * kElement, data.data() + peer * chunk + begin, length * kElement);
      }
      api_.check(api_.reduce_scatter(staged(0), staged(rank() * length * kElement),
                                     static_cast<std::size_t>(length), ncclFloat32, ncclSum, comm_,
                                     stream_.get()),
                 "ncclReduceScatter");
      download(data.data() + rank() * chunk + begin, rank() * length * kElement, length * kElement);
      wait("ncclReduceScatter");
    }
    count_call(chunks_bytes(chunk * kElement, size()));
  }

  void all_gather(std::span<std::byte> data) override {
    if (length_of(data) % size() != 0) {
      fail("nccl group of {}: all_gather of {} bytes", size(), data.size());
    }
    const std::int64_t chunk = length_of(data) / size();
    const std::int64_t slice = kStagingBytes / size();
    select();
    for (std::int64_t begin = 0; begin < chunk; begin += slice) {
      const std::int64_t length = std::min(slice, chunk - begin);
      upload(rank() * length, data.data() + rank() * chunk + begin, length);
      api_.check(api_.all_gather(staged(rank() * length), staged(0),
                                 static_cast<std::size_t>(length), ncclUint8, comm_, stream_.get()),
                 "ncclAllGather");
      for (int peer = 0; peer < size(); ++peer) {
        if (peer == rank()) continue;
        download(data.data() + peer * chunk + begin, peer * length, length);
      }
      wait("ncclAllGather");
    }
    count_call(chunks_bytes(chunk, size()));
  }

  void broadcast(std::span<std::byte> data, int root) override {
    if (root < 0 || root >= size()) {
      fail("nccl group of {}: broadcast from rank {}", size(), root);
    }
    select();
    for (std::int64_t begin = 0; begin < length_of(data); begin += kStagingBytes) {
      const std::int64_t length = std::min(kStagingBytes, length_of(data) - begin);
      if (rank() == root) upload(0, data.data() + begin, length);
      api_.check(api_.broadcast(staged(0), staged(0), static_cast<std::size_t>(length), ncclUint8,
                                root, comm_, stream_.get()),
                 "ncclBroadcast");
      if (rank() != root) download(data.data() + begin, 0, length);
      wait("ncclBroadcast");
    }
    count_call(broadcast_bytes(length_of(data), size(), rank() == root));
  }

  void send(std::span<const std::byte> data, int to) override {
    host_->send(data, to);
    count_call(data.size());
  }
  void recv(std::span<std::byte> data, int from) override {
    host_->recv(data, from);
    count_call(0);
  }
  void barrier() override {
    host_->barrier();
    count_call(0);
  }
  void abort() noexcept override {
    if (comm_ != nullptr) api_.comm_abort(std::exchange(comm_, nullptr));
    host_->abort();
  }

 private:
  template <class T>
  void all_reduce(std::span<T> data) {
    constexpr std::int64_t kElement = sizeof(T);
    constexpr std::int64_t kPiece = kStagingBytes / kElement;
    select();
    for (std::int64_t begin = 0; begin < length_of(data); begin += kPiece) {
      const std::int64_t length = std::min(kPiece, length_of(data) - begin);
      upload(0, data.data() + begin, length * kElement);
      api_.check(api_.all_reduce(staged(0), staged(0), static_cast<std::size_t>(length),
                                 type_of<T>(), ncclSum, comm_, stream_.get()),
                 "ncclAllReduce");
      download(data.data() + begin, 0, length * kElement);
      wait("ncclAllReduce");
    }
    count_call(all_reduce_bytes(length_of(data), kElement, size(), rank()));
  }

  void select() const {
    if (comm_ == nullptr && stream_) fail("nccl group, rank {}: used after abort", rank());
    check_cuda(cudaSetDevice(device_), "cudaSetDevice", fmt::format("device {}", device_));
  }
  std::byte* staged(std::int64_t offset) const {
    return static_cast<std::byte*>(staging_.get()) + offset;
  }
  void upload(std::int64_t offset, const void* from, std::int64_t bytes) {
    check_cuda(cudaMemcpyAsync(staged(offset), from, static_cast<std::size_t>(bytes),
                               cudaMemcpyHostToDevice, stream_.get()),
               "cudaMemcpyAsync", "host to device");
  }
  void download(void* to, std::int64_t offset, std::int64_t bytes) {
    check_cuda(cudaMemcpyAsync(to, staged(offset), static_cast<std::size_t>(bytes),
                               cudaMemcpyDeviceToHost, stream_.get()),
               "cudaMemcpyAsync", "device to host");
  }
  // Waits for the stream, and fails when a peer or the network does: a plain synchronize would
  // wait for ever.
  void wait(const char* call) {
    while (true) {
      const cudaError_t state = cudaStreamQuery(stream_.get());
      ncclResult_t trouble = ncclSuccess;
      api_.check(api_.comm_get_async_error(comm_, &trouble), "ncclCommGetAsyncError");
      api_.check(trouble, call);
      if (state == cudaSuccess) return;
      if (state != cudaErrorNotReady) check_cuda(state, "cudaStreamQuery", call);
      std::this_thread::sleep_for(kPoll);
    }
  }

  const NcclApi& api_;
  std::unique_ptr<Communicator> host_;
  int device_;
  int exceptions_;
  cuda::UniqueStream stream_;
  cuda::UniqueMemory staging_;
  ncclComm_t comm_ = nullptr;
};

class NcclLibrary final : public NcclModule {
 public:
  Result<int> version() override {
    if (!api_) return Result<int>::failure(api_.error());
    int code = 0;
    api_.value().check(api_.value().get_version(&code), "ncclGetVersion");
    return code;
  }
  std::unique_ptr<Communicator> make_communicator(std::unique_ptr<Communicator> host,
                                                  int device) override {
    if (!api_) fail("no NCCL on this machine: {}", api_.error());
    return std::make_unique<NcclCommunicator>(api_.value(), std::move(host), device);
  }

 private:
  const Result<NcclApi> api_ = NcclApi::load();
};

}  // namespace
}  // namespace talaria::parallel

extern "C" __attribute__((visibility("default"))) talaria::parallel::NcclModule*
talaria_cuda_nccl_v1() {
  static talaria::parallel::NcclLibrary library;
  return &library;
}
