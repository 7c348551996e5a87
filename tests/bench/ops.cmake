# SPDX-License-Identifier: Apache-2.0
add_executable(bench_ops ops.cpp)
target_link_libraries(bench_ops PRIVATE talaria_engine)
