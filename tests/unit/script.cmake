# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_script SOURCES script_test.cpp DEPS talaria_script talaria_test_jobs LABELS unit)
