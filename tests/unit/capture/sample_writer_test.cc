// SPDX-License-Identifier: Apache-2.0
#include "services/capture/sample_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/capture/frame_picker.h"
#include "services/capture/spool_layout.h"
#include "services/common/file.h"
#include "tests/support/clip.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::Clip;
using ::camherd::testing::HaveFfmpeg;
using ::camherd::testing::IsOk;
using ::camherd::testing::MakeClip;
using ::camherd::testing::ReadClip;
using ::camherd::testing::SharedVideo;
using ::camherd::testing::TempDir;

constexpr size_t kMaxJpeg = 64 << 20;

// A picker and a writer without threads.
class Pipeline {
 public:
  Pipeline(const std::string& dir, const FramePicker::Options& options,
           const VideoParameters& parameters)
      : picker_(FramePicker::Create(options).value()),
        writer_(
            {.on_taken =
                 [this](v1::SampleTaken s) { taken.push_back(std::move(s)); },
             .on_missed =
                 [this](absl::string_view reason) {
                   ++missed[std::string(reason)];
                 },
             .on_disk = [this](const absl::Status& s) { disk = s; }}),
        thread_(85) {
    stream_.parameters = parameters;
    stream_.spool_dir = dir;
    picker_.Connected(parameters.codec);
  }

  void Feed(const AccessUnit& unit) {
    if (writer_.delay() >= 0) picker_.set_delay(writer_.delay());
    picker_.set_shown(writer_.shown_sequence());
    Run(picker_.OnAccessUnit(unit));
  }
  void End(absl::Duration now) {
    Run(picker_.Disconnected(now));
    writer_.EndSequence();
  }

  std::vector<v1::SampleTaken> taken;
  std::map<std::string, int64_t> missed;
  std::vector<absl::Duration> dues;
  size_t decoded = 0;
  absl::Status disk;
  FramePicker& picker() { return picker_; }

 private:
  void Run(const FramePicker::Picked& picked) {
    for (const DecodeTask& task : picked.tasks) {
      decoded += task.units.size();
      const size_t before = taken.size();
      writer_.Run(task, stream_, thread_);
      if (task.sample) pending_ = task.due;
      if (taken.size() > before) dues.push_back(pending_);
    }
    for (const auto& m : picked.missed)
      missed[std::string(m.reason)] += m.count;
    if (picked.end_sequence) writer_.EndSequence();
  }

  FramePicker picker_;
  SampleWriter writer_;
  DecodeThread thread_;
  SampleWriter::Stream stream_;
  absl::Duration pending_;
};

// A writer by itself, and tasks of JPEGs, which need no clip.
class SampleWriterTest : public ::testing::Test {
 protected:
  SampleWriterTest() {
    stream_.parameters.codec = Codec::kMjpeg;
    stream_.spool_dir = dir_.path();
    options_.on_taken = [this](const v1::SampleTaken&) { ++taken_; };
    options_.on_missed = [this](absl::string_view reason) {
      ++missed_[std::string(reason)];
    };
    options_.on_disk = [](const absl::Status&) {};
  }

  void Run(const DecodeTask& task) {
    SampleWriter(options_).Run(task, stream_, thread_);
  }

  // A sample of `units` pictures; those from `broken` on are none.
  static DecodeTask Task(size_t units, size_t broken) {
    static const std::vector<uint8_t> grey(64 * 48, 100);
    Picture picture;
    picture.width = 64;
    picture.height = 48;
    picture.chroma = Picture::Chroma::k444;
    for (int i = 0; i < 3; ++i) {
      picture.planes[i] = grey.data();
      picture.strides[i] = 64;
    }
    const auto jpeg = std::make_shared<const std::string>(
        JpegEncoder(85).Encode(picture).value().data);
    const auto none = std::make_shared<const std::string>("no JPEG");
    DecodeTask task;
    task.sample = true;
    task.restart = true;
    for (size_t i = 0; i < units; ++i) {
      AccessUnit unit;
      unit.data = i < broken ? jpeg : none;
      unit.keyframe = true;
      unit.wall = absl::FromUnixSeconds(1785578100);
      task.units.push_back(std::move(unit));
    }
    return task;
  }

  TempDir dir_;
  SampleWriter::Options options_;
  SampleWriter::Stream stream_;
  DecodeThread thread_{85};
  int taken_ = 0;
  std::map<std::string, int> missed_;
};

// The clip several times over.
Clip Repeat(const Clip& clip, int times) {
  Clip out = clip;
  for (int i = 1; i < times; ++i) {
    for (const AccessUnit& unit : clip.units) {
      AccessUnit copy = unit;
      copy.arrival = clip.period * static_cast<int64_t>(out.units.size());
      copy.pts +=
          absl::ToInt64Microseconds(
              clip.period * static_cast<int64_t>(clip.units.size() * i)) *
          9 / 100;
      out.units.push_back(std::move(copy));
    }
  }
  return out;
}

// Samples a clip in mode exact and compares each JPEG, byte for byte, with that
// of the picture full decoding had put out last at the due time.
void ExpectExact(const Clip& clip, absl::Duration interval,
                 const std::string& what) {
  SCOPED_TRACE(what);
  const TempDir dir;
  Pipeline pipeline(
      dir.path(),
      {.schedule = {.interval = interval, .phase = absl::Milliseconds(17)},
       .mode = v1::SAMPLING_MODE_EXACT},
      clip.parameters);
  for (const AccessUnit& unit : clip.units) pipeline.Feed(unit);
  ASSERT_GE(pipeline.taken.size(), 3u);
  ASSERT_EQ(pipeline.taken.size(), pipeline.dues.size());
  EXPECT_LE(pipeline.decoded, clip.units.size());
  // Only before the decoder had put out more than one picture.
  EXPECT_LE(pipeline.missed["late"], 3);
  EXPECT_EQ(pipeline.missed.size(), 1u);

  auto full = Decoder::Create(clip.parameters).value();
  JpegEncoder encoder(85);
  std::optional<Picture> shown;
  size_t fed = 0;
  // The first is the first picture there was, whatever its due time.
  for (size_t i = 1; i < pipeline.taken.size(); ++i) {
    const absl::Duration due = pipeline.dues[i];
    while (fed < clip.units.size() && clip.units[fed].arrival <= due) {
      ASSERT_THAT(
          full->Decode(clip.units[fed], static_cast<int64_t>(fed), &shown),
          IsOk());
      ++fed;
    }
    ASSERT_TRUE(shown);
    const auto jpeg = encoder.Encode(*shown);
    ASSERT_THAT(jpeg, IsOk());
    const v1::FrameInfo& frame = pipeline.taken[i].frame();
    EXPECT_EQ(ReadFile(FrameFile(dir.path(), frame.frame_seq()), kMaxJpeg)
                  .value_or("none"),
              jpeg->data)
        << "due " << due;
    // It says when its own access unit arrived.
    EXPECT_EQ(frame.pts(), clip.units[static_cast<size_t>(shown->tag)].pts);
    EXPECT_LE(frame.offset_seconds(), 0);
  }
}

TEST(ExactSamplingTest, EqualsFullDecodingOnRealClips) {
  struct Case {
    const char* name;
    double interval;
    int times;
  };
  for (const Case& c : {Case{"cars_overhead_432p.mp4", 3, 1},
                        Case{"person_indoor_432p.mp4", 0.7, 1},
                        Case{"night_city_240p.mp4", 0.11, 1},
                        Case{"highway_dashcam_540p.mp4", 0.5, 1},
                        Case{"night_city_240p.mp4", 2.9, 3}}) {
    const std::string path = SharedVideo(c.name);
    if (path.empty()) GTEST_SKIP() << "no shared videos beside this checkout";
    const absl::StatusOr<Clip> clip = ReadClip(path);
    ASSERT_THAT(clip, IsOk());
    ExpectExact(Repeat(*clip, c.times), absl::Seconds(c.interval), c.name);
  }
}

TEST(ExactSamplingTest, EqualsFullDecodingWithReorderingAndOpenGops) {
  if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  const TempDir dir;
  const std::string source = "-f lavfi -i testsrc2=s=320x192:r=25:d=12 ";
  for (const std::string& codec :
       {std::string("-c:v libx264 -preset veryfast -bf 3 -b_strategy 0 -g 40"),
        std::string("-c:v libx264 -preset veryfast -bf 3 -x264-params "
                    "open-gop=1:b-pyramid=normal -g 30"),
        std::string("-c:v libx264 -preset veryfast -bf 0 -g 50"),
        std::string("-c:v libx265 -preset ultrafast -x265-params "
                    "log-level=none:open-gop=0:bframes=4:keyint=35"),
        std::string("-c:v libx265 -preset ultrafast -x265-params "
                    "log-level=none:open-gop=1:bframes=4:keyint=35")}) {
    const absl::StatusOr<Clip> clip =
        MakeClip(source + codec + " -pix_fmt yuv420p", dir / "clip.mkv");
    ASSERT_THAT(clip, IsOk());
    for (const double interval : {0.1, 0.33, 1.7}) {
      ExpectExact(*clip, absl::Seconds(interval), codec);
    }
  }
}

TEST(ExactSamplingTest, CostsLessThanFullDecodingWhereKeyframesAreNearer) {
  const std::string path = SharedVideo("person_indoor_432p.mp4");
  if (path.empty()) GTEST_SKIP() << "no shared videos beside this checkout";
  const absl::StatusOr<Clip> clip = ReadClip(path);
  ASSERT_THAT(clip, IsOk());
  const TempDir dir;
  Pipeline pipeline(dir.path(),
                    {.schedule = {.interval = absl::Seconds(3)},
                     .mode = v1::SAMPLING_MODE_EXACT},
                    clip->parameters);
  for (const AccessUnit& unit : clip->units) pipeline.Feed(unit);
  // A key each second, a sample every three: a third or less.
  EXPECT_LT(pipeline.decoded, clip->units.size() / 3);
  EXPECT_GE(pipeline.taken.size(), 19u);
}

TEST_F(SampleWriterTest, APictureTooLargeForTheServicesToComeIsMissed) {
  DecodeTask task = Task(1, 1);
  task.single_keyframe = true;
  Run(task);
  EXPECT_EQ(taken_, 1);
  options_.max_frame_bytes = 100;
  Run(task);
  EXPECT_EQ(taken_, 1);
  EXPECT_EQ(missed_["decode_error"], 1);
}

TEST_F(SampleWriterTest, APictureIsNeverStoredWithoutItsTimeOfReceipt) {
  Run(Task(2, 1));
  EXPECT_EQ(taken_, 1);
  // So much came after it that its own access unit is forgotten.
  Run(Task(60, 1));
  EXPECT_EQ(taken_, 1);
  EXPECT_EQ(missed_["corrupt"], 1);
}

TEST_F(SampleWriterTest, WhatIsGivenUpIsMissedForOverloadAndNotDecoded) {
  options_.given_up = [] { return true; };
  Run(Task(5, 5));
  DecodeTask keyframe = Task(1, 1);
  keyframe.single_keyframe = true;
  Run(keyframe);
  DecodeTask no_sample = Task(5, 5);
  no_sample.sample = false;
  Run(no_sample);
  EXPECT_EQ(taken_, 0);
  EXPECT_EQ(missed_["overload"], 2);
  EXPECT_EQ(missed_.size(), 1u);
}

TEST_F(SampleWriterTest, ATaskGivenUpInTheMiddleStoresNoOlderPicture) {
  int asked = 0;
  options_.given_up = [&asked] { return ++asked > 3; };
  Run(Task(5, 5));
  EXPECT_EQ(taken_, 0);
  EXPECT_EQ(missed_["overload"], 1);
}

TEST_F(SampleWriterTest, AFrameIsWhatIsInItsFile) {
  if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  const TempDir dir;
  const absl::StatusOr<Clip> clip = MakeClip(
      "-f lavfi -i testsrc2=s=322x182:r=5:d=4 -c:v libx264 -g 5 -pix_fmt "
      "yuv420p",
      dir / "clip.mkv");
  ASSERT_THAT(clip, IsOk());
  Pipeline pipeline(dir.path(),
                    {.schedule = {.interval = absl::Seconds(1)},
                     .mode = v1::SAMPLING_MODE_KEYFRAME},
                    clip->parameters);
  for (const AccessUnit& unit : clip->units) pipeline.Feed(unit);
  ASSERT_EQ(pipeline.taken.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const v1::FrameInfo& frame = pipeline.taken[i].frame();
    EXPECT_EQ(frame.frame_seq(), static_cast<int64_t>(i) + 1);
    const auto jpeg =
        ReadFile(FrameFile(dir.path(), frame.frame_seq()), kMaxJpeg);
    ASSERT_THAT(jpeg, IsOk());
    EXPECT_EQ(frame.size_bytes(), static_cast<int64_t>(jpeg->size()));
    EXPECT_EQ(frame.sha256(), Sha256(*jpeg));
    EXPECT_EQ(frame.width(), 322);
    EXPECT_EQ(frame.height(), 182);
    EXPECT_GT(frame.mean_luma(), 50);
    EXPECT_EQ(frame.captured_at().seconds(),
              1785578100 + static_cast<int64_t>(i));
    EXPECT_NEAR(frame.offset_seconds(), 0, 1e-6);
    EXPECT_GT(pipeline.taken[i].decode_seconds(), 0);
    EXPECT_GT(pipeline.taken[i].encode_seconds(), 0);
  }
}

TEST_F(SampleWriterTest, AFullOrMissingDiskIsAMissWithItsReasonUntilItIsBack) {
  if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  const TempDir dir;
  const absl::StatusOr<Clip> clip = MakeClip(
      "-f lavfi -i testsrc2=s=160x96:r=5:d=4 -c:v libx264 -g 5 -pix_fmt "
      "yuv420p",
      dir / "clip.mkv");
  ASSERT_THAT(clip, IsOk());
  const std::string spool = dir / "spool";
  Pipeline pipeline(spool,
                    {.schedule = {.interval = absl::Seconds(1)},
                     .mode = v1::SAMPLING_MODE_KEYFRAME},
                    clip->parameters);
  for (size_t i = 0; i < 10; ++i) pipeline.Feed(clip->units[i]);
  EXPECT_EQ(pipeline.missed["disk_error"], 2);
  EXPECT_FALSE(pipeline.disk.ok());
  ASSERT_THAT(MakeDirs(spool), IsOk());
  for (size_t i = 10; i < 20; ++i) pipeline.Feed(clip->units[i]);
  EXPECT_EQ(pipeline.missed["disk_error"], 2);
  EXPECT_TRUE(pipeline.disk.ok());
  ASSERT_EQ(pipeline.taken.size(), 2u);
  // No number is lost with a frame that never was.
  EXPECT_EQ(pipeline.taken[0].frame().frame_seq(), 1);
}

TEST_F(SampleWriterTest, AfterDamageNothingIsStoredUntilASoundKeyframe) {
  if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  const TempDir dir;
  absl::StatusOr<Clip> clip = MakeClip(
      "-f lavfi -i testsrc2=s=640x352:r=10:d=6 -c:v libx264 -bf 0 -tune "
      "zerolatency -x264-params sliced-threads=0 -g 20 -pix_fmt yuv420p",
      dir / "clip.mkv");
  ASSERT_THAT(clip, IsOk());
  // The keyframe of the second GOP loses a packet.
  std::string data = *clip->units[20].data;
  ASSERT_GT(data.size(), 5000u);
  data.erase(data.size() / 2, 1400);
  clip->units[20].data = std::make_shared<const std::string>(std::move(data));
  Pipeline pipeline(dir.path(),
                    {.schedule = {.interval = absl::Milliseconds(500),
                                  .phase = absl::Milliseconds(50)},
                     .mode = v1::SAMPLING_MODE_EXACT},
                    clip->parameters);
  for (const AccessUnit& unit : clip->units) pipeline.Feed(unit);
  EXPECT_EQ(pipeline.missed["corrupt"], 4);
  for (const absl::Duration due : pipeline.dues) {
    EXPECT_TRUE(due < absl::Seconds(2) || due >= absl::Seconds(4)) << due;
  }
}

TEST_F(SampleWriterTest, AfterALostPictureNothingIsStoredUntilTheNextKeyframe) {
  if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  for (const v1::SamplingMode mode :
       {v1::SAMPLING_MODE_EXACT, v1::SAMPLING_MODE_FULL}) {
    const TempDir dir;
    absl::StatusOr<Clip> clip = MakeClip(
        "-f lavfi -i testsrc2=s=320x192:r=10:d=6 -c:v libx264 -bf 0 -tune "
        "zerolatency -g 20 -pix_fmt yuv420p",
        dir / "clip.mkv");
    ASSERT_THAT(clip, IsOk());
    // In the second GOP a whole picture is missing: the decoder takes another
    // one for it and flags nothing.
    clip->units[25].after_loss = true;
    clip->units.erase(clip->units.begin() + 24);
    Pipeline pipeline(dir.path(),
                      {.schedule = {.interval = absl::Milliseconds(500),
                                    .phase = absl::Milliseconds(50)},
                       .mode = mode},
                      clip->parameters);
    for (const AccessUnit& unit : clip->units) pipeline.Feed(unit);
    EXPECT_EQ(pipeline.missed["corrupt"], 3);
    EXPECT_GE(pipeline.dues.size(), 8u);
    for (const absl::Duration due : pipeline.dues) {
      EXPECT_TRUE(due < absl::Milliseconds(2500) || due >= absl::Seconds(4))
          << due;
    }
  }
}

// Mean squared difference of luma; of pictures of another size, very much.
double LumaError(const Picture& a, const Picture& b) {
  if (a.width != b.width || a.height != b.height) return 255.0 * 255.0;
  double sum = 0;
  for (int y = 0; y < a.height; ++y) {
    for (int x = 0; x < a.width; ++x) {
      const double d =
          a.planes[0][y * a.strides[0] + x] - b.planes[0][y * b.strides[0] + x];
      sum += d * d;
    }
  }
  return sum / a.width / a.height;
}

// One bit of a keyframe flipped, again and again: what is flagged is not
// stored. How much is not flagged although it shows is printed, and bounded.
struct FlippedBits {
  std::string codec;
  std::string encoder;
  int cases;
  // Of them.
  int least_flagged;
  int most_unseen;
};

void PrintTo(const FlippedBits& bits, std::ostream* out) { *out << bits.codec; }

class FlippedBitsTest : public SampleWriterTest,
                        public ::testing::WithParamInterface<FlippedBits> {};

TEST_P(FlippedBitsTest, WhatTheDecoderFlagsIsNotStored) {
  if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  const int cases = GetParam().cases;
  const TempDir dir;
  const absl::StatusOr<Clip> clip =
      MakeClip(absl::StrCat("-f lavfi -i testsrc2=s=640x352:r=5:d=2 -vf "
                            "noise=alls=12:allf=t -g 1 -pix_fmt yuv420p -c:v ",
                            GetParam().encoder),
               dir / "clip.mkv");
  ASSERT_THAT(clip, IsOk());
  stream_.parameters = clip->parameters;
  auto decoder = Decoder::Create(clip->parameters).value();
  std::vector<Picture> pictures;
  for (const AccessUnit& unit : clip->units) {
    pictures.push_back(decoder->DecodeKeyframe(unit).value());
  }
  std::mt19937 random(5);
  int flagged = 0;
  int differ = 0;
  int below_30_db = 0;
  for (int i = 0; i < cases; ++i) {
    const size_t which = static_cast<size_t>(i) % pictures.size();
    std::string data = *clip->units[which].data;
    const size_t bit = random() % (data.size() * 8);
    data[bit / 8] = static_cast<char>(data[bit / 8] ^ (1 << (bit % 8)));
    DecodeTask task;
    task.single_keyframe = true;
    task.sample = true;
    task.units.push_back(clip->units[which]);
    task.units[0].data = std::make_shared<const std::string>(std::move(data));

    const auto picture = decoder->DecodeKeyframe(task.units[0]);
    const bool sound = picture.ok() && !picture->corrupt;
    const int taken_before = taken_;
    Run(task);
    EXPECT_EQ(taken_ - taken_before, sound ? 1 : 0);
    if (!sound) {
      ++flagged;
      continue;
    }
    const double error = LumaError(*picture, pictures[which]);
    if (error > 0) ++differ;
    if (error > 255.0 * 255.0 / 1000) ++below_30_db;
  }
  std::cout << GetParam().codec << ": of " << cases
            << " keyframes with a flipped bit " << flagged << " were flagged; "
            << differ << " differ without a flag, " << below_30_db
            << " of them below 30 dB\n";
  EXPECT_GE(flagged, GetParam().least_flagged);
  EXPECT_LE(differ, GetParam().most_unseen);
}

INSTANTIATE_TEST_SUITE_P(
    All, FlippedBitsTest,
    ::testing::Values(FlippedBits{"H264", "libx264", 600, 500, 60},
                      FlippedBits{"H265", "libx265 -x265-params log-level=none",
                                  200, 20, 170}));

TEST_F(SampleWriterTest, AKeyframeWithMissingPacketsIsNotDecoded) {
  DecodeTask task = Task(1, 1);
  task.single_keyframe = true;
  task.units[0].after_loss = true;
  Run(task);
  EXPECT_EQ(taken_, 0);
  EXPECT_EQ(missed_["corrupt"], 1);
}

}  // namespace
}  // namespace camherd::capture
