// SPDX-License-Identifier: Apache-2.0
#include "coordinator/state/database.h"

#include <cerrno>

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "cluster/base/file.h"
#include "coordinator/state/statement_crash.h"
#include "coordinator/state/store.h"

namespace talaria::coordinator {
namespace {

constexpr int kBusyMilliseconds = 2000;

bool cannot_write(int rc) {
  switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return true;
    default:
      return false;
  }
}

const char* remedy(int rc) {
  switch (rc & 0xff) {
    case SQLITE_FULL:
      return "free space on its disk";
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return "make the file and its folder writable for this user";
    default:
      return "look at the disk (dmesg), and free space on it";
  }
}

[[noreturn]] void fail_storage(const std::string& file, const std::string& why, const char* what) {
  throw StorageFull(fmt::format(
      "{}: cannot be written ({}), nothing was changed; {}, then try again", file, why, what));
}

// Made here and not by SQLite, so that it never exists with another mode; SQLite's own files beside
// it take their mode from it.
void make_private(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) {
    const UniqueFd closed(fd);
    sync_directory(file.parent_path());
    return;
  }
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT || error == EROFS) {
    fail_storage(file.string(), describe_errno("open", file.string(), error),
                 error == EROFS ? remedy(SQLITE_READONLY) : remedy(SQLITE_FULL));
  }
  if (error != EEXIST) fail_errno("open", file.string(), error);
  // No descriptor is opened here: closing it would drop the locks that another connection of this
  // process holds.
  struct stat status {};
  check_sys(::stat(file.c_str(), &status), "stat", file.string());
  if (!S_ISREG(status.st_mode)) {
    fail("{}: not a regular file; move it away, or name another state directory", file.string());
  }
  if ((status.st_mode & 0077) != 0 && ::chmod(file.c_str(), 0600) != 0 && errno != EROFS) {
    fail_errno("chmod", file.string());
  }
}

// How to open the file so that nothing is written. A killed owner leaves -wal and -shm; then the
// log is read, too, without touching either. Without a log the file is whole by itself. A log
// without its index (a copied folder) needs one made: the file is opened as usual.
std::string look_only_uri(const std::filesystem::path& file) {
  const auto beside = [&](const char* ending) {
    return std::filesystem::exists(file.string() + ending);
  };
  std::string uri = "file:";
  for (const char c : std::filesystem::absolute(file).string()) {
    if (c == '%' || c == '?' || c == '#') {
      uri += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    } else {
      uri += c;
    }
  }
  uri += "?mode=ro";
  if (!beside("-wal") && !beside("-journal")) return uri + "&immutable=1";
  return beside("-shm") ? uri + "&readonly_shm=1" : uri;
}

UniqueHandle<ConnectionTraits> open_connection(const Database& database, const std::string& name,
                                               int flags) {
  sqlite3* handle = nullptr;
  const int rc = ::sqlite3_open_v2(name.c_str(), &handle, flags | SQLITE_OPEN_EXRESCODE, nullptr);
  UniqueHandle<ConnectionTraits> connection(handle);
  if (rc != SQLITE_OK) {
    if ((flags & SQLITE_OPEN_READWRITE) != 0) database.check(rc, "open");
    fail("{}: cannot be opened for reading: {}", database.file().string(), ::sqlite3_errstr(rc));
  }
  return connection;
}

}  // namespace

void ConnectionTraits::close(Handle handle) noexcept { ::sqlite3_close_v2(handle); }
void StatementTraits::close(Handle handle) noexcept { ::sqlite3_finalize(handle); }

Database::Database(const std::filesystem::path& file, Open how) : file_(file) {
  if (how == Open::kWrite) {
    open_for_writing();
  } else {
    copy_into_memory();
  }
  execute("PRAGMA foreign_keys = ON");
}

void Database::open_for_writing() {
  make_private(file_);
  // "./" keeps SQLite from reading a name as a URI or as one of its own.
  const std::string name = file_.is_absolute() ? file_.string() : "./" + file_.string();
  connection_ = open_connection(*this, name, SQLITE_OPEN_READWRITE);
  check(::sqlite3_busy_timeout(connection_.get(), kBusyMilliseconds), "busy_timeout");
  {
    Statement mode = prepare("PRAGMA journal_mode = WAL");
    if (const std::string got = mode.row() ? mode.text() : "none"; got != "wal") {
      fail(
          "{}: its file system allows no write-ahead log (journal mode is {}); keep the state on a "
          "local disk",
          file_.string(), got);
    }
  }
  execute("PRAGMA synchronous = FULL");
}

void Database::copy_into_memory() {
  if (!std::filesystem::exists(file_)) fail("{}: no such file", file_.string());
  connection_ = open_connection(*this, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  const auto from =
      open_connection(*this, look_only_uri(file_), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
  ::sqlite3_busy_timeout(from.get(), kBusyMilliseconds);
  sqlite3_backup* copy = ::sqlite3_backup_init(connection_.get(), "main", from.get(), "main");
  if (copy == nullptr) check(::sqlite3_extended_errcode(connection_.get()), "backup");
  const int copied = ::sqlite3_backup_step(copy, -1);
  const int finished = ::sqlite3_backup_finish(copy);
  if (copied == SQLITE_DONE && finished == SQLITE_OK) return;
  const int rc = copied == SQLITE_DONE ? finished : copied;
  if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB) check(rc, "backup");
  fail("{}: cannot be read: {}", file_.string(), ::sqlite3_errstr(rc));
}

Statement Database::prepare(std::string_view sql) {
  auto found = cache_.find(sql);
  if (found == cache_.end()) {
    sqlite3_stmt* handle = nullptr;
    const std::string text(sql);
    const int rc = ::sqlite3_prepare_v3(connection_.get(), text.c_str(), -1,
                                        SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
    UniqueHandle<StatementTraits> owned(handle);
    check(rc, text.c_str());
    found = cache_.emplace(text, std::move(owned)).first;
  }
  TALARIA_CHECK(::sqlite3_stmt_busy(found->second.get()) == 0, "{} is in use", sql);
  return Statement(*this, found->second.get());
}

void Database::execute(const std::string& sql) {
  prepare(sql).run();
  cache_.erase(sql);
}

std::int64_t Database::last_insert_id() const {
  return ::sqlite3_last_insert_rowid(connection_.get());
}

void Database::check(int rc, const char* sql) const {
  if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE) return;
  const std::string file = file_.string();
  const bool known = connection_ && ::sqlite3_extended_errcode(connection_.get()) == rc;
  const std::string why = known ? ::sqlite3_errmsg(connection_.get()) : ::sqlite3_errstr(rc);
  if (cannot_write(rc)) {
    const int error = connection_ ? ::sqlite3_system_errno(connection_.get()) : 0;
    const std::string detail =
        error == 0 || (rc & 0xff) == SQLITE_FULL ? why : fmt::format("{}, errno {}", why, error);
    fail_storage(file, fmt::format("{}, SQLite code {}", detail, rc), remedy(rc));
  }
  switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      fail(
          "{}: damaged, or not a database ({}); move it and the files {}-wal and {}-shm away and "
          "submit the jobs again with their run directories: they go on from their checkpoints",
          file, why, file, file);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      fail("{}: in use by another process ({}); end that process (fuser {} names it)", file, why,
           file);
    default:
      fail("{}: {} (SQLite code {}) in: {}", file, why, rc, sql);
  }
}

Statement::~Statement() {
  // Reset repeats the error of the last step, which was thrown already.
  ::sqlite3_reset(handle_);
  ::sqlite3_clear_bindings(handle_);
}

bool Statement::row() {
  const bool first = !started_;
  started_ = true;
  column_ = 0;
  if (first) before_statement();
  const int rc = ::sqlite3_step(handle_);
  if (first) after_statement();
  database_.check(rc, sql());
  return rc == SQLITE_ROW;
}

void Statement::run() {
  while (row()) {
  }
}

std::string Statement::text() {
  const int column = column_++;
  TALARIA_CHECK(column < ::sqlite3_data_count(handle_), "column {} of: {}", column, sql());
  // The bytes are asked for after the text: that is the order in which SQLite keeps both valid.
  const auto* bytes = reinterpret_cast<const char*>(::sqlite3_column_text(handle_, column));
  const int size = ::sqlite3_column_bytes(handle_, column);
  return bytes == nullptr ? std::string() : std::string(bytes, static_cast<std::size_t>(size));
}

double Statement::real() {
  const int column = column_++;
  TALARIA_CHECK(column < ::sqlite3_data_count(handle_), "column {} of: {}", column, sql());
  return ::sqlite3_column_double(handle_, column);
}

std::int64_t Statement::next_integer() {
  const int column = column_++;
  TALARIA_CHECK(column < ::sqlite3_data_count(handle_), "column {} of: {}", column, sql());
  return ::sqlite3_column_int64(handle_, column);
}

void Statement::put(int index, std::string_view value) {
  // A null pointer would bind NULL and not the empty text.
  const char* bytes = value.data() == nullptr ? "" : value.data();
  database_.check(::sqlite3_bind_text64(handle_, index, bytes, value.size(),
                                        SQLITE_TRANSIENT,  // NOLINT(performance-no-int-to-ptr)
                                        SQLITE_UTF8),
                  sql());
}

void Statement::put(int index, double value) {
  database_.check(::sqlite3_bind_double(handle_, index, value), sql());
}

void Statement::put_integer(int index, std::int64_t value) {
  database_.check(::sqlite3_bind_int64(handle_, index, value), sql());
}

const char* Statement::sql() const { return ::sqlite3_sql(handle_); }

Transaction::Transaction(Database& database) : database_(database) {
  database_.prepare("BEGIN IMMEDIATE").run();
}

Transaction::~Transaction() {
  if (committed_ || ::sqlite3_get_autocommit(database_.connection_.get()) != 0) return;
  try {
    database_.prepare("ROLLBACK").run();
  } catch (const Error&) {
    // Only memory can be short here, and what made the transaction end is being thrown already.
  }
}

void Transaction::commit() {
  database_.prepare("COMMIT").run();
  committed_ = true;
}

}  // namespace talaria::coordinator
