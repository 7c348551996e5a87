# SPDX-License-Identifier: Apache-2.0
add_executable(bench_tokenize tokenize.cpp)
target_link_libraries(bench_tokenize PRIVATE talaria_text Boost::json)
