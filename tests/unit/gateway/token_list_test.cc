// SPDX-License-Identifier: Apache-2.0
#include "gateway/token_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd::gateway {
namespace {

using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsNull;
using ::testing::Not;
using ::testing::NotNull;

std::string Line(absl::string_view token, absl::string_view rest) {
  return absl::StrCat(Sha256Hex(token), " ", rest);
}

TEST(TokenListTest, FindsATokenByItsDigestWithAllThatIsSaidOfIt) {
  const auto list =
      TokenList::Parse({"# people", "", Line("first", "viewer wall"),
                        Line("second",
                             "operator  alice camera=CAM-001 camera=CAM-002 "
                             "expires=2030-01-02T03:04:05Z")});
  CAMHERD_ASSERT_OK(list.status());
  EXPECT_EQ(list->size(), 2u);
  const TokenList::Token* token = list->Find(Sha256("second"));
  ASSERT_THAT(token, NotNull());
  EXPECT_EQ(token->name, "alice");
  EXPECT_EQ(token->role, Role::kOperator);
  EXPECT_THAT(token->cameras, ElementsAre("CAM-001", "CAM-002"));
  EXPECT_EQ(token->expires, absl::FromUnixSeconds(1893553445));
  EXPECT_EQ(list->Find(Sha256("first"))->expires, absl::InfiniteFuture());
  EXPECT_THAT(list->Find(Sha256("third")), IsNull());
  // The digest in the file is no token.
  EXPECT_THAT(list->Find(Sha256(Sha256Hex("first"))), IsNull());
  EXPECT_THAT(list->Find(""), IsNull());
}

TEST(TokenListTest, ABadLineIsNamedByItsNumberAndNotShown) {
  const std::string good = Line("first", "viewer wall");
  for (const std::string& bad :
       {std::string("hunter2 viewer bob"), Line("x", "viewer"),
        Line("x", "owner bob"), Line("x", "viewer ../bob"),
        Line("x", "viewer bob camera="), Line("x", "viewer bob camera=a/b"),
        Line("x", "viewer bob expires=tomorrow"),
        Line("x", "viewer bob hunter2"), Line("x", "viewer wall"),
        Line("first", "viewer bob"), std::string(64, 'g') + " viewer bob"}) {
    const absl::Status status = TokenList::Parse({good, bad}).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("line 2")))
        << bad;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hunter2")));
  }
}

TEST(TokenListTest, AFileThatOthersMayReadOrChangeIsNotTaken) {
  TempDir dir;
  const std::string path = dir / "tokens";
  CAMHERD_ASSERT_OK(WriteFileAtomically(path, "# none\n", Sync::kNone, 0600));
  for (const unsigned mode : {0600u, 0400u, 0640u, 0440u}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    CAMHERD_EXPECT_OK(TokenList::ReadLines(path).status());
  }
  for (const unsigned mode : {0604u, 0602u, 0601u, 0660u, 0644u}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    EXPECT_THAT(
        TokenList::ReadLines(path).status(),
        StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("chmod 600")))
        << mode;
  }
  EXPECT_THAT(TokenList::ReadLines(dir.path()).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(TokenList::ReadLines(dir / "nosuch").status(),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace camherd::gateway
