# SPDX-License-Identifier: Apache-2.0
if(NOT TALARIA_SANITIZE MATCHES "thread")
  add_executable(comm_crash_program comm_crash_program.cpp)
  target_link_libraries(comm_crash_program PRIVATE talaria_flags talaria_comm)
  # One CTest for the whole program, because gtest_discover_tests cannot set a list of variables.
  add_executable(ranks_comm_crash comm_crash_test.cpp)
  target_link_libraries(ranks_comm_crash PRIVATE talaria_flags talaria_base GTest::gmock GTest::gtest_main)
  target_compile_definitions(ranks_comm_crash PRIVATE TALARIA_MPIEXEC="${MPIEXEC_EXECUTABLE}"
    TALARIA_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  add_test(NAME ranks_comm_crash COMMAND ranks_comm_crash)
  set_tests_properties(ranks_comm_crash PROPERTIES LABELS ranks TIMEOUT 150 ENVIRONMENT "${TALARIA_MPI_ENVIRONMENT}")
endif()
