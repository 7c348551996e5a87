# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_ops_ref SOURCES ops_ref_test.cpp gpt_ref_test.cpp DEPS talaria_ref LABELS unit)
talaria_test(unit_ops_cpu SOURCES ops_attention_test.cpp ops_cpu_test.cpp ops_simd_test.cpp DEPS talaria_ops talaria_ref LABELS unit)
set_source_files_properties(ops_simd_test.cpp PROPERTIES COMPILE_OPTIONS "-march=${TALARIA_ARCH};-Wno-psabi"
  SKIP_PRECOMPILE_HEADERS ON)
