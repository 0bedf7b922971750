// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace camherd {

// The address of a camera, credentials included. Its only formatter masks:
// whatever is printed, logged, answered or recorded goes through Masked().
// Full() exists for the connection itself and for capture.db (mode 0600), and
// what it gives parses again, as the same URL.
//
// Immutable and thread-safe.
class CameraUrl {
 public:
  // Parses `rtsp://` and `rtsps://` URLs strictly (RFC 3986, RFC 7826 §4.2).
  // kInvalidArgument, naming the field `rtsp_url` and the masked value, for
  // other schemes, control characters (percent-encoded ones too) and spaces, an
  // empty host, an IPv4 address in another form than four decimal numbers, a
  // bad port, two `@` in the authority, or more than 2048 characters (also once
  // the user info is percent-encoded). The scheme is lower-cased (FFmpeg takes
  // no other). `user` and `password`, unencoded, replace the URL's user info
  // where `user` is not empty.
  static absl::StatusOr<CameraUrl> Parse(absl::string_view url,
                                         absl::string_view user = "",
                                         absl::string_view password = "");

  // The same camera with these, unencoded; both empty: without user info.
  // kInvalidArgument as Parse.
  absl::StatusOr<CameraUrl> WithCredentials(absl::string_view user,
                                            absl::string_view password) const;

  // With user info, percent-encoded.
  const std::string& Full() const { return full_; }

  // Fit for any reader: user info is `***:***@`, and the values of secrets
  // that cameras put in query and path (`password=`, `pwd=`, `pass=`,
  // `token=`, `key=`, `auth=`, `user=` ... in any case) are `***`.
  const std::string& Masked() const { return masked_; }

  // Decoded host without brackets, port (554 or 322 by default).
  const std::string& host() const { return host_; }
  uint16_t port() const { return port_; }
  bool tls() const { return tls_; }
  bool has_credentials() const { return !user_.empty() || !password_.empty(); }
  // Unencoded; empty: none.
  const std::string& user() const { return user_; }
  const std::string& password() const { return password_; }

  // Last path segment where it is a valid id and holds no secret, else
  // `host-port` with what ids cannot hold replaced by `-`; at most 64
  // characters.
  std::string ProcessName() const;

  friend bool operator==(const CameraUrl& a, const CameraUrl& b) {
    return a.full_ == b.full_;
  }

 private:
  CameraUrl() = default;

  // Puts full_ and masked_ together. kInvalidArgument if Parse would refuse
  // the result.
  absl::Status Compose(absl::string_view user_info);

  std::string full_;
  std::string masked_;
  std::string host_;
  // Host and port as they are written, and what follows them.
  std::string authority_;
  std::string path_and_query_;
  std::string user_;
  std::string password_;
  uint16_t port_ = 554;
  bool tls_ = false;
};

// Masks user info and secrets in any text that may hold URLs, such as a
// library's error message.
std::string MaskSecrets(absl::string_view text);

// True for `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`: camera ids, model names.
bool IsValidId(absl::string_view id);

// kInvalidArgument naming `field` and the (escaped, shortened) value unless
// IsValidId.
absl::Status CheckId(absl::string_view field, absl::string_view id);

}  // namespace camherd
