// SPDX-License-Identifier: Apache-2.0
// What fuzzing tries: each function reads hostile bytes with one parser, accepts the one kind of
// exception that it may throw, and checks that what was read can be written and read again.
// Anything else throws std::logic_error, which no parser throws on purpose.
#pragma once

#include <string_view>

namespace talaria::fuzz {

// A job file; what follows a zero byte are overrides, parted by zero bytes.
void job_file(std::string_view bytes);
// The first byte says how the rest is cut into reads of a socket; the rest are frames of the rank
// channel.
void frames(std::string_view bytes);
// spec.json, exit.json and rank-NNNNN.exit.json.
void attempt(std::string_view bytes);
// A line of a chat file, then its spelling in every template and its ids.
void chat_line(std::string_view bytes);
// A file of weights: its header, and whether its tensors cover it.
void safetensors(std::string_view bytes);
// config.json and tokenizer.json of a model of Hugging Face.
void hf_text(std::string_view bytes);

struct Target {
  const char* name;  // of the program fuzz_NAME and the folder corpus/NAME
  void (*run)(std::string_view bytes);
};

}  // namespace talaria::fuzz
