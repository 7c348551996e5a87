# SPDX-License-Identifier: Apache-2.0
talaria_test(system_doctor SOURCES doctor_test.cpp DEPS talaria_base Boost::json LABELS system TIMEOUT 120)
add_dependencies(system_doctor talaria-worker doctor_program doctor_broken_worker)
