// SPDX-License-Identifier: Apache-2.0
// Reads JSON of strangers strictly (RFC 8259) and in one pass: the caller asks for what it expects,
// nothing is built from what it did not ask for. Names of one object must differ, also in values
// that are skipped; nesting is at most 64 deep; every complaint has the byte offset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace talaria::storage {

// what() holds nothing of the text but words quoted on one line.
struct JsonError : std::runtime_error {
  JsonError(std::size_t at, const std::string& what) : std::runtime_error(what), offset(at) {}
  std::size_t offset;
};

enum class JsonKind { kObject, kArray, kString, kNumber, kBoolean, kNull };

// Each function takes the next value off the text and throws JsonError where it is of another kind.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  // What the next value is; takes nothing. `offset` is then that of its first byte.
  JsonKind peek();
  std::size_t offset() const { return at_; }

  // Calls member(name, offset of the name) for each; it must take exactly the member's value.
  void object(const std::function<void(const std::string& name, std::size_t offset)>& member);
  // Calls element(index) for each; it must take exactly the element.
  void array(const std::function<void(std::size_t index)>& element);
  std::string string();    // as UTF-8
  std::int64_t integer();  // without fraction or exponent, within 64 bits
  double real();           // any finite number
  bool boolean();
  // Takes `null` and says true, or takes nothing.
  bool take_null();
  // Takes any value, checked as strictly as the others.
  void skip();
  // Nothing but blanks may be left.
  void finish();

  [[noreturn]] void fail(std::size_t offset, const std::string& what) const {
    throw JsonError(offset, what);
  }

 private:
  void skip_blanks();
  bool take(char c);
  bool take_word(std::string_view word);
  void expect(char c, const char* what);
  void enter();
  std::string_view number();
  std::uint32_t hex4();
  void escape(std::string& out);

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

// Runs body(reader) over the whole text. A JsonError becomes a UsageError
// "FILE: byte N: what", N counted from `base`.
void read_json(std::string_view text, const std::string& file, std::size_t base,
               const std::function<void(JsonReader& reader)>& body);

}  // namespace talaria::storage
