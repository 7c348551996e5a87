# SPDX-License-Identifier: Apache-2.0
talaria_test(ranks_watched SOURCES watched_test.cpp
  DEPS talaria_reporter talaria_test_ranks talaria_test_comm_checks LABELS ranks TIMEOUT 180)
