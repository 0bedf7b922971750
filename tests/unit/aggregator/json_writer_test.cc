// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/json_writer.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace camherd::aggregator {
namespace {

std::string StringOf(absl::string_view value) {
  std::string out;
  JsonWriter(out).String(value);
  return out;
}

std::string DoubleOf(double value) {
  std::string out;
  JsonWriter(out).Double(value);
  return out;
}

std::string RoundedOf(double value) {
  std::string out;
  JsonWriter(out).Rounded(value, 4);
  return out;
}

TEST(JsonWriterTest, SeparatesAsPythonDoes) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject();
  json.Key("a");
  json.Int(1);
  json.Key("b");
  json.BeginArray();
  json.BeginObject();
  json.EndObject();
  json.Null();
  json.EndArray();
  json.EndObject();
  EXPECT_EQ(out, R"({"a": 1, "b": [{}, null]})");
}

TEST(JsonWriterTest, EscapesQuotesAndControlCharacters) {
  EXPECT_EQ(StringOf("a\"b\\c\n\r\t\x01\x7F"),
            R"("a\"b\\c\n\r\t\u0001\u007f")");
}

TEST(JsonWriterTest, KeepsValidUtf8) { EXPECT_EQ(StringOf("ü€😀"), "\"ü€😀\""); }

TEST(JsonWriterTest, ReplacesBytesThatAreNoUtf8) {
  EXPECT_EQ(StringOf("a\xFFz"), "\"a\xEF\xBF\xBDz\"");
  // An overlong slash, a surrogate and a cut sequence.
  EXPECT_EQ(StringOf("\xC0\xAF"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_EQ(StringOf("\xED\xA0\x80"),
            "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_EQ(StringOf("\xE2\x82"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST(JsonWriterTest, WritesDoublesSoThatTheyReadBackTheSame) {
  EXPECT_EQ(DoubleOf(26.4499), "26.4499");
  EXPECT_EQ(DoubleOf(80), "80.0");
  EXPECT_EQ(DoubleOf(-0.1), "-0.1");
  EXPECT_EQ(DoubleOf(std::numeric_limits<double>::infinity()), "null");
}

TEST(JsonWriterTest, RoundsToFourPlacesWithoutTrailingZeros) {
  EXPECT_EQ(RoundedOf(0.89), "0.89");
  EXPECT_EQ(RoundedOf(0.123456), "0.1235");
  EXPECT_EQ(RoundedOf(1), "1.0");
  EXPECT_EQ(RoundedOf(0.00001), "0.0");
}

}  // namespace
}  // namespace camherd::aggregator
