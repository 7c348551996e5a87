# SPDX-License-Identifier: Apache-2.0
add_executable(doctor_program doctor_program.cpp)
target_link_libraries(doctor_program PRIVATE talaria_doctor)
