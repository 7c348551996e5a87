# SPDX-License-Identifier: Apache-2.0
add_executable(bench_train_step train_step.cpp)
target_link_libraries(bench_train_step PRIVATE talaria_test_engine)
# That it runs; its figures are not judged.
add_test(NAME bench_train_step.runs COMMAND bench_train_step --preset quickstart --steps 1 --json)
set_tests_properties(bench_train_step.runs PROPERTIES LABELS bench TIMEOUT 180 PROCESSORS 2
  PASS_REGULAR_EXPRESSION "\"benchmark\": \"train_step\", \"preset\": \"quickstart\"")
