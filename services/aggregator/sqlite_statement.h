// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct sqlite3;
struct sqlite3_stmt;

namespace camherd::aggregator {

// The status for `code`, which SQLite answered on `db` (null: none was opened)
// to `what`: FULL kResourceExhausted, BUSY kUnavailable, CORRUPT and NOTADB
// kDataLoss, CONSTRAINT kAlreadyExists, READONLY, PERM and CANTOPEN
// kPermissionDenied, else kInternal. An fsync that failed ends the process.
absl::Status SqliteStatus(sqlite3* db, int code, absl::string_view what);

// A prepared statement. Bind from 1, read columns from 0, as SQLite counts.
//
// Not thread-safe.
class SqliteStatement {
 public:
  SqliteStatement() = default;
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&& other) noexcept;
  ~SqliteStatement();

  SqliteStatement& Bind(int index, int64_t value);
  SqliteStatement& BindText(int index, absl::string_view value);
  SqliteStatement& BindBlob(int index, absl::string_view value);

  // True: a row is there. After false or an error the statement is reset, its
  // bindings are gone.
  absl::StatusOr<bool> Step();
  // Steps a statement that answers no row.
  absl::Status Run();
  void Reset();

  int64_t Int(int column) const;
  // Valid until the next call on the statement.
  absl::string_view Bytes(int column) const;

 private:
  friend class SqliteDb;
  SqliteStatement(sqlite3* db, sqlite3_stmt* statement)
      : db_(db), statement_(statement) {}

  sqlite3* db_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace camherd::aggregator
