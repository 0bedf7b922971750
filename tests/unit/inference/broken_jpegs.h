// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "tests/unit/inference/fakes.h"

namespace camherd::inference::testing {

// A JPEG of noise, 160x120.
inline std::string NoiseJpeg() {
  cv::Mat noise(120, 160, CV_8UC3);
  cv::RNG(1).fill(noise, cv::RNG::UNIFORM, 0, 256);
  std::vector<unsigned char> bytes;
  cv::imencode(".jpg", noise, bytes);
  return {bytes.begin(), bytes.end()};
}

// `jpeg` with another size in its header (ITU-T T.81 B.2.2).
inline std::string WithSize(std::string jpeg, int width, int height) {
  const size_t at = jpeg.find("\xff\xc0");
  jpeg[at + 5] = static_cast<char>(height >> 8);
  jpeg[at + 6] = static_cast<char>(height);
  jpeg[at + 7] = static_cast<char>(width >> 8);
  jpeg[at + 8] = static_cast<char>(width);
  return jpeg;
}

struct BrokenJpeg {
  const char* name;
  std::string bytes;
};

// Pictures that cannot be looked at. Of some the header is good.
inline std::vector<BrokenJpeg> BrokenJpegs() {
  const std::string good = NoiseJpeg();
  const size_t scan = good.find("\xff\xda");
  std::string no_scan_data = good;
  no_scan_data.replace(scan + 20, good.size() - scan - 22,
                       std::string(good.size() - scan - 22, '\0'));
  std::string other_marker = good;
  other_marker.replace(good.size() / 2, 2, "\xff\xc4");
  return {{"text", "not a picture"},
          {"png", "\x89PNG\r\n\x1a\n"},
          {"markers_alone", "\xff\xd8\xff\xd9"},
          {"cut_in_the_header", good.substr(0, scan / 2)},
          {"cut_after_the_header", good.substr(0, scan + 20)},
          {"cut_in_the_middle", good.substr(0, good.size() / 2)},
          {"cut_before_the_end", good.substr(0, good.size() - 30)},
          {"65535x65535", WithSize(good, 65535, 65535)},
          {"larger_than_its_data", WithSize(good, 1600, 1200)},
          {"smaller_than_its_data", WithSize(good, 80, 60)},
          {"no_width", WithSize(good, 0, 120)},
          {"no_height", WithSize(good, 160, 0)},
          {"zeros", no_scan_data},
          {"other_marker", other_marker}};
}

}  // namespace camherd::inference::testing
