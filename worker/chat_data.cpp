// SPDX-License-Identifier: Apache-2.0
#include "worker/chat_data.h"

#include <cmath>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/log.h"
#include "storage/text/hash.h"

namespace talaria::worker {

storage::ChatOptions chat_options(const launch::Job& job, std::int64_t max_tokens, bool leads) {
  storage::ChatOptions options;
  options.chat_template = job.data.chat;
  options.max_tokens = max_tokens;
  options.max_bad_lines = job.data.max_bad_lines;
  options.quiet = !leads;
  options.bad_lines_option = "data.max_bad_lines";
  return options;
}

storage::Tokenizer open_tokenizer(const launch::Job& job) {
  storage::Tokenizer tokenizer = storage::Tokenizer::load(job.data.tokenizer);
  if (tokenizer.vocab_size() > job.model.vocab) {
    fail_usage(
        "{}: the tokenizer has {} ids, model.vocab is {}; allowed: a tokenizer of at most "
        "that many, the one that the model was trained with",
        job.data.tokenizer, tokenizer.vocab_size(), job.model.vocab);
  }
  return tokenizer;
}

std::string files_fingerprint(const launch::Job& job, const std::vector<std::string>& files,
                              const storage::Tokenizer& tokenizer) {
  storage::DigestStream digest;
  digest.update(job.data.chat);
  digest.update(tokenizer.fingerprint());
  for (const std::string& file : files) {
    const std::string content = read_file(file);
    digest.update(fmt::format(":{}:", content.size()));
    digest.update(content);
  }
  return storage::digest_to_hex(digest.digest());
}

std::string skipped_text(const storage::ChatCounts& counts) {
  std::string skipped;
  const auto add = [&](std::int64_t number, const char* why) {
    if (number > 0) skipped += fmt::format("{}{} {}", skipped.empty() ? "" : ", ", number, why);
  };
  add(counts.bad, "bad");
  add(counts.too_long, "too long");
  add(counts.no_shared_turn, "without a shared turn");
  add(counts.equal, "with equal answers");
  if (!counts.first_bad.empty()) skipped += fmt::format(" ({})", counts.first_bad);
  return skipped;
}

void tell_counts(const storage::ChatCounts& counts, const char* what, std::size_t training,
                 std::optional<std::size_t> validation) {
  const std::string skipped = skipped_text(counts);
  const std::string split =
      validation ? fmt::format(" for training, {} for validation", *validation) : "";
  log_info("{} {}{}{}{}", training, what, split, skipped.empty() ? "" : "; skipped ", skipped);
}

void check_selectable(const launch::Job& job, std::size_t validation) {
  if (job.checkpoint.select != "best" || validation > 0) return;
  fail_usage(
      "checkpoint.select: found \"best\", but no line is kept for validation (data.validation = "
      "{}); raise data.validation, or choose \"last\"",
      job.data.validation);
}

bool is_validation(std::uint64_t hash, double share) {
  return static_cast<double>(hash) < share * 0x1p64;
}

void append_row(const storage::Row& row, model::Batch& batch) {
  batch.length = static_cast<std::int64_t>(row.inputs.size());
  batch.inputs.insert(batch.inputs.end(), row.inputs.begin(), row.inputs.end());
  batch.targets.insert(batch.targets.end(), row.targets.begin(), row.targets.end());
  batch.starts.insert(batch.starts.end(), row.starts.begin(), row.starts.end());
  batch.weights.insert(batch.weights.end(), row.weights.begin(), row.weights.end());
}

void append_window(const storage::Dataset& data, std::int64_t sample, float weight,
                   model::Batch& batch) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(batch.length) + 1);
  data.training_sample(sample, ids);
  batch.inputs.insert(batch.inputs.end(), ids.begin(), ids.end() - 1);
  batch.targets.insert(batch.targets.end(), ids.begin() + 1, ids.end());
  batch.starts.insert(batch.starts.end(), ids.size() - 1, 0);
  batch.weights.insert(batch.weights.end(), ids.size() - 1, weight);
}

}  // namespace talaria::worker
