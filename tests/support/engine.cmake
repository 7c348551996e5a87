# SPDX-License-Identifier: Apache-2.0
talaria_library(talaria_test_engine SOURCES local_engine.cpp DEPS talaria_engine talaria_test_ranks)
