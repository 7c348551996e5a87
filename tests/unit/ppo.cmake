# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_ppo SOURCES ppo_test.cpp ppo_rollout_test.cpp DEPS talaria_trainer LABELS unit TIMEOUT 120)
