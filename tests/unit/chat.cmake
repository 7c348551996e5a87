# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_chat SOURCES chat_file_test.cpp chat_template_test.cpp packing_test.cpp
  DEPS talaria_chat zstd::libzstd_shared LABELS unit)
