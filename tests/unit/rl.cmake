# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_rl SOURCES rl_test.cpp DEPS talaria_rl talaria_ema Boost::json LABELS unit)
