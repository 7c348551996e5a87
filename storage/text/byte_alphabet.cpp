// SPDX-License-Identifier: Apache-2.0
#include "storage/text/byte_alphabet.h"

#include "storage/text/utf8.h"

namespace talaria::storage {
namespace {

struct Alphabet {
  std::array<std::uint8_t, 256> order{};      // id -> byte
  std::array<std::uint16_t, 256> code{};      // byte -> code point
  std::array<std::int16_t, 0x144> byte_of{};  // code point -> byte or -1
};

constexpr bool prints(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte_of) byte = -1;
  std::size_t id = 0;
  for (int byte = 0; byte < 256; ++byte) {
    if (!prints(byte)) continue;
    alphabet.order[id++] = static_cast<std::uint8_t>(byte);
    alphabet.code[static_cast<std::size_t>(byte)] = static_cast<std::uint16_t>(byte);
  }
  std::uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    if (prints(byte)) continue;
    alphabet.order[id++] = static_cast<std::uint8_t>(byte);
    alphabet.code[static_cast<std::size_t>(byte)] = next++;
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    alphabet.byte_of[alphabet.code[byte]] = static_cast<std::int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

const std::array<std::uint8_t, 256>& alphabet_order() { return kAlphabet.order; }

std::string to_alphabet(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) append_utf8(text, kAlphabet.code[static_cast<std::uint8_t>(c)]);
  return text;
}

std::optional<std::string> from_alphabet(std::string_view text) {
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
    std::uint32_t code = 0;
    if (length == 1) {
      code = byte(0);
    } else if (length == 2) {
      code = (byte(0) & 0x1Fu) << 6 | (byte(1) & 0x3Fu);
    } else {
      return std::nullopt;
    }
    if (code >= kAlphabet.byte_of.size() || kAlphabet.byte_of[code] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte_of[code]);
    at += length;
  }
  return bytes;
}

}  // namespace talaria::storage
