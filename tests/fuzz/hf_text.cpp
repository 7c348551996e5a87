// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <stdexcept>
#include <string>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/exchange/hf_gpt2.h"
#include "storage/exchange/hf_tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace talaria::fuzz {

namespace {

template <class Parse>
auto read(const Parse& parse) -> std::optional<decltype(parse())> {
  try {
    return parse();
  } catch (const UsageError& error) {
    if (one_line(error.what()) != error.what()) {
      throw std::logic_error(std::string("not one printable line: ") + error.what());
    }
    return std::nullopt;
  }
}

}  // namespace

void hf_text(std::string_view bytes) {
  if (const auto shape = read([&] { return storage::parse_gpt2_config(bytes, "config.json"); })) {
    const std::string written = storage::gpt2_config_text(*shape, {});
    if (storage::parse_gpt2_config(written, "again") != *shape) {
      throw std::logic_error("config.json changed: " + written);
    }
  }
  const auto tokenizer = read([&] { return storage::parse_hf_tokenizer(bytes, "tokenizer.json"); });
  if (!tokenizer) return;
  const std::string written = storage::hf_tokenizer_text(*tokenizer);
  const storage::Tokenizer again = storage::parse_hf_tokenizer(written, "again");
  if (again.fingerprint() != tokenizer->fingerprint()) {
    throw std::logic_error("tokenizer.json changed: " + written);
  }
}

}  // namespace talaria::fuzz
