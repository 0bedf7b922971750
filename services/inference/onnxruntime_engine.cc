// SPDX-License-Identifier: Apache-2.0
#include "services/inference/onnxruntime_engine.h"

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "services/common/clock.h"
#include "services/common/status_macros.h"
#include "services/inference/batch_gatherer.h"
#include "services/inference/detection_decoder.h"
#include "services/inference/jpeg_decoder.h"
#include "services/inference/kernels/host_device.h"
#include "services/inference/letterbox.h"
#include "services/inference/turns.h"
#ifdef CAMHERD_CUDA
#include "services/inference/kernels/cuda_device.h"
#endif

namespace camherd::inference {
namespace {

using Job = BatchGatherer::Job;

// Pictures in work, in batches of the device: one runs, the next are filled.
constexpr int kBatchesAhead = 3;

// Logs, threads and allocators that all sessions share.
Ort::Env& Environment() {
  static auto& env = *new Ort::Env(ORT_LOGGING_LEVEL_ERROR, "camherd");
  return env;
}

std::string OneLine(absl::string_view text) {
  return std::string(
      absl::StripAsciiWhitespace(text.substr(0, text.find('\n'))));
}

absl::StatusOr<std::unique_ptr<DetectionDevice>> MakeDevice(
    const OnnxruntimeEngine::Options& options) {
  if (options.provider == OnnxruntimeEngine::Provider::kCpu) {
    return std::make_unique<HostDevice>();
  }
#ifdef CAMHERD_CUDA
  try {
    return MakeCudaDevice(options.gpu);
  } catch (const std::exception& error) {
    return absl::UnavailableError(error.what());
  }
#else
  return absl::UnavailableError("Camherd was built without CUDA");
#endif
}

// Both providers take their options by key, and the stream by address.
void AppendTensorrt(const OnnxruntimeEngine::Options& options, void* stream,
                    absl::string_view input_name, bool dynamic,
                    Ort::SessionOptions& session) {
  const OrtApi& api = Ort::GetApi();
  OrtTensorRTProviderOptionsV2* made = nullptr;
  Ort::ThrowOnError(api.CreateTensorRTProviderOptions(&made));
  const std::unique_ptr<OrtTensorRTProviderOptionsV2,
                        decltype(api.ReleaseTensorRTProviderOptions)>
      owner(made, api.ReleaseTensorRTProviderOptions);
  const std::string gpu = absl::StrCat(options.gpu);
  const auto shape = [&](int batch, int height, int width) {
    return absl::StrCat(input_name, ":", batch, "x3x", height, "x", width);
  };
  const int least = dynamic && options.rectangular ? DetectorSpec::kStride
                                                   : options.input.height;
  const std::string min = shape(1, least, options.input.width);
  const std::string opt = shape(std::min(8, options.max_batch),
                                options.input.height, options.input.width);
  const std::string max =
      shape(options.max_batch, options.input.height, options.input.width);
  const std::array<std::pair<const char*, const char*>, 8> entries = {{
      {"device_id", gpu.c_str()},
      {"trt_engine_cache_enable", "1"},
      {"trt_engine_cache_path", options.cache_dir.c_str()},
      {"trt_timing_cache_enable", "1"},
      {"trt_timing_cache_path", options.cache_dir.c_str()},
      {"trt_profile_min_shapes", min.c_str()},
      {"trt_profile_opt_shapes", opt.c_str()},
      {"trt_profile_max_shapes", max.c_str()},
  }};
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : entries) {
    keys.push_back(key);
    values.push_back(value);
  }
  Ort::ThrowOnError(api.UpdateTensorRTProviderOptions(
      made, keys.data(), values.data(), keys.size()));
  Ort::ThrowOnError(api.UpdateTensorRTProviderOptionsWithValue(
      made, "user_compute_stream", stream));
  session.AppendExecutionProvider_TensorRT_V2(*made);
}

void AppendCuda(const OnnxruntimeEngine::Options& options, void* stream,
                Ort::SessionOptions& session) {
  const OrtApi& api = Ort::GetApi();
  OrtCUDAProviderOptionsV2* made = nullptr;
  Ort::ThrowOnError(api.CreateCUDAProviderOptions(&made));
  const std::unique_ptr<OrtCUDAProviderOptionsV2,
                        decltype(api.ReleaseCUDAProviderOptions)>
      owner(made, api.ReleaseCUDAProviderOptions);
  const std::string gpu = absl::StrCat(options.gpu);
  // Batches come in many sizes; measuring algorithms for each would take
  // seconds. Memory is taken as it is asked for, since others use the GPU too.
  const char* const keys[] = {"device_id", "cudnn_conv_algo_search",
                              "arena_extend_strategy", "use_tf32"};
  const char* const values[] = {gpu.c_str(), "HEURISTIC", "kSameAsRequested",
                                options.tf32 ? "1" : "0"};
  Ort::ThrowOnError(
      api.UpdateCUDAProviderOptions(made, keys, values, std::size(keys)));
  Ort::ThrowOnError(api.UpdateCUDAProviderOptionsWithValue(
      made, "user_compute_stream", stream));
  session.AppendExecutionProvider_CUDA_V2(*made);
}

}  // namespace

struct OnnxruntimeEngine::Impl {
  Impl(const Options& opts, std::unique_ptr<DetectionDevice> where)
      : options(opts),
        on_gpu(opts.provider != Provider::kCpu),
        decoder({.output = opts.output,
                 .class_names = opts.class_names,
                 .classes = opts.classes}),
        device(std::move(where)),
        memory_info(on_gpu ? Ort::MemoryInfo("Cuda", OrtDeviceAllocator,
                                             opts.gpu, OrtMemTypeDefault)
                           : Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator,
                                                        OrtMemTypeDefault)) {}

  Options options;
  const bool on_gpu;
  const DetectionDecoder decoder;
  const std::unique_ptr<DetectionDevice> device;
  const Ort::MemoryInfo memory_info;
  Ort::Session session{nullptr};
  std::string input_name;
  std::string output_name;
  // Height and width are free.
  bool dynamic = false;

  // Bounds the pictures that are decoded and not yet looked at.
  std::unique_ptr<Turns> turns;
  struct HostMemory {
    size_t bytes = 0;
    std::shared_ptr<uint8_t[]> data;
  };
  absl::Mutex mu;
  // Nobody's at present.
  std::vector<HostMemory> spare ABSL_GUARDED_BY(mu);
  // Last: its thread uses the rest.
  std::unique_ptr<BatchGatherer> gatherer;

  absl::Status Load();
  absl::Status CheckInput();
  absl::Status RunBatch(absl::Span<Job* const> jobs);
  absl::Status CheckOutput(const InputSize& input);

  // Decodes a picture, with a turn that goes back with its memory, into memory
  // of the device's choice. kInvalidArgument: it cannot be decoded;
  // kFailedPrecondition: there is no memory.
  absl::StatusOr<std::unique_ptr<Job>> Prepare(const Picture& picture,
                                               const Letterbox& letterbox,
                                               const InferOptions& infer);
  absl::StatusOr<HostMemory> TakeMemory(size_t bytes);
  void GiveMemory(HostMemory memory);
};

absl::Status OnnxruntimeEngine::Impl::Load() {
  const auto make = [&](bool with_provider) {
    Ort::SessionOptions made;
    made.SetIntraOpNumThreads(on_gpu ? 1 : options.threads);
    made.SetInterOpNumThreads(1);
    // A thread that waits would take the processor from the next batch.
    made.AddConfigEntry("session.intra_op.allow_spinning", "0");
    if (!with_provider) {
      made.SetGraphOptimizationLevel(ORT_DISABLE_ALL);
    } else if (on_gpu) {
      if (options.provider == Provider::kTensorrt) {
        AppendTensorrt(options, device->stream(), input_name, dynamic, made);
      }
      AppendCuda(options, device->stream(), made);
    }
    return Ort::Session(Environment(), options.weights.c_str(), made);
  };
  try {
    session = make(false);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.weights,
        " cannot be loaded by ONNX Runtime: ", OneLine(error.what())));
  }
  CAMHERD_RETURN_IF_ERROR(CheckInput());
  try {
    session = make(true);
  } catch (const std::exception& error) {
    const std::string message =
        absl::StrCat("ONNX Runtime has no ", on_gpu ? "GPU" : "CPU",
                     " for this: ", OneLine(error.what()));
    return on_gpu ? absl::UnavailableError(message)
                  : absl::InvalidArgumentError(message);
  }
  // A wide camera's, so that the first batch does not wait for it.
  return CheckOutput(options.SizeFor(1920, 1080, dynamic));
}

absl::Status OnnxruntimeEngine::Impl::CheckInput() {
  std::vector<int64_t> shape;
  bool is_float = false;
  if (session.GetInputCount() == 1 && session.GetOutputCount() == 1) {
    const Ort::TypeInfo type = session.GetInputTypeInfo(0);
    if (type.GetONNXType() == ONNX_TYPE_TENSOR) {
      const auto tensor = type.GetTensorTypeAndShapeInfo();
      shape = tensor.GetShape();
      is_float = tensor.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
  }
  // -1 is free.
  const auto fits = [&](size_t i, int64_t want) {
    return shape[i] == -1 || shape[i] == want;
  };
  if (!is_float || shape.size() != 4 || !(shape[0] == -1 || shape[0] >= 1) ||
      !fits(1, 3) || !fits(2, options.input.height) ||
      !fits(3, options.input.width)) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.weights, " must have one float32 input [B, 3, ",
        options.input.height, ", ", options.input.width,
        "] and one output, got ", session.GetInputCount(), " inputs",
        shape.empty() ? ""
                      : absl::StrCat(" ([", absl::StrJoin(shape, ", "), "])"),
        " and ", session.GetOutputCount(), " outputs"));
  }
  if (shape[0] > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.weights, " must take a batch of 1 or any, not ", shape[0]));
  }
  if (shape[0] == 1) options.max_batch = 1;
  dynamic = shape[2] == -1 && shape[3] == -1;
  Ort::AllocatorWithDefaultOptions allocator;
  input_name = session.GetInputNameAllocated(0, allocator).get();
  output_name = session.GetOutputNameAllocated(0, allocator).get();
  return absl::OkStatus();
}

absl::Status OnnxruntimeEngine::Impl::CheckOutput(const InputSize& input) {
  try {
    const std::array<int64_t, 4> shape = {1, 3, input.height, input.width};
    const auto floats = static_cast<size_t>(3 * input.height * input.width);
    const auto pixels = std::make_unique<uint8_t[]>(3);
    const PlacedPicture picture{pixels.get(), 1, 1, 0, 0, 1, 1};
    device->Letterbox({&picture, 1}, {input.width, input.height});
    Ort::IoBinding binding(session);
    binding.BindInput(
        input_name.c_str(),
        Ort::Value::CreateTensor<float>(memory_info, device->Input(floats),
                                        floats, shape.data(), shape.size()));
    binding.BindOutput(output_name.c_str(), memory_info);
    session.Run(Ort::RunOptions(), binding);
    binding.SynchronizeOutputs();
    const std::vector<Ort::Value> outputs = binding.GetOutputValues();
    const auto info = outputs.at(0).GetTensorTypeAndShapeInfo();
    const std::vector<int64_t> dims = info.GetShape();
    if (info.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT ||
        dims.size() != 3 || dims[0] != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("the network's output must be float32 of 3 dimensions, "
                       "the first of them 1, got [",
                       absl::StrJoin(dims, ", "), "]"));
    }
    const size_t got[] = {static_cast<size_t>(dims[1]),
                          static_cast<size_t>(dims[2])};
    return decoder.CheckShape(got, input);
  } catch (const std::exception& error) {
    const std::string message =
        absl::StrCat("the network cannot be run: ", OneLine(error.what()));
    return on_gpu ? absl::UnavailableError(message)
                  : absl::InvalidArgumentError(message);
  }
}

absl::Status OnnxruntimeEngine::Impl::RunBatch(absl::Span<Job* const> jobs) {
  try {
    std::vector<PlacedPicture> pictures;
    std::vector<Thresholds> thresholds;
    for (const Job* const job : jobs) {
      pictures.push_back(job->picture);
      thresholds.push_back(job->thresholds);
    }
    const InputSize& input = jobs.front()->input;
    OutputLayout layout = decoder.LayoutFor(input);
    layout.every_class = jobs.front()->every_class;
    const auto count = static_cast<int64_t>(jobs.size());
    const std::array<int64_t, 4> in = {count, 3, input.height, input.width};
    const auto classes = static_cast<int64_t>(layout.kept.size());
    const std::array<int64_t, 3> out =
        layout.yolox
            ? std::array<int64_t, 3>{count, layout.anchors, 5 + classes}
            : std::array<int64_t, 3>{count, 4 + classes, layout.anchors};
    const size_t in_floats =
        jobs.size() * static_cast<size_t>(3 * input.height * input.width);
    const size_t out_floats = jobs.size() * layout.size();

    device->Letterbox(pictures,
                      {.width = input.width,
                       .height = input.height,
                       .pad = static_cast<float>(options.input.pad),
                       .scale = static_cast<float>(options.input.scale)});
    Ort::IoBinding binding(session);
    binding.BindInput(
        input_name.c_str(),
        Ort::Value::CreateTensor<float>(memory_info, device->Input(in_floats),
                                        in_floats, in.data(), in.size()));
    binding.BindOutput(
        output_name.c_str(),
        Ort::Value::CreateTensor<float>(memory_info, device->Output(out_floats),
                                        out_floats, out.data(), out.size()));
    Ort::RunOptions run;
    if (on_gpu) {
      // Our stream orders what follows; Decode waits for all of it.
      run.AddConfigEntry("disable_synchronize_execution_providers", "1");
    }
    session.Run(run, binding);
    std::vector<std::vector<ScoredBox>> boxes =
        device->Decode(layout, thresholds);
    for (size_t i = 0; i < jobs.size(); ++i) {
      jobs[i]->boxes = std::move(boxes[i]);
    }
    return absl::OkStatus();
  } catch (const std::exception& error) {
    const std::string message =
        absl::StrCat("ONNX Runtime: ", OneLine(error.what()));
    // After an error of a GPU nothing works on it any more.
    return on_gpu ? absl::FailedPreconditionError(message)
                  : absl::AbortedError(message);
  }
}

absl::StatusOr<std::unique_ptr<Job>> OnnxruntimeEngine::Impl::Prepare(
    const Picture& picture, const Letterbox& letterbox,
    const InferOptions& infer) {
  CAMHERD_ASSIGN_OR_RETURN(const std::shared_ptr<const Bitmap> bitmap,
                           options.Decode(picture, letterbox));
  auto job = std::make_unique<Job>();
  job->picture = {.width = bitmap->width,
                  .height = bitmap->height,
                  .left = letterbox.left,
                  .top = letterbox.top,
                  .inner_width = letterbox.width,
                  .inner_height = letterbox.height};
  job->input = {letterbox.input_width, letterbox.input_height};
  job->thresholds = {static_cast<float>(infer.min_score),
                     static_cast<float>(infer.nms_iou)};
  job->every_class = infer.every_class;
  CAMHERD_ASSIGN_OR_RETURN(HostMemory memory, TakeMemory(job->picture.bytes()));
  std::memcpy(memory.data.get(), bitmap->pixels.get(), job->picture.bytes());
  job->picture.pixels = memory.data.get();
  job->memory = std::shared_ptr<void>(
      memory.data.get(), [this, memory](void*) { GiveMemory(memory); });
  return job;
}

absl::StatusOr<OnnxruntimeEngine::Impl::HostMemory>
OnnxruntimeEngine::Impl::TakeMemory(size_t bytes) {
  {
    absl::MutexLock lock(&mu);
    const auto found = std::find_if(
        spare.begin(), spare.end(),
        [&](const HostMemory& memory) { return memory.bytes >= bytes; });
    if (found != spare.end()) {
      HostMemory memory = std::move(*found);
      spare.erase(found);
      return memory;
    }
    // Pinned memory is dear to get: what is too small makes way for it.
    if (!spare.empty()) spare.pop_back();
  }
  try {
    return HostMemory{bytes, device->AllocateHost(bytes)};
  } catch (const std::exception& error) {
    return absl::FailedPreconditionError(error.what());
  }
}

void OnnxruntimeEngine::Impl::GiveMemory(HostMemory memory) {
  {
    absl::MutexLock lock(&mu);
    spare.push_back(std::move(memory));
  }
  turns->Give();
}

OnnxruntimeEngine::OnnxruntimeEngine(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}

OnnxruntimeEngine::~OnnxruntimeEngine() { Stop(); }

absl::StatusOr<std::unique_ptr<OnnxruntimeEngine>> OnnxruntimeEngine::Create(
    const Options& options) {
  Options filled = options;
  if (filled.threads <= 0) {
    filled.threads =
        std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  CAMHERD_ASSIGN_OR_RETURN(std::unique_ptr<DetectionDevice> device,
                           MakeDevice(filled));
  auto impl = std::make_unique<Impl>(filled, std::move(device));
  CAMHERD_RETURN_IF_ERROR(impl->Load());
  impl->turns =
      std::make_unique<Turns>(impl->options.max_batch * kBatchesAhead);
  Impl* const raw = impl.get();
  impl->gatherer = std::make_unique<BatchGatherer>(
      impl->options.max_batch,
      impl->on_gpu ? impl->options.max_delay : absl::ZeroDuration(),
      [raw](absl::Span<Job* const> jobs) { return raw->RunBatch(jobs); });
  return std::unique_ptr<OnnxruntimeEngine>(
      new OnnxruntimeEngine(std::move(impl)));
}

absl::StatusOr<InferResult> OnnxruntimeEngine::Infer(
    absl::Span<const Picture> pictures, const InferOptions& options) {
  const absl::Duration start = Clock::Real().SteadyNow();
  const auto left = [&] {
    return options.queue_timeout - (Clock::Real().SteadyNow() - start);
  };
  InferResult result;
  // What was handed to the gatherer, and which pictures those are.
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<std::pair<const Picture*, Letterbox>> placed;
  absl::Status status;
  for (const Picture& picture : pictures) {
    const InputSize input =
        impl_->options.SizeFor(picture.width, picture.height, impl_->dynamic);
    const Letterbox letterbox =
        MakeLetterbox(picture.width, picture.height, input.width, input.height,
                      impl_->options.input);
    if (!impl_->turns->Take(left())) {
      status = absl::UnavailableError("the onnxruntime engine had no turn");
      break;
    }
    if (&picture == pictures.data()) {
      result.waited = Clock::Real().SteadyNow() - start;
    }
    absl::StatusOr<std::unique_ptr<Job>> job =
        impl_->Prepare(picture, letterbox, options);
    if (job.ok()) {
      jobs.push_back(*std::move(job));
      placed.emplace_back(&picture, letterbox);
      impl_->gatherer->Submit(*jobs.back());
      continue;
    }
    impl_->turns->Give();
    if (!absl::IsInvalidArgument(job.status())) {
      status = job.status();
      break;
    }
    result.undecodable_frames.push_back(picture.frame_index);
  }
  status.Update(impl_->gatherer->Finish(jobs, left()));
  CAMHERD_RETURN_IF_ERROR(status);
  if (!jobs.empty()) result.waited += jobs.front()->waited;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const auto& [picture, letterbox] = placed[i];
    std::vector<camherd::v1::Detection> found =
        impl_->decoder.ToDetections(jobs[i]->boxes, letterbox, *picture);
    std::move(found.begin(), found.end(),
              std::back_inserter(result.detections));
  }
  return result;
}

JpegSize OnnxruntimeEngine::DecodedSize(const Picture& picture) const {
  return impl_->options.DecodedSize(picture);
}

void OnnxruntimeEngine::Stop() {
  if (impl_->gatherer == nullptr) return;
  impl_->gatherer->Stop();
  impl_->turns->Stop();
}

std::string OnnxruntimeEngine::device() const {
  return impl_->options.provider == Provider::kTensorrt
             ? absl::StrCat("tensorrt:", impl_->options.gpu)
             : impl_->device->name();
}

std::string OnnxruntimeEngine::precision() const {
  return impl_->on_gpu && impl_->options.tf32 ? "tf32" : "f32";
}

int OnnxruntimeEngine::queue_depth() const {
  return impl_->turns->waiting() + impl_->gatherer->waiting();
}

}  // namespace camherd::inference
