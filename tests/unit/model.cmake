# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_schedule SOURCES schedule_test.cpp DEPS talaria_parallel LABELS unit)
talaria_test(unit_model_parts SOURCES model_parts_test.cpp DEPS talaria_model talaria_test_ranks LABELS unit)
