// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/direct_writer.h"

#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "storage/checkpoint/disk.h"

namespace talaria::storage {
namespace {

struct FreeBytes {
  void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
};

struct Chunk {
  std::unique_ptr<std::byte, FreeBytes> bytes;
  std::int64_t offset = 0;
  std::int64_t size = 0;
  bool in_flight = false;
};

UniqueFd open_for_writing(const std::filesystem::path& path, bool direct) {
  if (direct) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC));
    if (fd) return fd;
    if (errno != EINVAL && errno != ENOTSUP) fail_errno("open", path.string());
  }
  return open_file(path, O_WRONLY);
}

}  // namespace

struct DirectWriter::State {
  std::filesystem::path path;
  WriteOptions options;
  UniqueFd fd;
  bool direct = false;
  bool has_ring = false;
  io_uring ring{};
  std::vector<Chunk> chunks;
  std::size_t current = 0;
  int in_flight = 0;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (!has_ring) return;
    while (in_flight > 0) {  // the kernel still reads these buffers
      io_uring_cqe* done = nullptr;
      const int rc = io_uring_wait_cqe(&ring, &done);
      if (rc == -EINTR) continue;
      TALARIA_CHECK(rc == 0, "io_uring_wait_cqe: {}", -rc);
      io_uring_cqe_seen(&ring, done);
      --in_flight;
    }
    io_uring_queue_exit(&ring);
  }

  // Writes what is left of a chunk, from byte `done`, and waits for it.
  void write_now(const Chunk& chunk, std::int64_t done) {
    while (done < chunk.size) {
      const ssize_t put =
          ::pwrite(fd.get(), chunk.bytes.get() + done, static_cast<std::size_t>(chunk.size - done),
                   chunk.offset + done);
      if (put > 0) {
        done += put;
      } else if (put < 0 && errno == EINVAL && direct) {
        leave_direct();
      } else if (put == 0) {
        fail_write("pwrite", path, chunk.size, EIO);
      } else if (errno != EINTR) {
        fail_write("pwrite", path, chunk.size, errno);
      }
    }
  }

  // Some file systems accept O_DIRECT at open and refuse it here.
  void leave_direct() {
    const int flags = check_sys(::fcntl(fd.get(), F_GETFL), "fcntl", path.string());
    check_sys(::fcntl(fd.get(), F_SETFL, flags & ~O_DIRECT), "fcntl", path.string());
    direct = false;
  }

  // Waits for one completion; an incomplete write is finished here by pwrite, which also gives the
  // reason of a failure.
  void reap() {
    io_uring_cqe* done = nullptr;
    int rc = 0;
    do {
      rc = io_uring_wait_cqe(&ring, &done);
    } while (rc == -EINTR);
    if (rc < 0) fail_errno("io_uring_wait_cqe", path.string(), -rc);
    auto& chunk = *static_cast<Chunk*>(io_uring_cqe_get_data(done));
    const int result = done->res;
    io_uring_cqe_seen(&ring, done);
    chunk.in_flight = false;
    --in_flight;
    if (result < 0 && is_shortage(-result)) fail_disk_full(path, chunk.size, -result);
    if (result == -EIO) fail_errno("write", path.string(), EIO);
    if (result != chunk.size) write_now(chunk, result > 0 ? result : 0);
  }

  void submit(Chunk& chunk) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    TALARIA_CHECK(entry != nullptr, "the ring is as long as the number of chunks");
    io_uring_prep_write(entry, fd.get(), chunk.bytes.get(), static_cast<unsigned>(chunk.size),
                        static_cast<std::uint64_t>(chunk.offset));
    io_uring_sqe_set_data(entry, &chunk);
    chunk.in_flight = true;
    ++in_flight;
    int rc = 0;
    do {
      rc = io_uring_submit(&ring);
    } while (rc == -EINTR);
    if (rc < 0) {
      chunk.in_flight = false;
      --in_flight;
      fail_errno("io_uring_submit", path.string(), -rc);
    }
  }
};

DirectWriter::DirectWriter(const std::filesystem::path& path, const WriteOptions& options)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  TALARIA_CHECK(options.chunk_bytes > 0 && options.chunk_bytes % kWriteAlignment == 0 &&
                    options.chunk_bytes <= 1LL << 30 && options.chunks_in_flight > 0,
                "chunks of {} bytes", options.chunk_bytes);
  s.path = path;
  s.options = options;
  s.fd = open_for_writing(path, options.direct);
  s.direct = (check_sys(::fcntl(s.fd.get(), F_GETFL), "fcntl", path.string()) & O_DIRECT) != 0;
  const auto depth = static_cast<unsigned>(options.chunks_in_flight);
  s.has_ring = options.uring && io_uring_queue_init(depth, &s.ring, 0) == 0;
  s.chunks.resize(s.has_ring ? depth : 1);
  for (Chunk& chunk : s.chunks) {
    chunk.bytes.reset(static_cast<std::byte*>(
        std::aligned_alloc(kWriteAlignment, static_cast<std::size_t>(options.chunk_bytes))));
    if (!chunk.bytes)
      fail("{}: no memory for a buffer of {} bytes", path.string(), options.chunk_bytes);
  }
}

DirectWriter::~DirectWriter() = default;

std::span<std::byte> DirectWriter::buffer() {
  State& s = *state_;
  Chunk& chunk = s.chunks[s.current];
  while (chunk.in_flight) s.reap();
  return {chunk.bytes.get(), static_cast<std::size_t>(s.options.chunk_bytes)};
}

void DirectWriter::write(std::int64_t offset, std::int64_t bytes) {
  State& s = *state_;
  Chunk& chunk = s.chunks[s.current];
  TALARIA_CHECK(offset % kWriteAlignment == 0 && bytes % kWriteAlignment == 0 && bytes > 0 &&
                    bytes <= s.options.chunk_bytes && !chunk.in_flight,
                "{} bytes at {}", bytes, offset);
  chunk.offset = offset;
  chunk.size = bytes;
  if (s.has_ring) {
    s.submit(chunk);
  } else {
    s.write_now(chunk, 0);
  }
  s.current = (s.current + 1) % s.chunks.size();
}

void DirectWriter::finish() {
  State& s = *state_;
  while (s.in_flight > 0) s.reap();
  if (::fsync(s.fd.get()) != 0) fail_write("fsync", s.path, 0, errno);
}

}  // namespace talaria::storage
