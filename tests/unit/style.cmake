# SPDX-License-Identifier: Apache-2.0
# The rules of the source tree. style.* run the tools that scripts/packages.txt lists for tests; one
# that is missing is a failure, not a skip.
talaria_test(unit_style SOURCES style_test.cpp ${PROJECT_SOURCE_DIR}/tests/support/style_rules.cpp
  DEPS talaria_base LABELS unit)

add_test(NAME style.format COMMAND bash ${PROJECT_SOURCE_DIR}/scripts/format --check)
add_test(NAME style.scripts COMMAND bash ${PROJECT_SOURCE_DIR}/tests/support/check_scripts ${PROJECT_SOURCE_DIR})
add_test(NAME style.planted_scripts COMMAND bash ${PROJECT_SOURCE_DIR}/tests/support/check_scripts_test)
add_test(NAME style.install COMMAND bash ${PROJECT_SOURCE_DIR}/tests/support/check_install ${PROJECT_SOURCE_DIR})
set_tests_properties(style.format style.scripts style.planted_scripts style.install PROPERTIES LABELS unit TIMEOUT 120)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  # All of it takes too long for every run; a change is small.
  add_test(NAME style.tidy COMMAND bash ${PROJECT_SOURCE_DIR}/scripts/tidy --limit 40 --changed)
  set_tests_properties(style.tidy PROPERTIES LABELS tidy TIMEOUT 900 PROCESSORS 2)
endif()
