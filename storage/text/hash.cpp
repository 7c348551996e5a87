// SPDX-License-Identifier: Apache-2.0
#include "storage/text/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "cluster/base/error.h"
#include "cluster/base/handle.h"

namespace talaria::storage {
namespace {

struct XxhTraits {
  using Handle = XXH3_state_t*;
  static Handle empty() { return nullptr; }
  static void close(Handle state) noexcept { XXH3_freeState(state); }
};

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

struct DigestStream::State {
  UniqueHandle<XxhTraits> handle;
};

std::uint64_t content_hash(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string digest_to_hex(const TextDigest& digest) {
  std::string hex;
  for (const std::uint8_t byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

TextDigest digest_from_hex(std::string_view hex) {
  TextDigest digest{};
  TALARIA_CHECK(hex.size() == 2 * digest.size(), "digest '{}'", hex);
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const int high = hex_value(hex[2 * i]);
    const int low = hex_value(hex[2 * i + 1]);
    TALARIA_CHECK(high >= 0 && low >= 0, "digest '{}'", hex);
    digest[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return digest;
}

DigestStream::DigestStream() : state_(std::make_unique<State>()) {
  state_->handle.reset(XXH3_createState());
  if (!state_->handle || XXH3_128bits_reset(state_->handle.get()) != XXH_OK) {
    fail("XXH3_createState: out of memory");
  }
}

DigestStream::~DigestStream() = default;
DigestStream::DigestStream(DigestStream&&) noexcept = default;

void DigestStream::update(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const XXH_errorcode code = XXH3_128bits_update(state_->handle.get(), bytes.data(), bytes.size());
  TALARIA_CHECK(code == XXH_OK, "XXH3_128bits_update: {}", static_cast<int>(code));
}

TextDigest DigestStream::digest() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->handle.get()));
  TextDigest digest;
  for (std::size_t i = 0; i < digest.size(); ++i) digest[i] = canonical.digest[i];
  return digest;
}

}  // namespace talaria::storage
