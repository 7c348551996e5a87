# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_ops_cpu SOURCES ops_cpu_test.cpp DEPS talaria_ops talaria_ref LABELS unit)
