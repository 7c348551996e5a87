// SPDX-License-Identifier: Apache-2.0
#include "storage/text/dataset.h"

#include <algorithm>
#include <cmath>

#include "cluster/base/error.h"
#include "storage/text/document_stream.h"
#include "storage/text/permutation.h"

namespace talaria::storage {
namespace {

// Validation samples come in the order of this key in every run, so that runs compare.
constexpr std::uint64_t kValidationKey = 0x7461'6C61'7269'61FFu;

__extension__ using Wide = __int128;

std::vector<double> weights_of(const DatasetConfig& config) {
  std::vector<double> weights;
  for (const SourceSpec& source : config.sources) weights.push_back(source.weight);
  return weights;
}

// A document is held out when its hash is below this: exactly hash / 2^64 < share.
std::uint64_t split_threshold(double share) {
  if (!(share >= 0 && share < 1)) {
    fail_usage("validation = {}: allowed are shares from 0 up to, but not including, 1", share);
  }
  const double scaled = std::ceil(std::ldexp(share, 64));
  return scaled >= 0x1p64 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(scaled);
}

// How many j >= 0 below `windows` have (2j + 1) / windows below (or, with `ties`, up to) the same
// expression of item `j` of `of`.
std::int64_t items_before(std::int64_t windows, std::int64_t j, std::int64_t of, bool ties) {
  // (2i + 1) / windows < (2j + 1) / of  <=>  i < limit / (2 of)
  const Wide limit = static_cast<Wide>(2 * j + 1) * windows - of;
  const Wide unit = static_cast<Wide>(2) * of;
  if (limit < 0 || (limit == 0 && !ties)) return 0;
  const Wide count = ties ? limit / unit + 1 : (limit + unit - 1) / unit;
  return static_cast<std::int64_t>(std::min<Wide>(count, windows));
}

}  // namespace

struct Dataset::Source {
  TokenFile file;
  DocumentStream training;
  DocumentStream validation;
  std::int64_t training_windows = 0;
  std::int64_t validation_windows = 0;

  Source(const std::string& path, std::uint64_t threshold, std::int64_t length) : file(path) {
    for (const TokenDocument& document : file.documents()) {
      (document.content_hash < threshold ? validation : training).append(document);
    }
    training_windows = training.size() > length ? training.size() / length : 0;
    validation_windows = std::max<std::int64_t>(0, (validation.size() - 1) / length);
  }
};

Dataset::Dataset(const DatasetConfig& config) : config_(config), mixture_(weights_of(config)) {
  const std::int64_t length = config.sequence_length;
  if (length < 1) fail_usage("sequence length {}: allowed are 1 and more", length);
  const std::uint64_t threshold = split_threshold(config.validation);
  for (const SourceSpec& spec : config.sources) {
    sources_.emplace_back(spec.path, threshold, length);
    const Source& source = sources_.back();
    const TokenFile& file = source.file;
    if (sources_.size() == 1) tokenizer_ = file.tokenizer();
    if (file.tokenizer() != tokenizer_) {
      fail_usage("{}: made with tokenizer {}, but {} with {}; prepare all sources together",
                 spec.path, file.tokenizer(), config.sources[0].path, tokenizer_);
    }
    if (file.vocab_size() > config.vocab) {
      fail_usage("{}: its ids go up to {}, but the model's vocabulary has {}; set model.vocab = {}",
                 spec.path, file.vocab_size() - 1, config.vocab, file.vocab_size());
    }
    if (file.token_count() == 0) {
      fail_usage("{}: the source is empty; leave it out or give it text", spec.path);
    }
    if (source.training_windows == 0) {
      fail_usage(
          "{}: {} training tokens ({} held out) make no window of {} + 1; give more text or "
          "a smaller train.sequence_length or data.validation",
          spec.path, source.training.size(), source.validation.size(), length);
    }
    validation_samples_ += source.validation_windows;
  }
}

Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

const Dataset::Source& Dataset::at(std::int64_t source) const {
  TALARIA_CHECK(source >= 0 && source < sources(), "source {}", source);
  return sources_[static_cast<std::size_t>(source)];
}

std::int64_t Dataset::sources() const { return static_cast<std::int64_t>(sources_.size()); }
std::int64_t Dataset::training_tokens(std::int64_t source) const {
  return at(source).training.size();
}
std::int64_t Dataset::training_windows(std::int64_t source) const {
  return at(source).training_windows;
}
std::int64_t Dataset::validation_windows(std::int64_t source) const {
  return at(source).validation_windows;
}

void Dataset::check_sample(std::int64_t index, std::size_t tokens) const {
  TALARIA_CHECK(index >= 0, "sample {}", index);
  TALARIA_CHECK(static_cast<std::int64_t>(tokens) == config_.sequence_length + 1,
                "{} tokens for T = {}", tokens, config_.sequence_length);
}

Dataset::Origin Dataset::training_origin(std::int64_t index) const {
  const Mixture::Slot slot = mixture_.at(index);
  const Source& source = at(slot.source);
  Origin origin{slot.source, slot.index / source.training_windows, 0, 0};
  const std::uint64_t key =
      mix_keys(mix_keys(config_.seed, static_cast<std::uint64_t>(slot.source)),
               static_cast<std::uint64_t>(origin.epoch));
  const Permutation order(source.training_windows, key);
  origin.window = order(slot.index % source.training_windows);
  const auto size = static_cast<std::uint64_t>(source.training.size());
  const std::uint64_t start = mix64(~key) % size;
  origin.first = static_cast<std::int64_t>(
      (start + static_cast<std::uint64_t>(origin.window * config_.sequence_length)) % size);
  return origin;
}

void Dataset::training_sample(std::int64_t index, std::span<std::int32_t> tokens) const {
  check_sample(index, tokens.size());
  const Origin origin = training_origin(index);
  const Source& source = at(origin.source);
  source.training.read(source.file, origin.first, tokens);
}

// Item j of a source with w windows lies at (2j + 1) / 2w on a line from 0 to 1; samples go along
// the line, sources in order at equal places.
Dataset::Origin Dataset::validation_origin(std::int64_t index) const {
  TALARIA_CHECK(index >= 0 && index < validation_samples_, "sample {}", index);
  const auto place_of = [&](std::int64_t source, std::int64_t item) {
    std::int64_t before = item;
    for (std::int64_t other = 0; other < sources(); ++other) {
      if (other == source) continue;
      before += items_before(at(other).validation_windows, item, at(source).validation_windows,
                             other < source);
    }
    return before;
  };
  for (std::int64_t source = 0; source < sources(); ++source) {
    std::int64_t low = 0;
    std::int64_t high = at(source).validation_windows;
    while (low < high) {  // the first item whose place is not before `index`
      const std::int64_t middle = low + (high - low) / 2;
      if (place_of(source, middle) < index) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == at(source).validation_windows || place_of(source, low) != index) continue;
    const Permutation order(at(source).validation_windows, kValidationKey);
    const std::int64_t window = order(low);
    return {source, 0, window, window * config_.sequence_length};
  }
  TALARIA_CHECK(false, "no source has validation sample {}", index);
  return {};
}

void Dataset::validation_sample(std::int64_t index, std::span<std::int32_t> tokens) const {
  check_sample(index, tokens.size());
  const Origin origin = validation_origin(index);
  const Source& source = at(origin.source);
  source.validation.read(source.file, origin.first, tokens);
}

void Dataset::set_token_bytes(std::vector<std::int32_t> bytes) {
  const std::int64_t vocab = sources_[0].file.vocab_size();
  if (static_cast<std::int64_t>(bytes.size()) != vocab) {
    fail_usage(
        "a tokenizer of {} ids for token files of {}; give the tokenizer they were made with",
        bytes.size(), vocab);
  }
  token_bytes_ = std::move(bytes);
}

std::int64_t Dataset::validation_bytes(std::int64_t index) const {
  TALARIA_CHECK(!token_bytes_.empty(), "set_token_bytes comes first");
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(config_.sequence_length) + 1);
  validation_sample(index, tokens);
  std::int64_t bytes = 0;
  for (const std::int32_t id : std::span(tokens).subspan(1)) {
    bytes += token_bytes_[static_cast<std::size_t>(id)];
  }
  return bytes;
}

std::string Dataset::fingerprint() const {
  DigestStream stream;
  for (const Source& source : sources_) {
    // Covers header and table, and through the header's digest of the ids, the ids.
    stream.update(std::as_bytes(std::span(source.file.header().header_digest)));
  }
  return digest_to_hex(stream.digest());
}

void Dataset::check_unchanged() const {
  for (const Source& source : sources_) source.file.check_unchanged();
}

}  // namespace talaria::storage
