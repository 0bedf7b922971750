// SPDX-License-Identifier: Apache-2.0
#include "services/common/child_process.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <memory>
#include <string>

#include "tests/support/status_matchers.h"

namespace camherd {
namespace {

TEST(ChildProcessTest, OutputWithoutEndIsReadInPieces) {
  const auto child = ChildProcess::Spawn({.argv = {"/usr/bin/yes"}});
  CAMHERD_ASSERT_OK(child);
  const auto wait = [&] {
    pollfd entry = {(*child)->output_fd(), POLLIN, 0};
    poll(&entry, 1, -1);
  };
  wait();
  int lines = 0;
  const bool open = (*child)->ReadOutput([&](const std::string& line) {
    EXPECT_EQ(line, "y");
    // There is always more.
    if (++lines < 2'000'000) {
      wait();
    } else {
      (*child)->Kill();
    }
  });
  EXPECT_TRUE(open);
  EXPECT_GT(lines, 100'000);
  EXPECT_LT(lines, 2'000'000);
}

}  // namespace
}  // namespace camherd
