# SPDX-License-Identifier: Apache-2.0
add_executable(bench_checkpoint checkpoint.cpp)
target_link_libraries(bench_checkpoint PRIVATE talaria_flags talaria_checkpoint PkgConfig::HDF5)
