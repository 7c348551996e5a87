# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_state SOURCES state_test.cpp state_file_test.cpp plan_test.cpp DEPS talaria_test_state LABELS unit)
talaria_test(unit_state_lives SOURCES plan_property_test.cpp ${PROJECT_SOURCE_DIR}/tests/support/no_sync.cpp
  DEPS talaria_test_state LABELS unit)
