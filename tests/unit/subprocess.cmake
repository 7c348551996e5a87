# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_subprocess SOURCES subprocess_test.cpp DEPS talaria_base LABELS unit)
