// SPDX-License-Identifier: Apache-2.0
// The tokenizer files of a model's folder: which of them count, and whether they agree.
#include <algorithm>
#include <system_error>
#include <vector>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/exchange/hf_tokenizer.h"
#include "storage/exchange/json_reader.h"
#include "storage/exchange/safetensors.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostTokenizerBytes = 100'000'000;

// Options beside tokenizer.json that transformers lets decide about ids.
void check_tokenizer_config(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  read_json(read_bounded(path, kMostTokenizerBytes), path.string(), 0, [](JsonReader& json) {
    json.object([&](const std::string& key, std::size_t at) {
      const bool judged =
          key == "add_prefix_space" || key == "add_bos_token" || key == "add_eos_token";
      if (judged && json.peek() == JsonKind::kBoolean) {
        if (json.boolean()) {
          json.fail(at, fmt::format("{}: found true; allowed: false, as it would change ids", key));
        }
      } else {
        json.skip();
      }
    });
  });
}

// Every entry of the pair is one of tokenizer.json, with the same id, and the merges are the same.
bool agree(const Tokenizer& pair, const Tokenizer& whole) {
  const std::vector<std::string>& fewer = pair.tables()->tokens;
  const std::vector<std::string>& more = whole.tables()->tokens;
  return fewer.size() <= more.size() && std::equal(fewer.begin(), fewer.end(), more.begin()) &&
         merge_lines(pair.tables()->vocab_bpe) == merge_lines(whole.tables()->vocab_bpe);
}

}  // namespace

std::optional<Tokenizer> read_hf_tokenizer(const fs::path& folder) {
  const fs::path whole_file = folder / "tokenizer.json";
  const fs::path vocab = folder / "vocab.json";
  const fs::path merges = folder / "merges.txt";
  std::error_code error;
  const bool has_whole = fs::exists(whole_file, error);
  const bool has_vocab = fs::exists(vocab, error);
  const bool has_merges = fs::exists(merges, error);
  if (has_vocab != has_merges) {
    fail_usage("{}: no such file, but {} is there; a tokenizer has both",
               one_line((has_vocab ? merges : vocab).string()),
               has_vocab ? "vocab.json" : "merges.txt");
  }
  if (!has_whole && !has_vocab) return std::nullopt;
  check_tokenizer_config(folder / "tokenizer_config.json");
  if (!has_whole) {
    const fs::path added = folder / "added_tokens.json";
    if (fs::exists(added, error)) {
      fail_usage(
          "{}: added tokens without a tokenizer.json; allowed: the folder of a fast "
          "tokenizer (save_pretrained writes it)",
          one_line(added.string()));
    }
    return Tokenizer::load(vocab, merges);
  }
  Tokenizer whole =
      parse_hf_tokenizer(read_bounded(whole_file, kMostTokenizerBytes), whole_file.string());
  if (!has_vocab) return whole;
  Tokenizer pair = Tokenizer::load(vocab, merges);
  if (!agree(pair, whole)) {
    fail_usage("{}: disagrees with vocab.json and merges.txt beside it; remove what is not meant",
               one_line(whole_file.string()));
  }
  if (pair.vocab_size() == whole.vocab_size()) return pair;
  return whole;
}

}  // namespace talaria::storage
