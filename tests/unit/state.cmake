# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_state SOURCES state_test.cpp state_file_test.cpp plan_test.cpp DEPS talaria_state LABELS unit)
