// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/grid_archive.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/grid_renderer.h"
#include "services/common/camera_url.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::aggregator {
namespace {

constexpr size_t kMaxGridBytes = size_t{64} << 20;

// The same for the same frames in any order.
std::string FramesKey(const std::vector<v1::Frame>& frames) {
  std::vector<std::string> hashes;
  for (const v1::Frame& frame : frames) {
    hashes.push_back(frame.info().sha256());
  }
  std::sort(hashes.begin(), hashes.end());
  return Sha256(absl::StrJoin(hashes, ""));
}

}  // namespace

GridArchive::GridArchive(std::string data_dir, RecordStore& store,
                         DiskWatch& disk, Clock& clock,
                         AggregatorMetrics& metrics)
    : data_dir_(std::move(data_dir)),
      store_(store),
      disk_(disk),
      clock_(clock),
      metrics_(metrics) {}

absl::Status GridArchive::CheckHeader(const v1::RenderGridHeader& header) {
  CAMHERD_RETURN_IF_ERROR(CheckId("session_id", header.session_id()));
  return CheckId("process_name", header.process_name());
}

absl::Status GridArchive::CheckFrame(const v1::Frame& frame) {
  const int64_t seq = frame.info().frame_seq();
  if (frame.info().sha256().size() != 32) {
    return absl::InvalidArgumentError(
        absl::StrCat("info.sha256 of frame ", seq, " must have 32 bytes, got ",
                     frame.info().sha256().size()));
  }
  if (const std::string sha256 = Sha256(frame.jpeg());
      sha256 != frame.info().sha256()) {
    return absl::DataLossError(
        absl::StrCat("frame ", seq, " must have the SHA-256 ",
                     absl::BytesToHexString(frame.info().sha256()), ", got ",
                     absl::BytesToHexString(sha256)));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::RenderGridResponse> GridArchive::Render(
    const v1::RenderGridHeader& header, std::vector<v1::Frame> frames) {
  if (frames.empty() || frames.size() > kGridCells) {
    return absl::InvalidArgumentError(absl::StrCat(
        "frames must number 1..", kGridCells, ", got ", frames.size()));
  }
  SortBrightestFirst(frames);
  absl::MutexLock lock(&mu_);
  return RenderLocked(header, frames);
}

absl::StatusOr<v1::RenderGridResponse> GridArchive::RenderLocked(
    const v1::RenderGridHeader& header, std::vector<v1::Frame>& frames) {
  v1::RenderGridResponse response;
  const std::string key = FramesKey(frames);
  const auto path = [&](const std::string& name) {
    return absl::StrCat(ImagesDir(data_dir_), "/", name);
  };
  bool has_row = false;
  if (header.save()) {
    CAMHERD_ASSIGN_OR_RETURN(std::optional<v1::Grid> known,
                             store_.FindGrid(header.session_id(), key));
    if (known.has_value()) {
      *response.mutable_grid() = *std::move(known);
      absl::StatusOr<std::string> jpeg =
          ReadFile(path(response.grid().file_name()), kMaxGridBytes);
      if (jpeg.ok()) {
        response.set_jpeg(*std::move(jpeg));
        return response;
      }
      // Someone removed the file: made anew under its name. Or retention did,
      // and the row before it: then it is a new grid.
      CAMHERD_ASSIGN_OR_RETURN(known,
                               store_.FindGrid(header.session_id(), key));
      has_row = known.has_value();
      if (!has_row) response.clear_grid();
    }
  }
  const absl::Duration start = clock_.SteadyNow();
  CAMHERD_ASSIGN_OR_RETURN(std::string jpeg, RenderGrid(frames));
  metrics_.GridRendered(clock_.SteadyNow() - start);
  response.set_jpeg(std::move(jpeg));

  v1::Grid& grid = *response.mutable_grid();
  if (!has_row) {
    absl::Time now = clock_.Now();
    // Two grids of one name in a millisecond: the second takes the next.
    std::error_code error;
    while (header.save() &&
           std::filesystem::exists(path(GridName(header.process_name(), now)),
                                   error)) {
      now += absl::Milliseconds(1);
    }
    grid.set_session_id(header.session_id());
    grid.set_process_name(header.process_name());
    *grid.mutable_rendered_at() = ToProto(now);
    for (const v1::Frame& frame : frames) *grid.add_cells() = frame.info();
    if (!header.save()) return response;
    grid.set_file_name(GridName(header.process_name(), now));
  }
  CAMHERD_RETURN_IF_ERROR(disk_.CheckRoom());
  CAMHERD_RETURN_IF_ERROR(MakeDirs(ImagesDir(data_dir_)));
  CAMHERD_RETURN_IF_ERROR(WriteFileAtomically(path(grid.file_name()),
                                              response.jpeg(), Sync::kData));
  if (!has_row) {
    CAMHERD_RETURN_IF_ERROR(store_.AddGrid(
        grid, key, static_cast<int64_t>(response.jpeg().size())));
  }
  LogInfo("grid saved", {{"file", path(grid.file_name())},
                         {"process_name", header.process_name()},
                         {"cells", frames.size()}});
  return response;
}

}  // namespace camherd::aggregator
