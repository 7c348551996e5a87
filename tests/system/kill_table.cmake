# SPDX-License-Identifier: Apache-2.0
if(NOT TARGET talaria)
  return()
endif()
# One CTest a row, with one random instant each; scripts/failures runs the whole table.
add_executable(kill_table kill_table/main.cpp kill_table/report.cpp kill_table/rows.cpp kill_table/world.cpp)
target_link_libraries(kill_table PRIVATE talaria_flags talaria_test_jobs talaria_base Boost::json)
target_compile_definitions(kill_table PRIVATE TALARIA_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
  TALARIA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
add_dependencies(kill_table talaria talaria-launch talaria-worker)
foreach(row rank commit mpirun launcher coordinator stop-long stop-short stop-mpirun memory disk disk-for-good disk-state link
    ppo-rollout ppo-score ppo-update ppo-checkpoint)
  # system_ppo kills PPO at the same places in every run of the tests.
  set(slow)
  if(row MATCHES "^ppo-")
    set(slow ";slow")
  endif()
  add_test(NAME system_kill_table.${row} COMMAND kill_table --rows ${row})
  set_tests_properties(system_kill_table.${row} PROPERTIES TIMEOUT 300 LABELS "system;failures${slow}" PROCESSORS 2)
endforeach()
