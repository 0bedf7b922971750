// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "camherd/v1/frame.pb.h"

namespace camherd::capture {

// Keeps the nine brightest frames of one session, by mean luma; of equally
// bright ones the earlier. Owns no file and no row: the session links and
// commits what Consider decides, then calls Accept.
//
// Not thread-safe; guarded by its session.
class BrightnessRanker {
 public:
  static constexpr size_t kKept = 9;

  struct Decision {
    bool enters = false;
    // Frame that leaves for it; 0: none.
    int64_t displaced_seq = 0;
  };

  // What would become of `frame`; changes nothing.
  Decision Consider(const v1::FrameInfo& frame) const;

  // Applies the decision of Consider for `frame`.
  void Accept(const v1::FrameInfo& frame);

  // Brightest first.
  const std::vector<v1::FrameInfo>& frames() const { return frames_; }

 private:
  std::vector<v1::FrameInfo> frames_;
};

}  // namespace camherd::capture
