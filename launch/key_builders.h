// SPDX-License-Identifier: Apache-2.0
// Shorthand for the lines of the table of keys (job_keys.h); used by the files that fill it.
#pragma once

#include <utility>

#include "launch/job_keys.h"

namespace talaria::launch {

inline constexpr std::int64_t kMostInt = std::numeric_limits<int>::max();

// The field `path` of a Job.
#define FIELD(path) [](Job& job) -> Field { return &job.path; }

inline JobKey integer(const char* name, IntRange range, Field (*field)(Job&), const char* meaning,
                      const char* default_text = "", const char* rule = "") {
  return {.name = name,
          .type = KeyType::kInteger,
          .meaning = meaning,
          .field = field,
          .default_text = default_text,
          .rule = rule,
          .integers = range};
}

inline JobKey real(const char* name, RealRange range, Field (*field)(Job&), const char* meaning,
                   const char* default_text = "", const char* rule = "") {
  return {.name = name,
          .type = KeyType::kReal,
          .meaning = meaning,
          .field = field,
          .default_text = default_text,
          .rule = rule,
          .reals = range};
}

inline JobKey text(const char* name, Field (*field)(Job&), const char* meaning,
                   const char* default_text = "", const char* rule = "") {
  return {.name = name,
          .type = KeyType::kString,
          .meaning = meaning,
          .field = field,
          .default_text = default_text,
          .rule = rule};
}

inline JobKey strings(const char* name, Field (*field)(Job&), const char* meaning,
                      const char* rule) {
  return {
      .name = name, .type = KeyType::kStrings, .meaning = meaning, .field = field, .rule = rule};
}

inline JobKey choice(const char* name, std::vector<std::string> choices, Field (*field)(Job&),
                     const char* meaning, const char* default_text = "",
                     std::vector<std::string> later = {}) {
  return {.name = name,
          .type = KeyType::kChoice,
          .meaning = meaning,
          .field = field,
          .default_text = default_text,
          .choices = std::move(choices),
          .later = std::move(later)};
}

inline JobKey boolean(const char* name, Field (*field)(Job&), const char* meaning,
                      bool only_false = false) {
  return {.name = name,
          .type = KeyType::kBoolean,
          .meaning = meaning,
          .field = field,
          .default_text = only_false ? "false" : "",
          .only_false = only_false};
}

// The keys of chat data, reward models and PPO.
void add_start(std::vector<JobKey>& keys);
void add_chat_data(std::vector<JobKey>& keys);
void add_recipes(std::vector<JobKey>& keys);

}  // namespace talaria::launch
