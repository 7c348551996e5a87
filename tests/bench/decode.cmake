# SPDX-License-Identifier: Apache-2.0
add_executable(bench_decode decode.cpp)
target_link_libraries(bench_decode PRIVATE talaria_model talaria_comm)
set_source_files_properties(decode.cpp PROPERTIES COMPILE_OPTIONS "-march=${TALARIA_ARCH};-Wno-psabi")
# That it runs; its figures are not judged.
add_test(NAME bench_decode.runs COMMAND bench_decode --preset quickstart --tokens 16 --json)
set_tests_properties(bench_decode.runs PROPERTIES LABELS bench TIMEOUT 180 PROCESSORS 2
  PASS_REGULAR_EXPRESSION "\"benchmark\": \"decode\", \"preset\": \"quickstart\", \"batch\": 8")
