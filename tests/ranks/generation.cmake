# SPDX-License-Identifier: Apache-2.0
talaria_test(ranks_generation SOURCES generation_test.cpp
  DEPS talaria_test_engine LABELS ranks layouts TIMEOUT 300)
