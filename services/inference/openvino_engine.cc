// SPDX-License-Identifier: Apache-2.0
#include "services/inference/openvino_engine.h"

#include <algorithm>
#include <map>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <openvino/openvino.hpp>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/inference/detection_decoder.h"
#include "services/inference/letterbox.h"
#include "services/inference/turns.h"

namespace camherd::inference {
namespace {

// Shapes of input that are compiled; pictures of further ones get the square.
constexpr size_t kMaxShapes = 6;

// Plugins are loaded once; a Core is thread-safe.
ov::Core& Core() {
  static auto& core = *[] {
    auto* const made = new ov::Core();
    // A file that is written over must not change what was loaded from it.
    made->set_property(ov::enable_mmap(false));
    return made;
  }();
  return core;
}

// The sentence at the end of OpenVINO's trace of files and lines.
std::string OneLine(const std::exception& error) {
  std::string last;
  for (absl::string_view line : absl::StrSplit(error.what(), '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (!line.empty()) last = std::string(line);
  }
  return last;
}

}  // namespace

struct OpenvinoEngine::Impl {
  explicit Impl(const Options& opts)
      : options(opts),
        decoder({.output = opts.output,
                 .class_names = opts.class_names,
                 .classes = opts.classes}),
        turns(opts.streams) {}

  // One compiled shape of input, and the requests on it that nobody uses.
  struct Shape {
    InputSize input;
    ov::CompiledModel compiled;
    absl::Mutex mu;
    std::vector<ov::InferRequest> free ABSL_GUARDED_BY(mu);
  };

  const Options options;
  const DetectionDecoder decoder;
  // Of the numbers that are not quantized.
  std::string precision = "f32";
  bool quantized = false;
  // As it was read. Its height and width are free: `dynamic`.
  std::shared_ptr<ov::Model> network;
  bool dynamic = false;
  Turns turns;

  // Held while a new shape is compiled, once for each.
  absl::Mutex shapes_mu;
  std::map<InputSize, std::unique_ptr<Shape>> shapes ABSL_GUARDED_BY(shapes_mu);

  absl::Status Load();
  absl::StatusOr<Shape*> Compile(const InputSize& input)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shapes_mu);
  absl::StatusOr<Shape*> ShapeFor(const Picture& picture);
  // kInvalidArgument: the picture cannot be decoded.
  absl::StatusOr<std::vector<camherd::v1::Detection>> Look(
      const Picture& picture, const InferOptions& infer);
};

absl::Status OpenvinoEngine::Impl::Load() {
  const auto capabilities =
      Core().get_property("CPU", ov::device::capabilities);
  const bool has_bf16 = std::find(capabilities.begin(), capabilities.end(),
                                  "BF16") != capabilities.end();
  if (has_bf16 && !options.precisions.empty()) {
    precision = options.precisions.front();
  }
  network = Core().read_model(options.weights);
  for (const std::shared_ptr<ov::Node>& node : network->get_ops()) {
    quantized =
        quantized || node->get_type_name() == std::string("FakeQuantize");
  }
  const ov::PartialShape shape = network->inputs().size() == 1
                                     ? network->input().get_partial_shape()
                                     : ov::PartialShape::dynamic();
  if (shape.rank() != 4 || !shape[1].compatible(3) || !shape[0].compatible(1) ||
      !shape[2].compatible(options.input.height) ||
      !shape[3].compatible(options.input.width) ||
      network->outputs().size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.weights, " must have one input [1, 3, ", options.input.height,
        ", ", options.input.width, "] and one output, got ",
        network->inputs().size(), " inputs",
        network->inputs().size() == 1
            ? absl::StrCat(" (", shape.to_string(), ")")
            : "",
        " and ", network->outputs().size(), " outputs"));
  }
  dynamic = shape[2].is_dynamic() && shape[3].is_dynamic();
  // A wide camera's, so that the first batch does not wait for it.
  const InputSize first = options.SizeFor(1920, 1080, dynamic);
  absl::MutexLock lock(&shapes_mu);
  return Compile(first).status();
}

absl::StatusOr<OpenvinoEngine::Impl::Shape*> OpenvinoEngine::Impl::Compile(
    const InputSize& input) {
  std::shared_ptr<ov::Model> model = network->clone();
  model->reshape(ov::PartialShape{1, 3, input.height, input.width});
  // The letterboxed picture goes in as it is: bytes, row by row.
  ov::preprocess::PrePostProcessor prepost(model);
  prepost.input().tensor().set_element_type(ov::element::u8).set_layout("NHWC");
  prepost.input()
      .preprocess()
      .convert_element_type(ov::element::f32)
      .scale(static_cast<float>(options.input.scale));
  prepost.input().model().set_layout("NCHW");
  prepost.output().tensor().set_element_type(ov::element::f32);
  model = prepost.build();

  auto shape = std::make_unique<Shape>();
  shape->input = input;
  shape->compiled = Core().compile_model(
      model, "CPU",
      {ov::hint::performance_mode(ov::hint::PerformanceMode::THROUGHPUT),
       ov::num_streams(options.streams),
       ov::inference_num_threads(options.streams),
       // Pinned, two processes share a core and leave the other idle.
       ov::hint::enable_cpu_pinning(false),
       ov::hint::inference_precision(precision == "bf16" ? ov::element::bf16
                                                         : ov::element::f32),
       ov::cache_dir(options.cache_dir)});
  const ov::Shape output = shape->compiled.output().get_shape();
  if (output.size() != 3 || output[0] != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the network's output must have 3 dimensions, the first "
                     "of them 1, got ",
                     output.to_string()));
  }
  const size_t dims[] = {output[1], output[2]};
  CAMHERD_RETURN_IF_ERROR(decoder.CheckShape(dims, input));
  return (shapes[input] = std::move(shape)).get();
}

absl::StatusOr<OpenvinoEngine::Impl::Shape*> OpenvinoEngine::Impl::ShapeFor(
    const Picture& picture) {
  const InputSize square{options.input.width, options.input.height};
  const InputSize best =
      options.SizeFor(picture.width, picture.height, dynamic);
  absl::MutexLock lock(&shapes_mu);
  auto found = shapes.find(best);
  if (found == shapes.end() && shapes.size() >= kMaxShapes) {
    found = shapes.find(square);
    if (found == shapes.end()) return Compile(square);
  }
  if (found != shapes.end()) return found->second.get();
  return Compile(best);
}

absl::StatusOr<std::vector<camherd::v1::Detection>> OpenvinoEngine::Impl::Look(
    const Picture& picture, const InferOptions& infer) {
  const absl::StatusOr<Shape*> found = ShapeFor(picture);
  if (!found.ok()) return absl::AbortedError(found.status().message());
  Shape* const shape = *found;
  const Letterbox letterbox =
      MakeLetterbox(picture.width, picture.height, shape->input.width,
                    shape->input.height, options.input);
  CAMHERD_ASSIGN_OR_RETURN(const std::shared_ptr<const Bitmap> bitmap,
                           options.Decode(picture, letterbox));
  ov::InferRequest request;
  {
    absl::MutexLock lock(&shape->mu);
    if (!shape->free.empty()) {
      request = std::move(shape->free.back());
      shape->free.pop_back();
    }
  }
  if (!request) request = shape->compiled.create_infer_request();
  cv::Mat canvas(letterbox.input_height, letterbox.input_width, CV_8UC3,
                 request.get_input_tensor().data<uint8_t>());
  canvas.setTo(cv::Scalar::all(options.input.pad));
  const cv::Mat pixels(bitmap->height, bitmap->width, CV_8UC3,
                       bitmap->pixels.get());
  cv::Mat inner = canvas(cv::Rect(letterbox.left, letterbox.top,
                                  letterbox.width, letterbox.height));
  if (pixels.size() == inner.size()) {
    pixels.copyTo(inner);
  } else {
    cv::resize(pixels, inner, inner.size(), 0, 0, cv::INTER_LINEAR);
  }
  request.infer();
  const ov::Tensor output = request.get_output_tensor();
  std::vector<camherd::v1::Detection> detections =
      decoder.Decode({output.data<const float>(), output.get_size()}, letterbox,
                     picture, infer);
  absl::MutexLock lock(&shape->mu);
  shape->free.push_back(std::move(request));
  return detections;
}

OpenvinoEngine::OpenvinoEngine(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}

OpenvinoEngine::~OpenvinoEngine() { Stop(); }

absl::StatusOr<std::unique_ptr<OpenvinoEngine>> OpenvinoEngine::Create(
    const Options& options) {
  Options filled = options;
  if (filled.streams <= 0) {
    filled.streams =
        std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  // Our threads are the parallelism; OpenCV's pool would only spin.
  cv::setNumThreads(1);
  auto impl = std::make_unique<Impl>(filled);
  try {
    CAMHERD_RETURN_IF_ERROR(impl->Load());
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.weights, " cannot be loaded by OpenVINO: ", OneLine(error)));
  }
  return std::unique_ptr<OpenvinoEngine>(new OpenvinoEngine(std::move(impl)));
}

absl::StatusOr<InferResult> OpenvinoEngine::Infer(
    absl::Span<const Picture> pictures, const InferOptions& options) {
  std::vector<absl::StatusOr<std::vector<camherd::v1::Detection>>> found(
      pictures.size());
  const auto look = [&](int i) {
    try {
      found[i] = impl_->Look(pictures[i], options);
    } catch (const std::exception& error) {
      found[i] = absl::AbortedError(absl::StrCat("OpenVINO: ", OneLine(error)));
    }
  };
  InferResult result;
  if (!impl_->turns.ForEach(static_cast<int>(pictures.size()),
                            options.queue_timeout, look, &result.waited)) {
    return absl::UnavailableError("the openvino engine had no turn");
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i].ok()) {
      std::move(found[i]->begin(), found[i]->end(),
                std::back_inserter(result.detections));
    } else if (absl::IsAborted(found[i].status())) {
      return found[i].status();
    } else {
      result.undecodable_frames.push_back(pictures[i].frame_index);
    }
  }
  return result;
}

JpegSize OpenvinoEngine::DecodedSize(const Picture& picture) const {
  return impl_->options.DecodedSize(picture);
}

void OpenvinoEngine::Stop() {
  impl_->turns.Stop();
  // Nobody has a turn, and nobody will.
  absl::MutexLock lock(&impl_->shapes_mu);
  impl_->shapes.clear();
  impl_->network.reset();
}

std::string OpenvinoEngine::precision() const {
  return impl_->quantized ? "int8" : impl_->precision;
}

int OpenvinoEngine::queue_depth() const { return impl_->turns.waiting(); }

}  // namespace camherd::inference
