// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/batch_assembler.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/aggregator/prediction_record.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {

absl::Status BatchAssembler::Add(v1::AddBatchResultRequest&& request) {
  switch (request.part_case()) {
    case v1::AddBatchResultRequest::kHeader:
      if (has_header_) {
        return absl::InvalidArgumentError(
            "header must be sent once, got a second one");
      }
      CAMHERD_RETURN_IF_ERROR(CheckBatchHeader(request.header()));
      batch_.header = std::move(*request.mutable_header());
      has_header_ = true;
      return absl::OkStatus();
    case v1::AddBatchResultRequest::kPicture:
      return AddPicture(std::move(*request.mutable_picture()));
    default:
      return absl::InvalidArgumentError(
          "part must be header or picture, got neither");
  }
}

absl::Status BatchAssembler::AddPicture(v1::BatchPicture&& picture) {
  if (!has_header_) {
    return absl::InvalidArgumentError(
        "header must be the first message, got a picture");
  }
  const v1::BatchManifest& manifest = batch_.header.manifest();
  const int32_t index = picture.frame_index();
  if (index < 0 || index >= manifest.frames_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("picture.frame_index must be in [0, ",
                     manifest.frames_size(), "), got ", index));
  }
  const auto at = std::lower_bound(
      batch_.pictures.begin(), batch_.pictures.end(), index,
      [](const Picture& p, int32_t i) { return p.frame_index < i; });
  if (at != batch_.pictures.end() && at->frame_index == index) {
    return absl::InvalidArgumentError(
        absl::StrCat("picture.frame_index ", index, " was sent twice"));
  }
  bytes_ += picture.jpeg().size();
  if (bytes_ > max_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("pictures of a batch must have at most ", max_bytes_,
                     " bytes, got ", bytes_));
  }
  const v1::FrameInfo& frame = manifest.frames(index);
  if (frame.size_bytes() > 0 &&
      frame.size_bytes() != static_cast<int64_t>(picture.jpeg().size())) {
    return absl::DataLossError(absl::StrCat(
        "picture ", index, " must have the manifest's ", frame.size_bytes(),
        " bytes, got ", picture.jpeg().size()));
  }
  if (const std::string sha256 = Sha256(picture.jpeg());
      sha256 != frame.sha256()) {
    return absl::DataLossError(
        absl::StrCat("picture ", index, " must have the manifest's SHA-256 ",
                     absl::BytesToHexString(frame.sha256()), ", got ",
                     absl::BytesToHexString(sha256)));
  }
  batch_.pictures.insert(at,
                         Picture{.frame_index = index,
                                 .jpeg = std::move(*picture.mutable_jpeg())});
  return absl::OkStatus();
}

absl::StatusOr<CompleteBatch> BatchAssembler::Finish() {
  if (!has_header_) {
    return absl::InvalidArgumentError("header is missing");
  }
  const auto has = [this](int32_t index) {
    return std::any_of(
        batch_.pictures.begin(), batch_.pictures.end(),
        [index](const Picture& p) { return p.frame_index == index; });
  };
  if (!has(0)) {
    return absl::InvalidArgumentError("picture of frame 0 is missing");
  }
  const v1::Record record = BuildRecord(batch_.header, std::nullopt);
  for (const v1::Evidence& evidence : record.evidence()) {
    if (!has(evidence.frame_index())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "picture of frame ", evidence.frame_index(), ", evidence of ",
          evidence.complaint_type(), ", is missing"));
    }
  }
  return std::move(batch_);
}

}  // namespace camherd::aggregator
