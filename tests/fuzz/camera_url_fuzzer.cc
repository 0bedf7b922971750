// SPDX-License-Identifier: Apache-2.0
// Input: lines. URL, user, password; the rest is text.
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/camera_url.h"
#include "tests/fuzz/fuzz.h"

namespace camherd::fuzz {
namespace {

constexpr size_t kMaxMessage = 600;

void CheckRefusal(const absl::Status& status) {
  const absl::string_view message = status.message();
  PromisePrintable(message);
  Promise(message.size() <= kMaxMessage, "a message is short", message);
}

void CheckSame(const CameraUrl& again, const CameraUrl& url) {
  Promise(again == url && again.Full() == url.Full() &&
              again.Masked() == url.Masked() && again.host() == url.host() &&
              again.port() == url.port() && again.tls() == url.tls() &&
              again.user() == url.user() &&
              again.password() == url.password() &&
              again.ProcessName() == url.ProcessName(),
          "a URL parses again as the same", url.Full());
}

void CheckUrl(const CameraUrl& url) {
  PromisePrintable(url.Full());
  PromisePrintable(url.Masked());
  Promise(IsValidId(url.ProcessName()), "a process name is an id",
          url.ProcessName());
  Promise(!url.host().empty() && url.port() > 0, "there are host and port",
          url.Full());
  const absl::StatusOr<CameraUrl> again = CameraUrl::Parse(url.Full());
  Promise(again.ok(), "a URL parses again", url.Full());
  CheckSame(*again, url);
  const absl::StatusOr<CameraUrl> bare = url.WithCredentials("", "");
  if (!bare.ok()) return CheckRefusal(bare.status());
  Promise(!bare->has_credentials(), "credentials can be taken out",
          bare->Full());
  // Empty user and no password can be said in more than one way.
  if (url.password().empty()) return;
  const absl::StatusOr<CameraUrl> full =
      bare->WithCredentials(url.user(), url.password());
  Promise(full.ok(), "credentials can be put back", url.Full());
  CheckSame(*full, url);
}

// `url` has the canary where a secret stands.
void CheckHidden(absl::string_view url, absl::string_view user = "",
                 absl::string_view password = "") {
  const absl::StatusOr<CameraUrl> parsed =
      CameraUrl::Parse(url, user, password);
  if (parsed.ok()) {
    PromiseNoCanary(parsed->Masked());
    PromiseNoCanary(parsed->ProcessName());
  } else {
    PromiseNoCanary(parsed.status().message());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view rest = Text(data, size);
  if (absl::StrContains(rest, kCanary)) return -1;
  const absl::string_view url = TakeUntil(rest, '\n');
  const absl::string_view user = TakeUntil(rest, '\n');
  const absl::string_view password = TakeUntil(rest, '\n');

  const absl::StatusOr<CameraUrl> parsed =
      CameraUrl::Parse(url, user, password);
  if (parsed.ok()) {
    CheckUrl(*parsed);
  } else {
    CheckRefusal(parsed.status());
  }

  CheckHidden(absl::StrCat("rtsp://u:", kCanary, url, "@h/", user));
  CheckHidden(url, user.empty() ? "u" : user, kCanary);
  for (const std::string& secret :
       {absl::StrCat("rtsp://", url, ":", kCanary, "@", user),
        absl::StrCat("rtsp://h/", url, "?password=", kCanary, "&", user),
        absl::StrCat("rtsp://h/?src=rtsp://u:", kCanary, "@", user)}) {
    CheckHidden(secret);
    PromiseNoCanary(CheckId("camera_id", secret).message());
    PromiseNoCanary(MaskSecrets(secret));
    PromiseNoCanary(MaskSecrets(absl::StrCat(rest, " ", secret, " ", rest)));
  }
  if (!absl::StrContains(url, '?')) {
    CheckHidden(absl::StrCat("rtsp://h/", url, "/token/", kCanary, "/", user));
  }
  return 0;
}

}  // namespace camherd::fuzz
