// SPDX-License-Identifier: Apache-2.0
#include "services/capture/libav_listener.h"

#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <utility>

#include "absl/strings/ascii.h"
#include "services/common/camera_url.h"
#include "services/common/log.h"

extern "C" {
#include <libavutil/log.h>
}

namespace camherd::capture {
namespace {

thread_local LibavListener* listener = nullptr;

}  // namespace

class LibavLog {
 public:
  static void Install() {
    static std::once_flag once;
    std::call_once(once, [] { av_log_set_callback(OnLine); });
  }

 private:
  static void OnLine(void*, int level, const char* format, va_list arguments) {
    const auto text = [&] {
      constexpr size_t kMaxText = 4096;
      char buffer[kMaxText];
      va_list copy;
      va_copy(copy, arguments);
      std::vsnprintf(buffer, sizeof(buffer), format, copy);
      va_end(copy);
      return std::string(buffer);
    };
    if (listener != nullptr) listener->hear_(format, text);
    if (level > AV_LOG_WARNING) return;
    const std::string whole = text();
    const absl::string_view line = absl::StripAsciiWhitespace(whole);
    if (!line.empty()) {
      LogDebug("media library", {{"text", MaskSecrets(line)}});
    }
  }
};

LibavListener::LibavListener(Hear hear)
    : hear_(std::move(hear)), before_(listener) {
  LibavLog::Install();
  listener = this;
}

LibavListener::~LibavListener() { listener = before_; }

}  // namespace camherd::capture
