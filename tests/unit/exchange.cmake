# SPDX-License-Identifier: Apache-2.0
add_library(exchange_support STATIC exchange_support.cpp)
target_link_libraries(exchange_support PUBLIC talaria_flags talaria_exchange)
talaria_test(unit_exchange
  SOURCES element_type_test.cpp gpt2_exchange_test.cpp gpt2_refusal_test.cpp hf_tokenizer_test.cpp json_reader_test.cpp
    safetensors_test.cpp
  DEPS exchange_support talaria_model talaria_comm LABELS unit)
