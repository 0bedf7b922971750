// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/common/status_macros.h"

struct sqlite3;
struct sqlite3_stmt;

namespace camherd {

// A connection to a database file in WAL mode, and its prepared statements,
// which are kept by their text.
//
// Errors: kResourceExhausted, the disk is full; kUnavailable, busy or an I/O
// error; kDataLoss, corrupt or no database; kAlreadyExists, a constraint;
// kPermissionDenied, it cannot be opened or written; else kInternal. A message
// begins with the path. An fsync that failed ends the process: what the kernel
// then keeps of the file is unknown, and the next start checks it.
//
// Not thread-safe.
class SqliteDb {
 public:
  // An argument that is bound as bytes; strings are bound as text.
  struct Blob {
    absl::string_view bytes;
  };

  // One row of an answer, columns counted from 0. Valid until the next row.
  class Row {
   public:
    int64_t Int(int column) const;
    // Text or blob; empty also for NULL.
    absl::string_view Bytes(int column) const;
    bool IsNull(int column) const;

   private:
    friend class SqliteDb;
    explicit Row(sqlite3_stmt* statement) : statement_(statement) {}

    sqlite3_stmt* statement_;
  };

  // Opens the file, or makes it, and runs `setup` (page size and auto_vacuum
  // hold only for a file that is still empty) before WAL is switched on.
  static absl::StatusOr<std::unique_ptr<SqliteDb>> Open(
      const std::string& path, const std::string& setup);
  ~SqliteDb();

  SqliteDb(const SqliteDb&) = delete;
  SqliteDb& operator=(const SqliteDb&) = delete;

  // Brings the file from its user_version to the newest: `migrations[v]` makes
  // version v + 1 of version v. Each is one transaction. kFailedPrecondition:
  // the file was written by a newer program.
  absl::Status Migrate(absl::Span<const char* const> migrations);

  // Any number of statements, not kept.
  absl::Status Exec(const std::string& sql);

  // Runs one statement with `args` bound in order, and calls `on_row` for each
  // row; an error that `on_row` returns ends the query. `on_row` must not run
  // the same `sql`.
  template <typename F, typename... Args>
  absl::Status Query(absl::string_view sql, F on_row, const Args&... args) {
    CAMHERD_ASSIGN_OR_RETURN(sqlite3_stmt* const statement, Prepare(sql));
    const Resetter resetter{statement};
    int index = 0;
    (Bind(statement, ++index, args), ...);
    while (true) {
      CAMHERD_ASSIGN_OR_RETURN(const bool row, Step(statement));
      if (!row) return absl::OkStatus();
      if constexpr (std::is_void_v<std::invoke_result_t<F, const Row&>>) {
        on_row(Row(statement));
      } else {
        CAMHERD_RETURN_IF_ERROR(on_row(Row(statement)));
      }
    }
  }

  // Runs one statement whose rows do not matter.
  template <typename... Args>
  absl::Status Run(absl::string_view sql, const Args&... args) {
    return Query(
        sql, [](const Row&) {}, args...);
  }

  // Rows that the last INSERT, UPDATE or DELETE changed.
  int64_t changes() const;

  // Runs `body` as one transaction, rolled back if it fails. Do not nest.
  absl::Status Transaction(absl::FunctionRef<absl::Status()> body);

 private:
  struct Resetter {
    ~Resetter() { Reset(statement); }
    sqlite3_stmt* statement;
  };

  explicit SqliteDb(const std::string& path) : path_(path) {}

  absl::Status StatusOf(int code, absl::string_view what) const;
  absl::StatusOr<sqlite3_stmt*> Prepare(absl::string_view sql);
  absl::StatusOr<bool> Step(sqlite3_stmt* statement);
  static void Reset(sqlite3_stmt* statement);
  static void Bind(sqlite3_stmt* statement, int index, int64_t value);
  static void Bind(sqlite3_stmt* statement, int index, int value);
  static void Bind(sqlite3_stmt* statement, int index, bool value);
  static void Bind(sqlite3_stmt* statement, int index, double value);
  static void Bind(sqlite3_stmt* statement, int index, absl::string_view text);
  static void Bind(sqlite3_stmt* statement, int index, const char* text);
  static void Bind(sqlite3_stmt* statement, int index, Blob blob);

  const std::string path_;
  sqlite3* db_ = nullptr;
  absl::flat_hash_map<std::string, sqlite3_stmt*> statements_;
};

}  // namespace camherd
