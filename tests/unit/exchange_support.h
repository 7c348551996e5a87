// SPDX-License-Identifier: Apache-2.0
// What the tests of storage/exchange share: safetensors built byte by byte, a small GPT-2 as a
// folder of Hugging Face, and the message of what a call refuses.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "storage/exchange/gpt2_files.h"
#include "storage/exchange/hf_gpt2.h"

namespace talaria::storage::test {

// A whole file: length, header, data.
std::string safetensors(std::string_view header, std::string_view data);

struct FileTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};
using FileTensors = std::map<std::string, FileTensor>;

// The same with a header made for these tensors.
std::string safetensors(const FileTensors& tensors);

// 2 layers, 3 heads of 4 channels, ffn 20, context 6, vocabulary 11: no two dims are equal.
Gpt2Shape small_shape();

// All of their tensors of that shape, without a prefix; every element differs, bf16 holds none.
FileTensors gpt2_model();

// {"key": value, ...} of small_shape(), one a line.
std::string small_config();

void write(const std::filesystem::path& path, std::string_view text);
// A folder with both.
void write_model(const std::filesystem::path& folder, const FileTensors& tensors,
                 const std::string& config = small_config());

// What the UsageError says that `call` throws; "nothing" where it throws none. Fails the test where
// the text is not one printable line.
std::string refusal(const std::function<void()>& call);

}  // namespace talaria::storage::test
