// SPDX-License-Identifier: Apache-2.0
#include "gateway/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace camherd::gateway {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

TEST(HtmlTest, EscapesTheFiveCharacters) {
  EXPECT_EQ(EscapeHtml("<a href=\"x\" b='y'>&"),
            "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;");
}

TEST(HtmlTest, APagesOwnStyleIsAllowedByItsHashOnly) {
  const HttpResponse page = HtmlPage(HttpCode::kOk, "a<b", "<p>c</p>");
  EXPECT_THAT(page.body, HasSubstr("<title>a&lt;b</title>"));
  EXPECT_THAT(
      page.headers,
      Contains(Pair("Content-Security-Policy",
                    ::testing::AllOf(HasSubstr("style-src 'self' 'sha256-"),
                                     Not(HasSubstr("unsafe"))))));
}

}  // namespace
}  // namespace camherd::gateway
