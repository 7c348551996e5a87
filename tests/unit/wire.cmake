# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_wire SOURCES wire_test.cpp DEPS talaria_wire LABELS unit)
