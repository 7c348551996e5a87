# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_base SOURCES base_test.cpp DEPS talaria_base LABELS unit)
talaria_test(unit_parallel SOURCES mesh_test.cpp DEPS talaria_parallel_plan LABELS unit)
