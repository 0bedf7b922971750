// SPDX-License-Identifier: Apache-2.0
#include "services/capture/decode_thread.h"

#include <algorithm>
#include <utility>

#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

constexpr size_t kDecodersPerThread = 4;

}  // namespace

absl::StatusOr<Decoder*> DecodeThread::KeyframeDecoder(
    const VideoParameters& parameters) {
  const auto found =
      std::find_if(decoders_.begin(), decoders_.end(), [&](const Entry& entry) {
        return entry.parameters.codec == parameters.codec &&
               entry.parameters.extradata == parameters.extradata;
      });
  if (found != decoders_.end()) {
    std::rotate(decoders_.begin(), found, found + 1);
    return decoders_.front().decoder.get();
  }
  Entry entry;
  entry.parameters = parameters;
  CAMHERD_ASSIGN_OR_RETURN(entry.decoder, Decoder::Create(parameters));
  decoders_.push_front(std::move(entry));
  if (decoders_.size() > kDecodersPerThread) decoders_.pop_back();
  return decoders_.front().decoder.get();
}

}  // namespace camherd::capture
