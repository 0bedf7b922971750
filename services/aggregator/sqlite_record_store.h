// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/aggregator/picture_files.h"
#include "services/aggregator/record_store.h"
#include "services/common/clock.h"
#include "services/common/sqlite_db.h"

namespace camherd::aggregator {

// The record store of one node: metadata in SQLite, pictures as files.
//
// Group commit: records wait in a bounded queue for one thread, which commits
// all that wait in one transaction, so that one fsync serves them all. Nobody
// waits for company: a group is what came while the last one was synced. A
// full queue refuses with kResourceExhausted.
//
// Order of a record: pictures written and synced, their folders synced, row
// committed, done called. A crash before the commit leaves at most pictures no
// row names; the batch comes again and puts the same files in their place.
// Those whose batch does not are removed after a start, by a thread that ends
// then.
//
// Removal goes the other way: the rows and, in the same commit, the paths of
// their files into doomed_files; then the files; then, with the next commit,
// the paths. So no row names a picture that retention has taken, and a crash
// leaves no file that nobody knows of.
//
// Thread-safe. The destructor commits what waits.
class SqliteRecordStore : public RecordStore {
 public:
  struct Options {
    std::string data_dir = {};
    // Records that may wait for commit.
    size_t max_pending = 1024;
    // Records in one transaction.
    size_t max_group = 128;
    // Seams for tests: told the name of each step done ("pictures written",
    // "group inserted", "group committed", "rows removed", "files removed",
    // "unnamed picture found", "pictures swept"), and
    // PictureFiles::Options::sync.
    std::function<void(absl::string_view step)> step_hook = nullptr;
    std::function<int(int fd)> sync = nullptr;
    // Told the size of each group committed.
    std::function<void(size_t records)> group_hook = nullptr;
  };

  // Opens or makes the store. kFailedPrecondition: records.db was written by
  // a newer program. `clock` must outlive the store.
  static absl::StatusOr<std::unique_ptr<SqliteRecordStore>> Create(
      const Options& options, Clock& clock);
  // Opens the store that is there beside the service that has it, to be read
  // only. kNotFound: there is none; else as Create.
  static absl::StatusOr<std::unique_ptr<SqliteRecordStore>> OpenToRead(
      const std::string& data_dir, Clock& clock);
  ~SqliteRecordStore() override;

  void Append(NewRecord record, AppendDone done) override;
  absl::StatusOr<StoredRecord> GetRecord(int64_t record_id) override;
  absl::StatusOr<std::vector<v1::Record>> ListRecords(
      const RecordFilter& filter, std::optional<RecordPosition> after,
      int limit) override;
  absl::StatusOr<std::vector<StoredRecord>> RecordsAfter(
      const RecordFilter& filter, int64_t record_id, int limit) override;
  int64_t LastRecordId() override { return last_record_id_.load(); }
  absl::StatusOr<std::string> ReadPicture(
      const StoredPicture& picture) override;
  absl::StatusOr<int64_t> HighWaterMark(const std::string& session_id) override;
  absl::StatusOr<PredictionsCursor> GetCursor() override;
  absl::Status PutCursor(const PredictionsCursor& cursor) override;
  absl::StatusOr<std::vector<StoredCamera>> LoadCameras() override;
  absl::Status PutCameras(const std::vector<StoredCamera>& cameras) override;
  absl::StatusOr<std::optional<v1::Grid>> FindGrid(
      const std::string& session_id, const std::string& frames_key) override;
  absl::Status AddGrid(const v1::Grid& grid, const std::string& frames_key,
                       int64_t size_bytes) override;
  absl::StatusOr<std::vector<StoredGrid>> ListGrids(
      const std::string& process_name, int64_t before, int limit) override;
  absl::StatusOr<StoreUsage> GetUsage() override;
  absl::StatusOr<RemovedItems> RemoveRecords(const RemovalStep& step) override;
  absl::StatusOr<RemovedItems> RemoveGrids(const RemovalStep& step) override;
  absl::StatusOr<bool> Shrink() override;

  // For a watchdog: waits until the committer has come round, after what it
  // commits just now.
  void AwaitCommitter();

 private:
  // Keeps the pictures of a record under way from SweepPictures.
  class Claim;
  // A record whose pictures are on disk and that waits for its row.
  struct Pending {
    NewRecord record;
    std::string folder;
    AppendDone done;
    absl::StatusOr<AppendResult> result;
    std::unique_ptr<Claim> claim;
  };

  SqliteRecordStore(const Options& options, Clock& clock);

  absl::Status Open();
  // The batch as it is recorded: empty if it is not. kAlreadyExists: with
  // another manifest.
  absl::StatusOr<std::optional<AppendResult>> FindBatch(
      SqliteDb& db, const NewRecord& record);
  absl::Status WritePictures(Pending& pending);
  // Below the data folder.
  static std::string PathOf(const Pending& pending, const Picture& picture);
  void CommitLoop();
  void CommitGroup(std::vector<Pending>& group);
  absl::Status CommitRows(std::vector<Pending>& group);
  absl::StatusOr<AppendResult> Insert(Pending& pending)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mu_);
  absl::Status InsertDetections(const v1::Record& record, int64_t record_id,
                                int64_t captured_us)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mu_);
  // Rows in one commit, then their files.
  struct Removal {
    RemovedItems items;
    std::vector<std::string> paths;
  };
  absl::StatusOr<RemovedItems> Remove(
      absl::FunctionRef<absl::Status(Removal&)> remove_rows);
  absl::Status RemoveRecordRows(const RemovalStep& step, Removal& removal)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mu_);
  absl::Status RemoveGridRows(const RemovalStep& step, Removal& removal)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mu_);
  absl::Status Doom(const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mu_);
  // Removes all files whose rows were removed.
  absl::Status RemoveDoomed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(removal_mu_);
  struct ListIndex;
  // The index that has the fewest records of the filter; beyond some thousands
  // they are all the same. `common`: what holds whichever it is.
  absl::StatusOr<ListIndex> ShortestIndex(const RecordFilter& filter,
                                          const std::string& common)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reader_mu_);
  // Parameters ?1 to ?10: since, until, class, complaint, camera, session, the
  // two of `after`, limit, cameras.
  absl::Status QueryList(
      const std::string& sql, const RecordFilter& filter,
      std::optional<RecordPosition> after, int64_t limit,
      absl::FunctionRef<absl::Status(const SqliteDb::Row&)> visit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reader_mu_);
  // Removes the pictures that no row names and no record under way.
  void SweepPictures();
  // False also for what is no picture of ours.
  bool IsUnnamed(const std::string& path);
  absl::StatusOr<StoredRecord> ReadRow(const SqliteDb::Row& row)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reader_mu_);
  void Step(absl::string_view step) {
    if (options_.step_hook) options_.step_hook(step);
  }

  const Options options_;
  Clock& clock_;
  std::unique_ptr<PictureFiles> pictures_;
  std::atomic<int64_t> last_record_id_{0};

  absl::Mutex writer_mu_;
  std::unique_ptr<SqliteDb> writer_ ABSL_GUARDED_BY(writer_mu_);

  // Before reader_mu_.
  absl::Mutex claims_mu_;
  // Paths below the data folder; two calls may be at one batch.
  std::multiset<std::string> claims_ ABSL_GUARDED_BY(claims_mu_);
  std::atomic<bool> stop_sweep_{false};

  absl::Mutex reader_mu_;
  std::unique_ptr<SqliteDb> reader_ ABSL_GUARDED_BY(reader_mu_);

  // Before writer_mu_.
  absl::Mutex removal_mu_;
  // Files that are gone and still in doomed_files: the next commit takes their
  // rows along.
  std::vector<std::string> gone_ ABSL_GUARDED_BY(removal_mu_);
  // doomed_files has more than those.
  std::atomic<bool> doomed_{false};

  absl::Mutex queue_mu_;
  std::vector<Pending> queue_ ABSL_GUARDED_BY(queue_mu_);
  bool closed_ ABSL_GUARDED_BY(queue_mu_) = false;
  // Turns of the committer: asked for, and made.
  int64_t turns_asked_ ABSL_GUARDED_BY(queue_mu_) = 0;
  int64_t turns_made_ ABSL_GUARDED_BY(queue_mu_) = 0;

  std::thread committer_;
  std::thread sweeper_;
};

}  // namespace camherd::aggregator
