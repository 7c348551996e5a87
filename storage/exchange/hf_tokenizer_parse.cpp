// SPDX-License-Identifier: Apache-2.0
// tokenizer.json in: first everything that it says, then whether it is a byte-level BPE as ours.
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/exchange/hf_tokenizer.h"
#include "storage/exchange/json_reader.h"
#include "storage/text/byte_alphabet.h"

namespace talaria::storage {
namespace {

constexpr std::int64_t kMostVocab = std::int64_t{1} << 24;  // as Tokenizer::load

struct Added {
  std::int64_t id = -1;
  std::string content;
  std::size_t at = 0;
};

struct Entry {
  std::string name;
  std::int64_t id = 0;
  std::size_t at = 0;
};

struct MergeNames {
  std::string left;
  std::string right;
  std::size_t at = 0;
};

class TokenizerParser {
 public:
  explicit TokenizerParser(JsonReader& json) : json_(json) {}

  void read() {
    json_.object([&](const std::string& key, std::size_t at) { member(key, at); });
    if (vocab_.empty()) json_.fail(json_.offset(), "no model.vocab");
    if (!byte_level_) {
      json_.fail(json_.offset(), "pre_tokenizer: missing; allowed: ByteLevel");
    }
  }

  // Throws UsageError; the positions are those of the text that was read.
  Tokenizer build() {
    number_tokens();
    std::vector<MergeLine> lines;
    std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
    lines.reserve(merges_.size());
    for (const MergeNames& merge : merges_) {
      const std::string left = bytes_of(merge.left, merge.at);
      const std::string right = bytes_of(merge.right, merge.at);
      const MergeLine line = {id_of(left, merge), id_of(right, merge), id_of(left + right, merge)};
      if (!seen.emplace(line.left, line.right).second) {
        json_.fail(merge.at, fmt::format("the merge of {} and {} is there already",
                                         in_quotes(merge.left), in_quotes(merge.right)));
      }
      lines.push_back(line);
    }
    return Tokenizer::assemble(std::move(tokens_), lines, end_of_text_);
  }

 private:
  [[noreturn]] void refuse(std::size_t at, const std::string& key, const std::string& found,
                           const std::string& allowed) const {
    json_.fail(at, fmt::format("{}: found {}; allowed: {}", key, found, allowed));
  }

  void member(const std::string& key, std::size_t at) {
    if (key == "version") {
      json_.skip();
    } else if (key == "truncation" || key == "padding" || key == "normalizer") {
      if (json_.take_null()) return;
      refuse(at, key, component(""), "null, as it would change ids");
    } else if (key == "pre_tokenizer") {
      const std::string type = component("pre_tokenizer");
      if (type != "ByteLevel") refuse(at, key, type, "ByteLevel, as it would change ids");
      byte_level_ = true;
    } else if (key == "post_processor" || key == "decoder") {
      const std::string type = component("");
      if (type != "ByteLevel" && type != "null") refuse(at, key, type, "ByteLevel or null");
    } else if (key == "added_tokens") {
      json_.array([&](std::size_t) { added_token(); });
    } else if (key == "model") {
      json_.object([&](const std::string& name, std::size_t where) { model(name, where); });
    } else {
      refuse(at, one_line(key.substr(0, 60)), "a part that is not known here",
             "none, as it might change ids");
    }
  }

  // The type of a part; of a pre_tokenizer the options are judged too.
  std::string component(const std::string& judged) {
    if (json_.take_null()) return "null";
    if (json_.peek() != JsonKind::kObject) {
      json_.skip();
      return "another kind of value";
    }
    std::string type = "a part without a type";
    json_.object([&](const std::string& key, std::size_t at) {
      if (key == "type" && json_.peek() == JsonKind::kString) {
        type = one_line(json_.string().substr(0, 60));
      } else if (!judged.empty() && (key == "add_prefix_space" || key == "use_regex") &&
                 json_.peek() == JsonKind::kBoolean) {
        const bool wanted = key == "use_regex";
        if (json_.boolean() != wanted) {
          refuse(at, judged + "." + key, wanted ? "false" : "true", wanted ? "true" : "false");
        }
      } else {
        json_.skip();
      }
    });
    return type;
  }

  void added_token() {
    Added added;
    bool special = false;
    if (json_.peek() != JsonKind::kObject) json_.fail(json_.offset(), "expected an added token");
    added.at = json_.offset();
    json_.object([&](const std::string& key, std::size_t) {
      if (key == "id") {
        added.id = json_.integer();
      } else if (key == "content") {
        added.content = json_.string();
      } else if (key == "special") {
        special = json_.boolean();
      } else {
        json_.skip();
      }
    });
    if (added.content.empty()) json_.fail(added.at, "an added token without content");
    if (!special) {
      json_.fail(added.at, fmt::format("added_tokens: {} is not special, so it would be found in "
                                       "ordinary text; allowed: special tokens",
                                       in_quotes(added.content)));
    }
    if (!contents_.insert(added.content).second) {
      json_.fail(added.at, fmt::format("a second added token {}", in_quotes(added.content)));
    }
    added_.push_back(std::move(added));
  }

  void model(const std::string& key, std::size_t at) {
    if (key == "type") {
      const std::string type = json_.string();
      if (type != "BPE") refuse(at, "model.type", in_quotes(type), "\"BPE\"");
    } else if (key == "vocab") {
      json_.object([&](const std::string& name, std::size_t where) {
        vocab_.push_back({name, json_.integer(), where});
      });
    } else if (key == "merges") {
      json_.array([&](std::size_t) { merge(); });
    } else if (key == "dropout") {
      if (json_.take_null()) return;
      if (json_.real() != 0.0) refuse(at, "model.dropout", "a number", "null or 0");
    } else if (key == "continuing_subword_prefix" || key == "end_of_word_suffix") {
      if (json_.take_null()) return;
      const std::string text = json_.string();
      if (!text.empty()) refuse(at, "model." + key, in_quotes(text), "null or \"\"");
    } else if (key == "byte_fallback" || key == "ignore_merges") {
      if (json_.boolean()) refuse(at, "model." + key, "true", "false, as it would change ids");
    } else if (key == "unk_token" || key == "fuse_unk") {
      json_.skip();  // every byte has a token: nothing is unknown
    } else {
      refuse(at, "model." + one_line(key.substr(0, 60)), "a key that is not known here",
             "none, as it might change ids");
    }
  }

  void merge() {
    MergeNames merge;
    const bool is_pair = json_.peek() == JsonKind::kArray;
    merge.at = json_.offset();
    if (is_pair) {
      std::size_t parts = 0;
      json_.array([&](std::size_t index) {
        parts = index + 1;
        if (index < 2) (index == 0 ? merge.left : merge.right) = json_.string();
        if (index == 2) json_.fail(merge.at, "a merge of more than two tokens");
      });
      if (parts < 2) json_.fail(merge.at, "a merge of fewer than two tokens");
    } else {
      const std::string text = json_.string();
      const std::size_t blank = text.find(' ');
      if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos) {
        json_.fail(merge.at, fmt::format("the merge {}; allowed: two tokens with one blank between",
                                         in_quotes(text)));
      }
      merge.left = text.substr(0, blank);
      merge.right = text.substr(blank + 1);
    }
    merges_.push_back(std::move(merge));
  }

  std::string bytes_of(const std::string& name, std::size_t at) const {
    const std::optional<std::string> bytes = from_alphabet(name);
    if (!bytes || bytes->empty()) {
      json_.fail(at, fmt::format("{} is not written in GPT-2's byte alphabet", in_quotes(name)));
    }
    return *bytes;
  }

  std::uint32_t id_of(const std::string& bytes, const MergeNames& merge) const {
    const auto found = ids_.find(bytes);
    if (found == ids_.end()) {
      json_.fail(merge.at, fmt::format("the merge of {} and {}: {} has no entry in model.vocab",
                                       in_quotes(merge.left), in_quotes(merge.right),
                                       in_quotes(to_alphabet(bytes))));
    }
    return found->second;
  }

  // Fills tokens_ and ids_: ids are exactly 0 .. n - 1, and every byte has one.
  void number_tokens() {
    std::unordered_map<std::string, std::int64_t> names;
    for (const Entry& entry : vocab_) names.emplace(entry.name, entry.id);
    std::vector<Entry> all = vocab_;
    for (const Added& added : added_) {
      const auto found = names.find(added.content);
      if (found == names.end()) {
        all.push_back({added.content, added.id, added.at});
      } else if (found->second != added.id) {
        json_.fail(added.at, fmt::format("added_tokens: {} has id {}, in model.vocab it has {}",
                                         in_quotes(added.content), added.id, found->second));
      }
    }
    const auto count = static_cast<std::int64_t>(all.size());
    if (count > kMostVocab) json_.fail(0, fmt::format("more than {} tokens", kMostVocab));
    tokens_.resize(all.size());
    for (const Entry& entry : all) {
      if (entry.id < 0 || entry.id >= count) {
        json_.fail(entry.at, fmt::format("id {} of {}; allowed: 0 to {}, as there are {} tokens",
                                         entry.id, in_quotes(entry.name), count - 1, count));
      }
      std::string& token = tokens_[static_cast<std::size_t>(entry.id)];
      if (!token.empty()) {
        json_.fail(entry.at,
                   fmt::format("id {} of {} is taken already", entry.id, in_quotes(entry.name)));
      }
      token = contents_.contains(entry.name) ? entry.name : bytes_of(entry.name, entry.at);
      if (!ids_.emplace(token, static_cast<std::uint32_t>(entry.id)).second) {
        json_.fail(entry.at, fmt::format("a second entry for {}", in_quotes(entry.name)));
      }
    }
    for (int byte = 0; byte < 256; ++byte) {
      const std::string text(1, static_cast<char>(byte));
      if (ids_.contains(text)) continue;
      json_.fail(0,
                 fmt::format("model.vocab: no entry {} for the byte 0x{:02x}; all 256 are needed",
                             in_quotes(to_alphabet(text)), byte));
    }
    const auto end = ids_.find(std::string(kEndOfText));
    if (end == ids_.end()) json_.fail(0, fmt::format("no token {}", in_quotes(kEndOfText)));
    end_of_text_ = static_cast<std::int32_t>(end->second);
  }

  JsonReader& json_;
  std::vector<Entry> vocab_;
  std::vector<MergeNames> merges_;
  std::vector<Added> added_;
  std::set<std::string> contents_;  // of the added tokens
  bool byte_level_ = false;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::uint32_t> ids_;
  std::int32_t end_of_text_ = 0;
};

}  // namespace

Tokenizer parse_hf_tokenizer(std::string_view text, const std::string& file) {
  std::optional<Tokenizer> tokenizer;
  read_json(text, file, 0, [&](JsonReader& json) {
    TokenizerParser parser(json);
    parser.read();
    json.finish();
    tokenizer = parser.build();
  });
  return std::move(*tokenizer);
}

}  // namespace talaria::storage
