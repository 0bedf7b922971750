// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/sqlite_record_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/removed_batches.h"
#include "services/aggregator/sqlite_record_store_schema.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::aggregator {
namespace {

constexpr char kSetup[] =
    "PRAGMA page_size=16384; PRAGMA auto_vacuum=INCREMENTAL;"
    "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
    // Twice what the log has between checkpoints; else it never shrinks.
    "PRAGMA journal_size_limit=33554432";

// Of 16 KiB: what one step of shrinking gives back.
constexpr int64_t kShrinkPages = 64;

// Records in an index that are counted before a list is made: 0.3 ms.
constexpr int64_t kMaxCounted = 4096;

// Record ids that are looked through at a time: 5 ms.
constexpr int64_t kSearchStep = 10000;

std::string BatchName(const v1::Record& record) {
  return absl::StrCat("batch ", record.batch_seq(), " of session ",
                      record.session_id());
}

// The batch that a picture's name tells of, as PictureName makes it.
struct PictureBatch {
  std::string session_id;
  int64_t batch_seq = 0;
};

std::optional<PictureBatch> BatchOfPicture(absl::string_view path) {
  absl::string_view name = path.substr(path.rfind('/') + 1);
  std::vector<absl::string_view> parts = absl::StrSplit(name, '_');
  int32_t frame = 0;
  PictureBatch batch;
  // <session>_<seq>_<frame>_<hash>.jpg; a session may have underscores.
  if (parts.size() < 4 || !absl::ConsumeSuffix(&parts.back(), ".jpg") ||
      parts.back().size() != 8 ||
      !absl::SimpleAtoi(parts[parts.size() - 2], &frame) ||
      !absl::SimpleAtoi(parts[parts.size() - 3], &batch.batch_seq)) {
    return std::nullopt;
  }
  parts.resize(parts.size() - 3);
  batch.session_id = absl::StrJoin(parts, "_");
  return batch;
}

// Reads the message in a column; `name` tells which it is.
absl::Status Parse(const SqliteDb::Row& row, int column, absl::string_view name,
                   google::protobuf::MessageLite& message) {
  const absl::string_view bytes = row.Bytes(column);
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(name, " cannot be read"));
}

// Of record_id, recorded_us, record.
absl::StatusOr<v1::Record> ReadRecord(const SqliteDb::Row& row) {
  v1::Record record;
  const int64_t record_id = row.Int(0);
  CAMHERD_RETURN_IF_ERROR(
      Parse(row, 2, absl::StrCat("record ", record_id), record));
  record.set_record_id(record_id);
  *record.mutable_recorded_at() = ToProto(absl::FromUnixMicros(row.Int(1)));
  return record;
}

// Ids need no escapes.
std::string JsonArray(const std::vector<std::string>& ids) {
  if (ids.empty()) return "[]";
  return absl::StrCat("[\"", absl::StrJoin(ids, "\",\""), "\"]");
}

}  // namespace

class SqliteRecordStore::Claim {
 public:
  Claim(SqliteRecordStore& store, std::vector<std::string> paths)
      : store_(store), paths_(std::move(paths)) {
    absl::MutexLock lock(&store_.claims_mu_);
    store_.claims_.insert(paths_.begin(), paths_.end());
  }
  ~Claim() {
    absl::MutexLock lock(&store_.claims_mu_);
    for (const std::string& path : paths_) {
      store_.claims_.erase(store_.claims_.find(path));
    }
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

 private:
  SqliteRecordStore& store_;
  const std::vector<std::string> paths_;
};

SqliteRecordStore::SqliteRecordStore(const Options& options, Clock& clock)
    : options_(options), clock_(clock) {}

absl::StatusOr<std::unique_ptr<SqliteRecordStore>> SqliteRecordStore::Create(
    const Options& options, Clock& clock) {
  std::unique_ptr<SqliteRecordStore> store(
      new SqliteRecordStore(options, clock));
  CAMHERD_ASSIGN_OR_RETURN(store->pictures_,
                           PictureFiles::Create({.data_dir = options.data_dir,
                                                 .sync = options.sync}));
  CAMHERD_RETURN_IF_ERROR(store->Open());
  {
    absl::MutexLock lock(&store->removal_mu_);
    CAMHERD_RETURN_IF_ERROR(store->RemoveDoomed());
  }
  store->committer_ = std::thread([s = store.get()] { s->CommitLoop(); });
  store->sweeper_ = std::thread([s = store.get()] { s->SweepPictures(); });
  return store;
}

absl::StatusOr<std::unique_ptr<SqliteRecordStore>>
SqliteRecordStore::OpenToRead(const std::string& data_dir, Clock& clock) {
  const std::string path = DatabaseFile(data_dir);
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(
        absl::StrCat("there are no records: ", path, " is not there"));
  }
  std::unique_ptr<SqliteRecordStore> store(
      new SqliteRecordStore({.data_dir = data_dir}, clock));
  store->pictures_ = PictureFiles::OfAnother(data_dir);
  CAMHERD_RETURN_IF_ERROR(store->Open());
  return store;
}

SqliteRecordStore::~SqliteRecordStore() {
  {
    absl::MutexLock lock(&queue_mu_);
    closed_ = true;
  }
  if (committer_.joinable()) committer_.join();
  stop_sweep_ = true;
  if (sweeper_.joinable()) sweeper_.join();
}

absl::Status SqliteRecordStore::Open() {
  const std::string path = DatabaseFile(options_.data_dir);
  absl::MutexLock writer_lock(&writer_mu_);
  CAMHERD_ASSIGN_OR_RETURN(writer_, SqliteDb::Open(path, kSetup));
  CAMHERD_RETURN_IF_ERROR(writer_->Migrate(kMigrations));
  CAMHERD_RETURN_IF_ERROR(writer_->Query(
      "SELECT seq FROM sqlite_sequence WHERE name='records'",
      [&](const SqliteDb::Row& row) { last_record_id_ = row.Int(0); }));
  absl::MutexLock reader_lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(reader_, SqliteDb::Open(path, kSetup));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<AppendResult>> SqliteRecordStore::FindBatch(
    SqliteDb& db, const NewRecord& record) {
  std::optional<AppendResult> known;
  CAMHERD_RETURN_IF_ERROR(db.Query(
      "SELECT digest, record_id FROM batches WHERE session_id=? AND "
      "batch_seq=?",
      [&](const SqliteDb::Row& row) -> absl::Status {
        // One that was imported has no manifest: its name alone tells.
        if (!record.record.imported() && !row.Bytes(0).empty() &&
            row.Bytes(0) != record.manifest_sha256) {
          return absl::AlreadyExistsError(
              absl::StrCat(BatchName(record.record), " is recorded as record ",
                           row.Int(1), " with another manifest"));
        }
        known = {.record_id = row.Int(1), .already_recorded = true};
        return absl::OkStatus();
      },
      record.record.session_id(), record.record.batch_seq()));
  if (known.has_value()) return known;
  CAMHERD_ASSIGN_OR_RETURN(
      const bool removed,
      IsRemovedBatch(db, {.session_id = record.record.session_id(),
                          .batch_seq = record.record.batch_seq(),
                          .digest = record.manifest_sha256}));
  if (removed) known = {.record_id = 0, .already_recorded = true};
  return known;
}

std::string SqliteRecordStore::PathOf(const Pending& pending,
                                      const Picture& picture) {
  const v1::Record& record = pending.record.record;
  return absl::StrCat(
      pending.folder, "/",
      PictureName(record.session_id(), record.batch_seq(), picture.frame_index,
                  record.frames(picture.frame_index).sha256()));
}

bool SqliteRecordStore::IsUnnamed(const std::string& path) {
  const std::optional<PictureBatch> batch = BatchOfPicture(path);
  if (!batch.has_value()) return false;
  absl::MutexLock lock(&reader_mu_);
  bool named = false;
  const absl::Status asked = reader_->Query(
      "SELECT 1 FROM batches b JOIN pictures p ON p.record_id=b.record_id "
      "WHERE b.session_id=? AND b.batch_seq=? AND p.path=?",
      [&](const SqliteDb::Row&) { named = true; }, batch->session_id,
      batch->batch_seq, path);
  return asked.ok() && !named;
}

void SqliteRecordStore::SweepPictures() {
  int64_t removed = 0;
  pictures_->ForEach([&](const std::string& path) {
    if (stop_sweep_) return false;
    if (!IsUnnamed(path)) return true;
    Step("unnamed picture found");
    absl::MutexLock lock(&claims_mu_);
    // Its batch may be coming again, or be recorded by now.
    if (claims_.count(path) == 0 && IsUnnamed(path) &&
        pictures_->Remove({path}).ok()) {
      ++removed;
    }
    return true;
  });
  if (removed > 0) {
    LogWarning("pictures without a record removed, as a crash leaves them",
               {{"pictures", removed}});
  }
  Step("pictures swept");
}

absl::Status SqliteRecordStore::WritePictures(Pending& pending) {
  const v1::Record& record = pending.record.record;
  pending.folder = PictureFolder(FromProto(record.captured_at()));
  std::vector<std::string> paths;
  for (const Picture& picture : pending.record.pictures) {
    paths.push_back(PathOf(pending, picture));
  }
  pending.claim = std::make_unique<Claim>(*this, std::move(paths));
  for (const Picture& picture : pending.record.pictures) {
    const std::string name = PictureName(
        record.session_id(), record.batch_seq(), picture.frame_index,
        record.frames(picture.frame_index).sha256());
    CAMHERD_RETURN_IF_ERROR(
        pictures_->Write(pending.folder, name, picture.jpeg));
  }
  return absl::OkStatus();
}

void SqliteRecordStore::Append(NewRecord record, AppendDone done) {
  absl::StatusOr<std::optional<AppendResult>> known;
  {
    absl::MutexLock lock(&reader_mu_);
    known = FindBatch(*reader_, record);
  }
  if (!known.ok()) return done(known.status());
  if (known->has_value()) return done(**known);

  Pending pending{.record = std::move(record),
                  .folder = "",
                  .done = std::move(done),
                  .result = absl::UnknownError(""),
                  .claim = nullptr};
  const absl::Status written = WritePictures(pending);
  if (!written.ok()) return pending.done(written);
  Step("pictures written");
  {
    absl::MutexLock lock(&queue_mu_);
    if (!closed_ && queue_.size() < options_.max_pending) {
      queue_.push_back(std::move(pending));
      return;
    }
  }
  pending.done(absl::ResourceExhaustedError(
      absl::StrCat(options_.max_pending, " records wait for commit already")));
}

void SqliteRecordStore::CommitLoop() {
  while (true) {
    std::vector<Pending> group;
    {
      absl::MutexLock lock(&queue_mu_);
      queue_mu_.Await(absl::Condition(
          +[](SqliteRecordStore* s) ABSL_NO_THREAD_SAFETY_ANALYSIS {
            return s->closed_ || !s->queue_.empty() ||
                   s->turns_made_ < s->turns_asked_;
          },
          this));
      turns_made_ = turns_asked_;
      if (queue_.empty()) {
        if (closed_) return;
        continue;
      }
      if (queue_.size() <= options_.max_group) {
        group.swap(queue_);
      } else {
        const auto end =
            queue_.begin() + static_cast<std::ptrdiff_t>(options_.max_group);
        group.assign(std::make_move_iterator(queue_.begin()),
                     std::make_move_iterator(end));
        queue_.erase(queue_.begin(), end);
      }
    }
    CommitGroup(group);
  }
}

void SqliteRecordStore::AwaitCommitter() {
  struct Turn {
    SqliteRecordStore* store;
    int64_t number;
  };
  absl::MutexLock lock(&queue_mu_);
  Turn turn{this, ++turns_asked_};
  queue_mu_.Await(absl::Condition(
      +[](Turn* t) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return t->store->turns_made_ >= t->number || t->store->closed_;
      },
      &turn));
}

void SqliteRecordStore::CommitGroup(std::vector<Pending>& group) {
  const absl::Status committed = CommitRows(group);
  if (committed.ok()) {
    if (options_.group_hook) options_.group_hook(group.size());
    Step("group committed");
  }
  for (Pending& pending : group) {
    if (committed.ok()) {
      pending.done(pending.result);
    } else {
      pending.done(committed);
    }
  }
}

absl::Status SqliteRecordStore::CommitRows(std::vector<Pending>& group) {
  std::set<std::string> folders;
  for (const Pending& pending : group) folders.insert(pending.folder);
  for (const std::string& folder : folders) {
    const absl::Status status = pictures_->SyncFolder(folder);
    if (absl::IsNotFound(status)) {
      return absl::UnavailableError(status.message());
    }
    if (!status.ok()) {
      LogFatal("fsync of a folder of pictures failed", {{"error", status}});
    }
  }
  absl::MutexLock lock(&writer_mu_);
  int64_t last = 0;
  CAMHERD_RETURN_IF_ERROR(writer_->Transaction([&]() -> absl::Status {
    writer_mu_.AssertHeld();
    for (Pending& pending : group) {
      pending.result = Insert(pending);
      if (pending.result.ok()) {
        last = std::max(last, pending.result->record_id);
      } else if (!absl::IsAlreadyExists(pending.result.status())) {
        return pending.result.status();
      }
    }
    Step("group inserted");
    return absl::OkStatus();
  }));
  last_record_id_ = std::max(last_record_id_.load(), last);
  return absl::OkStatus();
}

absl::StatusOr<AppendResult> SqliteRecordStore::Insert(Pending& pending) {
  CAMHERD_ASSIGN_OR_RETURN(const std::optional<AppendResult> known,
                           FindBatch(*writer_, pending.record));
  const v1::Record& record = pending.record.record;
  if (known.has_value()) {
    // It came, was recorded by another call and removed, all since this call
    // looked: its pictures are nobody's.
    for (const Picture& picture : pending.record.pictures) {
      if (known->record_id != 0) break;
      CAMHERD_RETURN_IF_ERROR(Doom(PathOf(pending, picture)));
      doomed_ = true;
    }
    return *known;
  }

  const int64_t captured_us =
      absl::ToUnixMicros(FromProto(record.captured_at()));
  AppendResult result;
  CAMHERD_RETURN_IF_ERROR(writer_->Query(
      "INSERT INTO records(session_id, batch_seq, camera_id, captured_us, "
      "recorded_us, record) VALUES(?,?,?,?,?,?) RETURNING record_id",
      [&](const SqliteDb::Row& row) { result.record_id = row.Int(0); },
      record.session_id(), record.batch_seq(), record.camera_id(), captured_us,
      absl::ToUnixMicros(clock_.Now()),
      SqliteDb::Blob{record.SerializeAsString()}));
  CAMHERD_RETURN_IF_ERROR(
      InsertDetections(record, result.record_id, captured_us));
  for (const Picture& picture : pending.record.pictures) {
    CAMHERD_RETURN_IF_ERROR(
        writer_->Run("INSERT INTO pictures VALUES(?,?,?,?)", result.record_id,
                     picture.frame_index, PathOf(pending, picture),
                     static_cast<int64_t>(picture.jpeg.size())));
  }
  CAMHERD_RETURN_IF_ERROR(writer_->Run(
      "INSERT INTO batches VALUES(?,?,?,?)", record.session_id(),
      record.batch_seq(), SqliteDb::Blob{pending.record.manifest_sha256},
      result.record_id));
  CAMHERD_RETURN_IF_ERROR(writer_->Run(
      "INSERT INTO sessions VALUES(?,?,?,?) ON CONFLICT(session_id) DO "
      "UPDATE SET high_water=max(high_water, excluded.high_water), "
      "epoch=max(epoch, excluded.epoch)",
      record.session_id(), record.stream_id(), record.batch_seq(),
      record.epoch()));
  return result;
}

absl::Status SqliteRecordStore::InsertDetections(const v1::Record& record,
                                                 int64_t record_id,
                                                 int64_t captured_us) {
  struct Seen {
    int64_t detections = 0;
    bool complaint = false;
  };
  std::map<absl::string_view, Seen> classes;
  for (const v1::RecordSection& section : record.sections()) {
    for (const v1::Detection& detection : section.detections()) {
      Seen& seen = classes[detection.class_name()];
      ++seen.detections;
      seen.complaint = seen.complaint || section.complaint() != 0;
    }
  }
  for (const auto& [name, seen] : classes) {
    CAMHERD_RETURN_IF_ERROR(writer_->Run(
        "INSERT INTO detections VALUES(?,?,?,?,?,?)", name, captured_us,
        record_id, record.camera_id(), seen.complaint, seen.detections));
  }
  for (const v1::Evidence& evidence : record.evidence()) {
    CAMHERD_RETURN_IF_ERROR(writer_->Run(
        "INSERT INTO complaints VALUES(?,?,?,?)", evidence.complaint_type(),
        captured_us, record_id, record.camera_id()));
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredRecord> SqliteRecordStore::ReadRow(
    const SqliteDb::Row& row) {
  StoredRecord stored;
  CAMHERD_ASSIGN_OR_RETURN(stored.record, ReadRecord(row));
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      "SELECT frame_index, path, size_bytes FROM pictures "
      "WHERE record_id=? ORDER BY frame_index",
      [&](const SqliteDb::Row& picture) {
        stored.pictures.push_back(
            {.frame_index = static_cast<int32_t>(picture.Int(0)),
             .path = std::string(picture.Bytes(1)),
             .size_bytes = picture.Int(2)});
      },
      stored.record.record_id()));
  return stored;
}

absl::StatusOr<StoredRecord> SqliteRecordStore::GetRecord(int64_t record_id) {
  absl::MutexLock lock(&reader_mu_);
  // Ids are given once, without a gap.
  absl::StatusOr<StoredRecord> stored = absl::NotFoundError(
      record_id >= 1 && record_id <= LastRecordId()
          ? absl::StrCat("record ", record_id, " has been removed")
          : absl::StrCat("there is no record ", record_id));
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      "SELECT record_id, recorded_us, record FROM records WHERE record_id=?",
      [&](const SqliteDb::Row& row) {
        reader_mu_.AssertHeld();
        stored = ReadRow(row);
      },
      record_id));
  return stored;
}

// A list in the order of capture from which records are looked up, and the
// condition that makes it one.
struct SqliteRecordStore::ListIndex {
  absl::string_view table;
  absl::string_view condition;
};

absl::StatusOr<SqliteRecordStore::ListIndex> SqliteRecordStore::ShortestIndex(
    const RecordFilter& filter, const std::string& common) {
  std::vector<ListIndex> indexes;
  if (!filter.session_id.empty()) {
    indexes.push_back({"records", "k.session_id=?6"});
  }
  if (!filter.complaint_type.empty()) {
    indexes.push_back({"complaints", "k.complaint_type=?4"});
  }
  if (!filter.class_name.empty()) {
    indexes.push_back({"detections", "k.class_name=?3"});
  }
  if (indexes.empty()) return ListIndex{"records", "true"};
  // The last one is taken unasked where the others are long.
  ListIndex shortest = indexes.back();
  int64_t least = kMaxCounted;
  for (const ListIndex& index : indexes) {
    if (indexes.size() == 1) break;
    int64_t count = 0;
    CAMHERD_RETURN_IF_ERROR(QueryList(
        absl::StrCat("SELECT count(*) FROM (SELECT 1 FROM ", index.table,
                     " k WHERE ", index.condition, common, " LIMIT ?9)"),
        filter, std::nullopt, least, [&](const SqliteDb::Row& row) {
          count = row.Int(0);
          return absl::OkStatus();
        }));
    if (count < least) {
      least = count;
      shortest = index;
    }
  }
  return shortest;
}

absl::Status SqliteRecordStore::QueryList(
    const std::string& sql, const RecordFilter& filter,
    std::optional<RecordPosition> after, int64_t limit,
    absl::FunctionRef<absl::Status(const SqliteDb::Row&)> visit) {
  const RecordPosition position = after.value_or(RecordPosition{});
  return reader_->Query(sql, visit, absl::ToUnixMicros(filter.since),
                        absl::ToUnixMicros(filter.until), filter.class_name,
                        filter.complaint_type, filter.camera_id,
                        filter.session_id, position.captured_us,
                        position.record_id, limit,
                        JsonArray(filter.camera_ids));
}

absl::StatusOr<std::vector<v1::Record>> SqliteRecordStore::ListRecords(
    const RecordFilter& filter, std::optional<RecordPosition> after,
    int limit) {
  std::string common = " AND k.captured_us >= ?1 AND k.captured_us < ?2";
  if (!filter.camera_id.empty()) {
    absl::StrAppend(&common, " AND k.camera_id=?5");
  }
  if (!filter.camera_ids.empty()) {
    absl::StrAppend(&common,
                    " AND k.camera_id IN (SELECT value FROM json_each(?10))");
  }
  if (after.has_value()) {
    absl::StrAppend(&common, " AND (k.captured_us, k.record_id) < (?7, ?8)");
  }
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(const ListIndex index,
                           ShortestIndex(filter, common));
  std::string where = absl::StrCat(index.condition, common);
  const bool is_records = index.table == "records";
  if (!filter.session_id.empty() && !is_records) {
    absl::StrAppend(&where, " AND r.session_id=?6");
  }
  if (!filter.class_name.empty() && index.table != "detections") {
    absl::StrAppend(&where,
                    " AND EXISTS(SELECT 1 FROM detections d WHERE "
                    "d.class_name=?3 AND d.captured_us=k.captured_us AND "
                    "d.record_id=k.record_id)");
  }
  if (!filter.complaint_type.empty() && index.table != "complaints") {
    absl::StrAppend(&where,
                    " AND EXISTS(SELECT 1 FROM complaints c WHERE "
                    "c.complaint_type=?4 AND c.captured_us=k.captured_us AND "
                    "c.record_id=k.record_id)");
  }
  std::vector<v1::Record> records;
  CAMHERD_RETURN_IF_ERROR(QueryList(
      absl::StrCat(
          "SELECT r.record_id, r.recorded_us, r.record FROM ", index.table,
          " k CROSS JOIN records r ON r.record_id=k.record_id WHERE ", where,
          " ORDER BY k.captured_us DESC, k.record_id DESC LIMIT ?9"),
      filter, after, limit, [&](const SqliteDb::Row& row) -> absl::Status {
        CAMHERD_ASSIGN_OR_RETURN(records.emplace_back(), ReadRecord(row));
        return absl::OkStatus();
      }));
  return records;
}

absl::StatusOr<std::vector<StoredRecord>> SqliteRecordStore::RecordsAfter(
    const RecordFilter& filter, int64_t record_id, int limit) {
  std::string where =
      "record_id>?1 AND record_id<=?9 AND captured_us >= ?2 AND "
      "captured_us < ?3";
  if (!filter.camera_id.empty()) absl::StrAppend(&where, " AND camera_id=?4");
  if (!filter.camera_ids.empty()) {
    absl::StrAppend(&where,
                    " AND camera_id IN (SELECT value FROM json_each(?10))");
  }
  if (!filter.session_id.empty()) absl::StrAppend(&where, " AND session_id=?5");
  if (!filter.class_name.empty()) {
    absl::StrAppend(&where,
                    " AND EXISTS(SELECT 1 FROM detections d WHERE "
                    "d.record_id=k.record_id AND d.class_name=?6)");
  }
  if (!filter.complaint_type.empty()) {
    absl::StrAppend(&where,
                    " AND EXISTS(SELECT 1 FROM complaints c WHERE "
                    "c.record_id=k.record_id AND c.complaint_type=?7)");
  }
  const std::string sql = absl::StrCat(
      "SELECT record_id, recorded_us, record FROM records k WHERE ", where,
      " ORDER BY record_id LIMIT ?8");
  std::vector<StoredRecord> records;
  const int64_t last = LastRecordId();
  // In steps, so that other readers need not wait for the end of a long search.
  for (int64_t from = record_id;
       from < last && static_cast<int>(records.size()) < limit;
       from += kSearchStep) {
    absl::MutexLock lock(&reader_mu_);
    CAMHERD_RETURN_IF_ERROR(reader_->Query(
        sql,
        [&](const SqliteDb::Row& row) -> absl::Status {
          reader_mu_.AssertHeld();
          CAMHERD_ASSIGN_OR_RETURN(StoredRecord stored, ReadRow(row));
          records.push_back(std::move(stored));
          return absl::OkStatus();
        },
        from, absl::ToUnixMicros(filter.since),
        absl::ToUnixMicros(filter.until), filter.camera_id, filter.session_id,
        filter.class_name, filter.complaint_type,
        limit - static_cast<int>(records.size()), from + kSearchStep,
        JsonArray(filter.camera_ids)));
  }
  return records;
}

absl::StatusOr<std::string> SqliteRecordStore::ReadPicture(
    const StoredPicture& picture) {
  return pictures_->Read(picture.path);
}

absl::StatusOr<int64_t> SqliteRecordStore::HighWaterMark(
    const std::string& session_id) {
  absl::MutexLock lock(&reader_mu_);
  int64_t mark = 0;
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      "SELECT high_water FROM sessions WHERE session_id=?",
      [&](const SqliteDb::Row& row) { mark = row.Int(0); }, session_id));
  return mark;
}

absl::StatusOr<PredictionsCursor> SqliteRecordStore::GetCursor() {
  absl::MutexLock lock(&reader_mu_);
  PredictionsCursor cursor;
  CAMHERD_RETURN_IF_ERROR(
      reader_->Query("SELECT generation, offset, last_record_id, rotated, "
                     "newest_us FROM cursor",
                     [&](const SqliteDb::Row& row) {
                       cursor = {.generation = row.Int(0),
                                 .offset = row.Int(1),
                                 .last_record_id = row.Int(2),
                                 .rotated = row.Int(3),
                                 .newest_us = row.Int(4)};
                     }));
  return cursor;
}

absl::Status SqliteRecordStore::PutCursor(const PredictionsCursor& cursor) {
  absl::MutexLock lock(&writer_mu_);
  return writer_->Run("INSERT OR REPLACE INTO cursor VALUES(1,?,?,?,?,?)",
                      cursor.generation, cursor.offset, cursor.last_record_id,
                      cursor.rotated, cursor.newest_us);
}

absl::StatusOr<std::vector<StoredCamera>> SqliteRecordStore::LoadCameras() {
  absl::MutexLock lock(&reader_mu_);
  std::vector<StoredCamera> cameras;
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      "SELECT camera_id, camera, csv_row FROM cameras ORDER BY camera_id",
      [&](const SqliteDb::Row& row) {
        StoredCamera stored;
        stored.csv_row = std::string(row.Bytes(2));
        const absl::Status parsed =
            Parse(row, 1, absl::StrCat("camera ", row.Bytes(0)), stored.camera);
        if (!parsed.ok()) {
          // Its place is lost, not the records of all the others.
          LogError("camera not loaded", {{"error", parsed}});
          return;
        }
        cameras.push_back(std::move(stored));
      }));
  return cameras;
}

absl::Status SqliteRecordStore::PutCameras(
    const std::vector<StoredCamera>& cameras) {
  absl::MutexLock lock(&writer_mu_);
  return writer_->Transaction([&]() -> absl::Status {
    writer_mu_.AssertHeld();
    for (const StoredCamera& stored : cameras) {
      CAMHERD_RETURN_IF_ERROR(writer_->Run(
          "INSERT OR REPLACE INTO cameras VALUES(?,?,?)",
          stored.camera.camera_id(),
          SqliteDb::Blob{stored.camera.SerializeAsString()}, stored.csv_row));
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::optional<v1::Grid>> SqliteRecordStore::FindGrid(
    const std::string& session_id, const std::string& frames_key) {
  absl::MutexLock lock(&reader_mu_);
  std::optional<v1::Grid> grid;
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      "SELECT grid FROM grids WHERE session_id=? AND frames_key=?",
      [&](const SqliteDb::Row& row) {
        return Parse(row, 0, absl::StrCat("a grid of session ", session_id),
                     grid.emplace());
      },
      session_id, SqliteDb::Blob{frames_key}));
  return grid;
}

absl::Status SqliteRecordStore::AddGrid(const v1::Grid& grid,
                                        const std::string& frames_key,
                                        int64_t size_bytes) {
  absl::MutexLock lock(&writer_mu_);
  return writer_->Run(
      "INSERT INTO grids(session_id, frames_key, process_name, grid, "
      "size_bytes) VALUES(?,?,?,?,?)",
      grid.session_id(), SqliteDb::Blob{frames_key}, grid.process_name(),
      SqliteDb::Blob{grid.SerializeAsString()}, size_bytes);
}

absl::StatusOr<std::vector<StoredGrid>> SqliteRecordStore::ListGrids(
    const std::string& process_name, int64_t before, int limit) {
  absl::MutexLock lock(&reader_mu_);
  std::vector<StoredGrid> grids;
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      absl::StrCat("SELECT grid_id, grid FROM grids WHERE grid_id<?1",
                   process_name.empty() ? "" : " AND process_name=?2",
                   " ORDER BY grid_id DESC LIMIT ?3"),
      [&](const SqliteDb::Row& row) {
        StoredGrid& stored = grids.emplace_back();
        stored.grid_id = row.Int(0);
        return Parse(row, 1, absl::StrCat("grid ", stored.grid_id),
                     stored.grid);
      },
      before, process_name, limit));
  return grids;
}

absl::StatusOr<StoreUsage> SqliteRecordStore::GetUsage() {
  StoreUsage usage;
  const std::string log = absl::StrCat(DatabaseFile(options_.data_dir), "-wal");
  if (struct stat info = {}; ::stat(log.c_str(), &info) == 0) {
    usage.database_bytes = static_cast<int64_t>(info.st_blocks) * 512;
  }
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_RETURN_IF_ERROR(
      reader_->Query("SELECT picture_bytes, grid_bytes FROM usage",
                     [&](const SqliteDb::Row& row) {
                       usage.picture_bytes = row.Int(0);
                       usage.grid_bytes = row.Int(1);
                     }));
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      "SELECT (p.page_count - f.freelist_count) * s.page_size FROM "
      "pragma_page_count p, pragma_freelist_count f, pragma_page_size s",
      [&](const SqliteDb::Row& row) { usage.database_bytes += row.Int(0); }));
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      "SELECT min(captured_us) FROM records", [&](const SqliteDb::Row& row) {
        if (row.IsNull(0)) return;
        usage.oldest_record = absl::FromUnixMicros(row.Int(0));
      }));
  CAMHERD_RETURN_IF_ERROR(reader_->Query(
      "SELECT grid FROM grids ORDER BY grid_id LIMIT 1",
      [&](const SqliteDb::Row& row) -> absl::Status {
        v1::Grid grid;
        CAMHERD_RETURN_IF_ERROR(Parse(row, 0, "the first grid", grid));
        usage.oldest_grid = FromProto(grid.rendered_at());
        return absl::OkStatus();
      }));
  return usage;
}

absl::Status SqliteRecordStore::Doom(const std::string& path) {
  return writer_->Run("INSERT OR IGNORE INTO doomed_files VALUES(?)", path);
}

absl::Status SqliteRecordStore::RemoveRecordRows(const RemovalStep& step,
                                                 Removal& removal) {
  struct Row {
    int64_t record_id = 0;
    RemovedBatch batch;
  };
  std::vector<Row> rows;
  CAMHERD_RETURN_IF_ERROR(writer_->Query(
      "SELECT record_id, session_id, batch_seq FROM records "
      "WHERE captured_us < ? AND record_id <= ? "
      "ORDER BY captured_us, record_id LIMIT ?",
      [&](const SqliteDb::Row& row) {
        rows.push_back({.record_id = row.Int(0),
                        .batch = {.session_id = std::string(row.Bytes(1)),
                                  .batch_seq = row.Int(2),
                                  .digest = ""}});
      },
      absl::ToUnixMicros(step.before), step.last_record_id, step.limit));
  std::vector<RemovedBatch> batches;
  for (Row& row : rows) {
    if (removal.items.bytes >= step.bytes) break;
    CAMHERD_RETURN_IF_ERROR(writer_->Query(
        "SELECT path, (size_bytes + 4095) / 4096 * 4096 FROM pictures "
        "WHERE record_id=?",
        [&](const SqliteDb::Row& picture) {
          removal.paths.emplace_back(picture.Bytes(0));
          removal.items.bytes += picture.Int(1);
        },
        row.record_id));
    CAMHERD_RETURN_IF_ERROR(writer_->Query(
        "DELETE FROM batches WHERE session_id=? AND batch_seq=? "
        "RETURNING digest",
        [&](const SqliteDb::Row& batch) {
          row.batch.digest = std::string(batch.Bytes(0));
          batches.push_back(row.batch);
        },
        row.batch.session_id, row.batch.batch_seq));
    CAMHERD_RETURN_IF_ERROR(
        writer_->Run("DELETE FROM records WHERE record_id=?", row.record_id));
    ++removal.items.count;
  }
  return AddRemovedBatches(*writer_, batches);
}

absl::Status SqliteRecordStore::RemoveGridRows(const RemovalStep& step,
                                               Removal& removal) {
  std::vector<int64_t> ids;
  CAMHERD_RETURN_IF_ERROR(writer_->Query(
      "SELECT grid_id, grid, (size_bytes + 4095) / 4096 * 4096 FROM grids "
      "ORDER BY grid_id LIMIT ?",
      [&](const SqliteDb::Row& row) -> absl::Status {
        v1::Grid grid;
        CAMHERD_RETURN_IF_ERROR(
            Parse(row, 1, absl::StrCat("grid ", row.Int(0)), grid));
        if (FromProto(grid.rendered_at()) >= step.before ||
            removal.items.bytes >= step.bytes) {
          return absl::OkStatus();
        }
        ids.push_back(row.Int(0));
        removal.paths.push_back(GridFile(grid.file_name()));
        removal.items.bytes += row.Int(2);
        return absl::OkStatus();
      },
      step.limit));
  for (const int64_t id : ids) {
    CAMHERD_RETURN_IF_ERROR(
        writer_->Run("DELETE FROM grids WHERE grid_id=?", id));
    ++removal.items.count;
  }
  return absl::OkStatus();
}

absl::StatusOr<RemovedItems> SqliteRecordStore::Remove(
    absl::FunctionRef<absl::Status(Removal&)> remove_rows) {
  absl::MutexLock removal_lock(&removal_mu_);
  if (doomed_) CAMHERD_RETURN_IF_ERROR(RemoveDoomed());
  Removal removal;
  {
    absl::MutexLock lock(&writer_mu_);
    CAMHERD_RETURN_IF_ERROR(writer_->Transaction([&]() -> absl::Status {
      writer_mu_.AssertHeld();
      removal_mu_.AssertHeld();
      for (const std::string& path : gone_) {
        CAMHERD_RETURN_IF_ERROR(
            writer_->Run("DELETE FROM doomed_files WHERE path=?", path));
      }
      CAMHERD_RETURN_IF_ERROR(remove_rows(removal));
      for (const std::string& path : removal.paths) {
        CAMHERD_RETURN_IF_ERROR(Doom(path));
      }
      return absl::OkStatus();
    }));
  }
  gone_.clear();
  Step("rows removed");
  if (const absl::Status removed = pictures_->Remove(removal.paths);
      !removed.ok()) {
    doomed_ = true;
    return removed;
  }
  gone_ = std::move(removal.paths);
  Step("files removed");
  return removal.items;
}

absl::Status SqliteRecordStore::RemoveDoomed() {
  // Set again by whoever dooms one from here on.
  doomed_ = false;
  std::vector<std::string> paths;
  absl::Status status;
  {
    absl::MutexLock lock(&writer_mu_);
    status = writer_->Query(
        "SELECT path FROM doomed_files",
        [&](const SqliteDb::Row& row) { paths.emplace_back(row.Bytes(0)); });
  }
  if (status.ok()) status = pictures_->Remove(paths);
  if (!status.ok()) {
    doomed_ = true;
    return status;
  }
  // The next commit takes their rows along.
  gone_ = std::move(paths);
  return absl::OkStatus();
}

absl::StatusOr<RemovedItems> SqliteRecordStore::RemoveRecords(
    const RemovalStep& step) {
  return Remove([&](Removal& removal) {
    writer_mu_.AssertHeld();
    return RemoveRecordRows(step, removal);
  });
}

absl::StatusOr<RemovedItems> SqliteRecordStore::RemoveGrids(
    const RemovalStep& step) {
  return Remove([&](Removal& removal) {
    writer_mu_.AssertHeld();
    return RemoveGridRows(step, removal);
  });
}

absl::StatusOr<bool> SqliteRecordStore::Shrink() {
  absl::MutexLock lock(&writer_mu_);
  int64_t pages = 0;
  int64_t free = 0;
  CAMHERD_RETURN_IF_ERROR(writer_->Query(
      "SELECT p.page_count, f.freelist_count FROM pragma_page_count p, "
      "pragma_freelist_count f",
      [&](const SqliteDb::Row& row) {
        pages = row.Int(0);
        free = row.Int(1);
      }));
  if (free <= std::max(kShrinkPages, pages / 16)) return false;
  CAMHERD_RETURN_IF_ERROR(writer_->Exec(
      absl::StrCat("PRAGMA incremental_vacuum(", kShrinkPages, ")")));
  return true;
}

}  // namespace camherd::aggregator
