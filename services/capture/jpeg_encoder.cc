// SPDX-License-Identifier: Apache-2.0
#include "services/capture/jpeg_encoder.h"

// jpeglib.h needs FILE and size_t.
#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/capture/jpeg_colour.h"
#include "services/capture/luma.h"
#include "services/capture/luma_meter.h"

namespace camherd::capture {
namespace {

// The library's way to report an error is a jump out of it.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

void OnError(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  info->err->format_message(info, manager->message);
  std::longjmp(manager->jump, 1);
}

void OnMessage(j_common_ptr, int) {}

// Grows a vector by doubling.
struct Destination {
  jpeg_destination_mgr base;
  std::vector<JOCTET>* buffer;
  size_t size;
};

void InitDestination(j_compress_ptr info) {
  auto* d = reinterpret_cast<Destination*>(info->dest);
  d->base.next_output_byte = d->buffer->data();
  d->base.free_in_buffer = d->buffer->size();
}

boolean GrowDestination(j_compress_ptr info) {
  auto* d = reinterpret_cast<Destination*>(info->dest);
  const size_t used = d->buffer->size();
  d->buffer->resize(used * 2);
  d->base.next_output_byte = d->buffer->data() + used;
  d->base.free_in_buffer = d->buffer->size() - used;
  return TRUE;
}

void EndDestination(j_compress_ptr info) {
  auto* d = reinterpret_cast<Destination*>(info->dest);
  d->size = d->buffer->size() - d->base.free_in_buffer;
}

constexpr int kMaxRows = 2 * DCTSIZE;
constexpr int kNoColour = 128;

int RoundUp(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Repeats the last of `count` samples up to `padded`.
void PadRow(uint8_t* row, int count, int padded) {
  std::memset(row + count, row[count - 1], static_cast<size_t>(padded - count));
}

}  // namespace

class JpegEncoder::Impl {
 public:
  explicit Impl(int quality) : quality_(quality), output_(256 << 10) {
    info_.err = jpeg_std_error(&error_.base);
    error_.base.error_exit = OnError;
    error_.base.emit_message = OnMessage;
    jpeg_create_compress(&info_);
    destination_.base.init_destination = InitDestination;
    destination_.base.empty_output_buffer = GrowDestination;
    destination_.base.term_destination = EndDestination;
    destination_.buffer = &output_;
    info_.dest = &destination_.base;
  }
  ~Impl() { jpeg_destroy_compress(&info_); }

  absl::StatusOr<Jpeg> Encode(const Picture& picture, const PrivacyMask* mask) {
    if (picture.width <= 0 || picture.height <= 0 ||
        picture.width > JPEG_MAX_DIMENSION ||
        picture.height > JPEG_MAX_DIMENSION) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a picture of ", picture.width, " x ", picture.height, " pixels"));
    }
    if (mask != nullptr &&
        (mask->width() != picture.width || mask->height() != picture.height)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a mask of ", mask->width(), " x ", mask->height(), " pixels"));
    }
    mask_ = mask;
    Prepare(picture);
    uint64_t luma = 0;
    meter_ = LumaMeter();
    if (!Compress(picture, &luma)) {
      return absl::InternalError(absl::StrCat("JPEG: ", error_.message));
    }
    Jpeg jpeg;
    jpeg.data.assign(reinterpret_cast<const char*>(output_.data()),
                     destination_.size);
    const int64_t visible =
        mask != nullptr ? mask->visible()
                        : static_cast<int64_t>(picture.width) * picture.height;
    if (visible > 0) {
      jpeg.mean_luma = static_cast<double>(luma) / static_cast<double>(visible);
    }
    jpeg.look = meter_.Look();
    return jpeg;
  }

 private:
  void Prepare(const Picture& picture) {
    half_width_ = picture.chroma == Picture::Chroma::k420 ||
                  picture.chroma == Picture::Chroma::k422;
    half_height_ = picture.chroma == Picture::Chroma::k420;
    grey_ = picture.chroma == Picture::Chroma::kGray;
    mcu_rows_ = half_height_ ? 2 * DCTSIZE : DCTSIZE;
    padded_ = RoundUp(picture.width, half_width_ ? 2 * DCTSIZE : DCTSIZE);
    chroma_width_ = half_width_ ? (picture.width + 1) / 2 : picture.width;
    chroma_height_ = half_height_ ? (picture.height + 1) / 2 : picture.height;
    chroma_padded_ = half_width_ ? padded_ / 2 : padded_;
    for (std::vector<uint8_t>& row : masked_chroma_) {
      row.resize(static_cast<size_t>(chroma_width_));
    }
    rows_.resize(static_cast<size_t>(padded_) * kMaxRows * 3);
    for (int i = 0; i < kMaxRows; ++i) {
      for (int c = 0; c < 3; ++c) {
        row_pointers_[c][i] =
            rows_.data() +
            (static_cast<size_t>(c) * kMaxRows + static_cast<size_t>(i)) *
                static_cast<size_t>(padded_);
      }
    }
  }

  // Nothing with a destructor lives here: errors jump over it.
  bool Compress(const Picture& picture, uint64_t* luma) {
    if (setjmp(error_.jump) != 0) {
      jpeg_abort_compress(&info_);
      return false;
    }
    info_.image_width = static_cast<JDIMENSION>(picture.width);
    info_.image_height = static_cast<JDIMENSION>(picture.height);
    info_.input_components = grey_ ? 1 : 3;
    info_.in_color_space = grey_ ? JCS_GRAYSCALE : JCS_YCbCr;
    jpeg_set_defaults(&info_);
    jpeg_set_quality(&info_, quality_, TRUE);
    info_.raw_data_in = TRUE;
    info_.comp_info[0].h_samp_factor = half_width_ ? 2 : 1;
    info_.comp_info[0].v_samp_factor = half_height_ ? 2 : 1;
    for (int c = 1; c < info_.num_components; ++c) {
      info_.comp_info[c].h_samp_factor = 1;
      info_.comp_info[c].v_samp_factor = 1;
    }
    jpeg_start_compress(&info_, TRUE);
    JSAMPARRAY planes[3] = {row_pointers_[0], row_pointers_[1],
                            row_pointers_[2]};
    for (int top = 0; top < picture.height; top += mcu_rows_) {
      *luma += FillRows(picture, top);
      jpeg_write_raw_data(&info_, planes, static_cast<JDIMENSION>(mcu_rows_));
    }
    jpeg_finish_compress(&info_);
    return true;
  }

  // Converts the rows from `top` on into the row buffers, repeating the last
  // ones past the edges, and returns the sum of their luma.
  uint64_t FillRows(const Picture& picture, int top) {
    const JpegColour colour(picture.full_range, picture.kr, picture.kb);
    uint64_t sum = 0;
    for (int i = 0; i < mcu_rows_; ++i) {
      uint8_t* out = row_pointers_[0][i];
      const int line = top + i;
      if (line >= picture.height) {
        std::memcpy(out, row_pointers_[0][i - 1], static_cast<size_t>(padded_));
        continue;
      }
      const int chroma_line = half_height_ ? line / 2 : line;
      if (grey_) {
        // Without colour there is nothing to convert but the range.
        JpegColour(picture.full_range, 0.299, 0.114)
            .Luma(Row(picture, 0, line), nullptr, nullptr, false, picture.width,
                  out);
      } else {
        colour.Luma(Row(picture, 0, line), ChromaRow(picture, 1, chroma_line),
                    ChromaRow(picture, 2, chroma_line), half_width_,
                    picture.width, out);
      }
      sum += MaskAndMeasure(line, picture.width, out);
      PadRow(out, picture.width, padded_);
    }
    if (grey_) return sum;
    const int chroma_top = half_height_ ? top / 2 : top;
    for (int i = 0; i < DCTSIZE; ++i) {
      uint8_t* cb = row_pointers_[1][i];
      uint8_t* cr = row_pointers_[2][i];
      const int line = std::min(chroma_top + i, chroma_height_ - 1);
      colour.Chroma(ChromaRow(picture, 1, line), ChromaRow(picture, 2, line),
                    chroma_width_, cb, cr);
      PadRow(cb, chroma_width_, chroma_padded_);
      PadRow(cr, chroma_width_, chroma_padded_);
    }
    return sum;
  }

  // Blackens what is covered of a row of luma, measures the rest, and returns
  // its sum.
  uint64_t MaskAndMeasure(int line, int width, uint8_t* out) {
    const bool meter = line % LumaMeter::kStep == 0;
    int visible = 0;
    if (mask_ != nullptr) {
      for (const PrivacyMask::Run& run : mask_->Row(line)) {
        if (meter) meter_.AddRow(out + visible, run.begin - visible);
        std::memset(out + run.begin, 0,
                    static_cast<size_t>(run.end - run.begin));
        visible = run.end;
      }
    }
    if (meter) meter_.AddRow(out + visible, width - visible);
    return SumOfSamples(out, width);
  }

  // A row of colour without that of covered pixels: a sample that belongs to
  // one has none, also for the luma of its other pixels.
  const uint8_t* ChromaRow(const Picture& picture, int plane, int chroma_line) {
    const uint8_t* const row = Row(picture, plane, chroma_line);
    if (mask_ == nullptr) return row;
    const int shift_x = half_width_ ? 1 : 0;
    const int shift_y = half_height_ ? 1 : 0;
    const int end = std::min((chroma_line + 1) << shift_y, picture.height);
    uint8_t* masked = nullptr;
    for (int line = chroma_line << shift_y; line < end; ++line) {
      for (const PrivacyMask::Run& run : mask_->Row(line)) {
        if (masked == nullptr) {
          masked = masked_chroma_[plane - 1].data();
          std::memcpy(masked, row, static_cast<size_t>(chroma_width_));
        }
        const int begin = run.begin >> shift_x;
        std::memset(
            masked + begin, kNoColour,
            static_cast<size_t>(((run.end + shift_x) >> shift_x) - begin));
      }
    }
    return masked != nullptr ? masked : row;
  }

  static const uint8_t* Row(const Picture& picture, int plane, int line) {
    return picture.planes[plane] +
           static_cast<int64_t>(line) * picture.strides[plane];
  }

  const int quality_;
  // Of the picture that is being encoded; not owned.
  const PrivacyMask* mask_ = nullptr;
  LumaMeter meter_;
  ErrorManager error_ = {};
  Destination destination_ = {};
  jpeg_compress_struct info_ = {};
  std::vector<JOCTET> output_;
  std::vector<uint8_t> rows_;
  std::vector<uint8_t> masked_chroma_[2];
  JSAMPROW row_pointers_[3][kMaxRows] = {};
  bool half_width_ = false;
  bool half_height_ = false;
  bool grey_ = false;
  int mcu_rows_ = 0;
  int padded_ = 0;
  int chroma_width_ = 0;
  int chroma_height_ = 0;
  int chroma_padded_ = 0;
};

JpegEncoder::JpegEncoder(int quality) : impl_(new Impl(quality)) {}
JpegEncoder::~JpegEncoder() = default;

absl::StatusOr<JpegEncoder::Jpeg> JpegEncoder::Encode(const Picture& picture,
                                                      const PrivacyMask* mask) {
  return impl_->Encode(picture, mask);
}

}  // namespace camherd::capture
