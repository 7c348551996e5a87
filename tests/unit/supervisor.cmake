# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_supervisor SOURCES monitor_test.cpp rank_listener_test.cpp samples_test.cpp watch_test.cpp
  DEPS talaria_supervisor LABELS unit)
