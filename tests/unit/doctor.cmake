# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_inventory SOURCES inventory_test.cpp DEPS talaria_inventory LABELS unit)
talaria_test(unit_doctor SOURCES doctor_test.cpp DEPS talaria_doctor Boost::json LABELS unit)
