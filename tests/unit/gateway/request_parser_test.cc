// SPDX-License-Identifier: Apache-2.0
#include "gateway/request_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace camherd::gateway {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;

std::string Head(absl::string_view line, absl::string_view headers = "") {
  return absl::StrCat(line, "\r\nHost: localhost\r\n", headers, "\r\n");
}

RequestHead Accepted(const std::string& head) {
  std::variant<RequestHead, Refusal> parsed = ParseHead(head);
  if (const Refusal* refusal = std::get_if<Refusal>(&parsed)) {
    ADD_FAILURE() << refusal->message;
    return {};
  }
  return std::get<RequestHead>(std::move(parsed));
}

// The code of the refusal, or 200.
int Code(const std::string& head) {
  const std::variant<RequestHead, Refusal> parsed = ParseHead(head);
  const Refusal* refusal = std::get_if<Refusal>(&parsed);
  return static_cast<int>(refusal == nullptr ? HttpCode::kOk : refusal->code);
}

TEST(RequestParserTest, ReadsMethodPathQueryHeadersAndLength) {
  const RequestHead head =
      Accepted(Head("POST /a%20b?x=1&y=%41 HTTP/1.1",
                    "Content-Length: 12\r\nX-Thing:  padded value \r\n"));
  EXPECT_EQ(head.request.method, "POST");
  EXPECT_EQ(head.request.path, "/a b");
  EXPECT_EQ(head.request.query, "x=1&y=%41");
  EXPECT_EQ(head.request.Header("x-thing"), "padded value");
  EXPECT_EQ(head.content_length, 12u);
}

TEST(RequestParserTest, TakesThePercentSignsOfOrdinaryHeaders) {
  EXPECT_EQ(Code(Head("GET / HTTP/1.1", "Referer: http://localhost/a%20b\r\n")),
            200);
}

struct Hostile {
  const char* name;
  std::string head;
  int code;
};

class HostileHeadTest : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileHeadTest, IsRefused) {
  EXPECT_EQ(Code(GetParam().head), GetParam().code);
}

INSTANTIATE_TEST_SUITE_P(
    RequestParser, HostileHeadTest,
    ::testing::Values(
        Hostile{"chunked",
                Head("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n"), 501},
        Hostile{"xchunked",
                Head("POST / HTTP/1.1", "Transfer-Encoding: xchunked\r\n"),
                501},
        Hostile{"length_and_chunked",
                Head("POST / HTTP/1.1",
                     "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
                501},
        Hostile{"gzip", Head("POST / HTTP/1.1", "Content-Encoding: gzip\r\n"),
                415},
        Hostile{"two_lengths",
                Head("POST / HTTP/1.1",
                     "Content-Length: 3\r\nContent-Length: 3\r\n"),
                400},
        Hostile{"length_abc",
                Head("POST / HTTP/1.1", "Content-Length: abc\r\n"), 400},
        Hostile{"length_negative",
                Head("POST / HTTP/1.1", "Content-Length: -1\r\n"), 400},
        Hostile{"length_plus",
                Head("POST / HTTP/1.1", "Content-Length: +3\r\n"), 400},
        Hostile{"length_list",
                Head("POST / HTTP/1.1", "Content-Length: 3, 3\r\n"), 400},
        Hostile{"length_empty", Head("POST / HTTP/1.1", "Content-Length:\r\n"),
                400},
        Hostile{"length_of_24_digits",
                Head("POST / HTTP/1.1",
                     "Content-Length: 999999999999999999999999\r\n"),
                413},
        Hostile{"get_with_body",
                Head("GET / HTTP/1.1", "Content-Length: 5\r\n"), 400},
        Hostile{"folded_header", Head("GET / HTTP/1.1", "X-A: b\r\n c: d\r\n"),
                400},
        Hostile{"control_in_value", Head("GET / HTTP/1.1", "X-A: a\x01z\r\n"),
                400},
        Hostile{"nul_in_value",
                Head("GET / HTTP/1.1", absl::string_view("X-A: a\0z\r\n", 10)),
                400},
        Hostile{"bare_cr", Head("GET / HTTP/1.1", "X-A: a\rX-B: c\r\n"), 400},
        Hostile{"bare_lf", Head("GET / HTTP/1.1", "X-A: a\nX-B: c\r\n"), 400},
        Hostile{"space_before_colon", Head("GET / HTTP/1.1", "X-A : a\r\n"),
                400},
        Hostile{"no_colon", Head("GET / HTTP/1.1", "nothing\r\n"), 400},
        Hostile{"remote_addr",
                Head("GET / HTTP/1.1", "REMOTE_ADDR: 1.2.3.4\r\n"), 400},
        Hostile{"local_port", Head("GET / HTTP/1.1", "Local_Port: 1\r\n"), 400},
        Hostile{"two_tokens",
                Head("GET / HTTP/1.1",
                     "Authorization: Bearer a\r\n"
                     "Authorization: Bearer b\r\n"),
                400},
        Hostile{"two_hosts", Head("GET / HTTP/1.1", "Host: evil\r\n"), 400},
        Hostile{"no_host", "GET / HTTP/1.1\r\nX-A: b\r\n\r\n", 400},
        Hostile{"nul_in_path", Head("GET /a%00b HTTP/1.1"), 400},
        Hostile{"nul_in_query", Head("GET /a?b=%00 HTTP/1.1"), 400},
        Hostile{"crlf_in_path", Head("GET /a%0d%0ab HTTP/1.1"), 400},
        Hostile{"slash_in_segment", Head("GET /a%2Fb HTTP/1.1"), 400},
        Hostile{"broken_escape", Head("GET /a%zz HTTP/1.1"), 400},
        Hostile{"cut_escape", Head("GET /a%4 HTTP/1.1"), 400},
        Hostile{"u_escape", Head("GET /a%u0041 HTTP/1.1"), 400},
        Hostile{"no_utf8", Head("GET /a%ff HTTP/1.1"), 400},
        Hostile{"raw_high_byte", Head("GET /\xc3\xa4 HTTP/1.1"), 400},
        Hostile{"absolute_target", Head("GET http://evil/ HTTP/1.1"), 400},
        Hostile{"two_spaces", Head("GET  / HTTP/1.1"), 400},
        Hostile{"no_version", Head("GET /"), 400},
        Hostile{"http2", Head("GET / HTTP/2.0"), 505},
        Hostile{"http2_preface", Head("PRI * HTTP/2.0"), 505},
        Hostile{"trace", Head("TRACE / HTTP/1.1"), 501},
        Hostile{"lower_case", Head("get / HTTP/1.1"), 501},
        Hostile{"expect_other", Head("POST / HTTP/1.1", "Expect: tea\r\n"),
                417},
        Hostile{
            "long_path",
            Head(absl::StrCat("GET /", std::string(2000, 'a'), " HTTP/1.1")),
            414},
        Hostile{
            "long_query",
            Head(absl::StrCat("GET /?", std::string(5000, 'a'), " HTTP/1.1")),
            414}),
    [](const auto& info) { return info.param.name; });

TEST(RequestParserTest, Takes64HeadersAndRefusesMore) {
  std::string headers;
  for (int i = 0; i < 63; ++i) absl::StrAppend(&headers, "X-A: b\r\n");
  EXPECT_EQ(Code(Head("GET / HTTP/1.1", headers)), 200);
  absl::StrAppend(&headers, "X-A: b\r\n");
  EXPECT_EQ(Code(Head("GET / HTTP/1.1", headers)), 431);
}

TEST(RequestParserTest, AnOldClientNeedsNoHost) {
  EXPECT_EQ(Code("GET / HTTP/1.0\r\nX-A: b\r\n\r\n"), 200);
}

TEST(RequestParserTest, SaysWhetherAnotherRequestMayFollow) {
  EXPECT_TRUE(Accepted(Head("GET / HTTP/1.1")).request.keep_alive);
  EXPECT_TRUE(Accepted(Head("GET / HTTP/1.1", "Connection: keep-alive\r\n"))
                  .request.keep_alive);
  EXPECT_FALSE(Accepted(Head("GET / HTTP/1.1", "Connection: te, CLOSE\r\n"))
                   .request.keep_alive);
  EXPECT_FALSE(
      Accepted(Head("GET / HTTP/1.1", "Connection: a\r\nConnection: close\r\n"))
          .request.keep_alive);
  EXPECT_FALSE(Accepted(Head("GET / HTTP/1.0", "Connection: keep-alive\r\n"))
                   .request.keep_alive);
}

TEST(RequestParserTest, SaysEarlyThatBytesAreNoHttp) {
  EXPECT_THAT(CheckHeadSoFar("\x16\x03\x01"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CheckHeadSoFar("GET / HTTP/1.1\n"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  CAMHERD_EXPECT_OK(CheckHeadSoFar("GET / HTTP/1.1\r"));
}

TEST(RequestParserTest, ReadsAForm) {
  EXPECT_THAT(*ParseForm("a=1+2&b=rtsp%3A%2F%2Fx%2Fy&c="),
              ::testing::ElementsAre(
                  std::pair<std::string, std::string>("a", "1 2"),
                  std::pair<std::string, std::string>("b", "rtsp://x/y"),
                  std::pair<std::string, std::string>("c", "")));
}

TEST(RequestParserTest, RefusesAFieldGivenTwice) {
  EXPECT_THAT(ParseForm("a=1&a=2"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"a\" is given twice")));
}

TEST(RequestParserTest, RefusesAFormThatIsNoUtf8OrHoldsNul) {
  EXPECT_FALSE(ParseForm("a=%ff").ok());
  EXPECT_FALSE(ParseForm("a=%00").ok());
  EXPECT_FALSE(ParseForm("a=%c0%80").ok());
}

TEST(RequestParserTest, FindsTheHostOfAnAuthority) {
  EXPECT_EQ(HostOf("LocalHost:5000"), "localhost");
  EXPECT_EQ(HostOf("[::1]:5000"), "::1");
  EXPECT_EQ(HostOf("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(HostOf("a:b:c"), "");
  EXPECT_EQ(HostOf("user@localhost"), "");
  EXPECT_EQ(HostOf("localhost:99999999"), "");
}

TEST(RequestParserTest, EncodesAPathSoThatItDecodesToItself) {
  const std::string path = "/a b/\xc3\xa4%/c?d#e+f";
  EXPECT_EQ(*PercentDecode(PercentEncodePath(path), false), path);
}

}  // namespace
}  // namespace camherd::gateway
