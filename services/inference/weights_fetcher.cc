// SPDX-License-Identifier: Apache-2.0
#include "services/inference/weights_fetcher.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "absl/base/call_once.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"

namespace camherd::inference {
namespace {

absl::once_flag curl_once;

// What one download writes to, as curl's callbacks see it.
struct Download {
  int fd = -1;
  int64_t written = 0;
  int64_t max_bytes = 0;
  bool too_long = false;
  int write_errno = 0;
  EVP_MD_CTX* digest = nullptr;
  const WeightsFetcher::ProgressFn* progress = nullptr;
  const StopSignal* stop = nullptr;
};

size_t OnData(char* data, size_t size, size_t count, void* user) {
  Download& download = *static_cast<Download*>(user);
  const size_t length = size * count;
  if (download.written + static_cast<int64_t>(length) > download.max_bytes) {
    download.too_long = true;
    return 0;
  }
  size_t done = 0;
  while (done < length) {
    const ssize_t n = write(download.fd, data + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      download.write_errno = errno;
      return 0;
    }
    done += static_cast<size_t>(n);
  }
  EVP_DigestUpdate(download.digest, data, length);
  download.written += static_cast<int64_t>(length);
  return length;
}

int OnProgress(void* user, curl_off_t total, curl_off_t now, curl_off_t,
               curl_off_t) {
  Download& download = *static_cast<Download*>(user);
  if (*download.progress) (*download.progress)(now, total);
  return download.stop->IsSet() ? 1 : 0;
}

// Removes the partial file unless it was kept.
class PartialFile {
 public:
  explicit PartialFile(std::string path)
      : path_(std::move(path)),
        fd_(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                 0644)) {}
  ~PartialFile() {
    if (fd_ >= 0) close(fd_);
    if (!path_.empty()) unlink(path_.c_str());
  }
  int fd() const { return fd_; }

  absl::Status MoveTo(const std::string& target) {
    if (fsync(fd_) != 0) return ErrnoStatus(errno, "fsync", path_);
    if (rename(path_.c_str(), target.c_str()) != 0) {
      return ErrnoStatus(errno, "rename", target);
    }
    path_.clear();
    return SyncDir(std::filesystem::path(target).parent_path().string());
  }

 private:
  std::string path_;
  const int fd_;
};

absl::Status StatusOf(CURLcode code, const Download& download,
                      const std::string& url, const char* detail,
                      const std::string& path) {
  if (download.too_long) {
    return absl::OutOfRangeError(
        absl::StrCat(url, " is longer than ", download.max_bytes, " bytes"));
  }
  if (download.write_errno != 0) {
    return ErrnoStatus(download.write_errno, "write", path);
  }
  const std::string message = absl::StrCat(
      url, ": ", detail[0] != '\0' ? detail : curl_easy_strerror(code));
  if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError(message);
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return absl::DeadlineExceededError(message);
  }
  return absl::UnavailableError(message);
}

}  // namespace

absl::Status WeightsFetcher::Fetch(const std::string& url,
                                   const std::string& sha256,
                                   const std::string& path,
                                   const ProgressFn& progress,
                                   const StopSignal& stop) const {
  absl::call_once(curl_once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  CAMHERD_RETURN_IF_ERROR(
      MakeDirs(std::filesystem::path(path).parent_path().string()));
  PartialFile part(absl::StrCat(path, ".part"));
  if (part.fd() < 0) return ErrnoStatus(errno, "open", path + ".part");

  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest(
      EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr);
  Download download;
  download.fd = part.fd();
  download.max_bytes = options_.max_bytes;
  download.digest = digest.get();
  download.progress = &progress;
  download.stop = &stop;

  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
      curl_easy_init(), curl_easy_cleanup);
  std::array<char, CURL_ERROR_SIZE> detail = {};
  const char* protocols = options_.allow_http ? "https,http" : "https";
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl.get(), CURLOPT_REDIR_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "camherd");
  curl_easy_setopt(
      curl.get(), CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(absl::ToInt64Milliseconds(options_.connect_timeout)));
  curl_easy_setopt(
      curl.get(), CURLOPT_TIMEOUT_MS,
      static_cast<long>(absl::ToInt64Milliseconds(options_.timeout)));
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, detail.data());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, OnData);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &download);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &download);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) {
    return StatusOf(code, download, url, detail.data(), path);
  }

  std::array<unsigned char, 32> hash = {};
  EVP_DigestFinal_ex(digest.get(), hash.data(), nullptr);
  const std::string got = absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(hash.data()), hash.size()));
  if (got != sha256) {
    return absl::DataLossError(
        absl::StrCat(url, " has the SHA-256 ", got, ", expected ", sha256));
  }
  return part.MoveTo(path);
}

}  // namespace camherd::inference
