// SPDX-License-Identifier: Apache-2.0
// The hashes of a checkpoint. A tensor's hash does not depend on how the tensor is cut into boxes:
// it is the sum modulo 2^128, over blocks of one row x hash_columns columns, of XXH3-128 of the
// block's f32 bytes seeded with the index of its first element in the whole tensor. Boxes hold
// whole blocks, so the hash of a tensor is the sum of the hashes of its boxes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "parallel/box.h"

struct XXH3_state_s;

namespace talaria::storage {

struct TensorHash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  // Addition modulo 2^128.
  TensorHash& operator+=(const TensorHash& other) {
    low += other.low;
    high += other.high + (low < other.low ? 1 : 0);
    return *this;
  }
  bool operator==(const TensorHash&) const = default;
  // 32 lower-case hex digits, the high half first.
  std::string hex() const;
  // Nothing unless `text` is exactly what hex() gives.
  static std::optional<TensorHash> parse(std::string_view text);
};

// The columns of one hash block of this box's tensor: hash_columns, or the whole row where it is 0.
std::int64_t hash_columns_of(const parallel::NamedBox& box);

// Throws Error naming the tensor when `segment_columns` does not divide its columns or the box
// splits a block.
void check_hash_blocks(const parallel::NamedBox& box, std::int64_t segment_columns);

// The box's part of its tensor's hash; box.data holds box.box.count() elements. Throws as
// check_hash_blocks does.
TensorHash box_hash(const parallel::NamedBox& box, std::int64_t segment_columns);

// XXH3-128 over (name, a zero byte, the hash as 16 big-endian bytes) of every tensor, by name in
// ascending byte order; as hex.
std::string weights_hash(const std::map<std::string, TensorHash>& tensors);

// XXH3-128 (seed 0) of one run of bytes.
TensorHash bytes_hash(std::span<const std::byte> bytes);

// The same for bytes that come in pieces.
class StreamHash {
 public:
  StreamHash();
  void update(std::span<const std::byte> bytes);
  TensorHash digest() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const noexcept;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace talaria::storage
