# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_reporter SOURCES reporter_test.cpp status_page_test.cpp
  DEPS talaria_reporter talaria_test_coordinator LABELS unit)
