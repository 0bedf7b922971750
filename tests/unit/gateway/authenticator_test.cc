// SPDX-License-Identifier: Apache-2.0
#include "gateway/authenticator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/file.h"
#include "services/common/retry_delay.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd::gateway {
namespace {

using ::camherd::testing::FakeClock;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Line(absl::string_view token, absl::string_view rest) {
  return absl::StrCat(Sha256Hex(token), " ", rest);
}

class AuthenticatorTest : public ::testing::Test {
 protected:
  void Start(Authenticator::Options options) {
    options.required = true;
    auto made = Authenticator::Create(options, clock_);
    CAMHERD_ASSERT_OK(made.status());
    authenticator_ = *std::move(made);
  }
  void StartWith(const std::vector<std::string>& tokens) {
    Start({.tokens = tokens});
  }

  static HttpRequest With(const std::string& header, const std::string& value,
                          const std::string& peer = "192.0.2.1") {
    HttpRequest request;
    request.peer = peer;
    if (!header.empty()) request.headers.emplace_back(header, value);
    return request;
  }
  static HttpRequest Bearer(const std::string& token,
                            const std::string& peer = "192.0.2.1") {
    return With("authorization", absl::StrCat("Bearer ", token), peer);
  }
  absl::Status Try(const std::string& token,
                   const std::string& peer = "192.0.2.1") {
    return authenticator_->Identify(Bearer(token, peer)).status();
  }
  // The cookie that the page would send.
  std::string LogIn(const std::string& token) {
    const auto login = authenticator_->LogIn(With("", ""), token);
    if (!login.ok()) return "";
    const std::vector<std::string> parts =
        absl::StrSplit(login->cookie, absl::MaxSplits(';', 1));
    return absl::StrCat("theme=dark; ", parts[0]);
  }
  std::string NameBy(const std::string& cookie) {
    return authenticator_->Identify(With("cookie", cookie))->name;
  }

  FakeClock clock_;
  std::unique_ptr<Authenticator> authenticator_;
};

TEST_F(AuthenticatorTest, WithoutTokensEveryoneIsAnAdminWithoutAName) {
  const auto open = Authenticator::Create({}, clock_);
  CAMHERD_ASSERT_OK(open.status());
  const auto caller = (*open)->Identify(Bearer("whatever"));
  CAMHERD_ASSERT_OK(caller.status());
  EXPECT_EQ(caller->role, Role::kAdmin);
  EXPECT_EQ(caller->name, "");
  EXPECT_THAT((*open)->LogIn(With("", ""), "x").status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(AuthenticatorTest, NeedsAtLeastOneToken) {
  EXPECT_THAT(Authenticator::Create({.required = true}, clock_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(AuthenticatorTest, KnowsACallerByItsToken) {
  StartWith({Line("good", "operator alice camera=CAM-001")});
  const auto caller = authenticator_->Identify(Bearer("good"));
  CAMHERD_ASSERT_OK(caller.status());
  EXPECT_EQ(caller->name, "alice");
  EXPECT_EQ(caller->role, Role::kOperator);
  EXPECT_THAT(caller->cameras, ElementsAre("CAM-001"));
  EXPECT_EQ(caller->address, "192.0.2.1");
  EXPECT_TRUE(caller->MaySee("CAM-001"));
  EXPECT_FALSE(caller->MaySee("CAM-002"));
  EXPECT_FALSE(caller->MaySee(""));
  EXPECT_EQ(authenticator_->Identify(With("", ""))->role, Role::kNone);
}

TEST_F(AuthenticatorTest, AWrongHeaderIsNoLoginEvenBesideAGoodCookie) {
  StartWith({Line("good", "viewer wall")});
  for (const char* header : {"Bearer", "Bearer ", "Basic good", "good",
                             "Bearer good good", "Bearer wrong"}) {
    HttpRequest request = With("authorization", header);
    request.headers.emplace_back("cookie", LogIn("good"));
    EXPECT_THAT(authenticator_->Identify(request).status(),
                StatusIs(absl::StatusCode::kUnauthenticated))
        << header;
  }
}

TEST_F(AuthenticatorTest, AnExpiredTokenIsRefusedInTheWordsOfAWrongOne) {
  StartWith(
      {Line("good", absl::StrCat("viewer wall expires=",
                                 absl::FormatTime(absl::RFC3339_full,
                                                  clock_.Now() + absl::Hours(1),
                                                  absl::UTCTimeZone())))});
  const std::string cookie = LogIn("good");
  CAMHERD_EXPECT_OK(Try("good"));
  EXPECT_EQ(NameBy(cookie), "wall");
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(Try("good"), Try("wrong"));
  EXPECT_EQ(NameBy(cookie), "");
}

TEST_F(AuthenticatorTest, ALoginsCookieIsSafeFromScriptsAndOtherSites) {
  Start({.tokens = {Line("good", "viewer wall")}, .secure_cookies = true});
  HttpRequest request = With("", "");
  EXPECT_THAT(authenticator_->LogIn(request, "good")->cookie,
              ::testing::MatchesRegex(
                  "camherd_session=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; "
                  "SameSite=Strict; Max-Age=43200; Secure"));
  Start({.tokens = {Line("good", "viewer wall")}});
  EXPECT_THAT(authenticator_->LogIn(request, "good")->cookie,
              Not(HasSubstr("Secure")));
  request.is_tls = true;
  EXPECT_THAT(authenticator_->LogIn(request, "good")->cookie,
              HasSubstr("; Secure"));
}

TEST_F(AuthenticatorTest, ALoginLastsItsTimeAndNotBeyondLogout) {
  Start({.tokens = {Line("good", "viewer wall")},
         .login_lifetime = absl::Hours(2)});
  const std::string cookie = LogIn("good");
  const std::string other = LogIn("good");
  EXPECT_NE(cookie, other);
  EXPECT_EQ(NameBy(cookie), "wall");
  EXPECT_EQ(NameBy(cookie + "x"), "");
  EXPECT_EQ(NameBy("camherd_session="), "");
  EXPECT_EQ(authenticator_->Identify(With("cookie", cookie))->expires,
            clock_.Now() + absl::Hours(2));
  EXPECT_THAT(authenticator_->LogOut(With("cookie", cookie)),
              HasSubstr("camherd_session=; Path=/; HttpOnly; SameSite=Strict; "
                        "Max-Age=0"));
  EXPECT_EQ(NameBy(cookie), "");
  EXPECT_EQ(NameBy(other), "wall");
  clock_.Advance(absl::Hours(2));
  EXPECT_EQ(NameBy(other), "");
}

TEST_F(AuthenticatorTest, ATokensLoginsAreBoundedAndDisturbNoOthers) {
  StartWith({Line("good", "viewer wall"), Line("other", "viewer tv")});
  const std::string others = LogIn("other");
  std::vector<std::string> cookies;
  for (size_t i = 0; i <= Authenticator::kMaxLogins; ++i) {
    cookies.push_back(LogIn("good"));
  }
  EXPECT_EQ(NameBy(cookies[0]), "");
  EXPECT_EQ(NameBy(cookies[1]), "wall");
  EXPECT_EQ(NameBy(cookies.back()), "wall");
  EXPECT_EQ(NameBy(others), "tv");
}

TEST_F(AuthenticatorTest, AnAddressThatGuessesIsSlowedDownAndNoOther) {
  StartWith({Line("good", "viewer wall")});
  const std::string cookie = LogIn("good");
  for (int i = 0; i < Authenticator::kFreeFailures; ++i) {
    EXPECT_THAT(Try(absl::StrCat("wrong", i)),
                StatusIs(absl::StatusCode::kUnauthenticated));
  }
  // Not even a good one is looked at, so that guessing tells nothing.
  EXPECT_THAT(Try("good"), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(RetryDelay(Try("good")), Authenticator::kFailureInterval);
  EXPECT_EQ(LogIn("good"), "");
  EXPECT_EQ(NameBy(cookie), "wall");
  CAMHERD_EXPECT_OK(Try("good", "192.0.2.2"));
  clock_.Advance(Authenticator::kFailureInterval);
  CAMHERD_EXPECT_OK(Try("good"));
  EXPECT_THAT(Try("wrong"), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Try("again"), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(AuthenticatorTest, ATokenThatIsRefusedAgainAndAgainShutsNobodyOut) {
  StartWith({Line("good", "viewer wall"),
             Line("old", "viewer tv expires=2020-01-01T00:00:00Z")});
  for (int i = 0; i < 10 * Authenticator::kFreeFailures; ++i) {
    EXPECT_THAT(Try(i % 2 == 0 ? "old" : "gone"),
                StatusIs(absl::StatusCode::kUnauthenticated));
  }
  CAMHERD_EXPECT_OK(Try("good"));
  // The others still are guesses.
  for (int i = 2; i < Authenticator::kFreeFailures; ++i) {
    (void)Try(absl::StrCat("wrong", i));
  }
  EXPECT_THAT(Try("good"), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(Try("old"), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(AuthenticatorTest, WhoWasKnownIsKnownAgainWhateverOthersGuess) {
  StartWith(
      {Line("good", absl::StrCat("viewer wall camera=CAM-001 expires=",
                                 absl::FormatTime(absl::RFC3339_full,
                                                  clock_.Now() + absl::Hours(1),
                                                  absl::UTCTimeZone())))});
  const std::string cookie = LogIn("good");
  for (int i = 0; i <= Authenticator::kFreeFailures; ++i) {
    (void)Try(absl::StrCat("wrong", i));
  }
  for (const HttpRequest& request : {Bearer("good"), With("cookie", cookie)}) {
    const Caller caller = authenticator_->IdentifyAgain(request);
    EXPECT_EQ(caller.name, "wall");
    EXPECT_THAT(caller.cameras, ElementsAre("CAM-001"));
  }
  EXPECT_EQ(authenticator_->IdentifyAgain(Bearer("wrong")).role, Role::kNone);
  EXPECT_EQ(authenticator_->IdentifyAgain(With("", "")).role, Role::kNone);
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(authenticator_->IdentifyAgain(Bearer("good")).role, Role::kNone);
  EXPECT_EQ(authenticator_->IdentifyAgain(With("cookie", cookie)).role,
            Role::kNone);
}

TEST_F(AuthenticatorTest, AnIpv6NetworkCountsAsOneAddress) {
  StartWith({Line("good", "viewer wall")});
  for (int i = 0; i < Authenticator::kFreeFailures; ++i) {
    (void)Try(absl::StrCat("wrong", i), absl::StrCat("2001:db8::", i));
  }
  EXPECT_THAT(Try("good", "2001:db8::ffff"),
              StatusIs(absl::StatusCode::kResourceExhausted));
  CAMHERD_EXPECT_OK(Try("good", "2001:db8:1::1"));
}

TEST_F(AuthenticatorTest, AChangedFileCountsAtOnceAndABrokenOneNotAtAll) {
  TempDir dir;
  const std::string path = dir / "tokens";
  const auto write = [&](const std::string& text) {
    CAMHERD_EXPECT_OK(WriteFileAtomically(path, text, Sync::kNone, 0600));
  };
  write(Line("first", "viewer wall") + "\n" + Line("second", "admin root"));
  std::vector<bool> reloads;
  Start({.tokens_file = path,
         .tokens = {Line("third", "viewer tv")},
         .look_interval = absl::InfiniteDuration(),
         .reloaded = [&reloads](bool ok) { reloads.push_back(ok); }});
  const std::string cookie = LogIn("first");
  CAMHERD_EXPECT_OK(Try("third"));

  write("no tokens at all");
  authenticator_->Reload();
  authenticator_->Reload();
  EXPECT_EQ(NameBy(cookie), "wall");
  CAMHERD_EXPECT_OK(Try("second"));

  write(Line("second", "viewer root"));
  authenticator_->Reload();
  EXPECT_EQ(NameBy(cookie), "");
  EXPECT_THAT(Try("first"), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(authenticator_->Identify(Bearer("second"))->role, Role::kViewer);
  authenticator_.reset();
  EXPECT_THAT(reloads, ElementsAre(false, true));
}

}  // namespace
}  // namespace camherd::gateway
