// SPDX-License-Identifier: Apache-2.0
// Reads one flat JSON object from names to integers, GPT-2's encoder.json, strictly (RFC 8259) and
// with the byte offset of every complaint: general parsers give none, or accept names twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace talaria::storage {

struct FlatJsonError : std::runtime_error {
  FlatJsonError(std::size_t at, const std::string& what) : std::runtime_error(what), offset(at) {}
  std::size_t offset;
};

// Calls entry(name, value, offset of the name) in the order of the text. Throws FlatJsonError.
void read_flat_json(std::string_view text,
                    const std::function<void(const std::string& name, std::int64_t value,
                                             std::size_t offset)>& entry);

}  // namespace talaria::storage
