// SPDX-License-Identifier: Apache-2.0
#include "tests/support/comm_check_data.h"

#include <algorithm>
#include <cstring>

namespace talaria::parallel {

std::uint64_t check_hash(std::uint64_t seed, std::uint64_t rank, std::uint64_t index) {
  // SplitMix64's finaliser over the three together.
  std::uint64_t z = seed * 0x9e3779b97f4a7c15ULL + rank * 0xd1b54a32d192ed03ULL + index;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

template <>
float check_value<float>(std::uint64_t seed, int rank, std::int64_t index) {
  return static_cast<float>(check_value<double>(seed, rank, index));
}

template <>
double check_value<double>(std::uint64_t seed, int rank, std::int64_t index) {
  const std::uint64_t bits =
      check_hash(seed, static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(index));
  const double mantissa = static_cast<double>(static_cast<std::int64_t>(bits)) * 0x1p-63;
  return mantissa * static_cast<double>(1 << (bits % 24));
}

template <>
std::int64_t check_value<std::int64_t>(std::uint64_t seed, int rank, std::int64_t index) {
  return static_cast<std::int64_t>(
      check_hash(seed, static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(index)));
}

std::vector<std::byte> check_bytes(std::uint64_t seed, int rank, std::int64_t count) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    const std::uint64_t word = check_hash(seed, static_cast<std::uint64_t>(rank), i);
    std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, bytes.size() - i));
  }
  return bytes;
}

bool same_bytes(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace talaria::parallel
