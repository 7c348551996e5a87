# SPDX-License-Identifier: Apache-2.0
talaria_test(system_chat SOURCES chat_test.cpp use_models.cpp DEPS talaria_test_jobs Boost::json
  LABELS system TIMEOUT 300)
target_link_libraries(system_chat PRIVATE util)
add_dependencies(system_chat talaria-worker)
talaria_test(system_eval SOURCES eval_test.cpp use_models.cpp DEPS talaria_test_jobs Boost::json
  LABELS system TIMEOUT 300)
add_dependencies(system_eval talaria talaria-worker)
