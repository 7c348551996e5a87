// SPDX-License-Identifier: Apache-2.0
#include "storage/text/prepare_record.h"

#include <cerrno>

#include <boost/json.hpp>
#include <fcntl.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "storage/text/progress.h"
#include "storage/text/tokenizer.h"

namespace talaria::storage {
namespace {

namespace json = boost::json;

constexpr int kRecordVersion = 1;

// Reads in blocks rather than by mapping, so that a file cut meanwhile is no crash.
std::string digest_of_file(const std::filesystem::path& path, ByteProgress& progress,
                           std::int64_t& done) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  DigestStream stream;
  std::vector<std::byte> block(std::size_t{1} << 18);
  while (true) {
    const ssize_t got = ::read(fd.get(), block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    check_sys(got, "read", path.string());
    if (got == 0) return digest_to_hex(stream.digest());
    stream.update(std::span(block).first(static_cast<std::size_t>(got)));
    done += got;
    progress.update(done);
  }
}

std::string header_digest_of(const TokenFile& file) {
  return digest_to_hex(file.header().header_digest);
}

}  // namespace

PrepareInput describe_input(const PrepareOptions& options, const std::vector<TextSource>& sources) {
  PrepareInput input;
  json::object record;
  if (options.tokenizer) {
    record["tokenizer"] = Tokenizer::load(*options.tokenizer).fingerprint();
  } else {
    record["vocab"] = options.vocab;
  }
  record["document_bytes"] = options.document_bytes;
  record["max_bad"] = options.max_bad;
  std::int64_t total = 0;
  for (const TextSource& source : sources) total += source.bytes;
  ByteProgress progress("checking", total);
  std::int64_t done = 0;
  json::array list;
  for (const TextSource& source : sources) {
    json::array files;
    for (const TextFile& file : source.files) {
      input.stamps.push_back(stamp_of(file.path));
      files.push_back({{"path", file.path.lexically_relative(source.path).string()},
                       {"bytes", file.bytes},
                       {"xxh3", digest_of_file(file.path, progress, done)}});
    }
    list.push_back({{"name", source.name}, {"files", std::move(files)}});
  }
  record["sources"] = std::move(list);
  input.text = json::serialize(record);
  return input;
}

void check_input_unchanged(const PrepareInput& input, const std::vector<TextSource>& sources) {
  std::size_t i = 0;
  for (const TextSource& source : sources) {
    for (const TextFile& file : source.files) {
      if (stamp_of(file.path) != input.stamps[i++]) {
        fail("{}: the file changed while it was read; run it again", file.path.string());
      }
    }
  }
}

void write_record(const PrepareOptions& options, const PrepareInput& input,
                  const PrepareResult& result) {
  json::array files;
  for (const PreparedSource& source : result.sources) {
    files.push_back({{"name", source.name},
                     {"bad_lines", source.bad_lines},
                     {"header_digest", header_digest_of(TokenFile(source.file))}});
  }
  const json::object record{{"version", kRecordVersion},
                            {"input", json::parse(input.text)},
                            {"tokenizer", result.tokenizer},
                            {"vocab", result.vocab},
                            {"token_files", std::move(files)}};
  write_file_atomic(options.out / kRecordFile, json::serialize(record) + "\n");
}

std::optional<PrepareResult> read_record(const PrepareOptions& options, const PrepareInput& input) {
  try {
    if (!std::filesystem::exists(options.out / kRecordFile)) return std::nullopt;
    const json::value record = json::parse(read_file(options.out / kRecordFile));
    if (record.at("version") != kRecordVersion) return std::nullopt;
    if (json::serialize(record.at("input")) != input.text) return std::nullopt;
    PrepareResult result;
    result.reused = true;
    result.tokenizer = record.at("tokenizer").as_string().c_str();
    const Tokenizer tokenizer = Tokenizer::load(options.out / "tokenizer");
    if (tokenizer.fingerprint() != result.tokenizer) return std::nullopt;
    result.vocab = tokenizer.vocab_size();
    for (const json::value& entry : record.at("token_files").as_array()) {
      PreparedSource source;
      source.name = entry.at("name").as_string().c_str();
      source.bad_lines = entry.at("bad_lines").as_int64();
      source.file = options.out / (source.name + ".tok");
      const TokenFile file(source.file);
      if (header_digest_of(file) != entry.at("header_digest").as_string()) return std::nullopt;
      source.documents = static_cast<std::int64_t>(file.documents().size());
      source.tokens = file.token_count();
      source.text_bytes = file.text_bytes();
      result.sources.push_back(std::move(source));
    }
    return result;
  } catch (const std::exception&) {
    return std::nullopt;  // whatever is wrong with it is made anew
  }
}

}  // namespace talaria::storage
