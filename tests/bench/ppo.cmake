# SPDX-License-Identifier: Apache-2.0
add_executable(bench_ppo ppo.cpp)
target_link_libraries(bench_ppo PRIVATE talaria_trainer)
# That it runs; its figures are not judged.
add_test(NAME bench_ppo.runs COMMAND bench_ppo --preset tiny --rounds 1 --json)
set_tests_properties(bench_ppo.runs PROPERTIES LABELS bench TIMEOUT 120 PROCESSORS 2
  PASS_REGULAR_EXPRESSION "\"benchmark\": \"ppo\", \"preset\": \"tiny\", \"run\": \"2 threads, offload\"")
