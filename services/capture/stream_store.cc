// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/capture/spool_layout.h"
#include "services/common/file.h"
#include "services/common/folder_lock.h"
#include "services/common/sqlite_db.h"
#include "services/common/status_macros.h"

// capture.db. Times are microseconds since 1970, messages are
// serialized protobuf of camherd.v1.
//
//   streams    what should run: Stream message, URL with credentials; why it
//              stopped by itself
//   sessions   high-water marks and what is kept of the observed
//   counters   (session, name, reason) -> value; names are those of Accounting;
//              session '' holds what forgotten sessions had counted
//   frames     what lies in the spool; batch_seq 0: not sealed yet
//   batches    sealed, not settled
//   brightest  the nine of each session
//   cameras    copy of the aggregator's, as a ListCamerasResponse; one row
namespace camherd::capture {
namespace {

constexpr const char* kMigrations[] = {
    // Version 1.
    R"sql(
CREATE TABLE streams(
  stream_id TEXT PRIMARY KEY,
  session_id TEXT NOT NULL UNIQUE,
  desired_running INTEGER NOT NULL,
  auto_named INTEGER NOT NULL,
  url TEXT NOT NULL,
  spec BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions(
  session_id TEXT PRIMARY KEY,
  frame_seq INTEGER NOT NULL,
  batch_seq INTEGER NOT NULL,
  last_activity_us INTEGER NOT NULL,
  host_ip TEXT NOT NULL,
  connects INTEGER NOT NULL DEFAULT 0,
  disconnects INTEGER NOT NULL DEFAULT 0,
  latest BLOB,
  acknowledged_seq INTEGER NOT NULL DEFAULT 0,
  acknowledged BLOB,
  grid BLOB) WITHOUT ROWID;
CREATE TABLE counters(
  session_id TEXT NOT NULL,
  name TEXT NOT NULL,
  reason TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY(session_id, name, reason)) WITHOUT ROWID;
CREATE TABLE frames(
  session_id TEXT NOT NULL,
  frame_seq INTEGER NOT NULL,
  batch_seq INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  info BLOB NOT NULL,
  PRIMARY KEY(session_id, frame_seq)) WITHOUT ROWID;
CREATE TABLE batches(
  session_id TEXT NOT NULL,
  batch_seq INTEGER NOT NULL,
  sealed_us INTEGER NOT NULL,
  fate_unknown INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  frames INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  manifest BLOB NOT NULL,
  manifest_sha256 BLOB NOT NULL,
  PRIMARY KEY(session_id, batch_seq)) WITHOUT ROWID;
CREATE INDEX batches_by_age ON batches(fate_unknown, sealed_us);
CREATE TABLE brightest(
  session_id TEXT NOT NULL,
  frame_seq INTEGER NOT NULL,
  luma REAL NOT NULL,
  info BLOB NOT NULL,
  PRIMARY KEY(session_id, frame_seq)) WITHOUT ROWID;
)sql",
    // Version 2: leases.
    R"sql(
ALTER TABLE streams ADD COLUMN stop_reason TEXT NOT NULL DEFAULT '';
)sql",
    // Version 3: what the aggregator told of the cameras.
    R"sql(
CREATE TABLE cameras(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  cameras BLOB NOT NULL);
)sql",
    // Version 4: a second source of a stream.
    R"sql(
ALTER TABLE streams ADD COLUMN detect_url TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN detect_frame_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN detect_connects INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN detect_disconnects INTEGER NOT NULL DEFAULT 0;
)sql",
};

// The message in a column.
template <typename M>
M Message(const SqliteDb::Row& row, int column) {
  M message;
  const absl::string_view bytes = row.Bytes(column);
  message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  return message;
}

void AddTo(v1::Accounting& accounting, absl::string_view name,
           absl::string_view reason, int64_t value) {
  if (name == "due") {
    accounting.set_due(value);
  } else if (name == "captured") {
    accounting.set_captured(value);
  } else if (name == "missed") {
    (*accounting.mutable_missed())[std::string(reason)] = value;
  } else if (name == "recorded") {
    accounting.set_recorded(value);
  } else if (name == "dropped") {
    (*accounting.mutable_dropped())[std::string(reason)] = value;
  } else if (name == "spooled") {
    accounting.set_spooled(value);
  } else if (name == "ranked_only") {
    accounting.set_ranked_only(value);
  }
}

// Else the change itself could not be made.
bool IsOfTheDisk(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ||
         absl::IsDataLoss(status) || absl::IsPermissionDenied(status);
}

}  // namespace

class StreamStore::Impl {
 public:
  absl::Status Open(const Options& options) {
    absl::MutexLock lock(&mu_);
    sync_ = options.sync;
    CAMHERD_ASSIGN_OR_RETURN(lock_,
                             FolderLock::Take(LockFile(options.data_dir)));
    // Created here, since SQLite would make it readable for all; its WAL takes
    // over the mode.
    const std::string path = StoreFile(options.data_dir);
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return ErrnoStatus(errno, "open", path);
    const bool restricted = fchmod(fd, 0600) == 0;
    close(fd);
    if (!restricted) return ErrnoStatus(EPERM, "chmod", path);
    CAMHERD_ASSIGN_OR_RETURN(db_, SqliteDb::Open(path, ""));
    CAMHERD_RETURN_IF_ERROR(db_->Migrate(kMigrations));
    return db_->Exec("PRAGMA synchronous=NORMAL");
  }

  // Runs `body` as one transaction, synced if `durable`.
  template <typename F>
  absl::Status Transaction(bool durable, F body)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const bool full = durable && sync_;
    if (full) {
      CAMHERD_RETURN_IF_ERROR(db_->Exec("PRAGMA synchronous=FULL"));
    }
    const absl::Status status = db_->Transaction(body);
    if (full) db_->Exec("PRAGMA synchronous=NORMAL").IgnoreError();
    if (status.ok() || IsOfTheDisk(status)) written_ = status;
    return status;
  }

  absl::Status Count(const std::string& session, const char* name,
                     const std::string& reason, int64_t delta)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return db_->Run(
        "INSERT INTO counters VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET "
        "value = value + excluded.value",
        session, name, reason, delta);
  }

  // The session's mark of activity; kNotFound if there is no such session.
  absl::Status Touch(const std::string& session, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    CAMHERD_RETURN_IF_ERROR(db_->Run(
        "UPDATE sessions SET last_activity_us = ? WHERE session_id = ?",
        absl::ToUnixMicros(now), session));
    if (db_->changes() == 0) {
      return absl::NotFoundError(absl::StrCat("no session ", session));
    }
    return absl::OkStatus();
  }

  // Moves the frames of a batch from spooled to `name`{reason}, and forgets
  // the batch.
  absl::Status Settle(const BatchKey& key, const char* name,
                      const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    CAMHERD_RETURN_IF_ERROR(
        db_->Run("DELETE FROM batches WHERE session_id = ? AND batch_seq = ?",
                 key.session_id, key.batch_seq));
    if (db_->changes() == 0) {
      return absl::NotFoundError(absl::StrCat("no batch ", key.batch_seq,
                                              " in session ", key.session_id));
    }
    CAMHERD_RETURN_IF_ERROR(
        db_->Run("DELETE FROM frames WHERE session_id = ? AND batch_seq = ?",
                 key.session_id, key.batch_seq));
    const int64_t frames = db_->changes();
    CAMHERD_RETURN_IF_ERROR(Count(key.session_id, name, reason, frames));
    return Count(key.session_id, "spooled", "", -frames);
  }

  absl::Mutex mu_;
  std::unique_ptr<SqliteDb> db_ ABSL_GUARDED_BY(mu_);
  // How the last change went, but for what was wrong with itself.
  absl::Status written_ ABSL_GUARDED_BY(mu_);

 private:
  bool sync_ = true;
  std::unique_ptr<FolderLock> lock_;
};

StreamStore::StreamStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StreamStore::~StreamStore() = default;

absl::StatusOr<std::unique_ptr<StreamStore>> StreamStore::Open(
    const Options& options) {
  auto impl = std::make_unique<Impl>();
  CAMHERD_RETURN_IF_ERROR(impl->Open(options));
  return std::unique_ptr<StreamStore>(new StreamStore(std::move(impl)));
}

absl::Status StreamStore::TryWrite() {
  absl::MutexLock lock(&impl_->mu_);
  if (impl_->written_.ok()) return absl::OkStatus();
  return impl_->Transaction(false, [&] {
    impl_->mu_.AssertHeld();
    // Writes a page and changes nothing.
    return impl_->db_->Exec(
        absl::StrCat("PRAGMA user_version=", std::size(kMigrations)));
  });
}

absl::StatusOr<std::vector<StreamStore::StoredStream>>
StreamStore::LoadStreams() {
  absl::MutexLock lock(&impl_->mu_);
  std::vector<StoredStream> streams;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT spec, url, auto_named, host_ip, frame_seq, batch_seq, "
      "last_activity_us, latest, acknowledged, grid, connects, disconnects, "
      "stop_reason, (SELECT COALESCE(SUM(value), 0) FROM counters "
      "WHERE counters.session_id = streams.session_id AND name = 'captured'), "
      "detect_url, detect_frame_seq, detect_connects, detect_disconnects "
      "FROM streams "
      "JOIN sessions USING(session_id) ORDER BY stream_id",
      [&](const SqliteDb::Row& row) {
        StoredStream s;
        s.stream = Message<v1::Stream>(row, 0);
        s.url = std::string(row.Bytes(1));
        s.auto_named = row.Int(2) != 0;
        s.host_ip = std::string(row.Bytes(3));
        s.frame_seq = row.Int(4);
        s.batch_seq = row.Int(5);
        s.last_activity = absl::FromUnixMicros(row.Int(6));
        if (!row.IsNull(7)) s.latest = Message<v1::FrameInfo>(row, 7);
        if (!row.IsNull(8)) {
          s.acknowledged = Message<v1::GetLatestFrameResponse>(row, 8);
        }
        if (!row.IsNull(9)) s.grid = Message<v1::Grid>(row, 9);
        s.stream.set_connects(row.Int(10));
        s.stream.set_disconnects(row.Int(11));
        s.stop_reason = std::string(row.Bytes(12));
        s.captured = row.Int(13);
        s.detect_url = std::string(row.Bytes(14));
        s.detect_frame_seq = row.Int(15);
        s.detect_connects = row.Int(16);
        s.detect_disconnects = row.Int(17);
        streams.push_back(std::move(s));
      }));
  return streams;
}

absl::Status StreamStore::InsertStream(const StoredStream& s) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->Transaction(true, [&] {
    impl_->mu_.AssertHeld();
    CAMHERD_RETURN_IF_ERROR(impl_->db_->Run(
        "INSERT INTO streams(stream_id, session_id, desired_running, "
        "auto_named, url, spec, stop_reason, detect_url) "
        "VALUES(?,?,?,?,?,?,?,?)",
        s.stream.stream_id(), s.stream.session_id(), s.stream.desired_running(),
        s.auto_named, s.url, SqliteDb::Blob{s.stream.SerializeAsString()},
        s.stop_reason, s.detect_url));
    return impl_->db_->Run(
        "INSERT INTO sessions(session_id, frame_seq, batch_seq, "
        "last_activity_us, host_ip) VALUES(?,0,0,?,?)",
        s.stream.session_id(), absl::ToUnixMicros(s.last_activity), s.host_ip);
  });
}

absl::Status StreamStore::UpdateStream(const v1::Stream& stream,
                                       const std::string& url,
                                       const std::string& detect_url,
                                       const std::string& stop_reason) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->Transaction(true, [&] {
    impl_->mu_.AssertHeld();
    CAMHERD_RETURN_IF_ERROR(impl_->db_->Run(
        "UPDATE streams SET desired_running = ?, url = ?, spec = ?, "
        "detect_url = ?, stop_reason = ? WHERE stream_id = ?",
        stream.desired_running(), url,
        SqliteDb::Blob{stream.SerializeAsString()}, detect_url, stop_reason,
        stream.stream_id()));
    if (impl_->db_->changes() == 0) {
      return absl::NotFoundError(
          absl::StrCat("no stream ", stream.stream_id()));
    }
    return absl::OkStatus();
  });
}

absl::Status StreamStore::SaveConnection(const std::string& session_id,
                                         bool detect,
                                         const std::string& host_ip,
                                         int64_t connects,
                                         int64_t disconnects) {
  absl::MutexLock lock(&impl_->mu_);
  if (detect) {
    return impl_->db_->Run(
        "UPDATE sessions SET detect_connects = ?, detect_disconnects = ? "
        "WHERE session_id = ?",
        connects, disconnects, session_id);
  }
  return impl_->db_->Run(
      "UPDATE sessions SET host_ip = ?, connects = ?, disconnects = ? "
      "WHERE session_id = ?",
      host_ip, connects, disconnects, session_id);
}

absl::Status StreamStore::SetGrid(const std::string& session_id,
                                  const v1::Grid& grid) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->db_->Run("UPDATE sessions SET grid = ? WHERE session_id = ?",
                         SqliteDb::Blob{grid.SerializeAsString()}, session_id);
}

absl::Status StreamStore::RemoveStream(const std::string& stream_id) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->Transaction(true, [&] {
    impl_->mu_.AssertHeld();
    SqliteDb& db = *impl_->db_;
    std::string session;
    CAMHERD_RETURN_IF_ERROR(db.Query(
        "SELECT session_id FROM streams WHERE stream_id = ?",
        [&](const SqliteDb::Row& row) { session = std::string(row.Bytes(0)); },
        stream_id));
    if (session.empty()) return absl::OkStatus();
    CAMHERD_RETURN_IF_ERROR(
        db.Run("DELETE FROM frames WHERE session_id = ?", session));
    const int64_t spooled = db.changes();
    if (spooled > 0) {
      CAMHERD_RETURN_IF_ERROR(
          impl_->Count(session, "dropped", "deleted", spooled));
      CAMHERD_RETURN_IF_ERROR(impl_->Count(session, "spooled", "", -spooled));
    }
    CAMHERD_RETURN_IF_ERROR(
        db.Run("INSERT INTO counters SELECT '', name, reason, value "
               "FROM counters WHERE session_id = ? "
               "ON CONFLICT DO UPDATE SET value = value + excluded.value",
               session));
    for (const char* sql : {"DELETE FROM counters WHERE session_id = ?",
                            "DELETE FROM batches WHERE session_id = ?",
                            "DELETE FROM brightest WHERE session_id = ?",
                            "DELETE FROM sessions WHERE session_id = ?",
                            "DELETE FROM streams WHERE session_id = ?"}) {
      CAMHERD_RETURN_IF_ERROR(db.Run(sql, session));
    }
    return absl::OkStatus();
  });
}

absl::Status StreamStore::AddFrame(const NewFrame& frame, absl::Time now) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->Transaction(false, [&] {
    impl_->mu_.AssertHeld();
    SqliteDb& db = *impl_->db_;
    const std::string bytes = frame.info.SerializeAsString();
    const SqliteDb::Blob info{bytes};
    const int64_t seq = frame.info.frame_seq();
    const char* const mark =
        frame.detect
            ? "UPDATE sessions SET detect_frame_seq = ?1, "
              "last_activity_us = ?3 "
              "WHERE session_id = ?4 AND detect_frame_seq < ?1"
            : "UPDATE sessions SET frame_seq = ?1, latest = ?2, "
              "last_activity_us = ?3 WHERE session_id = ?4 AND frame_seq < ?1";
    CAMHERD_RETURN_IF_ERROR(
        db.Run(mark, seq, info, absl::ToUnixMicros(now), frame.session_id));
    if (db.changes() == 0) {
      return absl::NotFoundError(absl::StrCat("no session ", frame.session_id,
                                              " in which frame ", seq,
                                              " would be new"));
    }
    if (!frame.ranked_only) {
      CAMHERD_RETURN_IF_ERROR(db.Run("INSERT INTO frames VALUES(?,?,0,?,?)",
                                     frame.session_id, seq,
                                     frame.info.size_bytes(), info));
    }
    if (frame.enters_brightest) {
      CAMHERD_RETURN_IF_ERROR(db.Run("INSERT INTO brightest VALUES(?,?,?,?)",
                                     frame.session_id, seq,
                                     frame.info.mean_luma(), info));
      CAMHERD_RETURN_IF_ERROR(
          db.Run("DELETE FROM brightest WHERE session_id = ? AND frame_seq = ?",
                 frame.session_id, frame.displaced_seq));
    }
    CAMHERD_RETURN_IF_ERROR(impl_->Count(frame.session_id, "due", "", 1));
    CAMHERD_RETURN_IF_ERROR(impl_->Count(frame.session_id, "captured", "", 1));
    return impl_->Count(frame.session_id,
                        frame.ranked_only ? "ranked_only" : "spooled", "", 1);
  });
}

absl::Status StreamStore::AddMissed(const std::string& session_id,
                                    const std::string& reason, int64_t count,
                                    absl::Time now) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->Transaction(false, [&] {
    impl_->mu_.AssertHeld();
    CAMHERD_RETURN_IF_ERROR(impl_->Touch(session_id, now));
    CAMHERD_RETURN_IF_ERROR(impl_->Count(session_id, "due", "", count));
    return impl_->Count(session_id, "missed", reason, count);
  });
}

absl::StatusOr<std::vector<StreamStore::FrameRow>> StreamStore::ListFrames(
    const std::string& session_id) {
  absl::MutexLock lock(&impl_->mu_);
  std::vector<FrameRow> frames;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT info, batch_seq FROM frames WHERE session_id = ? "
      "ORDER BY frame_seq",
      [&](const SqliteDb::Row& row) {
        frames.push_back({Message<v1::FrameInfo>(row, 0), row.Int(1)});
      },
      session_id));
  return frames;
}

absl::Status StreamStore::DropFrames(const std::string& session_id,
                                     const std::vector<int64_t>& frame_seqs,
                                     const std::string& reason) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->Transaction(false, [&] {
    impl_->mu_.AssertHeld();
    int64_t dropped = 0;
    for (const int64_t seq : frame_seqs) {
      CAMHERD_RETURN_IF_ERROR(impl_->db_->Run(
          "DELETE FROM frames WHERE session_id = ? AND frame_seq = ? "
          "AND batch_seq = 0",
          session_id, seq));
      dropped += impl_->db_->changes();
    }
    if (dropped == 0) return absl::OkStatus();
    CAMHERD_RETURN_IF_ERROR(
        impl_->Count(session_id, "dropped", reason, dropped));
    return impl_->Count(session_id, "spooled", "", -dropped);
  });
}

absl::StatusOr<std::vector<v1::FrameInfo>> StreamStore::ListBrightest(
    const std::string& session_id) {
  absl::MutexLock lock(&impl_->mu_);
  std::vector<v1::FrameInfo> frames;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT info FROM brightest WHERE session_id = ? "
      "ORDER BY luma DESC, frame_seq",
      [&](const SqliteDb::Row& row) {
        frames.push_back(Message<v1::FrameInfo>(row, 0));
      },
      session_id));
  return frames;
}

absl::Status StreamStore::RemoveBrightest(const std::string& session_id,
                                          int64_t frame_seq) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->db_->Run(
      "DELETE FROM brightest WHERE session_id = ? AND frame_seq = ?",
      session_id, frame_seq);
}

absl::StatusOr<absl::Time> StreamStore::SealBatch(const NewBatch& batch) {
  absl::MutexLock lock(&impl_->mu_);
  int64_t sealed_us = absl::ToUnixMicros(batch.sealed_at);
  const absl::Status status = impl_->Transaction(true, [&] {
    impl_->mu_.AssertHeld();
    SqliteDb& db = *impl_->db_;
    const std::string& session = batch.key.session_id;
    CAMHERD_RETURN_IF_ERROR(
        db.Run("UPDATE sessions SET batch_seq = ?1 WHERE session_id = ?2 "
               "AND batch_seq = ?1 - 1",
               batch.key.batch_seq, session));
    if (db.changes() == 0) {
      return absl::InternalError(absl::StrCat("batch ", batch.key.batch_seq,
                                              " of session ", session,
                                              " is not the next one"));
    }
    for (const int fate_unknown : {0, 1}) {
      CAMHERD_RETURN_IF_ERROR(db.Query(
          "SELECT max(sealed_us) FROM batches WHERE fate_unknown = ?",
          [&](const SqliteDb::Row& row) {
            sealed_us = std::max(sealed_us, row.Int(0) + 1);
          },
          fate_unknown));
    }
    CAMHERD_RETURN_IF_ERROR(db.Run(
        "INSERT INTO batches VALUES(?,?,?,0,0,?,?,?,?)", session,
        batch.key.batch_seq, sealed_us,
        static_cast<int64_t>(batch.frame_seqs.size()), batch.bytes,
        SqliteDb::Blob{batch.manifest}, SqliteDb::Blob{batch.manifest_sha256}));
    for (const int64_t seq : batch.frame_seqs) {
      CAMHERD_RETURN_IF_ERROR(
          db.Run("UPDATE frames SET batch_seq = ? WHERE session_id = ? "
                 "AND frame_seq = ? AND batch_seq = 0",
                 batch.key.batch_seq, session, seq));
      if (db.changes() != 1) {
        return absl::InternalError(absl::StrCat("frame ", seq, " of session ",
                                                session, " is not open"));
      }
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return absl::FromUnixMicros(sealed_us);
}

absl::StatusOr<std::vector<StreamStore::BatchRow>> StreamStore::ListBatches() {
  absl::MutexLock lock(&impl_->mu_);
  std::vector<BatchRow> batches;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT session_id, batch_seq, sealed_us, fate_unknown, attempts, "
      "frames, bytes FROM batches ORDER BY sealed_us, batch_seq",
      [&](const SqliteDb::Row& row) {
        batches.push_back({{std::string(row.Bytes(0)), row.Int(1)},
                           absl::FromUnixMicros(row.Int(2)),
                           row.Int(3) != 0,
                           static_cast<int>(row.Int(4)),
                           row.Int(5),
                           row.Int(6)});
      }));
  return batches;
}

absl::StatusOr<std::vector<StreamStore::BatchRow>> StreamStore::OldestDroppable(
    const std::string& session_id, int limit) {
  absl::MutexLock lock(&impl_->mu_);
  std::vector<BatchRow> batches;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT session_id, batch_seq, sealed_us, attempts, frames, bytes "
      "FROM batches WHERE fate_unknown = 0 AND (?1 = '' OR session_id = ?1) "
      "ORDER BY sealed_us, batch_seq LIMIT ?2",
      [&](const SqliteDb::Row& row) {
        batches.push_back({{std::string(row.Bytes(0)), row.Int(1)},
                           absl::FromUnixMicros(row.Int(2)),
                           false,
                           static_cast<int>(row.Int(3)),
                           row.Int(4),
                           row.Int(5)});
      },
      session_id, limit));
  return batches;
}

absl::StatusOr<StreamStore::NewBatch> StreamStore::GetBatch(
    const BatchKey& key) {
  absl::MutexLock lock(&impl_->mu_);
  NewBatch batch;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT sealed_us, bytes, manifest, manifest_sha256 FROM batches "
      "WHERE session_id = ? AND batch_seq = ?",
      [&](const SqliteDb::Row& row) {
        batch.key = key;
        batch.sealed_at = absl::FromUnixMicros(row.Int(0));
        batch.bytes = row.Int(1);
        batch.manifest = std::string(row.Bytes(2));
        batch.manifest_sha256 = std::string(row.Bytes(3));
      },
      key.session_id, key.batch_seq));
  if (batch.key.session_id.empty()) {
    return absl::NotFoundError(absl::StrCat("no batch ", key.batch_seq,
                                            " in session ", key.session_id));
  }
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT frame_seq FROM frames WHERE session_id = ? AND batch_seq = ? "
      "ORDER BY frame_seq",
      [&](const SqliteDb::Row& row) { batch.frame_seqs.push_back(row.Int(0)); },
      key.session_id, key.batch_seq));
  return batch;
}

absl::Status StreamStore::SetFateUnknown(const BatchKey& key, bool unknown) {
  absl::MutexLock lock(&impl_->mu_);
  // Synced where it is unknown: the batch may be recorded next, and who does
  // not know that any more may drop it.
  return impl_->Transaction(unknown, [&] {
    impl_->mu_.AssertHeld();
    return impl_->db_->Run(
        "UPDATE batches SET fate_unknown = ?1, attempts = attempts + ?1 "
        "WHERE session_id = ?2 AND batch_seq = ?3",
        unknown, key.session_id, key.batch_seq);
  });
}

absl::Status StreamStore::BatchRecorded(
    const BatchKey& key,
    const std::optional<v1::GetLatestFrameResponse>& acknowledged) {
  absl::MutexLock lock(&impl_->mu_);
  // Synced: its files are removed next, and rows that came back without them
  // would read as lost frames.
  return impl_->Transaction(true, [&] {
    impl_->mu_.AssertHeld();
    CAMHERD_RETURN_IF_ERROR(impl_->Settle(key, "recorded", ""));
    if (!acknowledged.has_value()) return absl::OkStatus();
    return impl_->db_->Run(
        "UPDATE sessions SET acknowledged_seq = ?1, acknowledged = ?2 "
        "WHERE session_id = ?3 AND acknowledged_seq < ?1",
        acknowledged->frame().info().frame_seq(),
        SqliteDb::Blob{acknowledged->SerializeAsString()}, key.session_id);
  });
}

absl::Status StreamStore::BatchDropped(const BatchKey& key,
                                       const std::string& reason) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->Transaction(false, [&] {
    impl_->mu_.AssertHeld();
    return impl_->Settle(key, "dropped", reason);
  });
}

absl::StatusOr<std::optional<v1::ListCamerasResponse>>
StreamStore::LoadCameras() {
  absl::MutexLock lock(&impl_->mu_);
  std::optional<v1::ListCamerasResponse> cameras;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT cameras FROM cameras",
      [&](const SqliteDb::Row& row) -> absl::Status {
        const absl::string_view bytes = row.Bytes(0);
        // A copy without masks would be worse than none.
        if (cameras.emplace().ParseFromArray(bytes.data(),
                                             static_cast<int>(bytes.size()))) {
          return absl::OkStatus();
        }
        return absl::DataLossError("the cameras in the store cannot be read");
      }));
  return cameras;
}

absl::Status StreamStore::SaveCameras(const v1::ListCamerasResponse& cameras) {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->Transaction(true, [&] {
    impl_->mu_.AssertHeld();
    return impl_->db_->Run("INSERT OR REPLACE INTO cameras VALUES(1, ?)",
                           SqliteDb::Blob{cameras.SerializeAsString()});
  });
}

absl::StatusOr<v1::Accounting> StreamStore::GetAccounting(
    const std::string& session_id) {
  absl::MutexLock lock(&impl_->mu_);
  v1::Accounting accounting;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT name, reason, value FROM counters WHERE session_id = ?",
      [&](const SqliteDb::Row& row) {
        AddTo(accounting, row.Bytes(0), row.Bytes(1), row.Int(2));
      },
      session_id));
  return accounting;
}

absl::StatusOr<std::map<std::string, v1::Accounting>>
StreamStore::AllAccounting() {
  absl::MutexLock lock(&impl_->mu_);
  std::map<std::string, v1::Accounting> all;
  CAMHERD_RETURN_IF_ERROR(
      impl_->db_->Query("SELECT session_id, name, reason, value FROM counters",
                        [&](const SqliteDb::Row& row) {
                          AddTo(all[std::string(row.Bytes(0))], row.Bytes(1),
                                row.Bytes(2), row.Int(3));
                        }));
  return all;
}

absl::StatusOr<int64_t> StreamStore::SpooledBytes(
    const std::string& session_id) {
  absl::MutexLock lock(&impl_->mu_);
  int64_t bytes = 0;
  CAMHERD_RETURN_IF_ERROR(impl_->db_->Query(
      "SELECT COALESCE(SUM(size_bytes), 0) FROM frames "
      "WHERE ?1 = '' OR session_id = ?1",
      [&](const SqliteDb::Row& row) { bytes = row.Int(0); }, session_id));
  return bytes;
}

}  // namespace camherd::capture
