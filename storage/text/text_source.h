// SPDX-License-Identifier: Apache-2.0
// The user's text as documents: which files a source has, and where one document ends.
//   .txt    documents end at blank lines, but not before they have `document_bytes` bytes; text
//   that
//           runs on without a blank line is cut at the end of a line (of 16 times that size or
//           more)
//   .jsonl  a line is a document: an object with a string "text"
// Each may be compressed (.txt.zst, .jsonl.zst).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace talaria::storage {

inline constexpr std::int64_t kDefaultDocumentBytes = 2048;
inline constexpr std::int64_t kMaxDocumentBytes = std::int64_t{1} << 26;

struct TextFile {
  std::filesystem::path path;
  bool jsonl = false;
  bool zstd = false;
  std::int64_t bytes = 0;  // on disk
};

struct TextSource {
  std::string name;             // names its token file: letters, digits, '.', '_', '-'
  std::filesystem::path path;   // as given
  std::vector<TextFile> files;  // sorted by path; never empty
  std::int64_t bytes = 0;
};

// `argument` is PATH or NAME=PATH; the name is else PATH's own without .txt, .jsonl, .zst. A folder
// stands for all such files below it. Throws UsageError: missing, another ending, nothing in it.
TextSource find_text_source(const std::string& argument);

// Counts lines that are no documents, says the first of them, and stops at one too many.
class BadLines {
 public:
  // `quiet`: counts only, because an earlier pass or another rank has said them. `option`: what
  // the user sets to allow more, a literal.
  explicit BadLines(std::int64_t allowed, bool quiet = false, std::string_view option = "--max-bad")
      : allowed_(allowed), quiet_(quiet), option_(option) {}
  // Throws UsageError "file:line: reason ..." when more than `allowed` were added.
  void add(const std::filesystem::path& file, std::int64_t line, std::string_view reason);
  std::int64_t count() const { return count_; }

 private:
  std::int64_t allowed_;
  bool quiet_;
  std::string_view option_;
  std::int64_t count_ = 0;
};

// The documents of one file, in order.
class DocumentReader {
 public:
  // `bad` must outlive the reader. 1 <= document_bytes <= kMaxDocumentBytes.
  DocumentReader(const TextFile& file, std::int64_t document_bytes, BadLines& bad);
  ~DocumentReader();
  DocumentReader(const DocumentReader&) = delete;
  DocumentReader& operator=(const DocumentReader&) = delete;

  // Replaces `document` by the next one, never empty; false at the end.
  bool next(std::string& document);
  // Bytes on disk that were read.
  std::int64_t consumed() const;

 private:
  struct State;
  bool next_paragraphs(std::string& document);
  bool next_json(std::string& document);
  std::unique_ptr<State> state_;
};

}  // namespace talaria::storage
