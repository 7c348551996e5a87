// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/tree.h"

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>

#include "cluster/base/error.h"

namespace talaria::parallel {
namespace {

// Elements summed at a time: the partial sums of one block stay in the first-level cache.
constexpr std::int64_t kBlock = 1024;
// Partial sums alive at once: one a level, and a group has at most 2^31 ranks.
constexpr std::size_t kLevels = 32;

template <class T>
T add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  } else {
    return a + b;
  }
}

// `out` may be `left` or `right`: each element is read before it is written, hence ivdep.
template <class T>
void add_all(const T* left, const T* right, T* out, std::int64_t count) {
#if !defined(__clang__)
#pragma GCC ivdep
#endif
  for (std::int64_t i = 0; i < count; ++i) out[i] = add(left[i], right[i]);
}

// The sum of sources[..][begin, begin + count): a source itself, or the first block of `scratch`.
template <class T>
const T* sum_block(std::span<const T* const> sources, std::int64_t begin, std::int64_t count,
                   T* scratch) {
  if (sources.size() == 1) return sources[0] + begin;
  const auto half = static_cast<std::size_t>(tree_split(static_cast<int>(sources.size())));
  const T* left = sum_block(sources.first(half), begin, count, scratch);
  const T* right = sum_block(sources.subspan(half), begin, count, scratch + kBlock);
  add_all(left, right, scratch, count);
  return scratch;
}

}  // namespace

int tree_split(int n) {
  TALARIA_CHECK(n >= 2, "tree of {}", n);
  return static_cast<int>(std::bit_floor(static_cast<unsigned>(n - 1)));
}

template <class T>
void tree_sum(std::span<const T* const> sources, T* out, std::int64_t count) {
  TALARIA_CHECK(!sources.empty());
  if (sources.size() == 1) {
    if (sources[0] != out) std::copy_n(sources[0], count, out);
    return;
  }
  const auto half = static_cast<std::size_t>(tree_split(static_cast<int>(sources.size())));
  std::array<T, kBlock * kLevels> scratch;  // NOLINT: each block is written before it is read
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t length = std::min(kBlock, count - begin);
    const T* left = sum_block(sources.first(half), begin, length, scratch.data());
    const T* right = sum_block(sources.subspan(half), begin, length, scratch.data() + kBlock);
    add_all(left, right, out + begin, length);
  }
}

template void tree_sum<float>(std::span<const float* const>, float*, std::int64_t);
template void tree_sum<double>(std::span<const double* const>, double*, std::int64_t);
template void tree_sum<std::int64_t>(std::span<const std::int64_t* const>, std::int64_t*,
                                     std::int64_t);

}  // namespace talaria::parallel
