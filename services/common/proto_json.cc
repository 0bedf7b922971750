// SPDX-License-Identifier: Apache-2.0
#include "services/common/proto_json.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "services/common/camera_url.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::EnumValueDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::Reflection;
using ::google::protobuf::Timestamp;
using OrderedJson = nlohmann::ordered_json;

constexpr int kMaxDepth = 64;
constexpr absl::string_view kTimestamp = "google.protobuf.Timestamp";
// Stands for a list of names: in JSON it is that list.
constexpr absl::string_view kModelList = "camherd.v1.ModelList";

// "STREAM_STATE_" of an enum whose zero is STREAM_STATE_UNSPECIFIED.
absl::string_view EnumPrefix(const EnumDescriptor& type) {
  const EnumValueDescriptor* zero = type.FindValueByNumber(0);
  if (zero == nullptr) return "";
  absl::string_view prefix = zero->name();
  absl::ConsumeSuffix(&prefix, "UNSPECIFIED");
  return prefix;
}

OrderedJson ToJson(const Message& message, bool with_pictures);

OrderedJson Number(double value) {
  if (!std::isfinite(value)) return nullptr;
  // 3, not 3.0, as a person would write it.
  if (value == std::trunc(value) && std::abs(value) < 1e15) {
    return static_cast<int64_t>(value);
  }
  return value;
}

OrderedJson FloatNumber(float value) {
  // The shortest text that is that float, not its 17 digits as a double.
  double shortened = value;
  (void)absl::SimpleAtod(absl::StrFormat("%.7g", value), &shortened);
  return Number(shortened);
}

OrderedJson EnumJson(const EnumDescriptor& type, int number) {
  const EnumValueDescriptor* value = type.FindValueByNumber(number);
  if (value == nullptr) return number;
  return EnumText(*value);
}

OrderedJson MessageJson(const Message& message, bool with_pictures) {
  const std::string& type = message.GetDescriptor()->full_name();
  if (type == kTimestamp) {
    return FormatRfc3339(FromProto(static_cast<const Timestamp&>(message)));
  }
  if (type == kModelList) {
    return ToJson(message, with_pictures).front();
  }
  return ToJson(message, with_pictures);
}

// `index` -1: the field itself.
OrderedJson ValueJson(const Message& message, const FieldDescriptor& field,
                      int index, bool with_pictures) {
  const Reflection& r = *message.GetReflection();
  const FieldDescriptor* f = &field;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return index < 0 ? r.GetInt32(message, f)
                       : r.GetRepeatedInt32(message, f, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return index < 0 ? r.GetInt64(message, f)
                       : r.GetRepeatedInt64(message, f, index);
    case FieldDescriptor::CPPTYPE_UINT32:
      return index < 0 ? r.GetUInt32(message, f)
                       : r.GetRepeatedUInt32(message, f, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return index < 0 ? r.GetUInt64(message, f)
                       : r.GetRepeatedUInt64(message, f, index);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Number(index < 0 ? r.GetDouble(message, f)
                              : r.GetRepeatedDouble(message, f, index));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return FloatNumber(index < 0 ? r.GetFloat(message, f)
                                   : r.GetRepeatedFloat(message, f, index));
    case FieldDescriptor::CPPTYPE_BOOL:
      return index < 0 ? r.GetBool(message, f)
                       : r.GetRepeatedBool(message, f, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumJson(*field.enum_type(),
                      index < 0 ? r.GetEnumValue(message, f)
                                : r.GetRepeatedEnumValue(message, f, index));
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string value = index < 0 ? r.GetString(message, f)
                                    : r.GetRepeatedString(message, f, index);
      if (field.type() == FieldDescriptor::TYPE_BYTES) {
        return absl::Base64Escape(value);
      }
      return value;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageJson(index < 0 ? r.GetMessage(message, f)
                                   : r.GetRepeatedMessage(message, f, index),
                         with_pictures);
  }
  return nullptr;
}

std::string MapKey(const Message& entry, const FieldDescriptor& key) {
  const OrderedJson value = ValueJson(entry, key, -1, false);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

OrderedJson ToJson(const Message& message, bool with_pictures) {
  OrderedJson object = OrderedJson::object();
  const Reflection& r = *message.GetReflection();
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (IsPicture(field) && !with_pictures) continue;
    OrderedJson& out = object[field.name()];
    if (field.is_map()) {
      std::map<std::string, OrderedJson> sorted;
      for (int k = 0; k < r.FieldSize(message, &field); ++k) {
        const Message& entry = r.GetRepeatedMessage(message, &field, k);
        sorted[MapKey(entry, *field.message_type()->map_key())] = ValueJson(
            entry, *field.message_type()->map_value(), -1, with_pictures);
      }
      out = OrderedJson::object();
      for (auto& [key, value] : sorted) out[key] = std::move(value);
    } else if (field.is_repeated()) {
      out = OrderedJson::array();
      for (int k = 0; k < r.FieldSize(message, &field); ++k) {
        out.push_back(ValueJson(message, field, k, with_pictures));
      }
    } else if (field.has_presence() && !r.HasField(message, &field)) {
      out = nullptr;
    } else {
      out = ValueJson(message, field, -1, with_pictures);
    }
  }
  return object;
}

std::string Shown(absl::string_view text) {
  const std::string masked = MaskSecrets(text);
  const absl::string_view view = masked;
  return absl::StrCat("\"", absl::Utf8SafeCEscape(view.substr(0, 80)),
                      view.size() > 80 ? "..." : "", "\"");
}

// A value as an error message shows it.
std::string ShownValue(const OrderedJson& value, absl::string_view name) {
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  if (value.is_null()) return "null";
  if (IsSecret(name)) return value.is_string() ? "a string" : "another type";
  if (value.is_string()) return Shown(value.get_ref<const std::string&>());
  return value.dump();
}

absl::Status WrongType(absl::string_view name, absl::string_view wanted,
                       absl::string_view got) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, " must be ", wanted, ", got ", got));
}

std::string EnumChoices(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(EnumText(*type.value(i)));
  }
  return absl::StrCat("one of [", absl::StrJoin(names, ", "), "]");
}

absl::Status ReadMessage(const OrderedJson& json, const FieldRules& rules,
                         const std::string& path, Message* message,
                         std::set<std::string>* given = nullptr);

// Sets or, for repeated fields, adds one value.
class Setter {
 public:
  Setter(Message* message, const FieldDescriptor& field, std::string name)
      : message_(*message),
        r_(*message->GetReflection()),
        f_(&field),
        add_(field.is_repeated()),
        name_(std::move(name)) {}

  absl::Status Set(const OrderedJson& value) {
    switch (f_->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_INT64:
      case FieldDescriptor::CPPTYPE_UINT32:
      case FieldDescriptor::CPPTYPE_UINT64:
        return SetInteger(value);
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_FLOAT:
        if (!value.is_number()) return Wrong("a number", value);
        return SetDouble(value.get<double>(), value.dump());
      case FieldDescriptor::CPPTYPE_BOOL:
        if (!value.is_boolean()) return Wrong("true or false", value);
        SetBool(value.get<bool>());
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_ENUM:
        if (!value.is_string()) {
          return Wrong(EnumChoices(*f_->enum_type()), value);
        }
        return SetEnum(value.get_ref<const std::string&>());
      case FieldDescriptor::CPPTYPE_STRING:
        if (!value.is_string()) return Wrong("a string", value);
        return SetString(value.get_ref<const std::string&>());
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return SetMessage(value);
    }
    return absl::InternalError("unknown field type");
  }

  // From a form or query, where everything is text.
  absl::Status SetText(absl::string_view text) {
    switch (f_->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_INT64:
      case FieldDescriptor::CPPTYPE_UINT32:
      case FieldDescriptor::CPPTYPE_UINT64: {
        int64_t number = 0;
        if (!LooksNumeric(text) || !absl::SimpleAtoi(text, &number)) {
          return WrongType(name_, "an integer", ShownText(text));
        }
        return SetInteger(number);
      }
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_FLOAT: {
        double number = 0;
        if (!LooksNumeric(text) || !absl::SimpleAtod(text, &number)) {
          return WrongType(name_, "a number", ShownText(text));
        }
        return SetDouble(number, ShownText(text));
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        if (text == "true" || text == "1") {
          SetBool(true);
        } else if (text == "false" || text == "0") {
          SetBool(false);
        } else {
          return WrongType(name_, "true or false", ShownText(text));
        }
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_ENUM:
        return SetEnum(text);
      case FieldDescriptor::CPPTYPE_STRING:
        return SetString(std::string(text));
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return SetMessage(std::string(text));
    }
    return absl::InternalError("unknown field type");
  }

 private:
  // Digits, sign, point and exponent only: no "nan", "inf", "0x1p4", spaces.
  static bool LooksNumeric(absl::string_view text) {
    return !text.empty() && text.size() <= 40 && text[0] != '+' &&
           std::all_of(text.begin(), text.end(), [](char c) {
             return absl::ascii_isdigit(static_cast<unsigned char>(c)) ||
                    c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
           });
  }

  std::string ShownText(absl::string_view text) const {
    return IsSecret(f_->name()) ? "another value" : Shown(text);
  }

  absl::Status Wrong(absl::string_view wanted, const OrderedJson& value) const {
    return WrongType(name_, wanted, ShownValue(value, f_->name()));
  }

  absl::Status SetInteger(const OrderedJson& value) {
    if (!value.is_number_integer()) {
      const double number = value.is_number() ? value.get<double>() : 0.5;
      // 10.0 is an integer to most programs that write JSON.
      if (number != std::trunc(number) || std::abs(number) > 9e15) {
        return Wrong("an integer", value);
      }
      return SetInteger(static_cast<int64_t>(number));
    }
    if (value.is_number_unsigned() &&
        value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
      return Wrong("an integer of at most 63 bits", value);
    }
    const auto number = value.get<int64_t>();
    switch (f_->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        if (number < std::numeric_limits<int32_t>::min() ||
            number > std::numeric_limits<int32_t>::max()) {
          return Wrong("an integer of at most 31 bits", value);
        }
        add_ ? r_.AddInt32(&message_, f_, static_cast<int32_t>(number))
             : r_.SetInt32(&message_, f_, static_cast<int32_t>(number));
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_INT64:
        add_ ? r_.AddInt64(&message_, f_, number)
             : r_.SetInt64(&message_, f_, number);
        return absl::OkStatus();
      default:
        return absl::UnimplementedError(
            absl::StrCat(name_, ": unsigned fields are not supported"));
    }
  }

  // `shown`: the number as an error message shows it.
  absl::Status SetDouble(double number, absl::string_view shown) {
    if (!std::isfinite(number)) {
      return WrongType(name_, "a finite number", shown);
    }
    if (f_->cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
      add_ ? r_.AddFloat(&message_, f_, static_cast<float>(number))
           : r_.SetFloat(&message_, f_, static_cast<float>(number));
    } else {
      add_ ? r_.AddDouble(&message_, f_, number)
           : r_.SetDouble(&message_, f_, number);
    }
    return absl::OkStatus();
  }

  void SetBool(bool value) {
    add_ ? r_.AddBool(&message_, f_, value) : r_.SetBool(&message_, f_, value);
  }

  absl::Status SetEnum(absl::string_view text) {
    const EnumDescriptor& type = *f_->enum_type();
    for (int i = 0; i < type.value_count(); ++i) {
      if (EnumText(*type.value(i)) != text) continue;
      add_ ? r_.AddEnum(&message_, f_, type.value(i))
           : r_.SetEnum(&message_, f_, type.value(i));
      return absl::OkStatus();
    }
    return WrongType(name_, EnumChoices(type), ShownText(text));
  }

  absl::Status SetString(std::string value) {
    if (f_->type() == FieldDescriptor::TYPE_BYTES) {
      std::string decoded;
      if (!absl::Base64Unescape(value, &decoded)) {
        return WrongType(name_, "base64", "something else");
      }
      value = std::move(decoded);
    }
    add_ ? r_.AddString(&message_, f_, std::move(value))
         : r_.SetString(&message_, f_, std::move(value));
    return absl::OkStatus();
  }

  absl::Status SetMessage(const OrderedJson& value) {
    const std::string& type = f_->message_type()->full_name();
    if (type == kTimestamp) {
      absl::Time time;
      std::string error;
      if (!value.is_string() ||
          !absl::ParseTime(absl::RFC3339_full, value.get<std::string>(), &time,
                           &error)) {
        return Wrong("an RFC 3339 time such as 2026-08-01T10:15:00Z", value);
      }
      if (time < absl::UnixEpoch() || time > absl::FromUnixSeconds(1LL << 37)) {
        return Wrong("a time after 1970", value);
      }
      *static_cast<Timestamp*>(Child()) = ToProto(time);
      return absl::OkStatus();
    }
    if (type == kModelList && value.is_array()) {
      return ReadMessage(OrderedJson{{"names", value}}, {}, name_, Child());
    }
    if (!value.is_object()) {
      return Wrong(type == kModelList ? "a list of names" : "an object", value);
    }
    return ReadMessage(value, {}, name_, Child());
  }

  Message* Child() {
    return add_ ? r_.AddMessage(&message_, f_)
                : r_.MutableMessage(&message_, f_);
  }

  Message& message_;
  const Reflection& r_;
  const FieldDescriptor* f_;
  const bool add_;
  const std::string name_;
};

struct Found {
  const FieldDescriptor* field = nullptr;
  bool one_value = false;
};

// Finds fields by name or alias, and sees to it that each is given once.
class FieldFinder {
 public:
  FieldFinder(const Descriptor& type, const FieldRules& rules)
      : type_(type), rules_(rules) {}

  absl::StatusOr<Found> Find(const std::string& name,
                             const std::string& path) const {
    Found found;
    std::string target = name;
    if (const auto it = rules_.aliases.find(name); it != rules_.aliases.end()) {
      target = it->second.field;
      found.one_value = it->second.one_value;
    }
    found.field = type_.FindFieldByName(target);
    if (found.field == nullptr || Hidden(target) || IsPicture(*found.field)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "unknown field ", Shown(Join(path, name)), "; known: ", Known()));
    }
    return found;
  }

  // Notes that `field` was given, under `name`.
  absl::Status Take(const FieldDescriptor& field, const std::string& name) {
    const auto [it, is_new] = given_.emplace(field.name(), name);
    if (is_new) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("give ", it->second, " or ", name, ", not both"));
  }

  // Adds the names of the fields taken.
  void AddGiven(std::set<std::string>* given) const {
    for (const auto& [field, name] : given_) given->insert(field);
  }

  static std::string Join(const std::string& path, const std::string& name) {
    return path.empty() ? name : absl::StrCat(path, ".", name);
  }

 private:
  bool Hidden(const std::string& field) const {
    return std::find(rules_.hidden.begin(), rules_.hidden.end(), field) !=
           rules_.hidden.end();
  }
  std::string Known() const {
    std::vector<std::string> names;
    for (int i = 0; i < type_.field_count(); ++i) {
      if (!Hidden(type_.field(i)->name()) && !IsPicture(*type_.field(i))) {
        names.push_back(type_.field(i)->name());
      }
    }
    for (const auto& [alias, target] : rules_.aliases) names.push_back(alias);
    return absl::StrJoin(names, ", ");
  }

  const Descriptor& type_;
  const FieldRules& rules_;
  // The name that each was given under.
  std::map<std::string, std::string> given_;
};

absl::Status ReadMap(const OrderedJson& value, const FieldDescriptor& field,
                     const std::string& name, Message* message) {
  if (!value.is_object()) {
    return WrongType(name, "an object", ShownValue(value, field.name()));
  }
  for (const auto& [key, item] : value.items()) {
    Message* entry = message->GetReflection()->AddMessage(message, &field);
    CAMHERD_RETURN_IF_ERROR(
        Setter(entry, *field.message_type()->map_key(), name).SetText(key));
    CAMHERD_RETURN_IF_ERROR(Setter(entry, *field.message_type()->map_value(),
                                   FieldFinder::Join(name, key))
                                .Set(item));
  }
  return absl::OkStatus();
}

absl::Status ReadMessage(const OrderedJson& json, const FieldRules& rules,
                         const std::string& path, Message* message,
                         std::set<std::string>* given) {
  FieldFinder finder(*message->GetDescriptor(), rules);
  for (const auto& [key, value] : json.items()) {
    CAMHERD_ASSIGN_OR_RETURN(const Found found, finder.Find(key, path));
    const FieldDescriptor& field = *found.field;
    const std::string name = FieldFinder::Join(path, key);
    if (value.is_null()) continue;
    CAMHERD_RETURN_IF_ERROR(finder.Take(field, key));
    if (field.is_map()) {
      CAMHERD_RETURN_IF_ERROR(ReadMap(value, field, name, message));
    } else if (!field.is_repeated()) {
      CAMHERD_RETURN_IF_ERROR(Setter(message, field, name).Set(value));
    } else if (value.is_array()) {
      for (size_t i = 0; i < value.size(); ++i) {
        CAMHERD_RETURN_IF_ERROR(
            Setter(message, field, absl::StrCat(name, "[", i, "]"))
                .Set(value[i]));
      }
    } else if (found.one_value && value.is_string()) {
      CAMHERD_RETURN_IF_ERROR(Setter(message, field, name).Set(value));
    } else {
      return WrongType(
          name, found.one_value ? "a string or a list of strings" : "a list",
          ShownValue(value, field.name()));
    }
  }
  if (given != nullptr) finder.AddGiven(given);
  return absl::OkStatus();
}

// Goes over a text before it becomes values, and says what is wrong with it:
// only here do a number that no double holds, and the NaN and Infinity that
// some programs write, still have their text and their place. Nothing deeper
// than kMaxDepth gets past it. The library's own messages quote the input, so
// they are not used.
//
// Serves one text, `json`, which must outlive it.
class TextCheck final : public nlohmann::json_sax<OrderedJson> {
 public:
  explicit TextCheck(absl::string_view json) : json_(json) {}

  absl::Status Run() && {
    if (!OrderedJson::sax_parse(json_.begin(), json_.end(), this) &&
        status_.ok()) {
      return absl::InternalError("the JSON cannot be read");
    }
    return std::move(status_);
  }

  bool null() override { return EndValue(); }
  bool boolean(bool) override { return EndValue(); }
  bool number_integer(number_integer_t) override { return EndValue(); }
  bool number_unsigned(number_unsigned_t) override { return EndValue(); }
  bool number_float(number_float_t, const string_t&) override {
    return EndValue();
  }
  bool string(string_t&) override { return EndValue(); }
  bool binary(binary_t&) override { return EndValue(); }
  bool start_object(std::size_t) override { return Open(false); }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(true); }
  bool end_array() override { return Close(); }

  bool key(string_t& key) override {
    levels_.back().key = key;
    if (levels_.back().keys.insert(key).second) return true;
    return Fail(absl::StrCat("the field ", Shown(key), " is given twice"));
  }

  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::json::exception& error) override {
    constexpr int kNumberOverflow = 406;
    if (error.id == kNumberOverflow) {
      if (levels_.empty()) return Fail("the body must be a JSON object");
      return FailNumber(absl::StrCat(token.substr(0, kShownNumber),
                                     token.size() > kShownNumber ? "..." : ""));
    }
    // The library stops at the first letter, of which it tells the place
    // behind it.
    for (const absl::string_view word :
         {"-NaN", "-Infinity", "NaN", "Infinity"}) {
      const size_t read = word[0] == '-' ? 2 : 1;
      if (position >= read && InValue() &&
          absl::StartsWith(json_.substr(position - read), word)) {
        return FailNumber(std::string(word));
      }
    }
    return Fail(
        absl::StrCat("the body is not valid JSON (at byte ", position, ")"));
  }

 private:
  static constexpr size_t kShownNumber = 80;

  // An object or array that is not closed yet.
  struct Level {
    bool is_array = false;
    // Of an array: position of the value that comes.
    size_t index = 0;
    // Of an object: the key whose value comes, and all so far.
    std::optional<std::string> key = {};
    std::set<std::string> keys = {};
  };

  bool Open(bool is_array) {
    if (levels_.size() == kMaxDepth) {
      return Fail(absl::StrCat("the JSON is nested deeper than ", kMaxDepth));
    }
    levels_.push_back({.is_array = is_array});
    return true;
  }
  bool Close() {
    levels_.pop_back();
    return EndValue();
  }
  bool EndValue() {
    if (levels_.empty()) return true;
    ++levels_.back().index;
    levels_.back().key.reset();
    return true;
  }

  // True where a value may stand that has a name.
  bool InValue() const {
    return !levels_.empty() &&
           (levels_.back().is_array || levels_.back().key.has_value());
  }

  // Both return false, which ends the reading.
  bool Fail(const std::string& message) {
    status_ = absl::InvalidArgumentError(message);
    return false;
  }
  bool FailNumber(const std::string& number) {
    std::string place;
    bool secret = false;
    for (const Level& level : levels_) {
      if (level.is_array) {
        absl::StrAppend(&place, "[", level.index, "]");
      } else {
        secret = secret || IsSecret(*level.key);
        place = FieldFinder::Join(place, ShownKey(*level.key));
      }
    }
    // All that is secret is text.
    status_ = secret ? WrongType(place, "a string", "another type")
                     : WrongType(place, "a finite number", number);
    return false;
  }
  static std::string ShownKey(absl::string_view key) {
    const std::string masked = MaskSecrets(key);
    return absl::Utf8SafeCEscape(absl::string_view(masked).substr(0, 64));
  }

  const absl::string_view json_;
  std::vector<Level> levels_;
  absl::Status status_;
};

absl::StatusOr<OrderedJson> Parse(absl::string_view json) {
  CAMHERD_RETURN_IF_ERROR(TextCheck(json).Run());
  OrderedJson parsed = OrderedJson::parse(json.begin(), json.end(), nullptr,
                                          /*allow_exceptions=*/false);
  if (parsed.is_discarded()) {
    return absl::InternalError("the JSON cannot be read");
  }
  return parsed;
}

}  // namespace

bool IsSecret(absl::string_view name) {
  return name == "rtsp_url" || name == "detect_url" || name == "user" ||
         name == "password" || name == "token";
}

bool IsPicture(const FieldDescriptor& field) {
  return field.type() == FieldDescriptor::TYPE_BYTES &&
         (field.name() == "jpeg" || absl::EndsWith(field.name(), "_jpeg"));
}

std::string EnumText(const EnumValueDescriptor& value) {
  return absl::AsciiStrToLower(
      absl::StripPrefix(value.name(), EnumPrefix(*value.type())));
}

std::string ProtoToJson(const Message& message, bool with_pictures) {
  return ToJson(message, with_pictures)
      .dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

absl::Status JsonToProto(absl::string_view json, const FieldRules& rules,
                         Message* message, std::set<std::string>* given) {
  if (absl::StripAsciiWhitespace(json).empty()) json = "{}";
  CAMHERD_ASSIGN_OR_RETURN(const OrderedJson parsed, Parse(json));
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the body must be a JSON object, got ", parsed.type_name()));
  }
  return ReadMessage(parsed, rules, "", message, given);
}

absl::Status FieldsToProto(
    const std::vector<std::pair<std::string, std::string>>& fields,
    const FieldRules& rules, Message* message, std::set<std::string>* given) {
  FieldFinder finder(*message->GetDescriptor(), rules);
  for (const auto& [name, value] : fields) {
    if (!rules.ignored.empty() && name == rules.ignored) continue;
    CAMHERD_ASSIGN_OR_RETURN(const Found found, finder.Find(name, ""));
    const FieldDescriptor& field = *found.field;
    CAMHERD_RETURN_IF_ERROR(finder.Take(field, name));
    if (field.is_map()) {
      return WrongType(name, "given in JSON", "a form field");
    }
    Setter setter(message, field, name);
    if (!field.is_repeated()) {
      CAMHERD_RETURN_IF_ERROR(setter.SetText(value));
      continue;
    }
    // An empty name is refused here: left out, `model_name=` would be a list of
    // none, which asks for something else than was meant.
    for (const absl::string_view item : absl::StrSplit(value, ',')) {
      if (item.empty() && field.type() == FieldDescriptor::TYPE_STRING) {
        return CheckId(name, item);
      }
      CAMHERD_RETURN_IF_ERROR(setter.SetText(item));
    }
  }
  if (given != nullptr) finder.AddGiven(given);
  return absl::OkStatus();
}

std::string QuoteJson(absl::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace camherd
