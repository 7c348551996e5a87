// SPDX-License-Identifier: Apache-2.0
// The one place where ranks' contributions are added: a balanced binary tree over the group's
// ranks in rank order, ((0+1)+(2+3))+..., so that every transport gives the same bits. Any number
// of ranks: tree(n) = tree(first tree_split(n)) + tree(the rest). Where several ranks contribute a
// NaN, the result is a NaN of unspecified payload.
#pragma once

#include <cstdint>
#include <span>

namespace talaria::parallel {

// The largest power of two below n. n >= 2.
int tree_split(int n);

// out[i] = tree over r of sources[r][i], for i in [0, count). `out` may be one of the sources, but
// must not overlap one in any other way. Integers add modulo 2^64. T: float, double, int64_t.
template <class T>
void tree_sum(std::span<const T* const> sources, T* out, std::int64_t count);

extern template void tree_sum<float>(std::span<const float* const>, float*, std::int64_t);
extern template void tree_sum<double>(std::span<const double* const>, double*, std::int64_t);
extern template void tree_sum<std::int64_t>(std::span<const std::int64_t* const>, std::int64_t*,
                                            std::int64_t);

}  // namespace talaria::parallel
