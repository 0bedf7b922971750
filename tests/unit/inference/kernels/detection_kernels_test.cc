// SPDX-License-Identifier: Apache-2.0
//
// Tests of the kernels that need nothing but a compiler: by default the host's,
// on pictures and outputs whose answer is known; with --cuda those of the GPU
// against the host's, on random ones; with --bench how fast the GPU is.
#include "services/inference/kernels/detection_kernels.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "services/inference/kernels/host_device.h"
#ifdef CAMHERD_CUDA
// Only to move what is compared.
#include <cuda_runtime.h>

#include "services/inference/kernels/cuda_device.h"
#endif

namespace camherd::inference {
namespace {

constexpr int kSkipped = 77;
int failures = 0;

#define EXPECT(condition)                                         \
  do {                                                            \
    if (!(condition)) {                                           \
      ++failures;                                                 \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                             \
  } while (false)

bool Near(float a, float b, float tolerance) {
  return std::fabs(a - b) <= tolerance;
}

// --- host ------------------------------------------------------------------

void LetterboxOfTheSameSizeOnlyDivides() {
  const std::vector<uint8_t> pixels = {0, 51, 102, 153, 204, 255};
  const PlacedPicture picture{pixels.data(), 2, 1, 0, 0, 2, 1};
  std::vector<float> input(6, -1);
  LetterboxOnHost({&picture, 1}, {2, 1, 114, 255}, input.data());
  // Plane by plane.
  const float want[] = {0, 153, 51, 204, 102, 255};
  for (size_t i = 0; i < 6; ++i) EXPECT(Near(input[i], want[i] / 255, 1e-6F));
}

void LetterboxPadsAndScales() {
  // Two pixels wide, scaled to four, in an input of 6 x 3 with a border.
  const std::vector<uint8_t> pixels = {0, 0, 0, 100, 100, 100};
  const PlacedPicture picture{pixels.data(), 2, 1, 1, 1, 4, 1};
  std::vector<float> input(3 * 18, -1);
  LetterboxOnHost({&picture, 1}, {6, 3, 114, 1}, input.data());
  const float want[] = {114, 114, 114, 114, 114, 114,  //
                        114, 0,   25,  75,  100, 114,  //
                        114, 114, 114, 114, 114, 114};
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = 0; i < 18; ++i) EXPECT(input[c * 18 + i] == want[i]);
  }
}

OutputLayout Layout(bool yolox, size_t classes, int side) {
  OutputLayout layout;
  layout.yolox = yolox;
  layout.kept.assign(classes, 1);
  layout.input_width = layout.input_height = side;
  layout.anchors = AnchorsOf(side, side);
  return layout;
}

void Yolov8TakesTheBestClassOfEachAnchor() {
  OutputLayout layout = Layout(false, 2, 32);
  EXPECT(layout.anchors == 16 + 4 + 1);
  std::vector<float> output(layout.size(), 0);
  const auto set = [&](size_t anchor, std::vector<float> values) {
    for (size_t row = 0; row < values.size(); ++row) {
      output[row * 21 + anchor] = values[row];
    }
  };
  set(3, {10, 10, 4, 4, 0.5F, 0.75F});
  set(4, {10, 10, 4, 4, 0.1F, 0.625F});  // The same object.
  set(20, {20, 20, 8, 2, 0.875F, 0});
  std::vector<ScoredBox> boxes = DecodeOnHost(output.data(), layout, {});
  EXPECT(boxes.size() == 2);
  if (boxes.size() != 2) return;
  EXPECT(boxes[0].score == 0.875F && boxes[0].class_index == 0);
  EXPECT(boxes[0].x1 == 16 && boxes[0].y2 == 21);
  EXPECT(boxes[1].score == 0.75F && boxes[1].class_index == 1);
  // A best class that is not kept takes the anchor with it, unless every class
  // counts.
  layout.kept[1] = 0;
  EXPECT(DecodeOnHost(output.data(), layout, {}).size() == 1);
  layout.every_class = true;
  EXPECT(DecodeOnHost(output.data(), layout, {}).size() == 2);
  layout.max_boxes = 1;
  EXPECT(DecodeOnHost(output.data(), layout, {}).size() == 1);
}

void YoloxDecodesItsGrid() {
  const OutputLayout layout = Layout(true, 1, 32);
  std::vector<float> output(layout.size(), 0);
  // Anchor 17 is cell (1, 0) of the grid of stride 16.
  const float row[] = {0.5F, 0.25F, 0, std::log(2.0F), 0.5F, 1};
  std::copy(std::begin(row), std::end(row), output.begin() + 17 * 6);
  const std::vector<ScoredBox> boxes = DecodeOnHost(output.data(), layout, {});
  EXPECT(boxes.size() == 1);
  if (boxes.size() != 1) return;
  EXPECT(Near(boxes[0].x1, 24 - 8, 1e-4F) && Near(boxes[0].x2, 24 + 8, 1e-4F));
  EXPECT(Near(boxes[0].y1, 4 - 16, 1e-4F) && Near(boxes[0].y2, 4 + 16, 1e-4F));
  EXPECT(boxes[0].score == 0.5F);
}

int RunHost() {
  LetterboxOfTheSameSizeOnlyDivides();
  LetterboxPadsAndScales();
  Yolov8TakesTheBestClassOfEachAnchor();
  YoloxDecodesItsGrid();
  std::printf("host kernels: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}

// --- CUDA ------------------------------------------------------------------

#ifdef CAMHERD_CUDA

std::vector<float> Read(const float* from, size_t floats) {
  std::vector<float> values(floats);
  (void)cudaDeviceSynchronize();
  EXPECT(cudaMemcpy(values.data(), from, floats * sizeof(float),
                    cudaMemcpyDefault) == cudaSuccess);
  return values;
}

void Write(float* to, const std::vector<float>& values) {
  EXPECT(cudaMemcpy(to, values.data(), values.size() * sizeof(float),
                    cudaMemcpyDefault) == cudaSuccess);
}

// A batch of pictures of many sizes.
struct Pictures {
  std::vector<std::shared_ptr<uint8_t[]>> memory;
  std::vector<PlacedPicture> placed;
};
Pictures RandomPictures(DetectionDevice& device, int count, int side,
                        bool large, std::mt19937& random) {
  constexpr int kSizes[][2] = {{960, 540}, {640, 480},  {333, 517},
                               {1, 1},     {1280, 720}, {64, 640}};
  Pictures pictures;
  for (int i = 0; i < count; ++i) {
    const auto& size = kSizes[large ? 0 : static_cast<size_t>(i) % 6];
    PlacedPicture picture;
    picture.width = size[0];
    picture.height = size[1];
    const float scale = static_cast<float>(side) /
                        static_cast<float>(std::max(size[0], size[1]));
    picture.inner_width =
        std::max(1, static_cast<int>(static_cast<float>(size[0]) * scale));
    picture.inner_height =
        std::max(1, static_cast<int>(static_cast<float>(size[1]) * scale));
    picture.left = (side - picture.inner_width) / 2;
    picture.top = (side - picture.inner_height) / 2;
    pictures.memory.push_back(device.AllocateHost(picture.bytes()));
    for (size_t k = 0; k < picture.bytes(); ++k) {
      pictures.memory.back()[k] = static_cast<uint8_t>(random());
    }
    picture.pixels = pictures.memory.back().get();
    pictures.placed.push_back(picture);
  }
  return pictures;
}

// Outputs as a network's: most anchors say nothing, some cluster on objects.
std::vector<float> RandomOutput(const OutputLayout& layout, int objects,
                                std::mt19937& random) {
  std::uniform_real_distribution<float> unit(0, 1);
  std::vector<float> output(layout.size());
  const size_t classes = layout.kept.size();
  const auto anchors = static_cast<size_t>(layout.anchors);
  const auto at = [&](size_t anchor, size_t row) -> float& {
    return layout.yolox ? output[anchor * (5 + classes) + row]
                        : output[row * anchors + anchor];
  };
  const auto side = static_cast<float>(layout.input_width);
  for (size_t i = 0; i < anchors; ++i) {
    const bool hit = random() % 10 == 0;
    const auto object = static_cast<float>(random() % objects);
    if (layout.yolox) {
      at(i, 0) = unit(random) * 4 - 2;
      at(i, 1) = unit(random) * 4 - 2;
      at(i, 2) = unit(random) * 2;
      at(i, 3) = unit(random) * 2;
      at(i, 4) = hit ? unit(random) : unit(random) * 0.01F;
    } else {
      at(i, 0) = side * std::fmod(object * 0.37F, 1.0F) + unit(random) * 8;
      at(i, 1) = side * std::fmod(object * 0.73F, 1.0F) + unit(random) * 8;
      at(i, 2) = 40 + unit(random) * 20;
      at(i, 3) = 40 + unit(random) * 20;
    }
    for (size_t c = 0; c < classes; ++c) {
      // In steps, so that some are equal.
      at(i, (layout.yolox ? 5 : 4) + c) =
          hit || layout.yolox
              ? std::floor(unit(random) * unit(random) * 256) / 256
              : 0;
    }
  }
  return output;
}

void CompareLetterbox(DetectionDevice& cuda, int count, std::mt19937& random) {
  const int side = 320;
  const Pictures pictures = RandomPictures(cuda, count, side, false, random);
  const InputLayout layout{side, side, 114, 255};
  const size_t floats = static_cast<size_t>(count) * 3 * side * side;
  std::vector<float> want(floats);
  LetterboxOnHost(pictures.placed, layout, want.data());
  cuda.Letterbox(pictures.placed, layout);
  const std::vector<float> got = Read(cuda.Input(floats), floats);
  size_t off = 0;
  float worst = 0;
  for (size_t i = 0; i < floats; ++i) {
    worst = std::max(worst, std::fabs(got[i] - want[i]));
    off += got[i] == want[i] ? 0 : 1;
  }
  std::printf("letterbox of %2d: %zu of %zu values differ, most by %g\n", count,
              off, floats, static_cast<double>(worst));
  // A value may be rounded the other way.
  EXPECT(worst <= 1.0F / 255 + 1e-6F);
  EXPECT(off <= floats / 10000);
}

void CompareDecode(DetectionDevice& cuda, int count, bool yolox,
                   bool every_class, std::mt19937& random) {
  OutputLayout layout = Layout(yolox, 20, 320);
  layout.every_class = every_class;
  layout.kept[3] = layout.kept[7] = 0;
  std::vector<float> outputs;
  std::vector<Thresholds> thresholds;
  std::vector<std::vector<ScoredBox>> want;
  for (int i = 0; i < count; ++i) {
    const std::vector<float> one = RandomOutput(layout, 5 + i, random);
    outputs.insert(outputs.end(), one.begin(), one.end());
    // Other thresholds for each picture; the first keeps nearly all.
    thresholds.push_back({0.001F + 0.1F * static_cast<float>(i % 8),
                          0.45F + 0.05F * static_cast<float>(i % 8)});
    want.push_back(DecodeOnHost(one.data(), layout, thresholds.back()));
  }
  Write(cuda.Output(outputs.size()), outputs);
  const std::vector<std::vector<ScoredBox>> got =
      cuda.Decode(layout, thresholds);
  size_t boxes = 0;
  size_t off = 0;
  EXPECT(got.size() == want.size());
  for (size_t i = 0; i < want.size() && i < got.size(); ++i) {
    boxes += want[i].size();
    if (got[i].size() != want[i].size()) {
      off += want[i].size();
      continue;
    }
    for (size_t k = 0; k < want[i].size(); ++k) {
      const ScoredBox& a = got[i][k];
      const ScoredBox& b = want[i][k];
      const bool same = a.class_index == b.class_index && a.score == b.score &&
                        Near(a.x1, b.x1, 1e-2F) && Near(a.y1, b.y1, 1e-2F) &&
                        Near(a.x2, b.x2, 1e-2F) && Near(a.y2, b.y2, 1e-2F);
      off += same ? 0 : 1;
    }
  }
  std::printf("decode of %2d, %s%s: %zu boxes, %zu differ\n", count,
              yolox ? "yolox" : "yolov8", every_class ? ", every class" : "",
              boxes, off);
  EXPECT(boxes > static_cast<size_t>(count));
  // exp() of the GPU may differ in its last bit, and with it a suppression.
  EXPECT(yolox ? off * 1000 <= boxes : off == 0);
}

double Seconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Pictures of 960x540 (1080p at half) to 640x640 and boxes of 8,400 anchors and
// 80 classes, copies included.
void Bench(DetectionDevice& device, int count, std::mt19937& random) {
  const Pictures pictures = RandomPictures(device, count, 640, true, random);
  const InputLayout input{640, 640, 114, 255};
  const OutputLayout layout = Layout(false, 80, 640);
  std::vector<float> outputs;
  for (int i = 0; i < count; ++i) {
    const std::vector<float> one = RandomOutput(layout, 10, random);
    outputs.insert(outputs.end(), one.begin(), one.end());
  }
  Write(device.Output(outputs.size()), outputs);
  const std::vector<Thresholds> thresholds(static_cast<size_t>(count));
  const auto once = [&] {
    device.Letterbox(pictures.placed, input);
    (void)device.Decode(layout, thresholds);
  };
  once();
  std::vector<double> times;
  const double end = Seconds() + 2;
  while (Seconds() < end || times.size() < 5) {
    const double start = Seconds();
    once();
    times.push_back(Seconds() - start);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2,
                   times.end());
  const double median = times[times.size() / 2];
  std::printf("%-7s batch %2d: %8.3f ms, %7.0f pictures/s\n",
              device.name().c_str(), count, median * 1e3, count / median);
}

int RunCuda(bool bench) {
  std::unique_ptr<DetectionDevice> cuda;
  try {
    cuda = MakeCudaDevice(0);
  } catch (const std::exception& error) {
    std::printf("skipped: %s\n", error.what());
    return kSkipped;
  }
  cudaDeviceProp properties;
  (void)cudaGetDeviceProperties(&properties, 0);
  std::printf("%s: %s\n", cuda->name().c_str(), properties.name);
  std::mt19937 random(1);
  if (bench) {
    HostDevice host;
    for (const int count : {1, 8, 32}) Bench(*cuda, count, random);
    for (const int count : {1, 8}) Bench(host, count, random);
    return 0;
  }
  for (const int count : {1, 8, 32}) {
    CompareLetterbox(*cuda, count, random);
    for (const bool yolox : {false, true}) {
      for (const bool every_class : {false, true}) {
        CompareDecode(*cuda, count, yolox, every_class, random);
      }
    }
  }
  try {
    (void)MakeCudaDevice(1000);
    EXPECT(false);
  } catch (const std::exception& error) {
    std::printf("as it should: %s\n", error.what());
  }
  std::printf("CUDA kernels: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}

#else

int RunCuda(bool) {
  std::printf("skipped: built without CUDA\n");
  return kSkipped;
}

#endif

}  // namespace
}  // namespace camherd::inference

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  if (how == "--cuda" || how == "--bench") {
    return camherd::inference::RunCuda(how == "--bench");
  }
  if (!how.empty()) {
    std::printf("usage: detection_kernels_test [--cuda | --bench]\n");
    return 2;
  }
  return camherd::inference::RunHost();
}
