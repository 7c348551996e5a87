# SPDX-License-Identifier: Apache-2.0
talaria_test(unit_tokenizer SOURCES tokenizer_test.cpp tokenizer_training_test.cpp
  DEPS talaria_text PkgConfig::PCRE2 LABELS unit)
talaria_test(unit_token_file SOURCES token_file_test.cpp DEPS talaria_text LABELS unit)
talaria_test(unit_dataset SOURCES dataset_test.cpp DEPS talaria_text LABELS unit)
talaria_test(unit_prepare SOURCES prepare_test.cpp data_command_test.cpp
  DEPS talaria_data Boost::json zstd::libzstd_shared LABELS unit)
