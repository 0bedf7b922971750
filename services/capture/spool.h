// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// What the supervisor does with files of the spool; names are made in
// spool_layout.h, pictures are written by the worker.
//
// Errors are those of file.h. Thread-safe.
namespace camherd::capture {

// A second name for `from`; one that is there already is replaced.
absl::Status LinkFile(const std::string& from, const std::string& to);

// Removes a name; fine if it is not there.
absl::Status UnlinkFile(const std::string& path);

// Makes a file's bytes durable, or a folder's names. kNotFound if it is not
// there. An fsync that fails ends the process: the next one would say OK
// whatever the disk has.
absl::Status SyncFile(const std::string& path);

// Length in bytes. kNotFound if it is not a file that is there.
absl::StatusOr<int64_t> FileSize(const std::string& path);

// Bytes that may still be written where `path` lies. kResourceExhausted: no
// more files can be made there, for want of inodes.
absl::StatusOr<int64_t> FreeBytes(const std::string& path);

// Names of the entries of a folder, sorted; none if it is not there.
std::vector<std::string> ListFolder(const std::string& path);

// Removes the files in a session's folder, and the folder if nothing else is
// in it. Returns how many files went.
int RemoveFolder(const std::string& path);

// Removes the folder if it is empty.
void RemoveEmptyFolder(const std::string& path);

// True for `<camera id>_<UUID>`, the name of a session's folder.
bool IsSessionFolder(absl::string_view name);

}  // namespace camherd::capture
