// SPDX-License-Identifier: Apache-2.0
// PCRE2's handles, once, for the .cpp files of this folder that match: the word splitter's fixed
// pattern and the patterns that users write.
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <pcre2.h>

#include "cluster/base/handle.h"

namespace talaria::storage {

struct PcreCodeTraits {
  using Handle = pcre2_code*;
  static Handle empty() { return nullptr; }
  static void close(Handle code) noexcept { pcre2_code_free(code); }
};

struct PcreMatchTraits {
  using Handle = pcre2_match_data*;
  static Handle empty() { return nullptr; }
  static void close(Handle data) noexcept { pcre2_match_data_free(data); }
};

struct PcreContextTraits {
  using Handle = pcre2_match_context*;
  static Handle empty() { return nullptr; }
  static void close(Handle context) noexcept { pcre2_match_context_free(context); }
};

// A compiled pattern; shared by any number of threads.
struct PcreCode {
  UniqueHandle<PcreCodeTraits> handle;  // empty where the pattern is no pattern
  bool jit = false;                     // false without a JIT, or where pages may not be executable
  int error = 0;                        // PCRE2's code where the handle is empty,
  std::size_t offset = 0;               // and the byte at which it gave up
};

// `options` of pcre2_compile. Errors: the JIT's, other than that there is none.
PcreCode compile_pcre(std::string_view pattern, std::uint32_t options);

// Room for one match at a time.
UniqueHandle<PcreMatchTraits> make_match_data(const PcreCode& code);

// "missing closing parenthesis".
std::string pcre_message(int code);

// Throws Error: "pcre2_match: ... (code -47)".
[[noreturn]] void fail_pcre(const char* call, int code);

}  // namespace talaria::storage
