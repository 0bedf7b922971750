// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <prometheus/registry.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "services/aggregator/aggregator_metrics.h"
#include "services/aggregator/prediction_record.h"
#include "services/aggregator/record_store.h"
#include "services/common/file.h"
#include "services/common/time_proto.h"

// What several tests of the aggregator need.
namespace camherd::aggregator::testing {

// 2026-08-01 10:15:00 UTC, receipt of the first frame.
inline absl::Time FirstFrame() { return absl::FromUnixSeconds(1785579300); }

inline std::string FakePicture(const std::string& session, int64_t batch_seq,
                               int frame) {
  return absl::StrCat("jpeg of ", session, " ", batch_seq, " ", frame);
}

// A batch of `frames` frames, 3 s apart, with the result of `animals`, which
// found nothing.
inline v1::AddBatchResultHeader MakeHeader(const std::string& session,
                                           int64_t batch_seq, int frames = 2) {
  v1::AddBatchResultHeader header;
  v1::BatchManifest& manifest = *header.mutable_manifest();
  manifest.set_stream_id("stream-1");
  manifest.set_session_id(session);
  manifest.set_camera_id("CAM-001");
  manifest.set_process_name("demo");
  manifest.set_host_ip("192.168.1.101");
  manifest.set_batch_seq(batch_seq);
  for (int i = 0; i < frames; ++i) {
    v1::FrameInfo& frame = *manifest.add_frames();
    frame.set_frame_seq((batch_seq - 1) * frames + i + 1);
    *frame.mutable_captured_at() =
        ToProto(FirstFrame() + absl::Seconds(30 * (batch_seq - 1) + 3 * i));
    frame.set_width(640);
    frame.set_height(360);
    const std::string jpeg = FakePicture(session, batch_seq, i);
    frame.set_sha256(Sha256(jpeg));
    frame.set_size_bytes(static_cast<int64_t>(jpeg.size()));
  }
  v1::ModelResult& result = *header.add_results();
  result.set_model("animals");
  result.set_section("stray_animal");
  result.set_complaint_type("stray_animal");
  result.add_complaint_classes("dog");
  result.set_outcome(v1::OUTCOME_CODE_OK);
  header.set_manifest_sha256(Sha256(manifest.SerializeAsString()));
  return header;
}

inline void AddDetection(v1::AddBatchResultHeader& header,
                         const std::string& class_name, int frame,
                         float confidence) {
  v1::Detection& detection = *header.mutable_results(0)->add_detections();
  detection.set_class_name(class_name);
  detection.set_frame_index(frame);
  detection.set_confidence(confidence);
  detection.mutable_box()->set_x1(10);
  detection.mutable_box()->set_y1(20);
  detection.mutable_box()->set_x2(110);
  detection.mutable_box()->set_y2(220);
}

// A record with the pictures of all its frames.
inline NewRecord MakeNewRecord(const v1::AddBatchResultHeader& header) {
  NewRecord record;
  record.record = BuildRecord(header, std::nullopt);
  record.manifest_sha256 = header.manifest_sha256();
  for (int i = 0; i < header.manifest().frames_size(); ++i) {
    record.pictures.push_back(
        {.frame_index = i,
         .jpeg = FakePicture(header.manifest().session_id(),
                             header.manifest().batch_seq(), i)});
  }
  return record;
}

inline absl::StatusOr<AppendResult> AppendAndWait(RecordStore& store,
                                                  NewRecord record) {
  // Shared with the store's thread, which may still be in Notify when the
  // wait here ends.
  struct Answer {
    absl::Notification done;
    absl::StatusOr<AppendResult> result;
  };
  auto answer = std::make_shared<Answer>();
  store.Append(std::move(record),
               [answer](const absl::StatusOr<AppendResult>& result) {
                 answer->result = result;
                 answer->done.Notify();
               });
  answer->done.WaitForNotification();
  return answer->result;
}

inline std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

// Metrics of a registry of their own.
inline std::unique_ptr<AggregatorMetrics> MakeMetrics() {
  return std::make_unique<AggregatorMetrics>(
      std::make_shared<prometheus::Registry>());
}

}  // namespace camherd::aggregator::testing
