# SPDX-License-Identifier: Apache-2.0
talaria_library(talaria_test_state SOURCES simulated_coordinator.cpp DEPS talaria_state)
