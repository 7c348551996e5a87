# SPDX-License-Identifier: Apache-2.0
# Every package the project uses, as imported targets. scripts/packages.txt lists the Debian names.

find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(fmt REQUIRED)
find_package(tomlplusplus REQUIRED)
if(TALARIA_SANITIZE MATCHES "fuzzer")
  # The parser as headers, so that it is instrumented too.
  set_target_properties(tomlplusplus::tomlplusplus PROPERTIES INTERFACE_COMPILE_OPTIONS ""
    INTERFACE_COMPILE_DEFINITIONS TOML_HEADER_ONLY=1)
endif()
# Debian's dnnl-config.cmake wants OpenCL's headers, which nothing here uses.
find_path(DNNL_INCLUDE dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(talaria_dnnl INTERFACE)
target_include_directories(talaria_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE})
target_link_libraries(talaria_dnnl INTERFACE ${DNNL_LIBRARY})
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(simdjson REQUIRED)
find_package(zstd REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(URING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.37)
pkg_check_modules(DW REQUIRED IMPORTED_TARGET libdw)
if(TALARIA_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
