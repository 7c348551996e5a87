# SPDX-License-Identifier: Apache-2.0
if(NOT TARGET talaria)
  return()
endif()
# A CTest for rows of a kind, which share an undisturbed run, with one random instant a row; scripts/failures runs the
# whole table.
add_executable(kill_table kill_table/main.cpp kill_table/report.cpp kill_table/rows.cpp kill_table/world.cpp)
target_link_libraries(kill_table PRIVATE talaria_flags talaria_test_jobs talaria_base Boost::json)
target_compile_definitions(kill_table PRIVATE TALARIA_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
  TALARIA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
add_dependencies(kill_table talaria talaria-launch talaria-worker)
function(kill_rows kind rows)
  add_test(NAME system_kill_table.${kind} COMMAND kill_table --rows ${rows})
  set_tests_properties(system_kill_table.${kind} PROPERTIES TIMEOUT 600 LABELS "system;failures;${ARGN}" PROCESSORS 2)
endfunction()
kill_rows(processes rank,commit,mpirun,launcher,coordinator)
kill_rows(stops stop-long,stop-short,stop-mpirun)
kill_rows(memory memory)
kill_rows(disks disk,disk-for-good,disk-state)
kill_rows(link link)
# system_ppo kills PPO at the same places in every run of the tests.
kill_rows(ppo ppo-rollout,ppo-score,ppo-update,ppo-checkpoint slow)
