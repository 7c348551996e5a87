# SPDX-License-Identifier: Apache-2.0
if(NOT TARGET talaria)
  return()
endif()
talaria_library(talaria_test_daemon SOURCES daemon.cpp DEPS talaria_base Boost::json)
target_compile_definitions(talaria_test_daemon PRIVATE TALARIA_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
add_dependencies(talaria_test_daemon talaria talaria-launch talaria-worker)
