# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_api SOURCES api_test.cpp DEPS fake_service Boost::json LABELS unit)
talaria_test(unit_view SOURCES view_test.cpp DEPS talaria_command_text LABELS unit)
talaria_test(unit_command SOURCES command_test.cpp DEPS talaria_command fake_service LABELS unit)
