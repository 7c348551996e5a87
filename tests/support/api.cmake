# SPDX-License-Identifier: Apache-2.0
add_library(fake_service STATIC fake_service.cpp)
target_link_libraries(fake_service PUBLIC talaria_flags talaria_api)
add_executable(fake_talaria fake_talaria.cpp)
target_link_libraries(fake_talaria PRIVATE fake_service talaria_command)
