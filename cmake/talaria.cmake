# SPDX-License-Identifier: Apache-2.0
# Flags that every target shares, and the two functions that declare a library and a test.

# GCC 12 raises these falsely in std::string's code from a precompiled header or instrumented, some of them only for
# literals of a certain length, as the path of the build folder is.
set(TALARIA_FALSE_ALARMS -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread -Wno-restrict)

add_library(talaria_flags INTERFACE)
target_compile_options(talaria_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
    -Wcast-qual -Wformat=2 -Wimplicit-fallthrough -Werror -ffp-contract=off -fno-omit-frame-pointer>)
target_include_directories(talaria_flags INTERFACE ${PROJECT_SOURCE_DIR})
if(TALARIA_SANITIZE)
  target_compile_options(talaria_flags INTERFACE -fsanitize=${TALARIA_SANITIZE}
    -fno-sanitize-recover=all
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized ${TALARIA_FALSE_ALARMS}>)
  target_link_options(talaria_flags INTERFACE -fsanitize=${TALARIA_SANITIZE})
  if(TALARIA_SANITIZE MATCHES "thread")
    target_compile_options(talaria_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>)
  endif()
endif()

# talaria_library(NAME SOURCES ... DEPS ...): a static library of one folder or of its pure part.
function(talaria_library name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC talaria_flags ${A_DEPS} PRIVATE ${A_PRIVATE_DEPS})
endfunction()

# talaria_test_headers(): the headers that nearly every test reads, compiled once; and the flags of the tests. What is
# tested is optimised; its tests need not be.
function(talaria_test_headers)
  add_library(talaria_test_flags INTERFACE)
  target_link_libraries(talaria_test_flags INTERFACE talaria_flags GTest::gmock Boost::json fmt::fmt)
  target_compile_options(talaria_test_flags INTERFACE
    $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess ${TALARIA_FALSE_ALARMS}>)
  # A program, as the tests are: a library would be compiled with other flags.
  set(source ${CMAKE_CURRENT_BINARY_DIR}/test_headers.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "int main() {}\n")
  add_executable(talaria_test_headers ${source})
  target_link_libraries(talaria_test_headers PRIVATE talaria_test_flags)
  target_precompile_headers(talaria_test_headers PRIVATE <filesystem> <fstream> <functional> <map> <optional> <span>
    <string> <vector> <boost/json.hpp> <fmt/format.h> <gmock/gmock.h> <gtest/gtest.h>)
endfunction()

# talaria_test(NAME SOURCES ... DEPS ... LABELS ... TIMEOUT s [WAITS]): a GoogleTest program, one CTest per case.
# A case labelled `ranks`, `layouts` or `system` runs several ranks and takes two of ctest's places. One that WAITS for
# most of its time takes one, and is begun first, so that others run beside it.
function(talaria_test name)
  cmake_parse_arguments(A "WAITS" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE ${A_DEPS} talaria_test_flags GTest::gtest_main)
  target_precompile_headers(${name} REUSE_FROM talaria_test_headers)
  target_compile_definitions(${name} PRIVATE TALARIA_SOURCE_DIR="${PROJECT_SOURCE_DIR}" TALARIA_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  set(places 1)
  foreach(label ranks layouts system)
    if(label IN_LIST A_LABELS)
      set(places 2)
    endif()
  endforeach()
  set(order)
  if(A_WAITS)
    set(places 1)
    set(order COST 1000)
  endif()
  gtest_discover_tests(${name} TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST
    NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60 TEST_LIST ${name}_cases
    PROPERTIES TIMEOUT ${A_TIMEOUT} PROCESSORS ${places} ${order})
  # gtest_discover_tests cannot pass a list as one property, so several labels are set afterwards.
  set(labels ${CMAKE_CURRENT_BINARY_DIR}/${name}_labels.cmake)
  file(WRITE ${labels} "if(${name}_cases)
  set_tests_properties(\${${name}_cases} PROPERTIES LABELS \"${A_LABELS}\")
endif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${labels})
endfunction()

# What every test that starts MPI has in its environment: also as root, more ranks than cores; and MPI never frees some
# of its memory.
set(TALARIA_MPI_ENVIRONMENT OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
  ASAN_OPTIONS=detect_leaks=0)

# talaria_mpi_test(NAME PROGRAM target RANKS n ARGS ... ENVIRONMENT ... LABELS ... TIMEOUT s): one CTest that runs a
# program under mpirun. Not under the thread sanitizer, which cannot see into an uninstrumented MPI.
function(talaria_mpi_test name)
  cmake_parse_arguments(A "" "PROGRAM;RANKS;TIMEOUT" "ARGS;ENVIRONMENT;LABELS" ${ARGN})
  if(TALARIA_SANITIZE MATCHES "thread")
    return()
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  # Not bound to cores: several tests may run at once.
  add_test(NAME ${name} COMMAND ${MPIEXEC_EXECUTABLE} -n ${A_RANKS} --oversubscribe --bind-to none
    $<TARGET_FILE:${A_PROGRAM}> ${A_ARGS})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT} LABELS "${A_LABELS}" PROCESSORS 2
    ENVIRONMENT "${TALARIA_MPI_ENVIRONMENT};${A_ENVIRONMENT}")
endfunction()
