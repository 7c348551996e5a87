# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_task
  SOURCES chat_data_test.cpp preference_test.cpp row_layout_test.cpp start_test.cpp task_test.cpp
  DEPS talaria_trainer talaria_data Boost::json LABELS unit)
