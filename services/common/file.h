// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Files as the services write them. Errors of the system become a status with
// path and strerror: kNotFound (ENOENT), kResourceExhausted (ENOSPC, EDQUOT),
// kPermissionDenied (EACCES, EPERM, EROFS), kUnavailable (EIO), else kInternal.
//
// Thread-safe.
namespace camherd {

enum class Sync { kNone, kData };

// Writes `path` whole or not at all: temporary file beside it, rename. With
// Sync::kData the file and its folder are fsynced, so the file is durable on
// return.
absl::Status WriteFileAtomically(const std::string& path,
                                 absl::string_view data, Sync sync,
                                 unsigned mode = 0644);

// kOutOfRange if the file is longer than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);

// Makes the folder and its parents; fine if they exist.
absl::Status MakeDirs(const std::string& path, unsigned mode = 0755);

// Makes names in a folder durable.
absl::Status SyncDir(const std::string& path);

// The status for `errno` after a call on `path`.
absl::Status ErrnoStatus(int error, absl::string_view call,
                         absl::string_view path);

// SHA-256 of `data` (FIPS 180-4), 32 bytes, and its hexadecimal form.
std::string Sha256(absl::string_view data);
std::string Sha256Hex(absl::string_view data);
// Of a file's content, hexadecimal.
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

}  // namespace camherd
