// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/aggregator_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file_recovery.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "services/common/retry_delay.h"
#include "services/common/sqlite_db.h"
#include "services/common/status_macros.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/picture_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AddDetection;
using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::DecodeJpeg;
using ::camherd::aggregator::testing::FakePicture;
using ::camherd::aggregator::testing::MakeFrame;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeJpeg;
using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::MakeNewRecord;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::aggregator::testing::WriteText;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr absl::Duration kWait = absl::Seconds(30);

DiskWatch::Options DiskOptions(const std::string& path) {
  DiskWatch::Options options;
  options.path = path;
  options.low_bytes = 0;
  options.full_bytes = 0;
  return options;
}

PredictionsFile::Options FileOptions(const std::string& path) {
  PredictionsFile::Options options;
  options.path = path;
  options.line = {.timezone = absl::UTCTimeZone()};
  return options;
}

// On a busy machine the first connect may fail; a call waits for the next.
void Prepare(grpc::ClientContext& context) {
  SetDeadline(context, kWait);
  context.set_wait_for_ready(true);
}

// The whole service behind a real socket.
class AggregatorServiceTest : public ::testing::Test {
 protected:
  AggregatorServiceTest() {
    WriteText(dir_ / "camera_data.csv",
              "cameraID,latitude,longitude\nCAM-001,26.4499,80.3319\n");
    cameras_ = CameraDirectory::Create({.csv_path = dir_ / "camera_data.csv"},
                                       *store_, clock_, *metrics_)
                   .value();
    Start({});
  }
  ~AggregatorServiceTest() override {
    server_->Stop(absl::Seconds(1));
    calls_->Stop();
    predictions_->Stop(kWait);
  }

  void Start(AggregatorServiceImpl::Options options) {
    if (server_ != nullptr) server_->Stop(absl::Seconds(1));
    calls_ = std::make_unique<WorkerPool>(4, 64);
    service_ = std::make_unique<AggregatorServiceImpl>(
        options, recorder(), *store_, *cameras_, grids_, *calls_);
    server_ = GrpcServer::Start({.listen = "127.0.0.1:0"}, {service_.get()},
                                {v1::AggregatorService::service_full_name()})
                  .value();
    stub_ = v1::AggregatorService::NewStub(MakeChannel(server_->address()));
  }

  BatchRecorder& recorder() {
    recorder_ = std::make_unique<BatchRecorder>(
        BatchRecorder::Options{.keep_detected = keep_detected_}, *store_,
        *cameras_, disk_, predictions_.get(), clock_, *metrics_);
    return *recorder_;
  }

  // The whole file.
  absl::StatusOr<std::string> Export(const v1::ExportRecordsRequest& request) {
    grpc::ClientContext context;
    Prepare(context);
    const auto reader = stub_->ExportRecords(&context, request);
    std::string file;
    v1::ExportRecordsResponse piece;
    while (reader->Read(&piece)) file += piece.chunk();
    CAMHERD_RETURN_IF_ERROR(FromGrpcStatus(reader->Finish()));
    return file;
  }

  // Sends it in chunks of that size.
  absl::StatusOr<v1::ImportRecordsResponse> Import(const std::string& text,
                                                   size_t chunk = 1000) {
    grpc::ClientContext context;
    Prepare(context);
    v1::ImportRecordsResponse response;
    const auto writer = stub_->ImportRecords(&context, &response);
    v1::ImportRecordsRequest request;
    for (size_t at = 0; at < text.size(); at += chunk) {
      request.set_chunk(text.substr(at, chunk));
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    CAMHERD_RETURN_IF_ERROR(FromGrpcStatus(writer->Finish(), &context));
    return response;
  }

  // Sends header and the pictures of those frames.
  absl::StatusOr<v1::AddBatchResultResponse> Add(
      const v1::AddBatchResultHeader& header, const std::vector<int>& frames) {
    grpc::ClientContext context;
    Prepare(context);
    v1::AddBatchResultResponse response;
    auto writer = stub_->AddBatchResult(&context, &response);
    v1::AddBatchResultRequest request;
    *request.mutable_header() = header;
    bool open = writer->Write(request);
    for (const int frame : frames) {
      if (!open) break;
      request.mutable_picture()->set_frame_index(frame);
      request.mutable_picture()->set_jpeg(Jpeg(header, frame));
      open = writer->Write(request);
    }
    writer->WritesDone();
    const absl::Status status = FromGrpcStatus(writer->Finish(), &context);
    if (!status.ok()) return status;
    return response;
  }

  std::string Jpeg(const v1::AddBatchResultHeader& header, int frame) {
    return real_pictures_
               ? MakeJpeg(640, 360, cv::Scalar::all(40 * (frame + 1)))
               : FakePicture(header.manifest().session_id(),
                             header.manifest().batch_seq(), frame);
  }

  // Runs a unary call; `call` has the stub's method's signature.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(
      grpc::Status (v1::AggregatorService::Stub::*call)(grpc::ClientContext*,
                                                        const Request&,
                                                        Response*),
      const Request& request) {
    grpc::ClientContext context;
    Prepare(context);
    Response response;
    const absl::Status status = FromGrpcStatus(
        (stub_.get()->*call)(&context, request, &response), &context);
    if (!status.ok()) return status;
    return response;
  }

  TempDir dir_;
  FakeClock clock_;
  bool real_pictures_ = false;
  bool keep_detected_ = false;
  std::unique_ptr<AggregatorMetrics> metrics_ = MakeMetrics();
  std::unique_ptr<SqliteRecordStore> store_ =
      SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_).value();
  DiskWatch disk_{DiskOptions(dir_.path()), *metrics_};
  std::unique_ptr<CameraDirectory> cameras_;
  std::unique_ptr<PredictionsFile> predictions_ =
      PredictionsFile::Create(FileOptions(PredictionsPath(dir_.path())),
                              *store_, clock_, *metrics_)
          .value();
  std::unique_ptr<BatchRecorder> recorder_;
  GridArchive grids_{dir_.path(), *store_, disk_, clock_, *metrics_};
  std::unique_ptr<WorkerPool> calls_;
  std::unique_ptr<AggregatorServiceImpl> service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::AggregatorService::Stub> stub_;
};

// DATA_LOSS would say that the batch is at fault, and capture would drop it.
TEST_F(AggregatorServiceTest, ABatchIsToComeAgainWhereTheStoreIsDamaged) {
  const auto db = SqliteDb::Open(DatabaseFile(dir_.path()), "");
  ASSERT_THAT(db, IsOk());
  ASSERT_THAT((*db)->Exec("PRAGMA writable_schema=ON; UPDATE sqlite_master SET "
                          "rootpage=99999 WHERE name='batches'; "
                          "PRAGMA schema_version=99"),
              IsOk());
  const absl::Status status = Add(MakeHeader("s", 1), {0}).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("records.db")));
  EXPECT_NE(RetryDelay(status), std::nullopt);
}

TEST_F(AggregatorServiceTest, ABatchBecomesARecordAndALineWithThePlace) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1, 3);
  AddDetection(header, "dog", 2, 0.9F);
  const auto added = Add(header, {0, 2});
  ASSERT_THAT(added, IsOk());
  EXPECT_EQ(added->record_id(), 1);
  EXPECT_FALSE(added->already_recorded());

  v1::GetRecordRequest get;
  get.set_record_id(1);
  const auto record = Call(&v1::AggregatorService::Stub::GetRecord, get);
  ASSERT_THAT(record, IsOk());
  EXPECT_EQ(record->latitude(), 26.4499);
  EXPECT_EQ(record->sections(0).name(), "stray_animal");
  EXPECT_EQ(record->sections(0).complaint(), 1);
  EXPECT_EQ(record->evidence(0).frame_index(), 2);

  ASSERT_TRUE(predictions_->WaitUntilCaughtUp(kWait));
  EXPECT_THAT(ReadText(PredictionsPath(dir_.path())),
              HasSubstr("\"Latitude\": 26.4499, \"Longitude\": 80.3319, "
                        "\"Date\": \"01/08/2026\", "
                        "\"timestamp\": \"10:15:00\""));
}

TEST_F(AggregatorServiceTest, KeepsThePicturesOfTheFirstFrameAndTheEvidence) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1, 4);
  AddDetection(header, "dog", 1, 0.5F);
  AddDetection(header, "dog", 2, 0.9F);
  AddDetection(header, "dog", 3, 0.6F);
  const auto frames = [&] {
    const StoredRecord stored =
        store_->GetRecord(store_->LastRecordId()).value();
    std::vector<int> kept;
    for (const StoredPicture& picture : stored.pictures) {
      kept.push_back(picture.frame_index);
    }
    return kept;
  };
  ASSERT_THAT(Add(header, {0, 1, 2, 3}), IsOk());
  EXPECT_THAT(frames(), ElementsAre(0, 2));

  keep_detected_ = true;
  Start({});
  header = MakeHeader("s", 2, 4);
  AddDetection(header, "dog", 1, 0.5F);
  AddDetection(header, "dog", 2, 0.9F);
  ASSERT_THAT(Add(header, {0, 1, 2}), IsOk());
  EXPECT_THAT(frames(), ElementsAre(0, 1, 2));
}

TEST_F(AggregatorServiceTest, ABatchSentTwiceIsOneRecordAnotherIsAConflict) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1);
  ASSERT_THAT(Add(header, {0}), IsOk());
  const auto again = Add(header, {0, 1});
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->already_recorded());
  EXPECT_EQ(again->record_id(), 1);
  header.set_manifest_sha256(Sha256("x"));
  EXPECT_THAT(Add(header, {0}), StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(AggregatorServiceTest, RefusesWhatIsNotABatchAndKeepsNothingOfIt) {
  const v1::AddBatchResultHeader header = MakeHeader("s", 1);
  EXPECT_THAT(Add(header, {}), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("frame 0 is missing")));
  v1::AddBatchResultHeader wrong = header;
  wrong.mutable_manifest()->mutable_frames(0)->set_sha256(Sha256("x"));
  EXPECT_THAT(Add(wrong, {0}), StatusIs(absl::StatusCode::kDataLoss));
  wrong = header;
  wrong.mutable_manifest()->set_batch_seq(-1);
  EXPECT_THAT(Add(wrong, {0}), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("batch_seq")));
  EXPECT_EQ(store_->LastRecordId(), 0);
}

TEST_F(AggregatorServiceTest, ManySendersAtOnceLoseAndDoubleNothing) {
  std::vector<std::thread> senders;
  for (int s = 0; s < 8; ++s) {
    senders.emplace_back([this, s] {
      for (int seq = 1; seq <= 5; ++seq) {
        const auto header = MakeHeader(absl::StrCat("s", s), seq);
        ASSERT_THAT(Add(header, {0}), IsOk());
        ASSERT_THAT(Add(header, {0}), IsOk());
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(store_->LastRecordId(), 40);
  ASSERT_TRUE(predictions_->WaitUntilCaughtUp(kWait));
  const std::string text = ReadText(PredictionsPath(dir_.path()));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 40);
}

TEST_F(AggregatorServiceTest, TooManyBytesUnderWayAreRefusedWithADelay) {
  Start({.max_inflight_bytes = 10, .retry_delay = absl::Seconds(3)});
  const auto refused = Add(MakeHeader("s", 1), {0});
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(RetryDelay(refused.status()), absl::Seconds(3));
  EXPECT_EQ(store_->LastRecordId(), 0);
}

TEST_F(AggregatorServiceTest, ListsInPagesBoundToTheirFilters) {
  for (int i = 1; i <= 5; ++i) {
    ASSERT_THAT(Add(MakeHeader("s", i), {0}), IsOk());
  }
  v1::ListRecordsRequest request;
  request.set_page_size(2);
  std::vector<int64_t> ids;
  do {
    const auto page = Call(&v1::AggregatorService::Stub::ListRecords, request);
    ASSERT_THAT(page, IsOk());
    for (const v1::Record& record : page->records()) {
      ids.push_back(record.record_id());
    }
    request.set_page_token(page->next_page_token());
    // A record that comes between two pages moves nothing.
    if (ids.size() == 2) {
      ASSERT_THAT(Add(MakeHeader("s", 6), {0}), IsOk());
    }
  } while (!request.page_token().empty());
  EXPECT_THAT(ids, ElementsAre(5, 4, 3, 2, 1));

  request.clear_page_token();
  const auto page = Call(&v1::AggregatorService::Stub::ListRecords, request);
  request.set_page_token(page->next_page_token());
  request.set_camera_id("CAM-001");
  EXPECT_THAT(Call(&v1::AggregatorService::Stub::ListRecords, request),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("page_token belongs to other filters")));
}

TEST_F(AggregatorServiceTest, AnswersTheEvidenceWithBoxesAtTheWidthAsked) {
  real_pictures_ = true;
  v1::AddBatchResultHeader header = MakeHeader("s", 1, 3);
  for (int i = 0; i < 3; ++i) {
    v1::FrameInfo& frame = *header.mutable_manifest()->mutable_frames(i);
    frame.set_sha256(Sha256(Jpeg(header, i)));
    frame.clear_size_bytes();
  }
  AddDetection(header, "dog", 2, 0.9F);
  ASSERT_THAT(Add(header, {0, 2}), IsOk());

  v1::GetRecordImageRequest request;
  request.set_record_id(1);
  auto image = Call(&v1::AggregatorService::Stub::GetRecordImage, request);
  ASSERT_THAT(image, IsOk());
  EXPECT_EQ(image->frame_index(), 2);
  EXPECT_EQ(image->jpeg(), Jpeg(header, 2));
  request.set_boxes(true);
  request.set_width(320);
  image = Call(&v1::AggregatorService::Stub::GetRecordImage, request);
  ASSERT_THAT(image, IsOk());
  EXPECT_EQ(DecodeJpeg(image->jpeg()).cols, 320);
  request.set_first_frame(true);
  image = Call(&v1::AggregatorService::Stub::GetRecordImage, request);
  EXPECT_EQ(image->frame_index(), 0);
  request.set_width(8);
  EXPECT_THAT(Call(&v1::AggregatorService::Stub::GetRecordImage, request),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("width must be 0 or in [16, 7680], got 8")));
  request.clear_width();
  request.set_record_id(2);
  EXPECT_THAT(Call(&v1::AggregatorService::Stub::GetRecordImage, request),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("record 2")));
}

TEST_F(AggregatorServiceTest, RendersAndListsAGrid) {
  grpc::ClientContext context;
  Prepare(context);
  v1::RenderGridResponse response;
  auto writer = stub_->RenderGrid(&context, &response);
  v1::RenderGridRequest request;
  request.mutable_header()->set_session_id("s");
  request.mutable_header()->set_process_name("demo");
  request.mutable_header()->set_save(true);
  ASSERT_TRUE(writer->Write(request));
  for (int i = 1; i <= 9; ++i) {
    *request.mutable_frame() =
        MakeFrame(i, 20 * i, MakeJpeg(320, 180, cv::Scalar::all(20 * i)));
    ASSERT_TRUE(writer->Write(request));
  }
  writer->WritesDone();
  ASSERT_THAT(FromGrpcStatus(writer->Finish()), IsOk());
  EXPECT_EQ(DecodeJpeg(response.jpeg()).cols, 1920);
  EXPECT_EQ(response.grid().cells(0).frame_seq(), 9);

  const auto list =
      Call(&v1::AggregatorService::Stub::ListGrids, v1::ListGridsRequest());
  ASSERT_THAT(list, IsOk());
  ASSERT_THAT(list->grids(), SizeIs(1));
  EXPECT_EQ(ReadText(dir_ / ("images/" + list->grids(0).file_name())),
            response.jpeg());
}

TEST_F(AggregatorServiceTest, KeepsCamerasThroughTheApi) {
  v1::GetCameraRequest get;
  get.set_camera_id("CAM-001");
  EXPECT_EQ(Call(&v1::AggregatorService::Stub::GetCamera, get)->latitude(),
            26.4499);
  v1::UpsertCameraRequest upsert;
  upsert.mutable_camera()->set_camera_id("CAM-002");
  upsert.mutable_camera()->set_latitude(95);
  upsert.mutable_camera()->set_longitude(0);
  EXPECT_THAT(Call(&v1::AggregatorService::Stub::UpsertCamera, upsert),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("latitude must be in [-90, 90], got 95")));
  upsert.mutable_camera()->set_latitude(9);
  EXPECT_EQ(
      Call(&v1::AggregatorService::Stub::UpsertCamera, upsert)->updated_by(),
      "api");
  v1::ImportCamerasRequest import;
  import.set_csv("cameraID,latitude,longitude\nCAM-003,1,2\nCAM-004,x,2\n");
  const auto imported =
      Call(&v1::AggregatorService::Stub::ImportCameras, import);
  ASSERT_THAT(imported, IsOk());
  EXPECT_EQ(imported->added(), 1);
  EXPECT_EQ(imported->errors(0).line(), 3);
  v1::ListCamerasRequest list;
  list.set_page_size(2);
  const auto first = Call(&v1::AggregatorService::Stub::ListCameras, list);
  ASSERT_THAT(first->cameras(), SizeIs(2));
  list.set_page_token(first->next_page_token());
  const auto second = Call(&v1::AggregatorService::Stub::ListCameras, list);
  ASSERT_THAT(second->cameras(), SizeIs(1));
  EXPECT_EQ(second->cameras(0).camera_id(), "CAM-003");
  list.Clear();
  list.set_after_revision(first->revision());
  auto changed = Call(&v1::AggregatorService::Stub::ListCameras, list);
  EXPECT_THAT(changed->cameras(), SizeIs(0));
  EXPECT_EQ(changed->revision(), first->revision());
  ASSERT_THAT(Call(&v1::AggregatorService::Stub::UpsertCamera, upsert), IsOk());
  changed = Call(&v1::AggregatorService::Stub::ListCameras, list);
  ASSERT_THAT(changed->cameras(), SizeIs(1));
  EXPECT_EQ(changed->cameras(0).camera_id(), "CAM-002");
  EXPECT_EQ(changed->cameras(0).revision(), changed->revision());
  list.set_after_revision(-1);
  EXPECT_THAT(Call(&v1::AggregatorService::Stub::ListCameras, list),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("after_revision")));
  get.set_camera_id("CAM-009");
  EXPECT_THAT(Call(&v1::AggregatorService::Stub::GetCamera, get),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("CAM-009")));
}

TEST_F(AggregatorServiceTest, AWatchTellsOfEachNewRecordAndResumesByItsToken) {
  ASSERT_THAT(Add(MakeHeader("s", 1), {0}), IsOk());
  v1::WatchRecordsRequest request;
  std::string token;
  v1::WatchRecordsResponse event;
  {
    grpc::ClientContext context;
    Prepare(context);
    const auto watch = stub_->WatchRecords(&context, request);
    // The one from just before the watch may be told as well.
    const auto read = [&] {
      bool got = watch->Read(&event);
      while (got && event.record().batch_seq() == 1) got = watch->Read(&event);
      return got;
    };
    // Caught up with what was there.
    ASSERT_TRUE(read());
    EXPECT_FALSE(event.has_record());
    EXPECT_FALSE(event.reset());
    ASSERT_THAT(Add(MakeHeader("s", 2), {0}), IsOk());
    ASSERT_TRUE(read());
    EXPECT_EQ(event.record().batch_seq(), 2);
    EXPECT_GT(event.record().record_id(), 1);
    token = event.resume_token();
    context.TryCancel();
    watch->Finish().error_code();
  }
  // One that is sent again is not new.
  ASSERT_THAT(Add(MakeHeader("s", 2), {0}), IsOk());
  ASSERT_THAT(Add(MakeHeader("s", 3), {0}), IsOk());
  request.set_resume_token(token);
  {
    grpc::ClientContext context;
    Prepare(context);
    const auto watch = stub_->WatchRecords(&context, request);
    // It is told before or after the watch has caught up.
    std::vector<int64_t> told;
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(watch->Read(&event));
      told.push_back(event.has_record() ? event.record().batch_seq() : 0);
    }
    EXPECT_THAT(told, UnorderedElementsAre(0, 3));
    context.TryCancel();
    watch->Finish().error_code();
  }
  // Of another run: anew, and with `replay` all there is.
  request.set_resume_token("0123456789abcdef-1");
  request.set_replay(true);
  grpc::ClientContext context;
  Prepare(context);
  const auto watch = stub_->WatchRecords(&context, request);
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_TRUE(event.reset());
  for (const int batch : {1, 2, 3}) {
    ASSERT_TRUE(watch->Read(&event));
    EXPECT_EQ(event.record().batch_seq(), batch);
  }
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_FALSE(event.has_record());
  // A stop ends it before the server's drain would.
  service_->StopWatches();
  EXPECT_FALSE(watch->Read(&event));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(AggregatorServiceTest, AWatchOfACameraTellsOfItsRecordsOnly) {
  v1::WatchRecordsRequest request;
  request.set_camera_id("CAM-other");
  grpc::ClientContext context;
  Prepare(context);
  const auto watch = stub_->WatchRecords(&context, request);
  v1::WatchRecordsResponse event;
  ASSERT_TRUE(watch->Read(&event));
  ASSERT_THAT(Add(MakeHeader("s", 1), {0}), IsOk());
  v1::AddBatchResultHeader other = MakeHeader("s", 2);
  other.mutable_manifest()->set_camera_id("CAM-other");
  other.set_manifest_sha256(Sha256(other.manifest().SerializeAsString()));
  ASSERT_THAT(Add(other, {0}), IsOk());
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_EQ(event.record().camera_id(), "CAM-other");
  context.TryCancel();
}

TEST_F(AggregatorServiceTest, ARemovedRecordIsNotFoundAndItsBatchIsKnown) {
  for (int batch = 1; batch <= 3; ++batch) {
    ASSERT_THAT(Add(MakeHeader("s", batch), {0}), IsOk());
  }
  v1::ListRecordsRequest list;
  list.set_page_size(1);
  const auto first = Call(&v1::AggregatorService::Stub::ListRecords, list);
  list.set_page_token(first->next_page_token());
  const auto second = Call(&v1::AggregatorService::Stub::ListRecords, list);
  EXPECT_EQ(second->records(0).record_id(), 2);
  ASSERT_EQ(store_->RemoveRecords({.limit = 2})->count, 2);

  // The token's record, and all that is older, is gone.
  EXPECT_EQ(
      Call(&v1::AggregatorService::Stub::ListRecords, list)->records_size(), 0);
  v1::GetRecordRequest get;
  get.set_record_id(2);
  EXPECT_THAT(Call(&v1::AggregatorService::Stub::GetRecord, get),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("record 2 has been removed")));
  v1::GetRecordImageRequest image;
  image.set_record_id(2);
  EXPECT_THAT(Call(&v1::AggregatorService::Stub::GetRecordImage, image),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("record 2 has been removed")));
  const auto again = Add(MakeHeader("s", 2), {0});
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->already_recorded());
  EXPECT_EQ(again->record_id(), 0);
}

TEST_F(AggregatorServiceTest, AnExportHasTheLinesOfTheFile) {
  for (int batch = 1; batch <= 3; ++batch) {
    ASSERT_THAT(Add(MakeHeader("s", batch), {0}), IsOk());
  }
  ASSERT_TRUE(predictions_->WaitUntilCaughtUp(kWait));
  v1::ExportRecordsRequest request;
  request.set_format(v1::EXPORT_FORMAT_JSONL);
  EXPECT_EQ(Export(request).value(), ReadText(dir_ / "predictions.json"));
  request.set_camera_id("CAM-002");
  EXPECT_EQ(Export(request).value(), "");
  request.set_camera_id("../x");
  EXPECT_THAT(Export(request), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("camera_id")));
  request.Clear();
  EXPECT_THAT(Export(request), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("format")));
}

TEST_F(AggregatorServiceTest, AnImportAddsWhatIsNotThere) {
  Start({.line = {.timezone = absl::UTCTimeZone()}});
  for (int batch = 1; batch <= 3; ++batch) {
    ASSERT_THAT(Add(MakeHeader("s", batch), {0}).status(), IsOk());
  }
  v1::ExportRecordsRequest request;
  request.set_format(v1::EXPORT_FORMAT_JSONL);
  const std::string lines = Export(request).value();
  auto imported = Import(lines);
  ASSERT_THAT(imported.status(), IsOk());
  EXPECT_EQ(imported->already_present(), 3);
  // The same batches of another session, and half a line.
  imported = Import(absl::StrCat(
      absl::StrReplaceAll(lines,
                          {{"\"session_id\": \"s\"", "\"session_id\": \"t\""}}),
      "{\"basic"));
  ASSERT_THAT(imported.status(), IsOk());
  EXPECT_EQ(imported->imported(), 3);
  ASSERT_EQ(imported->failed(), 1);
  EXPECT_EQ(imported->errors(0).line(), 4);
  EXPECT_EQ(store_->LastRecordId(), 6);
  const auto got = Call<v1::GetRecordRequest, v1::Record>(
      &v1::AggregatorService::Stub::GetRecord, [] {
        v1::GetRecordRequest get;
        get.set_record_id(6);
        return get;
      }());
  ASSERT_THAT(got.status(), IsOk());
  EXPECT_TRUE(got->imported());
  EXPECT_EQ(got->session_id(), "t");
}

TEST_F(AggregatorServiceTest, OneImportRunsAtATimeAndItsChunksAreBounded) {
  EXPECT_THAT(Import(std::string(2 << 20, ' '), 2 << 20).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("chunk")));
  {
    grpc::ClientContext context;
    Prepare(context);
    v1::ImportRecordsResponse response;
    const auto writer = stub_->ImportRecords(&context, &response);
    v1::ImportRecordsRequest request;
    request.set_chunk("x\n");
    ASSERT_TRUE(writer->Write(request));
    // It may not have begun yet.
    absl::Status second;
    while ((second = Import("").status()).ok()) {
    }
    EXPECT_THAT(second, StatusIs(absl::StatusCode::kResourceExhausted));
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // Its place is free again.
  absl::Status next;
  while (absl::IsResourceExhausted(next = Import("").status())) {
  }
  EXPECT_THAT(next, IsOk());
}

TEST_F(AggregatorServiceTest, AnExportWhoseReaderTakesNothingEnds) {
  // More than gRPC holds for a reader.
  for (int batch = 1; batch <= 64; ++batch) {
    v1::AddBatchResultHeader header = MakeHeader("s", batch, 1);
    NewRecord record = MakeNewRecord(header);
    for (Picture& picture : record.pictures) picture.jpeg.resize(200'000, 'x');
    ASSERT_THAT(AppendAndWait(*store_, std::move(record)), IsOk());
  }
  Start({.max_exports = 1, .export_stall = absl::Milliseconds(200)});
  v1::ExportRecordsRequest request;
  request.set_format(v1::EXPORT_FORMAT_JSONL);
  grpc::ClientContext context;
  Prepare(context);
  const auto reader = stub_->ExportRecords(&context, request);
  v1::ExportRecordsResponse piece;
  ASSERT_TRUE(reader->Read(&piece));
  EXPECT_THAT(Export(request), StatusIs(absl::StatusCode::kResourceExhausted,
                                        HasSubstr("exports")));
  while (!Export(request).ok()) std::this_thread::yield();
  while (reader->Read(&piece)) {
  }
  EXPECT_THAT(FromGrpcStatus(reader->Finish()),
              StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(AggregatorServiceTest, MoreExportsThanAreAllowedAreRefused) {
  Start({.max_exports = 0});
  v1::ExportRecordsRequest request;
  request.set_format(v1::EXPORT_FORMAT_CSV);
  EXPECT_THAT(Export(request), StatusIs(absl::StatusCode::kResourceExhausted,
                                        HasSubstr("exports")));
}

}  // namespace
}  // namespace camherd::aggregator
