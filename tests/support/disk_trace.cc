// SPDX-License-Identifier: Apache-2.0
#include "tests/support/disk_trace.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <utility>

namespace camherd::testing {
namespace {

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "disk trace: %s\n", what.c_str());
  std::abort();
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// A change of a file's bytes that was not synced.
struct Change {
  bool truncates = false;
  uint64_t offset = 0;
  const std::string* data = nullptr;
  size_t entry = 0;
};

struct File {
  std::string synced;
  std::vector<Change> changes;
};

// Writes the first `size` bytes of the change; `block` of 0 whole, else each
// block by chance. The file grows in any case.
void Apply(const Change& change, size_t size, size_t block, std::mt19937& any,
           std::string& bytes) {
  if (change.truncates) {
    bytes.resize(change.offset);
    return;
  }
  const size_t end = change.offset + size;
  if (bytes.size() < end) bytes.resize(end, '\0');
  for (size_t at = change.offset; at < end;) {
    const size_t next =
        block == 0 ? end : std::min(end, (at / block + 1) * block);
    if (block == 0 || any() % 2 == 0) {
      std::memcpy(bytes.data() + at, change.data->data() + (at - change.offset),
                  next - at);
    }
    at = next;
  }
}

}  // namespace

DiskTrace::DiskTrace(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(in),
                        std::istreambuf_iterator<char>()};
  size_t at = 0;
  const auto take = [&](void* to, size_t size) {
    if (at + size > all.size()) Die(path + " ends in an entry");
    std::memcpy(to, all.data() + at, size);
    at += size;
  };
  std::map<uint64_t, size_t> file_of;
  while (at < all.size()) {
    Entry entry;
    uint32_t sizes[3];
    take(&entry.kind, 1);
    take(&entry.inode, sizeof(entry.inode));
    take(&entry.offset, sizeof(entry.offset));
    take(sizes, sizeof(sizes));
    for (std::string* text : {&entry.path, &entry.new_path, &entry.data}) {
      text->resize(sizes[text == &entry.path       ? 0
                         : text == &entry.new_path ? 1
                                                   : 2]);
      take(text->data(), text->size());
    }
    if (entry.kind == 'C') file_of[entry.inode] = files_++;
    if (entry.kind == 'C' || entry.kind == 'W' || entry.kind == 'T' ||
        entry.kind == 'S') {
      const auto found = file_of.find(entry.inode);
      if (found == file_of.end()) Die("unknown file " + entry.path);
      entry.file = found->second;
    }
    entries_.push_back(std::move(entry));
  }
  if (entries_.empty()) Die(path + " is empty");
}

std::vector<std::string> DiskTrace::MarksBefore(size_t point) const {
  std::vector<std::string> marks;
  for (size_t i = 0; i < point; ++i) {
    if (entries_[i].kind == 'K') marks.push_back(entries_[i].data);
  }
  return marks;
}

std::string DiskTrace::Describe(size_t point) const {
  if (point == 0) return "the start";
  const Entry& entry = entries_[point - 1];
  return std::string(1, entry.kind) + " " + entry.path + " " + entry.new_path +
         " at " + std::to_string(entry.offset) + ", " +
         std::to_string(entry.data.size()) + " bytes";
}

void DiskTrace::Rebuild(size_t point, Kept kept, uint64_t seed,
                        const std::string& folder) const {
  std::mt19937 any(static_cast<std::mt19937::result_type>(seed));
  std::vector<File> files(files_);
  // Changes of names, by entry, and those that are sure to be kept.
  std::vector<size_t> names;
  std::set<size_t> sure;
  for (size_t i = 0; i < point; ++i) {
    const Entry& entry = entries_[i];
    switch (entry.kind) {
      case 'W':
        files[entry.file].changes.push_back(
            {false, entry.offset, &entry.data, i});
        break;
      case 'T':
        files[entry.file].changes.push_back({true, entry.offset, nullptr, i});
        break;
      case 'S': {
        File& file = files[entry.file];
        for (const Change& change : file.changes) {
          Apply(change, change.data == nullptr ? 0 : change.data->size(), 0,
                any, file.synced);
        }
        file.changes.clear();
        break;
      }
      case 'D':
        for (const size_t name : names) {
          const Entry& change = entries_[name];
          if (ParentOf(change.path) == entry.path ||
              (!change.new_path.empty() &&
               ParentOf(change.new_path) == entry.path)) {
            sure.insert(name);
          }
        }
        break;
      case 'K':
        break;
      default:
        names.push_back(i);
    }
  }
  // What a sure change builds upon is sure as well.
  std::set<std::string> needed;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    const Entry& change = entries_[*name];
    if (sure.count(*name) == 0 && needed.count(change.path) == 0 &&
        needed.count(change.new_path) == 0) {
      continue;
    }
    sure.insert(*name);
    needed.insert(change.path);
    if (!change.new_path.empty()) needed.insert(change.new_path);
  }

  // Names.
  std::vector<size_t> open;
  for (const size_t i : names) {
    if (sure.count(i) == 0) open.push_back(i);
  }
  for (const File& file : files) {
    for (const Change& change : file.changes) open.push_back(change.entry);
  }
  const size_t cut = open.empty() ? point : open[any() % open.size()];
  constexpr size_t kFolder = static_cast<size_t>(-1);
  std::map<std::string, size_t> there;
  std::set<std::string> skipped;
  for (const size_t i : names) {
    const Entry& change = entries_[i];
    bool keeps = true;
    if (sure.count(i) == 0) {
      switch (kept) {
        case Kept::kNothing:
          keeps = false;
          break;
        case Kept::kPrefix:
          keeps = i < cut;
          break;
        case Kept::kSectors:
        case Kept::kPages:
          keeps = any() % 2 == 0;
          break;
        default:
          break;
      }
      if (skipped.count(change.path) > 0 ||
          skipped.count(change.new_path) > 0) {
        keeps = false;
      }
    }
    const std::string& made =
        change.new_path.empty() ? change.path : change.new_path;
    const std::string parent = ParentOf(made);
    if (!parent.empty() && there.count(parent) == 0) keeps = false;
    if (!keeps) {
      skipped.insert(change.path);
      if (!change.new_path.empty()) skipped.insert(change.new_path);
      continue;
    }
    switch (change.kind) {
      case 'C':
        there[change.path] = change.file;
        break;
      case 'M':
        there[change.path] = kFolder;
        break;
      case 'U': {
        // A folder does not go before what is in it.
        const auto next = there.upper_bound(change.path + "/");
        if (next == there.end() ||
            next->first.compare(0, change.path.size() + 1, change.path + "/") !=
                0) {
          there.erase(change.path);
        }
        break;
      }
      case 'R':
      case 'L':
        if (const auto from = there.find(change.path); from != there.end()) {
          there[change.new_path] = from->second;
          if (change.kind == 'R') there.erase(change.path);
        }
        break;
      default:
        Die("unknown entry");
    }
  }

  // Bytes.
  std::map<size_t, std::string> written;
  for (const auto& [path, file] : there) {
    const std::string full = folder + "/" + path;
    if (file == kFolder) {
      std::filesystem::create_directories(full);
      continue;
    }
    if (const auto other = written.find(file); other != written.end()) {
      if (::link(other->second.c_str(), full.c_str()) != 0) Die(full);
      continue;
    }
    std::string bytes = files[file].synced;
    for (const Change& change : files[file].changes) {
      const size_t size = change.truncates ? 0 : change.data->size();
      switch (kept) {
        case Kept::kNothing:
          break;
        case Kept::kNames:
          bytes.resize(
              change.truncates
                  ? change.offset
                  : std::max<size_t>(bytes.size(), change.offset + size));
          break;
        case Kept::kPrefix:
          if (change.entry < cut) {
            Apply(change, size, 0, any, bytes);
          } else if (change.entry == cut) {
            Apply(change, any() % (size / 512 + 1) * 512, 0, any, bytes);
          }
          break;
        case Kept::kSectors:
        case Kept::kPages:
          // Whole writes may be missing too, their bytes and their size.
          if (any() % 4 != 0) {
            Apply(change, size, kept == Kept::kSectors ? 512 : 4096, any,
                  bytes);
          }
          break;
        case Kept::kEverything:
          Apply(change, size, 0, any, bytes);
          break;
      }
    }
    std::ofstream(full, std::ios::binary) << bytes;
    written[file] = full;
  }
}

}  // namespace camherd::testing
