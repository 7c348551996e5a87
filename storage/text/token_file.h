// SPDX-License-Identifier: Apache-2.0
// Token files: the ids of one source's documents, each document followed by end of text, with a
// table that says where each document lies and what text it came from. docs/token-file.md gives
// the format byte by byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/base/file.h"
#include "storage/text/hash.h"

namespace talaria::storage {

inline constexpr std::uint32_t kTokenFileVersion = 1;

// One row of the document table, as it lies in the file.
struct TokenDocument {
  std::uint64_t first_token;   // position of the document's first id among all ids
  std::uint64_t token_count;   // ids, end of text included: at least 1
  std::uint64_t text_bytes;    // bytes of the original text
  std::uint64_t content_hash;  // XXH3-64 of the original text
};
static_assert(sizeof(TokenDocument) == 32);

// The first bytes of the file, as they lie there. Everything is little-endian; digests are in the
// order of their hex digits.
struct TokenFileHeader {
  char magic[8];               // "TALARTOK"
  std::uint32_t version;       // kTokenFileVersion
  std::uint32_t id_bytes;      // 2 when vocab_size <= 65536, else 4
  std::uint64_t vocab_size;    // ids are below this
  std::uint32_t end_of_text;   // the id after each document
  std::uint32_t reserved;      // 0
  std::uint64_t token_count;   // all ids
  std::uint64_t documents;     // rows of the table
  std::uint64_t text_bytes;    // sum over the table
  std::uint64_t table_offset;  // where the table starts; ids start at 128; zeros between
  std::uint64_t file_bytes;    // size of the whole file
  std::uint64_t reserved_too;  // 0
  TextDigest tokenizer;        // its fingerprint
  TextDigest ids_digest;       // XXH3-128 of the bytes from 128 to table_offset
  TextDigest header_digest;    // XXH3-128 of the bytes before this field, then the table
};
static_assert(sizeof(TokenFileHeader) == 128);

// A file's identity at one time: enough to see that it was replaced, rewritten or cut.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t bytes = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const FileStamp&) const = default;
};
FileStamp stamp_of(const std::filesystem::path& path);

// A token file mapped for reading. Const functions may run in any thread.
class TokenFile {
 public:
  // Verifies header and table (time grows with documents, not with tokens). Throws UsageError when
  // the file is missing, no token file or of another version, and Error naming file and byte
  // offset when it is damaged.
  explicit TokenFile(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  const TokenFileHeader& header() const { return header_; }
  std::int64_t vocab_size() const { return static_cast<std::int64_t>(header_.vocab_size); }
  std::int64_t token_count() const { return static_cast<std::int64_t>(header_.token_count); }
  std::int64_t text_bytes() const { return static_cast<std::int64_t>(header_.text_bytes); }
  std::int32_t end_of_text() const { return static_cast<std::int32_t>(header_.end_of_text); }
  std::string tokenizer() const { return digest_to_hex(header_.tokenizer); }
  std::span<const TokenDocument> documents() const { return documents_; }

  // Copies ids [first, first + ids.size()). Throws Error naming file and byte offset when an id is
  // not below vocab_size.
  void read(std::int64_t first, std::span<std::int32_t> ids) const;

  // Reads every byte: the digest of the ids, each id, the end of each document. Throws Error.
  void verify() const;

  // Throws Error when the file at this path is no longer the one that was opened.
  void check_unchanged() const;

 private:
  void check_header() const;
  void check_table() const;
  template <class Id>
  void read_as(std::int64_t first, std::span<std::int32_t> ids) const;

  std::string path_;
  FileStamp stamp_;
  MappedFile file_;
  TokenFileHeader header_{};
  std::span<const TokenDocument> documents_;
};

// Writes a token file piece by piece. Until commit() returned, nothing stands under its name; a
// writer that is destroyed before removes what it wrote.
class TokenFileWriter {
 public:
  // `tokenizer` is a fingerprint, 32 hex digits.
  TokenFileWriter(const std::filesystem::path& path, std::int64_t vocab_size,
                  std::int32_t end_of_text, const std::string& tokenizer);
  ~TokenFileWriter();
  TokenFileWriter(const TokenFileWriter&) = delete;
  TokenFileWriter& operator=(const TokenFileWriter&) = delete;

  // Appends a document and end of text. `ids` are those of `text`, each below vocab_size.
  void add(std::string_view text, std::span<const std::int32_t> ids);

  // Writes table and header, syncs, renames, syncs the folder. Call once, last.
  void commit();

  const TokenFileHeader& header() const { return header_; }

 private:
  void put(std::int32_t id);
  void flush();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  UniqueFd fd_;
  TokenFileHeader header_{};
  std::vector<TokenDocument> documents_;
  std::vector<std::byte> buffer_;
  DigestStream ids_digest_;
  bool committed_ = false;
};

}  // namespace talaria::storage
