// SPDX-License-Identifier: Apache-2.0
// Data for comm_checks: what rank r holds at index i is a pure function of (seed, r, i), so every
// rank can say what every sum must be. The sum is written here once more, one element at a time,
// independent of parallel/comm/tree.h.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace talaria::parallel {

std::uint64_t check_hash(std::uint64_t seed, std::uint64_t rank, std::uint64_t index);

// Of mixed magnitude, so that the order of additions shows in the bits.
template <class T>
T check_value(std::uint64_t seed, int rank, std::int64_t index);
template <>
float check_value<float>(std::uint64_t seed, int rank, std::int64_t index);
template <>
double check_value<double>(std::uint64_t seed, int rank, std::int64_t index);
template <>
std::int64_t check_value<std::int64_t>(std::uint64_t seed, int rank, std::int64_t index);

template <class T>
std::vector<T> check_vector(std::uint64_t seed, int rank, std::int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] = check_value<T>(seed, rank, i);
  }
  return values;
}

// The same for bytes, eight at a time.
std::vector<std::byte> check_bytes(std::uint64_t seed, int rank, std::int64_t count);
bool same_bytes(const std::vector<std::byte>& a, const std::vector<std::byte>& b);

inline float add_values(float a, float b) { return a + b; }
inline double add_values(double a, double b) { return a + b; }
inline std::int64_t add_values(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

// tree(values[0], ..., values[n - 1]), by the definition.
template <class T>
T serial_tree(const T* values, int n) {
  if (n == 1) return values[0];
  int split = 1;
  while (2 * split < n) split *= 2;
  return add_values(serial_tree(values, split), serial_tree(values + split, n - split));
}

// The tree sum over n ranks of check_value(seed, rank, index).
template <class T>
T expected_sum(std::uint64_t seed, int n, std::int64_t index) {
  T values[64];
  for (int rank = 0; rank < n; ++rank) values[rank] = check_value<T>(seed, rank, index);
  return serial_tree(values, n);
}

// Equal bits; a NaN equals any NaN.
inline bool same_bits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) ||
         std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}
inline bool same_bits(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) ||
         std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}
inline bool same_bits(std::int64_t a, std::int64_t b) { return a == b; }

}  // namespace talaria::parallel
