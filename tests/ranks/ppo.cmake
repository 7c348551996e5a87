# SPDX-License-Identifier: Apache-2.0
talaria_test(ranks_ppo SOURCES ppo_oracle_test.cpp DEPS talaria_test_engine talaria_ref talaria_trainer
  LABELS ranks layouts TIMEOUT 180)
