// SPDX-License-Identifier: Apache-2.0
// The keys and values of a job file as text: for comparisons, and for the reference in
// docs/job-file.md.
#include <string>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "cluster/base/text.h"
#include "launch/job_keys.h"

namespace talaria::launch {

namespace {

std::string in_code(const std::vector<std::string>& words) {
  std::vector<std::string> shown;
  shown.reserve(words.size());
  for (const std::string& word : words) shown.push_back(fmt::format("`\"{}\"`", word));
  return join_or(shown);
}

std::string allowed_text(const JobKey& key) {
  std::string allowed;
  switch (key.type) {
    case KeyType::kInteger:
      allowed = describe(key.integers);
      break;
    case KeyType::kReal:
      allowed = describe(key.reals);
      break;
    case KeyType::kBoolean:
      allowed = key.only_false ? "`false`" : "`true` or `false`";
      break;
    case KeyType::kChoice:
      allowed = in_code(key.choices);
      break;
    case KeyType::kString:
      allowed = key.rule.empty() ? "a string" : "";
      break;
    case KeyType::kStrings:
    case KeyType::kSources:
      break;
  }
  if (!key.rule.empty()) allowed += (allowed.empty() ? "" : "; ") + key.rule;
  if (!key.kinds.empty()) {
    if (!allowed.empty()) allowed += "; ";
    allowed += "with kind " + in_code(key.kinds);
  }
  if (key.only_false) allowed += "; not available in this version: `true`";
  if (!key.later.empty()) allowed += "; not available in this version: " + in_code(key.later);
  return allowed;
}

std::string as_toml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return fmt::format("\"{}\"", one_line(escaped));
}

std::string as_toml(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ", ") + as_toml(word);
  return fmt::format("[{}]", list);
}

struct Show {
  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(const std::string* value) const { return as_toml(*value); }
  std::string operator()(const std::vector<std::string>* value) const { return as_toml(*value); }
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const double* value) const { return fmt::format("{}", *value); }
  template <class Int>
  std::string operator()(const Int* value) const {
    return fmt::format("{}", *value);
  }
};

}  // namespace

std::string show(const JobKey& key, const Job& job) {
  if (key.field == nullptr) return "";
  Job copy = job;  // `field` gives writable pointers
  const Field field = key.field(copy);
  if (key.type == KeyType::kChoice) {
    if (const auto* const* index = std::get_if<bool*>(&field)) {
      return as_toml(key.choices[**index ? 1 : 0]);
    }
  }
  return std::visit(Show{}, field);
}

std::string show(const std::vector<DataSource>& sources) {
  std::string text;
  for (const DataSource& source : sources) {
    text += fmt::format("{}{{ path = {}, weight = {} }}", text.empty() ? "" : ", ",
                        as_toml(source.path), source.weight);
  }
  return fmt::format("[{}]", text);
}

std::string job_file_reference() {
  static const char* const kTypes[] = {"integer", "number",           "boolean",        "string",
                                       "string",  "array of strings", "array of tables"};
  std::string out;
  std::string table;
  const Job defaults;
  for (const JobKey& key : job_keys()) {
    if (key.table() != table) {
      table = key.table();
      out += fmt::format(
          "{}### [{}]\n\n| key | type | default | allowed | meaning |\n"
          "| --- | --- | --- | --- | --- |\n",
          out.empty() ? "" : "\n", table);
    }
    const std::string value = key.default_text.empty() ? show(key, defaults) : key.default_text;
    out += fmt::format("| `{}` | {} | {} | {} | {} |\n", key.key(),
                       kTypes[static_cast<int>(key.type)], value, allowed_text(key), key.meaning);
  }
  return out;
}

}  // namespace talaria::launch
