// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/batch_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/support/status_matchers.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AddDetection;
using ::camherd::aggregator::testing::FakePicture;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class BatchAssemblerTest : public ::testing::Test {
 protected:
  absl::Status AddHeader(const v1::AddBatchResultHeader& header) {
    v1::AddBatchResultRequest request;
    *request.mutable_header() = header;
    return assembler_.Add(std::move(request));
  }
  absl::Status AddPicture(int frame, const std::string& jpeg) {
    v1::AddBatchResultRequest request;
    request.mutable_picture()->set_frame_index(frame);
    request.mutable_picture()->set_jpeg(jpeg);
    return assembler_.Add(std::move(request));
  }

  BatchAssembler assembler_{1000};
};

TEST_F(BatchAssemblerTest, PutsABatchTogetherWhateverTheOrderOfItsPictures) {
  ASSERT_THAT(AddHeader(MakeHeader("s", 1, 3)), IsOk());
  ASSERT_THAT(AddPicture(2, FakePicture("s", 1, 2)), IsOk());
  ASSERT_THAT(AddPicture(0, FakePicture("s", 1, 0)), IsOk());
  const auto batch = assembler_.Finish();
  ASSERT_THAT(batch, IsOk());
  ASSERT_THAT(batch->pictures, SizeIs(2));
  EXPECT_EQ(batch->pictures[0].frame_index, 0);
  EXPECT_EQ(batch->pictures[1].frame_index, 2);
}

TEST_F(BatchAssemblerTest, WantsTheHeaderFirstAndOnce) {
  EXPECT_THAT(AddPicture(0, "x"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("header must be the first message")));
  ASSERT_THAT(AddHeader(MakeHeader("s", 1)), IsOk());
  EXPECT_THAT(
      AddHeader(MakeHeader("s", 1)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("second")));
  EXPECT_THAT(
      assembler_.Add(v1::AddBatchResultRequest()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("neither")));
}

TEST_F(BatchAssemblerTest, AnEmptyCallHasNoHeader) {
  EXPECT_THAT(assembler_.Finish(), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("header is missing")));
}

TEST_F(BatchAssemblerTest, WantsTheFirstFrameAndEachEvidence) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1, 3);
  AddDetection(header, "dog", 2, 0.9F);
  ASSERT_THAT(AddHeader(header), IsOk());
  EXPECT_THAT(assembler_.Finish(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("picture of frame 0 is missing")));
  ASSERT_THAT(AddPicture(0, FakePicture("s", 1, 0)), IsOk());
  EXPECT_THAT(assembler_.Finish(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("frame 2, evidence of stray_animal")));
}

TEST_F(BatchAssemblerTest, APictureThatIsNotTheManifestsIsDataLoss) {
  ASSERT_THAT(AddHeader(MakeHeader("s", 1)), IsOk());
  std::string jpeg = FakePicture("s", 1, 0);
  EXPECT_THAT(AddPicture(0, jpeg + "x"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("bytes")));
  jpeg[0] ^= 1;
  EXPECT_THAT(AddPicture(0, jpeg),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("SHA-256")));
}

TEST_F(BatchAssemblerTest, RefusesFramesThatAreNotThereOrTwice) {
  ASSERT_THAT(AddHeader(MakeHeader("s", 1)), IsOk());
  EXPECT_THAT(AddPicture(2, "x"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("must be in [0, 2), got 2")));
  ASSERT_THAT(AddPicture(1, FakePicture("s", 1, 1)), IsOk());
  EXPECT_THAT(AddPicture(1, FakePicture("s", 1, 1)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("1 was sent twice")));
}

TEST_F(BatchAssemblerTest, BoundsTheBytesItHolds) {
  ASSERT_THAT(AddHeader(MakeHeader("s", 1)), IsOk());
  EXPECT_THAT(AddPicture(0, std::string(1001, 'x')),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("at most 1000 bytes, got 1001")));
}

}  // namespace
}  // namespace camherd::aggregator
