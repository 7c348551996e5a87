# SPDX-License-Identifier: Apache-2.0
add_executable(ranks_comm_mpi comm_mpi_test.cpp)
target_link_libraries(ranks_comm_mpi PRIVATE talaria_flags talaria_comm talaria_test_comm_checks GTest::gmock GTest::gtest)
foreach(ranks 2 3 4 5 6 8)
  talaria_mpi_test(ranks_comm_mpi.n${ranks} PROGRAM ranks_comm_mpi RANKS ${ranks} LABELS ranks TIMEOUT 400)
endforeach()
# Over TCP a large message moves only while its sender is inside MPI.
talaria_mpi_test(ranks_comm_mpi.tcp_n4 PROGRAM ranks_comm_mpi RANKS 4 LABELS ranks TIMEOUT 400
  ENVIRONMENT OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo)
# Without mpirun: a world of one.
if(NOT TALARIA_SANITIZE MATCHES "thread")
  add_test(NAME ranks_comm_mpi.alone COMMAND ranks_comm_mpi)
  set_tests_properties(ranks_comm_mpi.alone PROPERTIES LABELS ranks TIMEOUT 60
    ENVIRONMENT "${TALARIA_MPI_ENVIRONMENT}")
endif()

talaria_test(ranks_comm_plan SOURCES group_plan_test.cpp DEPS talaria_comm LABELS unit)
