// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace camherd::testing {

// What disk_shim.cc has noted of a program, and the folders that a power cut
// may leave of it.
//
// A disk keeps what was synced: a file's bytes once the file is synced, a name
// once the folder that it is in is synced. Of what came after, it keeps what it
// likes: writes in part and in any order by blocks, sizes without their bytes
// (which read as zeros), names or not. Only a rename is one thing, and a name
// is not changed before the change that it builds upon.
//
// Not thread-safe.
class DiskTrace {
 public:
  // Of what was not synced.
  enum class Kept {
    kNothing,
    // Names and sizes, of bytes nothing.
    kNames,
    // All up to some moment, the last write torn at 512 bytes.
    kPrefix,
    // By chance, by blocks of 512 or 4096 bytes.
    kSectors,
    kPages,
    // As if the program were killed.
    kEverything,
  };
  static constexpr int kKinds = 6;

  // Reads the shim's file; ends the program if it cannot be read.
  explicit DiskTrace(const std::string& path);

  // Entries; a point lies after so many of them.
  size_t size() const { return entries_.size(); }

  // What the program had said up to there.
  std::vector<std::string> MarksBefore(size_t point) const;

  // Makes in `folder`, which is empty, what a power cut at `point` leaves.
  void Rebuild(size_t point, Kept kept, uint64_t seed,
               const std::string& folder) const;

  // The entry before the point, for messages.
  std::string Describe(size_t point) const;

 private:
  struct Entry {
    char kind = 0;
    uint64_t inode = 0;
    uint64_t offset = 0;
    std::string path;
    std::string new_path;
    std::string data;
    // Of the file that the inode was then: inodes are used again.
    size_t file = 0;
  };

  std::vector<Entry> entries_;
  size_t files_ = 0;
};

}  // namespace camherd::testing
