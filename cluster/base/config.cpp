// SPDX-License-Identifier: Apache-2.0
// The only place that knows toml++. Line numbers come from its source regions; a value set by an
// override is blamed on the override ("--set table.key") instead of on a line of the file.
#include "cluster/base/config.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <sstream>
#include <utility>

#include <toml++/toml.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "cluster/base/toml_text.h"

namespace talaria {

struct ConfigFile::State {
  toml::table root;
  std::string name;
  std::string text;
  std::vector<std::string> overrides;
  std::vector<std::string> overridden;  // full keys
};

namespace {

[[noreturn]] void refuse_line(const std::string& message) { throw UsageError(one_line(message)); }

std::string show_key(std::string_view key) {
  return is_bare_key(key) ? std::string(key) : in_quotes(key);
}

// What a user wrote, for "found ...".
std::string describe(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "the string " + in_quotes(node.as_string()->get());
    case toml::node_type::integer:
      return fmt::format("{}", node.as_integer()->get());
    case toml::node_type::floating_point:
      return fmt::format("{:#}", node.as_floating_point()->get());  // 2.0, not 2
    case toml::node_type::boolean:
      return node.as_boolean()->get() ? "true" : "false";
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    default:
      return "a date or time";
  }
}

[[noreturn]] void refuse_text(std::string_view text, const std::string& name, std::uint32_t line,
                              const std::string& what) {
  const std::string key = key_in_line(text, line);
  refuse_line(fmt::format("{}:{}: {}{}; allowed: TOML 1.0", name, line,
                          key.empty() ? "" : key + ": ", what));
}

[[noreturn]] void refuse_syntax(const toml::parse_error& error, std::string_view text,
                                const std::string& name) {
  std::string what(error.description());
  const std::string_view noise = "Error while parsing ";
  const std::size_t colon = what.find(": ");
  if (what.starts_with(noise) && colon != std::string::npos) what.erase(0, colon + 2);
  refuse_text(text, name, std::max<std::uint32_t>(1, error.source().begin.line), what);
}

std::vector<std::string> split_key(const std::string& key) {
  std::vector<std::string> parts;
  std::string part;
  std::istringstream stream(key);
  while (std::getline(stream, part, '.')) parts.push_back(part);
  if (key.ends_with('.')) parts.emplace_back();
  return parts;
}

// `text` as a TOML value, or nothing when it is none (or more than one: `1\nother = 2`).
std::optional<toml::table> parse_value(const std::string& text) {
  const std::string line = "value = " + text;
  if (find_text_fault(line)) return std::nullopt;
  try {
    toml::table parsed = toml::parse(line);
    if (parsed.size() == 1 && parsed.contains("value")) return parsed;
  } catch (const toml::parse_error&) {
    return std::nullopt;
  }
  return std::nullopt;
}

bool inside(double value, const RealRange& range) {
  if (!std::isfinite(value) || value < range.low || value > range.high) return false;
  return !(range.open_low && value == range.low) && !(range.open_high && value == range.high);
}

bool is_digits(std::string_view text) {
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isdigit(c) != 0 || c == '_';
  });
}

// Removes what the entries of [[stage]] say about the key `parts`.
void drop_from_stages(toml::table& root, const std::vector<std::string>& parts) {
  toml::array* const stages = root["stage"].as_array();
  if (stages == nullptr) return;
  for (toml::node& entry : *stages) {
    toml::table* table = entry.as_table();
    for (std::size_t i = 0; table != nullptr && i + 1 < parts.size(); ++i) {
      toml::node* const inner = table->get(parts[i]);
      table = inner == nullptr ? nullptr : inner->as_table();
    }
    // An override of one part is none of a stage's own keys (its name).
    if (table != nullptr && parts.size() > 1) table->erase(parts.back());
  }
}

// Puts `node`, with the lines it has, into `table` in place of what stands there.
void move_into(toml::table& table, const toml::key& key, toml::node& node) {
  table.erase(key);  // else the old key stays, with its line
  node.visit([&](auto& value) { table.insert_or_assign(key, std::move(value)); });
}

// Moves the keys of the table `name` of `entry` into the table of that name of `root`.
void lay_table_over(toml::table& root, toml::table& entry, const std::string& name) {
  const auto at = entry.find(name);
  if (at == entry.end() || !at->second.is_table()) return;
  toml::node* const below = root.get(name);
  if (below == nullptr) {
    move_into(root, at->first, at->second);
  } else if (below->is_table()) {
    for (auto&& [key, value] : *at->second.as_table()) move_into(*below->as_table(), key, value);
  }
}

// Moves the key `from` of `entry` to the key `to` of `root`, whose tables are made where missing.
void lay_key_over(toml::table& root, toml::table& entry, const std::string& from,
                  const std::vector<std::string>& to) {
  const auto at = entry.find(from);
  if (at == entry.end()) return;
  toml::table* table = &root;
  for (std::size_t i = 0; i + 1 < to.size(); ++i) {
    if (table->get(to[i]) == nullptr) table->insert(to[i], toml::table{});
    table = table->get(to[i])->as_table();
    if (table == nullptr) return;  // whoever reads the table refuses it
  }
  move_into(*table, toml::key(to.back(), at->first.source()), at->second);
}

// Sets one "table.key=value" in `root` and returns its full key.
std::string apply_override(toml::table& root, const std::string& text) {
  const std::size_t equals = text.find('=');
  std::string key = text.substr(0, equals);
  const std::vector<std::string> parts = split_key(key);
  constexpr std::size_t kMostParts = 8;
  if (equals == std::string::npos || parts.empty() || parts.size() > kMostParts ||
      !std::all_of(parts.begin(), parts.end(),
                   [](const auto& part) { return is_bare_key(part); })) {
    refuse_line(
        fmt::format("--set {}: not an override; allowed: table.key=value, for example "
                    "--set train.steps=100",
                    in_quotes(text)));
  }
  if (utf8_prefix(text) != text.size()) {
    refuse_line(fmt::format("--set {}: a byte that is not UTF-8; allowed: text in UTF-8", key));
  }
  toml::table* table = &root;
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    toml::node* const node = table->get(parts[i]);
    if (node != nullptr && !node->is_table()) {
      refuse_line(fmt::format("--set {}: {} is {}; allowed: a key of a table", key, parts[i],
                              describe(*node)));
    }
    if (node == nullptr) table->insert(parts[i], toml::table{});
    table = table->get(parts[i])->as_table();
  }
  const std::string value = text.substr(equals + 1);
  if (const std::optional<toml::table> parsed = parse_value(value)) {
    table->insert_or_assign(parts.back(), *parsed->get("value"));
  } else if (is_digits(value)) {
    refuse_line(
        fmt::format("--set {}: {} does not fit 64 bits or is no number; allowed: a TOML "
                    "value",
                    key, value));
  } else {
    table->insert_or_assign(parts.back(), value);
  }
  drop_from_stages(root, parts);
  return key;
}

const toml::table& as_table(const void* node) { return *static_cast<const toml::table*>(node); }

}  // namespace

std::string describe(const IntRange& range) {
  const IntRange any;
  if (range.low == any.low && range.high == any.high) return "an integer";
  if (range.high == any.high) return fmt::format("an integer of {} or more", range.low);
  if (range.low == any.low) return fmt::format("an integer of {} or less", range.high);
  if (range.low == range.high) return fmt::format("{}", range.low);
  return fmt::format("an integer from {} to {}", range.low, range.high);
}

std::string describe(const RealRange& range) {
  const RealRange any;
  const std::string low = range.low == any.low ? "" : fmt::format("{:g}", range.low);
  const std::string high = range.high == any.high ? "" : fmt::format("{:g}", range.high);
  const char* const above = range.open_low ? "above" : "from";
  const char* const below = range.open_high ? "to below" : "to";
  if (low.empty() && high.empty()) return "a finite number";
  if (high.empty()) return fmt::format("a finite number {} {}", above, low);
  if (low.empty()) return fmt::format("a finite number up {} {}", below, high);
  return fmt::format("a number {} {} {} {}", above, low, below, high);
}

ConfigFile::ConfigFile(std::shared_ptr<State> state) : state_(std::move(state)) {}
ConfigFile::~ConfigFile() = default;
ConfigFile::ConfigFile(ConfigFile&&) noexcept = default;

ConfigFile ConfigFile::load(const std::string& path, const std::vector<std::string>& overrides) {
  if (path.size() >= PATH_MAX) {
    refuse_line(fmt::format("{}: {} bytes; allowed: a path of at most {} bytes", in_quotes(path),
                            path.size(), PATH_MAX - 1));
  }
  std::string text;
  try {
    text = read_file(path);
  } catch (const Error& error) {
    refuse_line(
        fmt::format("{}: {}; allowed: the path of a readable TOML file", path, error.what()));
  }
  return parse(text, path, overrides);
}

ConfigFile ConfigFile::parse(std::string_view text, const std::string& name,
                             const std::vector<std::string>& overrides) {
  auto state = std::make_shared<State>();
  state->name = name;
  state->text = text;
  if (const auto fault = find_text_fault(text)) refuse_text(text, name, fault->line, fault->what);
  state->overrides = overrides;
  try {
    state->root = toml::parse(text);
  } catch (const toml::parse_error& error) {
    refuse_syntax(error, text, name);
  }
  for (const std::string& text_of_one : overrides) {
    state->overridden.push_back(apply_override(state->root, text_of_one));
  }
  return ConfigFile(std::move(state));
}

ConfigTable ConfigFile::root() const { return {state_, &state_->root, state_->name, ""}; }

std::string ConfigFile::to_toml() const {
  std::ostringstream out;
  // Plain "..." strings only: toml++ 3.3 also writes ''' around text that holds '''.
  const auto flags =
      toml::toml_formatter::default_flags &
      ~(toml::format_flags::allow_literal_strings | toml::format_flags::allow_multi_line_strings);
  out << toml::toml_formatter{state_->root, flags} << "\n";
  return out.str();
}

ConfigFile ConfigFile::overlaid(const Overlay& overlay) const {
  // Parsed anew: a copied node would have lost its line, a moved one keeps it.
  ConfigFile result = parse(state_->text, state_->name, state_->overrides);
  toml::table& root = result.state_->root;
  toml::array* const array = root[overlay.array].as_array();
  toml::table* const entry = array == nullptr ? nullptr : array->get_as<toml::table>(overlay.index);
  TALARIA_CHECK(entry != nullptr, "no table {}[{}]", overlay.array, overlay.index);
  for (const std::string& name : overlay.tables) lay_table_over(root, *entry, name);
  for (const auto& [from, to] : overlay.keys) lay_key_over(root, *entry, from, split_key(to));
  root.erase(overlay.array);
  return result;
}

ConfigTable::ConfigTable(std::shared_ptr<const ConfigFile::State> owner, const void* node,
                         std::string file, std::string path)
    : owner_(std::move(owner)), node_(node), file_(std::move(file)), path_(std::move(path)) {}

bool ConfigTable::has(const std::string& key) const { return as_table(node_).contains(key); }

std::string ConfigTable::full_key(const std::string& key) const {
  if (key.empty()) return path_;
  return path_.empty() ? show_key(key) : path_ + "." + show_key(key);
}

std::string ConfigTable::where(const std::string& key) const {
  const std::string full = full_key(key);
  for (const std::string& set : owner_->overridden) {
    const bool below =
        full.size() > set.size() && (full[set.size()] == '.' || full[set.size()] == '[');
    if (full.starts_with(set) && (full.size() == set.size() || below)) return "--set " + set;
  }
  const toml::table& table = as_table(node_);
  const auto at = table.find(key);
  const std::uint32_t line =
      at == table.end() ? table.source().begin.line : at->first.source().begin.line;
  return fmt::format("{}:{}", file_, std::max<std::uint32_t>(1, line));
}

void ConfigTable::refuse(const std::string& key, const std::string& message) const {
  const std::string full = full_key(key);
  refuse_line(fmt::format("{}: {}{}", where(key), full.empty() ? "" : full + ": ", message));
}

std::optional<std::int64_t> ConfigTable::integer(const std::string& key, IntRange range) {
  known_.insert(key);
  const toml::node* const node = as_table(node_).get(key);
  if (node == nullptr) return std::nullopt;
  const auto* const value = node->as_integer();
  if (value == nullptr || value->get() < range.low || value->get() > range.high) {
    refuse(key, fmt::format("found {}; allowed: {}", describe(*node), describe(range)));
  }
  return value->get();
}

std::optional<double> ConfigTable::real(const std::string& key, RealRange range) {
  known_.insert(key);
  const toml::node* const node = as_table(node_).get(key);
  if (node == nullptr) return std::nullopt;
  const std::optional<double> value =
      node->is_number() ? node->value<double>() : std::optional<double>();
  if (!value || !inside(*value, range)) {
    refuse(key, fmt::format("found {}; allowed: {}", describe(*node), describe(range)));
  }
  return value;
}

std::optional<bool> ConfigTable::boolean(const std::string& key) {
  known_.insert(key);
  const toml::node* const node = as_table(node_).get(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_boolean()) {
    refuse(key, fmt::format("found {}; allowed: true or false", describe(*node)));
  }
  return node->as_boolean()->get();
}

std::optional<std::string> ConfigTable::string(const std::string& key) {
  known_.insert(key);
  const toml::node* const node = as_table(node_).get(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_string()) {
    refuse(key, fmt::format("found {}; allowed: a string, in quotes", describe(*node)));
  }
  return node->as_string()->get();
}

std::optional<std::vector<std::string>> ConfigTable::strings(const std::string& key, bool or_one) {
  known_.insert(key);
  const toml::node* const node = as_table(node_).get(key);
  if (node == nullptr) return std::nullopt;
  if (or_one && node->is_string()) return std::vector<std::string>{node->as_string()->get()};
  const std::string allowed =
      fmt::format("allowed: {}an array of strings, [\"...\", ...]", or_one ? "a string or " : "");
  if (!node->is_array()) refuse(key, fmt::format("found {}; {}", describe(*node), allowed));
  std::vector<std::string> all;
  for (const toml::node& element : *node->as_array()) {
    if (!element.is_string()) {
      refuse(key, fmt::format("element {} is {}; {}", all.size(), describe(element), allowed));
    }
    all.push_back(element.as_string()->get());
  }
  return all;
}

std::optional<int> ConfigTable::choice(const std::string& key,
                                       const std::vector<std::string>& allowed,
                                       const std::vector<std::string>& later) {
  known_.insert(key);
  const toml::node* const node = as_table(node_).get(key);
  if (node == nullptr) return std::nullopt;
  bool is_later = false;
  if (node->is_string()) {
    const std::string& word = node->as_string()->get();
    const auto at = std::find(allowed.begin(), allowed.end(), word);
    if (at != allowed.end()) return static_cast<int>(at - allowed.begin());
    is_later = std::find(later.begin(), later.end(), word) != later.end();
  }
  std::vector<std::string> shown;
  shown.reserve(allowed.size());
  for (const std::string& word : allowed) shown.push_back(in_quotes(word));
  refuse(key,
         fmt::format("found {}{}; allowed: {}", describe(*node),
                     is_later ? ", which is not available in this version" : "", join_or(shown)));
}

std::optional<ConfigTable> ConfigTable::table(const std::string& key) {
  known_.insert(key);
  const toml::node* const node = as_table(node_).get(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_table()) {
    refuse(key, fmt::format("found {}; allowed: a table, [{}]", describe(*node), full_key(key)));
  }
  return ConfigTable(owner_, node->as_table(), file_, full_key(key));
}

ConfigTable ConfigTable::table_or_empty(const std::string& key) {
  static const toml::table empty;
  std::optional<ConfigTable> found = table(key);
  return found ? *found : ConfigTable(owner_, &empty, file_, full_key(key));
}

std::optional<std::vector<ConfigTable>> ConfigTable::tables(const std::string& key) {
  known_.insert(key);
  const toml::node* const node = as_table(node_).get(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_array()) {
    refuse(key,
           fmt::format("found {}; allowed: an array of tables, [{{ ... }}, ...]", describe(*node)));
  }
  std::vector<ConfigTable> all;
  const toml::array& array = *node->as_array();
  for (std::size_t i = 0; i < array.size(); ++i) {
    const std::string path = fmt::format("{}[{}]", full_key(key), i);
    if (!array[i].is_table()) {
      refuse(key, fmt::format("element {} is {}; allowed: an array of tables, [{{ ... }}, ...]", i,
                              describe(array[i])));
    }
    all.push_back(ConfigTable(owner_, array[i].as_table(), file_, path));
  }
  return all;
}

void ConfigTable::finish() const {
  std::optional<std::string> unknown;  // the first one in the file
  std::uint32_t unknown_line = 0;
  for (const auto& [key, node] : as_table(node_)) {
    const std::uint32_t line = key.source().begin.line;
    if (known_.contains(std::string(key.str())) || (unknown && line >= unknown_line)) continue;
    unknown = std::string(key.str());
    unknown_line = line;
  }
  if (!unknown) return;
  const std::vector<std::string> known(known_.begin(), known_.end());
  const std::string nearest = nearest_word(*unknown, known);
  refuse(*unknown, fmt::format("unknown key{}; allowed: {}",
                               nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest),
                               known.empty() ? "no key" : join_or(known)));
}

}  // namespace talaria
