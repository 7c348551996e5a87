# SPDX-License-Identifier: Apache-2.0
if(NOT TARGET talaria)
  return()
endif()
add_executable(bench_coordinator coordinator.cpp)
target_link_libraries(bench_coordinator
  PRIVATE talaria_test_daemon talaria_test_simulated_ranks talaria_api talaria_attempt Boost::json)
add_test(NAME bench.coordinator COMMAND bench_coordinator --check)
set_tests_properties(bench.coordinator PROPERTIES LABELS slow TIMEOUT 300 PROCESSORS 2)
