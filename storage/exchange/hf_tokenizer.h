// SPDX-License-Identifier: Apache-2.0
// Tokenizers as Hugging Face keeps them: tokenizer.json (of the tokenizers library), and GPT-2's
// own pair under the names vocab.json and merges.txt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/text/tokenizer.h"

namespace talaria::storage {

// The byte-level BPE that a tokenizer.json describes. Its special added tokens become entries of
// the vocabulary that no merge makes. Throws UsageError "FILE: byte N: ..." for JSON that is
// broken, for a vocabulary that Tokenizer::load would refuse, and, by name, for each part that
// would give other ids than this program: a normalizer, another pre_tokenizer than ByteLevel, added
// tokens that are not special, dropout, ...
Tokenizer parse_hf_tokenizer(std::string_view text, const std::string& file);

// The tokenizer of a model's folder; nothing where it has none. tokenizer.json counts where it is
// there; vocab.json and merges.txt beside it must agree, and are kept byte for byte where they have
// the same entries. Throws UsageError.
std::optional<Tokenizer> read_hf_tokenizer(const std::filesystem::path& folder);

// The lines of a vocab.bpe or merges.txt that are merges: views into `text`.
std::vector<std::string_view> merge_lines(std::string_view text);

// The text of a tokenizer.json with the same ids. Entries of several bytes that no merge makes
// become special added tokens.
std::string hf_tokenizer_text(const Tokenizer& tokenizer);

// Writes vocab.json, merges.txt, tokenizer.json and tokenizer_config.json into the existing
// `folder`; files are synced.
void write_hf_tokenizer(const Tokenizer& tokenizer, std::int64_t context,
                        const std::filesystem::path& folder);

}  // namespace talaria::storage
