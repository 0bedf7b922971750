// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "services/capture/spool_layout.h"
#include "services/common/file.h"
#include "services/common/time_proto.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/capture/supervisor_testbed.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::Testbed;

constexpr char kUrl[] = "rtsp://user:hunter2@192.0.2.1:8554/demo";

// The identities are checked by Get, and for the whole store by Stop.
class StreamSupervisorTest : public ::testing::Test {
 protected:
  void SetUp() override { bed_.Start(); }

  absl::StatusOr<v1::StartStreamResponse> Start(const std::string& url,
                                                const std::string& camera_id,
                                                double interval = 3) {
    v1::StartStreamRequest request;
    request.set_rtsp_url(url);
    request.set_camera_id(camera_id);
    request.set_interval_seconds(interval);
    return bed_.supervisor->StartStream(request);
  }

  // On a connection of its own; with a trigger that raises, the store fails as
  // on a full disk.
  void Sql(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(StoreFile(bed_.data_dir()).c_str(), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr),
              SQLITE_OK)
        << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
  // `event` as in "INSERT ON batches".
  void Refuse(const std::string& event) {
    Sql(absl::StrCat("CREATE TRIGGER refuse_", ++refused_, " BEFORE ", event,
                     " BEGIN SELECT RAISE(ABORT, 'refused'); END"));
  }
  void RefuseNoMore() {
    for (; refused_ > 0; --refused_) {
      Sql(absl::StrCat("DROP TRIGGER refuse_", refused_));
    }
  }

  std::vector<double> GridLumas(const v1::Grid& grid) {
    std::vector<double> lumas;
    for (const auto& cell : grid.cells()) lumas.push_back(cell.mean_luma());
    return lumas;
  }

  FakeClock clock_;
  Testbed bed_{clock_};
  int refused_ = 0;
};

TEST_F(StreamSupervisorTest, AStreamIsAssignedToTheWorkerWithItsSource) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  EXPECT_EQ(stream.process_name(), "demo");
  EXPECT_EQ(stream.camera_id(), "demo");
  EXPECT_EQ(stream.state(), v1::STREAM_STATE_STARTING);
  EXPECT_EQ(stream.last_frame_age_seconds(), -1);
  const v1::AssignStream assign = bed_.worker->Assigned(stream.stream_id());
  EXPECT_EQ(assign.url(), kUrl);
  EXPECT_EQ(assign.next_frame_seq(), 1);
  EXPECT_EQ(assign.interval_seconds(), 3);
  EXPECT_TRUE(std::filesystem::is_directory(assign.spool_dir()));
  EXPECT_THAT(stream.DebugString(), Not(HasSubstr("hunter2")));
}

TEST_F(StreamSupervisorTest, TenFramesAreOneRecordedBatchAndLeaveTheDisk) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.worker->State(stream.stream_id(), v1::STREAM_STATE_RUNNING, "");
  bed_.Take(stream.stream_id(), 10);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 10));
  EXPECT_EQ(bed_.Files("frames"), 0);
  const auto manifests = bed_.inference->manifests();
  ASSERT_EQ(manifests.size(), 1u);
  EXPECT_EQ(manifests[0].batch_seq(), 1);
  EXPECT_EQ(manifests[0].frames_size(), 10);
  EXPECT_THAT(manifests[0].models(), ElementsAre("animals"));
  EXPECT_EQ(manifests[0].host_ip(), "192.0.2.7");
  EXPECT_EQ(manifests[0].node_id(), "node");
  EXPECT_EQ(manifests[0].frames_due(), 10);
}

TEST_F(StreamSupervisorTest, IsNotAliveWhereHousekeepingDoesNotComeRound) {
  EXPECT_THAT(bed_.supervisor->CheckAlive(), IsOk());
  bed_.Stop();
  bed_.options.housekeeping_interval = absl::Hours(1);
  bed_.Start();
  clock_.Advance(absl::Seconds(60));
  EXPECT_THAT(bed_.supervisor->CheckAlive(), IsOk());
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(bed_.supervisor->CheckAlive(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("housekeeping has not come round for 61 s")));
}

TEST_F(StreamSupervisorTest, TheSameCameraAgainIsTheRunningStream) {
  const auto first = Start(kUrl, "CAM-001");
  const auto second = Start(kUrl, "CAM-001");
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_FALSE(first->already_running());
  EXPECT_TRUE(second->already_running());
  EXPECT_EQ(first->stream().stream_id(), second->stream().stream_id());
  const auto unnamed = Start(kUrl, "");
  const auto again = Start(kUrl, "");
  ASSERT_THAT(again, IsOk());
  EXPECT_FALSE(unnamed->already_running());
  EXPECT_TRUE(again->already_running());
}

TEST_F(StreamSupervisorTest, TheSameCameraWithSomethingElseNamesWhatDiffers) {
  ASSERT_THAT(Start(kUrl, "CAM-001"), IsOk());
  EXPECT_THAT(Start(kUrl, "CAM-001", 1),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("CAM-001"),
                             HasSubstr("interval_seconds is 3, asked for 1"))));
  EXPECT_THAT(
      Start("rtsp://192.0.2.1/other", "CAM-001"),
      StatusIs(absl::StatusCode::kAlreadyExists,
               AllOf(HasSubstr("rtsp_url"), Not(HasSubstr("hunter2")))));
}

TEST_F(StreamSupervisorTest, ASecondCameraOfTheSameNameGetsANumber) {
  ASSERT_THAT(Start("rtsp://192.0.2.1/demo", ""), IsOk());
  const auto second = Start("rtsp://192.0.2.2/demo", "");
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->stream().process_name(), "demo-2");
  EXPECT_EQ(second->stream().camera_id(), "demo-2");
}

TEST_F(StreamSupervisorTest, StoppingFreesTheName) {
  const v1::Stream first = bed_.StartCamera(kUrl);
  bed_.StopCamera("demo");
  const v1::Stream second = bed_.StartCamera(kUrl);
  EXPECT_EQ(second.process_name(), "demo");
  EXPECT_NE(second.stream_id(), first.stream_id());
  EXPECT_EQ(bed_.Get("demo").stream_id(), second.stream_id());
  EXPECT_EQ(bed_.Get(first.stream_id()).state(), v1::STREAM_STATE_STOPPED);
}

TEST_F(StreamSupervisorTest, StopSendsTheRestAndAnswersTheNineBrightest) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 13, 10);
  const v1::StopStreamResponse stopped = bed_.StopCamera("demo");
  EXPECT_EQ(stopped.grid_jpeg(), "grid");
  EXPECT_THAT(GridLumas(stopped.grid()),
              ElementsAre(22, 21, 20, 19, 18, 17, 16, 15, 14));
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 13));
  EXPECT_EQ(bed_.Get("demo").state(), v1::STREAM_STATE_STOPPED);
  std::vector<int> sizes;
  for (const auto& manifest : bed_.inference->manifests()) {
    sizes.push_back(manifest.frames_size());
  }
  EXPECT_THAT(sizes, ::testing::UnorderedElementsAre(10, 3));
}

TEST_F(StreamSupervisorTest, StopAgainAnswersTheSameGrid) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 10);
  const auto first = bed_.StopCamera("demo");
  bed_.aggregator.SetStatus(absl::UnavailableError("away"));
  const auto second = bed_.StopCamera(stream.stream_id());
  EXPECT_EQ(first.grid().file_name(), second.grid().file_name());
  EXPECT_EQ(second.grid_jpeg(), "grid");
  bed_.Restart();
  EXPECT_EQ(bed_.StopCamera("demo").grid().file_name(),
            first.grid().file_name());
  EXPECT_EQ(bed_.aggregator.rendered(), 1);
}

TEST_F(StreamSupervisorTest, StopWithTooFewFramesSaysHowMany) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 4);
  const auto stopped = bed_.StopCamera("demo");
  EXPECT_FALSE(stopped.has_grid());
  EXPECT_EQ(stopped.grid_reason(), "Not enough frames captured: 4 of 9");
  EXPECT_FALSE(stopped.stream().desired_running());
}

TEST_F(StreamSupervisorTest, StopSaysWhenTheAggregatorIsAway) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 9);
  bed_.aggregator.SetStatus(absl::UnavailableError("connection refused"));
  const auto stopped = bed_.StopCamera("demo");
  EXPECT_FALSE(stopped.has_grid());
  EXPECT_THAT(stopped.grid_reason(), HasSubstr("connection refused"));
  bed_.aggregator.SetStatus(absl::OkStatus());
  EXPECT_TRUE(bed_.StopCamera("demo").has_grid());
}

TEST_F(StreamSupervisorTest, StopDoesNotWaitForAHangingWorker) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 3);
  bed_.worker->SetAnswersRevoke(false);
  const auto stopped = bed_.StopCamera("demo");
  EXPECT_EQ(stopped.stream().state(), v1::STREAM_STATE_STOPPING);
  // A sample that was under way still counts, and is sent.
  bed_.Take(stream.stream_id(), 1);
  bed_.worker->End(stream.stream_id());
  ASSERT_TRUE(bed_.AwaitRecorded(stream.stream_id(), 4));
  EXPECT_EQ(bed_.Get("demo").state(), v1::STREAM_STATE_STOPPED);
}

TEST_F(StreamSupervisorTest, AnUnknownNameListsWhatRuns) {
  bed_.StartCamera(kUrl);
  v1::StopStreamRequest request;
  request.set_stream("demx");
  EXPECT_THAT(bed_.supervisor->StopStream(request),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("demx"), HasSubstr("[demo]"))));
}

TEST_F(StreamSupervisorTest, AnUnknownModelStartsNothing) {
  v1::StartStreamRequest request;
  request.set_rtsp_url(kUrl);
  request.add_models("unicorns");
  EXPECT_THAT(bed_.supervisor->StartStream(request),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("got \"unicorns\"")));
  bed_.inference->SetModel("pothole",
                           absl::FailedPreconditionError("put weights there"));
  request.set_models(0, "pothole");
  EXPECT_THAT(bed_.supervisor->StartStream(request),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("put weights there")));
  bed_.inference->SetModel("pothole", absl::UnavailableError("refused"));
  EXPECT_THAT(bed_.supervisor->StartStream(request),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("inference")));
  EXPECT_FALSE(std::filesystem::exists(bed_.data_dir() + "/frames"));
  EXPECT_EQ(bed_.worker->running(), 0u);
}

TEST_F(StreamSupervisorTest, AStreamWithoutModelsOnlyRanks) {
  const v1::Stream stream = bed_.StartCamera(kUrl, /*with_model=*/false);
  bed_.Take(stream.stream_id(), 25);
  const v1::Stream now = bed_.Get("demo");
  EXPECT_EQ(now.accounting().ranked_only(), 25);
  EXPECT_EQ(now.accounting().spooled(), 0);
  EXPECT_EQ(now.brightest_count(), 9);
  EXPECT_EQ(bed_.Files("frames"), 0);
  // The nine and the newest.
  EXPECT_EQ(bed_.Files("brightest"), 10);
  EXPECT_THAT(bed_.inference->attempts(), IsEmpty());
}

TEST_F(StreamSupervisorTest, StoppingOneStreamLeavesOthersAlone) {
  const v1::Stream a = bed_.StartCamera("rtsp://192.0.2.1/a");
  const v1::Stream b = bed_.StartCamera("rtsp://192.0.2.1/b");
  bed_.Take(a.stream_id(), 3);
  bed_.Take(b.stream_id(), 3);
  bed_.StopCamera("a");
  EXPECT_EQ(bed_.worker->running(), 1u);
  bed_.Take(b.stream_id(), 7);
  EXPECT_TRUE(bed_.AwaitRecorded("b", 10));
}

TEST_F(StreamSupervisorTest, UpdateChangesTheRunningSession) {
  const v1::Stream stream = bed_.StartCamera(kUrl, /*with_model=*/true);
  bed_.Take(stream.stream_id(), 4);
  v1::UpdateStreamRequest update;
  update.set_stream("demo");
  update.set_interval_seconds(1);
  update.mutable_models();
  update.set_rtsp_url("rtsp://192.0.2.1:8554/other");
  const auto updated = bed_.supervisor->UpdateStream(update);
  ASSERT_THAT(updated, IsOk());
  EXPECT_EQ(updated->session_id(), stream.session_id());
  EXPECT_THAT(updated->models(), IsEmpty());
  const v1::AssignStream assign = bed_.worker->Assigned(stream.stream_id());
  EXPECT_EQ(assign.interval_seconds(), 1);
  EXPECT_EQ(assign.url(), "rtsp://user:hunter2@192.0.2.1:8554/other");
  EXPECT_EQ(assign.next_frame_seq(), 5);
  // What was taken for the model still goes to it.
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 4));
  bed_.Take(stream.stream_id(), 2);
  EXPECT_EQ(bed_.Get("demo").accounting().ranked_only(), 2);
}

TEST_F(StreamSupervisorTest, DeleteForgetsTheStreamAndCountsItsFrames) {
  bed_.inference->SetOpen(false);
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 12);
  v1::DeleteStreamRequest request;
  request.set_stream("demo");
  ASSERT_THAT(bed_.supervisor->DeleteStream(request), IsOk());
  ASSERT_THAT(bed_.supervisor->DeleteStream(request), IsOk());
  bed_.inference->SetOpen(true);
  EXPECT_EQ(bed_.Files("frames") + bed_.Files("brightest"), 0);
  EXPECT_EQ(bed_.worker->running(), 0u);
  const auto snapshot = bed_.supervisor->Snapshot();
  ASSERT_THAT(snapshot, IsOk());
  testing::ExpectIdentities(snapshot->total);
  EXPECT_EQ(snapshot->total.dropped().at("deleted"), 12);
}

TEST_F(StreamSupervisorTest, ADeleteThatFailsFreesTheNameAndCanBeRepeated) {
  const v1::Stream first = bed_.StartCamera(kUrl);
  Refuse("DELETE ON streams");
  v1::DeleteStreamRequest request;
  request.set_stream(first.stream_id());
  EXPECT_FALSE(bed_.supervisor->DeleteStream(request).ok());
  EXPECT_EQ(bed_.worker->running(), 0u);
  RefuseNoMore();
  const v1::Stream second = bed_.StartCamera(kUrl);
  EXPECT_NE(second.stream_id(), first.stream_id());
  EXPECT_EQ(second.process_name(), "demo");
  ASSERT_THAT(bed_.supervisor->DeleteStream(request), IsOk());
  EXPECT_EQ(bed_.supervisor->ListStreams({})->streams_size(), 1);
  EXPECT_EQ(bed_.Get("demo").stream_id(), second.stream_id());
}

TEST_F(StreamSupervisorTest, ADeletedStreamsLateSamplesAreThrownAway) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.worker->SetAnswersRevoke(false);
  v1::DeleteStreamRequest request;
  request.set_stream("demo");
  ASSERT_THAT(bed_.supervisor->DeleteStream(request), IsOk());
  // The worker still has the folder open, as it were.
  std::filesystem::create_directories(
      bed_.worker->Assigned(stream.stream_id()).spool_dir());
  bed_.Take(stream.stream_id(), 1);
  bed_.worker->End(stream.stream_id());
  EXPECT_EQ(bed_.Files("frames") + bed_.Files("brightest"), 0);
}

TEST_F(StreamSupervisorTest,
       AnUpdateThatWaitsForAModelKeepsNobodyFromStopping) {
  bed_.StartCamera(kUrl);
  bed_.inference->SetModel("people", absl::OkStatus());
  bed_.inference->SetPrepareOpen(false);
  v1::UpdateStreamRequest update;
  update.set_stream("demo");
  update.mutable_models()->add_names("people");
  absl::Status updated;
  std::thread updating(
      [&] { updated = bed_.supervisor->UpdateStream(update).status(); });
  EXPECT_TRUE(Eventually([&] { return bed_.inference->preparing() == 1; }));
  absl::Notification stopped;
  std::thread stopping([&] {
    bed_.StopCamera("demo");
    stopped.Notify();
  });
  EXPECT_TRUE(stopped.WaitForNotificationWithTimeout(absl::Seconds(5)));
  bed_.inference->SetPrepareOpen(true);
  updating.join();
  stopping.join();
  EXPECT_THAT(updated, StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("is stopped")));
}

TEST_F(StreamSupervisorTest, ListsPageByPageNewestFirst) {
  for (const char* name : {"a", "b", "c"}) {
    clock_.Advance(absl::Seconds(1));
    bed_.StartCamera(absl::StrCat("rtsp://192.0.2.1/", name));
  }
  v1::ListStreamsRequest request;
  request.set_page_size(2);
  auto page = bed_.supervisor->ListStreams(request);
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->streams_size(), 2);
  EXPECT_EQ(page->streams(0).camera_id(), "c");
  EXPECT_EQ(page->streams(1).camera_id(), "b");
  request.set_page_token(page->next_page_token());
  page = bed_.supervisor->ListStreams(request);
  ASSERT_EQ(page->streams_size(), 1);
  EXPECT_EQ(page->streams(0).camera_id(), "a");
  EXPECT_EQ(page->next_page_token(), "");
  request.set_page_token("nonsense");
  EXPECT_THAT(
      bed_.supervisor->ListStreams(request),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_token")));
  v1::ListStreamsRequest filtered;
  filtered.add_states(v1::STREAM_STATE_STARTING);
  filtered.set_camera_id("b");
  EXPECT_EQ(bed_.supervisor->ListStreams(filtered)->streams_size(), 1);
}

TEST_F(StreamSupervisorTest, TheNewestFrameOutlivesItsBatch) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  v1::GetLatestFrameRequest request;
  request.set_stream("demo");
  EXPECT_THAT(bed_.supervisor->GetLatestFrame(request),
              StatusIs(absl::StatusCode::kNotFound));
  bed_.Take(stream.stream_id(), 10);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 10));
  bed_.Take(stream.stream_id(), 1);
  clock_.Advance(absl::Seconds(5));
  auto newest = bed_.supervisor->GetLatestFrame(request);
  ASSERT_THAT(newest, IsOk());
  EXPECT_EQ(newest->frame().info().frame_seq(), 11);
  EXPECT_EQ(newest->frame().jpeg(), "jpeg");
  EXPECT_EQ(newest->age_seconds(), 5);
  request.set_acknowledged(true);
  auto acknowledged = bed_.supervisor->GetLatestFrame(request);
  ASSERT_THAT(acknowledged, IsOk());
  EXPECT_EQ(acknowledged->frame().info().frame_seq(), 10);
  EXPECT_EQ(acknowledged->frame().jpeg(), "jpeg");
  ASSERT_EQ(acknowledged->detections_size(), 1);
  EXPECT_EQ(acknowledged->detections(0).class_name(), "dog");
  bed_.Kill();
  EXPECT_EQ(
      bed_.supervisor->GetLatestFrame(request)->frame().info().frame_seq(), 10);
}

TEST_F(StreamSupervisorTest, AClockAnHourBackHidesNoCameraThatIsSilent) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 1);
  clock_.StepWallClock(-absl::Hours(1));
  clock_.Advance(absl::Seconds(90));
  EXPECT_EQ(bed_.Get("demo").last_frame_age_seconds(), 90);
}

TEST_F(StreamSupervisorTest, ARestartResumesTheSessionAndCountsTheTimeAway) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 4);
  bed_.Stop();
  clock_.Advance(absl::Seconds(10));
  bed_.Start();
  const v1::AssignStream assign = bed_.worker->Assigned(stream.stream_id());
  EXPECT_EQ(assign.session_id(), stream.session_id());
  EXPECT_EQ(assign.next_frame_seq(), 5);
  EXPECT_EQ(bed_.Get("demo").accounting().missed().at("service_down"), 3);
  // What was open at SIGTERM went out as a shorter batch.
  EXPECT_TRUE(bed_.AwaitRecorded("demo", 4));
  bed_.Take(stream.stream_id(), 10);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 14));
  EXPECT_EQ(bed_.inference->manifests().back().batch_seq(), 2);
}

TEST_F(StreamSupervisorTest, ReceivedBytesAreThoseSinceTheServiceStarted) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 3);
  EXPECT_EQ(bed_.supervisor->Snapshot()->received_bytes, 3000);
  bed_.StopCamera("demo");
  bed_.Restart();
  EXPECT_EQ(bed_.Get("demo").received_bytes(), 0);
  EXPECT_EQ(bed_.supervisor->Snapshot()->received_bytes, 0);
}

TEST_F(StreamSupervisorTest, AStoppedStreamStaysStoppedAfterARestart) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.StopCamera("demo");
  bed_.Kill();
  EXPECT_EQ(bed_.worker->running(), 0u);
  EXPECT_EQ(bed_.Get(stream.stream_id()).state(), v1::STREAM_STATE_STOPPED);
}

TEST_F(StreamSupervisorTest, AKillAtAnyPointKeepsTheIdentities) {
  const v1::Stream stream = bed_.StartCamera(kUrl, true, /*batch_size=*/3);
  bed_.inference->SetOpen(false);
  bed_.before_start = [&] { bed_.inference->SetOpen(false); };
  int64_t taken = 0;
  for (int round = 0; round < 8; ++round) {
    bed_.Take(stream.stream_id(), 1 + round % 3, 10 * round);
    taken += 1 + round % 3;
    // A file whose event never came.
    v1::FromWorker lost;
    bed_.worker->Write(stream.stream_id(), 255, clock_.Now(), "jpeg", lost);
    bed_.Kill();
    const v1::Stream now = bed_.Get("demo");
    EXPECT_EQ(now.accounting().captured(), taken);
    EXPECT_EQ(now.accounting().spooled(), taken);
    EXPECT_EQ(bed_.Files("frames"), taken);
    EXPECT_EQ(now.brightest_count(), std::min<int64_t>(taken, 9));
  }
  bed_.inference->SetOpen(true);
  bed_.StopCamera("demo");
  EXPECT_TRUE(bed_.AwaitRecorded("demo", taken));
  EXPECT_EQ(bed_.inference->recorded(), bed_.inference->manifests().size());
}

TEST_F(StreamSupervisorTest, AKillLosesNothingWhereNothingIsSynced) {
  bed_.Stop();
  bed_.options.session.sync = false;
  bed_.before_start = [&] { bed_.inference->SetOpen(false); };
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera(kUrl, true, /*batch_size=*/3);
  bed_.Take(stream.stream_id(), 7);
  bed_.worker->Miss(stream.stream_id(), "late", 2);
  bed_.Kill();
  EXPECT_EQ(bed_.Get("demo").accounting().captured(), 7);
  EXPECT_EQ(bed_.Get("demo").accounting().spooled(), 7);
  EXPECT_EQ(bed_.Get("demo").accounting().missed().at("late"), 2);
  EXPECT_EQ(bed_.Get("demo").batches_pending(), 2);
  bed_.inference->SetOpen(true);
  bed_.StopCamera("demo");
  EXPECT_TRUE(bed_.AwaitRecorded("demo", 7));
}

TEST_F(StreamSupervisorTest, TheNineSurviveAKill) {
  const v1::Stream stream = bed_.StartCamera(kUrl, /*with_model=*/false);
  for (const double luma : {50, 1, 60, 2, 70, 3, 80, 4, 90, 5, 100, 6}) {
    bed_.worker->Take(stream.stream_id(), luma, clock_.Now());
  }
  bed_.Kill();
  bed_.worker->Take(stream.stream_id(), 75, clock_.Now());
  EXPECT_THAT(GridLumas(bed_.StopCamera("demo").grid()),
              ElementsAre(100, 90, 80, 75, 70, 60, 50, 6, 5));
}

TEST_F(StreamSupervisorTest, ABrightFrameThatAPowerCutDamagedMakesRoom) {
  const v1::Stream stream =
      bed_.StartCamera("rtsp://192.0.2.1/demo", /*with_model=*/false);
  bed_.Take(stream.stream_id(), 9);
  const std::string damaged =
      FrameFile(BrightestDir(bed_.data_dir(), "demo", stream.session_id()), 5);
  ASSERT_TRUE(
      WriteFileAtomically(damaged, std::string(4, '\0'), Sync::kNone).ok());
  bed_.Kill();
  EXPECT_EQ(bed_.Get("demo").brightest_count(), 8);
  bed_.Take(stream.stream_id(), 1);
  EXPECT_TRUE(bed_.StopCamera("demo").has_grid());
}

TEST_F(StreamSupervisorTest, LostFilesAreCountedWithTheirBatch) {
  bed_.before_start = [&] { bed_.inference->SetOpen(false); };
  bed_.inference->SetOpen(false);
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 12);
  const std::string dir = bed_.worker->Assigned(stream.stream_id()).spool_dir();
  std::filesystem::remove(FrameFile(dir, 3));   // Sealed, in batch 1.
  std::filesystem::remove(FrameFile(dir, 12));  // Open.
  bed_.Kill();
  EXPECT_EQ(bed_.Get("demo").accounting().dropped().at("file_lost"), 6);
  bed_.inference->SetOpen(true);
  bed_.StopCamera("demo");
  EXPECT_TRUE(bed_.AwaitRecorded("demo", 6));
}

TEST_F(StreamSupervisorTest, LostFilesThatCannotBeCountedAreCountedLater) {
  bed_.before_start = [&] { bed_.inference->SetOpen(false); };
  bed_.inference->SetOpen(false);
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 12);
  const std::string dir = bed_.worker->Assigned(stream.stream_id()).spool_dir();
  std::filesystem::remove(FrameFile(dir, 3));   // Sealed, in batch 1.
  std::filesystem::remove(FrameFile(dir, 12));  // Open.
  Refuse("INSERT ON counters WHEN NEW.reason = 'file_lost'");
  bed_.Kill();
  EXPECT_EQ(bed_.Get("demo").accounting().spooled(), 12);
  RefuseNoMore();
  bed_.inference->SetOpen(true);
  bed_.StopCamera("demo");
  ASSERT_TRUE(Eventually([&] {
    clock_.Advance(absl::Milliseconds(1));
    return bed_.Get("demo").accounting().spooled() == 0;
  }));
  EXPECT_EQ(bed_.Get("demo").accounting().dropped().at("file_lost"), 6);
  EXPECT_EQ(bed_.Get("demo").accounting().recorded(), 6);
}

TEST_F(StreamSupervisorTest, AFullDiskAtTheStartKeepsNothingFromBeingSent) {
  bed_.inference->SetOpen(false);
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 5);
  Refuse("INSERT ON batches");
  bed_.Take(stream.stream_id(), 5);
  Refuse("INSERT ON counters WHEN NEW.reason = 'service_down'");
  clock_.Advance(absl::Seconds(30));
  bed_.Kill();
  EXPECT_EQ(bed_.worker->running(), 1u);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 5));
  EXPECT_EQ(bed_.Get("demo").accounting().missed().count("service_down"), 0u);
  // What could not be done then is done when there is room.
  RefuseNoMore();
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 10));
  EXPECT_TRUE(Eventually([&] {
    const auto missed = bed_.Get("demo").accounting().missed();
    return missed.count("service_down") > 0 && missed.at("service_down") == 10;
  }));
}

TEST_F(StreamSupervisorTest, AFolderThatCannotBeMadeAtTheStartIsMadeLater) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  const std::string dir = bed_.worker->Assigned(stream.stream_id()).spool_dir();
  bed_.Stop();
  std::filesystem::remove_all(dir);
  ASSERT_THAT(WriteFileAtomically(dir, "in the way", Sync::kNone), IsOk());
  bed_.Start();
  std::filesystem::remove(dir);
  ASSERT_TRUE(Eventually([&] { return std::filesystem::is_directory(dir); }));
  bed_.Take(stream.stream_id(), 10);
  EXPECT_TRUE(bed_.AwaitRecorded("demo", 10));
}

TEST_F(StreamSupervisorTest, AStoredUrlThatNoLongerParsesStopsNoOtherStream) {
  const v1::Stream a = bed_.StartCamera("rtsp://u:hunter2@192.0.2.1/a");
  const v1::Stream b = bed_.StartCamera("rtsp://u:hunter2@192.0.2.1/b");
  const v1::Stream c = bed_.StartCamera("rtsp://192.0.2.1/c");
  bed_.Take(a.stream_id(), 3);
  bed_.Stop();
  Sql("UPDATE streams SET url = 'rtsp://u:hunter2@192.0.2.1/a b' "
      "WHERE url LIKE '%hunter2%'");
  bed_.Start();
  EXPECT_EQ(bed_.worker->running(), 1u);
  EXPECT_EQ(bed_.worker->Assigned(c.stream_id()).url(), "rtsp://192.0.2.1/c");
  const v1::Stream now = bed_.Get("a");
  EXPECT_TRUE(now.desired_running());
  EXPECT_EQ(now.state(), v1::STREAM_STATE_NOT_FOUND);
  EXPECT_THAT(now.state_reason(),
              AllOf(HasSubstr("stored URL"), HasSubstr("must hold no spaces"),
                    Not(HasSubstr("hunter2"))));
  // Its spool is sent, and another URL or a stop ends its trouble.
  EXPECT_TRUE(bed_.AwaitRecorded("a", 3));
  v1::UpdateStreamRequest update;
  update.set_stream("a");
  update.set_rtsp_url("rtsp://192.0.2.1/a2");
  ASSERT_THAT(bed_.supervisor->UpdateStream(update), IsOk());
  EXPECT_EQ(bed_.worker->Assigned(a.stream_id()).url(), "rtsp://192.0.2.1/a2");
  EXPECT_EQ(bed_.Get("a").state(), v1::STREAM_STATE_STARTING);
  bed_.StopCamera("b");
  EXPECT_EQ(bed_.Get("b").state(), v1::STREAM_STATE_STOPPED);
}

TEST_F(StreamSupervisorTest, AFailingStateIsShownWithItsReason) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.worker->State(stream.stream_id(), v1::STREAM_STATE_AUTH_FAILED,
                     "401 for rtsp://user:hunter2@192.0.2.1/demo");
  bed_.worker->Miss(stream.stream_id(), "not_connected", 5);
  const v1::Stream now = bed_.Get("demo");
  EXPECT_EQ(now.state(), v1::STREAM_STATE_AUTH_FAILED);
  EXPECT_THAT(now.state_reason(), HasSubstr("401"));
  EXPECT_THAT(now.state_reason(), Not(HasSubstr("hunter2")));
  EXPECT_EQ(now.accounting().missed().at("not_connected"), 5);
}

TEST_F(StreamSupervisorTest, AStreamThatEndsByItselfIsAssignedAgain) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.Take(stream.stream_id(), 2);
  bed_.worker->End(stream.stream_id());
  const v1::AssignStream assign = bed_.worker->Assigned(stream.stream_id());
  EXPECT_EQ(assign.next_frame_seq(), 3);
}

TEST_F(StreamSupervisorTest, AStreamLostByItsWorkerGoesOnInItsSession) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  const std::string& id = stream.stream_id();
  constexpr double kInterval = 3;
  const double counted_until =
      bed_.worker->Assigned(id).counted_until_seconds();
  EXPECT_LE(counted_until,
            absl::ToDoubleSeconds(clock_.SteadyNow()) - kInterval);
  EXPECT_GT(counted_until,
            absl::ToDoubleSeconds(clock_.SteadyNow()) - 2 * kInterval);
  bed_.worker->State(id, v1::STREAM_STATE_RUNNING, "");
  bed_.Take(id, 4);
  bed_.worker->Miss(id, "late", 2);
  // A picture whose event never came.
  v1::FromWorker unsaid;
  bed_.worker->Write(id, 100, clock_.Now(), "jpeg", unsaid);
  bed_.worker->Lose(id, "its worker process ended: signal 11", 600);
  v1::Stream now = bed_.Get("demo");
  EXPECT_EQ(now.state(), v1::STREAM_STATE_RECONNECTING);
  EXPECT_THAT(now.state_reason(), HasSubstr("signal 11"));
  EXPECT_EQ(FromProto(now.quarantined_until()),
            clock_.Now() + absl::Seconds(600));
  EXPECT_EQ(now.connects(), 1);
  EXPECT_EQ(now.disconnects(), 1);
  const v1::AssignStream assign = bed_.worker->Assigned(id);
  EXPECT_EQ(assign.session_id(), stream.session_id());
  EXPECT_EQ(assign.next_frame_seq(), 5);
  // The next worker goes on with the due time after the last that was told of.
  EXPECT_DOUBLE_EQ(assign.counted_until_seconds(),
                   counted_until + (4 + 2) * kInterval);

  // It counts connects from zero.
  clock_.Advance(absl::Seconds(10));
  bed_.worker->State(id, v1::STREAM_STATE_RUNNING, "");
  now = bed_.Get("demo");
  EXPECT_EQ(now.connects(), 2);
  EXPECT_EQ(now.accounting().due(), 6);
  EXPECT_EQ(now.received_bytes(), 4000);
  // Open frames stay open: the batch is full at ten.
  bed_.Take(id, 6);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 10));
  EXPECT_EQ(bed_.inference->manifests().size(), 1);
  EXPECT_EQ(bed_.Get("demo").received_bytes(), 4000 + 11 * 1000);
  clock_.Advance(absl::Seconds(600));
  EXPECT_FALSE(bed_.Get("demo").has_quarantined_until());
}

TEST_F(StreamSupervisorTest, AStreamLostAsItStopsIsStopped) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.worker->SetAnswersRevoke(false);
  bed_.worker->before_send = [&](const v1::ToWorker& message) {
    if (message.has_revoke()) {
      bed_.worker->Lose(stream.stream_id(), "signal 11", 600);
    }
  };
  bed_.StopCamera("demo");
  bed_.worker->before_send = nullptr;
  EXPECT_EQ(bed_.Get("demo").state(), v1::STREAM_STATE_STOPPED);
}

class ConnectLimitTest : public StreamSupervisorTest {
 protected:
  void SetUp() override {}

  bool AwaitState(const std::string& name, v1::StreamState state,
                  const std::string& reason) {
    return Eventually([&] {
      const v1::Stream stream = bed_.Get(name);
      return stream.state() == state && stream.state_reason() == reason;
    });
  }
};

TEST_F(ConnectLimitTest, WhoWaitsForItsTurnSaysSoUntilItIsGranted) {
  bed_.options.connects = {.per_second = 1, .per_second_per_host = 1};
  bed_.Start();
  const std::string a = bed_.StartCamera("rtsp://192.0.2.1/a").stream_id();
  const std::string b = bed_.StartCamera("rtsp://192.0.2.2/b").stream_id();
  const std::string c = bed_.StartCamera("rtsp://192.0.2.3/c").stream_id();
  bed_.worker->State(b, v1::STREAM_STATE_RECONNECTING, "refused");
  bed_.worker->State(c, v1::STREAM_STATE_STARTING, "connecting");
  bed_.worker->Want(a, 1, "192.0.2.1");
  ASSERT_TRUE(Eventually([&] { return bed_.worker->granted(a) == 1; }));
  bed_.worker->Want(b, 4, "192.0.2.2");
  bed_.worker->Want(c, 1, "192.0.2.3");
  EXPECT_TRUE(AwaitState("b", v1::STREAM_STATE_RECONNECTING,
                         "waits for its turn to connect; before: refused"));
  EXPECT_TRUE(AwaitState("c", v1::STREAM_STATE_STARTING,
                         "waits for its turn to connect"));
  clock_.Advance(absl::Seconds(2));
  bed_.StopCamera("c");
  ASSERT_TRUE(Eventually([&] { return bed_.worker->granted(b) == 4; }));
  EXPECT_TRUE(AwaitState("b", v1::STREAM_STATE_RECONNECTING, "refused"));
  EXPECT_EQ(bed_.worker->granted(c), 0);
}

TEST_F(ConnectLimitTest, PastTheSessionsOfAHostAStreamIsRefusedUntilOneEnds) {
  bed_.options.connects = {
      .per_second = 1000, .per_second_per_host = 1000, .sessions_per_host = 1};
  bed_.Start();
  const std::string a = bed_.StartCamera("rtsp://192.0.2.1/a").stream_id();
  const std::string b = bed_.StartCamera("rtsp://192.0.2.1/b").stream_id();
  bed_.worker->State(b, v1::STREAM_STATE_STARTING, "connecting");
  bed_.worker->Want(a, 1, "192.0.2.1");
  ASSERT_TRUE(Eventually([&] { return bed_.worker->granted(a) == 1; }));
  clock_.Advance(absl::Seconds(1));
  bed_.worker->Want(b, 1, "192.0.2.1");
  EXPECT_TRUE(AwaitState(
      "b", v1::STREAM_STATE_REFUSED,
      "1 of 1 sessions to 192.0.2.1 are in use (sessions_per_host)"));
  bed_.worker->Close(a, 1);
  ASSERT_TRUE(Eventually([&] { return bed_.worker->granted(b) == 1; }));
  EXPECT_TRUE(Eventually(
      [&] { return bed_.Get("b").state() != v1::STREAM_STATE_REFUSED; }));
  // And the end of a stream, however it comes, gives its session back.
  bed_.worker->Want(a, 2, "192.0.2.1");
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(Eventually(
      [&] { return bed_.Get("a").state() == v1::STREAM_STATE_REFUSED; }));
  bed_.StopCamera("b");
  ASSERT_TRUE(Eventually([&] { return bed_.worker->granted(a) == 2; }));
}

TEST_F(ConnectLimitTest, UpdateChangesTransportAndVerification) {
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera("rtsp://192.0.2.1/a");
  EXPECT_TRUE(stream.tls_verify());
  v1::UpdateStreamRequest update;
  update.set_stream("a");
  update.set_transport(v1::TRANSPORT_UDP);
  update.set_tls_verify(false);
  ASSERT_THAT(bed_.supervisor->UpdateStream(update), IsOk());
  const v1::AssignStream assign = bed_.worker->Assigned(stream.stream_id());
  EXPECT_EQ(assign.transport(), v1::TRANSPORT_UDP);
  EXPECT_FALSE(assign.tls_verify());
  // Nothing is sent beside TLS.
  v1::UpdateStreamRequest tls;
  tls.set_stream("a");
  tls.set_rtsp_url("rtsps://192.0.2.1/a");
  EXPECT_THAT(bed_.supervisor->UpdateStream(tls),
              StatusIs(absl::StatusCode::kInvalidArgument));
  bed_.Restart();
  EXPECT_EQ(bed_.Get("a").transport(), v1::TRANSPORT_UDP);
  EXPECT_FALSE(bed_.Get("a").tls_verify());
}

class SpoolQuotaTest : public StreamSupervisorTest {
 protected:
  // No batch can be sent: the refusal names no reason to wait less.
  void SetUp() override {
    bed_.before_start = [this] {
      bed_.inference->SetRefusal([](const v1::BatchManifest&) {
        return absl::ResourceExhaustedError("admission is full");
      });
    };
  }
};

TEST_F(SpoolQuotaTest, TheOldestSealedBatchesGoPastTheQuota) {
  bed_.options.spool.stream_max_bytes = 4 * 25;
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 40);
  const v1::Stream now = bed_.Get("demo");
  EXPECT_LE(now.spool_bytes(), 100);
  EXPECT_GE(now.accounting().dropped().at("quota"), 10);
  EXPECT_EQ(now.accounting().dropped().at("quota") % 5, 0);
  bed_.inference->SetRefusal(nullptr);
  bed_.StopCamera("demo");
  ASSERT_TRUE(Eventually([&] {
    clock_.Advance(absl::Milliseconds(1));
    return bed_.Get("demo").accounting().spooled() == 0;
  }));
  // The newest was not among the dropped.
  EXPECT_EQ(bed_.inference->manifests().front().batch_seq(), 8);
}

TEST_F(SpoolQuotaTest, AClockAnHourBackMakesTheNewestNotTheOldest) {
  bed_.options.spool.total_max_bytes = 4 * 15;
  bed_.options.sender.queue.backoff = {absl::Seconds(1), absl::Seconds(1)};
  bed_.Start();
  const v1::Stream a = bed_.StartCamera("rtsp://192.0.2.1/a", true, 5);
  const v1::Stream b = bed_.StartCamera("rtsp://192.0.2.1/b", true, 5);
  bed_.Take(a.stream_id(), 10);
  clock_.StepWallClock(-absl::Hours(1));
  bed_.Take(b.stream_id(), 10);
  ASSERT_TRUE(Eventually(
      [&] { return bed_.Get("a").accounting().dropped_size() > 0; }));
  EXPECT_EQ(bed_.Get("a").accounting().dropped().at("quota"), 5);
  EXPECT_EQ(bed_.Get("b").accounting().dropped_size(), 0);
}

TEST_F(SpoolQuotaTest, WithNothingToDropTheStreamPauses) {
  bed_.options.spool.stream_max_bytes = 4 * 5;
  bed_.before_start = nullptr;
  bed_.Start();
  bed_.inference->LoseAnswers(1 << 20);
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  // Its fate is unknown once it has been sent.
  bed_.Take(stream.stream_id(), 5);
  ASSERT_TRUE(Eventually([&] {
    const auto rows = bed_.store->OldestDroppable("", 10);
    return rows.ok() && rows->empty();
  }));
  bed_.Take(stream.stream_id(), 1);
  ASSERT_TRUE(
      Eventually([&] { return bed_.worker->paused(stream.stream_id()); }));
  bed_.worker->Miss(stream.stream_id(), "spool_full", 2);
  EXPECT_EQ(bed_.Get("demo").accounting().missed().at("spool_full"), 2);
  EXPECT_EQ(bed_.Get("demo").accounting().dropped_size(), 0);
  bed_.inference->LoseAnswers(0);
  for (int i = 0; i < 6; ++i) clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 6));
  ASSERT_TRUE(
      Eventually([&] { return !bed_.worker->paused(stream.stream_id()); }));
}

TEST_F(SpoolQuotaTest, AStreamWithoutModelsNeverPausesForTheSpoolOfOthers) {
  bed_.options.spool.total_max_bytes = 4 * 5;
  bed_.before_start = nullptr;
  bed_.Start();
  bed_.inference->LoseAnswers(1 << 20);
  const v1::Stream full = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(full.stream_id(), 5);
  ASSERT_TRUE(Eventually([&] {
    const auto rows = bed_.store->OldestDroppable("", 10);
    return rows.ok() && rows->empty();
  }));
  bed_.Take(full.stream_id(), 1);
  ASSERT_TRUE(bed_.worker->paused(full.stream_id()));
  const v1::Stream ranked =
      bed_.StartCamera("rtsp://192.0.2.1/ranked", /*with_model=*/false);
  bool told_to_pause = false;
  bed_.worker->before_send = [&](const v1::ToWorker& message) {
    // The other one is told again as it is widened.
    told_to_pause |= message.pause().paused() &&
                     message.pause().stream_id() == ranked.stream_id();
  };
  bed_.Take(ranked.stream_id(), 3);
  bed_.worker->before_send = nullptr;
  EXPECT_FALSE(told_to_pause);
  EXPECT_EQ(bed_.Get("ranked").accounting().ranked_only(), 3);
  // Without its models the first one needs no room either.
  v1::UpdateStreamRequest update;
  update.set_stream("demo");
  update.mutable_models();
  ASSERT_THAT(bed_.supervisor->UpdateStream(update), IsOk());
  EXPECT_TRUE(
      Eventually([&] { return !bed_.worker->paused(full.stream_id()); }));
}

TEST_F(SpoolQuotaTest, GoOnIsNeverOvertakenByThePauseBeforeIt) {
  bed_.options.spool.stream_max_bytes = 4 * 5;
  bed_.before_start = nullptr;
  bed_.Start();
  bed_.inference->SetOpen(false);
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 5);
  // In flight, so it cannot be dropped.
  ASSERT_TRUE(Eventually([&] { return bed_.inference->inferring() == 1; }));
  absl::Notification went_on;
  bed_.worker->before_send = [&](const v1::ToWorker& message) {
    if (!message.has_pause()) return;
    if (!message.pause().paused()) {
      if (!went_on.HasBeenNotified()) went_on.Notify();
      return;
    }
    // The decode thread stands here while there is room again.
    bed_.inference->SetOpen(true);
    EXPECT_TRUE(Eventually([&] { return bed_.inference->recorded() == 2; }));
    went_on.WaitForNotificationWithTimeout(absl::Milliseconds(200));
  };
  bed_.Take(stream.stream_id(), 1);
  EXPECT_TRUE(went_on.WaitForNotificationWithTimeout(absl::Seconds(5)));
  EXPECT_TRUE(
      Eventually([&] { return !bed_.worker->paused(stream.stream_id()); }));
  bed_.Stop();
}

TEST_F(SpoolQuotaTest, OldBatchesAreDroppedByAge) {
  bed_.options.spool_max_age = absl::Hours(1);
  bed_.options.sender.queue.backoff = {absl::Hours(10), absl::Hours(10)};
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 5);
  ASSERT_TRUE(
      Eventually([&] { return !bed_.Get("demo").sending_reason().empty(); }));
  clock_.Advance(absl::Hours(2));
  ASSERT_TRUE(Eventually(
      [&] { return bed_.Get("demo").accounting().dropped_size() > 0; }));
  EXPECT_EQ(bed_.Get("demo").accounting().dropped().at("max_age"), 5);
  EXPECT_EQ(bed_.Files("frames"), 0);
}

TEST_F(SpoolQuotaTest, SettingTheHostsClockDropsNothing) {
  bed_.options.spool_max_age = absl::Hours(1);
  bed_.options.history_streams = 0;
  bed_.options.sender.queue.backoff = {absl::Hours(10), absl::Hours(10)};
  bed_.Start();
  // A stream that is stopped is history, and forgotten, by a later pass.
  const auto await_housekeeper = [&] {
    for (int i = 0; i < 2; ++i) {
      bed_.StartCamera("rtsp://192.0.2.1/other", /*with_model=*/false);
      bed_.StopCamera("other");
      ASSERT_TRUE(Eventually([&] {
        return bed_.supervisor->ListStreams({})->streams_size() == 1;
      }));
    }
  };
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 5);
  ASSERT_TRUE(
      Eventually([&] { return !bed_.Get("demo").sending_reason().empty(); }));
  clock_.StepWallClock(absl::Hours(48));
  await_housekeeper();
  EXPECT_EQ(bed_.Get("demo").accounting().spooled(), 5);
  // Set back, it keeps nothing either.
  clock_.StepWallClock(-absl::Hours(96));
  clock_.Advance(absl::Minutes(30));
  bed_.Take(stream.stream_id(), 5);
  clock_.Advance(absl::Minutes(40));
  ASSERT_TRUE(Eventually(
      [&] { return bed_.Get("demo").accounting().dropped_size() > 0; }));
  await_housekeeper();
  EXPECT_EQ(bed_.Get("demo").accounting().dropped().at("max_age"), 5);
}

TEST_F(SpoolQuotaTest, BatchesOfAnEarlierRunAreAsOldAsTheWallClockSaid) {
  bed_.options.spool_max_age = absl::Hours(1);
  bed_.options.sender.queue.backoff = {absl::Hours(10), absl::Hours(10)};
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 5);
  bed_.Stop();
  clock_.Advance(absl::Hours(2));
  bed_.Start();
  EXPECT_TRUE(Eventually(
      [&] { return bed_.Get("demo").accounting().dropped_size() > 0; }));
}

TEST_F(SpoolQuotaTest, ABatchThatMayBeRecordedIsNotDroppedByAge) {
  bed_.options.spool_max_age = absl::Hours(1);
  bed_.options.sender.queue.backoff = {absl::Hours(10), absl::Hours(10)};
  bed_.before_start = nullptr;
  bed_.Start();
  bed_.inference->LoseAnswers(1);
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 5);
  ASSERT_TRUE(
      Eventually([&] { return !bed_.Get("demo").sending_reason().empty(); }));
  bed_.inference->SetRefusal([](const v1::BatchManifest&) {
    return absl::ResourceExhaustedError("admission is full");
  });
  // Refused, so its fate is known.
  bed_.Take(stream.stream_id(), 5);
  clock_.Advance(absl::Hours(2));
  ASSERT_TRUE(Eventually(
      [&] { return bed_.Get("demo").accounting().dropped_size() > 0; }));
  EXPECT_EQ(bed_.Get("demo").accounting().dropped().at("max_age"), 5);
  EXPECT_EQ(bed_.Get("demo").accounting().spooled(), 5);
  // The one that is left is the one that was sent whole.
  EXPECT_EQ(bed_.store->ListBatches()->front().key.batch_seq, 1);
  bed_.inference->SetRefusal(nullptr);
  clock_.Advance(absl::Hours(10));
  // Wakes the sender, which sleeps by the real clock.
  bed_.Take(stream.stream_id(), 5);
  EXPECT_TRUE(bed_.AwaitRecorded("demo", 10));
}

TEST_F(SpoolQuotaTest, TheIntervalIsWidenedBeforeFramesAreDroppedAndComesBack) {
  bed_.options.spool.stream_max_bytes = 4 * 40;
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  const std::string& id = stream.stream_id();
  const double interval = stream.interval_seconds();
  bed_.worker->State(id, v1::STREAM_STATE_RUNNING, "");
  const auto assigned = [&](int widened) {
    return Eventually([&] {
      const v1::AssignStream assign = bed_.worker->Assigned(id);
      const v1::Stream now = bed_.Get("demo");
      return assign.interval_seconds() == widened * interval &&
             assign.phase_seconds() < assign.interval_seconds() &&
             now.effective_interval_seconds() == widened * interval;
    });
  };
  EXPECT_TRUE(assigned(1));
  EXPECT_EQ(bed_.Get("demo").state_reason(), "");
  bed_.Take(id, 25);
  EXPECT_TRUE(assigned(2));
  v1::Stream now = bed_.Get("demo");
  EXPECT_EQ(now.interval_seconds(), interval);
  EXPECT_THAT(now.state_reason(), HasSubstr("while the spool is filled"));
  EXPECT_EQ(bed_.supervisor->Snapshot()->widened_streams, 1);
  bed_.Take(id, 11);
  EXPECT_TRUE(assigned(8));
  EXPECT_EQ(bed_.Get("demo").accounting().dropped_size(), 0);
  bed_.inference->SetRefusal(nullptr);
  ASSERT_TRUE(Eventually([&] {
    clock_.Advance(absl::Milliseconds(1));
    return bed_.Get("demo").accounting().recorded() == 35;
  }));
  EXPECT_TRUE(assigned(1));
  EXPECT_EQ(bed_.Get("demo").state_reason(), "");
  EXPECT_EQ(bed_.supervisor->Snapshot()->widened_streams, 0);
}

TEST_F(SpoolQuotaTest, WhatFallsDueWhileNoWorkerHasItIsThatOfTheWidenedGrid) {
  bed_.options.spool.stream_max_bytes = 4 * 40;
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  bed_.Take(stream.stream_id(), 25);
  ASSERT_TRUE(Eventually([&] {
    return bed_.worker->Assigned(stream.stream_id()).interval_seconds() ==
           2 * stream.interval_seconds();
  }));
  // It was widened at some moment between the samples.
  const auto lose = [&] {
    bed_.worker->Lose(stream.stream_id(), "it crashed", 0);
    return bed_.worker->Assigned(stream.stream_id()).counted_until_seconds();
  };
  const double before = lose();
  bed_.Take(stream.stream_id(), 1);
  EXPECT_NEAR(lose(), before + 2 * stream.interval_seconds(), 1e-6);
}

TEST_F(SpoolQuotaTest, AStreamWithoutModelsIsNotWidened) {
  bed_.options.spool.total_max_bytes = 4 * 40;
  bed_.Start();
  const v1::Stream full = bed_.StartCamera(kUrl, true, 5);
  bed_.StartCamera("rtsp://192.0.2.1/ranked", /*with_model=*/false);
  bed_.Take(full.stream_id(), 25);
  ASSERT_TRUE(Eventually([&] {
    const v1::Stream now = bed_.Get("demo");
    return now.effective_interval_seconds() == 2 * now.interval_seconds();
  }));
  const v1::Stream ranked = bed_.Get("ranked");
  EXPECT_EQ(ranked.effective_interval_seconds(), ranked.interval_seconds());
}

TEST_F(SpoolQuotaTest, OnAFullDiskNoPictureIsTakenUntilThereIsRoom) {
  std::atomic<int64_t> free = int64_t{1} << 40;
  bed_.options.spool.free_bytes = [&](const std::string&) {
    return free.load();
  };
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera(kUrl);
  const v1::Stream ranked =
      bed_.StartCamera("rtsp://192.0.2.1/ranked", /*with_model=*/false);
  const auto told = [&](const std::string& reason) {
    return Eventually([&] {
      return bed_.worker->paused_for(stream.stream_id()) == reason &&
             bed_.worker->paused_for(ranked.stream_id()) == reason;
    });
  };
  bed_.worker->State(stream.stream_id(), v1::STREAM_STATE_RUNNING, "");
  free = bed_.options.spool.full_disk_bytes - 1;
  EXPECT_TRUE(told("disk_full"));
  bed_.worker->Miss(stream.stream_id(), "disk_full", 3);
  const v1::Stream now = bed_.Get("demo");
  EXPECT_EQ(now.accounting().missed().at("disk_full"), 3);
  EXPECT_THAT(now.state_reason(), HasSubstr("the disk is full"));
  // The next worker is told as well.
  bed_.worker->Lose(stream.stream_id(), "it crashed", 0);
  EXPECT_TRUE(told("disk_full"));
  free = int64_t{1} << 40;
  EXPECT_TRUE(told(""));
  EXPECT_EQ(bed_.Get("demo").accounting().missed().at("disk_full"), 3);
  bed_.Stop();
}

TEST_F(StreamSupervisorTest, HistoryIsBounded) {
  bed_.Stop();
  bed_.options.history_streams = 2;
  bed_.Start();
  for (int i = 0; i < 4; ++i) {
    clock_.Advance(absl::Seconds(1));
    const v1::Stream stream = bed_.StartCamera(kUrl, false);
    bed_.Take(stream.stream_id(), 1);
    bed_.StopCamera("demo");
  }
  ASSERT_TRUE(Eventually(
      [&] { return bed_.supervisor->ListStreams({})->streams_size() == 2; }));
  const auto snapshot = bed_.supervisor->Snapshot();
  EXPECT_EQ(snapshot->total.captured(), 4);
  testing::ExpectIdentities(snapshot->total);
}

TEST_F(StreamSupervisorTest, MoreStreamsThanAllowedAreRefused) {
  bed_.Stop();
  bed_.options.admission.max_streams = 1;
  bed_.Start();
  ASSERT_THAT(Start("rtsp://192.0.2.1/a", ""), IsOk());
  EXPECT_THAT(Start("rtsp://192.0.2.1/b", ""),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("max_streams is 1")));
}

TEST_F(StreamSupervisorTest, AStartThatTheBoxCannotCarryIsRefused) {
  bed_.Stop();
  bed_.options.admission.enabled = true;
  bed_.options.admission.cores = 2;
  bed_.Start();
  const v1::Stream stream = bed_.StartCamera(kUrl);
  ASSERT_THAT(Start("rtsp://192.0.2.1/second", ""), IsOk());
  bed_.worker->State(stream.stream_id(), v1::STREAM_STATE_RUNNING, "");
  // A minute of a core and a half, seen every now and then.
  absl::Duration ran;
  ASSERT_TRUE(Eventually([&] {
    ran += absl::Seconds(1);
    clock_.Advance(absl::Seconds(1));
    bed_.worker->Use(1.5);
    return ran > absl::Minutes(1) &&
           bed_.supervisor->Snapshot()->admission.cpu_cores > 1.2;
  }));
  EXPECT_THAT(Start("rtsp://192.0.2.1/third", ""),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("a stream at 3 s would need 1."),
                             HasSubstr("are in use by 2 streams"))));
  const auto snapshot = bed_.supervisor->Snapshot();
  EXPECT_EQ(snapshot->admission.refused.at("cpu"), 1);
  EXPECT_EQ(snapshot->streams.at(v1::STREAM_STATE_STARTING), 1);
  // What runs may be asked for, changed and resumed.
  EXPECT_TRUE(Start("rtsp://192.0.2.1/second", "")->already_running());
  v1::UpdateStreamRequest update;
  update.set_stream("demo");
  update.set_interval_seconds(0.1);
  EXPECT_THAT(bed_.supervisor->UpdateStream(update), IsOk());
  bed_.Restart();
  EXPECT_EQ(bed_.worker->running(), 2u);
}

class LeaseTest : public StreamSupervisorTest {
 protected:
  v1::StartStreamRequest Request(double ttl_seconds, int64_t max_frames) {
    v1::StartStreamRequest request;
    request.set_rtsp_url(kUrl);
    request.add_models("animals");
    request.set_ttl_seconds(ttl_seconds);
    request.set_max_frames(max_frames);
    return request;
  }
  v1::Stream StartLeased(double ttl_seconds, int64_t max_frames) {
    const auto started =
        bed_.supervisor->StartStream(Request(ttl_seconds, max_frames));
    EXPECT_THAT(started, IsOk());
    return started.ok() ? started->stream() : v1::Stream();
  }
  absl::StatusOr<v1::Stream> Update(std::optional<double> ttl_seconds,
                                    std::optional<int64_t> max_frames) {
    v1::UpdateStreamRequest update;
    update.set_stream("demo");
    if (ttl_seconds) update.set_ttl_seconds(*ttl_seconds);
    if (max_frames) update.set_max_frames(*max_frames);
    return bed_.supervisor->UpdateStream(update);
  }
  bool AwaitStopped() {
    return Eventually(
        [&] { return bed_.Get("demo").state() == v1::STREAM_STATE_STOPPED; });
  }
  // The lease keeper and the housekeeper have looked since: each ends what was
  // started after that.
  void AwaitKeeper() {
    v1::StartStreamRequest request;
    request.set_rtsp_url("rtsp://192.0.2.1/other");
    request.set_ttl_seconds(1);
    const auto other = bed_.supervisor->StartStream(request);
    ASSERT_THAT(other, IsOk());
    clock_.Advance(absl::Seconds(1));
    ASSERT_TRUE(Eventually([&] {
      return bed_.Get(other->stream().stream_id()).state() ==
             v1::STREAM_STATE_STOPPED;
    }));
  }
};

TEST_F(LeaseTest, TheStreamStopsWhenItsTimeIsOverWithTheGridMade) {
  const v1::Stream stream = StartLeased(60, 0);
  EXPECT_EQ(FromProto(stream.expires_at()), clock_.Now() + absl::Seconds(60));
  bed_.Take(stream.stream_id(), 13);
  clock_.Advance(absl::Seconds(58));
  AwaitKeeper();
  EXPECT_TRUE(bed_.Get("demo").desired_running());
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(AwaitStopped());
  const v1::Stream stopped = bed_.Get("demo");
  EXPECT_EQ(stopped.state_reason(), "its lease of 60 s ended");
  EXPECT_EQ(stopped.accounting().recorded(), 13);
  ASSERT_TRUE(Eventually([&] { return bed_.aggregator.rendered() == 1; }));
  // Who stops it later is answered that grid.
  const auto answer = bed_.StopCamera("demo");
  EXPECT_EQ(answer.grid_jpeg(), "grid");
  EXPECT_EQ(answer.grid().file_name(), "demo_1.jpg");
  EXPECT_EQ(answer.stream().state_reason(), "its lease of 60 s ended");
  bed_.Restart();
  EXPECT_EQ(bed_.StopCamera("demo").grid().file_name(), "demo_1.jpg");
  EXPECT_EQ(bed_.Get("demo").state_reason(), "its lease of 60 s ended");
  EXPECT_EQ(bed_.aggregator.rendered(), 1);
}

TEST_F(LeaseTest, ExactlySoManyFramesAreCapturedWhateverIsOnItsWay) {
  const v1::Stream stream = StartLeased(0, 12);
  EXPECT_FALSE(stream.has_expires_at());
  // It goes on as a worker does that has not heard yet.
  bed_.worker->SetAnswersRevoke(false);
  bed_.Take(stream.stream_id(), 15);
  bed_.worker->Miss(stream.stream_id(), "late", 2);
  ASSERT_TRUE(Eventually([&] { return !bed_.Get("demo").desired_running(); }));
  bed_.worker->End(stream.stream_id());
  ASSERT_TRUE(AwaitStopped());
  const v1::Stream stopped = bed_.Get("demo");
  EXPECT_EQ(stopped.state_reason(), "it captured its 12 frames");
  EXPECT_EQ(stopped.accounting().due(), 12);
  EXPECT_EQ(stopped.accounting().recorded(), 12);
  EXPECT_EQ(bed_.Files("frames"), 0);
  ASSERT_TRUE(Eventually([&] { return bed_.aggregator.rendered() == 1; }));
  EXPECT_EQ(bed_.StopCamera("demo").grid().file_name(), "demo_1.jpg");
}

TEST_F(LeaseTest, FramesAreCountedOverARestart) {
  const v1::Stream stream = StartLeased(0, 12);
  bed_.Take(stream.stream_id(), 7);
  bed_.Kill();
  bed_.Take(stream.stream_id(), 4);
  EXPECT_TRUE(bed_.Get("demo").desired_running());
  bed_.Take(stream.stream_id(), 1);
  ASSERT_TRUE(AwaitStopped());
  EXPECT_EQ(bed_.Get("demo").accounting().captured(), 12);
}

TEST_F(LeaseTest, OneThatEndedWhileTheServiceWasDownIsCarriedOutAtItsStart) {
  const v1::Stream stream = StartLeased(60, 0);
  bed_.Take(stream.stream_id(), 11);
  bed_.Stop();
  clock_.Advance(absl::Seconds(100));
  bed_.Start();
  EXPECT_EQ(bed_.worker->running(), 0u);
  ASSERT_TRUE(AwaitStopped());
  const v1::Stream stopped = bed_.Get("demo");
  EXPECT_EQ(stopped.state_reason(), "its lease of 60 s ended");
  // At 3 s each; what fell due after the lease is not the session's.
  EXPECT_EQ(stopped.accounting().missed().at("service_down"), 20);
  ASSERT_TRUE(Eventually([&] { return bed_.aggregator.rendered() == 1; }));
  EXPECT_EQ(bed_.StopCamera("demo").grid_jpeg(), "grid");
}

TEST_F(LeaseTest, AGridTheAggregatorCouldNotMakeIsMadeWhenItIsBack) {
  bed_.Stop();
  bed_.options.grid_retry_initial = absl::Seconds(10);
  bed_.options.history_streams = 0;
  bed_.Start();
  bed_.aggregator.SetStatus(absl::UnavailableError("away"));
  const v1::Stream stream = StartLeased(0, 9);
  bed_.Take(stream.stream_id(), 9);
  ASSERT_TRUE(AwaitStopped());
  // Its pause goes by the clock, which stands, and a restart forgets it. Until
  // the grid is made it is not forgotten.
  bed_.Kill();
  ASSERT_TRUE(AwaitStopped());
  bed_.aggregator.SetStatus(absl::OkStatus());
  ASSERT_TRUE(Eventually([&] {
    clock_.Advance(absl::Seconds(1));
    return bed_.aggregator.rendered() == 1;
  }));
  ASSERT_TRUE(Eventually(
      [&] { return bed_.supervisor->ListStreams({})->streams().empty(); }));
}

TEST_F(LeaseTest, AnUpdateRenewsOrRemovesIt) {
  StartLeased(60, 0);
  clock_.Advance(absl::Seconds(50));
  auto updated = Update(30, std::nullopt);
  ASSERT_THAT(updated, IsOk());
  EXPECT_EQ(updated->ttl_seconds(), 30);
  EXPECT_EQ(FromProto(updated->expires_at()), clock_.Now() + absl::Seconds(30));
  // Something else does not touch it.
  v1::UpdateStreamRequest other;
  other.set_stream("demo");
  other.set_interval_seconds(1);
  clock_.Advance(absl::Seconds(20));
  ASSERT_THAT(bed_.supervisor->UpdateStream(other), IsOk());
  AwaitKeeper();
  EXPECT_TRUE(bed_.Get("demo").desired_running());
  bed_.Restart();
  EXPECT_TRUE(bed_.Get("demo").desired_running());
  updated = Update(0, std::nullopt);
  ASSERT_THAT(updated, IsOk());
  EXPECT_EQ(updated->ttl_seconds(), 0);
  EXPECT_FALSE(updated->has_expires_at());
  clock_.Advance(absl::Hours(1));
  AwaitKeeper();
  EXPECT_TRUE(bed_.Get("demo").desired_running());
  EXPECT_THAT(
      Update(-1, std::nullopt),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ttl_seconds")));
}

TEST_F(LeaseTest, ALimitThatIsReachedAlreadyStopsAtOnce) {
  const v1::Stream stream = StartLeased(0, 100);
  bed_.Take(stream.stream_id(), 11);
  EXPECT_EQ(Update(std::nullopt, 12)->state(), v1::STREAM_STATE_STARTING);
  EXPECT_EQ(Update(std::nullopt, 0)->max_frames(), 0);
  const auto updated = Update(std::nullopt, 11);
  ASSERT_THAT(updated, IsOk());
  EXPECT_FALSE(updated->desired_running());
  ASSERT_TRUE(AwaitStopped());
  EXPECT_EQ(bed_.Get("demo").state_reason(), "it captured its 11 frames");
  ASSERT_TRUE(Eventually([&] { return bed_.aggregator.rendered() == 1; }));
  EXPECT_THAT(Update(60, std::nullopt),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(LeaseTest, TheSameStartAgainRenewsNothing) {
  StartLeased(60, 0);
  clock_.Advance(absl::Seconds(40));
  const auto again = bed_.supervisor->StartStream(Request(60, 0));
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->already_running());
  EXPECT_EQ(FromProto(again->stream().expires_at()),
            clock_.Now() + absl::Seconds(20));
  EXPECT_THAT(bed_.supervisor->StartStream(Request(90, 5)),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("ttl_seconds is 60, asked for 90"),
                             HasSubstr("max_frames is 0, asked for 5"))));
}

TEST_F(LeaseTest, AStartAfterItsEndIsANewStream) {
  bed_.Stop();
  // The keeper comes too late.
  bed_.options.housekeeping_interval = absl::Hours(1);
  bed_.Start();
  const v1::Stream first = StartLeased(60, 0);
  clock_.Advance(absl::Seconds(60));
  const auto second = bed_.supervisor->StartStream(Request(60, 0));
  ASSERT_THAT(second, IsOk());
  EXPECT_FALSE(second->already_running());
  EXPECT_NE(second->stream().stream_id(), first.stream_id());
  EXPECT_EQ(second->stream().process_name(), "demo");
}

TEST_F(LeaseTest, SettingTheHostsClockMovesItsEndNotItsLength) {
  StartLeased(60, 0);
  clock_.StepWallClock(absl::Hours(48));
  ASSERT_TRUE(Eventually([&] {
    return FromProto(bed_.Get("demo").expires_at()) ==
           clock_.Now() + absl::Seconds(60);
  }));
  EXPECT_TRUE(bed_.Get("demo").desired_running());
  bed_.Restart();
  EXPECT_TRUE(bed_.Get("demo").desired_running());
  clock_.StepWallClock(-absl::Hours(96));
  clock_.Advance(absl::Seconds(60));
  EXPECT_TRUE(AwaitStopped());
}

TEST_F(LeaseTest, OneThatCannotBeStoredAsOverIsCarriedOutLater) {
  const v1::Stream stream = StartLeased(60, 0);
  bed_.Take(stream.stream_id(), 3);
  Refuse("UPDATE ON streams");
  clock_.Advance(absl::Seconds(60));
  // A start looks at all leases first.
  ASSERT_THAT(Start("rtsp://192.0.2.1/other", ""), IsOk());
  EXPECT_TRUE(bed_.Get("demo").desired_running());
  RefuseNoMore();
  EXPECT_TRUE(AwaitStopped());
}

class CameraDataTest : public StreamSupervisorTest {
 protected:
  static v1::Camera Camera(const std::string& id, int masks) {
    v1::Camera camera;
    camera.set_camera_id(id);
    for (int i = 0; i < masks; ++i) {
      camera.add_privacy_masks()->add_points()->set_x(0.1);
    }
    return camera;
  }
  v1::AssignStream Assigned(const std::string& name) {
    return bed_.worker->Assigned(bed_.Get(name).stream_id());
  }
};

TEST_F(CameraDataTest, MasksSetJustBeforeTheStartAreOnItsFirstPicture) {
  bed_.aggregator.PutCamera(Camera("demo", 2));
  bed_.StartCamera(kUrl);
  EXPECT_EQ(Assigned("demo").privacy_masks_size(), 2);
  EXPECT_FALSE(Assigned("demo").camera_unknown());
}

TEST_F(CameraDataTest, NewMasksAreToldToTheirStreamAndToNoOther) {
  const v1::Stream stream = bed_.StartCamera(kUrl, /*with_model=*/false);
  Start("rtsp://192.0.2.2/other", "other").IgnoreError();
  bed_.Take(stream.stream_id(), 3);
  EXPECT_EQ(bed_.Get("demo").brightest_count(), 3);
  std::atomic<int> others = 0;
  bed_.worker->before_send = [&](const v1::ToWorker& message) {
    if (!message.has_assign()) return;
    if (message.assign().stream_id() != stream.stream_id()) ++others;
  };
  bed_.aggregator.PutCamera(Camera("demo", 1));
  ASSERT_TRUE(
      Eventually([&] { return Assigned("demo").privacy_masks_size() == 1; }));
  EXPECT_EQ(others, 0);
  // The nine are of before.
  EXPECT_EQ(bed_.Get("demo").brightest_count(), 0);
  bed_.Take(stream.stream_id(), 1);
  EXPECT_EQ(bed_.Get("demo").brightest_count(), 1);
  EXPECT_EQ(bed_.Files("brightest"), 2);
  bed_.worker->before_send = nullptr;
}

TEST_F(CameraDataTest, APictureThatWasTakenBeforeTheMaskIsNotStoredAfterIt) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  v1::FromWorker late;
  bed_.worker->Write(stream.stream_id(), 100, clock_.Now(), "jpeg", late);
  bed_.aggregator.PutCamera(Camera("demo", 1));
  ASSERT_TRUE(
      Eventually([&] { return Assigned("demo").privacy_masks_size() == 1; }));
  bed_.supervisor->OnEvent(late);
  const v1::Accounting accounting = bed_.Get("demo").accounting();
  EXPECT_EQ(accounting.captured(), 0);
  EXPECT_EQ(accounting.missed().at("camera_unknown"), 1);
  EXPECT_EQ(bed_.Files("frames"), 0);
}

TEST_F(CameraDataTest, WithoutTheAggregatorOnlyACopyLetsPicturesBeTaken) {
  bed_.Stop();
  bed_.aggregator.SetCamerasStatus(absl::UnavailableError("away"));
  bed_.Start();
  bed_.aggregator.PutCamera(Camera("demo", 1));
  bed_.StartCamera(kUrl);
  // The first start of the service had an answer, so there is a copy.
  EXPECT_FALSE(Assigned("demo").camera_unknown());
  EXPECT_EQ(Assigned("demo").privacy_masks_size(), 0);
  bed_.Stop();
  Sql("DELETE FROM cameras");
  bed_.Start();
  EXPECT_TRUE(Assigned("demo").camera_unknown());
  bed_.aggregator.SetCamerasStatus(absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return !Assigned("demo").camera_unknown(); }));
  EXPECT_EQ(Assigned("demo").privacy_masks_size(), 1);
  bed_.aggregator.SetCamerasStatus(absl::UnavailableError("away"));
  bed_.Restart();
  EXPECT_FALSE(Assigned("demo").camera_unknown());
  EXPECT_EQ(Assigned("demo").privacy_masks_size(), 1);
}

TEST_F(CameraDataTest, ABatchGoesWithTheFilterTheCameraHasNow) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  bed_.inference->SetRefusal(
      [](const v1::BatchManifest&) { return absl::UnavailableError("later"); });
  bed_.Take(stream.stream_id(), 10);
  ASSERT_TRUE(Eventually([&] { return !bed_.inference->attempts().empty(); }));
  v1::Camera camera = Camera("demo", 0);
  camera.add_zones()->set_name("road");
  camera.add_classes("dog");
  bed_.aggregator.PutCamera(camera);
  // Retries go by the clock.
  ASSERT_TRUE(Eventually([&] {
    clock_.Advance(absl::Milliseconds(10));
    return bed_.inference->filter().zones_size() == 1;
  }));
  bed_.inference->SetRefusal(nullptr);
  ASSERT_TRUE(Eventually([&] {
    clock_.Advance(absl::Milliseconds(10));
    return bed_.Get("demo").accounting().recorded() == 10;
  }));
  EXPECT_EQ(bed_.inference->filter().classes(0), "dog");
}

// A camera with a second, smaller stream for the models.
class SecondSourceTest : public StreamSupervisorTest {
 protected:
  static constexpr char kDetectUrl[] = "rtsp://192.0.2.1:8554/sub";

  void StartBoth(int batch_size = 10) {
    v1::StartStreamRequest request;
    request.set_rtsp_url(kUrl);
    request.set_detect_url(kDetectUrl);
    request.add_models("animals");
    request.set_batch_size(batch_size);
    const auto response = bed_.supervisor->StartStream(request);
    ASSERT_THAT(response, IsOk());
    main_ = response->stream().stream_id();
    detect_ = main_ + "/detect";
  }
  absl::StatusOr<v1::Stream> SetDetectUrl(const std::string& url) {
    v1::UpdateStreamRequest update;
    update.set_stream("demo");
    update.set_detect_url(url);
    return bed_.supervisor->UpdateStream(update);
  }

  std::string main_;
  std::string detect_;
  std::string told_;
};

TEST_F(SecondSourceTest, EachIsAssignedForItself) {
  StartBoth();
  const v1::AssignStream main = bed_.worker->Assigned(main_);
  const v1::AssignStream detect = bed_.worker->Assigned(detect_);
  EXPECT_EQ(main.url(), kUrl);
  EXPECT_EQ(detect.url(), "rtsp://user:hunter2@192.0.2.1:8554/sub");
  EXPECT_TRUE(main.ranked_only());
  EXPECT_FALSE(detect.ranked_only());
  EXPECT_NE(main.spool_dir(), detect.spool_dir());
  // The same moments.
  EXPECT_EQ(main.phase_seconds(), detect.phase_seconds());
  EXPECT_THAT(bed_.Get("demo").DebugString(), Not(HasSubstr("hunter2")));
  EXPECT_THAT(bed_.Get("demo").detect_url(), HasSubstr("192.0.2.1:8554/sub"));
}

TEST_F(SecondSourceTest, ModelsHaveItsPicturesAndTheGridThoseOfTheFirst) {
  StartBoth();
  bed_.Take(detect_, 10, 200);
  bed_.Take(main_, 12, 100);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 10));
  const v1::Stream stream = bed_.Get("demo");
  EXPECT_EQ(stream.accounting().due(), 22);
  EXPECT_EQ(stream.accounting().ranked_only(), 12);
  EXPECT_EQ(stream.last_frame_luma(), 111);
  EXPECT_EQ(stream.brightest_count(), 9);
  EXPECT_EQ(bed_.Files("frames"), 0);
  // Nine, the latest, and the one acknowledged.
  EXPECT_EQ(bed_.Files("brightest"), 11);
  v1::GetLatestFrameRequest latest;
  latest.set_stream("demo");
  EXPECT_EQ(bed_.supervisor->GetLatestFrame(latest)->frame().info().mean_luma(),
            111);
  latest.set_acknowledged(true);
  EXPECT_EQ(bed_.supervisor->GetLatestFrame(latest)->frame().info().mean_luma(),
            209);
  EXPECT_EQ(GridLumas(bed_.StopCamera("demo").grid()).front(), 111);
  EXPECT_EQ(bed_.worker->running(), 0);
  EXPECT_EQ(bed_.Get("demo").state(), v1::STREAM_STATE_STOPPED);
}

TEST_F(SecondSourceTest, TheStateIsThatOfTheOneInTrouble) {
  StartBoth();
  bed_.worker->State(main_, v1::STREAM_STATE_RUNNING, "");
  bed_.worker->State(detect_, v1::STREAM_STATE_RUNNING, "");
  EXPECT_EQ(bed_.Get("demo").state(), v1::STREAM_STATE_RUNNING);
  EXPECT_EQ(bed_.Get("demo").connects(), 1);
  clock_.Advance(absl::Seconds(5));
  bed_.worker->State(detect_, v1::STREAM_STATE_AUTH_FAILED,
                     "401 for rtsp://user:hunter2@192.0.2.1/sub");
  v1::Stream now = bed_.Get("demo");
  EXPECT_EQ(now.state(), v1::STREAM_STATE_AUTH_FAILED);
  EXPECT_THAT(now.state_reason(),
              AllOf(HasSubstr("detect_url: 401"), Not(HasSubstr("hunter2"))));
  EXPECT_EQ(FromProto(now.state_since()), clock_.Now());
  EXPECT_EQ(now.detect().state(), v1::STREAM_STATE_AUTH_FAILED);
  bed_.worker->State(main_, v1::STREAM_STATE_RECONNECTING, "reset");
  now = bed_.Get("demo");
  EXPECT_EQ(now.state(), v1::STREAM_STATE_RECONNECTING);
  EXPECT_EQ(now.state_reason(), "reset");
  EXPECT_EQ(now.detect().state(), v1::STREAM_STATE_AUTH_FAILED);
}

TEST_F(SecondSourceTest, BothGoOnAfterARestartAndAreDueMeanwhile) {
  StartBoth();
  bed_.worker->State(detect_, v1::STREAM_STATE_RUNNING, "");
  bed_.Take(main_, 3);
  bed_.Take(detect_, 2);
  const v1::AssignStream before = bed_.worker->Assigned(detect_);
  bed_.Kill();
  EXPECT_EQ(bed_.worker->Assigned(main_).next_frame_seq(), 4);
  EXPECT_GE(bed_.worker->Assigned(detect_).next_frame_seq(),
            before.next_frame_seq() + 2);
  EXPECT_EQ(bed_.worker->Assigned(detect_).url(), before.url());
  EXPECT_EQ(bed_.Get("demo").detect().connects(), 1);
  bed_.Stop();
  clock_.Advance(absl::Seconds(30));
  bed_.Start();
  EXPECT_EQ(bed_.Get("demo").accounting().missed().at("service_down"), 20);
  bed_.Take(main_, 9);
  bed_.Take(detect_, 10);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 12));
}

TEST_F(SecondSourceTest, TheOneThatItsWorkerLosesIsAssignedAgain) {
  StartBoth();
  bed_.worker->State(main_, v1::STREAM_STATE_RUNNING, "");
  bed_.worker->State(detect_, v1::STREAM_STATE_RUNNING, "");
  bed_.Take(main_, 12);
  bed_.Take(detect_, 4);
  v1::FromWorker unsaid;
  bed_.worker->Write(main_, 250, clock_.Now(), "jpeg", unsaid);
  const int brightest = bed_.Files("brightest");
  bed_.worker->Lose(main_, "signal 11", 600);
  EXPECT_EQ(bed_.Files("brightest"), brightest - 1);
  v1::Stream now = bed_.Get("demo");
  EXPECT_THAT(now.state_reason(), HasSubstr("signal 11"));
  EXPECT_TRUE(now.has_quarantined_until());
  EXPECT_FALSE(now.detect().has_quarantined_until());
  EXPECT_EQ(bed_.worker->Assigned(main_).next_frame_seq(), 13);
  bed_.worker->Lose(detect_, "signal 9", 0);
  EXPECT_EQ(bed_.worker->Assigned(detect_).next_frame_seq(), 5);
  bed_.Take(detect_, 6);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 10));
  EXPECT_EQ(bed_.Get("demo").brightest_count(), 9);
}

TEST_F(SecondSourceTest, ComesAndGoesWhileTheStreamRuns) {
  const v1::Stream stream = bed_.StartCamera(kUrl);
  main_ = stream.stream_id();
  detect_ = main_ + "/detect";
  // What waits goes as a batch of its own.
  bed_.inference->SetRefusal(
      [](const v1::BatchManifest&) { return absl::UnavailableError("later"); });
  bed_.Take(main_, 4);
  v1::FromWorker under_way;
  bed_.worker->Write(main_, 50, clock_.Now(), "jpeg", under_way);
  ASSERT_THAT(SetDetectUrl(kDetectUrl), IsOk());
  EXPECT_EQ(bed_.Get("demo").batches_pending(), 1);
  bed_.Take(detect_, 10);
  // Taken when there was no second source: a model has it.
  bed_.supervisor->OnEvent(under_way);
  bed_.Take(main_, 2, 60);
  EXPECT_EQ(bed_.Get("demo").accounting().spooled(), 15);
  EXPECT_EQ(bed_.Get("demo").accounting().ranked_only(), 2);
  EXPECT_EQ(bed_.Get("demo").brightest_count(), 7);

  v1::FromWorker ranked;
  bed_.worker->Write(main_, 70, clock_.Now(), "jpeg", ranked);
  ASSERT_THAT(SetDetectUrl(""), IsOk());
  EXPECT_EQ(bed_.worker->running(), 1);
  EXPECT_FALSE(bed_.Get("demo").has_detect());
  bed_.supervisor->OnEvent(ranked);
  EXPECT_EQ(bed_.Get("demo").accounting().ranked_only(), 3);
  bed_.Take(main_, 10, 80);
  const v1::Accounting accounting = bed_.Get("demo").accounting();
  EXPECT_EQ(accounting.spooled(), 25);
  EXPECT_EQ(accounting.missed_size(), 0);

  // Again: what fell due in between is not its own.
  clock_.Advance(absl::Seconds(300));
  const double now = absl::ToDoubleSeconds(clock_.SteadyNow());
  ASSERT_THAT(SetDetectUrl(kDetectUrl), IsOk());
  EXPECT_GT(bed_.worker->Assigned(detect_).counted_until_seconds(), now - 6);
  EXPECT_EQ(bed_.Get("demo").detect().state(), v1::STREAM_STATE_STARTING);
  bed_.Take(detect_, 1);
  bed_.inference->SetRefusal(nullptr);
  bed_.StopCamera("demo");
  ASSERT_TRUE(Eventually([&] {
    clock_.Advance(absl::Milliseconds(10));
    return bed_.Get("demo").accounting().recorded() == 26;
  }));
}

TEST_F(SecondSourceTest, IsNotAskedForBeforeTheWorkerHasLeftTheEarlierOne) {
  StartBoth();
  bed_.worker->SetAnswersRevoke(false);
  ASSERT_THAT(SetDetectUrl(""), IsOk());
  EXPECT_THAT(SetDetectUrl(kDetectUrl),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("has not left the earlier detect_url")));
  bed_.worker->SetAnswersRevoke(true);
  bed_.worker->End(detect_);
  EXPECT_THAT(SetDetectUrl(kDetectUrl), IsOk());
  // The worker's last word on the earlier one does not end the stream.
  EXPECT_EQ(bed_.Get("demo").state(), v1::STREAM_STATE_STARTING);
}

TEST_F(SecondSourceTest, WhatFallsDueWhenItIsRemovedAfterItsWorkerCounts) {
  StartBoth();
  bed_.Take(detect_, 2);
  bed_.worker->Lose(detect_, "signal 11", 600);
  bed_.worker->SetAnswersRevoke(false);
  clock_.Advance(absl::Seconds(30));
  ASSERT_THAT(SetDetectUrl(""), IsOk());
  bed_.worker->End(detect_);
  EXPECT_LE(bed_.Get("demo").accounting().due(), 2 + 11);
}

TEST_F(SecondSourceTest, AFrameThatComesLateStandsInItsPlaceInTheBatch) {
  const v1::Stream stream = bed_.StartCamera(kUrl, true, 5);
  main_ = stream.stream_id();
  detect_ = main_ + "/detect";
  v1::FromWorker late;
  bed_.worker->Write(main_, 50, clock_.Now(), "other jpeg", late);
  ASSERT_THAT(SetDetectUrl(kDetectUrl), IsOk());
  bed_.Take(detect_, 2);
  bed_.supervisor->OnEvent(late);
  bed_.Take(detect_, 2);
  ASSERT_TRUE(bed_.AwaitRecorded("demo", 5));
  const v1::BatchManifest manifest = bed_.inference->manifests().front();
  for (int i = 1; i < manifest.frames_size(); ++i) {
    EXPECT_LT(manifest.frames(i - 1).frame_seq(),
              manifest.frames(i).frame_seq());
  }
  EXPECT_EQ(manifest.frames(0).frame_seq(), 1);
}

TEST_F(SecondSourceTest, CountsOnWhenItComesAgain) {
  StartBoth();
  bed_.worker->State(detect_, v1::STREAM_STATE_RUNNING, "");
  bed_.Take(detect_, 1);
  bed_.Take(main_, 1);
  const int64_t received = bed_.supervisor->Snapshot()->received_bytes;
  ASSERT_THAT(SetDetectUrl(""), IsOk());
  EXPECT_EQ(bed_.supervisor->Snapshot()->received_bytes, received);
  ASSERT_THAT(SetDetectUrl(kDetectUrl), IsOk());
  bed_.worker->State(detect_, v1::STREAM_STATE_RUNNING, "");
  bed_.Take(detect_, 1);
  EXPECT_EQ(bed_.Get("demo").detect().connects(), 2);
  EXPECT_GT(bed_.supervisor->Snapshot()->received_bytes, received);
}

TEST_F(SecondSourceTest, ItAloneWaitsForRoomInTheSpool) {
  bed_.Stop();
  bed_.options.spool.stream_max_bytes = 4 * 5;
  bed_.Start();
  bed_.inference->LoseAnswers(1 << 20);
  StartBoth(5);
  bed_.Take(detect_, 5);
  ASSERT_TRUE(Eventually([&] {
    const auto rows = bed_.store->OldestDroppable("", 10);
    return rows.ok() && rows->empty();
  }));
  bed_.Take(detect_, 1);
  ASSERT_TRUE(Eventually([&] { return bed_.worker->paused(detect_); }));
  EXPECT_FALSE(bed_.worker->paused(main_));
  // Its next worker is told too.
  bed_.worker->before_send = [this](const v1::ToWorker& message) {
    if (message.has_assign()) told_.clear();
    if (message.has_pause()) told_ = message.pause().reason();
  };
  bed_.worker->Lose(detect_, "signal 9", 0);
  EXPECT_EQ(told_, "spool_full");
  bed_.worker->before_send = nullptr;
  // Without it the first one fills the spool, and is told to wait anew.
  ASSERT_THAT(SetDetectUrl(""), IsOk());
  bed_.Take(main_, 1);
  ASSERT_TRUE(Eventually([&] { return bed_.worker->paused(main_); }));
}

TEST_F(SecondSourceTest, ADeletedStreamLeavesNothingOfEither) {
  StartBoth();
  bed_.Take(main_, 3);
  bed_.Take(detect_, 3);
  v1::DeleteStreamRequest request;
  request.set_stream("demo");
  ASSERT_THAT(bed_.supervisor->DeleteStream(request), IsOk());
  EXPECT_EQ(bed_.worker->running(), 0);
  EXPECT_EQ(bed_.Files("frames"), 0);
  EXPECT_EQ(bed_.Files("brightest"), 0);
}

TEST_F(SecondSourceTest, MaxFramesCountsThePicturesOfBoth) {
  StartBoth();
  v1::UpdateStreamRequest update;
  update.set_stream("demo");
  update.set_max_frames(5);
  ASSERT_THAT(bed_.supervisor->UpdateStream(update), IsOk());
  bed_.Take(main_, 3);
  bed_.Take(detect_, 3);
  ASSERT_TRUE(Eventually([&] { return bed_.worker->running() == 0; }));
  EXPECT_EQ(bed_.Get("demo").accounting().captured(), 5);
}

}  // namespace
}  // namespace camherd::capture
