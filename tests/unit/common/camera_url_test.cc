// SPDX-License-Identifier: Apache-2.0
#include "services/common/camera_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace camherd {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

CameraUrl Parsed(absl::string_view url, absl::string_view user = "",
                 absl::string_view password = "") {
  auto parsed = CameraUrl::Parse(url, user, password);
  EXPECT_THAT(parsed, camherd::testing::IsOk()) << url;
  return parsed.ok() ? *std::move(parsed)
                     : CameraUrl::Parse("rtsp://failed/").value();
}

TEST(CameraUrlTest, TakesAPlainUrlAsItIs) {
  const CameraUrl url = Parsed("rtsp://127.0.0.1:8554/demo");
  EXPECT_EQ(url.Full(), "rtsp://127.0.0.1:8554/demo");
  EXPECT_EQ(url.Masked(), "rtsp://127.0.0.1:8554/demo");
  EXPECT_EQ(url.host(), "127.0.0.1");
  EXPECT_EQ(url.port(), 8554);
  EXPECT_FALSE(url.tls());
  EXPECT_FALSE(url.has_credentials());
}

TEST(CameraUrlTest, MasksUserAndPassword) {
  const CameraUrl url = Parsed("rtsp://user:pass@camera.example:8554/demo");
  EXPECT_EQ(url.Full(), "rtsp://user:pass@camera.example:8554/demo");
  EXPECT_EQ(url.Masked(), "rtsp://***:***@camera.example:8554/demo");
  EXPECT_TRUE(url.has_credentials());
}

TEST(CameraUrlTest, GivesUserAndPasswordUnencoded) {
  const CameraUrl url = Parsed("rtsp://us%40er:p%3Aass%2F@cam/");
  EXPECT_EQ(url.user(), "us@er");
  EXPECT_EQ(url.password(), "p:ass/");
  EXPECT_EQ(Parsed("rtsp://user@cam/").password(), "");
}

TEST(CameraUrlTest, KnowsTheDefaultPorts) {
  EXPECT_EQ(Parsed("rtsp://cam/").port(), 554);
  EXPECT_EQ(Parsed("rtsps://cam/").port(), 322);
  EXPECT_TRUE(Parsed("rtsps://cam/").tls());
}

TEST(CameraUrlTest, SchemeAndHostBecomeLowerCaseThePathDoesNot) {
  EXPECT_EQ(Parsed("RTSP://CAM.Local/Ch1").Full(), "rtsp://cam.local/Ch1");
}

TEST(CameraUrlTest, NamesThatOnlyLookLikeNumbersAreNames) {
  for (const char* host : {"cam1", "1.cam", "0xcam", "10-0-0-1.lan", "1.2.3.x4",
                           "10.0.0.1", "255.255.255.255"}) {
    EXPECT_EQ(Parsed(absl::StrCat("rtsp://", host, "/")).host(), host);
  }
}

TEST(CameraUrlTest, TakesIpv6HostsInBrackets) {
  const CameraUrl url = Parsed("rtsp://a:b@[2001:DB8::1]:554/x");
  EXPECT_EQ(url.host(), "2001:db8::1");
  EXPECT_EQ(url.port(), 554);
  EXPECT_EQ(url.Full(), "rtsp://a:b@[2001:db8::1]:554/x");
  EXPECT_EQ(url.Masked(), "rtsp://***:***@[2001:db8::1]:554/x");
}

TEST(CameraUrlTest, TakesAnIpv4AddressInsideOfAnIpv6One) {
  EXPECT_EQ(Parsed("rtsp://[::ffff:10.0.0.1]/").host(), "::ffff:10.0.0.1");
}

TEST(CameraUrlTest, UserInfoIsEncodedTheSameHoweverItWasWritten) {
  EXPECT_EQ(Parsed("rtsp://us%65r:p%40ss%3aw@h/").Full(),
            "rtsp://user:p%40ss%3Aw@h/");
  // A second colon belongs to the password (RFC 3986 §3.2.1).
  EXPECT_EQ(Parsed("rtsp://user:a:b@h/").Full(), "rtsp://user:a%3Ab@h/");
  EXPECT_EQ(Parsed("rtsp://user:a!$&'()*+,;=b@h/").Masked(),
            "rtsp://***:***@h/");
}

TEST(CameraUrlTest, MasksAlsoAnEmptyUserAnEmptyPasswordAndAUserAlone) {
  for (const char* url :
       {"rtsp://:canary@h/x", "rtsp://canary:@h/x", "rtsp://canary@h/x"}) {
    EXPECT_EQ(Parsed(url).Masked(), "rtsp://***:***@h/x") << url;
    EXPECT_THAT(Parsed(url).Full(), HasSubstr("canary"));
  }
}

TEST(CameraUrlTest, EmptyUserInfoIsNone) {
  for (const char* url : {"rtsp://@h/x", "rtsp://:@h/x"}) {
    EXPECT_EQ(Parsed(url).Full(), "rtsp://h/x") << url;
    EXPECT_FALSE(Parsed(url).has_credentials());
  }
}

TEST(CameraUrlTest, UserAndPasswordFieldsReplaceTheUserInfoAndAreEncoded) {
  const CameraUrl url =
      Parsed("rtsp://old:canary@h/x", "ad min", "p@:/?#%\"\xc3\xa9");
  EXPECT_EQ(url.Full(), "rtsp://ad%20min:p%40%3A%2F%3F%23%25%22%C3%A9@h/x");
  EXPECT_EQ(url.Masked(), "rtsp://***:***@h/x");
  EXPECT_EQ(Parsed("rtsp://h", "u", "").Full(), "rtsp://u:@h");
}

TEST(CameraUrlTest, APasswordFieldWithoutAUserIsRefusedWithoutShowingIt) {
  EXPECT_THAT(CameraUrl::Parse("rtsp://h/x", "", "canary"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("user must not be empty"),
                             Not(HasSubstr("canary")))));
}

TEST(CameraUrlTest, CredentialsThatCouldForgeAHeaderAreRefused) {
  for (const char* url : {"rtsp://a:b%0d%0aX@h/", "rtsp://a%00:b@h/"}) {
    EXPECT_THAT(CameraUrl::Parse(url),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("control characters")))
        << url;
  }
  EXPECT_THAT(CameraUrl::Parse("rtsp://h/", "u\r\n", "p"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("user")));
  EXPECT_THAT(CameraUrl::Parse("rtsp://h/", "u", std::string(300, 'p')),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "password must be at most 256 bytes, got 300"));
}

TEST(CameraUrlTest, AUrlThatGrowsTooLongByEncodingIsRefusedWithoutItsSecret) {
  const std::string url = absl::StrCat("rtsp://u:canary", std::string(200, '!'),
                                       "@h/", std::string(1700, 'x'));
  ASSERT_LT(url.size(), 2048u);
  const auto too_long =
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("rtsp_url must be at most 2048 characters"),
                     Not(HasSubstr("canary"))));
  EXPECT_THAT(CameraUrl::Parse(url), too_long);
  EXPECT_THAT(CameraUrl::Parse("rtsp://h/" + std::string(1700, 'x'), "u",
                               "canary" + std::string(200, '!')),
              too_long);
}

TEST(CameraUrlTest, AnAtInThePathIsRefusedAlsoBehindEmptyUserInfo) {
  for (const char* url :
       {"rtsp://h:554/cam@1", "rtsp://@h:554/cam@1", "rtsp://:@h:554/cam@1"}) {
    EXPECT_THAT(CameraUrl::Parse(url),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("%40")))
        << url;
  }
  EXPECT_EQ(Parsed("rtsp://u:p@h:554/cam@1").Full(), "rtsp://u:p@h:554/cam@1");
}

TEST(CameraUrlTest, OtherCredentialsReplaceTheUserInfo) {
  const CameraUrl url = Parsed("rtsps://old:canary@[::1]:8554/a?b=c");
  EXPECT_EQ(url.WithCredentials("us@er", "p:")->Full(),
            "rtsps://us%40er:p%3A@[::1]:8554/a?b=c");
  EXPECT_EQ(url.WithCredentials("", "p")->Full(),
            "rtsps://:p@[::1]:8554/a?b=c");
  const auto without = url.WithCredentials("", "");
  ASSERT_THAT(without, camherd::testing::IsOk());
  EXPECT_EQ(without->Full(), "rtsps://[::1]:8554/a?b=c");
  EXPECT_EQ(without->Masked(), "rtsps://[::1]:8554/a?b=c");
  EXPECT_FALSE(without->has_credentials());
  EXPECT_THAT(
      url.WithCredentials("u", "canary\n"),
      StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("canary"))));
}

// URLs of odd parts, put together at random.
class OddUrls {
 public:
  std::string Next() {
    return absl::StrCat(
        Pick({"rtsp://", "rtsps://", "RTSP://"}),
        Pick({"", "", "@", ":@", "u@", "u:@", ":p@", "u:p@", "u:a:b@",
              "u%3a:%40%25@", "%c3%a9:!$&'@", "u%00:p@", "a:b@c@"}),
        Pick({"h", "H.x", "h:554", "h:00554", "[::1]", "[2001:DB8::1]:8554",
              "127.0.0.1:1", "u:12", "h:65536", ""}),
        Pick({"", "/", "?", "/x", "//", "/cam@1", "/u:p@h/x", "/a%40b", "/a%zz",
              "?src=rtsp://u:p@cam/1", "/pwd=p?token=t", "/a/../b;c,d"}),
        Long());
  }
  // For the fields `user` and `password`.
  std::string Credential() {
    return std::string(Pick({"", "", "u", "p@:/?#%", "\xc3\xa9", "a b"})) +
           (Chance(20) ? std::string(200, '%') : "");
  }

 private:
  bool Chance(unsigned one_in) { return random_() % one_in == 0; }
  const char* Pick(const std::vector<const char*>& from) {
    return from[random_() % from.size()];
  }
  // Brings some near to the limit, from both sides.
  std::string Long() {
    return Chance(4) ? std::string(1300 + random_() % 800, 'x') : "";
  }

  std::mt19937 random_{20240501};
};

void ExpectTheSame(const CameraUrl& again, const CameraUrl& url) {
  EXPECT_EQ(again.Full(), url.Full());
  EXPECT_EQ(again.Masked(), url.Masked());
  EXPECT_EQ(again.user(), url.user());
  EXPECT_EQ(again.password(), url.password());
  EXPECT_EQ(again.host(), url.host());
  EXPECT_EQ(again.port(), url.port());
  EXPECT_EQ(again.tls(), url.tls());
  EXPECT_EQ(again.ProcessName(), url.ProcessName());
}

TEST(CameraUrlTest, WhateverWasAcceptedParsesAgainAsTheSameUrl) {
  OddUrls odd;
  int accepted = 0;
  for (int i = 0; i < 20000 && !HasFailure(); ++i) {
    const std::string text = odd.Next();
    const std::string user = odd.Credential();
    const std::string password = odd.Credential();
    SCOPED_TRACE(absl::StrCat(text, " user ", user, " password ", password));
    const auto url = CameraUrl::Parse(text, user, password);
    if (!url.ok()) continue;
    ++accepted;
    const auto again = CameraUrl::Parse(url->Full());
    ASSERT_THAT(again, camherd::testing::IsOk());
    ExpectTheSame(*again, *url);
    const auto other = url->WithCredentials(odd.Credential(), odd.Credential());
    if (!other.ok()) continue;
    const auto other_again = CameraUrl::Parse(other->Full());
    ASSERT_THAT(other_again, camherd::testing::IsOk());
    ExpectTheSame(*other_again, *other);
  }
  EXPECT_GT(accepted, 1000);
}

struct BadUrl {
  const char* name;
  std::string url;
  // Part of the message.
  const char* reason;
};

class BadCameraUrlTest : public ::testing::TestWithParam<BadUrl> {};

TEST_P(BadCameraUrlTest, IsRefusedWithItsReasonAndNoSecret) {
  const auto parsed = CameraUrl::Parse(GetParam().url);
  EXPECT_THAT(
      parsed,
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("rtsp_url "), HasSubstr(", got \""),
                     HasSubstr(GetParam().reason), Not(HasSubstr("canary")))));
  for (const char c : parsed.status().message()) {
    EXPECT_TRUE(c >= 0x20 && c < 0x7f) << parsed.status();
  }
  EXPECT_LE(parsed.status().message().size(), 400u);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadCameraUrlTest,
    ::testing::Values(
        BadUrl{"Empty", "", "must not be empty"},
        BadUrl{"Http", "http://u:canary@h/", "must begin with rtsp://"},
        BadUrl{"File", "file:///etc/passwd", "must begin with rtsp://"},
        BadUrl{"Exec", "exec:cat", "must begin with rtsp://"},
        BadUrl{"NoScheme", "u:canary@h/x", "must begin with rtsp://"},
        BadUrl{"OneSlash", "rtsp:/u:canary@h/x", "must begin with rtsp://"},
        BadUrl{"LeadingSpace", " rtsp://u:canary@h", "must begin with rtsp://"},
        BadUrl{"Rtspu", "rtspu://h/", "must begin with rtsp://"},
        BadUrl{"Space", "rtsp://u:can ary@h/ x", "spaces or control"},
        BadUrl{"NewLine", "rtsp://h/x\nrtsp://y", "spaces or control"},
        BadUrl{"Nul", std::string("rtsp://h/\0x", 11), "spaces or control"},
        BadUrl{"Delete", "rtsp://h/\x7f", "spaces or control"},
        BadUrl{"EncodedNewLine", "rtsp://h/x%0d%0aCANARY:y", "control"},
        BadUrl{"EncodedNewLineInQuery", "rtsp://h/?x=%0Ay", "control"},
        BadUrl{"EncodedNewLineInUser", "rtsp://u%0a:canary@h/", "control"},
        BadUrl{"EncodedNul", "rtsp://h/%00", "control"},
        BadUrl{"EncodedDelete", "rtsp://h/%7f", "control"},
        BadUrl{"NotAscii", "rtsp://h/\xc3\xa9", "percent-encoded"},
        BadUrl{"Quote", "rtsp://h/\"x", "percent-encoded"},
        BadUrl{"Backslash", "rtsp://h\\x", "percent-encoded"},
        BadUrl{"BadPercent", "rtsp://u:canary%zz@h/", "percent-encoded"},
        BadUrl{"CutPercent", "rtsp://h/%4", "percent-encoded"},
        BadUrl{"Fragment", "rtsp://h/x#y", "must hold no #"},
        BadUrl{"HashInPassword", "rtsp://u:canary#x@h/y", "%23"},
        BadUrl{"TwoAts", "rtsp://u:canary@canary@h/", "one @"},
        BadUrl{"TwoAtsNoPassword", "rtsp://canary@x@h/", "one @"},
        BadUrl{"SlashInPassword", "rtsp://u:canary/x@h/y", "%2F"},
        BadUrl{"NumberSlashInPassword", "rtsp://u:12/canary@h/y", "%2F"},
        BadUrl{"QuestionInPassword", "rtsp://u:12?canary@h/y", "%3F"},
        BadUrl{"NoHost", "rtsp://", "must name a host"},
        BadUrl{"NoHostPath", "rtsp:///x", "must name a host"},
        BadUrl{"NoHostPort", "rtsp://:554/", "must name a host"},
        BadUrl{"NoHostUser", "rtsp://u:canary@/x", "must name a host"},
        BadUrl{"EncodedHost", "rtsp://%31/", "must have a host of"},
        BadUrl{"EncodedHostDot", "rtsp://127%2e0.0.1/", "must have a host of"},
        BadUrl{"UnicodeHost", "rtsp://k\xc3\xa4mera.example/", "percent"},
        // Full-width digits, which name preparation turns into 127.
        BadUrl{"FullWidthHost", "rtsp://\xef\xbc\x91\xef\xbc\x92/", "percent"},
        BadUrl{"DecimalHost", "rtsp://2130706433/", "four decimal numbers"},
        BadUrl{"HexadecimalHost", "rtsp://0x7f000001/", "four decimal"},
        BadUrl{"HexadecimalPart", "rtsp://127.0.0.0x1/", "four decimal"},
        BadUrl{"OctalHost", "rtsp://0177.0.0.1/", "four decimal"},
        BadUrl{"ShortHost", "rtsp://127.1/", "four decimal"},
        BadUrl{"LongIpv4", "rtsp://127.0.0.1.1/", "four decimal"},
        BadUrl{"Ipv4OutOfRange", "rtsp://127.0.0.256/", "four decimal"},
        BadUrl{"Ipv4WithDot", "rtsp://127.0.0.1./", "four decimal"},
        BadUrl{"NumberWithDot", "rtsp://2130706433./", "four decimal"},
        BadUrl{"BareHexadecimal", "rtsp://127.0.0.0x/", "four decimal"},
        BadUrl{"HostList", "rtsp://a,b/", "must have a host of"},
        BadUrl{"LongHost", "rtsp://" + std::string(254, 'h') + "/",
               "must have a host of"},
        BadUrl{"Port0", "rtsp://h:0/", "port in [1, 65535]"},
        BadUrl{"PortTooBig", "rtsp://h:65536/", "port in [1, 65535]"},
        BadUrl{"PortHuge", "rtsp://h:4294967850/", "port in [1, 65535]"},
        BadUrl{"PortNegative", "rtsp://h:-1/", "port in [1, 65535]"},
        BadUrl{"PortPlus", "rtsp://h:+554/", "port in [1, 65535]"},
        BadUrl{"PortEmpty", "rtsp://h:/", "port in [1, 65535]"},
        BadUrl{"PortText", "rtsp://h:port/x?p=canary", "port in [1, 65535]"},
        BadUrl{"Ipv6Bare", "rtsp://2001:db8::1/", "port in [1, 65535]"},
        BadUrl{"Ipv6Open", "rtsp://[::1/", "close the ["},
        BadUrl{"Ipv6Bad", "rtsp://[::g]/", "IPv6 address"},
        BadUrl{"Ipv6Zone", "rtsp://[fe80::1%25eth0]/", "IPv6 address"},
        BadUrl{"Ipv6Close", "rtsp://::1]/", "must name a host"},
        BadUrl{"Ipv6CloseOnly", "rtsp://h]/", "must have a host of"},
        BadUrl{"Ipv6Nested", "rtsp://[[::1]]/", "IPv6 address"},
        BadUrl{"Ipv6Empty", "rtsp://[]/", "IPv6 address"},
        BadUrl{"Ipv6PortEmpty", "rtsp://[::1]:/", "port in [1, 65535]"},
        BadUrl{"Ipv6Tail", "rtsp://[::1]x/", "IPv6 address"},
        BadUrl{"Ipv4InBrackets", "rtsp://[127.0.0.1]/", "IPv6 address"},
        BadUrl{"TooLong", "rtsp://u:canary@h/" + std::string(2040, 'x'),
               "at most 2048 characters"},
        BadUrl{"SecretInQueryOfABadUrl", "rtsp://h:x/?password=canary", "port"},
        BadUrl{"LongPassword",
               "rtsp://u:canary" + std::string(5000, 'x') + "@h/", "2048"},
        BadUrl{"HugeValue", std::string(100000, '%'), "2048"},
        BadUrl{"Megabyte", "rtsp://u:canary@h/" + std::string(1 << 20, 'x'),
               "2048"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(CameraUrlTest, AMessageShowsAtMostAHundredCharactersOfTheValue) {
  const auto parsed = CameraUrl::Parse("ftp://" + std::string(500, 'x'));
  EXPECT_THAT(std::string(parsed.status().message()), EndsWith("xxx...\""));
  EXPECT_LT(parsed.status().message().size(), 200u);
}

struct Masking {
  std::string url;
  std::string masked;
};

class MaskedCameraUrlTest : public ::testing::TestWithParam<Masking> {};

TEST_P(MaskedCameraUrlTest, ShowsNoSecretAndKeepsTheRest) {
  EXPECT_EQ(Parsed(GetParam().url).Masked(), GetParam().masked);
  EXPECT_EQ(Parsed(GetParam().url).Full(), GetParam().url);
  // In free text the mask may cover more, never less.
  EXPECT_THAT(MaskSecrets(GetParam().url), Not(HasSubstr("canary")));
}

INSTANTIATE_TEST_SUITE_P(
    All, MaskedCameraUrlTest,
    ::testing::Values(
        // Query.
        Masking{"rtsp://h/x?channel=1&password=canary&sub=0",
                "rtsp://h/x?channel=1&password=***&sub=0"},
        Masking{"rtsp://h/x?token=canary", "rtsp://h/x?token=***"},
        Masking{"rtsp://h/x?access_token=canary;y=2",
                "rtsp://h/x?access_token=***;y=2"},
        Masking{"rtsp://h/x?PWD=canary", "rtsp://h/x?PWD=***"},
        Masking{"rtsp://h/?pass%77ord=canary", "rtsp://h/?pass%77ord=***"},
        Masking{"rtsp://h/?password%3Dcanary", "rtsp://h/?password%3D***"},
        Masking{"rtsp://h/?password=can/ary?=can%26ary",
                "rtsp://h/?password=***"},
        Masking{"rtsp://h/?user=canary&pwd=canary",
                "rtsp://h/?user=***&pwd=***"},
        Masking{"rtsp://h/?u=canary&p=canary", "rtsp://h/?u=***&p=***"},
        Masking{"rtsp://h/?auth=canary==", "rtsp://h/?auth=***"},
        Masking{"rtsp://h/?api-key=canary", "rtsp://h/?api-key=***"},
        Masking{"rtsp://h?key=canary", "rtsp://h?key=***"},
        Masking{"rtsp://h/?password=", "rtsp://h/?password="},
        Masking{"rtsp://h/?profile=main&fps=5", "rtsp://h/?profile=main&fps=5"},
        // Path.
        Masking{"rtsp://h/user=admin&password=canary/ch1",
                "rtsp://h/user=***&password=***/ch1"},
        Masking{"rtsp://h/user=canary_password=canary_channel=1_stream=0.sdp",
                "rtsp://h/user=***"},
        Masking{"rtsp://h/ch=1_password=canary", "rtsp://h/ch=1_password=***"},
        Masking{"rtsp://h/live;pwd=canary/x", "rtsp://h/live;pwd=***/x"},
        Masking{"rtsp://h/password/canary/ch1", "rtsp://h/password/***/ch1"},
        Masking{"rtsp://h/live/token/canary?x=1",
                "rtsp://h/live/token/***?x=1"},
        Masking{"rtsp://h/token//canary", "rtsp://h/token//***"},
        // User info of a nested URL.
        Masking{"rtsp://h/?src=rtsp://u:canary@cam/1", "rtsp://h/?src=***"},
        Masking{"rtsp://h/u:canary@x=1", "rtsp://h/***"},
        Masking{"rtsp://h/u:can=canary@x", "rtsp://h/***"},
        Masking{"rtsp://h/?u%3acanary@x=", "rtsp://h/?***"},
        Masking{"rtsp://h/?a=b=u:canary@x=1", "rtsp://h/?a=***"},
        Masking{"rtsp://h/?src=rtsp%3A%2F%2Fu%3Acanary%40cam",
                "rtsp://h/?src=***"},
        Masking{"rtsp://h/u:canary@cam/ch1", "rtsp://h/***/ch1"},
        // Nothing to hide.
        Masking{"rtsp://h:8554/Streaming/Channels/101",
                "rtsp://h:8554/Streaming/Channels/101"},
        Masking{"rtsp://h/cam/realmonitor?channel=1&subtype=0",
                "rtsp://h/cam/realmonitor?channel=1&subtype=0"}),
    [](const auto& info) { return absl::StrCat("Row", info.index); });

TEST(MaskSecretsTest, MasksUrlsInsideText) {
  EXPECT_EQ(MaskSecrets("cannot open 'rtsp://admin:canary@10.0.0.5:554/x': "
                        "401 Unauthorized"),
            "cannot open 'rtsp://***:***@10.0.0.5:554/x': 401 Unauthorized");
  EXPECT_EQ(MaskSecrets("http://a:canary@x/ then rtsp://b:canary@y/?pwd=canary"
                        " end"),
            "http://***:***@x/ then rtsp://***:***@y/?pwd=*** end");
}

TEST(MaskSecretsTest, MasksPasswordsOfOddCharacters) {
  for (const char* url :
       {"rtsp://u:can@ary@h", "rtsp://u:can/ary@h", "rtsp://u:can?ary#@h",
        "rtsp://u:can%40ary@h", "rtsp://u:\"canary'<>@h", "rtsp://u:can ary@h",
        "rtsp://:canary@h", "rtsp://canary@h",
        "rtsp://u:can\xc3\xa9"
        "ary@h",
        "postgres://u:ca,n;ary@h", "rtsp://u:can://ary@h"}) {
    const std::string masked = MaskSecrets(url);
    EXPECT_THAT(masked, EndsWith("://***:***@h")) << url;
    EXPECT_THAT(masked, Not(HasSubstr("ary")));
  }
}

TEST(MaskSecretsTest, MasksAPasswordWithBlanksUpToItsLastAt) {
  EXPECT_EQ(MaskSecrets("rtsp://us er:pass@canary@h/x failed"),
            "rtsp://***:***@h/x failed");
}

// Anybody may send such text, and it is masked before it is told.
TEST(MaskSecretsTest, TakesTimeByLengthWhateverStandsInIt) {
  for (const char* piece : {"a=b", "a=", "%3d", "://\"", "://a ", "://a\n", "'",
                            "://u:p@", "a b@", "/token/", "?", "x@y:"}) {
    std::string text;
    while (text.size() < (1 << 19)) text += piece;
    EXPECT_THAT(MaskSecrets(text + "rtsp://u:canary@h"),
                Not(HasSubstr("canary")))
        << piece;
  }
}

TEST(MaskSecretsTest, MasksPairsOutsideOfUrls) {
  EXPECT_EQ(MaskSecrets("GET /user=admin&password=canary/ch1 failed"),
            "GET /user=***&password=***/ch1 failed");
  EXPECT_EQ(MaskSecrets("authorization=canary, done"),
            "authorization=***, done");
}

TEST(MaskSecretsTest, LeavesOrdinaryTextAlone) {
  for (const char* text :
       {"", "hello", "mail a@b.example", "a://b", "://", "x = y", "100% done",
        "batch=3 of 10 frames=10", "see http://example.org/a?b=c#d, then wait",
        "ratio 3:4 @ 25 fps", "data/cam-1/key/0001.jpg"}) {
    EXPECT_EQ(MaskSecrets(text), text);
  }
}

TEST(MaskSecretsTest, WhatIsMaskedStaysAsItIs) {
  const std::string once =
      MaskSecrets("rtsp://u:canary@h/password/canary?pwd=canary x");
  EXPECT_EQ(MaskSecrets(once), once);
}

TEST(ProcessNameTest, IsTheLastPathSegmentWhereThatIsAnId) {
  EXPECT_EQ(Parsed("rtsp://user:pass@camera.example:8554/demo").ProcessName(),
            "demo");
  EXPECT_EQ(Parsed("rtsp://h/a/b/cam-1.sdp?x=1").ProcessName(), "cam-1.sdp");
  EXPECT_EQ(Parsed("rtsp://h/demo/").ProcessName(), "demo");
}

TEST(ProcessNameTest, IsHostAndPortOtherwise) {
  EXPECT_EQ(Parsed("rtsp://10.0.0.5").ProcessName(), "10.0.0.5-554");
  EXPECT_EQ(Parsed("rtsp://10.0.0.5:8554/?channel=1").ProcessName(),
            "10.0.0.5-8554");
  EXPECT_EQ(Parsed("rtsp://cam/a%20b").ProcessName(), "cam-554");
  EXPECT_EQ(Parsed("rtsp://cam/..").ProcessName(), "cam-554");
  EXPECT_EQ(Parsed("rtsp://[2001:db8::1]/").ProcessName(), "2001-db8--1-554");
  EXPECT_EQ(Parsed("rtsp://[::1]/").ProcessName(), "1-554");
  EXPECT_EQ(Parsed("rtsp://[::]/").ProcessName(), "camera-554");
}

TEST(ProcessNameTest, HoldsNoSecretOfThePath) {
  for (const char* url : {"rtsp://cam/user=u&password=canary",
                          "rtsp://cam/token/canary", "rtsp://cam/pwd=canary"}) {
    EXPECT_EQ(Parsed(url).ProcessName(), "cam-554") << url;
  }
}

TEST(ProcessNameTest, IsAValidIdOfAtMost64Characters) {
  for (const std::string& url :
       {"rtsp://h/" + std::string(100, 'x'), "rtsp://" + std::string(200, 'h'),
        std::string("rtsp://-._h/"), std::string("rtsp://_/")}) {
    EXPECT_TRUE(IsValidId(Parsed(url).ProcessName()))
        << Parsed(url).ProcessName();
  }
  EXPECT_EQ(Parsed("rtsp://h/" + std::string(100, 'x')).ProcessName(),
            std::string(64, 'x'));
}

TEST(CameraUrlTest, EqualsOneThatLeadsToTheSame) {
  EXPECT_EQ(Parsed("RTSP://a:b@H/x"), Parsed("rtsp://h/x", "a", "b"));
  EXPECT_FALSE(Parsed("rtsp://a:b@h/x") == Parsed("rtsp://a:c@h/x"));
}

TEST(IdTest, FollowsItsPattern) {
  for (const std::string& id : {std::string("a"), std::string("CAM-001"),
                                std::string("9.x_y-z"), std::string(64, 'a')}) {
    EXPECT_TRUE(IsValidId(id)) << id;
    CAMHERD_EXPECT_OK(CheckId("camera_id", id));
  }
  for (const std::string& id :
       {std::string(""), std::string("."), std::string(".."), std::string("-a"),
        std::string("a/b"), std::string("a b"), std::string("a\n"),
        std::string("a\0", 2), std::string("\xc3\xa9"), std::string(65, 'a')}) {
    EXPECT_FALSE(IsValidId(id)) << id;
    EXPECT_THAT(CheckId("camera_id", id),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("camera_id must match")));
  }
  EXPECT_THAT(
      CheckId("camera_id", "a\n"),
      StatusIs(absl::StatusCode::kInvalidArgument, EndsWith("got \"a\\n\"")));
}

TEST(IdTest, AMessageShowsNoUrlsSecretPutThereByMistake) {
  EXPECT_THAT(
      CheckId("camera_id", "rtsp://u:canary@h/"),
      StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("canary"))));
}

}  // namespace
}  // namespace camherd
