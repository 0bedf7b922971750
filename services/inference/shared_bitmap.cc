// SPDX-License-Identifier: Apache-2.0
#include "services/inference/shared_bitmap.h"

#include <algorithm>
#include <utility>

#include "services/common/status_macros.h"

namespace camherd::inference {
namespace {

int64_t BytesOf(const std::shared_ptr<const Bitmap>& bitmap) {
  return bitmap == nullptr ? 0 : int64_t{3} * bitmap->width * bitmap->height;
}

absl::StatusOr<std::shared_ptr<const Bitmap>> DecodeNow(
    const Picture& picture, const JpegDecodeOptions& options) {
  CAMHERD_ASSIGN_OR_RETURN(Bitmap bitmap, DecodeJpeg(picture.jpeg, options));
  return std::make_shared<const Bitmap>(std::move(bitmap));
}

std::shared_ptr<const Bitmap> WithSwappedChannels(const Bitmap& from) {
  const size_t bytes = size_t{3} * from.width * from.height;
  Bitmap swapped{from.width, from.height, !from.rgb, nullptr};
  swapped.pixels.reset(new uint8_t[bytes]);
  const uint8_t* in = from.pixels.get();
  uint8_t* out = swapped.pixels.get();
  for (size_t i = 0; i < bytes; i += 3) {
    out[i] = in[i + 2];
    out[i + 1] = in[i + 1];
    out[i + 2] = in[i];
  }
  return std::make_shared<const Bitmap>(std::move(swapped));
}

}  // namespace

SharedBitmap::~SharedBitmap() {
  absl::MutexLock lock(&mu_);
  budget_.kept_bytes -= BytesOf(bitmap_);
}

absl::StatusOr<std::shared_ptr<const Bitmap>> SharedBitmap::Decode(
    const Picture& picture, const JpegDecodeOptions& options) {
  return picture.shared != nullptr ? picture.shared->Get(picture, options)
                                   : DecodeNow(picture, options);
}

absl::StatusOr<std::shared_ptr<const Bitmap>> SharedBitmap::Get(
    const Picture& picture, const JpegDecodeOptions& options) {
  JpegSize wanted = {options.cover_width, options.cover_height};
  if (wanted.width <= 0 || wanted.height <= 0) {
    wanted = {picture.width, picture.height};
  }
  absl::MutexLock lock(&mu_);
  std::shared_ptr<const Bitmap> bitmap = bitmap_;
  if (bitmap == nullptr || bitmap->width < wanted.width ||
      bitmap->height < wanted.height) {
    JpegDecodeOptions largest = options;
    largest.cover_width = std::max(wanted.width, cover_.width);
    largest.cover_height = std::max(wanted.height, cover_.height);
    CAMHERD_ASSIGN_OR_RETURN(bitmap, DecodeNow(picture, largest));
    Keep(bitmap);
  }
  return bitmap->rgb == options.rgb ? bitmap : WithSwappedChannels(*bitmap);
}

void SharedBitmap::Keep(const std::shared_ptr<const Bitmap>& bitmap) {
  const int64_t more = BytesOf(bitmap) - BytesOf(bitmap_);
  if (budget_.kept_bytes.fetch_add(more) + more > budget_.max_bytes) {
    budget_.kept_bytes -= more;
    return;
  }
  bitmap_ = bitmap;
}

}  // namespace camherd::inference
