// SPDX-License-Identifier: Apache-2.0
// XXH3 as the text formats use it: 64 bits name a document's content, 128 bits name whole files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace talaria::storage {

// A digest in canonical (big-endian) byte order, the order in which its hex digits are printed.
using TextDigest = std::array<std::uint8_t, 16>;

// XXH3-64 with seed 0.
std::uint64_t content_hash(std::string_view bytes);

// 32 lower-case hex digits, as `xxhsum -H2` prints them; and back, where `hex` must be 32 digits.
std::string digest_to_hex(const TextDigest& digest);
TextDigest digest_from_hex(std::string_view hex);

// XXH3-128 (seed 0) over pieces: the digest of their concatenation.
class DigestStream {
 public:
  DigestStream();
  ~DigestStream();
  DigestStream(DigestStream&&) noexcept;
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  TextDigest digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace talaria::storage
