// SPDX-License-Identifier: Apache-2.0
#include <string_view>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/checkpoint/disk.h"
#include "storage/exchange/hf_tokenizer.h"
#include "storage/text/byte_alphabet.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

// `text` is UTF-8.
std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c >= 0 && c < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

// By id: entries that no text becomes, several bytes that no merge makes.
std::vector<bool> unreachable(const Tokenizer& tokenizer,
                              const std::vector<std::string_view>& merges) {
  const std::vector<std::string>& tokens = tokenizer.tables()->tokens;
  std::unordered_map<std::string, std::size_t> ids;
  for (std::size_t id = 0; id < tokens.size(); ++id) ids.emplace(to_alphabet(tokens[id]), id);
  std::vector<bool> alone(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    // An added token is text in JSON.
    alone[id] = tokens[id].size() > 1 && utf8_prefix(tokens[id]) == tokens[id].size();
  }
  for (const std::string_view line : merges) {
    std::string made(line);
    made.erase(made.find(' '), 1);
    alone[ids.at(made)] = false;
  }
  alone[static_cast<std::size_t>(tokenizer.end_of_text())] = true;
  return alone;
}

std::string join(const std::vector<std::string>& parts) {
  return fmt::format("{}", fmt::join(parts, ","));
}

std::string config_text(const Tokenizer& tokenizer, std::int64_t context) {
  const std::string end = json_string(tokenizer.bytes_of(tokenizer.end_of_text()));
  return fmt::format(
      "{{\n  \"add_prefix_space\": false,\n  \"bos_token\": {0},\n  \"eos_token\": {0},\n"
      "  \"model_max_length\": {1},\n  \"tokenizer_class\": \"GPT2Tokenizer\",\n"
      "  \"unk_token\": {0}\n}}\n",
      end, context);
}

}  // namespace

std::vector<std::string_view> merge_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t at = 0; at < text.size();) {
    std::string_view line = text.substr(at, text.find('\n', at) - at);
    const bool header = at == 0 && line.starts_with("#version:");
    at += line.size() + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !header) lines.push_back(line);
  }
  return lines;
}

std::string hf_tokenizer_text(const Tokenizer& tokenizer) {
  const std::vector<std::string>& tokens = tokenizer.tables()->tokens;
  const std::vector<std::string_view> merges = merge_lines(tokenizer.tables()->vocab_bpe);
  const std::vector<bool> alone = unreachable(tokenizer, merges);
  std::vector<std::string> vocab;
  std::vector<std::string> added;
  std::vector<std::string> lines;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string name = json_string(alone[id] ? tokens[id] : to_alphabet(tokens[id]));
    vocab.push_back(fmt::format("{}:{}", name, id));
    if (!alone[id]) continue;
    added.push_back(
        fmt::format(R"({{"id":{},"content":{},"single_word":false,"lstrip":false,"rstrip":false,)"
                    R"("normalized":false,"special":true}})",
                    id, name));
  }
  lines.reserve(merges.size());
  for (const std::string_view line : merges) lines.push_back(json_string(line));
  constexpr const char* kByteLevel =
      R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";
  return fmt::format(
      R"({{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{}],)"
      R"("normalizer":null,"pre_tokenizer":{},"post_processor":{},"decoder":{},)"
      R"("model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"",)"
      R"("end_of_word_suffix":"","fuse_unk":false,"byte_fallback":false,"vocab":{{{}}},)"
      R"("merges":[{}]}}}})"
      "\n",
      join(added), kByteLevel, kByteLevel, kByteLevel, join(vocab), join(lines));
}

void write_hf_tokenizer(const Tokenizer& tokenizer, std::int64_t context, const fs::path& folder) {
  const auto write = [&](const char* name, const std::string& text) {
    write_new_file(folder / name, std::as_bytes(std::span(text)));
  };
  write("vocab.json", tokenizer.tables()->encoder_json);
  write("merges.txt", tokenizer.tables()->vocab_bpe);
  write("tokenizer.json", hf_tokenizer_text(tokenizer));
  write("tokenizer_config.json", config_text(tokenizer, context));
}

}  // namespace talaria::storage
