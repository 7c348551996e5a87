# SPDX-License-Identifier: Apache-2.0
talaria_test(system_generate SOURCES generate_test.cpp DEPS talaria_test_jobs Boost::json
  LABELS system TIMEOUT 300)
add_dependencies(system_generate talaria-worker)
