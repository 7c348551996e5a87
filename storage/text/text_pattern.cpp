// SPDX-License-Identifier: Apache-2.0
#include "storage/text/text_pattern.h"

#include <algorithm>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/text/pcre.h"

namespace talaria::storage {
namespace {

constexpr std::uint32_t kHeapKib = 64 << 10;

// PCRE2's own match limit is a limit of one call, and counts otherwise under the JIT than without
// it. Callouts before every item of the pattern count the same steps everywhere, over all calls.
constexpr std::uint32_t kOptions =
    PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
constexpr std::int64_t kBytesOfAStep = 64;

struct Work {
  std::int64_t steps = 0;
  std::int64_t position = 0;  // of the step before
};

int count_step(pcre2_callout_block* block, void* data) {
  Work& work = *static_cast<Work*>(data);
  const auto position = static_cast<std::int64_t>(block->current_position);
  work.steps += 1 + std::max<std::int64_t>(0, position - work.position) / kBytesOfAStep;
  work.position = position;
  return work.steps > TextPattern::kMaxSteps ? PCRE2_ERROR_MATCHLIMIT : 0;
}

UniqueHandle<PcreContextTraits> make_context(Work& work) {
  UniqueHandle<PcreContextTraits> context(pcre2_match_context_create(nullptr));
  if (!context) fail("pcre2_match_context_create: out of memory");
  pcre2_set_callout(context.get(), &count_step, &work);
  pcre2_set_heap_limit(context.get(), kHeapKib);
  return context;
}

}  // namespace

struct TextPattern::Code {
  PcreCode pcre;
};

TextPattern::TextPattern(std::string_view pattern, std::string_view where) : pattern_(pattern) {
  PcreCode code = compile_pcre(pattern, kOptions);
  if (!code.handle) {
    fail_usage("{}: {} is no pattern: {} at byte {}; PCRE2 patterns are allowed", where,
               in_quotes(pattern), pcre_message(code.error), code.offset);
  }
  std::uint32_t groups = 0;
  pcre2_pattern_info(code.handle.get(), PCRE2_INFO_CAPTURECOUNT, &groups);
  groups_ = static_cast<int>(groups);
  code_ = std::make_unique<const Code>(Code{std::move(code)});
}

TextPattern::~TextPattern() = default;
TextPattern::TextPattern(TextPattern&&) noexcept = default;
TextPattern& TextPattern::operator=(TextPattern&&) noexcept = default;

void TextPattern::visit_matches(std::string_view text,
                                const std::function<bool(const PatternMatch&)>& visit) const {
  const pcre2_code* code = code_->pcre.handle.get();
  const auto data = make_match_data(code_->pcre);
  Work work;
  const auto context = make_context(work);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
  PCRE2_SIZE from = 0;
  std::uint32_t options = 0;
  while (true) {
    const auto match = [&](std::uint32_t more) {
      return pcre2_match(code, subject, text.size(), from, options | more, data.get(),
                         context.get());
    };
    int rc = match(0);
    // The JIT's stack is small; the interpreter has the heap.
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0) {
      fail(
          "pattern {} on a text of {} bytes: {} after {} steps (at most {}); write a pattern with "
          "less to try: no repeat inside a repeat",
          in_quotes(pattern_), text.size(), pcre_message(rc), work.steps, kMaxSteps);
    }
    // \K in a group that a look-around calls can put a match anywhere.
    if (range[0] < from || range[1] < range[0]) {
      fail(
          "pattern {}: a match that begins behind its end or inside the one before; write it "
          "without \\K",
          in_quotes(pattern_));
    }
    PatternMatch found;
    found.text = text.substr(range[0], range[1] - range[0]);
    if (rc > 1 && range[2] != PCRE2_UNSET) {
      found.group = text.substr(range[2], range[3] - range[2]);
    }
    if (!visit(found)) return;
    from = range[1];
    options = found.text.empty() ? PCRE2_NOTEMPTY_ATSTART : 0;
  }
}

}  // namespace talaria::storage
