// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/inference/engine_factory.h"
#include "services/inference/model_registry.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/broken_jpegs.h"
#include "tests/unit/inference/fakes.h"
#include "tests/unit/inference/onnx_bytes.h"

// Weights that are not what the manifest says, by the registry and the engines
// that the service has: the model is FAILED with one line, the others go on.
namespace camherd::inference {
namespace {

using ::camherd::inference::testing::BrokenJpeg;
using ::camherd::inference::testing::BrokenJpegs;
using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::inference::testing::onnx::Bytes;
using ::camherd::inference::testing::onnx::External;
using ::camherd::inference::testing::onnx::Network;
using ::camherd::inference::testing::onnx::Tensor;
using ::camherd::inference::testing::onnx::Weights;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace camherd::v1;

constexpr size_t kWeightsBytes = size_t{5} * 84 * 4;

// The network of onnx::Network as OpenVINO writes it; its weights are
// net.bin.
constexpr char kIr[] = R"(<?xml version="1.0"?>
<net name="test" version="11"><layers>
<layer id="0" name="images" type="Parameter" version="opset1">
<data shape="1,3,64,64" element_type="f32"/>
<output><port id="0" precision="FP32" names="images"><dim>1</dim><dim>3</dim>
<dim>64</dim><dim>64</dim></port></output></layer>
<layer id="1" name="axes" type="Const" version="opset1">
<data element_type="i64" shape="3" offset="1680" size="24"/>
<output><port id="0" precision="I64"><dim>3</dim></port></output></layer>
<layer id="2" name="mean" type="ReduceMean" version="opset1">
<data keep_dims="false"/>
<input><port id="0" precision="FP32"><dim>1</dim><dim>3</dim><dim>64</dim>
<dim>64</dim></port><port id="1" precision="I64"><dim>3</dim></port></input>
<output><port id="2" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="3" name="weights" type="Const" version="opset1">
<data element_type="f32" shape="1,5,84" offset="0" size="1680"/>
<output><port id="0" precision="FP32"><dim>1</dim><dim>5</dim><dim>84</dim>
</port></output></layer>
<layer id="4" name="add" type="Add" version="opset1">
<data auto_broadcast="numpy"/>
<input><port id="0" precision="FP32"><dim>1</dim></port>
<port id="1" precision="FP32"><dim>1</dim><dim>5</dim><dim>84</dim></port>
</input>
<output><port id="2" precision="FP32" names="output0"><dim>1</dim><dim>5</dim>
<dim>84</dim></port></output></layer>
<layer id="5" name="result" type="Result" version="opset1">
<input><port id="0" precision="FP32"><dim>1</dim><dim>5</dim><dim>84</dim>
</port></input></layer>
</layers><edges>
<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
<edge from-layer="2" from-port="2" to-layer="4" to-port="0"/>
<edge from-layer="3" from-port="0" to-layer="4" to-port="1"/>
<edge from-layer="4" from-port="2" to-layer="5" to-port="0"/>
</edges></net>
)";

std::string IrWeights() {
  std::string bytes(kWeightsBytes, '\0');
  for (const char axis : {1, 2, 3}) {
    bytes += axis + std::string(7, '\0');
  }
  return bytes;
}

class BadWeightsTest : public ::testing::TestWithParam<const char*> {
 protected:
  BadWeightsTest() {
    Manifest("good", "net.onnx");
    dir_.Write("models/good/net.onnx", Network(Weights(), {1, 5, 84}));
  }
  ~BadWeightsTest() override {
    if (registry_ != nullptr) registry_->Stop();
  }

  // A model for 64x64 and one class.
  void Manifest(const std::string& name, const std::string& file,
                const std::string& more = "") {
    dir_.Write(absl::StrCat("models/", name, "/model.yaml"),
               absl::StrCat("engines: [", GetParam(),
                            "]\nclasses: [dog]\nsection: ", name,
                            "\nweights:\n  - {file: ", file, more,
                            "}\noutput: yolov8\n"
                            "input: {width: 64, height: 64}\n"));
  }
  std::string ModelDir() const { return dir_ / "models/bad"; }

  // The model after it was prepared: READY or FAILED.
  Model Prepare(const std::string& name) {
    if (registry_ == nullptr) {
      EngineFactoryOptions engines;
      engines.environment.venvs_dir = dir_ / "venvs";
      engines.cache_dir = dir_ / "cache";
      engines.streams = 1;
      ModelRegistry::Options options;
      options.models_dir = dir_ / "models";
      options.cache_dir = dir_ / "weights";
      registry_ = std::make_unique<ModelRegistry>(
          options, MakeEngineFactory(engines, nullptr), Clock::Real(), nullptr);
    }
    // That which can be said at once is the status; it is the state too.
    registry_->Prepare(name, false).IgnoreError();
    EXPECT_TRUE(WaitUntil([&] {
      const ModelState state = registry_->Get(name)->state();
      return state == MODEL_STATE_READY || state == MODEL_STATE_FAILED;
    }));
    return *registry_->Get(name);
  }

  // `bad` is FAILED and says `words` in one line; `good` runs beside it.
  void ExpectFailed(const std::vector<std::string>& words) {
    const Model bad = Prepare("bad");
    EXPECT_EQ(bad.state(), MODEL_STATE_FAILED);
    EXPECT_THAT(bad.reason(), Not(HasSubstr("\n")));
    EXPECT_LT(bad.reason().size(), 600U);
    for (const std::string& word : words) {
      EXPECT_THAT(bad.reason(), HasSubstr(word));
    }
    ASSERT_EQ(Prepare("good").state(), MODEL_STATE_READY)
        << Prepare("good").reason();
    const std::string jpeg = MakeJpeg();
    const Picture picture = {
        .frame_index = 0, .jpeg = jpeg, .width = 64, .height = 48};
    CAMHERD_EXPECT_OK(registry_->Acquire("good").engine->Infer({picture}, {}));
  }

  // `bad` has this file as its net.onnx, or as `file`.
  void ExpectFailed(const std::string& bytes,
                    const std::vector<std::string>& words,
                    const std::string& file = "net.onnx") {
    Manifest("bad", file);
    dir_.Write(absl::StrCat("models/bad/", file), bytes);
    ExpectFailed(words);
  }

  std::string ExternalNetwork(const std::string& location) {
    return Network(
        Tensor({1, 5, 84}, "weights", External({{"location", location}})),
        {1, 5, 84});
  }

  TempDir dir_;
  std::unique_ptr<ModelRegistry> registry_;
};

TEST_P(BadWeightsTest, MissingWeights) {
  Manifest("bad", "net.onnx");
  ExpectFailed({"model bad has no weights: Put net.onnx into "});
}

TEST_P(BadWeightsTest, WeightsThatCannotBeFetched) {
  Manifest("bad", "net.onnx",
           absl::StrCat(", url: 'https://127.0.0.1:1/net.onnx', sha256: ",
                        std::string(64, 'a')));
  ExpectFailed({"weights cannot be fetched: https://127.0.0.1:1/net.onnx"});
}

// Of what was fetched before, as of what is.
TEST_P(BadWeightsTest, FetchedWeightsOfAnotherSha256) {
  const std::string network = Network(Weights(), {1, 5, 84});
  dir_.Write("weights/net.onnx", network + network);
  const std::string more = ", url: 'https://127.0.0.1:1/net.onnx', sha256: ";
  Manifest("bad", "net.onnx", more + Sha256Hex(network));
  ExpectFailed({"weights cannot be fetched: https://127.0.0.1:1/net.onnx"});
  dir_.Write("weights/net.onnx", network);
  EXPECT_EQ(Prepare("bad").state(), MODEL_STATE_READY)
      << Prepare("bad").reason();
}

TEST_P(BadWeightsTest, NoBytes) {
  ExpectFailed("", {"bad/net.onnx is no ONNX network"});
}

TEST_P(BadWeightsTest, Truncated) {
  const std::string whole = Network(Weights(), {1, 5, 84});
  ExpectFailed(whole.substr(0, whole.size() / 2),
               {"bad/net.onnx is no ONNX network: it is cut short"});
}

TEST_P(BadWeightsTest, NoNetworkAtAll) {
  ExpectFailed("<html>404</html>", {"bad/net.onnx is no ONNX network"});
}

TEST_P(BadWeightsTest, WeightsOfAnUnknownKind) {
  ExpectFailed(Network(Weights(), {1, 5, 84}),
               {"net.pb must be an .onnx or an .xml"}, "net.pb");
}

TEST_P(BadWeightsTest, ExternalDataInTheFolderIsFine) {
  Manifest("bad", "net.onnx");
  dir_.Write("models/bad/net.onnx", ExternalNetwork("sub/net.bin"));
  dir_.Write("models/bad/sub/net.bin", std::string(kWeightsBytes, '\0'));
  EXPECT_EQ(Prepare("bad").state(), MODEL_STATE_READY)
      << Prepare("bad").reason();
}

TEST_P(BadWeightsTest, ExternalDataOutsideOfTheFolder) {
  const std::string outside =
      dir_.Write("outside.bin", std::string(kWeightsBytes, '\0'));
  ExpectFailed(ExternalNetwork(outside),
               {"bad/net.onnx", "tensor \"weights\"", outside});
}

TEST_P(BadWeightsTest, ExternalDataAboveTheFolder) {
  dir_.Write("models/outside.bin", std::string(kWeightsBytes, '\0'));
  ExpectFailed(ExternalNetwork("../outside.bin"),
               {"bad/net.onnx", "\"../outside.bin\", which is not a plain"});
}

TEST_P(BadWeightsTest, ExternalDataByALinkOutOfTheFolder) {
  dir_.Write("outside.bin", std::string(kWeightsBytes, '\0'));
  std::filesystem::create_directories(ModelDir());
  std::filesystem::create_symlink("../../outside.bin", ModelDir() + "/in.bin");
  ExpectFailed(ExternalNetwork("in.bin"),
               {"\"in.bin\", which is a link out of the network's folder"});
}

TEST_P(BadWeightsTest, ExternalDataThatAreNotThere) {
  ExpectFailed(ExternalNetwork("net.bin"),
               {"\"net.bin\", where there is no file"});
}

TEST_P(BadWeightsTest, ExternalDataThatAreTooShort) {
  dir_.Write("models/bad/net.bin", "short");
  ExpectFailed(ExternalNetwork("net.bin"), {"bad/net.onnx"});
}

TEST_P(BadWeightsTest, AnInputOfAnotherShape) {
  ExpectFailed(Network(Weights(), {1, 5, 84}, {1, 3, 64, 32}),
               {"bad/net.onnx must have one ", ", 3, 64, 64] and one output"});
}

TEST_P(BadWeightsTest, AnInputOfAnotherRank) {
  ExpectFailed(Network(Weights(), {1, 5, 84}, {1, 3, 64, 64, 1}),
               {"bad/net.onnx must have one ", ", 3, 64, 64] and one output"});
}

TEST_P(BadWeightsTest, AnOutputOfAnotherShape) {
  const std::string weights =
      Tensor({5, 84}, "weights", Bytes(9, std::string(kWeightsBytes, '\0')));
  ExpectFailed(Network(weights, {5, 84}),
               {"the network's output must ", "3 dimensions", "84]"});
}

TEST_P(BadWeightsTest, AnotherNumberOfAnchors) {
  const std::string weights =
      Tensor({1, 5, 80}, "weights", Bytes(9, std::string(1600, '\0')));
  ExpectFailed(Network(weights, {1, 5, 80}),
               {"output must be [1, 5, 84]", "got [1, 5, 80]"});
}

TEST_P(BadWeightsTest, AnotherNumberOfClasses) {
  const std::string weights = Tensor(
      {1, 84, 84}, "weights", Bytes(9, std::string(size_t{84} * 84 * 4, '\0')));
  ExpectFailed(Network(weights, {1, 84, 84}),
               {"output must be [1, 5, 84] (yolov8, 1 classes, input 64x64)",
                "got [1, 84, 84]"});
}

// Networks in the form of OpenVINO.
class BadIrTest : public BadWeightsTest {};

TEST_P(BadIrTest, AnIrWithItsWeightsIsFine) {
  Manifest("bad", "net.xml");
  dir_.Write("models/bad/net.xml", kIr);
  dir_.Write("models/bad/net.bin", IrWeights());
  EXPECT_EQ(Prepare("bad").state(), MODEL_STATE_READY)
      << Prepare("bad").reason();
}

TEST_P(BadIrTest, AnIrWithoutItsWeights) {
  ExpectFailed(kIr, {"bad/net.bin"}, "net.xml");
}

TEST_P(BadIrTest, AnIrWhoseWeightsAreCutShort) {
  for (const size_t size : {size_t{0}, size_t{1}, kWeightsBytes}) {
    dir_.Write("models/bad/net.bin", IrWeights().substr(0, size));
    ExpectFailed(kIr, {"bad/net.xml"}, "net.xml");
  }
}

TEST_P(BadIrTest, AnIrThatIsCutShortOrNone) {
  dir_.Write("models/bad/net.bin", IrWeights());
  const std::string whole = kIr;
  for (const std::string& bytes :
       {std::string(), whole.substr(0, whole.size() / 2),
        Network(Weights(), {1, 5, 84})}) {
    ExpectFailed(bytes, {"bad/net.xml"}, "net.xml");
  }
}

// A good network, and pictures that are not.
TEST_P(BadWeightsTest, BrokenPicturesAreListedAndTheOthersLookedAt) {
  ASSERT_EQ(Prepare("good").state(), MODEL_STATE_READY);
  const std::string good = MakeJpeg();
  for (const BrokenJpeg& broken : BrokenJpegs()) {
    const std::vector<Picture> pictures = {
        {.frame_index = 0, .jpeg = good, .width = 64, .height = 48},
        {.frame_index = 1, .jpeg = broken.bytes, .width = 160, .height = 120},
        {.frame_index = 2, .jpeg = good, .width = 64, .height = 48}};
    const auto result = registry_->Acquire("good").engine->Infer(pictures, {});
    CAMHERD_ASSERT_OK(result) << broken.name;
    EXPECT_THAT(result->undecodable_frames, ElementsAre(1)) << broken.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Native, BadWeightsTest,
                         ::testing::Values("openvino", "onnxruntime"),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Native, BadIrTest, ::testing::Values("openvino"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace camherd::inference
