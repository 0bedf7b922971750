// SPDX-License-Identifier: Apache-2.0
#include "services/common/sqlite_db.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

#include "services/common/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// From where it is, each sync of a log (-wal) fails, as of a disk that does.
std::atomic<bool> log_syncs_fail = false;

// SQLite's default files, but for that.
void UseFilesThatFail() {
  static sqlite3_vfs* const usual = sqlite3_vfs_find(nullptr);
  static sqlite3_vfs files = *usual;
  static sqlite3_io_methods methods;
  files.zName = "failing";
  files.xOpen = [](sqlite3_vfs*, const char* name, sqlite3_file* file,
                   int flags, int* out_flags) {
    const int code = usual->xOpen(usual, name, file, flags, out_flags);
    if (code != SQLITE_OK || (flags & SQLITE_OPEN_WAL) == 0) return code;
    static const sqlite3_io_methods* const whole = file->pMethods;
    methods = *whole;
    methods.xSync = [](sqlite3_file* f, int how) {
      return log_syncs_fail ? SQLITE_IOERR_FSYNC : whole->xSync(f, how);
    };
    file->pMethods = &methods;
    return code;
  };
  ASSERT_EQ(sqlite3_vfs_register(&files, /*makeDflt=*/1), SQLITE_OK);
}

class SqliteDbTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(db_->Exec("CREATE TABLE t(n INTEGER UNIQUE, s TEXT, b BLOB)"),
                IsOk());
  }

  std::vector<int64_t> Numbers() {
    std::vector<int64_t> numbers;
    EXPECT_THAT(db_->Query("SELECT n FROM t ORDER BY n",
                           [&](const SqliteDb::Row& row) {
                             numbers.push_back(row.Int(0));
                           }),
                IsOk());
    return numbers;
  }

  TempDir dir_;
  const std::string path_ = dir_ / "a.db";
  std::unique_ptr<SqliteDb> db_ = SqliteDb::Open(path_, "").value();
};

TEST_F(SqliteDbTest, GivesBackWhatWasBound) {
  const std::string bytes("a\0b", 3);
  ASSERT_THAT(db_->Run("INSERT INTO t VALUES(?,?,?)", int64_t{1} << 40, "text",
                       SqliteDb::Blob{bytes}),
              IsOk());
  EXPECT_EQ(db_->changes(), 1);
  int rows = 0;
  EXPECT_THAT(db_->Query("SELECT n, s, b, NULL, typeof(b) FROM t",
                         [&](const SqliteDb::Row& row) {
                           ++rows;
                           EXPECT_EQ(row.Int(0), int64_t{1} << 40);
                           EXPECT_EQ(row.Bytes(1), "text");
                           EXPECT_EQ(row.Bytes(2), bytes);
                           EXPECT_TRUE(row.IsNull(3));
                           EXPECT_EQ(row.Bytes(4), "blob");
                         }),
              IsOk());
  EXPECT_EQ(rows, 1);
}

TEST_F(SqliteDbTest, AnEmptyTextOrBlobIsNotNull) {
  ASSERT_THAT(db_->Run("INSERT INTO t VALUES(1,?,?)", absl::string_view(),
                       SqliteDb::Blob{}),
              IsOk());
  EXPECT_THAT(db_->Query("SELECT s, b FROM t",
                         [](const SqliteDb::Row& row) {
                           EXPECT_FALSE(row.IsNull(0));
                           EXPECT_FALSE(row.IsNull(1));
                         }),
              IsOk());
}

TEST_F(SqliteDbTest, AQueryEndsWithTheErrorOfItsRowAndCanRunAgain) {
  ASSERT_THAT(db_->Exec("INSERT INTO t(n) VALUES(1),(2)"), IsOk());
  for (int round = 0; round < 2; ++round) {
    int rows = 0;
    EXPECT_THAT(db_->Query("SELECT n FROM t",
                           [&](const SqliteDb::Row&) {
                             ++rows;
                             return absl::DataLossError("bad row");
                           }),
                StatusIs(absl::StatusCode::kDataLoss, "bad row"));
    EXPECT_EQ(rows, 1);
  }
}

TEST_F(SqliteDbTest, ATransactionThatFailsChangesNothing) {
  EXPECT_THAT(db_->Transaction([&] {
    EXPECT_THAT(db_->Run("INSERT INTO t(n) VALUES(1)"), IsOk());
    return absl::CancelledError("no");
  }),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(Numbers(), IsEmpty());
  EXPECT_THAT(
      db_->Transaction([&] { return db_->Run("INSERT INTO t(n) VALUES(2)"); }),
      IsOk());
  EXPECT_THAT(Numbers(), ElementsAre(2));
}

TEST_F(SqliteDbTest, AnErrorNamesFileAndStatement) {
  ASSERT_THAT(db_->Run("INSERT INTO t(n) VALUES(?)", 1), IsOk());
  EXPECT_THAT(db_->Run("INSERT INTO t(n) VALUES(?)", 1),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr(path_), HasSubstr("INSERT INTO t"),
                             HasSubstr("UNIQUE"))));
}

TEST_F(SqliteDbTest, MigratesFromTheVersionOfTheFileOnwards) {
  const char* const first[] = {"CREATE TABLE a(n)"};
  const char* const both[] = {"CREATE TABLE a(n)", "ALTER TABLE a ADD m"};
  EXPECT_THAT(db_->Migrate(first), IsOk());
  EXPECT_THAT(db_->Migrate(first), IsOk());
  EXPECT_THAT(db_->Migrate(both), IsOk());
  EXPECT_THAT(db_->Run("INSERT INTO a(n, m) VALUES(1, 2)"), IsOk());
  EXPECT_THAT(db_->Migrate(first),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("has schema version 2, this program knows "
                                 "versions up to 1")));
}

TEST_F(SqliteDbTest, AMigrationThatFailsLeavesTheVersionBefore) {
  const char* const broken[] = {"CREATE TABLE a(n); CREATE TABLE a(n)"};
  const char* const good[] = {"CREATE TABLE a(n)"};
  EXPECT_THAT(db_->Migrate(broken), StatusIs(absl::StatusCode::kInternal));
  EXPECT_THAT(db_->Migrate(good), IsOk());
}

TEST_F(SqliteDbTest, AFileThatIsNoDatabaseIsDataLoss) {
  const std::string path = dir_ / "text.db";
  ASSERT_THAT(WriteFileAtomically(path, std::string(20000, 'x'), Sync::kNone),
              IsOk());
  EXPECT_THAT(SqliteDb::Open(path, "").status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path)));
}

TEST_F(SqliteDbTest, AFolderThatIsNotThereCannotBeOpened) {
  EXPECT_THAT(SqliteDb::Open(dir_ / "none/a.db", "").status(),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

// With synchronous=NORMAL only a checkpoint syncs the log; what the kernel has
// of it after a failure is unknown, and SQLite goes on.
TEST(SqliteDbDeathTest, ACheckpointWhoseFsyncFailsEndsTheProcess) {
  const TempDir dir;
  EXPECT_DEATH(
      {
        UseFilesThatFail();
        auto db = SqliteDb::Open(dir / "db", "PRAGMA synchronous=NORMAL");
        if (!(*db)->Exec("CREATE TABLE t(b BLOB)").ok()) ::_exit(0);
        log_syncs_fail = true;
        const std::string bytes(100000, 'b');
        for (int i = 0; i < 100; ++i) {
          if (!(*db)->Run("INSERT INTO t VALUES(?)", bytes).ok()) ::_exit(0);
        }
        ::_exit(0);
      },
      "fsync of a database failed");
}

}  // namespace
}  // namespace camherd
