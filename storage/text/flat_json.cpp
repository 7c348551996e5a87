// SPDX-License-Identifier: Apache-2.0
#include "storage/text/flat_json.h"

#include <charconv>

#include <fmt/format.h>

#include "storage/text/utf8.h"

namespace talaria::storage {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::size_t offset() const { return at_; }
  bool at_end() const { return at_ == text_.size(); }
  [[noreturn]] void fail(const std::string& what) const { throw FlatJsonError(at_, what); }

  void skip_blanks() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) < 4) ++at_;
  }
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c, const char* what) {
    skip_blanks();
    if (take(c)) return;
    if (at_end()) fail(fmt::format("the file ends where {} should be", what));
    fail(fmt::format("expected {}", what));
  }
  std::string string();
  std::int64_t integer();

 private:
  std::uint32_t hex4();
  void escape(std::string& out);

  std::string_view text_;
  std::size_t at_ = 0;
};

std::uint32_t Reader::hex4() {
  std::uint32_t code = 0;
  const char* begin = text_.data() + at_;
  const std::size_t left = text_.size() - at_;
  if (left < 4) fail("expected four hex digits");
  const auto [end, error] = std::from_chars(begin, begin + 4, code, 16);
  if (error != std::errc() || end != begin + 4) fail("expected four hex digits");
  at_ += 4;
  return code;
}

void Reader::escape(std::string& out) {
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
  if (take('u')) {
    const std::uint32_t code = hex4();
    if (code >= 0xD800 && code < 0xE000) fail("a character above U+FFFF in a name");
    append_utf8(out, code);
    return;
  }
  const std::size_t which = at_end() ? kNames.npos : kNames.find(text_[at_]);
  if (which == kNames.npos) fail("not an escape of JSON");
  out += kValues[which];
  ++at_;
}

std::string Reader::string() {
  std::string out;
  expect('"', "a name in quotes");
  while (!take('"')) {
    if (at_end()) fail("the file ends inside a name");
    if (static_cast<unsigned char>(text_[at_]) < 0x20) fail("a control character in a name");
    if (take('\\')) {
      escape(out);
      continue;
    }
    const std::size_t length = utf8_length(text_, at_);
    if (length == 0) fail("not UTF-8");
    out += text_.substr(at_, length);
    at_ += length;
  }
  return out;
}

std::int64_t Reader::integer() {
  skip_blanks();
  const char* begin = text_.data() + at_;
  const char* limit = text_.data() + text_.size();
  const char* digits = begin < limit && *begin == '-' ? begin + 1 : begin;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(begin, limit, value);
  if (error == std::errc::result_out_of_range) fail("a number beyond 64 bits");
  if (error != std::errc()) fail("expected a whole number");
  if (*digits == '0' && end != digits + 1) fail("a number with a leading zero");
  at_ += static_cast<std::size_t>(end - begin);
  if (at_ < text_.size() && std::string_view(".eE").find(text_[at_]) < 3) {
    fail("expected a whole number");
  }
  return value;
}

}  // namespace

void read_flat_json(std::string_view text,
                    const std::function<void(const std::string& name, std::int64_t value,
                                             std::size_t offset)>& entry) {
  Reader reader(text);
  reader.expect('{', "a JSON object");
  reader.skip_blanks();
  if (!reader.take('}')) {
    do {
      reader.skip_blanks();
      const std::size_t offset = reader.offset();
      const std::string name = reader.string();
      reader.expect(':', "a colon");
      entry(name, reader.integer(), offset);
      reader.skip_blanks();
    } while (reader.take(','));
    reader.expect('}', "a comma or the closing brace");
  }
  reader.skip_blanks();
  if (!reader.at_end()) reader.fail("more text after the closing brace");
}

}  // namespace talaria::storage
