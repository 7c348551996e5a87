# SPDX-License-Identifier: Apache-2.0
talaria_test(system_script SOURCES script_test.cpp DEPS talaria_script talaria_test_jobs LABELS system TIMEOUT 300)
add_dependencies(system_script talaria-worker)
