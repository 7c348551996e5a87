// SPDX-License-Identifier: Apache-2.0
// GPT-2's way to write any byte as a printable character: bytes that print in Latin-1 stand for
// themselves, the other 68 are U+0100 + n in ascending order. Its order of the 256 characters
// (printable ones first) is also the order of the first 256 token ids.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace talaria::storage {

// The byte that token id `i` stands for, 0 <= i < 256.
const std::array<std::uint8_t, 256>& alphabet_order();

// UTF-8 text of the characters that stand for `bytes`.
std::string to_alphabet(std::string_view bytes);

// The bytes that `text` stands for; nothing when a character is not of the alphabet.
std::optional<std::string> from_alphabet(std::string_view text);

}  // namespace talaria::storage
