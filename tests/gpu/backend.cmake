# SPDX-License-Identifier: Apache-2.0
# Modules that only play CUDA, each named libtalaria_cuda.so in a folder of its own.
foreach(fake old_version works too_old)
  add_library(fake_cuda_${fake} MODULE fake_module.cpp)
  target_link_libraries(fake_cuda_${fake} PRIVATE talaria_flags talaria_base)
  target_compile_definitions(fake_cuda_${fake} PRIVATE TALARIA_FAKE_${fake})
  set_target_properties(fake_cuda_${fake} PROPERTIES OUTPUT_NAME talaria_cuda
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/${fake})
endforeach()

talaria_test(gpu_backend SOURCES backend_test.cpp DEPS talaria_device LABELS gpu)
target_compile_definitions(gpu_backend PRIVATE TALARIA_FAKES="${CMAKE_CURRENT_BINARY_DIR}")
add_dependencies(gpu_backend fake_cuda_old_version fake_cuda_works fake_cuda_too_old)
if(TALARIA_HAS_CUDA)
  talaria_test(gpu_module SOURCES module_test.cpp DEPS talaria_device talaria_comm LABELS gpu)
  target_compile_definitions(gpu_module PRIVATE TALARIA_WITH_NCCL=$<BOOL:${NCCL_INCLUDE}>)
  add_dependencies(gpu_module talaria_cuda)
endif()
