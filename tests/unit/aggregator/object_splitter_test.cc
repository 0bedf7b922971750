// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/object_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/support/status_matchers.h"

namespace camherd::aggregator {
namespace {

using ::camherd::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using Found = std::vector<std::pair<int64_t, std::string>>;

struct Result {
  Found objects;
  Found faults;
};

constexpr size_t kMaxObject = 1000;

// An object that holds BAD is no JSON.
Result Split(const std::string& text, size_t piece) {
  Result result;
  ObjectSplitter splitter(
      kMaxObject,
      [&](int64_t line, absl::string_view object) {
        const bool good = object.find("BAD") == absl::string_view::npos;
        (good ? result.objects : result.faults)
            .emplace_back(line, std::string(object));
        return good;
      },
      [&](int64_t line, const std::string& cause) {
        result.faults.emplace_back(line, cause);
      });
  for (size_t at = 0; at < text.size(); at += piece) {
    EXPECT_THAT(splitter.Add(absl::string_view(text).substr(at, piece)),
                IsOk());
  }
  EXPECT_THAT(splitter.Finish(), IsOk());
  return result;
}

// The same however it is cut.
Result Split(const std::string& text) {
  const Result whole = Split(text, text.size() + 1);
  for (const size_t piece : {1, 2, 7, 30}) {
    const Result pieces = Split(text, piece);
    EXPECT_EQ(pieces.objects, whole.objects) << piece;
    EXPECT_EQ(pieces.faults, whole.faults) << piece;
  }
  return whole;
}

TEST(ObjectSplitterTest, FindsObjectsInEveryForm) {
  const std::string a = R"({"basic": {"x": "}{\"]"}, "l": [1, {"y": []}]})";
  const std::string b = R"({"basic": {}})";
  const std::string wide =
      "{\n  \"basic\": {\n    \"x\": [\n      {\n      "
      "  \"y\": 1\n      }\n    ]\n  }\n}";
  struct Case {
    std::string text;
    Found objects;
  };
  const Case cases[] = {
      {a + "\n" + b + "\n", {{1, a}, {2, b}}},
      {a + "\r\n\r\n" + b, {{1, a}, {3, b}}},
      {"\xEF\xBB\xBF" + a + "\n", {{1, a}}},
      {"[" + a + ", " + b + "]", {{1, a}, {1, b}}},
      {"\xEF\xBB\xBF [\n" + a + ",\n" + b + "\n]\n", {{2, a}, {3, b}}},
      {wide + "\n" + wide + "\n", {{1, wide}, {10, wide}}},
      {"[\n" + wide + ",\n" + wide + "\n]", {{2, wide}, {11, wide}}},
      {a + b + a, {{1, a}, {1, b}, {1, a}}},
      {"", {}},
      {"\n \n", {}},
      {"[]\n", {}},
  };
  for (const Case& c : cases) {
    const Result result = Split(c.text);
    EXPECT_EQ(result.objects, c.objects) << c.text;
    EXPECT_THAT(result.faults, IsEmpty()) << c.text;
  }
}

TEST(ObjectSplitterTest, WhatIsCutOffCostsNothingButItself) {
  const std::string good = R"({"basic": {"camID": "C"}})";
  const std::string torn[] = {R"({"basic": {"camID": "C)",
                              R"({"basic": {"camID": )",
                              R"({"basic": {)",
                              R"({"basic")",
                              R"({"basic": {"camID": "C", "l": [1, )",
                              "{"};
  for (const std::string& half : torn) {
    // A line of its own.
    Result result = Split(good + "\n" + half + "\n" + good + "\n" + good);
    EXPECT_THAT(result.objects,
                ElementsAre(Pair(1, good), Pair(3, good), Pair(4, good)))
        << half;
    EXPECT_THAT(result.faults, ElementsAre(Pair(2, HasSubstr("cut off"))))
        << half;
    // The line after it follows at once, as of one who appends after a crash.
    result = Split(half + good + "\n" + good + "\n");
    EXPECT_THAT(result.objects, ElementsAre(Pair(1, good), Pair(2, good)))
        << half;
    EXPECT_THAT(result.faults, ElementsAre(Pair(1, HasSubstr("cut off"))))
        << half;
    // The last one.
    result = Split(good + "\n" + half);
    EXPECT_THAT(result.objects, ElementsAre(Pair(1, good))) << half;
    EXPECT_THAT(result.faults,
                ElementsAre(Pair(2, HasSubstr("the file ends within it"))))
        << half;
  }
}

TEST(ObjectSplitterTest, AnArrayThatIsCutOffKeepsItsWholeElements) {
  const std::string good = R"({"basic": {"camID": "C"}})";
  for (const char* between : {", ", ",\n"}) {
    const Result result =
        Split(absl::StrCat("[", good, between, good, between, "{\"basic\": {"));
    EXPECT_EQ(result.objects.size(), 2U);
    EXPECT_THAT(result.faults,
                ElementsAre(Pair(::testing::_, HasSubstr("cut off")),
                            Pair(::testing::_, HasSubstr("has no end"))));
  }
  EXPECT_THAT(Split("[" + good + ",\n").faults,
              ElementsAre(Pair(2, HasSubstr("has no end"))));
}

TEST(ObjectSplitterTest, ThePartsOfAWideObjectThatIsCutOffAreNone) {
  const std::string wide =
      "  {\n    \"basic\": {\"camID\": \"C\"},\n    \"s\": {\n      "
      "\"detections\": [\n        {\"class\": \"dog\"},\n        {\"class\": "
      "\"cat\"}\n      ]\n    }\n  }";
  const std::string good =
      absl::StrReplaceAll(wide, {{"  {\n    \"b", "{\n    \"b"}});
  const size_t lines = 10;
  const size_t cut = wide.find("\"cat") + 2;
  const Result result =
      Split("[\n" + wide.substr(0, cut) + "\n" + wide + ",\n" + wide + "\n]\n");
  EXPECT_THAT(result.objects,
              ElementsAre(Pair(8, good), Pair(8 + lines - 1, good)));
  EXPECT_THAT(result.faults, ElementsAre(Pair(2, HasSubstr("cut off"))));
}

TEST(ObjectSplitterTest, OtherThingsAreReportedOnceALine) {
  const std::string good = R"({"basic": {}})";
  const Result result =
      Split("nonsense, more\n" + good + "\n" + std::string(300, '\0') + good +
            "\n\"text\"\n12 x\n" + good + "\n" + std::string(5, '\0'));
  EXPECT_THAT(result.objects,
              ElementsAre(Pair(2, good), Pair(3, good), Pair(6, good)));
  EXPECT_THAT(
      result.faults,
      ElementsAre(Pair(1, HasSubstr("got \"nonsense, ")),
                  Pair(3, HasSubstr("NUL")), Pair(4, HasSubstr("text")),
                  Pair(5, HasSubstr("12 x")), Pair(7, HasSubstr("NUL"))));
}

TEST(ObjectSplitterTest, LooksInsideAnObjectThatIsNone) {
  const std::string good = R"({"basic": {}})";
  // Its braces match by accident.
  const Result result = Split("{BAD\n" + good + "\n" + good + "}\n" + good);
  EXPECT_THAT(result.objects,
              ElementsAre(Pair(2, good), Pair(3, good), Pair(4, good)));
  // Its parts are none.
  EXPECT_THAT(Split("{\"basic\": {\n  {\"BAD\": 1}\n}}\n" + good).objects,
              ElementsAre(Pair(4, good)));
}

TEST(ObjectSplitterTest, LongAndDeepOnesAreRefusedInBoundedMemory) {
  const std::string good = R"({"basic": {}})";
  const std::string text(3 * kMaxObject, 'x');
  Result result = Split("{\"basic\": \"" + text + "\"}\n" + good + "\n");
  EXPECT_THAT(result.objects, ElementsAre(Pair(2, good)));
  EXPECT_THAT(result.faults,
              ElementsAre(Pair(1, HasSubstr("at most 1000 bytes"))));
  result = Split(std::string(200, '[') + "{\"basic\":" + std::string(70, '[') +
                 "\n" + good + "\n");
  EXPECT_THAT(result.objects, ElementsAre(Pair(2, good)));
  EXPECT_THAT(result.faults,
              ::testing::Contains(Pair(1, HasSubstr("64 deep"))));
}

TEST(ObjectSplitterTest, AnErrorEndsIt) {
  int objects = 0;
  ObjectSplitter splitter(
      kMaxObject,
      [&](int64_t, absl::string_view) -> absl::StatusOr<bool> {
        ++objects;
        return absl::ResourceExhaustedError("full");
      },
      [](int64_t, const std::string&) {});
  EXPECT_EQ(splitter.Add("{}\n{}\n").code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(objects, 1);
}

}  // namespace
}  // namespace camherd::aggregator
