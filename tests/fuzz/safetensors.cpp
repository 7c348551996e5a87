// SPDX-License-Identifier: Apache-2.0
#include "storage/exchange/safetensors.h"

#include <stdexcept>
#include <string>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "tests/fuzz/fuzz.h"

namespace talaria::fuzz {

void safetensors(std::string_view bytes) {
  std::vector<storage::SafeTensor> tensors;
  try {
    tensors = storage::parse_safetensors(bytes, "m.safetensors");
  } catch (const UsageError& error) {
    if (one_line(error.what()) != error.what()) {
      throw std::logic_error(std::string("not one printable line: ") + error.what());
    }
    return;
  }
  // What was accepted covers the file from the header to its end.
  std::size_t next = bytes.size();
  for (auto tensor = tensors.rbegin(); tensor != tensors.rend(); ++tensor) {
    if (tensor->file_begin > next || next - tensor->file_begin != tensor->bytes) {
      throw std::logic_error("a tensor outside of its place: " + tensor->name);
    }
    next = tensor->file_begin;
    std::int64_t count = 1;
    for (const std::int64_t dim : tensor->shape) count *= dim;
    if (count != tensor->count) throw std::logic_error("a wrong count: " + tensor->name);
  }
}

}  // namespace talaria::fuzz
