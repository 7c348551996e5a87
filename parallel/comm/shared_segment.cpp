// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/shared_segment.h"

#include <cerrno>
#include <new>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"

namespace talaria::parallel {
namespace {

constexpr std::int64_t kPage = 4096;

std::int64_t to_pages(std::int64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

std::int64_t pairs(int ranks) { return std::int64_t{ranks} * ranks; }

}  // namespace

SharedSegment::SharedSegment(int ranks, const SharedOptions& options, std::string name)
    : ranks_(ranks), options_(options), name_(std::move(name)) {
  if (ranks < 1) fail("shared memory group: {} ranks", ranks);
  if (options.staging_bytes < std::int64_t{8} * ranks) {
    fail("shared memory group of {}: staging_bytes is {}, must be at least {}", ranks,
         options.staging_bytes, 8 * ranks);
  }
  if (options.max_message_bytes < 0) {
    fail("shared memory group: max_message_bytes is {}", options.max_message_bytes);
  }
  options_.staging_bytes = to_pages(options.staging_bytes);
  options_.max_message_bytes = to_pages(options.max_message_bytes);
  const auto product = [](std::int64_t a, std::int64_t b) {
    return checked_product(a, b, "shared memory group");
  };
  calls_offset_ = to_pages(sizeof(SharedControl));
  mailboxes_offset_ =
      calls_offset_ + to_pages(static_cast<std::int64_t>(sizeof(SharedCall)) * 2 * ranks);
  staging_offset_ = mailboxes_offset_ +
                    to_pages(product(static_cast<std::int64_t>(sizeof(Mailbox)), pairs(ranks)));
  messages_offset_ = staging_offset_ + product(options_.staging_bytes, std::int64_t{2} * ranks);
  total_bytes_ = messages_offset_ + product(options_.max_message_bytes, pairs(ranks) * kSendDepth);
}

SharedSegment::~SharedSegment() {
  if (base_ != nullptr) ::munmap(base_, static_cast<std::size_t>(total_bytes_));
}

void SharedSegment::map(int flags, int fd) {
  void* address = ::mmap(nullptr, static_cast<std::size_t>(total_bytes_), PROT_READ | PROT_WRITE,
                         flags | MAP_NORESERVE, fd, 0);
  if (address == MAP_FAILED) {
    fail_errno("mmap", fmt::format("{} ({} bytes of address space for {} ranks; a smaller "
                                   "max_message_bytes needs less)",
                                   name_.empty() ? "group memory" : name_, total_bytes_, ranks_));
  }
  base_ = static_cast<std::byte*>(address);
}

void SharedSegment::construct() {
  reserve(base_, staging_offset_);
  new (base_) SharedControl{};
  for (int half = 0; half < 2; ++half) {
    for (int rank = 0; rank < ranks_; ++rank) new (&call(half, rank)) SharedCall{};
  }
  for (int from = 0; from < ranks_; ++from) {
    for (int to = 0; to < ranks_; ++to) new (&mailbox(from, to)) Mailbox{};
  }
}

std::shared_ptr<SharedSegment> SharedSegment::anonymous(int ranks, const SharedOptions& options) {
  std::shared_ptr<SharedSegment> segment(new SharedSegment(ranks, options, ""));
  segment->map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  segment->construct();
  return segment;
}

std::shared_ptr<SharedSegment> SharedSegment::create(const std::string& name, int ranks,
                                                     const SharedOptions& options) {
  std::shared_ptr<SharedSegment> segment(new SharedSegment(ranks, options, name));
  segment->file_.reset(::shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!segment->file_) {
    if (errno == EEXIST) return nullptr;
    fail_errno("shm_open", name);
  }
  try {
    check_sys(::ftruncate(segment->file_.get(), segment->total_bytes_), "ftruncate", name);
    segment->map(MAP_SHARED, segment->file_.get());
    segment->construct();
  } catch (...) {
    ::shm_unlink(name.c_str());
    throw;
  }
  return segment;
}

std::shared_ptr<SharedSegment> SharedSegment::open(const std::string& name, int ranks,
                                                   const SharedOptions& options) {
  std::shared_ptr<SharedSegment> segment(new SharedSegment(ranks, options, name));
  segment->file_.reset(
      check_sys(::shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0), "shm_open", name));
  struct stat info {};
  check_sys(::fstat(segment->file_.get(), &info), "fstat", name);
  if (info.st_size != segment->total_bytes_) {
    fail("{}: {} bytes, expected {}: the ranks disagree about the group's options", name,
         info.st_size, segment->total_bytes_);
  }
  segment->map(MAP_SHARED, segment->file_.get());
  return segment;
}

void SharedSegment::unlink(const std::string& name) {
  check_sys(::shm_unlink(name.c_str()), "shm_unlink", name);
}

void SharedSegment::reserve(const std::byte* begin, std::int64_t bytes) const {
  if (!file_ || bytes == 0) return;  // anonymous memory: the kernel's overcommit rules
  int rc = 0;
  do {
    rc = ::posix_fallocate(file_.get(), begin - base_, bytes);
  } while (rc == EINTR);
  if (rc != 0) {
    fail_errno("posix_fallocate",
               fmt::format("/dev/shm{} ({} bytes; is /dev/shm full? `df /dev/shm` shows it, in a "
                           "container --shm-size sets it)",
                           name_, bytes),
               rc);
  }
}

SharedControl& SharedSegment::control() const { return *reinterpret_cast<SharedControl*>(base_); }

SharedCall& SharedSegment::call(int half, int rank) const {
  return reinterpret_cast<SharedCall*>(at(calls_offset_))[half * ranks_ + rank];
}

Mailbox& SharedSegment::mailbox(int from, int to) const {
  return reinterpret_cast<Mailbox*>(at(mailboxes_offset_))[std::int64_t{from} * ranks_ + to];
}

std::byte* SharedSegment::staging(int half, int rank) const {
  return at(staging_offset_ + options_.staging_bytes * (std::int64_t{half} * ranks_ + rank));
}

std::byte* SharedSegment::message(int from, int to, std::uint32_t slot) const {
  const std::int64_t box = std::int64_t{from} * ranks_ + to;
  return at(messages_offset_ + options_.max_message_bytes * (box * kSendDepth + slot));
}

}  // namespace talaria::parallel
