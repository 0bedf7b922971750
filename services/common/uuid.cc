// SPDX-License-Identifier: Apache-2.0
#include "services/common/uuid.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/common/log.h"

namespace camherd {

// 48 bits of milliseconds, version 7, 12 bits of the fraction of the
// millisecond (RFC 9562 §6.2, method 3), variant 0b10, 62 random bits.
std::string MakeUuid7(absl::Time now) {
  std::array<uint8_t, 16> bytes;
  while (getrandom(bytes.data(), bytes.size(), 0) !=
         static_cast<ssize_t>(bytes.size())) {
    if (errno != EINTR) LogFatal("the system gives no random numbers");
  }
  now = std::max(now, absl::UnixEpoch());
  const int64_t ms = absl::ToUnixMillis(now);
  const int64_t fraction =
      (now - absl::FromUnixMillis(ms)) * 4096 / absl::Milliseconds(1);
  for (int i = 0; i < 6; ++i) {
    bytes[i] = static_cast<uint8_t>(ms >> (8 * (5 - i)));
  }
  bytes[6] = static_cast<uint8_t>(0x70 | (fraction >> 8));
  bytes[7] = static_cast<uint8_t>(fraction);
  bytes[8] = static_cast<uint8_t>(0x80 | (bytes[8] & 0x3f));
  const std::string hex = absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  const absl::string_view h = hex;
  return absl::StrCat(h.substr(0, 8), "-", h.substr(8, 4), "-", h.substr(12, 4),
                      "-", h.substr(16, 4), "-", h.substr(20));
}

}  // namespace camherd
