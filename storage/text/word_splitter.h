// SPDX-License-Identifier: Apache-2.0
// GPT-2's pre-tokenisation: cuts text into "words" that merges never cross, by GPT-2's pattern
// under PCRE2's JIT. Arbitrary bytes survive: a run of bytes that is no valid UTF-8 is a word of
// its own, so the words of a text always concatenate to the text.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace talaria::storage {

// The compiled pattern. Immutable; shared by any number of threads.
class WordPattern {
 public:
  WordPattern();
  ~WordPattern();

 private:
  friend class WordSplitter;
  struct Code;
  std::unique_ptr<const Code> code_;
};

// Walks the words of one text after the other. One thread at a time; keeps the pattern alive.
class WordSplitter {
 public:
  explicit WordSplitter(std::shared_ptr<const WordPattern> pattern);
  ~WordSplitter();
  WordSplitter(WordSplitter&&) noexcept;

  // `text` must outlive the walk.
  void start(std::string_view text);
  // The next word, never empty; false at the end.
  bool next(std::string_view& word);

 private:
  struct Match;
  void next_stretch();

  std::shared_ptr<const WordPattern> pattern_;
  std::unique_ptr<Match> match_;
  std::string_view text_;
  bool valid_text_ = true;    // all of text_ is UTF-8
  std::size_t position_ = 0;  // in text_: where the next word starts
  std::size_t stretch_begin_ = 0;
  std::size_t stretch_end_ = 0;  // [begin, end): the UTF-8 or the invalid stretch in work
  bool valid_stretch_ = true;
};

}  // namespace talaria::storage
