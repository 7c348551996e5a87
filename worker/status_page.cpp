// SPDX-License-Identifier: Apache-2.0
#include "worker/status_page.h"

#include <charconv>
#include <new>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"

namespace talaria::worker {
namespace {

constexpr std::size_t kPageBytes = sizeof(wire::RankStatus);
static_assert(std::is_trivially_destructible_v<wire::RankStatus>);

std::shared_ptr<wire::RankStatus> map_page(const std::string& descriptor) {
  int number = -1;
  const char* end = descriptor.data() + descriptor.size();
  const auto [stopped, error] = std::from_chars(descriptor.data(), end, number);
  if (error != std::errc() || stopped != end || number <= STDERR_FILENO) {
    fail("{}: not the number of a descriptor", in_quotes(descriptor));
  }
  struct stat info {};
  check_sys(::fstat(number, &info), "fstat", descriptor);
  if (!S_ISREG(info.st_mode) || info.st_size < static_cast<off_t>(kPageBytes)) {
    fail("descriptor {} is not a page of at least {} bytes", number, kPageBytes);
  }
  const UniqueFd fd(number);
  void* memory = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, number, 0);
  if (memory == MAP_FAILED) fail_errno("mmap", descriptor);
  return {new (memory) wire::RankStatus,
          [](wire::RankStatus* status) { ::munmap(status, kPageBytes); }};
}

}  // namespace

std::shared_ptr<wire::RankStatus> open_status(const std::string& descriptor) {
  std::shared_ptr<wire::RankStatus> status;
  try {
    if (!descriptor.empty()) status = map_page(descriptor);
  } catch (const Error& error) {
    log_warning("{}: {}; the rank's status stays in its own memory", wire::kStatusFdVariable,
                error.what());
  }
  if (!status) status = std::make_shared<wire::RankStatus>();
  status->enter(wire::Phase::kStart);
  return status;
}

}  // namespace talaria::worker
