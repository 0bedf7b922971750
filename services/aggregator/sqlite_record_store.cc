// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/sqlite_record_store.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/sqlite_record_store_schema.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::aggregator {
namespace {

constexpr absl::string_view kFindBatch =
    "SELECT digest, record_id FROM batches WHERE session_id=?1 AND "
    "batch_seq=?2";

std::string BatchName(const v1::Record& record) {
  return absl::StrCat("batch ", record.batch_seq(), " of session ",
                      record.session_id());
}

}  // namespace

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
  store->committer_ = std::thread([s = store.get()] { s->CommitLoop(); });
  return store;
}

SqliteRecordStore::~SqliteRecordStore() {
  {
    absl::MutexLock lock(&queue_mu_);
    closed_ = true;
  }
  if (committer_.joinable()) committer_.join();
}

absl::Status SqliteRecordStore::Open() {
  const std::string path = DatabaseFile(options_.data_dir);
  absl::MutexLock writer_lock(&writer_mu_);
  CAMHERD_ASSIGN_OR_RETURN(writer_, SqliteDb::Open(path));
  CAMHERD_RETURN_IF_ERROR(Migrate());
  CAMHERD_RETURN_IF_ERROR(PrepareInserts());
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement last,
      writer_->Prepare("SELECT seq FROM sqlite_sequence WHERE name='records'"));
  CAMHERD_ASSIGN_OR_RETURN(const bool any, last.Step());
  if (any) last_record_id_ = last.Int(0);
  absl::MutexLock reader_lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(reader_, SqliteDb::Open(path));
  CAMHERD_ASSIGN_OR_RETURN(SqliteStatement find, reader_->Prepare(kFindBatch));
  find_batch_ = std::make_unique<SqliteStatement>(std::move(find));
  return absl::OkStatus();
}

absl::Status SqliteRecordStore::Migrate() {
  int64_t version = 0;
  {
    CAMHERD_ASSIGN_OR_RETURN(SqliteStatement statement,
                             writer_->Prepare("PRAGMA user_version"));
    CAMHERD_RETURN_IF_ERROR(statement.Step().status());
    version = statement.Int(0);
  }
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        DatabaseFile(options_.data_dir), " has schema version ", version,
        ", this program knows versions up to ", kSchemaVersion));
  }
  for (int64_t next = version; next < kSchemaVersion; ++next) {
    const absl::Status status = writer_->Exec(
        absl::StrCat("BEGIN IMMEDIATE;", kMigrations[next],
                     "PRAGMA user_version=", next + 1, ";COMMIT;"));
    if (!status.ok()) {
      writer_->Exec("ROLLBACK").IgnoreError();
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status SqliteRecordStore::PrepareInserts() {
  inserts_ = std::make_unique<Inserts>();
  const std::pair<SqliteStatement*, absl::string_view> statements[] = {
      {&inserts_->find_batch, kFindBatch},
      {&inserts_->record,
       "INSERT INTO records(session_id, batch_seq, camera_id, captured_us, "
       "recorded_us, record) VALUES(?1,?2,?3,?4,?5,?6) RETURNING record_id"},
      {&inserts_->detection,
       "INSERT INTO detections VALUES(?1,?2,?3,?4,?5,?6)"},
      {&inserts_->complaint, "INSERT INTO complaints VALUES(?1,?2,?3,?4)"},
      {&inserts_->picture, "INSERT INTO pictures VALUES(?1,?2,?3,?4)"},
      {&inserts_->batch, "INSERT INTO batches VALUES(?1,?2,?3,?4)"},
      {&inserts_->session,
       "INSERT INTO sessions VALUES(?1,?2,?3,?4) ON CONFLICT(session_id) DO "
       "UPDATE SET high_water=max(high_water, excluded.high_water), "
       "epoch=max(epoch, excluded.epoch)"},
  };
  for (const auto& [statement, sql] : statements) {
    CAMHERD_ASSIGN_OR_RETURN(*statement, writer_->Prepare(sql));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<AppendResult>> SqliteRecordStore::FindBatch(
    SqliteStatement& find, const NewRecord& record) {
  find.BindText(1, record.record.session_id())
      .Bind(2, record.record.batch_seq());
  CAMHERD_ASSIGN_OR_RETURN(const bool found, find.Step());
  if (!found) return std::optional<AppendResult>();
  const bool same = find.Bytes(0) == record.manifest_sha256;
  const AppendResult result{.record_id = find.Int(1), .already_recorded = true};
  find.Reset();
  if (!same) {
    return absl::AlreadyExistsError(
        absl::StrCat(BatchName(record.record), " is recorded as record ",
                     result.record_id, " with another manifest"));
  }
  return std::optional<AppendResult>(result);
}

absl::Status SqliteRecordStore::WritePictures(Pending& pending) {
  const v1::Record& record = pending.record.record;
  pending.folder = PictureFolder(FromProto(record.captured_at()));
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
    known = FindBatch(*find_batch_, record);
  }
  if (!known.ok()) return done(known.status());
  if (known->has_value()) return done(**known);

  Pending pending{.record = std::move(record),
                  .folder = "",
                  .done = std::move(done),
                  .result = absl::UnknownError("")};
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
            return s->closed_ || !s->queue_.empty();
          },
          this));
      if (queue_.empty()) return;
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
  CAMHERD_RETURN_IF_ERROR(writer_->Exec("BEGIN IMMEDIATE"));
  int64_t last = 0;
  absl::Status status;
  for (Pending& pending : group) {
    pending.result = Insert(pending);
    if (pending.result.ok()) {
      last = std::max(last, pending.result->record_id);
    } else if (!absl::IsAlreadyExists(pending.result.status())) {
      status = pending.result.status();
      break;
    }
  }
  Step("group inserted");
  if (status.ok()) status = writer_->Exec("COMMIT");
  if (!status.ok()) {
    // Fails only where SQLite has rolled back already.
    writer_->Exec("ROLLBACK").IgnoreError();
    return status;
  }
  last_record_id_ = std::max(last_record_id_.load(), last);
  return absl::OkStatus();
}

absl::StatusOr<AppendResult> SqliteRecordStore::Insert(Pending& pending) {
  CAMHERD_ASSIGN_OR_RETURN(const std::optional<AppendResult> known,
                           FindBatch(inserts_->find_batch, pending.record));
  if (known.has_value()) return *known;

  const v1::Record& record = pending.record.record;
  const int64_t captured_us =
      absl::ToUnixMicros(FromProto(record.captured_at()));
  inserts_->record.BindText(1, record.session_id())
      .Bind(2, record.batch_seq())
      .BindText(3, record.camera_id())
      .Bind(4, captured_us)
      .Bind(5, absl::ToUnixMicros(clock_.Now()))
      .BindBlob(6, record.SerializeAsString());
  CAMHERD_RETURN_IF_ERROR(inserts_->record.Step().status());
  const AppendResult result{.record_id = inserts_->record.Int(0)};
  inserts_->record.Reset();

  CAMHERD_RETURN_IF_ERROR(
      InsertDetections(record, result.record_id, captured_us));
  for (const Picture& picture : pending.record.pictures) {
    const std::string path =
        absl::StrCat(pending.folder, "/",
                     PictureName(record.session_id(), record.batch_seq(),
                                 picture.frame_index,
                                 record.frames(picture.frame_index).sha256()));
    CAMHERD_RETURN_IF_ERROR(
        inserts_->picture.Bind(1, result.record_id)
            .Bind(2, picture.frame_index)
            .BindText(3, path)
            .Bind(4, static_cast<int64_t>(picture.jpeg.size()))
            .Run());
  }
  CAMHERD_RETURN_IF_ERROR(inserts_->batch.BindText(1, record.session_id())
                              .Bind(2, record.batch_seq())
                              .BindBlob(3, pending.record.manifest_sha256)
                              .Bind(4, result.record_id)
                              .Run());
  CAMHERD_RETURN_IF_ERROR(inserts_->session.BindText(1, record.session_id())
                              .BindText(2, record.stream_id())
                              .Bind(3, record.batch_seq())
                              .Bind(4, record.epoch())
                              .Run());
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
    CAMHERD_RETURN_IF_ERROR(inserts_->detection.BindText(1, name)
                                .Bind(2, captured_us)
                                .Bind(3, record_id)
                                .BindText(4, record.camera_id())
                                .Bind(5, seen.complaint ? 1 : 0)
                                .Bind(6, seen.detections)
                                .Run());
  }
  for (const v1::Evidence& evidence : record.evidence()) {
    CAMHERD_RETURN_IF_ERROR(
        inserts_->complaint.BindText(1, evidence.complaint_type())
            .Bind(2, captured_us)
            .Bind(3, record_id)
            .BindText(4, record.camera_id())
            .Run());
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredRecord> SqliteRecordStore::ReadRow(
    const SqliteStatement& row) {
  StoredRecord stored;
  const absl::string_view bytes = row.Bytes(2);
  if (!stored.record.ParseFromArray(bytes.data(),
                                    static_cast<int>(bytes.size()))) {
    return absl::DataLossError(
        absl::StrCat("record ", row.Int(0), " cannot be read"));
  }
  stored.record.set_record_id(row.Int(0));
  *stored.record.mutable_recorded_at() =
      ToProto(absl::FromUnixMicros(row.Int(1)));
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement pictures,
      reader_->Prepare("SELECT frame_index, path, size_bytes FROM pictures "
                       "WHERE record_id=?1 ORDER BY frame_index"));
  pictures.Bind(1, row.Int(0));
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(const bool more, pictures.Step());
    if (!more) return stored;
    stored.pictures.push_back(
        {.frame_index = static_cast<int32_t>(pictures.Int(0)),
         .path = std::string(pictures.Bytes(1)),
         .size_bytes = pictures.Int(2)});
  }
}

absl::StatusOr<StoredRecord> SqliteRecordStore::GetRecord(int64_t record_id) {
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement row,
      reader_->Prepare("SELECT record_id, recorded_us, record FROM records "
                       "WHERE record_id=?1"));
  row.Bind(1, record_id);
  CAMHERD_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) {
    return absl::NotFoundError(absl::StrCat("there is no record ", record_id));
  }
  return ReadRow(row);
}

absl::StatusOr<std::vector<v1::Record>> SqliteRecordStore::ListRecords(
    const RecordFilter& filter, std::optional<RecordPosition> after,
    int limit) {
  // `k` is the narrowest list that is in the order asked for; records are
  // looked up from it.
  std::string from = "records k";
  std::string where = "k.captured_us >= ?1 AND k.captured_us < ?2";
  if (!filter.class_name.empty()) {
    from = "detections k";
    absl::StrAppend(&where, " AND k.class_name=?3");
  } else if (!filter.complaint_type.empty()) {
    from = "complaints k";
    absl::StrAppend(&where, " AND k.complaint_type=?4");
  }
  if (from != "records k") {
    absl::StrAppend(&from, " CROSS JOIN records r ON r.record_id=k.record_id");
  }
  const absl::string_view r = from == "records k" ? "k" : "r";
  if (!filter.class_name.empty() && !filter.complaint_type.empty()) {
    absl::StrAppend(&where,
                    " AND EXISTS(SELECT 1 FROM complaints c WHERE "
                    "c.complaint_type=?4 AND c.captured_us=k.captured_us AND "
                    "c.record_id=k.record_id)");
  }
  if (!filter.camera_id.empty()) {
    absl::StrAppend(&where, " AND k.camera_id=?5");
  }
  if (!filter.session_id.empty()) {
    absl::StrAppend(&where, " AND ", r, ".session_id=?6");
  }
  if (after.has_value()) {
    absl::StrAppend(&where, " AND (k.captured_us, k.record_id) < (?7, ?8)");
  }
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement row,
      reader_->Prepare(absl::StrCat(
          "SELECT ", r, ".record_id, ", r, ".recorded_us, ", r, ".record FROM ",
          from, " WHERE ", where,
          " ORDER BY k.captured_us DESC, k.record_id DESC LIMIT ?9")));
  row.Bind(1, absl::ToUnixMicros(filter.since))
      .Bind(2, absl::ToUnixMicros(filter.until))
      .BindText(3, filter.class_name)
      .BindText(4, filter.complaint_type)
      .BindText(5, filter.camera_id)
      .BindText(6, filter.session_id)
      .Bind(9, limit);
  if (after.has_value()) {
    row.Bind(7, after->captured_us).Bind(8, after->record_id);
  }
  std::vector<v1::Record> records;
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return records;
    CAMHERD_ASSIGN_OR_RETURN(StoredRecord stored, ReadRow(row));
    records.push_back(std::move(stored.record));
  }
}

absl::StatusOr<std::vector<StoredRecord>> SqliteRecordStore::RecordsAfter(
    int64_t record_id, int limit) {
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement row,
      reader_->Prepare("SELECT record_id, recorded_us, record FROM records "
                       "WHERE record_id>?1 ORDER BY record_id LIMIT ?2"));
  row.Bind(1, record_id).Bind(2, limit);
  std::vector<StoredRecord> records;
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return records;
    CAMHERD_ASSIGN_OR_RETURN(StoredRecord stored, ReadRow(row));
    records.push_back(std::move(stored));
  }
}

absl::StatusOr<std::string> SqliteRecordStore::ReadPicture(
    const StoredPicture& picture) {
  return pictures_->Read(picture.path);
}

absl::StatusOr<int64_t> SqliteRecordStore::HighWaterMark(
    const std::string& session_id) {
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement row,
      reader_->Prepare("SELECT high_water FROM sessions WHERE session_id=?1"));
  row.BindText(1, session_id);
  CAMHERD_ASSIGN_OR_RETURN(const bool found, row.Step());
  return found ? row.Int(0) : 0;
}

absl::StatusOr<PredictionsCursor> SqliteRecordStore::GetCursor() {
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement row,
      reader_->Prepare(
          "SELECT generation, offset, last_record_id FROM cursor"));
  CAMHERD_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return PredictionsCursor();
  return PredictionsCursor{.generation = row.Int(0),
                           .offset = row.Int(1),
                           .last_record_id = row.Int(2)};
}

absl::Status SqliteRecordStore::PutCursor(const PredictionsCursor& cursor) {
  absl::MutexLock lock(&writer_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement put,
      writer_->Prepare("INSERT OR REPLACE INTO cursor VALUES(1,?1,?2,?3)"));
  return put.Bind(1, cursor.generation)
      .Bind(2, cursor.offset)
      .Bind(3, cursor.last_record_id)
      .Run();
}

absl::StatusOr<std::vector<StoredCamera>> SqliteRecordStore::LoadCameras() {
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement row,
      reader_->Prepare("SELECT camera_id, camera, csv_row FROM cameras "
                       "ORDER BY camera_id"));
  std::vector<StoredCamera> cameras;
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return cameras;
    StoredCamera& stored = cameras.emplace_back();
    const absl::string_view bytes = row.Bytes(1);
    if (!stored.camera.ParseFromArray(bytes.data(),
                                      static_cast<int>(bytes.size()))) {
      return absl::DataLossError(
          absl::StrCat("camera ", row.Bytes(0), " cannot be read"));
    }
    stored.csv_row = std::string(row.Bytes(2));
  }
}

absl::Status SqliteRecordStore::PutCameras(
    const std::vector<StoredCamera>& cameras) {
  absl::MutexLock lock(&writer_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement put,
      writer_->Prepare("INSERT OR REPLACE INTO cameras VALUES(?1,?2,?3)"));
  CAMHERD_RETURN_IF_ERROR(writer_->Exec("BEGIN IMMEDIATE"));
  absl::Status status;
  for (const StoredCamera& stored : cameras) {
    status = put.BindText(1, stored.camera.camera_id())
                 .BindBlob(2, stored.camera.SerializeAsString())
                 .BindText(3, stored.csv_row)
                 .Run();
    if (!status.ok()) break;
  }
  if (status.ok()) status = writer_->Exec("COMMIT");
  if (!status.ok()) writer_->Exec("ROLLBACK").IgnoreError();
  return status;
}

absl::StatusOr<std::optional<v1::Grid>> SqliteRecordStore::FindGrid(
    const std::string& session_id, const std::string& frames_key) {
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement row,
      reader_->Prepare(
          "SELECT grid FROM grids WHERE session_id=?1 AND frames_key=?2"));
  row.BindText(1, session_id).BindBlob(2, frames_key);
  CAMHERD_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return std::optional<v1::Grid>();
  v1::Grid grid;
  const absl::string_view bytes = row.Bytes(0);
  if (!grid.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError(
        absl::StrCat("a grid of session ", session_id, " cannot be read"));
  }
  return std::optional<v1::Grid>(std::move(grid));
}

absl::Status SqliteRecordStore::AddGrid(const v1::Grid& grid,
                                        const std::string& frames_key) {
  absl::MutexLock lock(&writer_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement add,
      writer_->Prepare("INSERT INTO grids(session_id, frames_key, "
                       "process_name, grid) VALUES(?1,?2,?3,?4)"));
  return add.BindText(1, grid.session_id())
      .BindBlob(2, frames_key)
      .BindText(3, grid.process_name())
      .BindBlob(4, grid.SerializeAsString())
      .Run();
}

absl::StatusOr<std::vector<StoredGrid>> SqliteRecordStore::ListGrids(
    const std::string& process_name, int64_t before, int limit) {
  absl::MutexLock lock(&reader_mu_);
  CAMHERD_ASSIGN_OR_RETURN(
      SqliteStatement row,
      reader_->Prepare(
          absl::StrCat("SELECT grid_id, grid FROM grids WHERE grid_id<?1",
                       process_name.empty() ? "" : " AND process_name=?2",
                       " ORDER BY grid_id DESC LIMIT ?3")));
  row.Bind(1, before).BindText(2, process_name).Bind(3, limit);
  std::vector<StoredGrid> grids;
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return grids;
    StoredGrid& stored = grids.emplace_back();
    stored.grid_id = row.Int(0);
    const absl::string_view bytes = row.Bytes(1);
    if (!stored.grid.ParseFromArray(bytes.data(),
                                    static_cast<int>(bytes.size()))) {
      return absl::DataLossError(
          absl::StrCat("grid ", stored.grid_id, " cannot be read"));
    }
  }
}

}  // namespace camherd::aggregator
