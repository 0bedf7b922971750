// SPDX-License-Identifier: Apache-2.0
#include "services/inference/onnx_external_data.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"
#include "tests/unit/inference/onnx_bytes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::onnx::Bytes;
using ::camherd::inference::testing::onnx::Entries;
using ::camherd::inference::testing::onnx::External;
using ::camherd::inference::testing::onnx::Model;
using ::camherd::inference::testing::onnx::Number;
using ::camherd::inference::testing::onnx::Tensor;
using ::camherd::inference::testing::onnx::Varint;
using ::camherd::inference::testing::onnx::Weights;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

namespace fs = std::filesystem;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// outside.bin, model/data.bin of 100 bytes, model/sub/data.bin.
class OnnxExternalDataTest : public ::testing::Test {
 protected:
  OnnxExternalDataTest() {
    dir_.Write("outside.bin", std::string(100, 'x'));
    dir_.Write("model/data.bin", std::string(100, 'x'));
    dir_.Write("model/sub/data.bin", std::string(100, 'x'));
  }

  std::string model_dir() const { return dir_.path() + "/model"; }

  absl::Status Check(const std::string& bytes) const {
    return CheckOnnxExternalData(dir_.Write("model/net.onnx", bytes));
  }
  // A network with one tensor whose data are there.
  absl::Status CheckEntries(const Entries& entries) const {
    return Check(Model(Bytes(5, Tensor({1}, "w", External(entries)))));
  }
  absl::Status CheckLocation(const std::string& location) const {
    return CheckEntries({{"location", location}});
  }

  TempDir dir_;
};

TEST_F(OnnxExternalDataTest, TakesDataInTheFileAndInItsFolder) {
  CAMHERD_EXPECT_OK(Check(Model(Bytes(5, Weights()))));
  CAMHERD_EXPECT_OK(Check(Model("")));
  for (const char* location :
       {"data.bin", "./data.bin", "sub/data.bin", "././sub/./data.bin"}) {
    CAMHERD_EXPECT_OK(CheckLocation(location));
  }
  CAMHERD_EXPECT_OK(CheckEntries({{"location", "data.bin"},
                                  {"offset", "10"},
                                  {"length", "90"},
                                  {"checksum", "abc"}}));
}

TEST_F(OnnxExternalDataTest, TakesALinkThatStaysInTheFolder) {
  fs::create_symlink("sub/data.bin", model_dir() + "/link.bin");
  CAMHERD_EXPECT_OK(CheckLocation("link.bin"));
  fs::create_directory_symlink(model_dir(), dir_ / "other");
  CAMHERD_EXPECT_OK(CheckOnnxExternalData(dir_ / "other/net.onnx"));
}

TEST_F(OnnxExternalDataTest, ALocationOutsideIsRefused) {
  for (const std::string& location :
       {dir_ / "outside.bin", model_dir() + "/data.bin",
        std::string("../outside.bin"), std::string("sub/../data.bin"),
        std::string("sub/../../outside.bin"), std::string(".."),
        std::string("x:../outside.bin"), std::string("x:data.bin"),
        std::string("..\\outside.bin"), std::string(".hidden"),
        std::string("\0../outside.bin", 15), std::string("data.bin\0", 9),
        std::string("file:///etc/passwd"), std::string(), std::string("./"),
        std::string(5000, 'a')}) {
    EXPECT_THAT(CheckLocation(location),
                StatusIs(kInvalid, HasSubstr("not a plain path in the")))
        << location;
  }
}

TEST_F(OnnxExternalDataTest, AnAddressInMemoryIsRefused) {
  dir_.Write("model/*/_ORT_MEM_ADDR_/*", "x");
  EXPECT_THAT(CheckLocation("*/_ORT_MEM_ADDR_/*"), StatusIs(kInvalid));
}

TEST_F(OnnxExternalDataTest, ALinkOutOfTheFolderIsRefused) {
  fs::create_symlink("../outside.bin", model_dir() + "/link.bin");
  fs::create_directory_symlink(dir_.path(), model_dir() + "/up");
  fs::create_directory(dir_ / "model2");
  dir_.Write("model2/data.bin", "x");
  fs::create_directory_symlink("../model2", model_dir() + "/beside");
  for (const char* location :
       {"link.bin", "up/outside.bin", "up/model/up", "beside/data.bin"}) {
    EXPECT_THAT(CheckLocation(location), StatusIs(kInvalid)) << location;
  }
  EXPECT_THAT(CheckLocation("link.bin"),
              StatusIs(kInvalid, HasSubstr("a link out of the network's")));
}

TEST_F(OnnxExternalDataTest, WhatIsNoFileIsRefused) {
  fs::create_symlink("nowhere", model_dir() + "/dangling");
  fs::create_symlink("loop", model_dir() + "/loop");
  ASSERT_EQ(mkfifo((model_dir() + "/fifo").c_str(), 0600), 0);
  for (const char* location :
       {"none.bin", "dangling", "loop", "fifo", "sub", "data.bin/x"}) {
    EXPECT_THAT(CheckLocation(location),
                StatusIs(kInvalid, HasSubstr("where there is no file")))
        << location;
  }
}

TEST_F(OnnxExternalDataTest, BytesPastTheFilesEndAreRefused) {
  const auto check = [&](const char* offset, const char* length) {
    return CheckEntries(
        {{"location", "data.bin"}, {"offset", offset}, {"length", length}});
  };
  CAMHERD_EXPECT_OK(check("0", "100"));
  CAMHERD_EXPECT_OK(check("100", "0"));
  EXPECT_THAT(check("101", "0"),
              StatusIs(kInvalid, HasSubstr("which has 100")));
  EXPECT_THAT(check("1", "100"), StatusIs(kInvalid));
  // Their sum is 8 in 64 bits.
  EXPECT_THAT(check("18446744073709551608", "16"), StatusIs(kInvalid));
  EXPECT_THAT(check("16", "18446744073709551608"), StatusIs(kInvalid));
  for (const char* number :
       {"", "-1", "+1", " 1", "0x1", "1 ", "1e1", "18446744073709551616"}) {
    EXPECT_THAT(check(number, "1"), StatusIs(kInvalid, HasSubstr("no number")))
        << number;
    EXPECT_THAT(check("0", number), StatusIs(kInvalid, HasSubstr("no number")))
        << number;
  }
}

TEST_F(OnnxExternalDataTest, EntriesThatDoNotSayWhereAreRefused) {
  EXPECT_THAT(CheckEntries({}), StatusIs(kInvalid));
  EXPECT_THAT(CheckEntries({{"offset", "5"}}), StatusIs(kInvalid));
  EXPECT_THAT(CheckEntries({{"location", "data.bin"}, {"location", "x"}}),
              StatusIs(kInvalid, HasSubstr("twice")));
}

// Of a field that comes twice the last counts, in whatever order.
TEST_F(OnnxExternalDataTest, TheLastKeyAndValueOfAnEntryCount) {
  const auto check = [&](const std::string& entry) {
    return Check(Model(Bytes(5, Bytes(13, entry))));
  };
  const std::string location = Bytes(1, "location");
  CAMHERD_EXPECT_OK(check(location + Bytes(2, "/etc") + Bytes(2, "data.bin")));
  EXPECT_THAT(check(location + Bytes(2, "data.bin") + Bytes(2, "/etc/passwd")),
              StatusIs(kInvalid));
  EXPECT_THAT(check(Bytes(2, "/etc/passwd") + Bytes(1, "x") + location),
              StatusIs(kInvalid));
  // Its data_location says that the data are in the file; they are asked all
  // the same.
  EXPECT_THAT(check(Bytes(2, "/etc/passwd") + location), StatusIs(kInvalid));
}

TEST_F(OnnxExternalDataTest, ATensorIsFoundWhereverItMayBe) {
  const std::string tensor =
      Tensor({1}, "w", External({{"location", "/etc/passwd"}}));
  const auto node = [](const std::string& attribute) {
    return Bytes(1, Bytes(5, attribute));
  };
  const std::string graph = Bytes(5, tensor);
  const std::vector<std::string> graphs = {
      graph,
      Bytes(15, Bytes(1, tensor)),
      Bytes(15, Bytes(2, tensor)),
      node(Bytes(5, tensor)),
      node(Bytes(6, graph)),
      node(Bytes(10, tensor)),
      node(Bytes(11, graph)),
      node(Bytes(22, Bytes(1, tensor))),
      node(Bytes(23, Bytes(2, tensor))),
      node(Bytes(6, node(Bytes(11, node(Bytes(5, tensor)))))),
  };
  for (const std::string& bad : graphs) {
    EXPECT_THAT(Check(Model(bad)),
                StatusIs(kInvalid, HasSubstr("/etc/passwd")));
    EXPECT_THAT(Check(Model("") + Bytes(7, bad)), StatusIs(kInvalid));
    EXPECT_THAT(Check(Model("") + Bytes(20, Bytes(1, bad))),
                StatusIs(kInvalid));
    EXPECT_THAT(Check(Model("") + Bytes(20, Bytes(2, bad))),
                StatusIs(kInvalid));
  }
  const std::string attribute = Bytes(5, tensor);
  EXPECT_THAT(Check(Model("") + Bytes(25, Bytes(7, Bytes(5, attribute)))),
              StatusIs(kInvalid));
  EXPECT_THAT(Check(Model("") + Bytes(25, Bytes(11, attribute))),
              StatusIs(kInvalid));
}

TEST_F(OnnxExternalDataTest, SaysInOneLineWhichTensorOfWhichFile) {
  const std::string tensor =
      Tensor({1}, "conv\n1", External({{"location", "../a\nb"}}));
  EXPECT_THAT(Check(Model(Bytes(5, tensor))),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("model/net.onnx: the data of the tensor "
                                       R"("conv\n1" are in "../a\nb", which)"),
                             Not(HasSubstr("\n")))));
}

TEST_F(OnnxExternalDataTest, WhatIsNoNetworkIsRefused) {
  std::string group = Model("");
  group.push_back(0x5b);
  for (const std::string& bytes :
       {std::string(), std::string("not a network"), std::string(100, '\0'),
        std::string(100, '\xff'), std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        Number(1, 8), group}) {
    EXPECT_THAT(Check(bytes),
                StatusIs(kInvalid, HasSubstr("net.onnx is no ONNX network")));
  }
  EXPECT_THAT(CheckOnnxExternalData(dir_ / "none.onnx"),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(CheckOnnxExternalData(model_dir()), StatusIs(kInvalid));
  ASSERT_EQ(mkfifo((dir_ / "fifo.onnx").c_str(), 0600), 0);
  EXPECT_THAT(CheckOnnxExternalData(dir_ / "fifo.onnx"), StatusIs(kInvalid));
}

TEST_F(OnnxExternalDataTest, ANetworkCutShortAnywhereIsRefused) {
  const std::string whole = Model(Bytes(5, Tensor({1, 2}, "w", "")) +
                                  Bytes(1, Bytes(5, Bytes(6, ""))));
  CAMHERD_ASSERT_OK(Check(whole));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(Check(whole.substr(0, size)), StatusIs(kInvalid)) << size;
  }
}

TEST_F(OnnxExternalDataTest, ALengthThatLiesIsRefused) {
  for (const uint64_t length :
       {uint64_t{5}, uint64_t{0x7fffffff}, uint64_t{0x80000000},
        uint64_t{1} << 32, (uint64_t{1} << 32) + 4, uint64_t{1} << 63}) {
    const std::string lie = Varint(9 << 3 | 2) + Varint(length) + "four";
    EXPECT_THAT(Check(Model(Bytes(5, lie))), StatusIs(kInvalid)) << length;
    EXPECT_THAT(Check(Model("") + Varint(7 << 3 | 2) + Varint(length) + "four"),
                StatusIs(kInvalid))
        << length;
  }
}

TEST_F(OnnxExternalDataTest, IsNestedNoDeeperThanProtobufReads) {
  const auto nested = [](int graphs) {
    std::string graph;
    for (int i = 0; i < graphs; ++i) {
      graph = Bytes(1, Bytes(5, Bytes(6, graph)));
    }
    return Model(graph);
  };
  CAMHERD_EXPECT_OK(Check(nested(30)));
  EXPECT_THAT(Check(nested(3000)),
              StatusIs(kInvalid, HasSubstr("nested too deeply")));
}

// protobuf's own parser, by what of ONNX's schema leads to external data.
class Oracle {
 public:
  Oracle() {
    google::protobuf::FileDescriptorProto file;
    file.set_name("onnx.proto");
    for (const Field& field : kSchema) {
      if (file.message_type_size() == 0 ||
          file.message_type().rbegin()->name() != field.in) {
        file.add_message_type()->set_name(field.in);
      }
      auto& added = *file.mutable_message_type()->rbegin()->add_field();
      added.set_name(absl::StrCat("field_", field.number));
      added.set_number(field.number);
      added.set_label(field.repeated ? added.LABEL_REPEATED
                                     : added.LABEL_OPTIONAL);
      added.set_type(field.type == nullptr ? added.TYPE_BYTES
                                           : added.TYPE_MESSAGE);
      if (field.type != nullptr) added.set_type_name(field.type);
    }
    const auto* const built = pool_.BuildFile(file);
    message_.reset(
        factory_.GetPrototype(built->FindMessageTypeByName("Model"))->New());
  }

  // The values of all keys "location", where `bytes` are a model.
  bool Parse(const std::string& bytes, std::vector<std::string>* locations) {
    if (!message_->ParseFromString(bytes)) return false;
    Collect(*message_, locations);
    return true;
  }

 private:
  // A field of the message `in`; without a `type` it is bytes.
  struct Field {
    const char* in;
    int number;
    bool repeated;
    const char* type;
  };
  static constexpr Field kSchema[] = {
      {"Entry", 1, false, nullptr},        {"Entry", 2, false, nullptr},
      {"Tensor", 13, true, "Entry"},       {"Sparse", 1, false, "Tensor"},
      {"Sparse", 2, false, "Tensor"},      {"Attribute", 5, false, "Tensor"},
      {"Attribute", 6, false, "Graph"},    {"Attribute", 10, true, "Tensor"},
      {"Attribute", 11, true, "Graph"},    {"Attribute", 22, false, "Sparse"},
      {"Attribute", 23, true, "Sparse"},   {"Node", 5, true, "Attribute"},
      {"Graph", 1, true, "Node"},          {"Graph", 5, true, "Tensor"},
      {"Graph", 15, true, "Sparse"},       {"Function", 7, true, "Node"},
      {"Function", 11, true, "Attribute"}, {"Training", 1, false, "Graph"},
      {"Training", 2, false, "Graph"},     {"Model", 7, false, "Graph"},
      {"Model", 20, true, "Training"},     {"Model", 25, true, "Function"},
  };

  static void Collect(const google::protobuf::Message& message,
                      std::vector<std::string>* locations) {
    const auto& reflection = *message.GetReflection();
    std::vector<const google::protobuf::FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    if (message.GetDescriptor()->name() == "Entry") {
      const auto* const entry = message.GetDescriptor();
      if (reflection.GetString(message, entry->field(0)) == "location") {
        locations->push_back(reflection.GetString(message, entry->field(1)));
      }
      return;
    }
    for (const auto* const field : fields) {
      if (!field->is_repeated()) {
        Collect(reflection.GetMessage(message, field), locations);
        continue;
      }
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        Collect(reflection.GetRepeatedMessage(message, field, i), locations);
      }
    }
  }

  google::protobuf::DescriptorPool pool_;
  google::protobuf::DynamicMessageFactory factory_;
  std::unique_ptr<google::protobuf::Message> message_;
};

// Whatever is done to a network: none passes in which protobuf sees data in
// another place than the one file.
TEST_F(OnnxExternalDataTest, NoDamagedNetworkNamesAnotherPlace) {
  const std::string tensor =
      Tensor({1}, "w", External({{"location", "data.bin"}, {"offset", "9"}}));
  const std::string whole =
      Model(Bytes(5, tensor) + Bytes(1, Bytes(5, Bytes(5, tensor))) +
            Bytes(15, Bytes(1, tensor))) +
      Bytes(25, Bytes(7, Bytes(5, Bytes(10, tensor))));
  Oracle oracle;
  std::vector<std::string> found;
  ASSERT_TRUE(oracle.Parse(whole, &found));
  ASSERT_EQ(found.size(), 4U);
  CAMHERD_ASSERT_OK(Check(whole));

  std::mt19937 random(1);
  int passed = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = whole;
    for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
      const size_t at = random() % bytes.size();
      switch (random() % 5) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
          break;
        case 2:
          bytes.erase(at, 1 + random() % 4);
          break;
        case 3:
          bytes.insert(at, 1, static_cast<char>(random()));
          break;
        default:
          bytes.insert(at, bytes.substr(random() % bytes.size(), 40));
      }
    }
    // A file that is written over goes to the disk at once.
    fs::remove(model_dir() + "/net.onnx");
    if (!Check(bytes).ok()) continue;
    ++passed;
    std::vector<std::string> locations;
    ASSERT_TRUE(oracle.Parse(bytes, &locations)) << "round " << round;
    for (const std::string& location : locations) {
      EXPECT_EQ(fs::canonical(model_dir() + "/" + location),
                fs::canonical(model_dir() + "/data.bin"))
          << "round " << round;
    }
  }
  // Else nothing was tried.
  EXPECT_GT(passed, 100);
}

}  // namespace
}  // namespace camherd::inference
