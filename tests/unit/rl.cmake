# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_rl SOURCES rl_test.cpp DEPS talaria_rl talaria_ema Boost::json LABELS unit)
talaria_test(unit_rules SOURCES rules_test.cpp DEPS talaria_rules LABELS unit)
