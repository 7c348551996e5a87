# SPDX-License-Identifier: Apache-2.0
# mpirun -n 8 --oversubscribe --bind-to none build/release/bin/bench_collectives
add_executable(bench_collectives collectives.cpp)
target_link_libraries(bench_collectives PRIVATE talaria_flags talaria_comm MPI::MPI_C)
target_compile_definitions(bench_collectives PRIVATE OMPI_SKIP_MPICXX)
# That it runs; its figures are not judged.
talaria_mpi_test(bench_collectives.runs PROGRAM bench_collectives RANKS 4 ARGS --json --max-bytes 65536 LABELS bench)
if(TEST bench_collectives.runs)
  set_tests_properties(bench_collectives.runs PROPERTIES PASS_REGULAR_EXPRESSION "\"transport\": \"hierarchical\", \"bytes\": 65536")
endif()
