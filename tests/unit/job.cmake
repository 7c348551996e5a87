# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_config SOURCES config_test.cpp DEPS talaria_base LABELS unit)
