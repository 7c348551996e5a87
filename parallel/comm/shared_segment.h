// SPDX-License-Identifier: Apache-2.0
// The memory through which the ranks of a local or shm group talk: a barrier, staging halves for
// the collectives, and mailboxes for point to point. Ranks as threads share one anonymous mapping;
// ranks as processes map one POSIX shared memory object. Layout:
//   control | calls[2][n] | mailboxes[n][n] | staging[2][n] | message slots[n][n][kSendDepth]
// The mapping is as large as the worst case, but memory is taken only for what is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "cluster/base/file.h"
#include "parallel/comm/futex.h"
#include "parallel/communicator.h"

namespace talaria::parallel {

struct SharedOptions {
  // Size of one staging half of one rank; larger payloads go through it in pieces.
  std::int64_t staging_bytes = std::int64_t{1} << 20;
  // The largest message that `send` takes.
  std::int64_t max_message_bytes = std::int64_t{64} << 20;
};

// What a rank is calling, compared by all members so that a mismatch is an Error, not garbage.
struct SharedCall {
  std::int32_t operation = 0;
  std::int32_t root = 0;
  std::int64_t bytes = 0;
  bool operator==(const SharedCall&) const = default;
};

struct SharedControl {
  alignas(64) FutexWord aborted;
  alignas(64) FutexWord arrived;
  alignas(64) FutexWord generation;
};

// One direction between two ranks. `written` and `taken` count messages modulo 2^32.
struct Mailbox {
  alignas(64) FutexWord written;
  alignas(64) FutexWord taken;
  alignas(64) std::int64_t bytes[kSendDepth];
};

class SharedSegment {
 public:
  static std::shared_ptr<SharedSegment> anonymous(int ranks, const SharedOptions& options);
  // Creates /dev/shm/<name>, or returns nothing where that name is taken. `name` starts with '/'.
  static std::shared_ptr<SharedSegment> create(const std::string& name, int ranks,
                                               const SharedOptions& options);
  // Maps what another rank created with the same ranks and options.
  static std::shared_ptr<SharedSegment> open(const std::string& name, int ranks,
                                             const SharedOptions& options);
  // Removes the name; those who mapped it keep the memory.
  static void unlink(const std::string& name);

  ~SharedSegment();
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  int ranks() const { return ranks_; }
  const SharedOptions& options() const { return options_; }

  SharedControl& control() const;
  SharedCall& call(int half, int rank) const;
  Mailbox& mailbox(int from, int to) const;
  std::byte* staging(int half, int rank) const;
  std::byte* message(int from, int to, std::uint32_t slot) const;

  // Makes sure that the memory exists: throws Error where /dev/shm is full, instead of the SIGBUS
  // that touching it would raise. Call it before the first write to staging and message slots.
  void reserve(const std::byte* begin, std::int64_t bytes) const;

 private:
  SharedSegment(int ranks, const SharedOptions& options, std::string name);
  void map(int flags, int fd);
  void construct();
  std::byte* at(std::int64_t offset) const { return base_ + offset; }

  int ranks_;
  SharedOptions options_;
  std::string name_;  // empty: anonymous
  UniqueFd file_;
  std::int64_t calls_offset_ = 0;
  std::int64_t mailboxes_offset_ = 0;
  std::int64_t staging_offset_ = 0;
  std::int64_t messages_offset_ = 0;
  std::int64_t total_bytes_ = 0;
  std::byte* base_ = nullptr;
};

}  // namespace talaria::parallel
