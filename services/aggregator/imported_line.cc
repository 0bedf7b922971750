// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/imported_line.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/aggregator/jpeg_header.h"
#include "services/common/camera_url.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"
#include "services/common/utf8.h"

namespace camherd::aggregator {
namespace {

// In the order of the text.
using Json = nlohmann::ordered_json;

constexpr absl::string_view kDocumentSections[] = {"stray_animal", "pothole"};
constexpr int kMaxFrames = 64;
constexpr int kMaxSections = 64;
constexpr size_t kMaxDetections = 100000;
constexpr size_t kMaxText = 1000;
constexpr int kMaxKeys = 1000;
constexpr size_t kShown = 60;
constexpr int64_t kMaxSide = 65535;
constexpr char kImportStream[] = "import";

// What a person can read of a value.
std::string Shown(const Json* value) {
  if (value == nullptr) return "nothing";
  if (value->is_array() || value->is_object()) return value->type_name();
  const std::string text = value->dump();
  return text.size() <= kShown
             ? text
             : absl::StrCat(ToUtf8(text.substr(0, kShown)), "...");
}

absl::Status Wrong(absl::string_view field, absl::string_view must,
                   const Json* got) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be ", must, ", got ", Shown(got)));
}

// A field of an object, by its full name for errors.
class Field {
 public:
  Field(const Json& value, std::string name)
      : value_(&value), name_(std::move(name)) {}

  // Absent and null are the same.
  Field At(const std::string& key) const {
    const std::string name =
        name_.empty() ? key : absl::StrCat(name_, ".", key);
    if (value_ != nullptr && value_->is_object()) {
      const auto it = value_->find(key);
      if (it != value_->end() && !it->is_null()) return {*it, name};
    }
    return Field(name);
  }
  Field At(size_t index) const {
    return {(*value_)[index], absl::StrCat(name_, "[", index, "]")};
  }

  bool is_null() const { return value_ == nullptr || value_->is_null(); }
  bool is_object() const { return value_ != nullptr && value_->is_object(); }
  const Json& value() const { return *value_; }
  const std::string& name() const { return name_; }
  size_t size() const { return is_null() ? 0 : value_->size(); }

  absl::Status Fail(absl::string_view must) const {
    return Wrong(name_, must, value_);
  }

  absl::Status CheckObject() const {
    return is_object() ? absl::OkStatus() : Fail("an object");
  }
  // Null is one without elements.
  absl::Status CheckArray(size_t most) const {
    if (is_null()) return absl::OkStatus();
    if (!value_->is_array()) return Fail("an array");
    if (value_->size() <= most) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        name_, " must have at most ", most, " elements, got ", value_->size()));
  }

  // "" for null.
  absl::StatusOr<std::string> Text(size_t most = kMaxText) const {
    if (is_null()) return std::string();
    if (!value_->is_string()) return Fail("a text");
    const auto& text = value_->get_ref<const std::string&>();
    if (text.size() <= most) return text;
    return absl::InvalidArgumentError(absl::StrCat(
        name_, " must have at most ", most, " bytes, got ", text.size()));
  }
  absl::StatusOr<std::string> Id() const {
    CAMHERD_ASSIGN_OR_RETURN(std::string id, Text());
    CAMHERD_RETURN_IF_ERROR(CheckId(name_, id));
    return id;
  }
  // 0 for null.
  absl::StatusOr<int64_t> Int(int64_t least, int64_t most) const {
    if (is_null() && least <= 0) return 0;
    const std::string must =
        absl::StrCat("a whole number in [", least, ", ", most, "]");
    if (is_null() || !value_->is_number_integer()) return Fail(must);
    if (value_->is_number_unsigned() &&
        value_->get<uint64_t>() > static_cast<uint64_t>(most)) {
      return Fail(must);
    }
    const auto number = value_->get<int64_t>();
    if (number < least || number > most) return Fail(must);
    return number;
  }
  absl::StatusOr<double> Number(double least, double most) const {
    if (!is_null() && value_->is_number()) {
      const auto number = value_->get<double>();
      if (number >= least && number <= most) return number;
    }
    return Fail(absl::StrCat("a number in [", least, ", ", most, "]"));
  }
  absl::StatusOr<absl::Time> Time() const {
    CAMHERD_ASSIGN_OR_RETURN(const std::string text, Text());
    absl::Time time;
    if (!absl::ParseTime(absl::RFC3339_full, text, &time, nullptr) ||
        time < absl::UnixEpoch() ||
        time >= absl::FromUnixSeconds(253402300800)) {
      return Fail("a time such as 2026-08-01T10:15:00.000Z");
    }
    return time;
  }

 private:
  explicit Field(std::string name) : value_(nullptr), name_(std::move(name)) {}

  const Json* value_;
  std::string name_;
};

template <typename List>
bool Contains(const List& list, absl::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

// An object with an order looks each key up among those before it.
bool HasTooManyKeys(absl::string_view text) {
  // Of what is open; an array has none.
  std::vector<int> keys;
  bool in_text = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_text) {
      in_text = c != '"';
      if (c == '\\') ++i;
    } else if (c == '"') {
      in_text = true;
    } else if (c == '{' || c == '[') {
      keys.push_back(0);
    } else if (keys.empty()) {
      continue;
    } else if (c == '}' || c == ']') {
      keys.pop_back();
    } else if (c == ':' && ++keys.back() > kMaxKeys) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<Json> Parse(absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8Length(text.substr(at));
    if (length == 0) {
      return absl::DataLossError(
          absl::StrCat("the record is not UTF-8: byte ", at + 1, " of it is \"",
                       absl::CHexEscape(text.substr(at, 1)), "\""));
    }
    at += length;
  }
  if (HasTooManyKeys(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat("an object of a record must have at most ", kMaxKeys,
                     " keys, got more"));
  }
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::parse_error& e) {
    const size_t at = std::min(e.byte == 0 ? 0 : e.byte - 1, text.size());
    return absl::DataLossError(absl::StrCat(
        "the record is not JSON: byte ", e.byte, " of it, \"",
        absl::CHexEscape(text.substr(at, 20)), "\", is out of place"));
  } catch (const Json::exception&) {
    // Such as a number beyond all range.
    return absl::DataLossError("the record is not JSON");
  }
}

v1::RecordSection& SectionNamed(v1::Record& record, const std::string& name) {
  for (v1::RecordSection& section : *record.mutable_sections()) {
    if (section.name() == name) return section;
  }
  v1::RecordSection& section = *record.add_sections();
  section.set_name(name);
  return section;
}

absl::StatusOr<v1::Detection> ReadDetection(const Field& field) {
  CAMHERD_RETURN_IF_ERROR(field.CheckObject());
  v1::Detection detection;
  CAMHERD_ASSIGN_OR_RETURN(*detection.mutable_class_name(),
                           field.At("class").Text());
  if (detection.class_name().empty()) {
    return field.At("class").Fail("a text");
  }
  CAMHERD_ASSIGN_OR_RETURN(const double confidence,
                           field.At("confidence").Number(0, 1));
  detection.set_confidence(static_cast<float>(confidence));
  const Field box = field.At("box");
  CAMHERD_RETURN_IF_ERROR(box.CheckArray(4));
  if (box.size() != 4) return box.Fail("[x1, y1, x2, y2]");
  float sides[4] = {};
  for (size_t i = 0; i < 4; ++i) {
    CAMHERD_ASSIGN_OR_RETURN(const double side,
                             box.At(i).Number(-kMaxSide, kMaxSide));
    sides[i] = static_cast<float>(side);
  }
  detection.mutable_box()->set_x1(sides[0]);
  detection.mutable_box()->set_y1(sides[1]);
  detection.mutable_box()->set_x2(sides[2]);
  detection.mutable_box()->set_y2(sides[3]);
  return detection;
}

// Puts the sections' detections together; where they are and the complaints
// come later.
absl::Status ReadSections(const Field& all, v1::Record& record) {
  for (const absl::string_view name : kDocumentSections) {
    SectionNamed(record, std::string(name));
  }
  for (const auto& [key, value] : all.value().items()) {
    if (key == "basic" || key == "meta") continue;
    CAMHERD_RETURN_IF_ERROR(CheckId("the name of a section", key));
    v1::RecordSection& section = SectionNamed(record, key);
    if (record.sections_size() > kMaxSections) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a record must have at most ", kMaxSections, " sections, got more"));
    }
    if (value.is_null()) continue;
    const Field field(value, key);
    if (!field.is_object()) return field.Fail("null or an object");
    const Field detections = field.At("detections");
    if (detections.is_null()) return detections.Fail("an array");
    CAMHERD_RETURN_IF_ERROR(detections.CheckArray(kMaxDetections));
    section.set_present(true);
    for (size_t i = 0; i < detections.size(); ++i) {
      CAMHERD_ASSIGN_OR_RETURN(*section.add_detections(),
                               ReadDetection(detections.At(i)));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadEvidence(const Field& known, v1::Record& record) {
  if (known.is_null()) return absl::OkStatus();
  CAMHERD_RETURN_IF_ERROR(known.CheckObject());
  for (const auto& [type, value] : known.value().items()) {
    CAMHERD_RETURN_IF_ERROR(CheckId(known.name(), type));
    const Field field = known.At(type);
    CAMHERD_RETURN_IF_ERROR(field.CheckObject());
    v1::Evidence& evidence = *record.add_evidence();
    evidence.set_complaint_type(type);
    CAMHERD_ASSIGN_OR_RETURN(
        const int64_t frame,
        field.At("frame_index").Int(0, record.frames_size() - 1));
    evidence.set_frame_index(static_cast<int32_t>(frame));
    CAMHERD_ASSIGN_OR_RETURN(const double confidence,
                             field.At("confidence").Number(0, 1));
    evidence.set_confidence(static_cast<float>(confidence));
  }
  return absl::OkStatus();
}

// The evidence of a complaint that names none: the best detection there is.
void AddEvidence(const std::string& type, v1::Record& record) {
  for (const v1::Evidence& known : record.evidence()) {
    if (known.complaint_type() == type) return;
  }
  v1::Evidence& evidence = *record.add_evidence();
  evidence.set_complaint_type(type);
  for (const v1::RecordSection& section : record.sections()) {
    if (section.name() != type) continue;
    for (const v1::Detection& detection : section.detections()) {
      if (detection.confidence() <= evidence.confidence()) continue;
      evidence.set_confidence(detection.confidence());
      evidence.set_frame_index(detection.frame_index());
    }
  }
}

// Lines do not say which model a section and a complaint are of: the one of
// their name, else the next that has none and is not named as another section,
// else one that is made for them. No two have one name.
v1::ModelResult& ModelFor(const std::string& section, v1::Record& record) {
  v1::ModelResult* free = nullptr;
  for (v1::ModelResult& model : *record.mutable_models()) {
    if (model.model() == section) return model;
    const bool named = std::any_of(
        record.sections().begin(), record.sections().end(),
        [&](const v1::RecordSection& s) { return s.name() == model.model(); });
    if (model.section().empty() && !named && free == nullptr) free = &model;
  }
  if (free != nullptr) return *free;
  v1::ModelResult& made = *record.add_models();
  made.set_model(section);
  made.set_outcome(v1::OUTCOME_CODE_SKIPPED);
  return made;
}

absl::Status ReadComplaints(const Field& types, v1::Record& record) {
  CAMHERD_RETURN_IF_ERROR(types.CheckObject());
  std::vector<std::string> complaints;
  for (const auto& [type, value] : types.value().items()) {
    CAMHERD_RETURN_IF_ERROR(CheckId(types.name(), type));
    const Field field(value, absl::StrCat(types.name(), ".", type));
    bool complaint = value.is_boolean() && value.get<bool>();
    if (!value.is_boolean()) {
      if (value.is_null()) return field.Fail("0 or 1");
      CAMHERD_ASSIGN_OR_RETURN(const int64_t number, field.Int(0, 1));
      complaint = number == 1;
    }
    if (complaints.size() >= kMaxSections) {
      return types.Fail(absl::StrCat("of at most ", kMaxSections, " types"));
    }
    complaints.push_back(type);
    if (complaint) AddEvidence(type, record);
  }
  for (v1::RecordSection& section : *record.mutable_sections()) {
    for (const v1::Evidence& evidence : record.evidence()) {
      if (evidence.complaint_type() == section.name()) section.set_complaint(1);
    }
    const bool extra = !Contains(kDocumentSections, section.name());
    if (!section.present() && !extra) continue;
    v1::ModelResult& model = ModelFor(section.name(), record);
    model.set_section(section.name());
    if (section.present()) model.set_outcome(v1::OUTCOME_CODE_OK);
  }
  for (const std::string& type : complaints) {
    v1::ModelResult* of = nullptr;
    for (v1::ModelResult& model : *record.mutable_models()) {
      if (model.section() == type) of = &model;
    }
    if (of == nullptr && Contains(kDocumentSections, type)) continue;
    for (v1::ModelResult& model : *record.mutable_models()) {
      if (of == nullptr && model.model() == type) of = &model;
    }
    if (of == nullptr) {
      of = record.add_models();
      of->set_model(type);
      of->set_outcome(v1::OUTCOME_CODE_SKIPPED);
    }
    of->set_complaint_type(type);
    // Which classes complain is not known: all, or a name that none has.
    const bool any = std::any_of(
        record.evidence().begin(), record.evidence().end(),
        [&type](const v1::Evidence& e) { return e.complaint_type() == type; });
    if (!any) of->add_complaint_classes("");
  }
  return absl::OkStatus();
}

absl::Status ReadPicture(const Field& basic, int frame_index,
                         ImportedLine& read) {
  const Field field = basic.At("frame_base64");
  if (field.is_null()) return absl::OkStatus();
  CAMHERD_ASSIGN_OR_RETURN(const std::string base64,
                           field.Text(std::numeric_limits<size_t>::max()));
  if (base64.empty()) return absl::OkStatus();
  Picture picture{.frame_index = frame_index, .jpeg = ""};
  if (!absl::Base64Unescape(base64, &picture.jpeg)) {
    return absl::InvalidArgumentError(absl::StrCat(
        field.name(), " must be base64, got ", Shown(&field.value())));
  }
  v1::FrameInfo& frame = *read.record.record.mutable_frames(frame_index);
  const std::string sha256 = Sha256(picture.jpeg);
  if (!frame.sha256().empty()) {
    if (frame.sha256() != sha256) {
      return absl::InvalidArgumentError(absl::StrCat(
          field.name(), " must have the SHA-256 of meta.frames[", frame_index,
          "], ", absl::BytesToHexString(frame.sha256()), ", got ",
          absl::BytesToHexString(sha256)));
    }
  } else if (!absl::StartsWith(picture.jpeg, "\xFF\xD8\xFF")) {
    return absl::InvalidArgumentError(
        absl::StrCat(field.name(), " must be a JPEG, got bytes that begin ",
                     absl::BytesToHexString(picture.jpeg.substr(0, 4))));
  }
  frame.set_sha256(sha256);
  frame.set_size_bytes(static_cast<int64_t>(picture.jpeg.size()));
  if (frame.width() == 0) {
    const absl::StatusOr<JpegSize> size = ReadJpegSize(picture.jpeg);
    if (size.ok()) {
      frame.set_width(size->width);
      frame.set_height(size->height);
    }
  }
  read.record.pictures.push_back(std::move(picture));
  return absl::OkStatus();
}

absl::Status ReadBasic(const Field& basic, v1::Record& record) {
  CAMHERD_RETURN_IF_ERROR(basic.CheckObject());
  CAMHERD_ASSIGN_OR_RETURN(*record.mutable_camera_id(), basic.At("camID").Id());
  const Field latitude = basic.At("Latitude");
  const Field longitude = basic.At("Longitude");
  if (!latitude.is_null() || !longitude.is_null()) {
    CAMHERD_ASSIGN_OR_RETURN(const double north, latitude.Number(-90, 90));
    CAMHERD_ASSIGN_OR_RETURN(const double east, longitude.Number(-180, 180));
    record.set_latitude(north);
    record.set_longitude(east);
  }
  CAMHERD_ASSIGN_OR_RETURN(*record.mutable_host_ip(), basic.At("IP").Text());
  return absl::OkStatus();
}

// As document A has it.
absl::StatusOr<absl::Time> ReadDate(const Field& basic,
                                    absl::TimeZone timezone) {
  CAMHERD_ASSIGN_OR_RETURN(const std::string date, basic.At("Date").Text());
  CAMHERD_ASSIGN_OR_RETURN(const std::string clock,
                           basic.At("timestamp").Text());
  absl::Time time;
  if (!absl::ParseTime("%d/%m/%Y", date, timezone, &time, nullptr) ||
      time < absl::UnixEpoch() || time >= absl::FromUnixSeconds(253402300800)) {
    return basic.At("Date").Fail("dd/mm/yyyy");
  }
  if (!absl::ParseTime("%d/%m/%Y %H:%M:%S", absl::StrCat(date, " ", clock),
                       timezone, &time, nullptr)) {
    return basic.At("timestamp").Fail("HH:MM:SS");
  }
  return time;
}

// White space and the order of keys make no other record.
std::string DigestOf(const Json& value) {
  return Sha256Hex(nlohmann::json(value).dump());
}

absl::Status ReadAsDocument(const Field& all, absl::TimeZone timezone,
                            ImportedLine& read) {
  const Field basic = all.At("basic");
  v1::Record& record = read.record.record;
  record.set_stream_id(kImportStream);
  record.set_session_id(
      absl::StrCat(kImportStream, "-", DigestOf(all.value()).substr(0, 32)));
  record.set_batch_seq(1);
  CAMHERD_ASSIGN_OR_RETURN(const absl::Time captured,
                           ReadDate(basic, timezone));
  *record.mutable_captured_at() = ToProto(captured);
  *record.mutable_last_captured_at() = ToProto(captured);
  v1::FrameInfo& frame = *record.add_frames();
  frame.set_frame_seq(1);
  *frame.mutable_captured_at() = ToProto(captured);
  return ReadPicture(basic, 0, read);
}

absl::Status ReadFrames(const Field& frames, v1::Record& record) {
  CAMHERD_RETURN_IF_ERROR(frames.CheckArray(kMaxFrames));
  for (size_t i = 0; i < frames.size(); ++i) {
    const Field field = frames.At(i);
    CAMHERD_RETURN_IF_ERROR(field.CheckObject());
    v1::FrameInfo& frame = *record.add_frames();
    CAMHERD_ASSIGN_OR_RETURN(
        const int64_t seq,
        field.At("frame_seq").Int(0, std::numeric_limits<int64_t>::max()));
    frame.set_frame_seq(seq);
    CAMHERD_ASSIGN_OR_RETURN(const absl::Time captured,
                             field.At("captured_at").Time());
    *frame.mutable_captured_at() = ToProto(captured);
    CAMHERD_ASSIGN_OR_RETURN(const int64_t width,
                             field.At("width").Int(0, kMaxSide));
    CAMHERD_ASSIGN_OR_RETURN(const int64_t height,
                             field.At("height").Int(0, kMaxSide));
    frame.set_width(static_cast<int32_t>(width));
    frame.set_height(static_cast<int32_t>(height));
    CAMHERD_ASSIGN_OR_RETURN(const double luma,
                             field.At("mean_luma").Number(0, 255));
    frame.set_mean_luma(luma);
    CAMHERD_ASSIGN_OR_RETURN(const std::string sha256,
                             field.At("sha256").Text());
    // Of an imported record that had no picture: none.
    if ((!sha256.empty() && sha256.size() != 64) ||
        !std::all_of(sha256.begin(), sha256.end(), absl::ascii_isxdigit)) {
      return field.At("sha256").Fail("64 hexadecimal digits");
    }
    frame.set_sha256(absl::HexStringToBytes(sha256));
  }
  if (record.frames().empty()) return frames.Fail("an array of 1..64 frames");
  return absl::OkStatus();
}

absl::StatusOr<v1::ModelResult> ReadModel(const std::string& name,
                                          const Field& field, int frames) {
  CAMHERD_RETURN_IF_ERROR(CheckId("meta.models", name));
  CAMHERD_RETURN_IF_ERROR(field.CheckObject());
  v1::ModelResult model;
  model.set_model(name);
  CAMHERD_ASSIGN_OR_RETURN(const std::string outcome,
                           field.At("outcome").Text());
  if (outcome == "ok") {
    model.set_outcome(v1::OUTCOME_CODE_OK);
  } else if (outcome == "failed") {
    model.set_outcome(v1::OUTCOME_CODE_FAILED);
  } else if (outcome == "skipped") {
    model.set_outcome(v1::OUTCOME_CODE_SKIPPED);
  } else {
    return field.At("outcome").Fail("ok, failed or skipped");
  }
  const std::pair<const char*, std::string*> texts[] = {
      {"reason", model.mutable_reason()},
      {"engine", model.mutable_engine()},
      {"device", model.mutable_device()},
      {"precision", model.mutable_precision()},
      {"weights_sha256", model.mutable_weights_sha256()}};
  for (const auto& [key, text] : texts) {
    CAMHERD_ASSIGN_OR_RETURN(*text, field.At(key).Text());
  }
  CAMHERD_ASSIGN_OR_RETURN(const double seconds,
                           field.At("inference_seconds").Number(0, 1e9));
  model.set_inference_seconds(seconds);
  const Field broken = field.At("undecodable_frames");
  CAMHERD_RETURN_IF_ERROR(broken.CheckArray(kMaxFrames));
  for (size_t i = 0; i < broken.size(); ++i) {
    CAMHERD_ASSIGN_OR_RETURN(const int64_t frame,
                             broken.At(i).Int(0, frames - 1));
    model.add_undecodable_frames(static_cast<int32_t>(frame));
  }
  return model;
}

// A list in `meta` that goes with the detections of a section.
absl::StatusOr<Field> ListBeside(const Field& lists,
                                 const v1::RecordSection& section) {
  Field list = lists.At(section.name());
  CAMHERD_RETURN_IF_ERROR(list.CheckArray(kMaxDetections));
  if (!list.is_null() &&
      list.size() != static_cast<size_t>(section.detections_size())) {
    return absl::InvalidArgumentError(absl::StrCat(
        list.name(), " must have an element for each of the ",
        section.detections_size(), " detections, got ", list.size()));
  }
  return list;
}

absl::Status PlaceDetections(const Field& meta, v1::Record& record) {
  for (v1::RecordSection& section : *record.mutable_sections()) {
    CAMHERD_ASSIGN_OR_RETURN(const Field frames,
                             ListBeside(meta.At("detection_frames"), section));
    CAMHERD_ASSIGN_OR_RETURN(const Field zones,
                             ListBeside(meta.At("detection_zones"), section));
    for (int i = 0; i < section.detections_size(); ++i) {
      v1::Detection& detection = *section.mutable_detections(i);
      const auto index = static_cast<size_t>(i);
      if (!frames.is_null()) {
        CAMHERD_ASSIGN_OR_RETURN(
            const int64_t frame,
            frames.At(index).Int(0, record.frames_size() - 1));
        detection.set_frame_index(static_cast<int32_t>(frame));
      }
      if (!zones.is_null()) {
        CAMHERD_ASSIGN_OR_RETURN(*detection.mutable_zone(),
                                 zones.At(index).Text());
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReadMeta(const Field& all, ImportedLine& read) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const Field meta = all.At("meta");
  v1::Record& record = read.record.record;
  CAMHERD_ASSIGN_OR_RETURN(*record.mutable_session_id(),
                           meta.At("session_id").Id());
  CAMHERD_ASSIGN_OR_RETURN(*record.mutable_stream_id(),
                           meta.At("stream_id").Id());
  CAMHERD_ASSIGN_OR_RETURN(*record.mutable_process_name(),
                           meta.At("process_name").Text());
  if (!record.process_name().empty()) {
    CAMHERD_RETURN_IF_ERROR(
        CheckId(meta.At("process_name").name(), record.process_name()));
  }
  CAMHERD_ASSIGN_OR_RETURN(const int64_t seq,
                           meta.At("batch_seq").Int(1, kMost));
  record.set_batch_seq(seq);
  CAMHERD_ASSIGN_OR_RETURN(*record.mutable_node_id(),
                           meta.At("node_id").Text());
  CAMHERD_ASSIGN_OR_RETURN(const int64_t epoch, meta.At("epoch").Int(0, kMost));
  record.set_epoch(epoch);
  const Field accounting = meta.At("accounting");
  CAMHERD_ASSIGN_OR_RETURN(const int64_t due,
                           accounting.At("due").Int(0, kMost));
  CAMHERD_ASSIGN_OR_RETURN(const int64_t missed,
                           accounting.At("missed").Int(0, kMost));
  record.set_frames_due(due);
  record.set_frames_missed(missed);
  CAMHERD_ASSIGN_OR_RETURN(const absl::Time captured,
                           meta.At("captured_at").Time());
  CAMHERD_ASSIGN_OR_RETURN(const absl::Time last,
                           meta.At("last_captured_at").Time());
  *record.mutable_captured_at() = ToProto(captured);
  *record.mutable_last_captured_at() = ToProto(last);
  CAMHERD_RETURN_IF_ERROR(ReadFrames(meta.At("frames"), record));
  const Field models = meta.At("models");
  if (!models.is_null()) {
    CAMHERD_RETURN_IF_ERROR(models.CheckObject());
    for (const auto& [name, value] : models.value().items()) {
      CAMHERD_ASSIGN_OR_RETURN(
          *record.add_models(),
          ReadModel(name, models.At(name), record.frames_size()));
    }
  }
  CAMHERD_RETURN_IF_ERROR(PlaceDetections(meta, record));
  CAMHERD_RETURN_IF_ERROR(ReadEvidence(meta.At("evidence"), record));
  int64_t frame = 0;
  if (!meta.At("lines").is_null()) {
    CAMHERD_ASSIGN_OR_RETURN(const int64_t lines,
                             meta.At("lines").Int(1, kMaxFrames));
    CAMHERD_ASSIGN_OR_RETURN(const int64_t line, meta.At("line").Int(1, lines));
    CAMHERD_ASSIGN_OR_RETURN(
        frame, meta.At("frame_index").Int(0, record.frames_size() - 1));
    read.line = static_cast<int>(line);
    read.lines = static_cast<int>(lines);
  }
  return ReadPicture(all.At("basic"), static_cast<int>(frame), read);
}

}  // namespace

absl::StatusOr<ImportedLine> ParseImportedLine(absl::string_view text,
                                               absl::TimeZone timezone) {
  CAMHERD_ASSIGN_OR_RETURN(const Json json, Parse(text));
  const Field all(json, "");
  ImportedLine read;
  v1::Record& record = read.record.record;
  record.set_imported(true);
  const Field basic = all.At("basic");
  CAMHERD_RETURN_IF_ERROR(ReadBasic(basic, record));
  CAMHERD_RETURN_IF_ERROR(ReadSections(all, record));
  // Another program's `meta` is none.
  if (!all.At("meta").At("session_id").is_null()) {
    CAMHERD_RETURN_IF_ERROR(ReadMeta(all, read));
  } else {
    CAMHERD_RETURN_IF_ERROR(ReadAsDocument(all, timezone, read));
  }
  CAMHERD_RETURN_IF_ERROR(ReadComplaints(basic.At("complaint_type"), record));
  return read;
}

}  // namespace camherd::aggregator
