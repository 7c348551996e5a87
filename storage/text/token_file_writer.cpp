// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "storage/text/token_file.h"

namespace talaria::storage {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

}  // namespace

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path, std::int64_t vocab_size,
                                 std::int32_t end_of_text, const std::string& tokenizer)
    : path_(path), temporary_(path.string() + ".tmp") {
  TALARIA_CHECK(vocab_size >= 1 && end_of_text >= 0 && end_of_text < vocab_size &&
                    vocab_size <= std::int64_t{1} << 31,
                "vocabulary {}, end of text {}", vocab_size, end_of_text);
  std::memcpy(header_.magic, "TALARTOK", sizeof header_.magic);
  header_.version = kTokenFileVersion;
  header_.id_bytes = vocab_size <= 65536 ? 2 : 4;
  header_.vocab_size = static_cast<std::uint64_t>(vocab_size);
  header_.end_of_text = static_cast<std::uint32_t>(end_of_text);
  header_.tokenizer = digest_from_hex(tokenizer);
  fd_ = open_file(temporary_, O_RDWR | O_CREAT | O_TRUNC);
  // The place of the header stays zero, and so no token file, until commit().
  const TokenFileHeader blank{};
  write_all(fd_.get(), std::as_bytes(std::span(&blank, 1)), temporary_);
  buffer_.reserve(kBufferBytes + 8);
}

TokenFileWriter::~TokenFileWriter() {
  if (!committed_) ::unlink(temporary_.c_str());
}

void TokenFileWriter::put(std::int32_t id) {
  const auto value = static_cast<std::uint32_t>(id);
  TALARIA_CHECK(value < header_.vocab_size, "id {} of {}", id, header_.vocab_size);
  for (std::uint32_t byte = 0; byte < header_.id_bytes; ++byte) {
    buffer_.push_back(static_cast<std::byte>(value >> (8 * byte)));
  }
  if (buffer_.size() >= kBufferBytes) flush();
}

void TokenFileWriter::flush() {
  ids_digest_.update(buffer_);
  write_all(fd_.get(), buffer_, temporary_);
  buffer_.clear();
}

void TokenFileWriter::add(std::string_view text, std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) put(id);
  put(static_cast<std::int32_t>(header_.end_of_text));
  documents_.push_back({header_.token_count, ids.size() + 1, text.size(), content_hash(text)});
  header_.token_count += ids.size() + 1;
  header_.text_bytes += text.size();
}

void TokenFileWriter::commit() {
  const std::uint64_t ids_end = sizeof header_ + header_.token_count * header_.id_bytes;
  header_.table_offset = (ids_end + 7) / 8 * 8;
  buffer_.resize(buffer_.size() + header_.table_offset - ids_end, std::byte{0});
  flush();
  const auto table = std::as_bytes(std::span(documents_));
  write_all(fd_.get(), table, temporary_);
  header_.documents = documents_.size();
  header_.file_bytes = header_.table_offset + table.size();
  header_.ids_digest = ids_digest_.digest();
  DigestStream stream;
  const auto header = std::as_bytes(std::span(&header_, 1));
  stream.update(header.first(offsetof(TokenFileHeader, header_digest)));
  stream.update(table);
  header_.header_digest = stream.digest();
  check_sys(::lseek(fd_.get(), 0, SEEK_SET), "lseek", temporary_.string());
  write_all(fd_.get(), header, temporary_);
  sync_file(fd_.get(), temporary_);
  fd_.reset();
  std::filesystem::rename(temporary_, path_);
  committed_ = true;
  sync_directory(path_.parent_path());
}

}  // namespace talaria::storage
