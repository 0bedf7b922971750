// SPDX-License-Identifier: Apache-2.0
#include "gateway/openapi_routes.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "camherd/v1/gateway.pb.h"
#include "gateway/answers.h"
#include "gateway/api_operations.h"
#include "gateway/http_status.h"
#include "gateway/static_files.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "services/common/log.h"
#include "services/common/proto_json.h"

namespace camherd::gateway {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::DescriptorPool;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::SourceLocation;
using OrderedJson = nlohmann::ordered_json;

constexpr char kJsonType[] = "application/json";
constexpr char kFormType[] = "application/x-www-form-urlencoded";

// What a schema describes: an answer, or a request, in JSON or in the text of
// queries and forms.
enum class Use { kAnswer, kJsonInput, kTextInput };

// The messages with their comments, which those compiled in do not have.
const DescriptorPool& CommentedMessages() {
  static const auto& pool = *[] {
    google::protobuf::FileDescriptorSet files;
    const absl::string_view bytes = ProtoFiles().front().bytes;
    if (!files.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      LogFatal("the descriptors of proto/ cannot be read", {});
    }
    auto* made = new DescriptorPool;
    for (const auto& file : files.file()) made->BuildFile(file);
    return made;
  }();
  return pool;
}

template <typename AnyDescriptor>
std::string CommentOf(const AnyDescriptor& descriptor) {
  SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  std::string text = location.leading_comments;
  absl::RemoveExtraAsciiWhitespace(&text);
  return text;
}

void Describe(const std::string& text, OrderedJson* schema) {
  if (!text.empty()) (*schema)["description"] = text;
}

// Makes the schemas of messages, and collects those of the messages in them.
class SchemaMaker {
 public:
  // A reference to the schema of a message.
  OrderedJson Message(const Descriptor& type, Use use) {
    const std::string name =
        absl::StrCat(type.name(), use == Use::kAnswer ? "" : "Input");
    if (made_.insert(name).second) {
      OrderedJson fields = OrderedJson::object();
      std::vector<std::string> required;
      for (int i = 0; i < type.field_count(); ++i) {
        const FieldDescriptor& field = *type.field(i);
        if (IsPicture(field)) {
          if (use != Use::kAnswer) continue;
        } else {
          required.push_back(field.name());
        }
        fields[field.name()] = Field(field, use);
      }
      OrderedJson schema = {{"type", "object"}};
      Describe(CommentOf(type), &schema);
      schema["properties"] = std::move(fields);
      if (use == Use::kAnswer) {
        schema["required"] = required;
      } else {
        schema["additionalProperties"] = false;
      }
      schemas_[name] = std::move(schema);
    }
    return {{"$ref", absl::StrCat("#/components/schemas/", name)}};
  }

  // The schema of a body that holds the fields of a message.
  OrderedJson Body(const Descriptor& type, const FieldRules& rules,
                   const std::vector<std::string>& required, Use use) {
    OrderedJson fields = OrderedJson::object();
    for (auto& [name, schema] : Fields(type, rules, use)) {
      fields[name] = std::move(schema);
    }
    OrderedJson body = {{"type", "object"}};
    Describe(CommentOf(type), &body);
    body["properties"] = std::move(fields);
    if (!required.empty()) body["required"] = required;
    body["additionalProperties"] = false;
    return body;
  }

  // The fields of a request by name, other names too.
  std::vector<std::pair<std::string, OrderedJson>> Fields(
      const Descriptor& type, const FieldRules& rules, Use use) {
    std::vector<std::pair<std::string, OrderedJson>> fields;
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (absl::c_linear_search(rules.hidden, field.name()) ||
          IsPicture(field)) {
        continue;
      }
      // A form has neither maps nor objects.
      if (use == Use::kTextInput && IsObject(field)) continue;
      fields.emplace_back(field.name(), Field(field, use));
    }
    for (const auto& [alias, target] : rules.aliases) {
      const FieldDescriptor& field = *type.FindFieldByName(target.field);
      OrderedJson schema = Field(field, use);
      if (target.one_value && use == Use::kJsonInput) {
        schema["type"] = {"array", "string", "null"};
      }
      schema["description"] =
          absl::StrCat("Another name of ", target.field, "; give one of them.");
      fields.emplace_back(alias, std::move(schema));
    }
    return fields;
  }

  OrderedJson TakeSchemas() { return std::move(schemas_); }

 private:
  static bool IsObject(const FieldDescriptor& field) {
    return field.is_map() ||
           (field.message_type() != nullptr && !IsTime(field) &&
            field.message_type()->name() != "ModelList");
  }
  static bool IsTime(const FieldDescriptor& field) {
    return field.message_type() != nullptr &&
           field.message_type()->full_name() == "google.protobuf.Timestamp";
  }

  OrderedJson Field(const FieldDescriptor& field, Use use) {
    OrderedJson schema;
    if (field.is_map()) {
      schema = {{"type", "object"},
                {"additionalProperties",
                 Value(*field.message_type()->map_value(), use)}};
    } else if (field.is_repeated()) {
      schema = {{"type", "array"}, {"items", Value(field, use)}};
    } else {
      schema = Value(field, use);
    }
    const bool nullable =
        use == Use::kJsonInput ||
        (use == Use::kAnswer && !field.is_repeated() && field.has_presence());
    if (nullable) schema = OrNull(std::move(schema));
    Describe(CommentOf(field), &schema);
    if (use != Use::kAnswer && IsSecret(field.name())) {
      schema["writeOnly"] = true;
    }
    return schema;
  }

  static OrderedJson OrNull(OrderedJson schema) {
    if (!schema.contains("type")) {
      return {{"anyOf", {std::move(schema), {{"type", "null"}}}}};
    }
    schema["type"] = {schema["type"], "null"};
    if (schema.contains("enum")) schema["enum"].push_back(nullptr);
    return schema;
  }

  // Of one value of a field.
  OrderedJson Value(const FieldDescriptor& field, Use use) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return {{"type", "integer"},
                {"format", "int32"},
                {"minimum", std::numeric_limits<int32_t>::min()},
                {"maximum", std::numeric_limits<int32_t>::max()}};
      case FieldDescriptor::CPPTYPE_INT64:
        return {{"type", "integer"},
                {"format", "int64"},
                {"minimum", std::numeric_limits<int64_t>::min()},
                {"maximum", std::numeric_limits<int64_t>::max()}};
      case FieldDescriptor::CPPTYPE_UINT32:
      case FieldDescriptor::CPPTYPE_UINT64:
        return {{"type", "integer"}, {"minimum", 0}};
      case FieldDescriptor::CPPTYPE_FLOAT:
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return {{"type", "number"}};
      case FieldDescriptor::CPPTYPE_BOOL:
        return {{"type", "boolean"}};
      case FieldDescriptor::CPPTYPE_ENUM:
        return Enum(*field.enum_type());
      case FieldDescriptor::CPPTYPE_STRING:
        if (field.type() == FieldDescriptor::TYPE_BYTES) {
          return {{"type", "string"}, {"contentEncoding", "base64"}};
        }
        return {{"type", "string"}};
      case FieldDescriptor::CPPTYPE_MESSAGE:
        break;
    }
    if (IsTime(field)) {
      return {{"type", "string"}, {"format", "date-time"}};
    }
    if (field.message_type()->name() == "ModelList") {
      return {{"type", "array"}, {"items", {{"type", "string"}}}};
    }
    return Message(*field.message_type(), use);
  }

  static OrderedJson Enum(const EnumDescriptor& type) {
    OrderedJson values = OrderedJson::array();
    for (int i = 0; i < type.value_count(); ++i) {
      values.push_back(EnumText(*type.value(i)));
    }
    return {{"type", "string"}, {"enum", std::move(values)}};
  }

  std::set<std::string> made_;
  OrderedJson schemas_ = OrderedJson::object();
};

// "getStreamsStop": of method and address, each once.
std::string OperationId(const ApiOperation& operation) {
  std::string id = absl::AsciiStrToLower(operation.method);
  bool upper = true;
  for (const char c : absl::string_view(operation.path)) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      upper = true;
      continue;
    }
    id.push_back(upper ? absl::ascii_toupper(static_cast<unsigned char>(c))
                       : c);
    upper = false;
  }
  return id;
}

OrderedJson Example(const Descriptor& type, const std::string& json) {
  const std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()
          ->GetPrototype(&type)
          ->New());
  const absl::Status status = JsonToProto(json, {}, message.get());
  if (!status.ok()) {
    LogFatal("an example of the API cannot be read",
             {{"message", type.name()}, {"error", status}});
  }
  return OrderedJson::parse(ProtoToJson(*message));
}

// Of bytes that are no message.
OrderedJson RawSchema(absl::string_view type) {
  if (absl::StartsWith(type, "image/")) {
    return {{"contentMediaType", std::string(type)}};
  }
  if (absl::StrContains(type, "json")) return OrderedJson::object();
  return {{"type", "string"}, {"minLength", 1}};
}

// Of what stands in the braces of an address.
OrderedJson PathParameter(const std::string& name) {
  OrderedJson schema = {{"type", "string"},
                        {"pattern", "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}};
  std::string text = "Its id.";
  if (name == "stream") {
    schema = {{"type", "string"}, {"minLength", 1}};
    text = "A stream id, a process name or a camera id.";
  } else if (name == "record_id") {
    schema = {{"type", "integer"},
              {"format", "int64"},
              {"minimum", 1},
              {"maximum", std::numeric_limits<int64_t>::max()}};
    text = "Number of the record, from 1.";
  }
  return {{"name", name},
          {"in", "path"},
          {"required", true},
          {"description", text},
          {"schema", std::move(schema)}};
}

class DocumentMaker {
 public:
  std::string Make() {
    OrderedJson paths = OrderedJson::object();
    for (const ApiOperation& operation : ApiOperations()) {
      paths[operation.path][absl::AsciiStrToLower(operation.method)] =
          Operation(operation);
    }
    OrderedJson components = {{"responses", OrderedJson::object()}};
    for (const HttpCode code : error_codes_) {
      components["responses"][ErrorName(code)] = Error(code);
    }
    components["schemas"] = schemas_.TakeSchemas();
    components["securitySchemes"] = {
        {"token", {{"type", "http"}, {"scheme", "bearer"}}},
        {"login",
         {{"type", "apiKey"}, {"in", "cookie"}, {"name", "camherd_session"}}}};
    const OrderedJson document = {
        {"openapi", "3.1.0"},
        {"info",
         {{"title", "Camherd"},
          {"version", CAMHERD_VERSION},
          {"description",
           "REST with the fields, checks and errors of the RPCs. A field that "
           "is null counts as left out; an unknown one is refused."},
          {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}}},
        {"servers", OrderedJson::array({{{"url", "/"}}})},
        // None where gateway.auth asks for none.
        {"security", OrderedJson::array({OrderedJson::object(),
                                         {{"token", OrderedJson::array()}},
                                         {{"login", OrderedJson::array()}}})},
        {"paths", std::move(paths)},
        {"components", std::move(components)}};
    return absl::StrCat(document.dump(1), "\n");
  }

 private:
  // The same message, with its comments.
  static const Descriptor& Known(const Descriptor& type) {
    return *CommentedMessages().FindMessageTypeByName(type.full_name());
  }

  static std::string ErrorName(HttpCode code) {
    std::string name(ReasonPhrase(code));
    name.erase(std::remove(name.begin(), name.end(), ' '), name.end());
    return name;
  }

  OrderedJson Operation(const ApiOperation& operation) {
    OrderedJson made = {{"operationId", OperationId(operation)},
                        {"tags", OrderedJson::array({operation.tag})},
                        {"summary", operation.summary}};
    Describe(operation.details, &made);
    OrderedJson parameters = Parameters(operation);
    if (!parameters.empty()) made["parameters"] = std::move(parameters);
    if (operation.body != nullptr || operation.body_type != nullptr) {
      made["requestBody"] = Body(operation);
    }
    made["responses"] = Answers(operation);
    return made;
  }

  OrderedJson Parameters(const ApiOperation& operation) {
    OrderedJson parameters = OrderedJson::array();
    for (const absl::string_view segment :
         absl::StrSplit(operation.path, '/')) {
      if (!absl::StartsWith(segment, "{")) continue;
      parameters.push_back(
          PathParameter(std::string(segment.substr(1, segment.size() - 2))));
    }
    if (operation.query != nullptr) {
      for (auto& [name, schema] :
           schemas_.Fields(Known(*operation.query), operation.query_rules,
                           Use::kTextInput)) {
        OrderedJson parameter = {{"name", name}, {"in", "query"}};
        if (schema.contains("description")) {
          parameter["description"] = schema["description"];
          schema.erase("description");
        }
        if (absl::c_linear_search(operation.required, name)) {
          parameter["required"] = true;
        }
        if (schema["type"] == "array") {
          parameter["style"] = "form";
          parameter["explode"] = false;
        }
        parameter["schema"] = std::move(schema);
        parameters.push_back(std::move(parameter));
      }
    }
    if (operation.query_rules.ignored == "v") {
      parameters.push_back(
          {{"name", "v"},
           {"in", "query"},
           {"description", "Has no meaning, for an address of one's own."},
           {"schema", {{"type", "string"}}}});
    } else if (!operation.query_rules.ignored.empty()) {
      parameters.push_back({{"name", operation.query_rules.ignored},
                            {"in", "query"},
                            {"schema", {{"const", true}}}});
    }
    return parameters;
  }

  OrderedJson Body(const ApiOperation& operation) {
    OrderedJson content = OrderedJson::object();
    if (operation.body == nullptr) {
      content[operation.body_type] = {
          {"schema", RawSchema(operation.body_type)}};
      if (!operation.body_example.empty()) {
        content[operation.body_type]["example"] = operation.body_example;
      }
      return {{"required", true}, {"content", std::move(content)}};
    }
    const Descriptor& type = Known(*operation.body);
    content[kJsonType] = {
        {"schema", schemas_.Body(type, operation.body_rules, operation.required,
                                 Use::kJsonInput)},
        {"example", OrderedJson::parse(operation.body_example)}};
    OrderedJson form = schemas_.Body(type, operation.body_rules,
                                     operation.required, Use::kTextInput);
    OrderedJson encoding = OrderedJson::object();
    for (const auto& [name, schema] : form["properties"].items()) {
      if (schema["type"] == "array") {
        encoding[name] = {{"style", "form"}, {"explode", false}};
      }
    }
    content[kFormType] = {{"schema", std::move(form)}};
    if (!encoding.empty()) {
      content[kFormType]["encoding"] = std::move(encoding);
    }
    return {{"required", !operation.required.empty()},
            {"content", std::move(content)}};
  }

  OrderedJson Answers(const ApiOperation& operation) {
    OrderedJson answers = OrderedJson::object();
    for (const ApiAnswer& answer : operation.answers) {
      OrderedJson& made = answers[absl::StrCat(static_cast<int>(answer.code))];
      if (made.is_null()) made = {{"description", answer.description}};
      AddHeaders(operation, answer, &made);
      if (answer.content_type == nullptr) continue;
      OrderedJson content = OrderedJson::object();
      if (answer.message != nullptr) {
        content["schema"] =
            schemas_.Message(Known(*answer.message), Use::kAnswer);
        content["example"] = Example(*answer.message, answer.example);
      } else {
        content["schema"] = RawSchema(answer.content_type);
      }
      made["content"][answer.content_type] = std::move(content);
    }
    std::set<HttpCode> codes(CommonErrors().begin(), CommonErrors().end());
    codes.insert(operation.errors.begin(), operation.errors.end());
    for (const HttpCode code : codes) {
      const std::string number = absl::StrCat(static_cast<int>(code));
      if (answers.contains(number)) {
        // Its own answer, or the error of the server before it.
        OrderedJson& schema = answers[number]["content"][kJsonType]["schema"];
        schema = {{"anyOf", {std::move(schema), ErrorSchema()}}};
      } else if (operation.html_errors) {
        answers[number] = Error(code);
        answers[number]["content"]["text/html"] = {
            {"schema", {{"type", "string"}}}};
      } else {
        error_codes_.insert(code);
        answers[number] = {
            {"$ref", absl::StrCat("#/components/responses/", ErrorName(code))}};
      }
    }
    return answers;
  }

  static void AddHeaders(const ApiOperation& operation, const ApiAnswer& answer,
                         OrderedJson* made) {
    const OrderedJson text = {{"schema", {{"type", "string"}}}};
    const bool tagged =
        absl::c_any_of(operation.answers, [](const ApiAnswer& one) {
          return one.code == HttpCode::kNotModified;
        });
    if (tagged) {
      (*made)["headers"] = {{"ETag", text}, {"Cache-Control", text}};
    }
    if (answer.code == HttpCode::kCreated ||
        answer.code == HttpCode::kAccepted) {
      (*made)["headers"] = {{"Location", text}};
    }
  }

  OrderedJson ErrorSchema() {
    return schemas_.Message(Known(*v1::ErrorAnswer::descriptor()),
                            Use::kAnswer);
  }

  OrderedJson Error(HttpCode code) {
    const auto body = OrderedJson::parse(
        ErrorAnswer(code, "what was wrong, with field and value").body);
    OrderedJson error = {
        {"description", ReasonPhrase(code)},
        {"content",
         {{kJsonType, {{"schema", ErrorSchema()}, {"example", body}}}}}};
    if (code == HttpCode::kTooManyRequests || code == HttpCode::kUnavailable) {
      error["headers"] = {{"Retry-After", {{"schema", {{"type", "string"}}}}}};
    }
    return error;
  }

  SchemaMaker schemas_;
  std::set<HttpCode> error_codes_;
};

}  // namespace

const std::string& OpenApiDocument() {
  static const auto& document = *new std::string(DocumentMaker().Make());
  return document;
}

Routes OpenApiRoutes() {
  // Made now, so that nobody waits for it.
  OpenApiDocument();
  return {{.method = "GET",
           .path = "/openapi.json",
           .access = Access::Open(),
           .handler = [](const HttpRequest& request) {
             return TaggedAnswer(request, OpenApiDocument(), kJsonType,
                                 OpenApiDocument());
           }}};
}

}  // namespace camherd::gateway
