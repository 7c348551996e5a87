// SPDX-License-Identifier: Apache-2.0
#include "storage/text/text_source.h"

#include <algorithm>
#include <limits>

#include <simdjson.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "storage/text/line_reader.h"

namespace talaria::storage {
namespace {

constexpr std::size_t kCutFactor = 16;
constexpr std::size_t kSmallestCut = 1 << 15;
constexpr std::int64_t kBadLinesSaid = 20;
constexpr std::string_view kBlanks = " \t\n\v\f\r";
constexpr std::string_view kEndings = ".txt, .jsonl, .txt.zst, .jsonl.zst";

bool take_ending(std::string& name, std::string_view ending) {
  if (!name.ends_with(ending) || name.size() == ending.size()) return false;
  name.resize(name.size() - ending.size());
  return true;
}

// False when the ending is none that we read. `stem` becomes the name without it.
bool classify(TextFile& file, std::string& stem) {
  stem = file.path.filename().string();
  file.zstd = take_ending(stem, ".zst");
  file.jsonl = take_ending(stem, ".jsonl");
  return file.jsonl || take_ending(stem, ".txt");
}

void add_file(TextSource& source, TextFile file) {
  file.bytes = static_cast<std::int64_t>(std::filesystem::file_size(file.path));
  source.bytes += file.bytes;
  source.files.push_back(std::move(file));
}

void check_name(const std::string& argument, const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  };
  if (name.empty() || name[0] == '.' || !std::all_of(name.begin(), name.end(), allowed)) {
    fail_usage(
        "source {}: the name \"{}\" is to be made of letters, digits, '.', '_', '-'; give one "
        "as NAME=PATH",
        argument, name);
  }
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(kBlanks) == std::string_view::npos;
}

}  // namespace

TextSource find_text_source(const std::string& argument) {
  TextSource source;
  source.path = argument;
  const std::size_t equals = argument.find('=');
  if (!std::filesystem::exists(source.path) && equals != std::string::npos) {
    source.name = argument.substr(0, equals);
    source.path = argument.substr(equals + 1);
    check_name(argument, source.name);
  }
  if (!std::filesystem::exists(source.path)) {
    fail_usage("source {}: no such file or folder", source.path.string());
  }
  std::string stem;
  if (std::filesystem::is_directory(source.path)) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(source.path)) {
      TextFile file{entry.path()};
      if (entry.is_regular_file() && classify(file, stem)) add_file(source, std::move(file));
    }
    if (source.files.empty()) {
      fail_usage("source {}: the folder has no file that ends in {}", source.path.string(),
                 kEndings);
    }
    std::sort(source.files.begin(), source.files.end(),
              [](const TextFile& a, const TextFile& b) { return a.path < b.path; });
    const auto whole = std::filesystem::weakly_canonical(source.path);
    stem = whole.filename().string();
  } else {
    TextFile file{source.path};
    if (!classify(file, stem)) {
      fail_usage("source {}: a source ends in {} or is a folder of such files",
                 source.path.string(), kEndings);
    }
    add_file(source, std::move(file));
  }
  if (source.bytes == 0) fail_usage("source {}: empty, there is no text", source.path.string());
  if (source.name.empty()) source.name = stem;
  check_name(argument, source.name);
  return source;
}

void BadLines::add(const std::filesystem::path& file, std::int64_t line, std::string_view reason) {
  ++count_;
  if (count_ > allowed_) {
    fail_usage("{}:{}: {}; {} bad {} allowed ({})", file.string(), line, reason,
               allowed_ == 0 ? "no" : fmt::format("{}", allowed_),
               allowed_ == 1 ? "line is" : "lines are", option_);
  }
  if (quiet_ || count_ > kBadLinesSaid) return;
  log_warning("{}:{}: {}; the line is left out{}", file.string(), line, reason,
              count_ == kBadLinesSaid ? "; further ones are only counted" : "");
}

struct DocumentReader::State {
  TextFile file;
  std::size_t least;  // bytes of a document before a blank line ends it
  std::size_t cut;    // bytes after which the end of a line ends it, or of a piece of a longer one
  BadLines& bad;
  LineReader lines;
  std::int64_t line_number = 0;
  std::string blank;  // blank lines seen since the document's last line
  simdjson::dom::parser parser;
  std::string padded;

  State(const TextFile& text_file, std::size_t document_bytes, BadLines& bad_lines)
      : file(text_file),
        least(document_bytes),
        cut(std::max(kCutFactor * document_bytes, kSmallestCut)),
        bad(bad_lines),
        lines(file.path, file.zstd,
              file.jsonl ? std::numeric_limits<std::size_t>::max() / 2 : cut + 3) {}
};

DocumentReader::DocumentReader(const TextFile& file, std::int64_t document_bytes, BadLines& bad) {
  TALARIA_CHECK(document_bytes >= 1 && document_bytes <= kMaxDocumentBytes, "{}", document_bytes);
  state_ = std::make_unique<State>(file, static_cast<std::size_t>(document_bytes), bad);
}

DocumentReader::~DocumentReader() = default;

std::int64_t DocumentReader::consumed() const { return state_->lines.consumed(); }

bool DocumentReader::next(std::string& document) {
  document.clear();
  return state_->file.jsonl ? next_json(document) : next_paragraphs(document);
}

bool DocumentReader::next_paragraphs(std::string& document) {
  State& s = *state_;
  s.blank.clear();
  for (std::string_view line; s.lines.next(line);) {
    if (is_blank(line)) {
      if (document.size() >= s.least) return true;
      if (!document.empty()) s.blank += line;
      continue;
    }
    document += s.blank;
    s.blank.clear();
    document += line;
    if (document.size() >= s.cut) return true;
  }
  return !document.empty();
}

bool DocumentReader::next_json(std::string& document) {
  State& s = *state_;
  for (std::string_view line; s.lines.next(line);) {
    ++s.line_number;
    if (s.line_number == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    if (is_blank(line)) continue;
    s.padded.assign(line);
    s.padded.append(simdjson::SIMDJSON_PADDING, '\0');
    simdjson::dom::element element;
    std::string reason;
    std::string_view text;
    const auto error = s.parser.parse(s.padded.data(), line.size(), false).get(element);
    if (error != simdjson::SUCCESS) {
      reason = fmt::format("broken JSON: {}", simdjson::error_message(error));
    } else if (!element.is_object()) {
      reason = "not a JSON object";
    } else if (element["text"].error() == simdjson::NO_SUCH_FIELD) {
      reason = "the object has no \"text\"";
    } else if (element["text"].get(text) != simdjson::SUCCESS) {
      reason = "\"text\" is no string";
    } else if (text.empty()) {
      reason = "\"text\" is empty";
    } else {
      document = text;
      return true;
    }
    s.bad.add(s.file.path, s.line_number, reason);
  }
  return false;
}

}  // namespace talaria::storage
