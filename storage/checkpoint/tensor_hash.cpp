// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/tensor_hash.h"

#include <bit>

#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the widest vectors of this machine; the same hashes
#endif

#include "cluster/base/error.h"

namespace talaria::storage {

static_assert(std::endian::native == std::endian::little, "hashes are over little-endian f32");

namespace {

TensorHash from(XXH128_hash_t hash) { return {hash.high64, hash.low64}; }

}  // namespace

std::string TensorHash::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

std::optional<TensorHash> TensorHash::parse(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  std::uint64_t halves[2] = {0, 0};
  for (std::size_t i = 0; i < 32; ++i) {
    const char c = text[i];
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return std::nullopt;
    halves[i / 16] =
        halves[i / 16] << 4 | static_cast<std::uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return TensorHash{halves[0], halves[1]};
}

std::int64_t hash_columns_of(const parallel::NamedBox& box) {
  return box.hash_columns == 0 ? box.global[1] : box.hash_columns;
}

void check_hash_blocks(const parallel::NamedBox& box, std::int64_t segment_columns) {
  const auto& [offset, extent] = box.box;
  if (segment_columns > 0 && box.global[1] % segment_columns == 0 &&
      offset[1] % segment_columns == 0 && extent[1] % segment_columns == 0) {
    return;
  }
  fail("tensor {}: the box of columns {} .. {} of {} splits a hash block of {} columns", box.tensor,
       offset[1], offset[1] + extent[1], box.global[1], segment_columns);
}

TensorHash box_hash(const parallel::NamedBox& box, std::int64_t segment_columns) {
  if (box.box.empty()) return {};
  check_hash_blocks(box, segment_columns);
  const auto& [offset, extent] = box.box;
  const std::size_t bytes = static_cast<std::size_t>(segment_columns) * sizeof(float);
  TensorHash sum;
  const float* block = box.data;
  for (std::int64_t row = offset[0]; row < offset[0] + extent[0]; ++row) {
    const std::int64_t first = row * box.global[1] + offset[1];
    for (std::int64_t column = 0; column < extent[1]; column += segment_columns) {
      const auto seed = static_cast<XXH64_hash_t>(first + column);
      sum += from(XXH3_128bits_withSeed(block, bytes, seed));
      block += segment_columns;
    }
  }
  return sum;
}

std::string weights_hash(const std::map<std::string, TensorHash>& tensors) {
  std::string text;
  for (const auto& [name, hash] : tensors) {
    text += name;
    text += '\0';
    for (const std::uint64_t half : {hash.high, hash.low}) {
      for (int shift = 56; shift >= 0; shift -= 8) text += static_cast<char>(half >> shift & 0xff);
    }
  }
  return bytes_hash(std::as_bytes(std::span(text))).hex();
}

TensorHash bytes_hash(std::span<const std::byte> bytes) {
  return from(XXH3_128bits(bytes.data(), bytes.size()));
}

void StreamHash::Free::operator()(XXH3_state_s* state) const noexcept { XXH3_freeState(state); }

StreamHash::StreamHash() : state_(XXH3_createState()) {
  if (!state_ || XXH3_128bits_reset(state_.get()) == XXH_ERROR) fail("XXH3_createState: no memory");
}

void StreamHash::update(std::span<const std::byte> bytes) {
  if (XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()) == XXH_ERROR) {
    fail("XXH3_128bits_update failed");
  }
}

TensorHash StreamHash::digest() const { return from(XXH3_128bits_digest(state_.get())); }

}  // namespace talaria::storage
