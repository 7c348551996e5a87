# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_config SOURCES config_test.cpp DEPS talaria_base LABELS unit)
talaria_test(unit_job SOURCES artifact_test.cpp bad_job_test.cpp continuation_test.cpp gate_test.cpp job_test.cpp recipe_test.cpp
    stages_test.cpp
  DEPS talaria_job talaria_artifact LABELS unit)
add_executable(job_reference ${PROJECT_SOURCE_DIR}/tests/support/job_reference.cpp)
target_link_libraries(job_reference PRIVATE talaria_job)
