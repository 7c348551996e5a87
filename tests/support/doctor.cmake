# SPDX-License-Identifier: Apache-2.0
add_executable(doctor_program doctor_program.cpp)
target_link_libraries(doctor_program PRIVATE talaria_doctor)

# A worker whose library the loader does not find: it lies in a folder that the program does not name.
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/nothing.c "int talaria_nothing(void) { return 0; }\n")
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/use_nothing.c
  "int talaria_nothing(void);\nint main(void) { return talaria_nothing(); }\n")
add_library(doctor_lost_library SHARED ${CMAKE_CURRENT_BINARY_DIR}/nothing.c)
set_target_properties(doctor_lost_library PROPERTIES OUTPUT_NAME open-pal SOVERSION 4040
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/lost)
add_executable(doctor_broken_worker ${CMAKE_CURRENT_BINARY_DIR}/use_nothing.c)
target_link_libraries(doctor_broken_worker PRIVATE doctor_lost_library)
set_target_properties(doctor_broken_worker PROPERTIES SKIP_BUILD_RPATH ON)
