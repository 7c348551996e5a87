# SPDX-License-Identifier: Apache-2.0
talaria_system_test(system_ppo SOURCES ppo_test.cpp LABELS layouts TIMEOUT 600)
