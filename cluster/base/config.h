// SPDX-License-Identifier: Apache-2.0
// Reads TOML so that every complaint is one line "file:line: key: what, what is allowed". A table
// remembers which keys were asked for; finish() refuses the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace talaria {

class ConfigTable;

// Which entry of an array of tables is laid over the top-level tables.
struct Overlay {
  std::string array;  // "stage": the entries are [[stage]]
  std::size_t index = 0;
  std::vector<std::string> tables;  // of the entry: each key stands for the top-level table's
  std::vector<std::pair<std::string, std::string>> keys;  // of the entry, and "table.key" they are
};

// A parsed file with overrides applied. Keeps the text's line numbers alive for messages; what an
// override set is blamed on "--set table.key" instead of on a line. Tables share the ownership of
// the parsed file, so they may outlive it.
class ConfigFile {
 public:
  // Throws UsageError on a missing file or broken TOML (with its line). Each override is
  // "table.key=value", where value is a TOML value, or else taken as a string. It counts for every
  // [[stage]] too: what an entry says about the same key is dropped.
  static ConfigFile load(const std::string& path, const std::vector<std::string>& overrides = {});
  static ConfigFile parse(std::string_view text, const std::string& name,
                          const std::vector<std::string>& overrides = {});
  ~ConfigFile();
  ConfigFile(ConfigFile&&) noexcept;

  ConfigTable root() const;
  // The effective file: overrides applied, as TOML text.
  std::string to_toml() const;
  // The top-level tables without `overlay.array`, with an entry's tables laid over them key by key;
  // a value is replaced whole. Its lines are still those of this file.
  ConfigFile overlaid(const Overlay& overlay) const;

 private:
  friend class ConfigTable;
  struct State;
  explicit ConfigFile(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

// A range that a number must lie in; the bounds are allowed values unless they are open.
struct IntRange {
  std::int64_t low = std::numeric_limits<std::int64_t>::min();
  std::int64_t high = std::numeric_limits<std::int64_t>::max();
};
struct RealRange {
  double low = -std::numeric_limits<double>::max();
  double high = std::numeric_limits<double>::max();
  bool open_low = false;
  bool open_high = false;
};

// "an integer from 1 to 8", "a number from 0 to below 1": what follows "allowed: ".
std::string describe(const IntRange& range);
std::string describe(const RealRange& range);

class ConfigTable {
 public:
  bool has(const std::string& key) const;

  // Each getter returns nothing when the key is absent and throws UsageError on a wrong type or a
  // value outside the range. Reals accept integers and refuse nan and inf.
  std::optional<std::int64_t> integer(const std::string& key, IntRange range = {});
  std::optional<double> real(const std::string& key, RealRange range = {});
  std::optional<bool> boolean(const std::string& key);
  std::optional<std::string> string(const std::string& key);
  // An array of strings; with `or_one` a string stands for an array of one.
  std::optional<std::vector<std::string>> strings(const std::string& key, bool or_one = false);
  // One of `allowed`; returns its index. A word of `later` is refused as not available yet.
  std::optional<int> choice(const std::string& key, const std::vector<std::string>& allowed,
                            const std::vector<std::string>& later = {});
  std::optional<ConfigTable> table(const std::string& key);
  // The same, or an empty table of that name when the key is absent.
  ConfigTable table_or_empty(const std::string& key);
  // An array of tables or inline tables.
  std::optional<std::vector<ConfigTable>> tables(const std::string& key);

  // Throws UsageError for `key` of this table: "file:line: table.key: message". Falls back to the
  // table's own line when the key is absent.
  [[noreturn]] void refuse(const std::string& key, const std::string& message) const;
  // "file:line" of a key, or of the table.
  std::string where(const std::string& key) const;
  // Refuses keys that no getter asked for, naming the nearest known one.
  void finish() const;

 private:
  friend class ConfigFile;
  ConfigTable(std::shared_ptr<const ConfigFile::State> owner, const void* node, std::string file,
              std::string path);
  std::string full_key(const std::string& key) const;

  std::shared_ptr<const ConfigFile::State> owner_;
  const void* node_;  // toml::table, hidden so that toml++ is included in one .cpp only
  std::string file_;
  std::string path_;  // "data.sources[0]"; empty at the root
  std::set<std::string> known_;
};

}  // namespace talaria
