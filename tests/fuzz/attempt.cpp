// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/attempt.h"

#include <stdexcept>
#include <string>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "tests/fuzz/fuzz.h"

namespace talaria::fuzz {

namespace {

template <class Value>
void check(Value (*parse)(const std::string&), const std::string& text) {
  Value value;
  try {
    value = parse(text);
  } catch (const Error& error) {
    if (one_line(error.what()) != error.what()) {
      throw std::logic_error(std::string("not one printable line: ") + error.what());
    }
    return;
  }
  const std::string written = launch::to_json(value);
  if (launch::to_json(parse(written)) != written) throw std::logic_error("changed: " + written);
}

}  // namespace

void attempt(std::string_view bytes) {
  const std::string text(bytes);
  check(launch::parse_spec, text);
  check(launch::parse_exit, text);
  check(launch::parse_rank_exit, text);
}

}  // namespace talaria::fuzz
