// SPDX-License-Identifier: Apache-2.0
// A TOML file as text, looked at before the parser reads it, or after the parser gave up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace talaria {

struct TextFault {
  std::uint32_t line = 1;
  std::string what;
};

// What toml++ 3.3 must not be given: bytes that are no UTF-8, some of which it takes for other
// characters; nesting without an end, which overflows its stack; and characters beyond ASCII
// outside of strings and comments, which TOML has not either and which lead it into undefined
// behaviour.
std::optional<TextFault> find_text_fault(std::string_view text);

// The key that stands in a line: the last [table] header above it and the word before its '='.
// Empty where the line has none.
std::string key_in_line(std::string_view text, std::uint32_t line);

// Letters, digits, '_' and '-': a key that needs no quotes.
bool is_bare_key(std::string_view key);

}  // namespace talaria
