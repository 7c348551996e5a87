// SPDX-License-Identifier: Apache-2.0
#include "storage/text/token_file.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include <sys/stat.h>

#include "cluster/base/error.h"

namespace talaria::storage {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are mapped as they lie");

constexpr std::string_view kMagic = "TALARTOK";
constexpr std::size_t kIdsOffset = sizeof(TokenFileHeader);
constexpr std::string_view kRemedy = "make it again with `data prepare --again`";

TextDigest header_digest(const TokenFileHeader& header, std::span<const TokenDocument> table) {
  DigestStream stream;
  stream.update(
      std::as_bytes(std::span(&header, 1)).first(offsetof(TokenFileHeader, header_digest)));
  stream.update(std::as_bytes(table));
  return stream.digest();
}

// Where the table starts: the ids, padded to a multiple of 8 bytes.
std::uint64_t table_offset(std::uint64_t tokens, std::uint32_t id_bytes) {
  return (kIdsOffset + tokens * id_bytes + 7) / 8 * 8;
}

std::filesystem::path checked_path(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) {
    fail_usage("{}: no such token file; `data prepare` makes them", path.string());
  }
  return path;
}

}  // namespace

FileStamp stamp_of(const std::filesystem::path& path) {
  struct stat info {};
  check_sys(::stat(path.c_str(), &info), "stat", path.string());
  return {info.st_dev, info.st_ino, info.st_size,
          std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
}

TokenFile::TokenFile(const std::filesystem::path& path)
    : path_(path.string()), stamp_(stamp_of(checked_path(path))), file_(path) {
  const std::size_t size = file_.size();
  const std::size_t magic = std::min(size, kMagic.size());
  if (size == 0) fail_usage("{}: empty, no token file; {}", path_, kRemedy);
  if (file_.text().substr(0, magic) != kMagic.substr(0, magic)) {
    fail_usage("{}: byte 0: no token file (it does not start with {}); `data prepare` makes them",
               path_, kMagic);
  }
  if (size < kIdsOffset) {
    fail("{}: byte {}: the file ends inside its header of {} bytes; {}", path_, size, kIdsOffset,
         kRemedy);
  }
  std::memcpy(&header_, file_.data(), sizeof header_);
  check_header();
  documents_ = {reinterpret_cast<const TokenDocument*>(file_.data() + header_.table_offset),
                static_cast<std::size_t>(header_.documents)};
  if (header_digest(header_, documents_) != header_.header_digest) {
    fail("{}: byte {}: the checksum of header and document table does not match; {}", path_,
         offsetof(TokenFileHeader, header_digest), kRemedy);
  }
  check_table();
}

void TokenFile::check_header() const {
  const TokenFileHeader& h = header_;
  const auto refuse = [&](std::size_t offset, const std::string& what) {
    fail("{}: byte {}: {}; {}", path_, offset, what, kRemedy);
  };
  if (h.version != kTokenFileVersion) {
    fail_usage("{}: byte {}: version {}; this program reads version {}; {}", path_,
               offsetof(TokenFileHeader, version), h.version, kTokenFileVersion, kRemedy);
  }
  if (h.file_bytes != file_.size()) {
    refuse(std::min<std::size_t>(h.file_bytes, file_.size()),
           fmt::format("the file has {} bytes, its header says {}", file_.size(), h.file_bytes));
  }
  if (h.vocab_size == 0 || h.vocab_size > (std::uint64_t{1} << 31) ||
      h.end_of_text >= h.vocab_size) {
    refuse(offsetof(TokenFileHeader, vocab_size),
           fmt::format("vocabulary of {} with end of text {}", h.vocab_size, h.end_of_text));
  }
  if (h.id_bytes != (h.vocab_size <= 65536 ? 2 : 4)) {
    refuse(offsetof(TokenFileHeader, id_bytes), fmt::format("ids of {} bytes", h.id_bytes));
  }
  // Bounded by the file's size first, so that no product below can overflow.
  const bool sane = h.token_count <= file_.size() && h.documents <= file_.size() &&
                    h.table_offset == table_offset(h.token_count, h.id_bytes) &&
                    h.file_bytes == h.table_offset + h.documents * sizeof(TokenDocument);
  if (!sane) {
    refuse(offsetof(TokenFileHeader, token_count),
           fmt::format("{} ids and {} documents do not make a file of {} bytes", h.token_count,
                       h.documents, file_.size()));
  }
}

void TokenFile::check_table() const {
  std::uint64_t next = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    const TokenDocument& document = documents_[i];
    const bool sane = document.first_token == next && document.token_count >= 1 &&
                      document.token_count <= header_.token_count - next;
    if (!sane) {
      fail("{}: byte {}: document {} does not follow the one before it; {}", path_,
           header_.table_offset + i * sizeof(TokenDocument), i, kRemedy);
    }
    next += document.token_count;
    bytes += document.text_bytes;
  }
  if (next != header_.token_count || bytes != header_.text_bytes) {
    fail("{}: byte {}: the documents hold {} ids and {} bytes, the header says {} and {}; {}",
         path_, offsetof(TokenFileHeader, token_count), next, bytes, header_.token_count,
         header_.text_bytes, kRemedy);
  }
}

template <class Id>
void TokenFile::read_as(std::int64_t first, std::span<std::int32_t> ids) const {
  const auto* begin = reinterpret_cast<const Id*>(file_.data() + kIdsOffset) + first;
  const std::uint32_t vocab = static_cast<std::uint32_t>(header_.vocab_size);
  bool inside = true;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::uint32_t id = begin[i];
    inside &= id < vocab;
    ids[i] = static_cast<std::int32_t>(id);
  }
  if (inside) return;
  const auto bad = std::find_if(ids.begin(), ids.end(), [&](std::int32_t id) {
    return static_cast<std::uint32_t>(id) >= vocab;
  });
  const std::int64_t at = first + (bad - ids.begin());
  fail("{}: byte {}: id {} is outside the vocabulary of {} (the file changed or is damaged); {}",
       path_, kIdsOffset + static_cast<std::size_t>(at) * sizeof(Id),
       static_cast<std::uint32_t>(*bad), vocab, kRemedy);
}

void TokenFile::read(std::int64_t first, std::span<std::int32_t> ids) const {
  const auto count = static_cast<std::int64_t>(ids.size());
  TALARIA_CHECK(first >= 0 && count <= token_count() && first <= token_count() - count,
                "{}: ids {} + {} of {}", path_, first, count, token_count());
  if (header_.id_bytes == 2) {
    read_as<std::uint16_t>(first, ids);
  } else {
    read_as<std::uint32_t>(first, ids);
  }
}

void TokenFile::verify() const {
  check_unchanged();
  std::vector<std::int32_t> ids;
  constexpr std::int64_t kBlock = 1 << 16;
  for (std::int64_t first = 0; first < token_count(); first += kBlock) {
    ids.resize(static_cast<std::size_t>(std::min(kBlock, token_count() - first)));
    read(first, ids);
  }
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    const std::uint64_t last = documents_[i].first_token + documents_[i].token_count - 1;
    ids.resize(1);
    read(static_cast<std::int64_t>(last), ids);
    if (ids[0] != end_of_text()) {
      fail("{}: byte {}: document {} ends with id {}, not with end of text ({}); {}", path_,
           kIdsOffset + last * header_.id_bytes, i, ids[0], end_of_text(), kRemedy);
    }
  }
  DigestStream stream;
  stream.update(
      std::span(file_.data(), file_.size()).subspan(kIdsOffset, header_.table_offset - kIdsOffset));
  if (stream.digest() != header_.ids_digest) {
    fail("{}: byte {}: the checksum of the ids does not match; {}", path_, kIdsOffset, kRemedy);
  }
}

void TokenFile::check_unchanged() const {
  if (!std::filesystem::exists(path_)) {
    fail("{}: the file was removed since it was opened; stop, and continue with the same data",
         path_);
  }
  const FileStamp now = stamp_of(path_);
  if (now == stamp_) return;
  if (now.bytes != stamp_.bytes) {
    fail("{}: byte {}: the file changed since it was opened: {} bytes, then {}", path_,
         std::min(now.bytes, stamp_.bytes), stamp_.bytes, now.bytes);
  }
  fail("{}: the file changed since it was opened: {}", path_,
       now.inode != stamp_.inode || now.device != stamp_.device ? "another file has its name now"
                                                                : "it was written to");
}

}  // namespace talaria::storage
