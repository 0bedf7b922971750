// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/prediction_record.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/aggregator/json_writer.h"
#include "services/common/camera_url.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"
#include "services/common/trace_context.h"

namespace camherd::aggregator {
namespace {

constexpr int kMaxFrames = 64;
constexpr int kMaxDetections = 100000;
constexpr int kMaxSide = 65535;
constexpr int64_t kMaxSeconds = 253402300799;
// Always in a line, in this order.
constexpr absl::string_view kDocumentSections[] = {"stray_animal", "pothole"};
constexpr absl::string_view kReservedSections[] = {"basic", "meta"};

template <typename... T>
absl::Status Invalid(const T&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

template <typename List>
bool Contains(const List& list, absl::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

absl::Status CheckManifest(const v1::BatchManifest& manifest) {
  CAMHERD_RETURN_IF_ERROR(CheckId("session_id", manifest.session_id()));
  CAMHERD_RETURN_IF_ERROR(CheckId("stream_id", manifest.stream_id()));
  CAMHERD_RETURN_IF_ERROR(CheckId("camera_id", manifest.camera_id()));
  if (!manifest.process_name().empty()) {
    CAMHERD_RETURN_IF_ERROR(CheckId("process_name", manifest.process_name()));
  }
  if (manifest.batch_seq() < 1) {
    return Invalid("batch_seq must be at least 1, got ", manifest.batch_seq());
  }
  if (manifest.frames_size() < 1 || manifest.frames_size() > kMaxFrames) {
    return Invalid("frames must number 1..", kMaxFrames, ", got ",
                   manifest.frames_size());
  }
  for (int i = 0; i < manifest.frames_size(); ++i) {
    const v1::FrameInfo& frame = manifest.frames(i);
    if (frame.sha256().size() != 32) {
      return Invalid("frames[", i, "].sha256 must have 32 bytes, got ",
                     frame.sha256().size());
    }
    if (!frame.has_captured_at()) {
      return Invalid("frames[", i, "].captured_at is missing");
    }
    if (frame.captured_at().seconds() < 0 ||
        frame.captured_at().seconds() > kMaxSeconds ||
        frame.captured_at().nanos() < 0 ||
        frame.captured_at().nanos() > 999999999) {
      return Invalid("frames[", i,
                     "].captured_at must be in the years 1970 to 9999, got ",
                     frame.captured_at().seconds(), " s");
    }
    if (frame.width() < 0 || frame.width() > kMaxSide || frame.height() < 0 ||
        frame.height() > kMaxSide) {
      return Invalid("frames[", i, "] must be at most ", kMaxSide,
                     " pixels wide and high, got ", frame.width(), "x",
                     frame.height());
    }
  }
  return absl::OkStatus();
}

absl::Status CheckResult(const v1::ModelResult& result, int frames) {
  CAMHERD_RETURN_IF_ERROR(CheckId("results.model", result.model()));
  const std::string where = absl::StrCat("results[", result.model(), "].");
  // A model whose manifest is gone has failed, and nobody knows its section.
  if (!result.section().empty() || result.outcome() == v1::OUTCOME_CODE_OK) {
    CAMHERD_RETURN_IF_ERROR(
        CheckId(absl::StrCat(where, "section"), result.section()));
  }
  if (Contains(kReservedSections, result.section())) {
    return Invalid(where, "section must not be ", result.section());
  }
  if (!result.complaint_type().empty()) {
    CAMHERD_RETURN_IF_ERROR(CheckId(absl::StrCat(where, "complaint_type"),
                                    result.complaint_type()));
  }
  if (result.outcome() == v1::OUTCOME_CODE_UNSPECIFIED) {
    return Invalid(where, "outcome must be set");
  }
  if (result.detections_size() > kMaxDetections) {
    return Invalid(where, "detections must number at most ", kMaxDetections,
                   ", got ", result.detections_size());
  }
  for (const v1::Detection& detection : result.detections()) {
    if (detection.frame_index() < 0 || detection.frame_index() >= frames) {
      return Invalid(where, "detections.frame_index must be in [0, ", frames,
                     "), got ", detection.frame_index());
    }
    if (!(detection.confidence() >= 0 && detection.confidence() <= 1)) {
      return Invalid(where, "detections.confidence must be in [0, 1], got ",
                     detection.confidence());
    }
    const v1::Box& box = detection.box();
    for (const float side : {box.x1(), box.y1(), box.x2(), box.y2()}) {
      if (!std::isfinite(side)) {
        return Invalid(where, "detections.box must be finite, got ", side);
      }
    }
  }
  return absl::OkStatus();
}

bool IsComplaint(const v1::ModelResult& result,
                 const v1::Detection& detection) {
  return !result.complaint_type().empty() &&
         (result.complaint_classes().empty() ||
          Contains(result.complaint_classes(), detection.class_name()));
}

v1::RecordSection& SectionNamed(v1::Record& record, const std::string& name) {
  for (v1::RecordSection& section : *record.mutable_sections()) {
    if (section.name() == name) return section;
  }
  v1::RecordSection& section = *record.add_sections();
  section.set_name(name);
  return section;
}

// Keeps the highest score of a complaint type; ties: the earlier frame.
void AddEvidence(v1::Record& record, const std::string& complaint_type,
                 const v1::Detection& detection) {
  v1::Evidence* evidence = nullptr;
  for (v1::Evidence& known : *record.mutable_evidence()) {
    if (known.complaint_type() == complaint_type) evidence = &known;
  }
  if (evidence == nullptr) {
    evidence = record.add_evidence();
    evidence->set_complaint_type(complaint_type);
  } else if (detection.confidence() < evidence->confidence() ||
             (detection.confidence() == evidence->confidence() &&
              detection.frame_index() >= evidence->frame_index())) {
    return;
  }
  evidence->set_frame_index(detection.frame_index());
  evidence->set_confidence(detection.confidence());
}

void AddResult(v1::Record& record, const v1::ModelResult& result) {
  v1::ModelResult& model = *record.add_models();
  model = result;
  model.clear_detections();
  if (result.section().empty()) return;
  v1::RecordSection& section = SectionNamed(record, result.section());
  if (result.outcome() != v1::OUTCOME_CODE_OK) return;
  section.set_present(true);
  for (const v1::Detection& detection : result.detections()) {
    *section.add_detections() = detection;
    if (!IsComplaint(result, detection)) continue;
    section.set_complaint(1);
    AddEvidence(record, result.complaint_type(), detection);
  }
}

const v1::Evidence* FindEvidence(const v1::Record& record,
                                 absl::string_view complaint_type) {
  for (const v1::Evidence& evidence : record.evidence()) {
    if (evidence.complaint_type() == complaint_type) return &evidence;
  }
  return nullptr;
}

const StoredPicture* FindPicture(const StoredRecord& stored,
                                 int32_t frame_index) {
  for (const StoredPicture& picture : stored.pictures) {
    if (picture.frame_index == frame_index) return &picture;
  }
  return nullptr;
}

absl::string_view OutcomeName(v1::OutcomeCode outcome) {
  switch (outcome) {
    case v1::OUTCOME_CODE_OK:
      return "ok";
    case v1::OUTCOME_CODE_FAILED:
      return "failed";
    case v1::OUTCOME_CODE_SKIPPED:
      return "skipped";
    default:
      return "unspecified";
  }
}

// Writes one line.
class LineWriter {
 public:
  // `frame` < 0: the whole batch, else only what was seen in that frame.
  LineWriter(const StoredRecord& stored, const LineOptions& options, int frame,
             std::string& out)
      : stored_(stored),
        record_(stored.record),
        options_(options),
        frame_(frame),
        json_(out) {}

  void Write(const std::string* jpeg, int line, int lines) {
    json_.BeginObject();
    WriteBasic(jpeg);
    for (const absl::string_view name : kDocumentSections) WriteSection(name);
    for (const v1::RecordSection& section : record_.sections()) {
      if (!Contains(kDocumentSections, section.name())) {
        WriteSection(section.name());
      }
    }
    WriteMeta(line, lines);
    json_.EndObject();
  }

 private:
  bool Shown(const v1::Detection& detection) const {
    return frame_ < 0 || detection.frame_index() == frame_;
  }

  void Text(absl::string_view key, absl::string_view value) {
    json_.Key(key);
    json_.String(value);
  }
  void Number(absl::string_view key, int64_t value) {
    json_.Key(key);
    json_.Int(value);
  }
  void Time(absl::string_view key, const google::protobuf::Timestamp& time) {
    json_.Key(key);
    json_.PlainString(FormatRfc3339(FromProto(time)));
  }

  void WriteBasic(const std::string* jpeg) {
    const absl::Time captured =
        FromProto(frame_ < 0 ? record_.captured_at()
                             : record_.frames(frame_).captured_at());
    json_.Key("basic");
    json_.BeginObject();
    Text("camID", record_.camera_id());
    json_.Key("Latitude");
    record_.has_latitude() ? json_.Double(record_.latitude()) : json_.Null();
    json_.Key("Longitude");
    record_.has_longitude() ? json_.Double(record_.longitude()) : json_.Null();
    Text("Date", absl::FormatTime("%d/%m/%Y", captured, options_.timezone));
    Text("timestamp",
         absl::FormatTime("%H:%M:%S", captured, options_.timezone));
    Text("IP", record_.host_ip());
    WriteComplaints();
    json_.Key("frame_base64");
    if (jpeg == nullptr) {
      json_.Null();
    } else {
      std::string base64;
      absl::Base64Escape(*jpeg, &base64);
      json_.PlainString(base64);
    }
    json_.EndObject();
  }

  // In a batch's line a type is 1 if it has evidence; in a frame's line, if
  // the frame itself shows one.
  bool Complains(absl::string_view type) const {
    if (frame_ < 0) return FindEvidence(record_, type) != nullptr;
    for (const v1::ModelResult& model : record_.models()) {
      if (model.complaint_type() != type) continue;
      for (const v1::RecordSection& section : record_.sections()) {
        if (section.name() != model.section()) continue;
        for (const v1::Detection& detection : section.detections()) {
          if (Shown(detection) && IsComplaint(model, detection)) return true;
        }
      }
    }
    return false;
  }

  void WriteComplaints() {
    json_.Key("complaint_type");
    json_.BeginObject();
    std::vector<absl::string_view> types(std::begin(kDocumentSections),
                                         std::end(kDocumentSections));
    for (const v1::ModelResult& model : record_.models()) {
      if (!model.complaint_type().empty() &&
          !Contains(types, model.complaint_type())) {
        types.push_back(model.complaint_type());
      }
    }
    for (const absl::string_view type : types) {
      Number(type, Complains(type) ? 1 : 0);
    }
    json_.EndObject();
  }

  void WriteSection(absl::string_view name) {
    json_.Key(name);
    for (const v1::RecordSection& section : record_.sections()) {
      if (section.name() != name || !section.present()) continue;
      json_.BeginObject();
      json_.Key("detections");
      json_.BeginArray();
      for (const v1::Detection& detection : section.detections()) {
        if (Shown(detection)) WriteDetection(detection);
      }
      json_.EndArray();
      json_.EndObject();
      return;
    }
    json_.Null();
  }

  void WriteDetection(const v1::Detection& detection) {
    const v1::FrameInfo& frame = record_.frames(detection.frame_index());
    // Sides that are not known do not limit.
    const int width = frame.width() > 0 ? frame.width() : kMaxSide;
    const int height = frame.height() > 0 ? frame.height() : kMaxSide;
    const auto pixel = [](float value, int limit) {
      return std::lround(std::clamp(value, 0.0F, static_cast<float>(limit)));
    };
    json_.BeginObject();
    Text("class", detection.class_name());
    json_.Key("confidence");
    json_.Rounded(detection.confidence(), 4);
    json_.Key("box");
    json_.BeginArray();
    json_.Int(pixel(detection.box().x1(), width));
    json_.Int(pixel(detection.box().y1(), height));
    json_.Int(pixel(detection.box().x2(), width));
    json_.Int(pixel(detection.box().y2(), height));
    json_.EndArray();
    json_.EndObject();
  }

  void WriteMeta(int line, int lines) {
    json_.Key("meta");
    json_.BeginObject();
    Number("record_id", record_.record_id());
    if (frame_ >= 0) {
      Number("frame_index", frame_);
      Number("line", line);
      Number("lines", lines);
    }
    Text("stream_id", record_.stream_id());
    Text("session_id", record_.session_id());
    Text("process_name", record_.process_name());
    Number("batch_seq", record_.batch_seq());
    Text("trace_id",
         TraceContext::OfBatch(record_.session_id(), record_.batch_seq())
             .trace_id);
    Time("captured_at", record_.captured_at());
    Time("last_captured_at", record_.last_captured_at());
    Time("recorded_at", record_.recorded_at());
    Text("node_id", record_.node_id());
    Number("epoch", record_.epoch());
    json_.Key("accounting");
    json_.BeginObject();
    Number("due", record_.frames_due());
    Number("missed", record_.frames_missed());
    json_.EndObject();
    WriteFrames();
    WriteModels();
    WriteDetectionFrames();
    WriteDetectionZones();
    WriteEvidence();
    json_.EndObject();
  }

  void WriteFrames() {
    json_.Key("frames");
    json_.BeginArray();
    for (int i = 0; i < record_.frames_size(); ++i) {
      const v1::FrameInfo& frame = record_.frames(i);
      json_.BeginObject();
      Number("frame_index", i);
      Number("frame_seq", frame.frame_seq());
      Time("captured_at", frame.captured_at());
      Number("width", frame.width());
      Number("height", frame.height());
      json_.Key("mean_luma");
      json_.Rounded(frame.mean_luma(), 2);
      json_.Key("sha256");
      json_.PlainString(absl::BytesToHexString(frame.sha256()));
      json_.EndObject();
    }
    json_.EndArray();
  }

  void WriteModels() {
    json_.Key("models");
    json_.BeginObject();
    for (const v1::ModelResult& model : record_.models()) {
      json_.Key(model.model());
      json_.BeginObject();
      Text("outcome", OutcomeName(model.outcome()));
      Text("reason", model.reason());
      Text("engine", model.engine());
      Text("device", model.device());
      Text("precision", model.precision());
      Text("weights_sha256", model.weights_sha256());
      json_.Key("inference_seconds");
      json_.Rounded(model.inference_seconds(), 4);
      json_.Key("undecodable_frames");
      json_.BeginArray();
      for (const int frame : model.undecodable_frames()) json_.Int(frame);
      json_.EndArray();
      json_.EndObject();
    }
    json_.EndObject();
  }

  void WriteDetectionFrames() {
    json_.Key("detection_frames");
    json_.BeginObject();
    for (const v1::RecordSection& section : record_.sections()) {
      json_.Key(section.name());
      json_.BeginArray();
      for (const v1::Detection& detection : section.detections()) {
        if (Shown(detection)) json_.Int(detection.frame_index());
      }
      json_.EndArray();
    }
    json_.EndObject();
  }

  // In the order of the section's detections; only of cameras with zones.
  void WriteDetectionZones() {
    const auto has_zone = [](const v1::Detection& d) {
      return !d.zone().empty();
    };
    const auto has_zones = [&](const v1::RecordSection& section) {
      return std::any_of(section.detections().begin(),
                         section.detections().end(), has_zone);
    };
    if (std::none_of(record_.sections().begin(), record_.sections().end(),
                     has_zones)) {
      return;
    }
    json_.Key("detection_zones");
    json_.BeginObject();
    for (const v1::RecordSection& section : record_.sections()) {
      json_.Key(section.name());
      json_.BeginArray();
      for (const v1::Detection& detection : section.detections()) {
        if (Shown(detection)) json_.String(detection.zone());
      }
      json_.EndArray();
    }
    json_.EndObject();
  }

  void WriteEvidence() {
    json_.Key("evidence");
    json_.BeginObject();
    for (const v1::Evidence& evidence : record_.evidence()) {
      json_.Key(evidence.complaint_type());
      json_.BeginObject();
      Number("frame_index", evidence.frame_index());
      json_.Key("confidence");
      json_.Rounded(evidence.confidence(), 4);
      json_.Key("picture");
      const StoredPicture* picture =
          FindPicture(stored_, evidence.frame_index());
      picture != nullptr ? json_.String(picture->path) : json_.Null();
      json_.EndObject();
    }
    json_.EndObject();
  }

  const StoredRecord& stored_;
  const v1::Record& record_;
  const LineOptions& options_;
  const int frame_;
  JsonWriter json_;
};

}  // namespace

absl::Status CheckBatchHeader(const v1::AddBatchResultHeader& header) {
  CAMHERD_RETURN_IF_ERROR(CheckManifest(header.manifest()));
  if (header.manifest_sha256().size() != 32) {
    return Invalid("manifest_sha256 must have 32 bytes, got ",
                   header.manifest_sha256().size());
  }
  if (header.results().empty()) {
    return Invalid("results must hold at least one model's, got none");
  }
  std::set<absl::string_view> models;
  for (const v1::ModelResult& result : header.results()) {
    CAMHERD_RETURN_IF_ERROR(
        CheckResult(result, header.manifest().frames_size()));
    if (!models.insert(result.model()).second) {
      return Invalid("results holds model ", result.model(), " twice");
    }
  }
  return absl::OkStatus();
}

v1::Record BuildRecord(const v1::AddBatchResultHeader& header,
                       const std::optional<v1::Camera>& camera) {
  const v1::BatchManifest& manifest = header.manifest();
  v1::Record record;
  record.set_stream_id(manifest.stream_id());
  record.set_session_id(manifest.session_id());
  record.set_camera_id(manifest.camera_id());
  record.set_process_name(manifest.process_name());
  record.set_batch_seq(manifest.batch_seq());
  if (camera.has_value() && camera->has_latitude() && camera->has_longitude()) {
    record.set_latitude(camera->latitude());
    record.set_longitude(camera->longitude());
  }
  *record.mutable_frames() = manifest.frames();
  *record.mutable_captured_at() = manifest.frames(0).captured_at();
  *record.mutable_last_captured_at() =
      manifest.frames(manifest.frames_size() - 1).captured_at();
  record.set_host_ip(manifest.host_ip());
  record.set_node_id(manifest.node_id());
  record.set_epoch(manifest.epoch());
  record.set_frames_due(manifest.frames_due());
  record.set_frames_missed(manifest.frames_missed());
  for (const absl::string_view name : kDocumentSections) {
    SectionNamed(record, std::string(name));
  }
  // Also models that failed have their section, null in the line.
  for (const v1::ModelResult& result : header.results()) {
    SectionNamed(record, result.section());
  }
  for (const v1::ModelResult& result : header.results()) {
    AddResult(record, result);
  }
  return record;
}

absl::Status AppendPredictionLines(const StoredRecord& stored,
                                   const LineOptions& options,
                                   const PictureReader& read_picture,
                                   std::string& out) {
  std::vector<int> frames;
  if (options.per_frame) {
    std::set<int> seen;
    for (const v1::RecordSection& section : stored.record.sections()) {
      for (const v1::Detection& detection : section.detections()) {
        seen.insert(detection.frame_index());
      }
    }
    frames.assign(seen.begin(), seen.end());
  } else {
    frames.push_back(-1);
  }
  absl::Status status;
  const int lines = static_cast<int>(frames.size());
  for (int line = 0; line < lines; ++line) {
    const StoredPicture* picture =
        FindPicture(stored, std::max(frames[line], 0));
    absl::StatusOr<std::string> jpeg =
        picture == nullptr
            ? absl::NotFoundError(
                  absl::StrCat("record ", stored.record.record_id(),
                               " keeps no picture ", std::max(frames[line], 0)))
            : read_picture(*picture);
    if (!jpeg.ok()) status = jpeg.status();
    LineWriter(stored, options, frames[line], out)
        .Write(jpeg.ok() ? &*jpeg : nullptr, line + 1, lines);
    out += '\n';
  }
  return status;
}

}  // namespace camherd::aggregator
