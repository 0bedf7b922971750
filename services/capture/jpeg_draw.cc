// SPDX-License-Identifier: Apache-2.0
#include "services/capture/jpeg_draw.h"

#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>

#include "absl/strings/str_cat.h"

namespace camherd::capture {
namespace {

constexpr int kQuality = 85;
constexpr int64_t kMaxPixels = 33177600;

using Handle = std::unique_ptr<void, decltype(&tjDestroy)>;
using Colour = std::array<uint8_t, 3>;

// Rows of red, green and blue without padding.
struct Bitmap {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;

  uint8_t* At(int x, int y) {
    return pixels.data() + (static_cast<size_t>(y) * width + x) * 3;
  }
};

// The same for a class in every picture, and never dark.
Colour ColourOf(absl::string_view class_name) {
  uint32_t hash = 2166136261U;  // FNV-1a.
  for (const char c : class_name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  }
  return {static_cast<uint8_t>(128 + ((hash >> 16) & 0x7F)),
          static_cast<uint8_t>(80 + ((hash >> 8) & 0x7F)),
          static_cast<uint8_t>(80 + (hash & 0x7F))};
}

// Fills [x1, x2) x [y1, y2), of what lies in the picture.
void Fill(Bitmap& bitmap, int x1, int y1, int x2, int y2, const Colour& rgb) {
  for (int y = std::max(0, y1); y < std::min(y2, bitmap.height); ++y) {
    for (int x = std::max(0, x1); x < std::min(x2, bitmap.width); ++x) {
      std::copy(rgb.begin(), rgb.end(), bitmap.At(x, y));
    }
  }
}

void DrawFrame(Bitmap& bitmap, const v1::Detection& detection, double scale) {
  const auto pixel = [scale](float value) {
    return static_cast<int>(std::lround(std::clamp(value * scale, -1e6, 1e6)));
  };
  const v1::Box& box = detection.box();
  const int x1 = pixel(box.x1());
  const int y1 = pixel(box.y1());
  const int x2 = pixel(box.x2());
  const int y2 = pixel(box.y2());
  const int line = std::max(1, bitmap.width / 400);
  const Colour rgb = ColourOf(detection.class_name());
  Fill(bitmap, x1, y1, x2, y1 + line, rgb);
  Fill(bitmap, x1, y2 - line, x2, y2, rgb);
  Fill(bitmap, x1, y1, x1 + line, y2, rgb);
  Fill(bitmap, x2 - line, y1, x2, y2, rgb);
}

// Each pixel is the mean of those it stands for, or the one it lies in.
Bitmap Scaled(Bitmap& from, int width, int height) {
  Bitmap to{width, height, std::vector<uint8_t>(size_t{3} * width * height)};
  for (int y = 0; y < height; ++y) {
    const auto y1 = static_cast<int>(int64_t{y} * from.height / height);
    const auto y2 = std::max(
        y1 + 1, static_cast<int>(int64_t{y + 1} * from.height / height));
    for (int x = 0; x < width; ++x) {
      const auto x1 = static_cast<int>(int64_t{x} * from.width / width);
      const auto x2 = std::max(
          x1 + 1, static_cast<int>(int64_t{x + 1} * from.width / width));
      std::array<uint32_t, 3> sums = {};
      for (int v = y1; v < y2; ++v) {
        for (int u = x1; u < x2; ++u) {
          const uint8_t* pixel = from.At(u, v);
          for (size_t c = 0; c < 3; ++c) sums[c] += pixel[c];
        }
      }
      const auto count = static_cast<uint32_t>((y2 - y1) * (x2 - x1));
      for (size_t c = 0; c < 3; ++c) {
        to.At(x, y)[c] = static_cast<uint8_t>((sums[c] + count / 2) / count);
      }
    }
  }
  return to;
}

// Decodes at the least size that is still no narrower than `width`: the
// transform is done at that size (ITU-T T.81, the DCT's low frequencies are the
// smaller picture).
absl::StatusOr<Bitmap> Decode(tjhandle handle, absl::string_view jpeg,
                              int own_width, int own_height, int width) {
  tjscalingfactor factor = {1, 1};
  for (const int denominator : {8, 4, 2}) {
    const tjscalingfactor smaller = {1, denominator};
    if (width > 0 && TJSCALED(own_width, smaller) >= width) {
      factor = smaller;
      break;
    }
  }
  Bitmap bitmap;
  bitmap.width = TJSCALED(own_width, factor);
  bitmap.height = TJSCALED(own_height, factor);
  bitmap.pixels.resize(size_t{3} * bitmap.width * bitmap.height);
  if (tjDecompress2(handle, reinterpret_cast<const unsigned char*>(jpeg.data()),
                    jpeg.size(), bitmap.pixels.data(), bitmap.width, 0,
                    bitmap.height, TJPF_RGB, 0) != 0) {
    return absl::DataLossError(absl::StrCat("the picture cannot be decoded: ",
                                            tjGetErrorStr2(handle)));
  }
  return bitmap;
}

absl::StatusOr<std::string> Encode(Bitmap& bitmap) {
  const Handle handle(tjInitCompress(), tjDestroy);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): turbojpeg's type.
  const int result = tjCompress2(handle.get(), bitmap.pixels.data(),
                                 bitmap.width, 0, bitmap.height, TJPF_RGB,
                                 &bytes, &size, TJSAMP_420, kQuality, 0);
  const std::unique_ptr<unsigned char, decltype(&tjFree)> owner(bytes, tjFree);
  if (result != 0) {
    return absl::InternalError(absl::StrCat("the picture cannot be encoded: ",
                                            tjGetErrorStr2(handle.get())));
  }
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

}  // namespace

absl::StatusOr<std::string> DrawJpeg(
    absl::string_view jpeg, const std::vector<v1::Detection>& detections,
    int width) {
  const Handle handle(tjInitDecompress(), tjDestroy);
  int own_width = 0;
  int own_height = 0;
  int subsampling = 0;
  int colorspace = 0;
  if (tjDecompressHeader3(handle.get(),
                          reinterpret_cast<const unsigned char*>(jpeg.data()),
                          jpeg.size(), &own_width, &own_height, &subsampling,
                          &colorspace) != 0) {
    return absl::DataLossError(absl::StrCat("the picture cannot be read: ",
                                            tjGetErrorStr2(handle.get())));
  }
  if (width == own_width) width = 0;
  if (detections.empty() && width == 0) return std::string(jpeg);
  const double scale =
      width == 0 ? 1.0 : static_cast<double>(width) / own_width;
  const int64_t height = std::max<int64_t>(1, std::llround(own_height * scale));
  const int64_t pixels = int64_t{width == 0 ? own_width : width} * height;
  if (pixels > kMaxPixels) {
    return absl::InvalidArgumentError(
        absl::StrCat("width must make a picture of at most ", kMaxPixels,
                     " pixels, got ", width, ", which makes ", pixels));
  }
  absl::StatusOr<Bitmap> bitmap =
      Decode(handle.get(), jpeg, own_width, own_height, width);
  if (!bitmap.ok()) return bitmap.status();
  if (width > 0) *bitmap = Scaled(*bitmap, width, static_cast<int>(height));
  for (const v1::Detection& detection : detections) {
    DrawFrame(*bitmap, detection, scale);
  }
  return Encode(*bitmap);
}

}  // namespace camherd::capture
