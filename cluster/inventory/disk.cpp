// SPDX-License-Identifier: Apache-2.0
#include "cluster/inventory/disk.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "cluster/inventory/node.h"

namespace talaria::inventory {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBlock = std::int64_t{4} << 20;
constexpr std::size_t kAlignment = 4096;

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Block = std::unique_ptr<std::byte, Free>;

// Bytes that no file system can compress away.
Block make_block() {
  Block block(
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, static_cast<std::size_t>(kBlock))));
  if (!block) fail("aligned_alloc: {} bytes", kBlock);
  std::uint64_t word = 0x9E3779B97F4A7C15ULL;
  for (std::int64_t at = 0; at < kBlock; at += 8) {
    word ^= word << 13U;
    word ^= word >> 7U;
    word ^= word << 17U;
    std::memcpy(block.get() + at, &word, sizeof word);
  }
  return block;
}

// A file of the folder without a name; where the file system has none such (O_TMPFILE), a file
// whose name is gone a moment after.
UniqueFd open_nameless(const fs::path& folder) {
  UniqueFd fd(::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
  if (fd) return fd;
  std::string name = (folder / ".talaria-disk-XXXXXX").string();
  fd.reset(check_sys(::mkostemp(name.data(), O_CLOEXEC), "create a file in", folder.string()));
  check_sys(::unlink(name.c_str()), "unlink", name);
  return fd;
}

// Switches O_DIRECT on, and proves it with the first block: some file systems take the flag and
// refuse the write.
bool write_directly(int fd, const Block& block) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) return false;
  if (::pwrite(fd, block.get(), static_cast<std::size_t>(kBlock), 0) == kBlock) return true;
  check_sys(::fcntl(fd, F_SETFL, flags), "fcntl", "F_SETFL");
  return false;
}

DiskSpeed measure(int fd, const fs::path& folder, std::int64_t most_bytes, double most_seconds) {
  const Block block = make_block();
  const std::span<const std::byte> bytes(block.get(), static_cast<std::size_t>(kBlock));
  DiskSpeed speed;
  const double begin = monotonic_seconds();
  speed.direct = write_directly(fd, block);
  if (speed.direct) {
    speed.bytes = kBlock;
    check_sys(::lseek(fd, kBlock, SEEK_SET), "lseek", folder.string());
  }
  while (speed.bytes < most_bytes && monotonic_seconds() - begin < most_seconds) {
    write_all(fd, bytes, folder);
    // Through the page cache a write says nothing about the disk.
    if (!speed.direct) sync_file(fd, folder);
    speed.bytes += kBlock;
  }
  sync_file(fd, folder);
  speed.seconds = monotonic_seconds() - begin;
  return speed;
}

}  // namespace

Result<DiskSpeed> measure_disk(const fs::path& folder, std::int64_t most_bytes,
                               double most_seconds) {
  try {
    const std::int64_t room = look_at(folder).free / 4;
    const UniqueFd fd = open_nameless(folder);
    if (room < kBlock)
      fail("{}: {} MiB free, too little to measure with", folder.string(), room >> 18);
    return measure(fd.get(), folder, std::min(most_bytes, room), most_seconds);
  } catch (const Error& error) {
    return Result<DiskSpeed>::failure(error.what());
  }
}

std::string why_not_writable(const fs::path& folder) {
  try {
    open_nameless(folder);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace talaria::inventory
