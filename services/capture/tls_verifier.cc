// SPDX-License-Identifier: Apache-2.0
#include "services/capture/tls_verifier.h"

#include <dlfcn.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/capture/ip_address.h"

namespace camherd::capture {
namespace {

using Handshake = int (*)(gnutls_session_t);

// Why a certificate is refused, in GnuTLS's words.
std::string Describe(unsigned status) {
  gnutls_datum_t text = {};
  if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509,
                                                   &text, 0) < 0) {
    return "it is not trusted";
  }
  std::string description(reinterpret_cast<const char*>(text.data), text.size);
  gnutls_free(text.data);
  absl::StripAsciiWhitespace(&description);
  return description;
}

}  // namespace

class TlsVerifier::Impl {
 public:
  Impl(const std::string& host, const std::string& ca_file)
      : host_(host), ca_file_(ca_file) {}

  // In place of GnuTLS's own, which is called again while it waits.
  int Shake(gnutls_session_t session, Handshake handshake) {
    if (gnutls_session_get_ptr(session) != this) {
      if (!Prepare(session)) return GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
      gnutls_session_set_ptr(session, this);
    }
    const int result = handshake(session);
    if (result == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
      Refuse(Describe(gnutls_session_get_verify_cert_status(session)));
    }
    if (result == GNUTLS_E_SUCCESS) verified_ = true;
    return result;
  }

  const absl::Status& refusal() const { return refusal_; }
  bool verified() const { return verified_ && refusal_.ok(); }

 private:
  bool Prepare(gnutls_session_t session) {
    // FFmpeg names no host, since it connects to an address.
    if (!IpAddress::Parse(host_).ok()) {
      gnutls_server_name_set(session, GNUTLS_NAME_DNS, host_.data(),
                             host_.size());
    }
    if (!ca_file_.empty() && !TrustOnly(session)) {
      Refuse("no certificate of capture.tls_ca_file can be used");
      return false;
    }
    gnutls_session_set_verify_cert(session, host_.c_str(), 0);
    return true;
  }

  // Instead of the system's, which FFmpeg has set.
  bool TrustOnly(gnutls_session_t session) const {
    void* credentials = nullptr;
    if (gnutls_credentials_get(session, GNUTLS_CRD_CERTIFICATE, &credentials) <
            0 ||
        credentials == nullptr) {
      return false;
    }
    gnutls_x509_trust_list_t list = nullptr;
    if (gnutls_x509_trust_list_init(&list, 0) < 0) return false;
    if (gnutls_x509_trust_list_add_trust_file(list, ca_file_.c_str(), nullptr,
                                              GNUTLS_X509_FMT_PEM, 0, 0) <= 0) {
      gnutls_x509_trust_list_deinit(list, 1);
      return false;
    }
    // Takes the list over.
    gnutls_certificate_set_trust_list(
        static_cast<gnutls_certificate_credentials_t>(credentials), list, 0);
    return true;
  }

  void Refuse(const std::string& reason) {
    refusal_ = absl::PermissionDeniedError(
        absl::StrCat("the camera's certificate is refused for ", host_, ": ",
                     reason, " (tls_verify)"));
  }

  const std::string host_;
  const std::string ca_file_;
  bool verified_ = false;
  absl::Status refusal_;
};

namespace {

// Of the Scope this thread is in.
thread_local TlsVerifier::Impl* current = nullptr;

}  // namespace

TlsVerifier::TlsVerifier(const std::string& host, const std::string& ca_file)
    : impl_(std::make_unique<Impl>(host, ca_file)) {}
TlsVerifier::~TlsVerifier() = default;

const absl::Status& TlsVerifier::refusal() const { return impl_->refusal(); }
bool TlsVerifier::verified() const { return impl_->verified(); }

TlsVerifier::Scope::Scope(TlsVerifier* verifier) {
  current = verifier == nullptr ? nullptr : verifier->impl_.get();
}
TlsVerifier::Scope::~Scope() { current = nullptr; }

}  // namespace camherd::capture

// NOLINTNEXTLINE(readability-identifier-naming): the name is GnuTLS's.
extern "C" __attribute__((visibility("default"))) int gnutls_handshake(
    gnutls_session_t session) {
  static const auto handshake = reinterpret_cast<camherd::capture::Handshake>(
      dlsym(RTLD_NEXT, "gnutls_handshake"));
  if (handshake == nullptr) return GNUTLS_E_INTERNAL_ERROR;
  camherd::capture::TlsVerifier::Impl* verifier = camherd::capture::current;
  return verifier == nullptr ? handshake(session)
                             : verifier->Shake(session, handshake);
}
