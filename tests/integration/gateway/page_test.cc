// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/time_proto.h"
#include "tests/integration/gateway/running_gateway.h"

// The page in a real browser, where there is one: Debian's chromium. With
// CAMHERD_SCREENSHOT_DIR set, its pictures are left there.
namespace camherd::gateway {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

bool HaveBrowser() {
  return system("command -v chromium >/dev/null 2>&1") == 0;
}

std::string Output(const std::string& command) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "";
  std::array<char, 4096> buffer;
  while (const size_t count = fread(buffer.data(), 1, buffer.size(), pipe)) {
    text.append(buffer.data(), count);
  }
  pclose(pipe);
  return text;
}

std::string Browser(const std::string& profile, const std::string& what,
                    const std::string& url) {
  return Output(absl::StrCat(
      "timeout 50 chromium --headless --no-sandbox --disable-gpu "
      "--disable-dev-shm-usage --no-first-run --hide-scrollbars "
      "--enable-logging=stderr --v=0 --user-data-dir=",
      profile, " --virtual-time-budget=6000 ", what, " ", url, " 2>&1"));
}

std::string Jpeg(int hue, const std::string& text) {
  cv::Mat picture(360, 640, CV_8UC3);
  for (int y = 0; y < picture.rows; ++y) {
    for (int x = 0; x < picture.cols; ++x) {
      picture.at<cv::Vec3b>(y, x) =
          cv::Vec3b(static_cast<uint8_t>(90 + y / 5),
                    static_cast<uint8_t>(80 + hue + x / 16),
                    static_cast<uint8_t>(150 - y / 6));
    }
  }
  cv::rectangle(picture, {220, 140}, {330, 320}, {60, 220, 250}, 3);
  cv::putText(picture, text, {224, 132}, cv::FONT_HERSHEY_SIMPLEX, 0.7,
              {60, 220, 250}, 2);
  std::vector<uchar> bytes;
  cv::imencode(".jpg", picture, bytes);
  return {bytes.begin(), bytes.end()};
}

void AddStream(FakeBackends::Answers& answers, const std::string& name,
               v1::StreamState state, const std::string& reason) {
  const absl::Time now = Clock::Real().Now();
  v1::Stream* stream = answers.streams.add_streams();
  stream->set_stream_id(absl::StrCat("id-", name));
  stream->set_process_name(name);
  stream->set_camera_id(absl::StrCat("CAM-", name));
  stream->set_rtsp_url("rtsp://***:***@127.0.0.1:8554/" + name);
  stream->set_interval_seconds(3);
  stream->add_models("animals");
  stream->set_state(state);
  stream->set_state_reason(reason);
  v1::Accounting* accounting = stream->mutable_accounting();
  accounting->set_due(140);
  accounting->set_captured(128);
  accounting->set_recorded(120);
  accounting->set_spooled(8);
  (*accounting->mutable_missed())["not_connected"] = 12;
  if (state == v1::STREAM_STATE_RECONNECTING) {
    *stream->mutable_next_retry_at() = ToProto(now + absl::Seconds(20));
  }
  if (state == v1::STREAM_STATE_RUNNING) {
    stream->set_codec("h264");
    stream->set_width(1920);
    stream->set_height(1080);
    stream->set_brightest_count(9);
    *stream->mutable_last_frame_at() = ToProto(now - absl::Seconds(2));
  }
}

void FillAnswers(FakeBackends::Answers& answers) {
  AddStream(answers, "gate-3", v1::STREAM_STATE_RUNNING, "");
  AddStream(answers, "market-north", v1::STREAM_STATE_RUNNING, "");
  AddStream(answers, "yard", v1::STREAM_STATE_RECONNECTING,
            "The camera refused the connection.");
  AddStream(answers, "depot", v1::STREAM_STATE_AUTH_FAILED,
            "The camera refused the credentials (401).");
  AddStream(answers, "<b>bold</b>", v1::STREAM_STATE_STOPPED, "");
  answers.frame.mutable_frame()->set_jpeg(Jpeg(40, ""));
  answers.frame.mutable_frame()->mutable_info()->set_sha256("s");
  answers.image.set_jpeg(Jpeg(90, "dog 0.89"));
  for (int i = 0; i < 4; ++i) {
    v1::Record* record = answers.records.add_records();
    record->set_record_id(40 - i);
    record->set_camera_id("CAM-gate-3");
    record->set_process_name("gate-3");
    if (i != 2) {
      record->set_latitude(26.4499);
      record->set_longitude(80.3319);
    }
    *record->mutable_captured_at() =
        ToProto(Clock::Real().Now() - absl::Seconds(30 * i));
    record->add_frames();
    v1::RecordSection* section = record->add_sections();
    section->set_name("stray_animal");
    section->set_present(true);
    if (i != 3) {
      section->set_complaint(1);
      for (int k = 0; k < 3; ++k) {
        v1::Detection* detection = section->add_detections();
        detection->set_class_name(k == 2 ? "cow" : "dog");
        detection->set_confidence(0.89f - 0.1f * static_cast<float>(k));
        detection->mutable_box()->set_x2(120);
        detection->mutable_box()->set_y2(80);
      }
    }
  }
  v1::Model* animals = answers.models.add_models();
  animals->set_name("animals");
  animals->set_state(v1::MODEL_STATE_INSTALLING);
  animals->set_progress_done(11);
  animals->set_progress_total(34);
  animals->set_progress_text("Installing requirements, 11 of 34");
  animals->add_log_tail("Collecting ultralytics==8.4.190");
  animals->add_log_tail("Downloading torch-2.15-cp311-manylinux.whl (198 MB)");
  v1::Model* people = answers.models.add_models();
  people->set_name("people");
  people->set_description("People on foot, by OpenCV's built-in detector.");
  people->set_state(v1::MODEL_STATE_READY);
  v1::Model* pothole = answers.models.add_models();
  pothole->set_name("pothole");
  pothole->set_state(v1::MODEL_STATE_FAILED);
  pothole->set_reason("The weights pothole.onnx are missing.");
  pothole->set_hint("Put the file into models/pothole/.");
}

class PageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HaveBrowser()) GTEST_SKIP() << "chromium is not installed";
    char folder[] = "/tmp/camherd-page-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    profile_ = folder;
    FillAnswers(gateway_.fake().answers);
    url_ = absl::StrCat("http://", gateway_.address(), "/");
  }
  void TearDown() override {
    if (!profile_.empty()) Output(absl::StrCat("rm -rf ", profile_));
  }

  RunningGateway gateway_;
  std::string profile_;
  std::string url_;
};

TEST_F(PageTest, ShowsStreamsRecordsAndModelsWithoutConsoleErrors) {
  const std::string text = Browser(profile_, "--dump-dom", url_);
  EXPECT_THAT(text, HasSubstr("gate-3"));
  EXPECT_THAT(text, HasSubstr("The camera refused the credentials (401)."));
  EXPECT_THAT(text, HasSubstr("Next try in"));
  EXPECT_THAT(text, HasSubstr("dog 0.89 (2)"));
  EXPECT_THAT(text, HasSubstr("Installing requirements, 11 of 34"));
  EXPECT_THAT(text, HasSubstr("Put the file into models/pothole/."));
  EXPECT_THAT(text, HasSubstr(">connected<"));
  // A name is text, whatever it holds.
  EXPECT_THAT(text, HasSubstr("&lt;b&gt;bold&lt;/b&gt;"));
  EXPECT_THAT(text, Not(HasSubstr("<b>bold")));
  EXPECT_THAT(text, Not(HasSubstr("CONSOLE")));
}

TEST_F(PageTest, ShowsAllLiveStreamsBehindHundredsOfNewerStoppedOnes) {
  FakeBackends::Answers& answers = gateway_.fake().answers;
  answers.streams.clear_streams();
  answers.max_streams_page = 2;
  for (int i = 0; i < 250; ++i) {
    AddStream(answers, absl::StrCat("past-", i), v1::STREAM_STATE_STOPPED, "");
  }
  for (const char* name : {"east", "north", "south", "west", "yard"}) {
    AddStream(answers, name, v1::STREAM_STATE_RUNNING, "");
  }
  const std::string text = Browser(profile_, "--dump-dom", url_);
  for (const char* name : {"east", "north", "south", "west", "yard"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("<h3>", name, "</h3>")));
  }
  EXPECT_THAT(text, HasSubstr("<h3>past-0</h3>"));
  EXPECT_THAT(text, ContainsRegex("id=\"streams-count\"[^>]*>5<"));
  EXPECT_THAT(text, ContainsRegex("id=\"stopped-count\"[^>]*>2\\+<"));
  EXPECT_THAT(text, Not(HasSubstr("CONSOLE")));
}

// Records are numbered from 1 in each data folder.
TEST_F(PageTest, ShowsTheRecordsOfAnotherDataFolderUnderTheSameNumbers) {
  FakeBackends::Answers& answers = gateway_.fake().answers;
  answers.records.clear_records();
  v1::Record* record = answers.records.add_records();
  record->set_record_id(1);
  record->set_session_id("01A");
  record->set_batch_seq(3);
  record->set_camera_id("CAM-before");
  answers.later_records = answers.records;
  record = answers.later_records->mutable_records(0);
  record->set_session_id("01B");
  record->set_camera_id("CAM-after");
  const std::string text = Browser(profile_, "--dump-dom", url_);
  EXPECT_THAT(text, HasSubstr("CAM-after"));
  EXPECT_THAT(text, Not(HasSubstr("CAM-before")));
  // Within a page the browser takes one address for one picture.
  EXPECT_THAT(text, HasSubstr("/frame.jpg?boxes=true&amp;width=640"
                              "&amp;v=01B%2F3"));
  EXPECT_THAT(text, Not(HasSubstr("CONSOLE")));
}

TEST_F(PageTest, LeavesPicturesOfItselfWhereAsked) {
  const char* folder = getenv("CAMHERD_SCREENSHOT_DIR");
  if (folder == nullptr) GTEST_SKIP() << "CAMHERD_SCREENSHOT_DIR is not set";
  const struct {
    const char* name;
    const char* flags;
  } shots[] = {
      {"wide", "--window-size=1280,1700"},
      {"dark",
       "--window-size=1280,1700 --force-dark-mode "
       "--blink-settings=preferredColorScheme=0"},
      {"phone", "--window-size=500,2600"},
  };
  for (const auto& shot : shots) {
    Browser(profile_,
            absl::StrCat(shot.flags, " --screenshot=", folder, "/", shot.name,
                         ".png"),
            url_);
  }
}

}  // namespace
}  // namespace camherd::gateway
