# SPDX-License-Identifier: Apache-2.0
add_executable(print_logits ${PROJECT_SOURCE_DIR}/tests/support/print_logits.cpp)
target_link_libraries(print_logits PRIVATE talaria_trainer)
talaria_test(system_hugging_face SOURCES hugging_face_test.cpp DEPS talaria_test_jobs talaria_checkpoint Boost::json
  LABELS system TIMEOUT 300)
add_dependencies(system_hugging_face talaria talaria-worker print_logits)
