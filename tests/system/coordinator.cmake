# SPDX-License-Identifier: Apache-2.0
# The real programs, most of them with something quicker in the place of mpirun.
if(NOT TARGET talaria)
  return()
endif()
talaria_test(system_coordinator SOURCES coordinator_test.cpp
  DEPS talaria_test_daemon talaria_test_jobs Boost::json LABELS system coordinator TIMEOUT 600 WAITS)
