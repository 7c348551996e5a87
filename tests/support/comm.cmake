# SPDX-License-Identifier: Apache-2.0
talaria_library(talaria_test_ranks SOURCES run_ranks.cpp DEPS talaria_comm)
talaria_library(talaria_test_comm_checks SOURCES comm_checks.cpp comm_check_data.cpp
  DEPS talaria_comm GTest::gtest)
