// SPDX-License-Identifier: Apache-2.0
// config.json of a GPT-2 of Hugging Face: what is read, what is refused, what is written.
#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/exchange/hf_gpt2.h"
#include "storage/exchange/json_reader.h"

namespace talaria::storage {
namespace {

// A key whose value decides how the model computes, and the one value that this engine computes.
// A key that is absent has the value that transformers gives it: the same one.
struct Fixed {
  const char* key;
  const char* value;  // as it is written
};
constexpr Fixed kFixed[] = {
    {"activation_function", "\"gelu_new\""}, {"layer_norm_epsilon", "1e-05"},
    {"scale_attn_weights", "true"},          {"scale_attn_by_inverse_layer_idx", "false"},
    {"add_cross_attention", "false"},        {"is_encoder_decoder", "false"},
    {"tie_word_embeddings", "true"}};

struct Size {
  const char* key;
  std::int64_t most;
  std::int64_t Gpt2Shape::*field;
};
// As model/config.cpp limits them; n_positions and n_ctx are the same.
constexpr Size kSizes[] = {
    {"n_layer", 1 << 14, &Gpt2Shape::layers},      {"n_embd", 1 << 18, &Gpt2Shape::hidden},
    {"n_head", 1 << 16, &Gpt2Shape::heads},        {"n_inner", 1 << 20, &Gpt2Shape::ffn},
    {"n_positions", 1 << 20, &Gpt2Shape::context}, {"n_ctx", 1 << 20, &Gpt2Shape::context},
    {"vocab_size", 1 << 24, &Gpt2Shape::vocab}};

class ConfigParser {
 public:
  explicit ConfigParser(const std::string& file) : file_(one_line(file)) {}

  Gpt2Shape parse(std::string_view text) {
    read_json(text, file_, 0, [&](JsonReader& json) {
      json.object([&](const std::string& key, std::size_t) { member(json, key); });
    });
    if (!has_type_) refuse("model_type", "missing; allowed: \"gpt2\"");
    for (const Size& size : kSizes) {
      const std::string key = size.key;
      if (key == "n_inner" || key == "n_positions" || key == "n_ctx") continue;
      if (shape_.*size.field == 0) refuse(key, "missing");
    }
    if (shape_.context == 0) refuse("n_positions", "missing");
    if (shape_.ffn == 0) shape_.ffn = 4 * shape_.hidden;
    if (shape_.hidden % shape_.heads != 0) {
      refuse("n_head", fmt::format("found {}; allowed: a divisor of n_embd ({})", shape_.heads,
                                   shape_.hidden));
    }
    return shape_;
  }

 private:
  [[noreturn]] void refuse(const std::string& key, const std::string& message) const {
    fail_usage("{}: {}: {}", file_, key, message);
  }

  void member(JsonReader& json, const std::string& key) {
    for (const Size& size : kSizes) {
      if (key == size.key) return read_size(json, size);
    }
    for (const Fixed& fixed : kFixed) {
      if (key == fixed.key) return check_fixed(json, fixed);
    }
    if (key == "model_type") {
      has_type_ = true;
      const std::string type = json.string();
      if (type != "gpt2") {
        refuse(key, fmt::format("found {}; allowed: \"gpt2\"", in_quotes(type)));
      }
    } else if (key == "architectures") {
      if (json.take_null()) return;
      json.array([&](std::size_t) { check_architecture(json.string()); });
    } else if (key == "pruned_heads") {
      json.object([&](const std::string&, std::size_t) {
        refuse(key, "found heads; allowed: none, as every layer has the same number here");
      });
    } else if (key == "quantization_config" || key == "auto_map") {
      if (json.take_null()) return;
      refuse(key, key == "auto_map" ? "the model brings its own code; allowed: transformers' GPT-2"
                                    : "found quantised weights; allowed: F32, F16 or BF16");
    } else {
      json.skip();
    }
  }

  void check_architecture(const std::string& name) const {
    if (name == "GPT2LMHeadModel" || name == "GPT2Model") return;
    refuse("architectures", fmt::format("found {}; allowed: GPT2LMHeadModel or GPT2Model, as no "
                                        "other head is computed here",
                                        in_quotes(name)));
  }

  void read_size(JsonReader& json, const Size& size) {
    const std::string key = size.key;
    if (key == "n_inner" && json.take_null()) return;
    const std::int64_t value = json.integer();
    if (value < 1 || value > size.most) {
      refuse(key, fmt::format("found {}; allowed: an integer from 1 to {}", value, size.most));
    }
    std::int64_t& field = shape_.*size.field;
    if (field != 0 && field != value) {
      refuse(key, fmt::format("found {}, beside {}; allowed: n_positions and n_ctx that agree",
                              value, field));
    }
    field = value;
  }

  void check_fixed(JsonReader& json, const Fixed& fixed) const {
    std::string found;
    switch (json.peek()) {
      case JsonKind::kString:
        found = in_quotes(json.string());
        break;
      case JsonKind::kBoolean:
        found = json.boolean() ? "true" : "false";
        break;
      case JsonKind::kNumber: {
        const double value = json.real();
        found = value == 1e-5 ? "1e-05" : fmt::format("{}", value);
        break;
      }
      default:
        json.skip();
        found = "another kind of value";
    }
    if (found == fixed.value) return;
    refuse(fixed.key, fmt::format("found {}; allowed: {}, which is what is computed here", found,
                                  fixed.value));
  }

  std::string file_;
  Gpt2Shape shape_;
  bool has_type_ = false;
};

const char* torch_name(ElementType type) {
  if (type == ElementType::kF32) return "float32";
  return type == ElementType::kF16 ? "float16" : "bfloat16";
}

// A number that is a float also where it is whole.
std::string real_text(double value) {
  const std::string text = fmt::format("{}", value);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

}  // namespace

Gpt2Shape parse_gpt2_config(std::string_view text, const std::string& file) {
  return ConfigParser(file).parse(text);
}

std::string gpt2_config_text(const Gpt2Shape& shape, const Gpt2ConfigExtras& extras) {
  const std::string end = extras.end_of_text < 0 ? "null" : fmt::format("{}", extras.end_of_text);
  const std::string inner = shape.ffn == 4 * shape.hidden ? "null" : fmt::format("{}", shape.ffn);
  std::map<std::string, std::string> members = {
      {"architectures", "[\"GPT2LMHeadModel\"]"},
      {"model_type", "\"gpt2\""},
      {"attn_pdrop", real_text(extras.dropout)},
      {"embd_pdrop", real_text(extras.dropout)},
      {"resid_pdrop", real_text(extras.dropout)},
      {"bos_token_id", end},
      {"eos_token_id", end},
      {"n_inner", inner},
      {"initializer_range", "0.02"},
      {"torch_dtype", fmt::format("\"{}\"", torch_name(extras.type))},
      {"use_cache", "true"}};
  for (const Size& size : kSizes) {
    members.try_emplace(size.key, fmt::format("{}", shape.*size.field));
  }
  for (const Fixed& fixed : kFixed) members.try_emplace(fixed.key, fixed.value);
  std::string text = "{";
  for (const auto& [key, value] : members) {
    text += fmt::format("{}\n  \"{}\": {}", text.size() == 1 ? "" : ",", key, value);
  }
  return text + "\n}\n";
}

}  // namespace talaria::storage
