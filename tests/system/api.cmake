# SPDX-License-Identifier: Apache-2.0
talaria_test(system_api SOURCES api_test.cpp DEPS fake_service LABELS system TIMEOUT 120)
talaria_test(system_command SOURCES command_test.cpp ${PROJECT_SOURCE_DIR}/tests/support/child_process.cpp
  DEPS talaria_base Boost::json LABELS system TIMEOUT 120)
add_dependencies(system_command fake_talaria talaria talaria-worker)
talaria_test(system_run SOURCES run_test.cpp DEPS talaria_test_jobs Boost::json LABELS system TIMEOUT 180)
add_dependencies(system_run talaria talaria-launch talaria-worker)
talaria_test(system_graph SOURCES graph_test.cpp DEPS talaria_test_jobs Boost::json LABELS system TIMEOUT 180)
add_dependencies(system_graph talaria talaria-launch talaria-worker)
talaria_test(system_chat_graph SOURCES chat_graph_test.cpp DEPS talaria_test_jobs Boost::json
  LABELS system TIMEOUT 300)
add_dependencies(system_chat_graph talaria talaria-launch talaria-worker)
