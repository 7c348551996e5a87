// SPDX-License-Identifier: Apache-2.0
// The store as a file: its mode, its versions, damage, and looking at it without leaving a trace.
#include <csignal>
#include <map>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "coordinator/state/schema.h"
#include "coordinator/state/store_state.h"
#include "tests/support/state_fixtures.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;
using test::in_child;
using test::sample_end;
using test::sample_job;
using test::sample_stage;
using test::TempFolder;
using testing::AllOf;
using testing::HasSubstr;
using S = StageState;

constexpr int kKilled = 128 + SIGKILL;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

mode_t mode_of(const fs::path& file) {
  struct stat status {};
  check_sys(::stat(file.c_str(), &status), "stat", file.string());
  return status.st_mode & 07777;
}

// Every file of a folder with its content and times of change.
std::map<std::string, std::string> look_at(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    struct stat status {};
    check_sys(::stat(entry.path().c_str(), &status), "stat", entry.path().string());
    files[entry.path().filename().string()] =
        fmt::format("{} {}.{} ", status.st_mode, status.st_mtim.tv_sec, status.st_mtim.tv_nsec) +
        read_file(entry.path());
  }
  return files;
}

// Leaves a state whose owner was killed: one job, its attempt running, all of it still in the log.
void leave_killed_owner(const fs::path& file) {
  ASSERT_EQ(in_child([&] {
              Store store(file);
              const std::int64_t id = store.submit(sample_job(), 1.0);
              store.plan_attempt({id, 0}, 1, "id", "secret", 2.0);
              ::raise(SIGKILL);
              return 0;
            }),
            kKilled);
}

TEST(StateFile, IsPrivateWhateverTheUmask) {
  const TempFolder folder;
  const fs::path file = folder / "state.db";
  const mode_t old = ::umask(0);
  {
    Store store(file);
    store.submit(sample_job(), 1.0);
    for (const char* ending : {"", "-wal", "-shm"}) {
      EXPECT_EQ(mode_of(file.string() + ending), 0600U) << ending;
    }
  }
  ::chmod(file.c_str(), 0644);
  {
    const Store store(file);
    EXPECT_EQ(mode_of(file), 0600U);
    EXPECT_EQ(store.all_jobs().size(), 1U);
  }
  ::umask(old);
}

TEST(StateFile, AnUncleanEndLosesNothing) {
  const TempFolder folder;
  leave_killed_owner(folder / "state.db");
  const Store store(folder / "state.db");
  EXPECT_EQ(store.job(1).value().stages.at(0).attempt.value().attempt_id, "id");
}

TEST(StateFile, HasTheSettingsThatMakeCommitsLast) {
  const TempFolder folder;
  const fs::path file = folder / "state.db";
  Database database(file, Database::Open::kWrite);
  const auto setting = [&](const char* pragma) {
    Statement row = database.prepare(fmt::format("PRAGMA {}", pragma));
    return row.row() ? row.text() : "";
  };
  EXPECT_EQ(setting("journal_mode"), "wal");
  EXPECT_EQ(setting("synchronous"), "2");
  EXPECT_EQ(setting("foreign_keys"), "1");
  EXPECT_EQ(setting("busy_timeout"), "2000");
}

TEST(StateFile, WhatHasNotEndedIsFoundByItsIndex) {
  const TempFolder folder;
  Store(folder / "state.db").submit(sample_job(), 1.0);
  Database database(folder / "state.db", Database::Open::kWrite);
  Statement row =
      database.prepare(fmt::format("EXPLAIN QUERY PLAN SELECT job FROM stages WHERE {}", kUnended));
  ASSERT_TRUE(row.row());
  for (int column = 0; column < 3; ++column) row.integer<int>();
  EXPECT_THAT(row.text(), HasSubstr("unended_stages"));
}

TEST(StateFile, ATransactionThatThrowsIsUndone) {
  const TempFolder folder;
  Database database(folder / "x.db", Database::Open::kWrite);
  database.execute("CREATE TABLE t (x INTEGER NOT NULL) STRICT");
  const std::string text = message_of([&] {
    const Transaction transaction(database);
    database.prepare("INSERT INTO t VALUES (?1)").bind(1).run();
    database.prepare("INSERT INTO t VALUES (NULL)").run();
  });
  EXPECT_THAT(text, AllOf(HasSubstr("x.db"), HasSubstr("NOT NULL"), HasSubstr("INSERT INTO t")));
  Transaction transaction(database);
  database.prepare("INSERT INTO t VALUES (?1)").bind(2).run();
  transaction.commit();
  Statement row = database.prepare("SELECT x FROM t");
  ASSERT_TRUE(row.row());
  EXPECT_EQ(row.integer<int>(), 2);
  EXPECT_FALSE(row.row());
}

TEST(StateFile, ANumberThatDoesNotFitIsSaid) {
  const TempFolder folder;
  Database database(folder / "x.db", Database::Open::kWrite);
  Statement row = database.prepare("SELECT 4294967296, -1, 4294967295, -9223372036854775807");
  ASSERT_TRUE(row.row());
  EXPECT_THAT(message_of([&] { row.integer<int>(); }), HasSubstr("4294967296 is out of range"));
  EXPECT_THAT(message_of([&] { row.integer<uid_t>(); }), HasSubstr("-1 is out of range"));
  EXPECT_EQ(row.integer<uid_t>(), 4294967295U);
  EXPECT_EQ(row.integer<std::int64_t>(), -9223372036854775807);
}

// --- looking

TEST(ReadOnly, SeesWhatAKilledOwnerLeftAndWritesNothing) {
  const TempFolder folder;
  leave_killed_owner(folder / "state.db");
  const auto before = look_at(folder.path());
  ASSERT_TRUE(before.contains("state.db-wal"));
  {
    const Store store(folder / "state.db", true);
    ASSERT_EQ(store.unended_jobs().size(), 1U);
    EXPECT_EQ(store.job(1).value().stages.at(0).state, S::kRunning);
    EXPECT_EQ(look_at(folder.path()), before);
  }
  EXPECT_EQ(look_at(folder.path()), before);
}

TEST(ReadOnly, SeesAStateThatWasClosedAndWritesNothing) {
  const TempFolder folder;
  const fs::path file = folder / "state.db";
  Store(file).submit(sample_job(), 1.0);
  const auto before = look_at(folder.path());
  ASSERT_EQ(before.size(), 1U);
  EXPECT_EQ(Store(file, true).all_jobs().size(), 1U);
  EXPECT_EQ(look_at(folder.path()), before);
}

TEST(ReadOnly, SeesWhatALivingOwnerCommittedBefore) {
  const TempFolder folder;
  const fs::path file = folder / "state.db";
  Store owner(file);
  owner.submit(sample_job("/a"), 1.0);
  const Store looker(file, true);
  owner.submit(sample_job("/b"), 2.0);
  EXPECT_EQ(looker.all_jobs().size(), 1U);
  EXPECT_EQ(Store(file, true).all_jobs().size(), 2U);
  EXPECT_EQ(owner.all_jobs().size(), 2U);
}

TEST(ReadOnly, SeesACopyWithoutTheIndexOfItsLog) {
  const TempFolder folder;
  leave_killed_owner(folder / "state.db");
  fs::create_directory(folder / "copy");
  for (const char* name : {"state.db", "state.db-wal"}) {
    fs::copy_file(folder / name, folder / "copy" / name);
  }
  EXPECT_EQ(Store(folder / "copy" / "state.db", true).all_jobs().size(), 1U);
}

TEST(ReadOnly, NamesMayHoldWhatAUriMayNot) {
  const TempFolder folder;
  for (const char* name : {"a?mode=rwc&x", "b#c", "d%20e", "file:f", "-g", "h i", "\xc3\xa9"}) {
    fs::create_directory(folder / name);
    leave_killed_owner(folder / name / "state.db");
    EXPECT_EQ(Store(folder / name / "state.db", true).all_jobs().size(), 1U) << name;
    EXPECT_EQ(Store(folder / name / "state.db").all_jobs().size(), 1U) << name;
  }
}

TEST(ReadOnly, ARelativeNameIsAName) {
  const TempFolder folder;
  EXPECT_EQ(in_child([&] {
              fs::current_path(folder.path());
              for (const char* name : {"state.db", ":memory:", "file:x?mode=memory"}) {
                Store(name).submit(sample_job(), 1.0);
                if (!fs::exists(folder / name)) return 1;
                if (Store(name, true).all_jobs().size() != 1) return 2;
              }
              return 0;
            }),
            0);
}

TEST(ReadOnly, AMissingFileStaysMissing) {
  const TempFolder folder;
  EXPECT_THAT(message_of([&] { Store(folder / "state.db", true); }), HasSubstr("no such file"));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(ReadOnlyDeathTest, NothingIsWritten) {
  const TempFolder folder;
  Store(folder / "state.db").submit(sample_job(), 1.0);
  Store store(folder / "state.db", true);
  EXPECT_DEATH(store.submit(sample_job("/b"), 1.0), "opened for reading");
  EXPECT_DEATH(store.move({1, 0}, S::kCancelled, "", 1.0), "opened for reading");
}

// --- versions

void expect_version_1_rows(const Store& store) {
  const JobRow first = store.job(1).value();
  EXPECT_EQ(first.name, "first");
  EXPECT_EQ(first.state(), S::kDone);
  EXPECT_EQ(first.stages.at(0).kind, "pretrain");
  EXPECT_EQ(first.stages.at(0).restarts, 1);
  EXPECT_EQ(first.stages.at(0).job_toml, "a = 1");
  EXPECT_EQ(first.stages.at(0).attempt.value().attempt, 2);
  EXPECT_EQ(store.attempts({1, 0}).at(0).reason, "rank 1 died");
  EXPECT_EQ(store.transitions(1).size(), 11U);
  EXPECT_EQ(store.transitions(1).at(5).reason, "rank 1 died");
  const JobRow second = store.job(2).value();
  EXPECT_EQ(second.user, "bob");
  EXPECT_EQ(second.wish, Wish::kStop);
  EXPECT_EQ(second.stages.at(0).restarts, 0);
  EXPECT_EQ(second.stages.at(0).attempt.value().state, AttemptState::kRunning);
  EXPECT_THAT(second.stages.at(1).after, testing::ElementsAre("base"));
  ASSERT_EQ(store.unended_jobs().size(), 1U);
  EXPECT_EQ(store.unended_jobs().at(0).id, 2);
}

TEST(Versions, AFileOfVersion1IsUpgradedWithAllItHolds) {
  const TempFolder folder;
  const fs::path file = folder / "state.db";
  test::write_version_1(file);
  {
    Store store(file);
    expect_version_1_rows(store);
    store.end_attempt({2, 0}, 1, sample_end(S::kStopped), 30.0);
    store.move({2, 1}, S::kStopped, "stage base was stopped", 31.0);
    EXPECT_EQ(store.submit(sample_job(), 32.0), 3);
  }
  const Store again(file);
  EXPECT_EQ(again.job(2).value().state(), S::kStopped);
  EXPECT_EQ(again.job(3).value().stages.at(0).kind, "pretrain");
}

// Apart from the order of columns, a file has the same schema whichever way it came by it.
TEST(Versions, AnUpgradedFileHasTheTablesOfANewOne) {
  const TempFolder folder;
  test::write_version_1(folder / "old.db");
  const auto schema = [](const fs::path& file) {
    Database database(file, Database::Open::kWrite);
    upgrade_schema(database);
    std::vector<std::string> names;
    Statement row = database.prepare(
        "SELECT s.name, c.name, c.type FROM sqlite_schema AS s LEFT JOIN pragma_table_info(s.name)"
        " AS c ORDER BY s.name, c.name");
    while (row.row()) {
      const std::string table = row.text();
      const std::string column = row.text();
      names.push_back(fmt::format("{} {} {}", table, column, row.text()));
    }
    return names;
  };
  const std::vector<std::string> fresh = schema(folder / "new.db");
  EXPECT_EQ(schema(folder / "old.db"), fresh);
  EXPECT_THAT(fresh, testing::Contains("stages restarts INTEGER"));
}

TEST(Versions, AFileOfVersion1CanBeLookedAt) {
  const TempFolder folder;
  test::write_version_1(folder / "state.db");
  const auto before = look_at(folder.path());
  expect_version_1_rows(Store(folder / "state.db", true));
  EXPECT_EQ(look_at(folder.path()), before);
}

TEST(Versions, ANewerFileIsRefused) {
  const TempFolder folder;
  const fs::path file = folder / "state.db";
  Store(file).submit(sample_job(), 1.0);
  Database(file, Database::Open::kWrite).execute("PRAGMA user_version = 9");
  for (const bool read_only : {false, true}) {
    EXPECT_THAT(message_of([&] { Store(file, read_only); }),
                AllOf(HasSubstr("state.db"), HasSubstr("version 9"),
                      HasSubstr(fmt::format("up to {}", newest_schema()))));
  }
  Database(file, Database::Open::kWrite)
      .execute(fmt::format("PRAGMA user_version = {}", newest_schema()));
  EXPECT_EQ(Store(file).all_jobs().size(), 1U);
}

TEST(Versions, ADatabaseOfAnotherProgramIsRefused) {
  const TempFolder folder;
  const fs::path file = folder / "bookmarks.db";
  Database(file, Database::Open::kWrite).execute("CREATE TABLE bookmarks (url TEXT)");
  EXPECT_THAT(message_of([&] { const Store store(file); }), HasSubstr("of another program"));
}

// --- what can be wrong with a file

TEST(BadFile, DamageIsNamedWithWhatToDo) {
  const TempFolder folder;
  const std::string garbage = folder.write("garbage.db", std::string(8192, 'x'));
  for (const bool read_only : {false, true}) {
    EXPECT_THAT(message_of([&] { Store(garbage, read_only); }),
                AllOf(HasSubstr(garbage), HasSubstr("damaged"), HasSubstr("move it")));
  }
}

TEST(BadFile, ADamagedPageIsNamedWhenItIsRead) {
  const TempFolder folder;
  const fs::path file = folder / "state.db";
  {
    Store store(file);
    for (int i = 0; i < 50; ++i) store.submit(sample_job(fmt::format("/{}", i)), 1.0);
  }
  const std::string sound = read_file(file);
  const UniqueFd fd = open_file(file, O_RDWR);
  ASSERT_EQ(::lseek(fd.get(), 4096, SEEK_SET), 4096);
  const std::string noise(sound.size() - 4096, '\x5a');
  write_all(fd.get(), std::as_bytes(std::span(noise)), file);
  EXPECT_THAT(message_of([&] { const auto jobs = Store(file).all_jobs(); }),
              AllOf(HasSubstr(file.string()), HasSubstr("damaged")));
}

TEST(BadFile, AFolderOrAMissingFolderIsSaid) {
  const TempFolder folder;
  fs::create_directory(folder / "state.db");
  EXPECT_THAT(message_of([&] { const Store store(folder / "state.db"); }),
              HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { const Store store(folder / "none" / "state.db"); }),
              AllOf(HasSubstr("none/state.db"), HasSubstr("No such file")));
}

TEST(BadFile, AWriterThatHoldsItIsSaid) {
  const TempFolder folder;
  const fs::path file = folder / "state.db";
  Store store(file);
  Database other(file, Database::Open::kWrite);
  const Transaction held(other);
  EXPECT_THAT(message_of([&] { store.submit(sample_job(), 1.0); }),
              AllOf(HasSubstr("state.db"), HasSubstr("in use by another process")));
}

}  // namespace
}  // namespace talaria::coordinator
