// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gateway/tls_server.h"
#include "tests/support/temp_dir.h"

namespace camherd::gateway {

// A self-made certificate for localhost and its key, in files of its own.
//
// Not thread-safe.
class TestCertificate {
 public:
  TestCertificate() { Make("first"); }

  TlsServer::Options files() const {
    return {.certificate = dir_ / "cert.pem", .key = dir_ / "key.pem"};
  }

  // Replaces both by new ones of that name.
  void Make(const std::string& name) const {
    Run(
        absl::StrCat("openssl req -x509 -newkey ec -pkeyopt "
                     "ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=",
                     name,
                     " -keyout new.key -out new.pem && mv new.key "
                     "key.pem && mv new.pem cert.pem"));
  }

  // Replaces the key by one with a password.
  void Lock() const {
    Run("openssl pkcs8 -topk8 -in key.pem -out locked.pem -passout pass:x && "
        "mv locked.pem key.pem");
  }

  void Overwrite(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name) << text;
  }

  void ReplaceByPipe(const std::string& name) const {
    Run(absl::StrCat("rm ", name, " && mkfifo ", name));
  }

 private:
  void Run(const std::string& command) const {
    const std::string all = absl::StrCat("cd '", dir_.path(), "' && { ",
                                         command, "; } >openssl.log 2>&1");
    if (std::system(all.c_str()) != 0) abort();
  }

  const testing::TempDir dir_;
};

}  // namespace camherd::gateway
