// SPDX-License-Identifier: Apache-2.0
// Small helpers for messages: keep them on one line, quote what a user wrote, name the word that a
// mistyped one is nearest to. And the one way a word gets into a shell script.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace talaria {

// Takes the first character off `text`, which is not empty: its code point, or nothing where the
// first byte begins no valid UTF-8 (that byte is taken off).
std::optional<char32_t> take_code_point(std::string_view& text);

// `text` as one harmless line of a terminal: control characters are written as \n, \t, \xNN,
// those beyond ASCII and marks that turn the direction of writing as \uNNNN, bytes that are no
// UTF-8 as \xNN.
std::string one_line(std::string_view text);

// `text` with U+FFFD in the place of each byte that is no UTF-8.
std::string valid_utf8(std::string_view text);

// Bytes up to the first that is not UTF-8; all of them where the text is UTF-8.
std::size_t utf8_prefix(std::string_view text);

// The text in double quotes, on one line, cut after about 60 characters.
std::string in_quotes(std::string_view text);

// `word` as one word of a POSIX shell, whatever bytes it has (no NUL): as it is where that is plain
// to see, else in single quotes.
std::string shell_quote(std::string_view word);

// "a, b or c"; "" for no words.
std::string join_or(const std::vector<std::string>& words);

// The number of single-character edits (insert, delete, replace, swap of neighbours) from a to b.
int edit_distance(std::string_view a, std::string_view b);

// The word with the least edit distance (the first of equals), or "" when none is near enough to
// be a slip of the fingers: more than a third of the longer word would have to change.
std::string nearest_word(std::string_view word, const std::vector<std::string>& words);

}  // namespace talaria
