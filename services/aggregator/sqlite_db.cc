// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/sqlite_db.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {

absl::StatusOr<std::unique_ptr<SqliteDb>> SqliteDb::Open(
    const std::string& path) {
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &handle,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
      nullptr);
  std::unique_ptr<SqliteDb> db(new SqliteDb(handle));
  CAMHERD_RETURN_IF_ERROR(
      SqliteStatus(handle, code, absl::StrCat("cannot open ", path)));
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, 10000);
  // Page size and auto_vacuum hold only for a file that is still empty.
  CAMHERD_RETURN_IF_ERROR(
      db->Exec("PRAGMA page_size=16384; PRAGMA auto_vacuum=INCREMENTAL;"
               "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
               "PRAGMA foreign_keys=ON;"));
  return db;
}

SqliteDb::~SqliteDb() { sqlite3_close_v2(db_); }

absl::Status SqliteDb::Exec(const std::string& sql) {
  return SqliteStatus(
      db_, sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), sql);
}

absl::StatusOr<SqliteStatement> SqliteDb::Prepare(absl::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(
      db_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  CAMHERD_RETURN_IF_ERROR(SqliteStatus(db_, code, sql));
  return SqliteStatement(db_, statement);
}

}  // namespace camherd::aggregator
