# SPDX-License-Identifier: Apache-2.0
# The launcher of an attempt with a stand-in for mpirun, and once with the real one.
add_executable(launcher_program launcher_program.cpp)
target_link_libraries(launcher_program PRIVATE talaria_flags talaria_wire)
talaria_test(system_launcher
  SOURCES launcher_support.cpp launcher_test.cpp launcher_signal_test.cpp launcher_crash_test.cpp
  DEPS talaria_launcher LABELS system TIMEOUT 120)
add_dependencies(system_launcher talaria-launch launcher_program)

if(NOT TALARIA_SANITIZE MATCHES "thread")
  talaria_test(system_attempt SOURCES attempt_run_test.cpp DEPS talaria_launcher talaria_test_jobs
    LABELS system TIMEOUT 180)
  add_dependencies(system_attempt talaria-launch talaria-worker)
endif()
