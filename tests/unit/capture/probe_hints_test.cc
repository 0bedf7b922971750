// SPDX-License-Identifier: Apache-2.0
#include "services/capture/probe_hints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace camherd::capture {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

CameraUrl Url(const std::string& text) {
  return CameraUrl::Parse(text).value();
}

TEST(ProbeHintsTest, EveryFailureHasAHintThatHoldsNoSecret) {
  const CameraUrl url = Url("rtsp://canary:canary@127.0.0.1/x?token=canary");
  for (int step = v1::PROBE_STEP_DNS; step <= v1::PROBE_STEP_GOP; ++step) {
    // Its failure is ours: nobody else can do anything.
    if (step == v1::PROBE_STEP_LUMA) continue;
    for (int code = 1; code <= 16; ++code) {
      for (const v1::Transport transport :
           {v1::TRANSPORT_TCP, v1::TRANSPORT_UDP}) {
        EXPECT_THAT(
            HintForFailure(static_cast<v1::ProbeStep>(step),
                           absl::Status(static_cast<absl::StatusCode>(code),
                                        "rtsp://canary:canary@h/"),
                           url, transport),
            AllOf(Not(IsEmpty()), Not(HasSubstr("canary"))))
            << v1::ProbeStep_Name(step) << " " << code;
      }
    }
  }
}

TEST(ProbeHintsTest, AMissingLoginIsNotAWrongOne) {
  const absl::Status refused = absl::UnauthenticatedError("401");
  EXPECT_THAT(HintForFailure(v1::PROBE_STEP_AUTH, refused,
                             Url("rtsp://127.0.0.1/a"), v1::TRANSPORT_TCP),
              HasSubstr("Give user and password"));
  EXPECT_THAT(HintForFailure(v1::PROBE_STEP_AUTH, refused,
                             Url("rtsp://u:p@127.0.0.1/a"), v1::TRANSPORT_TCP),
              HasSubstr("lock out"));
}

TEST(ProbeHintsTest, APasswordThatTravelsReadablyIsWarnedOf) {
  const auto hint = [](const std::vector<std::string>& schemes,
                       const std::string& url) {
    RtspGreeting greeting;
    greeting.schemes = schemes;
    return HintForLogin(greeting, Url(url));
  };
  EXPECT_THAT(hint({"basic"}, "rtsp://u:p@127.0.0.1/a"), HasSubstr("digest"));
  EXPECT_THAT(hint({"digest", "basic"}, "rtsp://u:p@127.0.0.1/a"), IsEmpty());
  EXPECT_THAT(hint({"basic"}, "rtsps://u:p@127.0.0.1/a"), IsEmpty());
  EXPECT_THAT(hint({}, "rtsp://127.0.0.1/a"), IsEmpty());
}

TEST(ProbeHintsTest, AGopThatModeExactWouldHaveToDecodeIsTold) {
  constexpr absl::Duration kInterval = absl::Seconds(4);
  EXPECT_THAT(HintForGop(absl::Seconds(2), false, kInterval), IsEmpty());
  EXPECT_THAT(HintForGop(absl::Seconds(5), false, kInterval), IsEmpty());
  EXPECT_THAT(HintForGop(absl::Seconds(5.1), false, kInterval),
              AllOf(HasSubstr("mode exact"), HasSubstr("every 4s")));
  EXPECT_THAT(HintForGop(absl::Seconds(1), true, kInterval),
              HasSubstr("mode exact"));
}

TEST(ProbeHintsTest, OnlyAGoodPictureHasNoHint) {
  EXPECT_THAT(HintForCondition(v1::CAMERA_CONDITION_GOOD), IsEmpty());
  for (const v1::CameraCondition condition :
       {v1::CAMERA_CONDITION_TOO_DARK, v1::CAMERA_CONDITION_OVEREXPOSED,
        v1::CAMERA_CONDITION_COVERED, v1::CAMERA_CONDITION_BLURRED}) {
    EXPECT_THAT(HintForCondition(condition), Not(IsEmpty()));
  }
}

}  // namespace
}  // namespace camherd::capture
