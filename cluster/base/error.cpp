// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/error.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <execinfo.h>
#include <unistd.h>

#include "cluster/base/log.h"

namespace talaria {

std::string describe_errno(const char* call, const std::string& subject, int error) {
  return fmt::format("{} {}: {} (errno {})", call, subject, std::strerror(error), error);
}

void fail_errno(const char* call, const std::string& subject, int error) {
  throw Error(describe_errno(call, subject, error));
}

void report_bug(const char* file, int line, const char* condition, const std::string& message) {
  fmt::print(stderr, "BUG {}{}:{}: {} does not hold. {}\n", log_prefix(), file, line, condition,
             message);
  std::fflush(stderr);
  void* frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
  std::abort();
}

std::int64_t checked_product(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) fail("{}: {} x {} overflows 64 bits", what, a, b);
  return product;
}

}  // namespace talaria
