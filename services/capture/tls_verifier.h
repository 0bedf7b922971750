// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"

namespace camherd::capture {

// Verifies a camera's certificate in the TLS handshake that libavformat makes
// with it: that it is good today, for this host, and goes back to one that is
// trusted.
//
// FFmpeg's tls protocol could do that (options tls_verify, ca_file,
// verifyhost), but up to 5.1 its rtsp demuxer opens that protocol without any
// options and has none of its own to pass on. Debian's FFmpeg makes its
// handshakes by calling GnuTLS's gnutls_handshake(). This file defines a
// function of that name, which the dynamic linker takes instead for the whole
// program: within a Scope it has GnuTLS verify during the handshake, so that
// nothing is sent to a camera that is not trusted, and in any case it calls
// GnuTLS's own.
//
// Used by one thread.
class TlsVerifier {
 public:
  // Who `host` is, a name or an address, is for a certificate to say that goes
  // back to one of `ca_file` (PEM; empty: the system's).
  TlsVerifier(const std::string& host, const std::string& ca_file);
  ~TlsVerifier();

  TlsVerifier(const TlsVerifier&) = delete;
  TlsVerifier& operator=(const TlsVerifier&) = delete;

  // The handshakes of this thread are verified from here on to the end of it.
  class Scope {
   public:
    // `verifier` must outlive it; null: nothing is verified.
    explicit Scope(TlsVerifier* verifier);
    ~Scope();

    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

  // Why a handshake was refused, kPermissionDenied; OK: none was.
  const absl::Status& refusal() const;
  // At least one handshake was verified, and none refused.
  bool verified() const;

  class Impl;

 private:
  const std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::capture
