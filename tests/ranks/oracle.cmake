# SPDX-License-Identifier: Apache-2.0
talaria_test(ranks_oracle SOURCES oracle_test.cpp DEPS talaria_test_engine talaria_trainer talaria_ref LABELS ranks TIMEOUT 180)
