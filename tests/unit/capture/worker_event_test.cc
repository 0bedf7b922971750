// SPDX-License-Identifier: Apache-2.0
#include "services/capture/worker_event.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;

v1::FromWorker Sample() {
  v1::FromWorker event;
  event.set_stream_id("s1");
  v1::FrameInfo& frame = *event.mutable_sample()->mutable_frame();
  frame.set_frame_seq(1);
  frame.mutable_captured_at()->set_seconds(1785542400);
  frame.set_width(64);
  frame.set_height(48);
  frame.set_mean_luma(255);
  frame.set_sha256(std::string(32, 'x'));
  frame.set_size_bytes(1000);
  frame.set_offset_seconds(-0.5);
  return event;
}

TEST(WorkerEventTest, TakesWhatWorkersSay) {
  EXPECT_THAT(CheckWorkerEvent(Sample()), IsOk());
  v1::FromWorker event;
  event.mutable_state()->set_state(v1::STREAM_STATE_RUNNING);
  event.mutable_state()->set_local_ip("2001:db8::1");
  EXPECT_THAT(CheckWorkerEvent(event), IsOk());
  event.mutable_missed()->set_count(3);
  EXPECT_THAT(CheckWorkerEvent(event), IsOk());
  event.mutable_ended();
  EXPECT_THAT(CheckWorkerEvent(event), IsOk());
  event.mutable_pong();
  EXPECT_THAT(CheckWorkerEvent(event), IsOk());
  event.mutable_connect_wanted()->set_host("cam");
  EXPECT_THAT(CheckWorkerEvent(event), IsOk());
  event.mutable_probe_ended()->set_code(14);
  EXPECT_THAT(CheckWorkerEvent(event), IsOk());
}

struct Lie {
  const char* field;
  std::function<void(v1::FromWorker&)> tell;
};

class LyingWorkerTest : public ::testing::TestWithParam<Lie> {};

TEST_P(LyingWorkerTest, IsNotBelieved) {
  v1::FromWorker event = Sample();
  GetParam().tell(event);
  EXPECT_THAT(CheckWorkerEvent(event), StatusIs(absl::StatusCode::kDataLoss,
                                                HasSubstr(GetParam().field)));
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

v1::FrameInfo& Frame(v1::FromWorker& event) {
  return *event.mutable_sample()->mutable_frame();
}

INSTANTIATE_TEST_SUITE_P(
    All, LyingWorkerTest,
    ::testing::Values(
        Lie{"frame_seq", [](auto& e) { Frame(e).set_frame_seq(kMost); }},
        Lie{"frame_seq", [](auto& e) { Frame(e).set_frame_seq(-1); }},
        Lie{"mean_luma", [](auto& e) { Frame(e).set_mean_luma(kNan); }},
        Lie{"size_bytes", [](auto& e) { Frame(e).set_size_bytes(kMost); }},
        Lie{"size_bytes", [](auto& e) { Frame(e).set_size_bytes(-1); }},
        Lie{"sha256", [](auto& e) { Frame(e).set_sha256("x"); }},
        Lie{"captured_at.seconds",
            [](auto& e) {
              Frame(e).mutable_captured_at()->set_seconds(kMost);
            }},
        Lie{"captured_at.nanos",
            [](auto& e) { Frame(e).mutable_captured_at()->set_nanos(-1); }},
        Lie{"width", [](auto& e) { Frame(e).set_width(0); }},
        Lie{"offset_seconds",
            [](auto& e) { Frame(e).set_offset_seconds(kNan); }},
        Lie{"decode_seconds",
            [](auto& e) { e.mutable_sample()->set_decode_seconds(kNan); }},
        Lie{"encode_seconds",
            [](auto& e) { e.mutable_sample()->set_encode_seconds(-1); }},
        Lie{"gop_seconds",
            [](auto& e) { e.mutable_sample()->set_gop_seconds(INFINITY); }},
        Lie{"received_bytes",
            [](auto& e) { e.mutable_sample()->set_received_bytes(kMost); }},
        Lie{"look.sharpness",
            [](auto& e) {
              e.mutable_sample()->mutable_look()->set_sharpness(kNan);
            }},
        Lie{"effective_mode",
            [](auto& e) {
              e.mutable_sample()->set_effective_mode(
                  static_cast<v1::SamplingMode>(99));
            }},
        Lie{"count", [](auto& e) { e.mutable_missed()->set_count(kMost); }},
        Lie{"count", [](auto& e) { e.mutable_missed()->set_count(-1); }},
        Lie{"connects", [](auto& e) { e.mutable_state()->set_connects(-1); }},
        Lie{"state",
            [](auto& e) {
              e.mutable_state()->set_state(static_cast<v1::StreamState>(99));
            }},
        Lie{"retry_after_seconds",
            [](auto& e) { e.mutable_state()->set_retry_after_seconds(kNan); }},
        Lie{"local_ip",
            [](auto& e) { e.mutable_state()->set_local_ip("a\nb"); }},
        Lie{"reason",
            [](auto& e) {
              e.mutable_state()->set_reason(std::string(20000, 'x'));
            }},
        Lie{"lost", [](auto& e) { e.mutable_ended()->set_lost(true); }},
        Lie{"code", [](auto& e) { e.mutable_probe_ended()->set_code(17); }},
        Lie{"elapsed_seconds",
            [](auto& e) { e.mutable_probe_step()->set_elapsed_seconds(kNan); }},
        Lie{"something", [](auto& e) { e.clear_message(); }}),
    [](const auto& info) { return "Row" + std::to_string(info.index); });

}  // namespace
}  // namespace camherd::capture
