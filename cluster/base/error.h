// SPDX-License-Identifier: Apache-2.0
// The three kinds of trouble, and how each is said (docs/architecture.md, "Errors"):
//   a bug                  TALARIA_CHECK    prints rank, place and stack, aborts
//   the environment fails  Error            names the call, its code and the file; nobody catches
//   and continues bad input by the user  UsageError       one line: what, where, what is allowed,
//   what to do; exit code 2
// An expected outcome is a Result<T>.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include <fmt/core.h>

namespace talaria {

// The process exit codes that users and the coordinator rely on.
enum ExitCode : int { kExitDone = 0, kExitFailed = 1, kExitUsage = 2, kExitStoppedEarly = 75 };

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class UsageError : public Error {
 public:
  using Error::Error;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

// "open /x/y: No such file or directory (errno 2)". `error` is an errno value.
std::string describe_errno(const char* call, const std::string& subject, int error);

[[noreturn]] void fail_errno(const char* call, const std::string& subject, int error = errno);

// Returns `rc` when it is not negative; throws Error naming call and subject otherwise.
template <class Int>
Int check_sys(Int rc, const char* call, const std::string& subject) {
  if (rc < 0) fail_errno(call, subject);
  return rc;
}

// Prints "BUG rank 3 file:line: message" and the stack to stderr, then aborts.
[[noreturn]] void report_bug(const char* file, int line, const char* condition,
                             const std::string& message);

#define TALARIA_CHECK(condition, ...)                                                       \
  do {                                                                                      \
    if (!(condition)) [[unlikely]]                                                          \
      ::talaria::report_bug(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
  } while (false)

// A value, or the sentence that says why there is none.
template <class T>
class Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  static Result failure(std::string why) { return Result(Failure{std::move(why)}); }

  explicit operator bool() const { return state_.index() == 0; }
  T& value() {
    TALARIA_CHECK(state_.index() == 0, "{}", error());
    return std::get<0>(state_);
  }
  const T& value() const {
    TALARIA_CHECK(state_.index() == 0, "{}", error());
    return std::get<0>(state_);
  }
  const std::string& error() const { return std::get<1>(state_).why; }

 private:
  struct Failure {
    std::string why;
  };
  explicit Result(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}
  std::variant<T, Failure> state_;
};

// a * b, or Error naming `what` when it does not fit.
std::int64_t checked_product(std::int64_t a, std::int64_t b, const char* what);

}  // namespace talaria
