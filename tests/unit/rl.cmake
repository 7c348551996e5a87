# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_rl SOURCES rl_test.cpp DEPS talaria_rl talaria_ema Boost::json LABELS unit)
talaria_test(unit_rules SOURCES rules_test.cpp DEPS talaria_rules LABELS unit)
talaria_test(unit_rl_metrics SOURCES rl_metrics_test.cpp DEPS talaria_base LABELS unit)
