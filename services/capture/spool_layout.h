// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

// Every path the capture service writes:
//
//   <data>/capture.db                                   streams, counters
//   <data>/frames/<cameraID_sessionId>/0000000001.jpg   spooled frames
//   <data>/capture.lock                                 held while it runs
//   <data>/brightest/<cameraID_sessionId>/0000000001.jpg  hard links to the
//                                                       session's nine
//                               .../latest-0000000001.jpg  newest sample
//                         .../acknowledged-0000000001.jpg  last one recorded
//                                              .../grid.jpg  answer of
//                                              StopStream
namespace camherd::capture {

inline std::string StoreFile(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/capture.db");
}

inline std::string SessionFolder(absl::string_view camera_id,
                                 absl::string_view session_id) {
  return absl::StrCat(camera_id, "_", session_id);
}

inline std::string SpoolDir(absl::string_view data_dir,
                            absl::string_view camera_id,
                            absl::string_view session_id) {
  return absl::StrCat(data_dir, "/frames/",
                      SessionFolder(camera_id, session_id));
}

inline std::string BrightestDir(absl::string_view data_dir,
                                absl::string_view camera_id,
                                absl::string_view session_id) {
  return absl::StrCat(data_dir, "/brightest/",
                      SessionFolder(camera_id, session_id));
}

inline std::string LockFile(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/capture.lock");
}

// Parents of the sessions' folders.
inline std::string SpoolRoot(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/frames");
}
inline std::string BrightestRoot(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/brightest");
}

// Beside the nine. The frame's number is in the name, so that a link and the
// row that describes it can never be of two different frames.
inline std::string LatestFile(absl::string_view brightest_dir,
                              int64_t frame_seq) {
  return absl::StrFormat("%s/latest-%010d.jpg", brightest_dir, frame_seq);
}
inline std::string AcknowledgedFile(absl::string_view brightest_dir,
                                    int64_t frame_seq) {
  return absl::StrFormat("%s/acknowledged-%010d.jpg", brightest_dir, frame_seq);
}
inline std::string GridFile(absl::string_view brightest_dir) {
  return absl::StrCat(brightest_dir, "/grid.jpg");
}

// A frame's file in its session's folder.
inline std::string FrameFile(absl::string_view dir, int64_t frame_seq) {
  return absl::StrFormat("%s/%010d.jpg", dir, frame_seq);
}

}  // namespace camherd::capture
