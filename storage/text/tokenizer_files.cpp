// SPDX-License-Identifier: Apache-2.0
// The two files of a tokenizer: read with every oddity named by line or offset, and written in
// exactly GPT-2's form, so that GPT-2's own folder survives load and save byte for byte.
#include <algorithm>
#include <optional>
#include <unordered_map>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "storage/text/byte_alphabet.h"
#include "storage/text/flat_json.h"
#include "storage/text/hash.h"
#include "storage/text/tokenizer.h"
#include "storage/text/utf8.h"

namespace talaria::storage {
namespace {

constexpr std::string_view kMergesHeader = "#version:";
constexpr std::int64_t kMaxVocab = std::int64_t{1} << 24;

using Vocabulary = std::unordered_map<std::string, std::uint32_t>;

// What goes wrong in one text file is said with the line, counted from 1, and the byte offset.
struct Place {
  std::string file;
  std::string_view text;

  template <class... Args>
  [[noreturn]] void fail_at(std::size_t offset, fmt::format_string<Args...> format,
                            Args&&... args) const {
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, text.size()));
    const auto line = 1 + std::count(text.begin(), end, '\n');
    fail_usage("{}:{}: byte {}: {}", file, line, offset,
               fmt::format(format, std::forward<Args>(args)...));
  }
};

std::string read_required(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    fail_usage(
        "{}: no such file; a tokenizer is a folder with {} and {} (GPT-2's, or made by "
        "`data prepare`)",
        path.string(), kEncoderFile, kMergesFile);
  }
  return read_file(path);
}

// At most 40 bytes of a name that stands in a message, on one line.
std::string shown(std::string_view name) {
  std::string text;
  for (const char c : name.substr(0, 40)) text += c < ' ' && c >= 0 ? '?' : c;
  return text + (name.size() > 40 ? "..." : "");
}

// encoder.json: calls entry(name, id, offset) for each, in the order of the file.
template <class Entry>
void read_entries(const Place& place, Entry&& entry) {
  try {
    read_flat_json(place.text, entry);
  } catch (const FlatJsonError& error) {
    place.fail_at(error.offset, "{}; the file is one JSON object {{\"token\": id, ...}}",
                  error.what());
  }
}

Vocabulary read_vocabulary(const Place& place, TokenizerTables& tables) {
  Vocabulary ids;
  std::vector<bool> seen;
  std::int64_t largest = -1;
  std::size_t largest_at = 0;
  std::optional<std::int32_t> end_of_text;
  read_entries(place, [&](std::string_view name, std::int64_t id, std::size_t at) {
    if (id < 0 || id >= kMaxVocab) {
      place.fail_at(at, "id {} of \"{}\"; allowed are 0 .. {}", id, shown(name), kMaxVocab - 1);
    }
    const auto slot = static_cast<std::size_t>(id);
    if (seen.size() <= slot) {
      seen.resize(slot + 1);
      tables.tokens.resize(slot + 1);
    }
    if (seen[slot]) place.fail_at(at, "id {} of \"{}\" is taken already", id, shown(name));
    seen[slot] = true;
    if (id > largest) {
      largest = id;
      largest_at = at;
    }
    if (name == kEndOfText) {
      if (end_of_text) place.fail_at(at, "a second entry \"{}\"", kEndOfText);
      end_of_text = static_cast<std::int32_t>(id);
      tables.tokens[slot] = name;
      return;
    }
    const std::optional<std::string> bytes = from_alphabet(name);
    if (!bytes || bytes->empty()) {
      place.fail_at(at, "\"{}\" is not written in GPT-2's byte alphabet", shown(name));
    }
    if (!ids.emplace(*bytes, static_cast<std::uint32_t>(id)).second) {
      place.fail_at(at, "a second entry \"{}\"", shown(name));
    }
    tables.tokens[slot] = *bytes;
  });
  const auto hole = std::find(seen.begin(), seen.end(), false);
  if (hole != seen.end()) {
    place.fail_at(largest_at, "id {} has no entry though ids go up to {}", hole - seen.begin(),
                  largest);
  }
  if (!end_of_text) place.fail_at(place.text.size(), "no entry \"{}\"", kEndOfText);
  tables.end_of_text = *end_of_text;
  return ids;
}

void set_byte_ids(const Place& place, const Vocabulary& ids, TokenizerTables& tables) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    const auto found = ids.find(text);
    if (found == ids.end()) {
      place.fail_at(place.text.size(), "no entry \"{}\" for the byte 0x{:02x}; all 256 are needed",
                    to_alphabet(text), byte);
    }
    tables.byte_ids[static_cast<std::size_t>(byte)] = found->second;
  }
}

void read_merges(const Place& place, const Vocabulary& ids, const std::string& encoder,
                 TokenizerTables& tables) {
  const auto lines =
      static_cast<std::size_t>(std::count(place.text.begin(), place.text.end(), '\n')) + 1;
  tables.merges = MergeTable(lines);
  std::uint32_t rank = 0;
  for (std::size_t at = 0; at < place.text.size();) {
    const std::size_t begin = at;
    std::string_view line = place.text.substr(at, place.text.find('\n', at) - at);
    at += line.size() + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (begin == 0 && line.starts_with(kMergesHeader))) continue;
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos) {
      place.fail_at(begin, "\"{}\"; expected two tokens with one blank between", shown(line));
    }
    const auto id_of = [&](std::string_view name, const std::string& bytes) {
      const auto found = ids.find(bytes);
      if (found == ids.end()) {
        place.fail_at(begin, "\"{}\" has no entry in {}", shown(name), encoder);
      }
      return found->second;
    };
    const auto bytes_of = [&](std::string_view name) {
      const std::optional<std::string> bytes = from_alphabet(name);
      if (!bytes || bytes->empty()) {
        place.fail_at(begin, "\"{}\" is not written in GPT-2's byte alphabet", shown(name));
      }
      return *bytes;
    };
    const std::string_view left = line.substr(0, blank);
    const std::string_view right = line.substr(blank + 1);
    const std::string left_bytes = bytes_of(left);
    const std::string right_bytes = bytes_of(right);
    const std::uint32_t left_id = id_of(left, left_bytes);
    const std::uint32_t right_id = id_of(right, right_bytes);
    const std::uint32_t token =
        id_of(std::string(left) + std::string(right), left_bytes + right_bytes);
    if (!tables.merges.add(left_id, right_id, {rank++, token})) {
      place.fail_at(begin, "the merge \"{}\" is there already", shown(line));
    }
  }
}

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    const char c = text[at];
    if (length == 1) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    } else {  // the alphabet ends at U+0143: two bytes
      const unsigned code = (static_cast<unsigned char>(c) & 0x1Fu) << 6 |
                            (static_cast<unsigned char>(text[at + 1]) & 0x3Fu);
      quoted += fmt::format("\\u{:04x}", code);
    }
    at += length;
  }
  return quoted + '"';
}

std::string fingerprint_of(const TokenizerTables& tables) {
  DigestStream stream;
  stream.update(tables.encoder_json);
  stream.update(tables.vocab_bpe);
  return digest_to_hex(stream.digest());
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& folder) {
  return load(folder / kEncoderFile, folder / kMergesFile);
}

Tokenizer Tokenizer::load(const std::filesystem::path& encoder,
                          const std::filesystem::path& merges) {
  auto tables = std::make_shared<TokenizerTables>();
  tables->encoder_json = read_required(encoder);
  tables->vocab_bpe = read_required(merges);
  const Place in_encoder{encoder.string(), tables->encoder_json};
  const Vocabulary ids = read_vocabulary(in_encoder, *tables);
  set_byte_ids(in_encoder, ids, *tables);
  read_merges({merges.string(), tables->vocab_bpe}, ids, encoder.filename().string(), *tables);
  tables->fingerprint = fingerprint_of(*tables);
  return Tokenizer(std::move(tables));
}

Tokenizer Tokenizer::assemble(std::vector<std::string> tokens, const std::vector<MergeLine>& merges,
                              std::int32_t end_of_text) {
  auto tables = std::make_shared<TokenizerTables>();
  tables->tokens = std::move(tokens);
  tables->end_of_text = end_of_text;
  std::vector<std::string> names;
  for (std::size_t id = 0; id < tables->tokens.size(); ++id) {
    const std::string& bytes = tables->tokens[id];
    const bool is_end = static_cast<std::int32_t>(id) == end_of_text;
    names.push_back(is_end ? std::string(kEndOfText) : to_alphabet(bytes));
    tables->encoder_json +=
        fmt::format("{}{}: {}", id == 0 ? "{" : ", ", json_string(names.back()), id);
    if (bytes.size() == 1 && !is_end) {
      tables->byte_ids[static_cast<std::uint8_t>(bytes[0])] = static_cast<std::uint32_t>(id);
    }
  }
  tables->encoder_json += '}';
  tables->vocab_bpe = fmt::format("{} 0.2\n", kMergesHeader);
  tables->merges = MergeTable(merges.size());
  std::uint32_t rank = 0;
  for (const MergeLine& line : merges) {
    tables->vocab_bpe += fmt::format("{} {}\n", names[line.left], names[line.right]);
    const bool added = tables->merges.add(line.left, line.right, {rank++, line.token});
    TALARIA_CHECK(added, "merge of {} and {} twice", line.left, line.right);
  }
  tables->fingerprint = fingerprint_of(*tables);
  return Tokenizer(std::move(tables));
}

void Tokenizer::save(const std::filesystem::path& folder) const {
  std::filesystem::create_directories(folder);
  write_file_atomic(folder / kEncoderFile, tables_->encoder_json);
  write_file_atomic(folder / kMergesFile, tables_->vocab_bpe);
}

}  // namespace talaria::storage
