# SPDX-License-Identifier: Apache-2.0
talaria_library(talaria_test_coordinator SOURCES fake_coordinator.cpp DEPS talaria_wire)
talaria_library(talaria_test_simulated_ranks SOURCES simulated_ranks.cpp DEPS talaria_wire)
