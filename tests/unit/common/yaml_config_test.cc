// SPDX-License-Identifier: Apache-2.0
#include "services/common/yaml_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class YamlConfigTest : public ::testing::Test {
 protected:
  absl::StatusOr<YamlConfig> Load(
      absl::string_view yaml, const YamlConfig::Environment& environment = {}) {
    CAMHERD_EXPECT_OK(WriteFileAtomically(path_, yaml, Sync::kNone));
    return YamlConfig::Load(path_, environment);
  }

  ConfigSection Capture(absl::string_view yaml,
                        const YamlConfig::Environment& environment = {}) {
    auto config = Load(yaml, environment);
    EXPECT_THAT(config, camherd::testing::IsOk());
    return config.ok() ? config->Section("capture")
                       : YamlConfig::Load("", {}).value().Section("capture");
  }

  const testing::TempDir dir_;
  const std::string path_ = dir_ / "camherd.yaml";
};

TEST_F(YamlConfigTest, WithoutAFileEverythingIsTheDefault) {
  ConfigSection section = YamlConfig::Load("", {}).value().Section("capture");
  EXPECT_EQ(section.String("name", "x"), "x");
  EXPECT_EQ(section.Bool("flag", true), true);
  EXPECT_EQ(section.Int("count", 3, 1, 9), 3);
  EXPECT_EQ(section.Double("ratio", 0.5, 0, 1), 0.5);
  EXPECT_EQ(section.Seconds("pause_seconds", 2.5, 0, 9), absl::Seconds(2.5));
  EXPECT_EQ(section.Bytes("quota", 1 << 20, 0, 1 << 30), 1 << 20);
  EXPECT_THAT(section.List("names", {"a", "b"}), ElementsAre("a", "b"));
  EXPECT_EQ(section.Choice("mode", "auto", {"auto", "exact"}), "auto");
  CAMHERD_EXPECT_OK(section.Finish());
}

TEST_F(YamlConfigTest, ReadsEveryKindOfValue) {
  ConfigSection section = Capture(R"(
capture:
  name: 'a b'
  flag: False
  count: 7
  ratio: 2.5e-1
  pause_seconds: 0.1
  quota: 1.5GiB
  plain: 4096
  names: [x, "y z"]
  block:
    - p
    - q
  one: localhost:5000
  none: []
  mode: exact
)");
  EXPECT_EQ(section.String("name", ""), "a b");
  EXPECT_EQ(section.Bool("flag", true), false);
  EXPECT_EQ(section.Int("count", 3, 1, 9), 7);
  EXPECT_EQ(section.Double("ratio", 0.5, 0, 1), 0.25);
  EXPECT_EQ(section.Seconds("pause_seconds", 2, 0, 9), absl::Milliseconds(100));
  EXPECT_EQ(section.Bytes("quota", 1, 0, int64_t{1} << 40), 3 * (1 << 29));
  EXPECT_EQ(section.Bytes("plain", 1, 0, 9999), 4096);
  EXPECT_THAT(section.List("names", {}), ElementsAre("x", "y z"));
  EXPECT_THAT(section.List("block", {}), ElementsAre("p", "q"));
  EXPECT_THAT(section.List("one", {"a"}), ElementsAre("localhost:5000"));
  EXPECT_THAT(section.List("none", {"a"}), IsEmpty());
  EXPECT_EQ(section.Choice("mode", "auto", {"auto", "exact"}), "exact");
  CAMHERD_EXPECT_OK(section.Finish());
}

TEST_F(YamlConfigTest, EmptyFilesSectionsAndValuesMeanDefaults) {
  CAMHERD_EXPECT_OK(Load(""));
  CAMHERD_EXPECT_OK(Load("# only a comment\n"));
  CAMHERD_EXPECT_OK(Load("capture:\ngateway: {}\n"));
  ConfigSection section = Capture("capture:\n  count:\n  name: ~\n");
  EXPECT_EQ(section.Int("count", 3, 1, 9), 3);
  EXPECT_EQ(section.String("name", "x"), "x");
  CAMHERD_EXPECT_OK(section.Finish());
}

TEST_F(YamlConfigTest, AnEmptyStringIsAValue) {
  ConfigSection section = Capture("capture:\n  name: ''\n");
  EXPECT_EQ(section.String("name", "x"), "");
}

TEST_F(YamlConfigTest, ABadValueIsNamedWithKeyAndLine) {
  ConfigSection section =
      Capture("# comment\ncapture:\n  interval_seconds: 0\n");
  section.Seconds("interval_seconds", 3, 0.1, 86400);
  EXPECT_THAT(section.Finish(),
              StatusIs(kInvalid, path_ + ":3: capture.interval_seconds must be "
                                         "in [0.1, 86400], got 0"));
}

TEST_F(YamlConfigTest, TheFirstBadValueIsReported) {
  ConfigSection section = Capture("capture:\n  a: x\n  b: y\n");
  section.Int("a", 1, 0, 9);
  section.Int("b", 1, 0, 9);
  EXPECT_THAT(section.Finish(), StatusIs(kInvalid, HasSubstr(":2: capture.a")));
}

TEST_F(YamlConfigTest, ValuesOfTheWrongKindAreRefused) {
  const auto finish = [this](absl::string_view value, auto ask) {
    ConfigSection section = Capture(absl::StrCat("capture:\n  k: ", value));
    ask(section);
    const absl::Status status = section.Finish();
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(":2: capture.k must ")))
        << value;
    return std::string(status.message());
  };
  const auto ask_int = [](ConfigSection& s) { s.Int("k", 1, 0, 9); };
  EXPECT_THAT(finish("x", ask_int), EndsWith("in [0, 9], got \"x\""));
  EXPECT_THAT(finish("1.5", ask_int), EndsWith("got \"1.5\""));
  EXPECT_THAT(finish("10", ask_int), EndsWith("in [0, 9], got 10"));
  EXPECT_THAT(finish("99999999999999999999", ask_int), HasSubstr("got "));
  EXPECT_THAT(finish("[1]", ask_int), EndsWith("got a list"));
  EXPECT_THAT(finish("''", ask_int), EndsWith("got \"\""));
  const auto ask_double = [](ConfigSection& s) { s.Double("k", 1, 0, 9); };
  for (const char* value : {".nan", "nan", "inf", "-1", "1e9", "x", "[1, 2]"}) {
    finish(value, ask_double);
  }
  const auto ask_bool = [](ConfigSection& s) { s.Bool("k", true); };
  for (const char* value : {"1", "yes", "''", "[true]"}) {
    EXPECT_THAT(finish(value, ask_bool), HasSubstr("must be true or false"));
  }
  const auto ask_bytes = [](ConfigSection& s) { s.Bytes("k", 1, 0, 1 << 30); };
  for (const char* value : {"x", "1 KB", "-1", "2GiB", "1e30", "nan", "KiB"}) {
    finish(value, ask_bytes);
  }
  EXPECT_THAT(finish("[a]", [](ConfigSection& s) { s.String("k", ""); }),
              EndsWith("must be one value, got a list"));
  EXPECT_THAT(finish("half",
                     [](ConfigSection& s) {
                       s.Choice("k", "a", {"a", "b"});
                     }),
              EndsWith("must be one of [a, b], got \"half\""));
}

TEST_F(YamlConfigTest, AKeyNobodyAskedForIsNamedWithItsLine) {
  ConfigSection section = Capture("capture:\n  a: 1\n  intervall: 3\n");
  section.Int("a", 1, 0, 9);
  section.Int("b", 1, 0, 9);
  EXPECT_THAT(section.Finish(),
              StatusIs(kInvalid, path_ + ":3: unknown key capture.intervall; "
                                         "known are [a, b]"));
}

TEST_F(YamlConfigTest, AnUnknownKeyWithoutAValueIsRefusedToo) {
  ConfigSection section = Capture("capture:\n  intervall:\n");
  EXPECT_THAT(section.Finish(), StatusIs(kInvalid, HasSubstr("intervall")));
}

TEST_F(YamlConfigTest, OtherSectionsAreNotThisSectionsBusiness) {
  ConfigSection section = Capture("capture:\n  a: 1\ngateway:\n  z: 1\n");
  section.Int("a", 1, 0, 9);
  CAMHERD_EXPECT_OK(section.Finish());
}

TEST_F(YamlConfigTest, ARepeatedKeyIsNamedWithBothLines) {
  EXPECT_THAT(
      Load("capture:\n  a: 1\n  b: 2\n  a: 3\n"),
      StatusIs(kInvalid,
               AllOf(HasSubstr(":4: capture.a is there twice"),
                     EndsWith(absl::StrCat("first at ", path_, ":2")))));
}

TEST_F(YamlConfigTest, ARepeatedSectionIsRefused) {
  EXPECT_THAT(
      Load("capture:\n  a: 1\ngateway: {}\ncapture:\n  b: 1\n"),
      StatusIs(kInvalid, EndsWith(":4: section capture is there twice")));
}

TEST_F(YamlConfigTest, AnUnknownSectionIsNamedWithItsLine) {
  EXPECT_THAT(
      Load("common: {}\ncamera: {}\n"),
      StatusIs(kInvalid, EndsWith(":2: section must be one of [common, grpc, "
                                  "capture, inference, aggregator, gateway], "
                                  "got \"camera\"")));
}

TEST_F(YamlConfigTest, WhatIsNoMapOfMapsIsRefused) {
  EXPECT_THAT(Load("[a, b]"), StatusIs(kInvalid, HasSubstr("map of sections")));
  EXPECT_THAT(Load("text"), StatusIs(kInvalid, HasSubstr("map of sections")));
  EXPECT_THAT(Load("capture: 3"), StatusIs(kInvalid, HasSubstr("map of keys")));
  EXPECT_THAT(Load("capture:\n  a: {b: 1}"),
              StatusIs(kInvalid, HasSubstr(":2: capture.a must be a plain")));
  EXPECT_THAT(Load("capture:\n  a: [[1]]"),
              StatusIs(kInvalid, HasSubstr(":2: capture.a must be a list of")));
  EXPECT_THAT(Load("? [x]\n: 1"), StatusIs(kInvalid, HasSubstr("section")));
  EXPECT_THAT(Load("capture:\n  Interval: 1"),
              StatusIs(kInvalid, HasSubstr("got \"Interval\"")));
  EXPECT_THAT(Load("capture: {}\n---\ncapture: {}\n"),
              StatusIs(kInvalid, HasSubstr("one YAML document")));
}

TEST_F(YamlConfigTest, WhatIsNoYamlIsRefusedWithItsLine) {
  EXPECT_THAT(
      Load("capture:\n  a: [1\ngateway: {}\n"),
      StatusIs(kInvalid, AllOf(HasSubstr(path_ + ":"), HasSubstr("not YAML"))));
  EXPECT_THAT(Load("a: 'x"), StatusIs(kInvalid, HasSubstr("not YAML")));
  EXPECT_THAT(Load("\tcapture: 1"), StatusIs(kInvalid));
}

TEST_F(YamlConfigTest, NoTextWhateverItHoldsCrashesIt) {
  for (const std::string& text :
       {std::string(100000, '['), std::string(100000, '-'),
        std::string("\0\0", 2), std::string("\xff\xfe"), std::string("*x"),
        std::string("a: &x [*x]"), std::string("capture: {<<: *x}"),
        std::string("%YAML 9.9\n---\n"), std::string("capture: !!map")}) {
    EXPECT_FALSE(Load(text).ok() && text.size() > 10000);
  }
}

TEST_F(YamlConfigTest, AMissingFileIsNotFound) {
  EXPECT_THAT(YamlConfig::Load(dir_ / "no.yaml", {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no.yaml")));
}

TEST_F(YamlConfigTest, AFileLargerThanAnyConfigurationIsRefused) {
  EXPECT_THAT(Load(std::string(2 << 20, '#')),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(YamlConfigTest, TheEnvironmentOverridesTheFile) {
  ConfigSection section =
      Capture("capture:\n  interval_seconds: 3\n  names: [a]\n",
              {{"CAMHERD_CAPTURE_INTERVAL_SECONDS", "1"},
               {"CAMHERD_CAPTURE_NAMES", "x, y,"},
               {"CAMHERD_CAPTURE_LABEL", "a,b"},
               {"CAMHERD_CAPTURE_EMPTY", ""},
               {"PATH", "/bin"}});
  EXPECT_EQ(section.Seconds("interval_seconds", 3, 0.1, 9), absl::Seconds(1));
  EXPECT_THAT(section.List("names", {}), ElementsAre("x", "y"));
  EXPECT_EQ(section.String("label", ""), "a,b");
  EXPECT_EQ(section.String("empty", "x"), "");
  CAMHERD_EXPECT_OK(section.Finish());
}

TEST_F(YamlConfigTest, ABadValueOfTheEnvironmentNamesTheVariable) {
  ConfigSection section =
      Capture("capture:\n  count: 3\n", {{"CAMHERD_CAPTURE_COUNT", "many"}});
  section.Int("count", 3, 0, 9);
  EXPECT_THAT(section.Finish(),
              StatusIs(kInvalid,
                       "$CAMHERD_CAPTURE_COUNT: capture.count must "
                       "be a whole number in [0, 9], got \"many\""));
}

TEST_F(YamlConfigTest, AVariableOfAnUnknownKeyOrSectionIsRefused) {
  ConfigSection section = Capture("", {{"CAMHERD_CAPTURE_INTERVALL", "3"}});
  section.Int("interval", 3, 0, 9);
  EXPECT_THAT(section.Finish(),
              StatusIs(kInvalid, HasSubstr("$CAMHERD_CAPTURE_INTERVALL: "
                                           "unknown key capture.intervall")));
  for (const char* name : {"CAMHERD_CAMERA_X", "CAMHERD_CAPTURE",
                           "CAMHERD_CAPTURE_", "CAMHERD_", "CAMHERD_X"}) {
    EXPECT_THAT(Load("", {{name, "3"}}),
                StatusIs(kInvalid, HasSubstr(absl::StrCat("$", name))))
        << name;
  }
}

TEST_F(YamlConfigTest, ReservedNamesAreNoOverrides) {
  CAMHERD_EXPECT_OK(
      Load("", {{"CAMHERD_DATA_DIR", "/d"}, {"CAMHERD_WEIGHTS_DIR", "/w"}}));
}

TEST_F(YamlConfigTest, AServiceAddsErrorsOfItsOwn) {
  ConfigSection section = Capture("capture:\n  net: x\n");
  section.String("net", "");
  section.Fail("net", "must be a network, got \"x\"");
  section.Fail("net", "second");
  EXPECT_THAT(section.Finish(),
              StatusIs(kInvalid, path_ + ":2: capture.net must be a network, "
                                         "got \"x\""));
}

TEST_F(YamlConfigTest, ListsTheEffectiveValuesWithSecretsMasked) {
  ConfigSection section =
      Capture("capture:\n  a: 1\n  api_token: canary\n  db_password: canary\n");
  section.Int("a", 2, 0, 9);
  section.Bool("b", false);
  section.Double("c", 0.25, 0, 1);
  section.List("d", {"x", "y"});
  section.String("api_token", "");
  section.String("db_password", "");
  section.String("other_token", "");
  CAMHERD_EXPECT_OK(section.Finish());
  EXPECT_THAT(section.effective(),
              ElementsAre("a=1", "b=false", "c=0.25", "d=x,y", "api_token=***",
                          "db_password=***", "other_token="));
}

TEST_F(YamlConfigTest, ABadSecretIsNotShown) {
  ConfigSection section = Capture("capture:\n  api_token: canary\n");
  section.Choice("api_token", "a", {"a", "b"});
  EXPECT_THAT(section.Finish(), StatusIs(kInvalid, Not(HasSubstr("canary"))));
}

TEST_F(YamlConfigTest, ReadsTheProcessEnvironment) {
  setenv("CAMHERD_YAML_CONFIG_TEST", "a=b", 1);
  EXPECT_EQ(YamlConfig::ProcessEnvironment().at("CAMHERD_YAML_CONFIG_TEST"),
            "a=b");
  unsetenv("CAMHERD_YAML_CONFIG_TEST");
}

}  // namespace
}  // namespace camherd
