// SPDX-License-Identifier: Apache-2.0
// Writes an existing, preallocated file in aligned chunks that bypass the page cache where the file
// system permits (O_DIRECT), several in flight (io_uring) where the kernel permits; else by plain
// pwrite. Every result is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace talaria::storage {

inline constexpr std::int64_t kWriteAlignment = 4096;

struct WriteOptions {
  bool direct = true;                    // try O_DIRECT
  bool uring = true;                     // try io_uring
  std::int64_t chunk_bytes = 2LL << 20;  // a multiple of kWriteAlignment
  int chunks_in_flight = 4;
};

class DirectWriter {
 public:
  // Opens the file; throws Error naming it.
  DirectWriter(const std::filesystem::path& path, const WriteOptions& options);
  // Waits for what is in flight.
  ~DirectWriter();
  DirectWriter(const DirectWriter&) = delete;
  DirectWriter& operator=(const DirectWriter&) = delete;

  // A free buffer of chunk_bytes to fill; waits for one. Valid until the next write().
  std::span<std::byte> buffer();
  // Writes the first `bytes` of the buffer at `offset`, both multiples of kWriteAlignment. Throws
  // DiskFull or Error, at the latest in finish().
  void write(std::int64_t offset, std::int64_t bytes);
  // Waits for all writes, then fsync; a failure is never retried.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace talaria::storage
