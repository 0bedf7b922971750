// SPDX-License-Identifier: Apache-2.0
#include "services/cli/herd_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace camherd::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Action = HerdChange::Action;

// One camera with two masks, and its running stream with a login.
HerdState OneCamera() {
  HerdState state;
  v1::Camera& camera = state.cameras.emplace_back();
  camera.set_camera_id("CAM-1");
  camera.set_name("Gate");
  camera.add_privacy_masks();
  camera.add_privacy_masks();
  camera.set_updated_by("api");
  v1::Stream& stream = state.streams.emplace_back();
  stream.set_stream_id("id-1");
  stream.set_camera_id("CAM-1");
  stream.set_desired_running(true);
  stream.set_rtsp_url("rtsp://***:***@127.0.0.1/x");
  stream.add_models("people");
  stream.set_interval_seconds(3);
  stream.set_sampling_mode(v1::SAMPLING_MODE_AUTO);
  stream.set_transport(v1::TRANSPORT_TCP);
  stream.set_batch_size(10);
  state.models = {"people", "animals"};
  return state;
}

HerdPlan Plan(const std::string& camera, const HerdState& state,
              bool prune = false) {
  const HerdFile file =
      ParseHerdFile("c.yaml", absl::StrCat("cameras:\n", camera));
  EXPECT_THAT(file.errors, IsEmpty());
  return MakeHerdPlan(file, state, prune);
}

std::string Details(const HerdChange& change) {
  return absl::StrJoin(change.details, ", ");
}

TEST(HerdPlanTest, WhatIsAsTheFileSaysIsLeftAlone) {
  const HerdPlan plan = Plan(
      "  - {camera_id: CAM-1, name: Gate, rtsp_url: 'rtsp://127.0.0.1/x',\n"
      "     models: [people], interval_seconds: 3, sampling_mode: auto,\n"
      "     transport: tcp, tls_verify: true, batch_size: 10}\n",
      OneCamera());
  EXPECT_THAT(plan.errors, IsEmpty());
  EXPECT_THAT(plan.changes, IsEmpty());
  EXPECT_EQ(plan.unchanged, 2);
}

TEST(HerdPlanTest, WhatTheFileDoesNotNameStays) {
  const HerdPlan plan =
      Plan("  - {camera_id: CAM-1, name: North gate}\n", OneCamera());
  ASSERT_EQ(plan.changes.size(), 1);
  EXPECT_EQ(plan.changes[0].action, Action::kChangeCamera);
  EXPECT_EQ(Details(plan.changes[0]), "name \"Gate\" -> \"North gate\"");
  EXPECT_EQ(plan.changes[0].camera.privacy_masks_size(), 2);
}

TEST(HerdPlanTest, AnEmptyListTakesAway) {
  const HerdPlan plan =
      Plan("  - {camera_id: CAM-1, privacy_masks: []}\n", OneCamera());
  ASSERT_EQ(plan.changes.size(), 1);
  EXPECT_EQ(Details(plan.changes[0]), "privacy_masks 2 -> 0");
  EXPECT_EQ(plan.changes[0].camera.privacy_masks_size(), 0);
  EXPECT_EQ(plan.changes[0].camera.name(), "Gate");
}

TEST(HerdPlanTest, ARunningStreamIsChangedInItsSession) {
  const HerdPlan plan = Plan(
      "  - {camera_id: CAM-1, rtsp_url: 'rtsp://127.0.0.1/y',\n"
      "     models: [animals], interval_seconds: 5}\n",
      OneCamera());
  ASSERT_EQ(plan.changes.size(), 1);
  const HerdChange& change = plan.changes[0];
  EXPECT_EQ(change.action, Action::kChangeStream);
  EXPECT_EQ(Details(change),
            "rtsp_url rtsp://127.0.0.1/x -> rtsp://127.0.0.1/y, "
            "interval_seconds 3 -> 5, models people -> animals");
  EXPECT_EQ(change.update.stream(), "id-1");
  EXPECT_EQ(change.update.rtsp_url(), "rtsp://127.0.0.1/y");
  EXPECT_FALSE(change.update.has_user());
  EXPECT_EQ(change.update.sampling_mode(), v1::SAMPLING_MODE_UNSPECIFIED);
}

TEST(HerdPlanTest, ALoginOfTheFileIsComparedWhenItIsApplied) {
  setenv("CLI_TEST_WORD", "w0rd", 1);
  const HerdPlan plan = Plan(
      "  - {camera_id: CAM-1, rtsp_url: 'rtsp://127.0.0.1/x', user: admin,\n"
      "     password_env: CLI_TEST_WORD}\n",
      OneCamera());
  ASSERT_EQ(plan.changes.size(), 1);
  EXPECT_EQ(plan.changes[0].action, Action::kCompareLogin);
  EXPECT_EQ(plan.changes[0].start.password(), "w0rd");
  EXPECT_THAT(plan.changes[0].start.models(), ElementsAre("people"));
  EXPECT_EQ(plan.changes[0].update.user(), "admin");
}

TEST(HerdPlanTest, NewCamerasComeBeforeTheirStreams) {
  const HerdPlan plan = Plan(
      "  - {camera_id: CAM-2, latitude: 1, longitude: 2,\n"
      "     rtsp_url: 'rtsp://127.0.0.1/y', models: []}\n"
      "  - {camera_id: CAM-3, name: Yard}\n",
      OneCamera(), /*prune=*/true);
  ASSERT_EQ(plan.changes.size(), 4);
  EXPECT_EQ(plan.changes[0].action, Action::kAddCamera);
  EXPECT_EQ(plan.changes[1].action, Action::kAddCamera);
  EXPECT_EQ(plan.changes[2].action, Action::kStopStream);
  EXPECT_EQ(plan.changes[2].camera_id, "CAM-1");
  EXPECT_EQ(plan.changes[3].action, Action::kStartStream);
  EXPECT_EQ(plan.changes[3].start.camera_id(), "CAM-2");
  EXPECT_EQ(Details(plan.changes[3]), "rtsp://127.0.0.1/y, models none");
}

TEST(HerdPlanTest, NothingIsStoppedWithoutPrune) {
  EXPECT_THAT(Plan("  []\n", OneCamera()).changes, IsEmpty());
}

TEST(HerdPlanTest, WhatCannotBeIsSaidWithItsLine) {
  const HerdPlan plan = Plan(
      "  - camera_id: CAM-1\n"
      "    latitude: 1\n"
      "    rtsp_url: rtsp://127.0.0.1/x\n"
      "    models: [people, cats]\n"
      "    batch_size: 5\n"
      "  - camera_id: CAM-2\n"
      "    rtsp_url: rtsp://127.0.0.1/x?token=***\n",
      OneCamera());
  EXPECT_THAT(
      plan.errors,
      ElementsAre("c.yaml:3: latitude and longitude must be given together",
                  HasSubstr("c.yaml:5: there is no model cats, only [animals"),
                  HasSubstr("c.yaml:6: batch_size of a running stream"),
                  HasSubstr("c.yaml:8: rtsp_url holds ***")));
}

TEST(HerdPlanTest, AMaskedSecretStandsForThatOfTheRunningStream) {
  HerdState state = OneCamera();
  state.streams[0].set_rtsp_url("rtsp://127.0.0.1/x?token=***");
  const HerdPlan plan =
      Plan("  - {camera_id: CAM-1, rtsp_url: 'rtsp://127.0.0.1/x?token=***'}\n",
           state);
  EXPECT_THAT(plan.errors, IsEmpty());
  EXPECT_THAT(plan.changes, IsEmpty());
}

}  // namespace
}  // namespace camherd::cli
