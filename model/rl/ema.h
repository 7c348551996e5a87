// SPDX-License-Identifier: Apache-2.0
// The running average of the weights that InstructGPT's PPO keeps (Ouyang et al. 2022, appendix
// C.4: decay 0.992). A pass over flat buffers after each update.
#pragma once

#include <span>

#include "cluster/base/thread_pool.h"

namespace talaria::model {

// average_i <- decay average_i + (1 - decay) weights_i, computed in f32 as
//   fma(float(1 - decay), weights_i - average_i, average_i)
// so that an average that equals its weights stays the same bits, and a decay near 1 loses nothing
// by being rounded. 0 <= decay <= 1; equal sizes, no overlap. Elements do not meet: the same bits
// for any number of threads and any cut of the buffers.
void update_average(ThreadPool& pool, std::span<float> average, std::span<const float> weights,
                    double decay);

}  // namespace talaria::model
