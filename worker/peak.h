// SPDX-License-Identifier: Apache-2.0
// The matrix peak of this machine, against which MFU is reported.
#pragma once

namespace talaria::worker {

// FLOP/s of the library's f32 product on `threads` cores: the best of a few products of n = 1024
// (2048 and 4096 too when `thorough`). Takes some tenths of a second, thorough some seconds.
double measure_matrix_peak(int threads, bool thorough);

}  // namespace talaria::worker
