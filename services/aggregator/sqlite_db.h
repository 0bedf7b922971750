// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/aggregator/sqlite_statement.h"

struct sqlite3;

namespace camherd::aggregator {

// A connection. Errors are those of SqliteStatus.
//
// Not thread-safe.
class SqliteDb {
 public:
  // Opens or makes the file, WAL, synchronous=FULL.
  static absl::StatusOr<std::unique_ptr<SqliteDb>> Open(
      const std::string& path);
  ~SqliteDb();

  SqliteDb(const SqliteDb&) = delete;
  SqliteDb& operator=(const SqliteDb&) = delete;

  absl::Status Exec(const std::string& sql);
  absl::StatusOr<SqliteStatement> Prepare(absl::string_view sql);

 private:
  explicit SqliteDb(sqlite3* db) : db_(db) {}

  sqlite3* db_;
};

}  // namespace camherd::aggregator
