// SPDX-License-Identifier: Apache-2.0
#include "services/inference/weights_fetcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <filesystem>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;

class WeightsFetcherTest : public ::testing::Test {
 protected:
  WeightsFetcherTest() {
    server_.Get("/weights",
                [this](const httplib::Request&, httplib::Response& response) {
                  response.set_content(content_, "application/octet-stream");
                });
    server_.Get("/moved",
                [](const httplib::Request&, httplib::Response& response) {
                  response.set_redirect("/weights");
                });
    server_.Get("/file",
                [](const httplib::Request&, httplib::Response& response) {
                  response.set_redirect("file:///etc/passwd");
                });
    server_.Get("/slow", [this](const httplib::Request&,
                                httplib::Response& response) {
      response.set_chunked_content_provider(
          "application/octet-stream", [this](size_t, httplib::DataSink& sink) {
            WaitUntil([this] { return ending_.load(); });
            sink.done();
            return false;
          });
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    options_.allow_http = true;
  }
  ~WeightsFetcherTest() override {
    ending_ = true;
    WaitUntil([this] { return server_.is_running(); });
    server_.stop();
    thread_.join();
  }

  absl::Status Fetch(const std::string& path, const std::string& sha256) {
    return WeightsFetcher(options_).Fetch(
        absl::StrCat("http://127.0.0.1:", port_, path), sha256, Target(),
        [](int64_t, int64_t) {}, stop_);
  }
  std::string Target() { return dir_.path() + "/cache/weights.pt"; }
  // Nothing but what may be there.
  bool CacheIsEmpty() {
    return !std::filesystem::exists(dir_.path() + "/cache") ||
           std::filesystem::is_empty(dir_.path() + "/cache");
  }

  TempDir dir_;
  StopSignal stop_;
  WeightsFetcher::Options options_;
  const std::string content_ = std::string(300000, 'w');
  std::atomic<bool> ending_ = false;
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

TEST_F(WeightsFetcherTest, KeepsAFileOfTheRightHash) {
  CAMHERD_ASSERT_OK(Fetch("/weights", Sha256Hex(content_)));
  EXPECT_EQ(ReadFile(Target(), 1 << 20).value(), content_);
  EXPECT_FALSE(std::filesystem::exists(Target() + ".part"));
}

TEST_F(WeightsFetcherTest, FollowsARedirect) {
  CAMHERD_EXPECT_OK(Fetch("/moved", Sha256Hex(content_)));
}

TEST_F(WeightsFetcherTest, NeverLeavesHttp) {
  EXPECT_THAT(Fetch("/file", Sha256Hex(content_)),
              StatusIs(absl::StatusCode::kUnavailable));
  options_.allow_http = false;
  EXPECT_THAT(Fetch("/weights", Sha256Hex(content_)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(CacheIsEmpty());
}

TEST_F(WeightsFetcherTest, KeepsNothingOfAnotherHash) {
  EXPECT_THAT(
      Fetch("/weights", std::string(64, '0')),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr(Sha256Hex(content_))));
  EXPECT_TRUE(CacheIsEmpty());
}

TEST_F(WeightsFetcherTest, KeepsNothingThatIsTooLong) {
  options_.max_bytes = 1000;
  EXPECT_THAT(Fetch("/weights", Sha256Hex(content_)),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_TRUE(CacheIsEmpty());
}

TEST_F(WeightsFetcherTest, SaysThatTheServerHasNoSuchFile) {
  EXPECT_THAT(Fetch("/none", Sha256Hex(content_)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("404")));
  EXPECT_TRUE(CacheIsEmpty());
}

TEST_F(WeightsFetcherTest, GivesUpAfterItsTime) {
  options_.timeout = absl::Milliseconds(200);
  EXPECT_THAT(Fetch("/slow", Sha256Hex(content_)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_TRUE(CacheIsEmpty());
}

TEST_F(WeightsFetcherTest, EndsWhenItIsStopped) {
  stop_.Set();
  EXPECT_THAT(Fetch("/slow", Sha256Hex(content_)),
              StatusIs(absl::StatusCode::kCancelled));
}

}  // namespace
}  // namespace camherd::inference
