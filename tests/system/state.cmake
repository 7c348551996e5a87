# SPDX-License-Identifier: Apache-2.0
talaria_test(system_state_crash SOURCES state_crash_test.cpp ${PROJECT_SOURCE_DIR}/tests/support/no_sync.cpp
  DEPS talaria_test_state LABELS system TIMEOUT 600 WAITS)
talaria_test(system_state_full_disk SOURCES state_full_disk_test.cpp DEPS talaria_test_state LABELS system)
