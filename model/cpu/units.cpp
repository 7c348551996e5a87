// SPDX-License-Identifier: Apache-2.0
#include "model/cpu/units.h"

#include <memory>
#include <new>

namespace talaria::model::cpu {
namespace {

struct AlignedDelete {
  void operator()(float* memory) const { ::operator delete[](memory, std::align_val_t{64}); }
};

struct Scratch {
  std::unique_ptr<float[], AlignedDelete> memory;
  std::int64_t floats = 0;
};

}  // namespace

float* thread_scratch(std::int64_t floats) {
  thread_local Scratch scratch;
  if (scratch.floats < floats) {
    scratch.memory.reset();
    scratch.floats = 0;
    scratch.memory.reset(static_cast<float*>(
        ::operator new[](static_cast<std::size_t>(floats) * sizeof(float), std::align_val_t{64})));
    scratch.floats = floats;
  }
  return scratch.memory.get();
}

}  // namespace talaria::model::cpu
