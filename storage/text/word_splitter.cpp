// SPDX-License-Identifier: Apache-2.0
#include "storage/text/word_splitter.h"

#include <simdjson.h>

#include "cluster/base/error.h"
#include "storage/text/pcre.h"
#include "storage/text/utf8.h"

namespace talaria::storage {
namespace {

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ of GPT-2's encoder.py,
// where \s is Unicode's White_Space; PCRE2's own \s has U+180E besides.
constexpr std::string_view kPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{WSpace}\p{L}\p{N}]+)"
    R"(|\p{WSpace}+(?!\P{WSpace})|\p{WSpace}+)";

bool is_letter(char c) { return static_cast<unsigned char>((c | 0x20) - 'a') < 26; }

// Bytes of the word that starts at text[at] where it is ` ?\p{L}+` in ASCII, most of English; 0
// where only the pattern can tell.
std::size_t plain_word(std::string_view text, std::size_t at) {
  std::size_t end = at + (text[at] == ' ' ? 1 : 0);
  const std::size_t first = end;
  while (end < text.size() && is_letter(text[end])) ++end;
  const bool ascii_follows = end == text.size() || static_cast<unsigned char>(text[end]) < 0x80;
  return end > first && ascii_follows ? end - at : 0;
}

}  // namespace

struct WordPattern::Code {
  PcreCode pcre;
};

struct WordSplitter::Match {
  UniqueHandle<PcreMatchTraits> data;
};

WordPattern::WordPattern() {
  PcreCode code = compile_pcre(kPattern, PCRE2_UTF | PCRE2_UCP);
  if (!code.handle) fail_pcre("pcre2_compile", code.error);
  code_ = std::make_unique<const Code>(Code{std::move(code)});
}

WordPattern::~WordPattern() = default;

WordSplitter::WordSplitter(std::shared_ptr<const WordPattern> pattern)
    : pattern_(std::move(pattern)),
      match_(std::make_unique<Match>(Match{make_match_data(pattern_->code_->pcre)})) {}

WordSplitter::~WordSplitter() = default;
WordSplitter::WordSplitter(WordSplitter&&) noexcept = default;

void WordSplitter::start(std::string_view text) {
  text_ = text;
  valid_text_ = simdjson::validate_utf8(text.data(), text.size());
  position_ = stretch_begin_ = stretch_end_ = 0;
}

void WordSplitter::next_stretch() {
  stretch_begin_ = stretch_end_;
  if (valid_text_) {
    stretch_end_ = text_.size();
    valid_stretch_ = true;
    return;
  }
  const auto valid_at = [&](std::size_t at) { return utf8_length(text_, at); };
  valid_stretch_ = valid_at(stretch_begin_) > 0;
  while (stretch_end_ < text_.size()) {
    const std::size_t length = valid_at(stretch_end_);
    if ((length > 0) != valid_stretch_) return;
    stretch_end_ += valid_stretch_ ? length : 1;
  }
}

bool WordSplitter::next(std::string_view& word) {
  if (position_ == text_.size()) return false;
  if (position_ == stretch_end_) next_stretch();
  if (!valid_stretch_) {
    word = text_.substr(position_, stretch_end_ - position_);
    position_ = stretch_end_;
    return true;
  }
  if (const std::size_t plain = plain_word(text_, position_); plain > 0) {
    word = text_.substr(position_, plain);
    position_ += plain;
    return true;
  }
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data()) + stretch_begin_;
  const std::size_t size = stretch_end_ - stretch_begin_;
  const std::size_t from = position_ - stretch_begin_;
  const PcreCode& code = pattern_->code_->pcre;
  const int rc = code.jit ? pcre2_jit_match(code.handle.get(), subject, size, from, 0,
                                            match_->data.get(), nullptr)
                          : pcre2_match(code.handle.get(), subject, size, from, PCRE2_NO_UTF_CHECK,
                                        match_->data.get(), nullptr);
  if (rc < 0) fail_pcre("pcre2_match", rc);
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_->data.get());
  // Every character is white space, a letter, a number or none of these: matches leave no gaps.
  TALARIA_CHECK(range[0] == from && range[1] > from, "a gap at byte {}", position_);
  word = text_.substr(position_, range[1] - from);
  position_ += range[1] - from;
  return true;
}

}  // namespace talaria::storage
