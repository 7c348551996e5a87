// SPDX-License-Identifier: Apache-2.0
// Small helpers for messages: keep them on one line, quote what a user wrote, name the word that a
// mistyped one is nearest to. And the one way a word gets into a shell script.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace talaria {

// `text` with control characters written as \n, \t, \xNN, so that it stays on one line and no
// terminal obeys it; so are C1 controls, marks of direction, and bytes that are not UTF-8.
std::string one_line(std::string_view text);

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
