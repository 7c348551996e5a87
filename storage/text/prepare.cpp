// SPDX-License-Identifier: Apache-2.0
#include "storage/text/prepare.h"

#include <functional>
#include <set>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "storage/text/prepare_record.h"
#include "storage/text/progress.h"
#include "storage/text/tokenizer_training.h"

namespace talaria::storage {
namespace {

// Text held at a time; threads share one batch.
constexpr std::size_t kBatchBytes = std::size_t{1} << 23;

std::vector<TextSource> find_sources(const std::vector<std::string>& arguments) {
  std::vector<TextSource> sources;
  std::set<std::string> names;
  for (const std::string& argument : arguments) {
    sources.push_back(find_text_source(argument));
    if (!names.insert(sources.back().name).second) {
      fail_usage("source {}: a second source is named \"{}\"; give one another name as NAME=PATH",
                 argument, sources.back().name);
    }
  }
  return sources;
}

// Holds the folder for as long as it lives; the kernel lets go when the process dies.
UniqueFd lock_folder(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  UniqueFd fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) fail_errno("flock", folder.string());
  fail_usage("{}: another `data prepare` is at work there; wait for it or choose another --out",
             folder.string());
}

using Batch = std::function<void(const std::vector<std::string>& documents)>;

// Calls `batch` with all documents of a source, in order. Returns the number of bad lines. Throws
// UsageError when there is no document.
std::int64_t for_each_batch(const TextSource& source, const PrepareOptions& options, bool quiet,
                            ByteProgress& progress, std::int64_t& done, const Batch& batch) {
  BadLines bad(options.max_bad, quiet);
  std::vector<std::string> documents;
  std::size_t bytes = 0;
  bool any = false;
  const auto hand_over = [&](std::int64_t consumed) {
    batch(documents);
    documents.clear();
    bytes = 0;
    progress.update(done + consumed);
  };
  for (const TextFile& file : source.files) {
    DocumentReader reader(file, options.document_bytes, bad);
    for (std::string document; reader.next(document);) {
      any = true;
      bytes += document.size();
      documents.push_back(std::move(document));
      if (bytes >= kBatchBytes) hand_over(reader.consumed());
    }
    done += file.bytes;
  }
  if (!any) fail_usage("source {}: there is no text in it", source.path.string());
  hand_over(0);
  return bad.count();
}

Tokenizer train(const std::vector<TextSource>& sources, const PrepareOptions& options,
                std::int64_t total, ThreadPool& pool) {
  TokenizerTrainer trainer;
  ByteProgress progress("counting", total);
  std::int64_t done = 0;
  for (const TextSource& source : sources) {
    for_each_batch(source, options, false, progress, done,
                   [&](const auto& documents) { trainer.count(documents, pool); });
  }
  progress.finish();
  Tokenizer tokenizer = trainer.train(options.vocab);
  log_info("trained a tokenizer of {} ids", tokenizer.vocab_size());
  return tokenizer;
}

PreparedSource encode_source(const TextSource& source, const PrepareOptions& options,
                             const Tokenizer& tokenizer, ByteProgress& progress, std::int64_t& done,
                             ThreadPool& pool) {
  PreparedSource prepared;
  prepared.name = source.name;
  prepared.file = options.out / (source.name + ".tok");
  TokenFileWriter writer(prepared.file, tokenizer.vocab_size(), tokenizer.end_of_text(),
                         tokenizer.fingerprint());
  const bool said_before = !options.tokenizer;  // by the pass that counted words
  prepared.bad_lines = for_each_batch(source, options, said_before, progress, done,
                                      [&](const std::vector<std::string>& documents) {
                                        const auto ids = tokenizer.encode_all(documents, pool);
                                        for (std::size_t i = 0; i < documents.size(); ++i)
                                          writer.add(documents[i], ids[i]);
                                      });
  writer.commit();
  prepared.documents = static_cast<std::int64_t>(writer.header().documents);
  prepared.tokens = static_cast<std::int64_t>(writer.header().token_count);
  prepared.text_bytes = static_cast<std::int64_t>(writer.header().text_bytes);
  return prepared;
}

// From here on the folder is unfinished until the new record is written.
void forget_record(const std::filesystem::path& folder) {
  if (std::filesystem::remove(folder / kRecordFile)) sync_directory(folder);
}

}  // namespace

void PrepareOptions::validate() const {
  if (out.empty()) fail_usage("--out is empty; give a folder for the token files");
  if (sources.empty()) fail_usage("no source is given; give text files or folders");
  if (threads < 1 || threads > 1024) fail_usage("--threads {}: allowed are 1 .. 1024", threads);
  if (!tokenizer && (vocab < kSmallestVocab || vocab > kLargestTrainedVocab)) {
    fail_usage("--vocab {}: allowed are {} .. {}", vocab, kSmallestVocab, kLargestTrainedVocab);
  }
  if (document_bytes < 1 || document_bytes > kMaxDocumentBytes) {
    fail_usage("--document-bytes {}: allowed are 1 .. {}", document_bytes, kMaxDocumentBytes);
  }
  if (max_bad < 0) fail_usage("--max-bad {}: allowed are 0 and more", max_bad);
  if (std::filesystem::exists(out) && !std::filesystem::is_directory(out)) {
    fail_usage("--out {}: is a file; give a folder", out.string());
  }
}

PrepareResult prepare(const PrepareOptions& options) {
  options.validate();
  const std::vector<TextSource> sources = find_sources(options.sources);
  const UniqueFd lock = lock_folder(options.out);
  const PrepareInput input = describe_input(options, sources);
  if (!options.again) {
    if (auto found = read_record(options, input)) return *found;
  }
  forget_record(options.out);
  std::int64_t total = 0;
  for (const TextSource& source : sources) total += source.bytes;
  ThreadPool pool(options.threads);
  const Tokenizer tokenizer = options.tokenizer ? Tokenizer::load(*options.tokenizer)
                                                : train(sources, options, total, pool);
  tokenizer.save(options.out / "tokenizer");
  PrepareResult result;
  result.tokenizer = tokenizer.fingerprint();
  result.vocab = tokenizer.vocab_size();
  ByteProgress progress("encoding", total);
  std::int64_t done = 0;
  for (const TextSource& source : sources) {
    result.sources.push_back(encode_source(source, options, tokenizer, progress, done, pool));
  }
  progress.finish();
  check_input_unchanged(input, sources);
  write_record(options, input, result);
  return result;
}

}  // namespace talaria::storage
