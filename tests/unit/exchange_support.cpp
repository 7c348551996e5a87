// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/exchange_support.h"

#include <cmath>
#include <cstring>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria::storage::test {

namespace fs = std::filesystem;

std::string safetensors(std::string_view header, std::string_view data) {
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  return file.append(header).append(data);
}

std::string safetensors(const FileTensors& tensors) {
  std::string header = "{";
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header +=
        fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                    header.size() == 1 ? "" : ",", name, tensor.dtype, fmt::join(tensor.shape, ","),
                    data.size(), data.size() + tensor.bytes.size());
    data += tensor.bytes;
  }
  return safetensors(header + "}", data);
}

Gpt2Shape small_shape() { return {2, 12, 3, 20, 6, 11}; }

FileTensors gpt2_model() {
  FileTensors tensors;
  std::int64_t next = 1;
  for (const Gpt2Tensor& tensor : gpt2_tensors(small_shape())) {
    FileTensor& file = tensors[tensor.theirs];
    if (!file.dtype.empty()) continue;
    file = {"F32", tensor.their_shape, ""};
    std::int64_t count = 1;
    for (const std::int64_t dim : tensor.their_shape) count *= dim;
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(next) * (next % 2 == 0 ? 0x1p-12F : -0x1p-12F);
      ++next;
      file.bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  return tensors;
}

std::string small_config() {
  return "{\"model_type\": \"gpt2\",\n\"architectures\": [\"GPT2LMHeadModel\"],\n"
         "\"activation_function\": \"gelu_new\",\n\"layer_norm_epsilon\": 1e-05,\n"
         "\"n_layer\": 2,\n\"n_embd\": 12,\n\"n_head\": 3,\n\"n_inner\": 20,\n"
         "\"n_positions\": 6,\n\"n_ctx\": 6,\n\"vocab_size\": 11,\n"
         "\"task_specific_params\": {\"text-generation\": {\"do_sample\": true}}\n}\n";
}

void write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file << text;
  ASSERT_TRUE(file.good()) << path;
}

void write_model(const fs::path& folder, const FileTensors& tensors, const std::string& config) {
  write(folder / "config.json", config);
  write(folder / "model.safetensors", safetensors(tensors));
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const UsageError& error) {
    EXPECT_EQ(one_line(error.what()), error.what());
    return error.what();
  }
  return "nothing";
}

}  // namespace talaria::storage::test
