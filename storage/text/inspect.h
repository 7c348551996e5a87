// SPDX-License-Identifier: Apache-2.0
// What a token file holds, for people and for programs: `data inspect`.
#pragma once

#include <cstdint>
#include <string>

namespace talaria::storage {

struct TokenFileSummary {
  std::string path;
  std::int64_t file_bytes = 0;
  std::int64_t id_bytes = 0;
  std::int64_t vocab = 0;
  std::int64_t end_of_text = 0;
  std::int64_t documents = 0;
  std::int64_t tokens = 0;  // end of text included
  std::int64_t text_bytes = 0;
  double bytes_per_token = 0;
  std::int64_t shortest = 0;  // document, in tokens
  std::int64_t longest = 0;
  std::string tokenizer;  // fingerprint
  bool verified = false;
  std::string beginning;  // text of the first tokens; empty without a tokenizer

  std::string to_text() const;  // a line a fact
  std::string to_json() const;  // one line
};

// `tokenizer` is a folder, or empty. Throws UsageError when it is not the one the file was made
// with, Error when the file is damaged.
TokenFileSummary inspect_token_file(const std::string& path, bool verify,
                                    const std::string& tokenizer);

}  // namespace talaria::storage
