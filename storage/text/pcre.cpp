// SPDX-License-Identifier: Apache-2.0
#include "storage/text/pcre.h"

#include "cluster/base/error.h"

namespace talaria::storage {

PcreCode compile_pcre(std::string_view pattern, std::uint32_t options) {
  PcreCode code;
  PCRE2_SIZE offset = 0;
  code.handle.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  options, &code.error, &offset, nullptr));
  code.offset = offset;
  if (!code.handle) return code;
  const int jit = pcre2_jit_compile(code.handle.get(), PCRE2_JIT_COMPLETE);
  if (jit != 0 && jit != PCRE2_ERROR_JIT_BADOPTION && jit != PCRE2_ERROR_NOMEMORY) {
    fail_pcre("pcre2_jit_compile", jit);
  }
  code.jit = jit == 0;
  return code;
}

UniqueHandle<PcreMatchTraits> make_match_data(const PcreCode& code) {
  UniqueHandle<PcreMatchTraits> data(
      pcre2_match_data_create_from_pattern(code.handle.get(), nullptr));
  if (!data) fail("pcre2_match_data_create_from_pattern: out of memory");
  return data;
}

std::string pcre_message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

void fail_pcre(const char* call, int code) {
  fail("{}: {} (code {})", call, pcre_message(code), code);
}

}  // namespace talaria::storage
