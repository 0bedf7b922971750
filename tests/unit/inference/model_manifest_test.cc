// SPDX-License-Identifier: Apache-2.0
#include "services/inference/model_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kWhole[] = R"(description: Dogs
engines: [venv, hog]
weights:
  - file: dogs.onnx
    url: https://example.org/dogs.onnx
    sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    licence: MIT
    engines: [venv]
  - file: dogs.pt
input: {width: 416, height: 320, color: bgr, scale: 1, letterbox: top_left, pad: 0}
output: yolox
class_names: [cat, dog, wolf]
classes: [dog, wolf]
complaint_classes: [dog]
min_score: 0.3
nms_iou: 0.6
section: dogs
complaint_type: stray_dog
environment: {disk_bytes: 1.5GiB}
)";

absl::StatusOr<ModelManifest> Load(const std::string& text) {
  const TempDir dir;
  dir.Write("dogs/model.yaml", text);
  return ModelManifest::Load(dir.path() + "/dogs");
}

std::string With(const std::string& from, const std::string& to) {
  std::string text = kWhole;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST(ModelManifestTest, ReadsEveryKey) {
  const auto manifest = Load(kWhole);
  CAMHERD_ASSERT_OK(manifest);
  EXPECT_EQ(manifest->name, "dogs");
  EXPECT_EQ(manifest->description, "Dogs");
  EXPECT_THAT(manifest->engines, ElementsAre("venv", "hog"));
  ASSERT_EQ(manifest->weights.size(), 2U);
  EXPECT_EQ(manifest->weights[0].file, "dogs.onnx");
  EXPECT_EQ(manifest->weights[0].url, "https://example.org/dogs.onnx");
  EXPECT_EQ(manifest->weights[0].sha256.substr(0, 4), "0123");
  EXPECT_EQ(manifest->weights[0].licence, "MIT");
  EXPECT_THAT(manifest->weights[0].engines, ElementsAre("venv"));
  EXPECT_THAT(manifest->weights[1].engines, IsEmpty());
  EXPECT_EQ(manifest->input.width, 416);
  EXPECT_EQ(manifest->input.height, 320);
  EXPECT_EQ(manifest->input.color, "bgr");
  EXPECT_EQ(manifest->input.letterbox, "top_left");
  EXPECT_EQ(manifest->output, "yolox");
  EXPECT_THAT(manifest->classes, ElementsAre("dog", "wolf"));
  EXPECT_THAT(manifest->complaint_classes, ElementsAre("dog"));
  EXPECT_EQ(manifest->complaint_type, "stray_dog");
  EXPECT_EQ(manifest->environment_disk_bytes, 1610612736);
}

TEST(ModelManifestTest, AllKeptClassesMakeAComplaintUnlessSaid) {
  const auto manifest =
      Load("engines: [hog]\nclasses: [person, dog]\nsection: people\n");
  CAMHERD_ASSERT_OK(manifest);
  EXPECT_THAT(manifest->complaint_classes, ElementsAre("person", "dog"));
  EXPECT_EQ(manifest->complaint_type, "people");
  EXPECT_EQ(manifest->min_score, 0.25);
  EXPECT_EQ(manifest->nms_iou, 0.7);
}

struct BadCase {
  std::string name;
  std::string text;
  std::string line;
  std::string message;
};

void PrintTo(const BadCase& one, std::ostream* out) { *out << one.name; }

class BadManifestTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadManifestTest, IsRefusedWithLineAndReason) {
  EXPECT_THAT(Load(GetParam().text),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("model.yaml:" + GetParam().line + ":"),
                             HasSubstr(GetParam().message))));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadManifestTest,
    ::testing::Values(
        BadCase{"UnknownKey", With("nms_iou:", "nms_iuo:"), "16",
                "unknown key \"nms_iuo\""},
        BadCase{"UnknownNestedKey", With("pad: 0", "padd: 0"), "10",
                "unknown key \"input.padd\""},
        BadCase{"RepeatedKey", With("nms_iou:", "min_score:"), "16", "twice"},
        BadCase{"NotYaml", "engines: [hog\nclasses: ]", "2", ""},
        BadCase{"NotAMap", "- hog\n", "1", "must be a map"},
        BadCase{"UnknownEngine", With("[venv, hog]", "[venv, hot]"), "2",
                "\"hot\""},
        BadCase{"NoClasses", With("classes: [dog, wolf]", "classes: []"), "13",
                "at least one class"},
        BadCase{"ClassThatIsNoOutput", With("[dog, wolf]", "[dog, fox]"), "13",
                "\"fox\", which is not one of class_names"},
        BadCase{"ComplaintOfNoClass",
                With("complaint_classes: [dog]", "complaint_classes: [cow]"),
                "14", "\"cow\", which is not one of classes"},
        BadCase{"ScoreOverOne", With("min_score: 0.3", "min_score: 1.5"), "15",
                "min_score must be in [0, 1], got \"1.5\""},
        BadCase{"ScoreNotANumber", With("min_score: 0.3", "min_score: nan"),
                "15", "got \"nan\""},
        BadCase{"HalfAPixel", With("width: 416", "width: 41.5"), "10",
                "whole number"},
        BadCase{"PathAsWeights", With("file: dogs.onnx", "file: ../dogs.onnx"),
                "4", "file name without folders"},
        BadCase{"PlainHttp", With("https://example", "http://example"), "5",
                "must begin with https://"},
        BadCase{"ShortHash", With("0123456789abcdef01", "01"), "6",
                "64 lower-case hexadecimal digits"},
        BadCase{"RecordsOwnKey", With("section: dogs", "section: basic"), "17",
                "section must match"},
        BadCase{"BadSize", With("1.5GiB", "much"), "19",
                "environment.disk_bytes must be a number of bytes"}),
    [](const auto& info) { return info.param.name; });

TEST(ModelManifestTest, SaysThatThereIsNone) {
  const TempDir dir;
  EXPECT_THAT(ModelManifest::Load(dir.path() + "/none"),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace camherd::inference
