// SPDX-License-Identifier: Apache-2.0
#include "storage/text/inspect.h"

#include <algorithm>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "cluster/base/error.h"
#include "storage/text/progress.h"
#include "storage/text/token_file.h"
#include "storage/text/tokenizer.h"
#include "storage/text/utf8.h"

namespace talaria::storage {
namespace {

constexpr std::int64_t kShownTokens = 64;

// Valid UTF-8 whatever the bytes: others become U+FFFD, as cut characters at the end do.
std::string as_utf8(std::string_view bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = utf8_length(bytes, at);
    text += length == 0 ? "\xEF\xBF\xBD" : bytes.substr(at, length);
    at += std::max<std::size_t>(length, 1);
  }
  return text;
}

}  // namespace

TokenFileSummary inspect_token_file(const std::string& path, bool verify,
                                    const std::string& tokenizer) {
  const TokenFile file(path);
  if (verify) file.verify();
  TokenFileSummary summary;
  summary.path = path;
  summary.file_bytes = static_cast<std::int64_t>(file.header().file_bytes);
  summary.id_bytes = file.header().id_bytes;
  summary.vocab = file.vocab_size();
  summary.end_of_text = file.end_of_text();
  summary.documents = static_cast<std::int64_t>(file.documents().size());
  summary.tokens = file.token_count();
  summary.text_bytes = file.text_bytes();
  if (summary.tokens > 0) {
    summary.bytes_per_token =
        static_cast<double>(summary.text_bytes) / static_cast<double>(summary.tokens);
  }
  for (const TokenDocument& document : file.documents()) {
    const auto count = static_cast<std::int64_t>(document.token_count);
    summary.shortest = summary.longest == 0 ? count : std::min(summary.shortest, count);
    summary.longest = std::max(summary.longest, count);
  }
  summary.tokenizer = file.tokenizer();
  summary.verified = verify;
  if (!tokenizer.empty()) {
    const Tokenizer words = Tokenizer::load(tokenizer);
    if (words.fingerprint() != summary.tokenizer) {
      fail_usage("{}: its fingerprint is {}, but {} was made with {}", tokenizer,
                 words.fingerprint(), path, summary.tokenizer);
    }
    std::vector<std::int32_t> ids(static_cast<std::size_t>(std::min(kShownTokens, summary.tokens)));
    file.read(0, ids);
    summary.beginning = as_utf8(words.decode(ids));
  }
  return summary;
}

std::string TokenFileSummary::to_text() const {
  std::string text = fmt::format(
      "{}: {}, {} a token id{}\n"
      "documents      {} ({} .. {} tokens)\n"
      "tokens         {}\n"
      "text           {} bytes ({})\n"
      "bytes a token  {:.3f}\n"
      "vocabulary     {}, end of text {}\n"
      "tokenizer      {}\n",
      path, human_bytes(file_bytes), human_bytes(id_bytes),
      verified ? "; verified, every byte" : "", documents, shortest, longest, tokens, text_bytes,
      human_bytes(text_bytes), bytes_per_token, vocab, end_of_text, tokenizer);
  if (!beginning.empty()) text += fmt::format("begins with\n{}\n", beginning);
  return text;
}

std::string TokenFileSummary::to_json() const {
  boost::json::object record{{"path", path},
                             {"file_bytes", file_bytes},
                             {"id_bytes", id_bytes},
                             {"vocab", vocab},
                             {"end_of_text", end_of_text},
                             {"documents", documents},
                             {"tokens", tokens},
                             {"text_bytes", text_bytes},
                             {"bytes_per_token", bytes_per_token},
                             {"shortest_document", shortest},
                             {"longest_document", longest},
                             {"tokenizer", tokenizer},
                             {"verified", verified}};
  if (!beginning.empty()) record["beginning"] = beginning;
  return boost::json::serialize(record) + "\n";
}

}  // namespace talaria::storage
