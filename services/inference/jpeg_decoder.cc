// SPDX-License-Identifier: Apache-2.0
#include "services/inference/jpeg_decoder.h"

#include <turbojpeg.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "services/common/status_macros.h"

namespace camherd::inference {
namespace {

using Handle = std::unique_ptr<void, decltype(&tjDestroy)>;

const unsigned char* Bytes(absl::string_view jpeg) {
  return reinterpret_cast<const unsigned char*>(jpeg.data());
}

absl::StatusOr<JpegSize> ReadHeader(tjhandle handle, absl::string_view jpeg,
                                    int64_t max_pixels) {
  JpegSize size;
  int subsampling = 0;
  int colorspace = 0;
  if (jpeg.empty() ||
      tjDecompressHeader3(handle, Bytes(jpeg), jpeg.size(), &size.width,
                          &size.height, &subsampling, &colorspace) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a JPEG: ", tjGetErrorStr2(handle)));
  }
  if (int64_t{size.width} * size.height > max_pixels) {
    return absl::OutOfRangeError(absl::StrCat("a picture of ", size.width, "x",
                                              size.height, " has more than ",
                                              max_pixels, " pixels"));
  }
  return size;
}

}  // namespace

absl::StatusOr<JpegSize> ReadJpegHeader(absl::string_view jpeg,
                                        int64_t max_pixels) {
  const Handle handle(tjInitDecompress(), tjDestroy);
  return ReadHeader(handle.get(), jpeg, max_pixels);
}

absl::StatusOr<Bitmap> DecodeJpeg(absl::string_view jpeg,
                                  const JpegDecodeOptions& options) {
  const Handle handle(tjInitDecompress(), tjDestroy);
  CAMHERD_ASSIGN_OR_RETURN(const JpegSize size,
                           ReadHeader(handle.get(), jpeg, options.max_pixels));
  Bitmap bitmap{size.width, size.height, options.rgb, nullptr};
  if (options.cover_width > 0 && options.cover_height > 0) {
    for (const int denominator : {8, 4, 2}) {
      const tjscalingfactor factor = {1, denominator};
      const int width = TJSCALED(size.width, factor);
      const int height = TJSCALED(size.height, factor);
      if (width >= options.cover_width && height >= options.cover_height) {
        bitmap.width = width;
        bitmap.height = height;
        break;
      }
    }
  }
  // Not zeroed: all of it is written.
  bitmap.pixels.reset(
      new uint8_t[static_cast<size_t>(bitmap.width) * bitmap.height * 3]);
  // A warning (cut short, bits wrong) is an error here: half a grey picture
  // must not be looked at as if it were one. So is a progressive picture of
  // more than 500 scans, each of which costs as much as a whole one.
  if (tjDecompress2(handle.get(), Bytes(jpeg), jpeg.size(), bitmap.pixels.get(),
                    bitmap.width, 0, bitmap.height,
                    options.rgb ? TJPF_RGB : TJPF_BGR,
                    TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("broken JPEG: ", tjGetErrorStr2(handle.get())));
  }
  return bitmap;
}

}  // namespace camherd::inference
