# SPDX-License-Identifier: Apache-2.0
talaria_system_test(system_rank SOURCES rank_check_test.cpp rank_test.cpp TIMEOUT 300)
target_link_libraries(system_rank PRIVATE talaria_test_coordinator)
