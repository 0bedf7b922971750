// SPDX-License-Identifier: Apache-2.0
#include "services/common/sqlite_db.h"

#include <sqlite3.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "services/common/log.h"

namespace camherd {
namespace {

// In the log before they are copied into the database.
constexpr int kCheckpointPages = 1000;

bool NoMoreFiles(const std::string& path) {
  struct statvfs info = {};
  return statvfs(path.c_str(), &info) == 0 && info.f_files > 0 &&
         info.f_favail == 0;
}

}  // namespace

int64_t SqliteDb::Row::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

absl::string_view SqliteDb::Row::Bytes(int column) const {
  const auto* data =
      static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr ? absl::string_view()
                         : absl::string_view(data, static_cast<size_t>(size));
}

bool SqliteDb::Row::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

absl::StatusOr<std::unique_ptr<SqliteDb>> SqliteDb::Open(
    const std::string& path, const std::string& setup) {
  std::unique_ptr<SqliteDb> db(new SqliteDb(path));
  const int code = sqlite3_open_v2(
      path.c_str(), &db->db_,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
      nullptr);
  CAMHERD_RETURN_IF_ERROR(db->StatusOf(code, "cannot open"));
  sqlite3_extended_result_codes(db->db_, 1);
  sqlite3_busy_timeout(db->db_, 10000);
  for (const std::string& sql :
       {setup, std::string("PRAGMA journal_mode=WAL")}) {
    CAMHERD_RETURN_IF_ERROR(db->StatusOf(
        sqlite3_exec(db->db_, sql.c_str(), nullptr, nullptr, nullptr),
        "cannot open"));
  }
  // As SQLite's own, which does not tell of an fsync that failed.
  sqlite3_wal_hook(
      db->db_,
      [](void* self, sqlite3* handle, const char* name, int pages) {
        if (pages < kCheckpointPages) return SQLITE_OK;
        const int copied = sqlite3_wal_checkpoint_v2(
            handle, name, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
        static_cast<SqliteDb*>(self)
            ->StatusOf(copied, "checkpoint")
            .IgnoreError();
        return SQLITE_OK;
      },
      db.get());
  return db;
}

SqliteDb::~SqliteDb() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(db_);
}

absl::Status SqliteDb::Migrate(absl::Span<const char* const> migrations) {
  const auto newest = static_cast<int64_t>(migrations.size());
  int64_t version = 0;
  CAMHERD_RETURN_IF_ERROR(
      Query("PRAGMA user_version",
            [&](const SqliteDb::Row& row) { version = row.Int(0); }));
  if (version > newest) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " has schema version ", version,
                     ", this program knows versions up to ", newest,
                     "; run the newer program, or name another data folder"));
  }
  for (; version < newest; ++version) {
    CAMHERD_RETURN_IF_ERROR(Transaction([&] {
      return Exec(absl::StrCat(migrations[static_cast<size_t>(version)],
                               ";PRAGMA user_version=", version + 1));
    }));
  }
  return absl::OkStatus();
}

absl::Status SqliteDb::Exec(const std::string& sql) {
  return StatusOf(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr),
                  sql);
}

int64_t SqliteDb::changes() const { return sqlite3_changes(db_); }

absl::Status SqliteDb::Transaction(absl::FunctionRef<absl::Status()> body) {
  CAMHERD_RETURN_IF_ERROR(Run("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) status = Run("COMMIT");
  // Fails only where SQLite has rolled back already.
  if (!status.ok()) Run("ROLLBACK").IgnoreError();
  return status;
}

absl::Status SqliteDb::StatusOf(int code, absl::string_view what) const {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) {
    return absl::OkStatus();
  }
  // Without memory for a connection there is none to ask.
  const int extended = db_ == nullptr ? code : sqlite3_extended_errcode(db_);
  const std::string message =
      absl::StrCat(path_, ": ", what, ": ",
                   db_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db_));
  if (extended == SQLITE_IOERR_FSYNC || extended == SQLITE_IOERR_DIR_FSYNC) {
    LogFatal("fsync of a database failed", {{"error", message}});
  }
  const int system = db_ == nullptr ? 0 : sqlite3_system_errno(db_);
  switch (code & 0xff) {
    case SQLITE_CANTOPEN:
      // Of the file or its log, whose names are looked for in several ways: the
      // last error of the system tells little.
      if (NoMoreFiles(path_)) {
        return absl::ResourceExhaustedError(
            absl::StrCat(message, ": the table of inodes is full"));
      }
      return absl::PermissionDeniedError(message);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_IOERR:
      if (system == ENOSPC || system == EDQUOT) {
        return absl::ResourceExhaustedError(
            absl::StrCat(message, ": the disk is full"));
      }
      return absl::UnavailableError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(
          absl::StrCat(message, "; put a good copy of it in its place"));
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(message);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return absl::PermissionDeniedError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<sqlite3_stmt*> SqliteDb::Prepare(absl::string_view sql) {
  const auto known = statements_.find(sql);
  if (known != statements_.end()) return known->second;
  sqlite3_stmt* statement = nullptr;
  CAMHERD_RETURN_IF_ERROR(StatusOf(
      sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr),
      sql));
  statements_.emplace(sql, statement);
  return statement;
}

absl::StatusOr<bool> SqliteDb::Step(sqlite3_stmt* statement) {
  const int code = sqlite3_step(statement);
  if (code == SQLITE_ROW) return true;
  CAMHERD_RETURN_IF_ERROR(StatusOf(code, sqlite3_sql(statement)));
  return false;
}

void SqliteDb::Reset(sqlite3_stmt* statement) {
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
}

void SqliteDb::Bind(sqlite3_stmt* statement, int index, int64_t value) {
  sqlite3_bind_int64(statement, index, value);
}

void SqliteDb::Bind(sqlite3_stmt* statement, int index, int value) {
  sqlite3_bind_int64(statement, index, value);
}

void SqliteDb::Bind(sqlite3_stmt* statement, int index, bool value) {
  sqlite3_bind_int64(statement, index, value ? 1 : 0);
}

void SqliteDb::Bind(sqlite3_stmt* statement, int index, double value) {
  sqlite3_bind_double(statement, index, value);
}

// A null pointer would be bound as NULL.
void SqliteDb::Bind(sqlite3_stmt* statement, int index,
                    absl::string_view text) {
  sqlite3_bind_text(statement, index, text.data() ? text.data() : "",
                    static_cast<int>(text.size()), SQLITE_TRANSIENT);
}

// Beside the overload for bool, which a pointer would choose.
void SqliteDb::Bind(sqlite3_stmt* statement, int index, const char* text) {
  Bind(statement, index, absl::string_view(text));
}

void SqliteDb::Bind(sqlite3_stmt* statement, int index, Blob blob) {
  sqlite3_bind_blob(statement, index,
                    blob.bytes.data() ? blob.bytes.data() : "",
                    static_cast<int>(blob.bytes.size()), SQLITE_TRANSIENT);
}

}  // namespace camherd
