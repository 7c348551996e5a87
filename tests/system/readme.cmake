# SPDX-License-Identifier: Apache-2.0
if(NOT TARGET talaria)
  return()
endif()
talaria_test(system_readme SOURCES readme_test.cpp DEPS talaria_test_jobs Boost::json LABELS system TIMEOUT 300)
add_dependencies(system_readme talaria talaria-launch talaria-worker)
