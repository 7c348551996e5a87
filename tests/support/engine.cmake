# SPDX-License-Identifier: Apache-2.0
talaria_library(talaria_test_engine SOURCES local_engine.cpp DEPS talaria_engine talaria_test_ranks)
talaria_library(talaria_test_jobs SOURCES child_process.cpp ppo_job.cpp run_job.cpp
  DEPS talaria_base talaria_parallel_plan PRIVATE_DEPS Boost::json)
target_compile_definitions(talaria_test_jobs PRIVATE TALARIA_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
  TALARIA_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
add_dependencies(talaria_test_jobs talaria-worker)
