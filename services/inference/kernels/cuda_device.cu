// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "services/inference/kernels/cuda_device.h"
#include "services/inference/kernels/detection_math.h"

namespace camherd::inference {
namespace {

constexpr int kTile = 16;
constexpr int kAnchorsPerBlock = 256;
constexpr int kSuppressThreads = 512;
constexpr int kWarp = 32;

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + what + ": " +
                           cudaGetErrorString(error));
}

// One thread a pixel of the input, three planes each; z is the picture.
__global__ void LetterboxKernel(const PlacedPicture* pictures,
                                InputLayout layout, float* input) {
  const int x = blockIdx.x * kTile + threadIdx.x;
  const int y = blockIdx.y * kTile + threadIdx.y;
  if (x >= layout.width || y >= layout.height) return;
  const PlacedPicture& picture = pictures[blockIdx.z];
  const int inner_x = x - picture.left;
  const int inner_y = y - picture.top;
  Rgb value{{layout.pad, layout.pad, layout.pad}};
  if (inner_x >= 0 && inner_x < picture.inner_width && inner_y >= 0 &&
      inner_y < picture.inner_height) {
    value = Sample(picture, picture.pixels, inner_x, inner_y);
  }
  const size_t plane =
      static_cast<size_t>(layout.width) * static_cast<size_t>(layout.height);
  float* const at = input + blockIdx.z * 3 * plane +
                    static_cast<size_t>(y) * layout.width + x;
  for (int c = 0; c < 3; ++c) at[c * plane] = value.c[c] / layout.scale;
}

// A box that is not yet suppressed has a score of at least 0. `order` is its
// place in the output: of equal scores the first wins, as on the host.
struct Candidate {
  ScoredBox box;
  int order;
};

// What of OutputLayout the kernels need.
struct OutputShape {
  const uint8_t* kept;
  int classes;
  int anchors;
  int input_width;
  int input_height;
  bool yolox;
  bool every_class;
  // Most candidates of one picture.
  int capacity;
};

__device__ void Add(Candidate* list, int* count, const ScoredBox& box,
                    float score, int which, int order) {
  Candidate candidate{box, order};
  candidate.box.score = score;
  candidate.box.class_index = which;
  list[atomicAdd(count, 1)] = candidate;
}

// One thread an anchor; y is the picture.
__global__ void CollectKernel(const float* outputs, OutputShape shape,
                              const Thresholds* thresholds,
                              Candidate* candidates, int* counts) {
  const int anchor = blockIdx.x * kAnchorsPerBlock + threadIdx.x;
  if (anchor >= shape.anchors) return;
  const int picture = blockIdx.y;
  const float min_score = thresholds[picture].min_score;
  const size_t floats = static_cast<size_t>(shape.anchors) *
                        (shape.classes + (shape.yolox ? 5 : 4));
  const float* const output = outputs + picture * floats;
  Candidate* const list =
      candidates + static_cast<size_t>(picture) * shape.capacity;
  int* const count = counts + picture;

  const float* const row =
      output + static_cast<size_t>(anchor) * (5 + shape.classes);
  const float objectness = shape.yolox ? row[4] : 1;
  if (shape.yolox && !(objectness > min_score)) return;
  const auto class_score = [&](int c) {
    return shape.yolox
               ? row[5 + c]
               : output[static_cast<size_t>(4 + c) * shape.anchors + anchor];
  };
  const auto box = [&] {
    return shape.yolox
               ? YoloxBox(row, anchor, shape.input_width, shape.input_height)
               : Yolov8Box(output, shape.anchors, anchor);
  };
  if (shape.every_class) {
    for (int c = 0; c < shape.classes; ++c) {
      const float score =
          shape.yolox ? objectness * class_score(c) : class_score(c);
      if (!(score > min_score) || shape.kept[c] == 0) continue;
      Add(list, count, box(), score, c,
          shape.yolox ? anchor * shape.classes + c
                      : c * shape.anchors + anchor);
    }
    return;
  }
  float best = class_score(0);
  int which = 0;
  for (int c = 1; c < shape.classes; ++c) {
    const float score = class_score(c);
    if (score > best) {
      best = score;
      which = c;
    }
  }
  if (shape.yolox) best = objectness * best;
  if (best > min_score && shape.kept[which] != 0) {
    Add(list, count, box(), best, which, anchor);
  }
}

// The best of what its threads have seen: score, order, place in the list.
struct Best {
  float score;
  int order;
  int at;
};
__device__ Best Better(const Best& a, const Best& b) {
  if (a.score != b.score) return a.score > b.score ? a : b;
  return a.order < b.order ? a : b;
}
__device__ Best ShuffleDown(const Best& best, int offset) {
  return {__shfl_down_sync(0xffffffff, best.score, offset),
          __shfl_down_sync(0xffffffff, best.order, offset),
          __shfl_down_sync(0xffffffff, best.at, offset)};
}

// One block a picture. Each round takes the best candidate left, and strikes
// out, while it looks for the next one, those that the last one overlaps: no
// sorting, and as many rounds as boxes are kept.
__global__ void SuppressKernel(Candidate* candidates, const int* counts,
                               int capacity, const Thresholds* thresholds,
                               int max_boxes, ScoredBox* kept,
                               int* kept_counts) {
  __shared__ Best bests[kSuppressThreads / kWarp];
  __shared__ Best winner;
  __shared__ ScoredBox chosen;
  const int picture = blockIdx.x;
  Candidate* const list = candidates + static_cast<size_t>(picture) * capacity;
  const int count = counts[picture];
  const float iou = thresholds[picture].iou;
  int rounds = 0;
  for (; rounds < max_boxes; ++rounds) {
    Best best{-1, INT_MAX, -1};
    for (int i = threadIdx.x; i < count; i += kSuppressThreads) {
      Candidate& candidate = list[i];
      if (candidate.box.score < 0) continue;
      if (rounds > 0 && candidate.box.class_index == chosen.class_index &&
          Iou(chosen, candidate.box) > iou) {
        candidate.box.score = -1;
        continue;
      }
      best = Better(best, {candidate.box.score, candidate.order, i});
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      best = Better(best, ShuffleDown(best, offset));
    }
    if (threadIdx.x % kWarp == 0) bests[threadIdx.x / kWarp] = best;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (const Best& other : bests) best = Better(best, other);
      winner = best;
      if (best.at >= 0) {
        chosen = list[best.at].box;
        kept[picture * max_boxes + rounds] = chosen;
        list[best.at].box.score = -1;
      }
    }
    __syncthreads();
    if (winner.at < 0) break;
  }
  if (threadIdx.x == 0) kept_counts[picture] = rounds;
}

// Memory of the device, or of the host pinned for it, that only grows.
template <typename T, bool kPinned = false>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { Free(); }

  T* Reserve(size_t size) {
    if (size <= size_) return data_;
    Free();
    void* data = nullptr;
    Check(kPinned ? cudaMallocHost(&data, size * sizeof(T))
                  : cudaMalloc(&data, size * sizeof(T)),
          "no memory");
    data_ = static_cast<T*>(data);
    size_ = size;
    return data_;
  }
  T* data() const { return data_; }

 private:
  void Free() {
    // What was freed last is not there to complain when the driver is gone.
    if (data_ != nullptr)
      (void)(kPinned ? cudaFreeHost(data_) : cudaFree(data_));
    data_ = nullptr;
    size_ = 0;
  }

  T* data_ = nullptr;
  size_t size_ = 0;
};

class CudaDevice : public DetectionDevice {
 public:
  explicit CudaDevice(int ordinal) : ordinal_(ordinal) {
    int count = 0;
    Check(cudaGetDeviceCount(&count), "no GPU can be used");
    if (ordinal < 0 || ordinal >= count) {
      throw std::runtime_error("CUDA: there is no GPU " +
                               std::to_string(ordinal) + " among " +
                               std::to_string(count));
    }
    Use();
    Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
          "no stream");
  }
  ~CudaDevice() override {
    (void)cudaSetDevice(ordinal_);
    (void)cudaStreamSynchronize(stream_);
    (void)cudaStreamDestroy(stream_);
  }

  std::string name() const override {
    return "cuda:" + std::to_string(ordinal_);
  }
  void* stream() const override { return stream_; }

  std::shared_ptr<uint8_t[]> AllocateHost(size_t bytes) override {
    Use();
    void* data = nullptr;
    Check(cudaMallocHost(&data, bytes), "no pinned memory");
    return {static_cast<uint8_t*>(data),
            [](uint8_t* memory) { (void)cudaFreeHost(memory); }};
  }

  float* Input(size_t floats) override { return Reserve(input_, floats); }
  float* Output(size_t floats) override { return Reserve(output_, floats); }

  void Letterbox(std::span<const PlacedPicture> pictures,
                 const InputLayout& layout) override {
    Use();
    size_t bytes = 0;
    for (const PlacedPicture& picture : pictures) bytes += picture.bytes();
    uint8_t* const pixels = Reserve(pixels_, bytes);
    // The pictures as the device has them.
    PlacedPicture* const placed = host_pictures_.Reserve(pictures.size());
    size_t offset = 0;
    for (size_t i = 0; i < pictures.size(); ++i) {
      placed[i] = pictures[i];
      placed[i].pixels = pixels + offset;
      ToDevice(pixels + offset, pictures[i].pixels, pictures[i].bytes());
      offset += pictures[i].bytes();
    }
    PlacedPicture* const on_device = Reserve(pictures_, pictures.size());
    ToDevice(on_device, placed, pictures.size() * sizeof(PlacedPicture));
    const dim3 grid((layout.width + kTile - 1) / kTile,
                    (layout.height + kTile - 1) / kTile,
                    static_cast<unsigned>(pictures.size()));
    float* const input =
        Input(pictures.size() * 3 * static_cast<size_t>(layout.width) *
              static_cast<size_t>(layout.height));
    LetterboxKernel<<<grid, dim3(kTile, kTile), 0, stream_>>>(on_device, layout,
                                                              input);
    Check(cudaGetLastError(), "letterboxing failed");
  }

  std::vector<std::vector<ScoredBox>> Decode(
      const OutputLayout& layout,
      std::span<const Thresholds> pictures) override {
    Use();
    const size_t count = pictures.size();
    const auto max_boxes = static_cast<size_t>(layout.max_boxes);
    OutputShape shape{};
    shape.classes = static_cast<int>(layout.kept.size());
    shape.anchors = layout.anchors;
    shape.input_width = layout.input_width;
    shape.input_height = layout.input_height;
    shape.yolox = layout.yolox;
    shape.every_class = layout.every_class;
    shape.capacity = layout.anchors * (layout.every_class ? shape.classes : 1);

    uint8_t* const host_kept = host_kept_.Reserve(layout.kept.size());
    std::copy(layout.kept.begin(), layout.kept.end(), host_kept);
    uint8_t* const kept = Reserve(kept_, layout.kept.size());
    ToDevice(kept, host_kept, layout.kept.size());
    shape.kept = kept;
    Thresholds* const host_thresholds = host_thresholds_.Reserve(count);
    std::copy(pictures.begin(), pictures.end(), host_thresholds);
    Thresholds* const thresholds = Reserve(thresholds_, count);
    ToDevice(thresholds, host_thresholds, count * sizeof(Thresholds));
    Candidate* const candidates =
        Reserve(candidates_, count * static_cast<size_t>(shape.capacity));
    // Candidates, then kept boxes, of each picture.
    int* const counts = Reserve(counts_, 2 * count);
    ScoredBox* const boxes = Reserve(boxes_, count * max_boxes);
    Check(cudaMemsetAsync(counts, 0, 2 * count * sizeof(int), stream_),
          "clearing failed");
    const dim3 grid((layout.anchors + kAnchorsPerBlock - 1) / kAnchorsPerBlock,
                    static_cast<unsigned>(count));
    CollectKernel<<<grid, kAnchorsPerBlock, 0, stream_>>>(
        output_.data(), shape, thresholds, candidates, counts);
    SuppressKernel<<<static_cast<unsigned>(count), kSuppressThreads, 0,
                     stream_>>>(candidates, counts, shape.capacity, thresholds,
                                layout.max_boxes, boxes, counts + count);
    Check(cudaGetLastError(), "decoding failed");
    ScoredBox* const host_boxes = host_boxes_.Reserve(count * max_boxes);
    int* const host_counts = host_counts_.Reserve(count);
    Check(cudaMemcpyAsync(host_boxes, boxes,
                          count * max_boxes * sizeof(ScoredBox),
                          cudaMemcpyDeviceToHost, stream_),
          "copying boxes failed");
    Check(cudaMemcpyAsync(host_counts, counts + count, count * sizeof(int),
                          cudaMemcpyDeviceToHost, stream_),
          "copying boxes failed");
    Check(cudaStreamSynchronize(stream_), "the batch failed");
    std::vector<std::vector<ScoredBox>> found;
    for (size_t i = 0; i < count; ++i) {
      const ScoredBox* const first = host_boxes + i * max_boxes;
      found.emplace_back(first, first + host_counts[i]);
    }
    return found;
  }

 private:
  // The device of a thread is CUDA's, not ours.
  void Use() const { Check(cudaSetDevice(ordinal_), "the GPU is gone"); }

  // Work under way may still use what is about to be freed.
  template <typename T>
  T* Reserve(Buffer<T>& buffer, size_t size) {
    Use();
    return buffer.Reserve(size);  // cudaFree waits for the device.
  }

  void ToDevice(void* to, const void* from, size_t bytes) {
    Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_),
          "copying to the GPU failed");
  }

  const int ordinal_;
  cudaStream_t stream_ = nullptr;
  Buffer<float> input_;
  Buffer<float> output_;
  Buffer<uint8_t> pixels_;
  Buffer<PlacedPicture> pictures_;
  Buffer<uint8_t> kept_;
  Buffer<Thresholds> thresholds_;
  Buffer<Candidate> candidates_;
  Buffer<int> counts_;
  Buffer<ScoredBox> boxes_;
  Buffer<PlacedPicture, true> host_pictures_;
  Buffer<uint8_t, true> host_kept_;
  Buffer<Thresholds, true> host_thresholds_;
  Buffer<ScoredBox, true> host_boxes_;
  Buffer<int, true> host_counts_;
};

}  // namespace

std::unique_ptr<DetectionDevice> MakeCudaDevice(int ordinal) {
  return std::make_unique<CudaDevice>(ordinal);
}

}  // namespace camherd::inference
