# SPDX-License-Identifier: Apache-2.0
# Real runs under mpirun. They take all cores, so they run one at a time.
function(talaria_system_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;LABELS" ${ARGN})
  talaria_test(${name} SOURCES ${A_SOURCES} DEPS talaria_test_jobs talaria_checkpoint Boost::json
    LABELS system ${A_LABELS} TIMEOUT ${A_TIMEOUT})
  add_dependencies(${name} talaria-worker)
  target_compile_definitions(${name} PRIVATE TALARIA_LAYOUTS_DIR="${CMAKE_BINARY_DIR}/layouts")
endfunction()

talaria_system_test(system_layouts SOURCES layouts_test.cpp LABELS layouts TIMEOUT 900)
talaria_system_test(system_resume SOURCES resume_test.cpp TIMEOUT 600)
talaria_system_test(system_bad_input SOURCES bad_input_test.cpp TIMEOUT 300)
talaria_system_test(system_two_nodes SOURCES two_nodes_test.cpp TIMEOUT 300)

# Every layout is compared with what the first case leaves behind.
set(order ${CMAKE_CURRENT_BINARY_DIR}/system_layouts_order.cmake)
file(WRITE ${order} "foreach(case \${system_layouts_cases})
  if(case MATCHES Reference)
    set_tests_properties(\${case} PROPERTIES FIXTURES_SETUP layouts_reference)
  else()
    set_tests_properties(\${case} PROPERTIES FIXTURES_REQUIRED layouts_reference)
  endif()
endforeach()\n")
set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${order})
