# SPDX-License-Identifier: Apache-2.0
add_library(recipe_jobs STATIC recipe_jobs.cpp)
target_link_libraries(recipe_jobs PUBLIC talaria_flags talaria_test_jobs)
foreach(name recipe chat_lines)
  talaria_test(system_${name} SOURCES ${name}_test.cpp DEPS recipe_jobs Boost::json LABELS system TIMEOUT 600)
  add_dependencies(system_${name} talaria-worker)
endforeach()
talaria_test(system_reward_selection SOURCES reward_selection_test.cpp DEPS recipe_jobs talaria_trainer Boost::json
  LABELS system TIMEOUT 600)
add_dependencies(system_reward_selection talaria-worker)
if(TARGET talaria)
  talaria_test(system_examples SOURCES examples_test.cpp DEPS talaria_test_jobs Boost::json LABELS system TIMEOUT 300)
  add_dependencies(system_examples talaria talaria-launch talaria-worker)
endif()
