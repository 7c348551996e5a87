# SPDX-License-Identifier: Apache-2.0
talaria_test(ranks_comm_local SOURCES comm_local_test.cpp
  DEPS talaria_test_ranks talaria_test_comm_checks LABELS ranks TIMEOUT 180)
