// SPDX-License-Identifier: Apache-2.0
#include "storage/text/line_reader.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include "cluster/base/error.h"
#include "cluster/base/handle.h"
#include "storage/text/utf8.h"

namespace talaria::storage {
namespace {

constexpr std::size_t kBlock = std::size_t{1} << 18;

struct ZstdTraits {
  using Handle = ZSTD_DStream*;
  static Handle empty() { return nullptr; }
  static void close(Handle stream) noexcept { ZSTD_freeDStream(stream); }
};

std::size_t read_some(int fd, char* out, std::size_t size, const std::filesystem::path& path) {
  while (true) {
    const ssize_t got = ::read(fd, out, size);
    if (got < 0 && errno == EINTR) continue;
    return static_cast<std::size_t>(check_sys(got, "read", path.string()));
  }
}

// The largest cut <= size that does not split a character of valid UTF-8.
std::size_t character_cut(std::string_view text, std::size_t size) {
  for (std::size_t back = 1; back <= 3 && back < size; ++back) {
    const std::size_t length = utf8_length(text, size - back);
    if (length > 0) return length > back ? size - back : size;
  }
  return size;
}

}  // namespace

struct LineReader::Decompressor {
  UniqueHandle<ZstdTraits> stream;
  std::string input;
  std::size_t used = 0;     // of input
  std::size_t pending = 0;  // what zstd last returned: 0 at the end of a frame
};

LineReader::LineReader(const std::filesystem::path& path, bool zstd, std::size_t longest)
    : path_(path), longest_(longest), fd_(open_file(path, O_RDONLY)) {
  TALARIA_CHECK(longest >= 8, "longest = {}", longest);
  if (!zstd) return;
  zstd_ = std::make_unique<Decompressor>();
  zstd_->stream.reset(ZSTD_createDStream());
  if (!zstd_->stream) fail("ZSTD_createDStream {}: out of memory", path_.string());
}

LineReader::~LineReader() = default;

bool LineReader::fill_plain() {
  const std::size_t old = buffer_.size();
  buffer_.resize(old + kBlock);
  const std::size_t got = read_some(fd_.get(), buffer_.data() + old, kBlock, path_);
  buffer_.resize(old + got);
  consumed_ += static_cast<std::int64_t>(got);
  return got > 0;
}

bool LineReader::fill_zstd() {
  Decompressor& z = *zstd_;
  while (true) {
    if (z.used == z.input.size()) {
      z.input.resize(kBlock);
      z.used = 0;
      z.input.resize(read_some(fd_.get(), z.input.data(), kBlock, path_));
      consumed_ += static_cast<std::int64_t>(z.input.size());
      if (z.input.empty() && z.pending != 0) {
        fail("{}: byte {}: the file ends inside compressed data", path_.string(), consumed_);
      }
      if (z.input.empty()) return false;
    }
    const std::size_t old = buffer_.size();
    buffer_.resize(old + kBlock);
    ZSTD_inBuffer in{z.input.data(), z.input.size(), z.used};
    ZSTD_outBuffer out{buffer_.data() + old, kBlock, 0};
    z.pending = ZSTD_decompressStream(z.stream.get(), &out, &in);
    buffer_.resize(old + out.pos);
    if (ZSTD_isError(z.pending) != 0) {
      const auto left = static_cast<std::int64_t>(z.input.size() - z.used);
      fail("{}: near byte {}: zstd: {}", path_.string(), consumed_ - left,
           ZSTD_getErrorName(z.pending));
    }
    z.used = in.pos;
    if (out.pos > 0) return true;
  }
}

bool LineReader::fill() { return zstd_ ? fill_zstd() : fill_plain(); }

bool LineReader::next(std::string_view& line) {
  if (begin_ > kBlock) {  // what was returned before is of no use any more
    buffer_.erase(0, begin_);
    searched_ -= begin_;
    begin_ = 0;
  }
  while (true) {
    const std::size_t limit = std::min(buffer_.size(), begin_ + longest_);
    const std::size_t end = std::string_view(buffer_).substr(0, limit).find('\n', searched_);
    if (end != std::string_view::npos) {
      line = std::string_view(buffer_).substr(begin_, end + 1 - begin_);
      break;
    }
    searched_ = limit;
    // Three bytes more show whether a character straddles the cut.
    if (buffer_.size() - begin_ <= longest_ + 3 && fill()) continue;
    const std::string_view rest = std::string_view(buffer_).substr(begin_);
    line = rest.size() <= longest_ ? rest : rest.substr(0, character_cut(rest, longest_));
    if (line.empty()) return false;
    break;
  }
  begin_ += line.size();
  searched_ = begin_;
  return true;
}

}  // namespace talaria::storage
