# SPDX-License-Identifier: Apache-2.0
add_library(checkpoint_support STATIC checkpoint_support.cpp)
target_link_libraries(checkpoint_support PUBLIC talaria_flags talaria_checkpoint)
talaria_test(unit_checkpoint
  SOURCES checkpoint_test.cpp checkpoint_failure_test.cpp checkpoint_fence_test.cpp
    checkpoint_index_test.cpp checkpoint_integrity_test.cpp
  DEPS checkpoint_support LABELS unit)
