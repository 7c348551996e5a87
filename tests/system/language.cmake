# SPDX-License-Identifier: Apache-2.0
# Needs the run that scripts/quickstart makes: TALARIA_QUICKSTART_RUN, or runs/quickstart.
talaria_test(system_language SOURCES language_test.cpp DEPS talaria_test_jobs talaria_trainer
  LABELS system slow TIMEOUT 1200)
