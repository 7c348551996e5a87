// SPDX-License-Identifier: Apache-2.0
#include "storage/exchange/json_reader.h"

#include <charconv>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/text/utf8.h"

namespace talaria::storage {
namespace {

constexpr int kMostDepth = 64;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Any code point that is no surrogate.
void append_code_point(std::string& out, std::uint32_t code) {
  if (code < 0x10000) {
    append_utf8(out, code);
    return;
  }
  out += static_cast<char>(0xF0 | (code >> 18));
  out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
  out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
  out += static_cast<char>(0x80 | (code & 0x3F));
}

}  // namespace

void JsonReader::skip_blanks() {
  while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) < 4) ++at_;
}

bool JsonReader::take(char c) {
  if (at_ == text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

bool JsonReader::take_word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return false;
  at_ += word.size();
  return true;
}

void JsonReader::expect(char c, const char* what) {
  skip_blanks();
  if (take(c)) return;
  if (at_ == text_.size()) fail(at_, fmt::format("the text ends where {} should be", what));
  fail(at_, fmt::format("expected {}", what));
}

void JsonReader::enter() {
  if (++depth_ > kMostDepth) {
    fail(at_, fmt::format("nested more than {} deep", kMostDepth));
  }
}

JsonKind JsonReader::peek() {
  skip_blanks();
  if (at_ == text_.size()) fail(at_, "the text ends where a value should be");
  switch (text_[at_]) {
    case '{':
      return JsonKind::kObject;
    case '[':
      return JsonKind::kArray;
    case '"':
      return JsonKind::kString;
    case 't':
    case 'f':
      return JsonKind::kBoolean;
    case 'n':
      return JsonKind::kNull;
    default:
      if (text_[at_] == '-' || is_digit(text_[at_])) return JsonKind::kNumber;
      fail(at_, "expected a value of JSON");
  }
}

void JsonReader::object(
    const std::function<void(const std::string& name, std::size_t offset)>& member) {
  if (peek() != JsonKind::kObject) fail(at_, "expected an object");
  enter();
  ++at_;
  std::set<std::string> names;
  skip_blanks();
  if (take('}')) {
    --depth_;
    return;
  }
  do {
    skip_blanks();
    const std::size_t offset = at_;
    if (at_ == text_.size() || text_[at_] != '"') fail(at_, "expected a name in quotes");
    const auto [name, added] = names.insert(string());
    if (!added) fail(offset, fmt::format("the name {} is there already", in_quotes(*name)));
    expect(':', "a colon");
    member(*name, offset);
    skip_blanks();
  } while (take(','));
  expect('}', "a comma or the closing brace");
  --depth_;
}

void JsonReader::array(const std::function<void(std::size_t index)>& element) {
  if (peek() != JsonKind::kArray) fail(at_, "expected an array");
  enter();
  ++at_;
  skip_blanks();
  if (!take(']')) {
    std::size_t index = 0;
    do {
      element(index++);
      skip_blanks();
    } while (take(','));
    expect(']', "a comma or the closing bracket");
  }
  --depth_;
}

std::uint32_t JsonReader::hex4() {
  std::uint32_t code = 0;
  const std::string_view digits = text_.substr(at_, 4);
  const char* end = digits.data() + digits.size();
  const auto [stopped, error] = std::from_chars(digits.data(), end, code, 16);
  if (digits.size() < 4 || error != std::errc() || stopped != end) {
    fail(at_, "expected four hex digits");
  }
  at_ += 4;
  return code;
}

void JsonReader::escape(std::string& out) {
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
  const std::size_t begin = at_ - 1;
  if (!take('u')) {
    const std::size_t which = at_ == text_.size() ? kNames.npos : kNames.find(text_[at_]);
    if (which == kNames.npos) fail(begin, "not an escape of JSON");
    out += kValues[which];
    ++at_;
    return;
  }
  std::uint32_t code = hex4();
  if (code >= 0xD800 && code < 0xDC00 && take_word("\\u")) {
    const std::uint32_t low = hex4();
    if (low < 0xDC00 || low > 0xDFFF) fail(begin, "half of a surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xD800 && code < 0xE000) {
    fail(begin, "half of a surrogate pair");
  }
  append_code_point(out, code);
}

std::string JsonReader::string() {
  if (peek() != JsonKind::kString) fail(at_, "expected a string");
  const std::size_t begin = at_++;
  std::string out;
  while (!take('"')) {
    if (at_ == text_.size()) fail(begin, "a string without an end");
    if (static_cast<unsigned char>(text_[at_]) < 0x20) fail(at_, "a control character in a string");
    if (take('\\')) {
      escape(out);
      continue;
    }
    const std::size_t length = utf8_length(text_, at_);
    if (length == 0) fail(at_, "not UTF-8");
    out += text_.substr(at_, length);
    at_ += length;
  }
  return out;
}

std::string_view JsonReader::number() {
  if (peek() != JsonKind::kNumber) fail(at_, "expected a number");
  const std::size_t begin = at_;
  const auto digits = [&] {
    const std::size_t from = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (at_ == from) fail(begin, "not a number of JSON");
  };
  take('-');
  if (take('0')) {
    if (at_ < text_.size() && is_digit(text_[at_])) fail(begin, "a number with a leading zero");
  } else {
    digits();
  }
  if (take('.')) digits();
  if (take('e') || take('E')) {
    if (!take('+')) take('-');
    digits();
  }
  return text_.substr(begin, at_ - begin);
}

std::int64_t JsonReader::integer() {
  if (peek() != JsonKind::kNumber) fail(at_, "expected a whole number");
  const std::size_t begin = at_;
  const std::string_view digits = number();
  if (digits.find_first_of(".eE") != std::string_view::npos) fail(begin, "expected a whole number");
  std::int64_t value = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc()) {
    fail(begin, "a number beyond 64 bits");
  }
  return value;
}

double JsonReader::real() {
  const std::string_view digits = number();
  double value = 0.0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc()) {
    fail(at_ - digits.size(), "a number beyond what a double holds");
  }
  return value;
}

bool JsonReader::boolean() {
  if (peek() == JsonKind::kBoolean) {
    if (take_word("true")) return true;
    if (take_word("false")) return false;
  }
  fail(at_, "expected true or false");
}

bool JsonReader::take_null() {
  if (peek() != JsonKind::kNull) return false;
  if (!take_word("null")) fail(at_, "expected null");
  return true;
}

void JsonReader::skip() {
  switch (peek()) {
    case JsonKind::kObject:
      object([&](const std::string&, std::size_t) { skip(); });
      break;
    case JsonKind::kArray:
      array([&](std::size_t) { skip(); });
      break;
    case JsonKind::kString:
      string();
      break;
    case JsonKind::kNumber:
      number();
      break;
    case JsonKind::kBoolean:
      boolean();
      break;
    case JsonKind::kNull:
      take_null();
      break;
  }
}

void JsonReader::finish() {
  skip_blanks();
  if (at_ != text_.size()) fail(at_, "more text after the value");
}

void read_json(std::string_view text, const std::string& file, std::size_t base,
               const std::function<void(JsonReader& reader)>& body) {
  JsonReader reader(text);
  try {
    body(reader);
    reader.finish();
  } catch (const JsonError& error) {
    fail_usage("{}: byte {}: {}", one_line(file), base + error.offset, error.what());
  }
}

}  // namespace talaria::storage
