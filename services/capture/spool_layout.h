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
//   <data>/brightest/<cameraID_sessionId>/0000000001.jpg  hard links to the
//                                                       session's nine
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

// A frame's file in its session's folder.
inline std::string FrameFile(absl::string_view dir, int64_t frame_seq) {
  return absl::StrFormat("%s/%010d.jpg", dir, frame_seq);
}

}  // namespace camherd::capture
