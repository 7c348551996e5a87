# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_schedule SOURCES schedule_test.cpp DEPS talaria_parallel LABELS unit)
