# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_attempt SOURCES attempt_test.cpp attempt_command_test.cpp attempt_scratch_test.cpp
  attempt_verdict_test.cpp DEPS talaria_launcher talaria_test_jobs LABELS unit)
