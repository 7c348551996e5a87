# SPDX-License-Identifier: Apache-2.0
add_executable(bench_layouts layouts.cpp)
target_link_libraries(bench_layouts PRIVATE talaria_test_jobs)
# That it runs; its figures are not judged. It starts mpirun 14 times.
add_test(NAME bench_layouts.runs COMMAND bench_layouts --repeats 1 --steps 2 --json)
set_tests_properties(bench_layouts.runs PROPERTIES LABELS "bench;slow" TIMEOUT 600 PROCESSORS 2
  PASS_REGULAR_EXPRESSION "\"benchmark\": \"layouts\"")
