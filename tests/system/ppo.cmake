# SPDX-License-Identifier: Apache-2.0
talaria_system_test(system_ppo SOURCES ppo_test.cpp LABELS layouts TIMEOUT 600)
add_executable(print_ppo_update ${PROJECT_SOURCE_DIR}/tests/support/print_ppo_update.cpp)
target_link_libraries(print_ppo_update PRIVATE talaria_trainer Boost::json)
talaria_test(system_ppo_update SOURCES ppo_update_test.cpp DEPS talaria_test_jobs Boost::json LABELS system TIMEOUT 300)
add_dependencies(system_ppo_update print_ppo_update)
