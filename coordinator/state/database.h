// SPDX-License-Identifier: Apache-2.0
// A thin layer over SQLite: owning handles, cached prepared statements, a transaction guard, and
// one function that turns every return code into the right kind of error. Used by one thread.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <string_view>

#include "cluster/base/error.h"
#include "cluster/base/handle.h"

struct sqlite3;
struct sqlite3_stmt;

namespace talaria::coordinator {

struct ConnectionTraits {
  using Handle = sqlite3*;
  static Handle empty() { return nullptr; }
  static void close(Handle handle) noexcept;
};
struct StatementTraits {
  using Handle = sqlite3_stmt*;
  static Handle empty() { return nullptr; }
  static void close(Handle handle) noexcept;
};

class Database;

// One execution of a prepared statement; the statement returns to the cache with the object, so at
// most one of the same text is in use at a time.
class Statement {
 public:
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // ?1, ?2, ... in order: integers, doubles, texts.
  template <class... Values>
  Statement& bind(const Values&... values) {
    int index = 0;
    (put(++index, values), ...);
    return *this;
  }

  // The next row, or false behind the last one. Throws as Database::check does.
  bool row();
  // Executes a statement that gives no rows, or whose rows do not matter.
  void run();

  // The columns of the row, from the left, one a call. Throws Error where a number does not fit.
  std::string text();
  double real();
  template <std::integral Int>
  Int integer() {
    const std::int64_t value = next_integer();
    if (value < static_cast<std::int64_t>(std::numeric_limits<Int>::min()) ||
        (sizeof(Int) < sizeof value &&
         value > static_cast<std::int64_t>(std::numeric_limits<Int>::max()))) {
      fail("{}: {} is out of range", sql(), value);
    }
    return static_cast<Int>(value);
  }

 private:
  friend class Database;
  Statement(Database& database, sqlite3_stmt* handle) : database_(database), handle_(handle) {}

  void put(int index, std::string_view value);
  void put(int index, double value);
  void put_integer(int index, std::int64_t value);
  template <std::integral Int>
  void put(int index, Int value) {
    put_integer(index, static_cast<std::int64_t>(value));
  }
  std::int64_t next_integer();
  const char* sql() const;

  Database& database_;
  sqlite3_stmt* handle_;
  int column_ = 0;        // that the next call reads
  bool started_ = false;  // stepped since it was taken
};

class Database {
 public:
  enum class Open {
    kWrite,    // opens or makes the file, mode 0600: WAL, synchronous=FULL, foreign keys
    kSnapshot  // a copy of the file as it is now, in memory: the file and its folder stay untouched
  };
  Database(const std::filesystem::path& file, Open how);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // A statement from the cache. `sql` must be one that recurs.
  Statement prepare(std::string_view sql);
  // Executes one statement that is not kept.
  void execute(const std::string& sql);
  std::int64_t last_insert_id() const;

  const std::filesystem::path& file() const { return file_; }

  // Returns when rc is a success (OK, ROW, DONE). Otherwise throws, naming the file: StorageFull
  // where it cannot be written, Error with what to do where it is damaged, else Error with the
  // statement.
  void check(int rc, const char* sql) const;

 private:
  friend class Transaction;
  void open_for_writing();
  void copy_into_memory();

  std::filesystem::path file_;
  UniqueHandle<ConnectionTraits> connection_;
  std::map<std::string, UniqueHandle<StatementTraits>, std::less<>> cache_;
};

// BEGIN IMMEDIATE; without commit() everything since is undone.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool committed_ = false;
};

}  // namespace talaria::coordinator
