// SPDX-License-Identifier: Apache-2.0
// Every key of the job file, once: its type, default, allowed values and meaning. The parser reads
// by this table, a continued run is compared by it, and docs/job-file.md is checked against it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cluster/base/config.h"
#include "launch/job.h"

namespace talaria::launch {

inline constexpr std::int64_t kMostRanks = 1 << 20;
// Steps count in 32 bits of a random number's name (model/philox.h).
inline constexpr std::int64_t kMostSteps = std::numeric_limits<std::uint32_t>::max();

// Where a key's value lives in a Job; monostate for a key that only its default may be given to, or
// that other keys absorb (model.preset).
using Field = std::variant<std::monostate, bool*, int*, std::int64_t*, std::uint64_t*, double*,
                           std::string*, std::vector<std::string>*>;

enum class KeyType { kInteger, kReal, kBoolean, kString, kChoice, kStrings, kSources };

struct JobKey {
  std::string name;  // "train.steps"
  KeyType type = KeyType::kString;
  std::string meaning = {};
  Field (*field)(Job&) = nullptr;
  std::string default_text = {};  // shown where the default is not a plain value of Job
  std::string rule = {};          // what is allowed beyond the type, for the reference
  IntRange integers = {};
  RealRange reals = {};
  std::vector<std::string> choices = {};
  std::vector<std::string> later = {};  // words that the design knows and this version refuses
  bool only_false = false;              // a boolean that this version refuses to switch on
  std::vector<std::string> kinds = {};  // of jobs that may have it; empty: all

  std::string table() const { return name.substr(0, name.find('.')); }
  std::string key() const { return name.substr(name.find('.') + 1); }
};

const std::vector<JobKey>& job_keys();

struct Preset {
  std::string name;
  std::int64_t layers;
  std::int64_t hidden;
  std::int64_t heads;
  std::int64_t context;
};
// Named shapes; all have ffn = 4 hidden and GPT-2's vocabulary of 50257.
const std::vector<Preset>& model_presets();

// The value of a key as TOML text, so that equal texts are equal values; "" for a key without a
// field.
std::string show(const JobKey& key, const Job& job);
std::string show(const std::vector<DataSource>& sources);

// The reference of all keys as Markdown, one table a section: the body of docs/job-file.md.
std::string job_file_reference();

}  // namespace talaria::launch
