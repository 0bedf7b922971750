// SPDX-License-Identifier: Apache-2.0
#include "services/capture/libav_packet_source.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "services/capture/keyframe_kind.h"
#include "tests/support/rtsp_server.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::HaveRtspCamera;
using ::camherd::testing::IsOk;
using ::camherd::testing::RtspServer;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPassword[] = "p@ss:w/rd-canary";

std::unique_ptr<LibavPacketSource> Source(
    const std::string& url, PacketSource::Options options = {},
    const AddressPolicy::Options& policy = {}, const std::string& user = "",
    const std::string& password = "") {
  return std::make_unique<LibavPacketSource>(
      CameraUrl::Parse(url, user, password).value(), options,
      AddressPolicy::Create(policy).value(), Clock::Real());
}

PacketSource::Options Timeouts(double connect, double stall) {
  PacketSource::Options options;
  options.connect_timeout = absl::Seconds(connect);
  options.stall_timeout = absl::Seconds(stall);
  return options;
}

double SecondsOf(const std::function<void()>& call) {
  const absl::Duration begin = Clock::Real().SteadyNow();
  call();
  return absl::ToDoubleSeconds(Clock::Real().SteadyNow() - begin);
}

// Addresses of this machine that tests speak to.
constexpr char kAllowed[] = "127.0.0.8";
constexpr char kForbidden[] = "127.0.0.9";
const AddressPolicy::Options kOnlyOne = {
    .allow_networks = {"127.0.0.1", kAllowed}, .allow_loopback = false};

// A socket on a port of its own, which nobody is to speak to.
class Listener {
 public:
  Listener(int type, const char* address)
      : fd_(socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    sockaddr_in in = {};
    in.sin_family = AF_INET;
    socklen_t size = sizeof(in);
    auto* generic = reinterpret_cast<sockaddr*>(&in);
    EXPECT_EQ(inet_pton(AF_INET, address, &in.sin_addr), 1);
    EXPECT_EQ(bind(fd_, generic, size), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(listen(fd_, 8), 0);
    }
    EXPECT_EQ(getsockname(fd_, generic, &size), 0);
    port_ = ntohs(in.sin_port);
  }
  ~Listener() { close(fd_); }

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return port_; }
  // 1 if a connection or a datagram has come.
  int Waiting() const {
    pollfd waits = {fd_, POLLIN, 0};
    return poll(&waits, 1, 0);
  }

 private:
  const int fd_;
  int port_ = 0;
};

// A name whose owner answers with one address first, and with kForbidden from
// then on; see getaddrinfo below.
class RebindingName {
 public:
  explicit RebindingName(const char* first = kForbidden) : first_(first) {
    current_ = this;
  }
  ~RebindingName() { current_ = nullptr; }

  RebindingName(const RebindingName&) = delete;
  RebindingName& operator=(const RebindingName&) = delete;

  static std::string name() { return "rebinding.example"; }
  int lookups() const { return lookups_; }
  const char* Next() { return lookups_++ == 0 ? first_ : kForbidden; }

  static RebindingName* current() { return current_; }

 private:
  static RebindingName* current_;
  const char* const first_;
  std::atomic<int> lookups_ = 0;
};

RebindingName* RebindingName::current_ = nullptr;

class BadCameraTest : public ::testing::Test {
 protected:
  // What Open answers from a camera of this fault; with a password, so that
  // no message may hold it.
  absl::Status Open(const std::vector<std::string>& fault,
                    PacketSource::Options options = Timeouts(5, 2)) {
    server_ =
        std::make_unique<RtspServer>(CAMHERD_RTSP_DIR, "misbehave.py", fault);
    EXPECT_NE(server_->port(), 0);
    source_ = Source(server_->Url("cam?token=canary"), options, {}, "admin",
                     kPassword);
    const absl::Status status = source_->Open().status();
    EXPECT_THAT(std::string(status.message()),
                AllOf(Not(HasSubstr("canary")), Not(HasSubstr("p%40ss"))));
    return status;
  }

  std::unique_ptr<RtspServer> server_;
  std::unique_ptr<LibavPacketSource> source_;
};

TEST_F(BadCameraTest, ARefusedConnectionIsUnavailableAtOnce) {
  EXPECT_THAT(Open({"refuse"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("refused")));
}

TEST_F(BadCameraTest, ASilentCameraHasAsLongAsAStall) {
  const double seconds = SecondsOf([&] {
    EXPECT_THAT(Open({"silent"}, Timeouts(20, 1.5)),
                StatusIs(absl::StatusCode::kDeadlineExceeded,
                         HasSubstr("did not answer within 1.5s")));
  });
  EXPECT_GE(seconds, 1.4);
  EXPECT_LE(seconds, 4.0);
}

TEST_F(BadCameraTest, ACameraThatClosesIsUnavailable) {
  for (const char* how : {"close", "reset"}) {
    EXPECT_THAT(Open({how}), StatusIs(absl::StatusCode::kUnavailable,
                                      HasSubstr("closed the connection")));
  }
}

TEST_F(BadCameraTest, WhatIsNoRtspIsNotTakenForACameraWithoutVideo) {
  const absl::Status status = Open({"garbage"}, Timeouts(2, 1));
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status))
      << status;
}

TEST_F(BadCameraTest, StatusCodesBecomeStates) {
  EXPECT_THAT(Open({"status", "--code", "401"}),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("user name or password (401)")));
  EXPECT_THAT(Open({"status", "--code", "403"}),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("403")));
  EXPECT_THAT(Open({"status", "--code", "404"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("404")));
  for (const char* code : {"453", "455", "503"}) {
    EXPECT_THAT(
        Open({"status", "--code", code, "--method", "SETUP"}),
        StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(code)));
  }
  EXPECT_THAT(Open({"status", "--code", "500"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("500")));
}

TEST_F(BadCameraTest, ACodecThatIsNotDecodedIsNamed) {
  EXPECT_THAT(Open({"sdp", "--encoding", "VP8"}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("vp8")));
  EXPECT_THAT(Open({"sdp", "--encoding", "AV1"}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("AV1")));
}

TEST_F(BadCameraTest, ARedirectLoopEnds) {
  const double seconds = SecondsOf([&] {
    EXPECT_THAT(Open({"redirect-loop"}, Timeouts(20, 1)),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("redirected more than 5 times")));
  });
  EXPECT_LE(seconds, 10);
}

TEST_F(BadCameraTest, ARedirectToAForbiddenAddressIsRefused) {
  EXPECT_THAT(
      Open({"redirect", "--target", "rtsp://169.254.169.254/cam"}),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("metadata")));
}

TEST_F(BadCameraTest, WhatIsRedirectedToAForbiddenAddressIsNotConnectedTo) {
  const Listener forbidden(SOCK_STREAM, kForbidden);
  RebindingName rebinding;
  for (const std::string& host : {std::string(kForbidden), rebinding.name()}) {
    const std::string target =
        absl::StrCat("rtsp://", host, ":", forbidden.port(), "/cam");
    RtspServer server(CAMHERD_RTSP_DIR, "misbehave.py",
                      {"redirect", "--target", target});
    EXPECT_THAT(Source(server.Url("cam"), Timeouts(5, 2), kOnlyOne)->Open(),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         HasSubstr("127.0.0.9 is a loopback address")))
        << host;
  }
  EXPECT_EQ(forbidden.Waiting(), 0);
}

TEST(AddressTest, ANameIsLookedUpOnceAndNotWhenItIsConnectedTo) {
  const Listener forbidden(SOCK_STREAM, kForbidden);
  RebindingName rebinding(kAllowed);
  EXPECT_THAT(Source(absl::StrCat("rtsp://", rebinding.name(), ":",
                                  forbidden.port(), "/cam"),
                     Timeouts(5, 2), kOnlyOne)
                  ->Open(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("refused")));
  EXPECT_EQ(rebinding.lookups(), 1);
  EXPECT_EQ(forbidden.Waiting(), 0);
}

TEST(AddressTest, ANameOfAForbiddenAddressIsNotConnectedTo) {
  const Listener forbidden(SOCK_STREAM, kForbidden);
  RebindingName rebinding;
  EXPECT_THAT(Source(absl::StrCat("rtsp://", rebinding.name(), ":",
                                  forbidden.port(), "/cam"),
                     Timeouts(5, 2), kOnlyOne)
                  ->Open(),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_EQ(forbidden.Waiting(), 0);
}

TEST(AddressTest, NoPacketGoesToAnotherHostThatTheCameraNames) {
  for (const char* host : {kForbidden, kAllowed}) {
    const Listener packets(SOCK_DGRAM, host);
    RtspServer server(
        CAMHERD_RTSP_DIR, "misbehave.py",
        {"udp-source", "--target", absl::StrCat(host, ":", packets.port())});
    PacketSource::Options options = Timeouts(3, 1);
    options.transport = v1::TRANSPORT_UDP;
    const auto source = Source(
        server.Url("cam"), options,
        {.allow_networks = {kAllowed, "127.0.0.1"}, .allow_loopback = false});
    EXPECT_THAT(source->Open(),
                StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr(host)))
        << host;
    EXPECT_EQ(packets.Waiting(), 0) << host;
  }
}

TEST_F(BadCameraTest, AnswersThatDoNotEndAreGivenUpLongBeforeTheDeadline) {
  for (const char* fault : {"endless-sdp", "endless-headers"}) {
    const double seconds = SecondsOf([&] {
      EXPECT_THAT(Open({fault}, Timeouts(60, 60)),
                  StatusIs(absl::StatusCode::kUnavailable,
                           HasSubstr("answered with more than 4 MiB")))
          << fault;
    });
    EXPECT_LE(seconds, 20) << fault;
  }
}

TEST_F(BadCameraTest, APictureThatDoesNotEndIsGivenUpLongBeforeTheDeadline) {
  for (const char* fault : {"endless-keyframe", "endless-packets"}) {
    ASSERT_THAT(Open({fault}, Timeouts(60, 60)), IsOk()) << fault;
    absl::StatusOr<AccessUnit> unit = absl::UnknownError("");
    const double seconds = SecondsOf([&] {
      do {
        unit = source_->Read();
      } while (unit.ok());
    });
    EXPECT_THAT(unit, StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("MiB for one picture")))
        << fault;
    EXPECT_LE(seconds, 20) << fault;
  }
}

TEST_F(BadCameraTest, CancelEndsABlockedOpenSoon) {
  RtspServer server(CAMHERD_RTSP_DIR, "misbehave.py", {"silent"});
  const auto source = Source(server.Url("cam"), Timeouts(60, 60));
  absl::Status status;
  std::thread opener([&] { status = source->Open().status(); });
  // Cancelled before, during or after it has begun: it ends all the same.
  const double seconds = SecondsOf([&] {
    source->Cancel();
    opener.join();
  });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_LE(seconds, 3);
  EXPECT_THAT(source->Read(), StatusIs(absl::StatusCode::kCancelled));
}

TEST(AddressTest, ADeniedAddressIsNotConnectedTo) {
  EXPECT_THAT(
      Source("rtsp://127.0.0.1:1/cam", {}, {.allow_loopback = false})->Open(),
      StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(Source("rtsp://169.254.169.254/latest")->Open(),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

// A host that is switched off: who connects gets no answer at all.
class SilentPort {
 public:
  SilentPort() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener_, generic, size) != 0 || listen(listener_, 0) != 0 ||
        getsockname(listener_, generic, &size) != 0) {
      return;
    }
    port_ = ntohs(address.sin_port);
    // Until its queue is full.
    for (int i = 0; i < 64 && !silent_; ++i) {
      const int fd =
          socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      fillers_.push_back(fd);
      connect(fd, generic, size);
      pollfd waits = {fd, POLLOUT, 0};
      silent_ = poll(&waits, 1, 500) == 0;
    }
  }
  ~SilentPort() {
    for (const int fd : fillers_) close(fd);
    close(listener_);
  }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;

  bool silent() const { return silent_; }
  int port() const { return port_; }

 private:
  int listener_ = -1;
  int port_ = 0;
  bool silent_ = false;
  std::vector<int> fillers_;
};

TEST(AddressTest, AHostThatDoesNotAnswerIsGivenUpLongBeforeTheDeadline) {
  const SilentPort port;
  if (!port.silent()) GTEST_SKIP() << "the kernel answers all the same";
  const auto source =
      Source(absl::StrCat("rtsp://127.0.0.1:", port.port(), "/cam"));
  const double seconds = SecondsOf([&] {
    EXPECT_THAT(source->Open(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                         HasSubstr("nothing answered")));
  });
  EXPECT_GE(seconds, 4.9);
  EXPECT_LE(seconds, 7);
}

// A short H.264 file in `dir`; empty: there is no ffmpeg.
std::string MakeVideo(const TempDir& dir) {
  const std::string video = dir / "video.mp4";
  const std::string command = absl::StrCat(
      "ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=s=320x240:r=25:d=4 "
      "-c:v libx264 -preset ultrafast -pix_fmt yuv420p '",
      video, "'");
  return std::system(command.c_str()) == 0 ? video : "";
}

// A camera of gst-rtsp-server.
class CameraTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!HaveRtspCamera()) return;
    dir_ = new TempDir;
    const std::string video = MakeVideo(*dir_);
    if (video.empty()) return;
    setenv("CAM_PASSWORD", kPassword, 1);
    std::vector<std::string> arguments = {"--cache", *dir_ / "cache", "--auth",
                                          "digest"};
    for (const char* mount : {"h264,codec=h264,gop=1", "h265,codec=h265,gop=1",
                              "mjpeg,codec=mjpeg", "audio,codec=audio"}) {
      arguments.push_back("--mount");
      arguments.push_back(absl::StrCat(mount, ",video=", video));
    }
    camera_ = new RtspServer(CAMHERD_RTSP_DIR, "camera.py", arguments);
  }
  static void TearDownTestSuite() {
    delete std::exchange(camera_, nullptr);
    delete std::exchange(dir_, nullptr);
  }
  void SetUp() override {
    if (camera_ == nullptr || camera_->port() == 0) {
      GTEST_SKIP() << "gst-rtsp-server or ffmpeg is not installed";
    }
  }

  std::unique_ptr<LibavPacketSource> Connect(
      const std::string& path, PacketSource::Options options = {}) {
    return Source(camera_->Url(path), options, {}, "admin", kPassword);
  }

  static TempDir* dir_;
  static RtspServer* camera_;
};

TempDir* CameraTest::dir_ = nullptr;
RtspServer* CameraTest::camera_ = nullptr;

TEST_F(CameraTest, EachCodecComesAsWholeAccessUnitsWithItsKeyframes) {
  for (const auto& [path, codec] :
       {std::pair{"h264", Codec::kH264}, std::pair{"h265", Codec::kH265},
        std::pair{"mjpeg", Codec::kMjpeg}}) {
    const auto source = Connect(path);
    const absl::StatusOr<VideoParameters> parameters = source->Open();
    ASSERT_THAT(parameters, IsOk()) << path;
    EXPECT_EQ(parameters->codec, codec);
    EXPECT_EQ(source->local_ip(), "127.0.0.1");
    int keyframes = 0;
    int64_t bytes = 0;
    absl::Duration last = -absl::InfiniteDuration();
    for (int i = 0; i < 40; ++i) {
      const absl::StatusOr<AccessUnit> unit = source->Read();
      ASSERT_THAT(unit, IsOk()) << path;
      const KeyframeKind kind =
          ClassifyKeyframe(codec, *unit->data, unit->keyframe);
      keyframes += kind == KeyframeKind::kNone ? 0 : 1;
      bytes += static_cast<int64_t>(unit->data->size());
      EXPECT_GE(unit->arrival, last);
      last = unit->arrival;
    }
    EXPECT_GE(source->received_bytes(), bytes);
    if (codec == Codec::kMjpeg) {
      EXPECT_EQ(keyframes, 40);
    } else {
      EXPECT_GE(keyframes, 1) << path;
      EXPECT_LE(keyframes, 3) << path;
    }
  }
}

TEST_F(CameraTest, UdpWorksWhereItIsAskedFor) {
  PacketSource::Options options;
  options.transport = v1::TRANSPORT_UDP;
  const auto source = Connect("h264", options);
  ASSERT_THAT(source->Open(), IsOk());
  EXPECT_THAT(source->Read(), IsOk());
}

// All bytes that are not plain letters.
std::string PercentEncoded(const std::string& text) {
  std::string encoded;
  for (const char c : text) {
    absl::StrAppend(&encoded, absl::ascii_isalnum(c)
                                  ? std::string(1, c)
                                  : absl::StrFormat("%%%02X", c & 0xff));
  }
  return encoded;
}

TEST_F(CameraTest, AnyPasswordWorksInTheUrlAndApartByDigestAndByBasic) {
  const std::string user = "us er@x/y%41";
  const std::string password = "p@s:w/d%41 &?#[]\"'\\+=;\xC3\xA9\xE2\x82\xAC";
  for (const char* method : {"digest", "basic"}) {
    setenv("CAM_PASSWORD", password.c_str(), 1);
    const RtspServer camera(
        CAMHERD_RTSP_DIR, "camera.py",
        {"--cache", *dir_ / "cache", "--auth", method, "--user", user,
         "--mount",
         absl::StrCat("h264,codec=h264,gop=1,video=", *dir_ / "video.mp4")});
    setenv("CAM_PASSWORD", kPassword, 1);
    ASSERT_NE(camera.port(), 0);
    EXPECT_THAT(Source(camera.Url("h264"), {}, {}, user, password)->Open(),
                IsOk())
        << method;
    EXPECT_THAT(
        Source(camera.Url("h264", absl::StrCat(PercentEncoded(user), ":",
                                               PercentEncoded(password))))
            ->Open(),
        IsOk())
        << method;
    EXPECT_THAT(
        Source(camera.Url("h264"), {}, {}, user, password + "x")->Open(),
        StatusIs(absl::StatusCode::kUnauthenticated))
        << method;
  }
}

TEST_F(CameraTest, AWrongOrMissingPasswordIsUnauthenticated) {
  EXPECT_THAT(
      Source(camera_->Url("h264"), {}, {}, "admin", "wrong-canary")->Open(),
      StatusIs(
          absl::StatusCode::kUnauthenticated,
          AllOf(HasSubstr("refused the user name"), Not(HasSubstr("canary")))));
  EXPECT_THAT(Source(camera_->Url("h264"))->Open(),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("wants a user name")));
}

TEST_F(CameraTest, AnUnknownPathIsNotFound) {
  EXPECT_THAT(Connect("no-such-path")->Open(),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CameraTest, OverUdpACameraWithoutPicturesIsNotTriedByTcp) {
  PacketSource::Options options = Timeouts(2, 1);
  options.transport = v1::TRANSPORT_UDP;
  const auto source = Connect("h264", options);
  ASSERT_THAT(source->Open(), IsOk());
  camera_->Kill(SIGSTOP);
  absl::StatusOr<AccessUnit> unit = absl::UnknownError("");
  do {
    unit = source->Read();
  } while (unit.ok());
  camera_->Kill(SIGCONT);
  EXPECT_THAT(unit, StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(CameraTest, ACameraWithSoundOnlyHasNoVideo) {
  EXPECT_THAT(
      Connect("audio")->Open(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no video")));
}

TEST_F(CameraTest, CancelEndsABlockedReadSoon) {
  const auto source = Connect("h264");
  ASSERT_THAT(source->Open(), IsOk());
  ASSERT_THAT(source->Read(), IsOk());
  camera_->Kill(SIGSTOP);
  std::thread canceller([&] { source->Cancel(); });
  const double seconds = SecondsOf([&] {
    while (source->Read().ok()) {
    }
  });
  camera_->Kill(SIGCONT);
  canceller.join();
  EXPECT_LE(seconds, 3);
}

TEST_F(CameraTest, AStallIsSeenAfterOneTimeoutNotTwo) {
  RtspServer stall(
      CAMHERD_RTSP_DIR, "misbehave.py",
      {"stall", "--target", std::to_string(camera_->port()), "--seconds", "1"});
  const auto source =
      Source(stall.Url("h264"), Timeouts(10, 2), {}, "admin", kPassword);
  ASSERT_THAT(source->Open(), IsOk());
  absl::StatusOr<AccessUnit> unit = absl::UnknownError("");
  absl::Duration last;
  do {
    last = Clock::Real().SteadyNow();
    unit = source->Read();
  } while (unit.ok());
  const double seconds =
      absl::ToDoubleSeconds(Clock::Real().SteadyNow() - last);
  EXPECT_THAT(unit, StatusIs(absl::StatusCode::kDeadlineExceeded,
                             HasSubstr("no picture for 2s")));
  EXPECT_GE(seconds, 1.9);
  EXPECT_LE(seconds, 3.5);
}

TEST_F(CameraTest, AConnectionThatIsCutIsUnavailable) {
  RtspServer cut(
      CAMHERD_RTSP_DIR, "misbehave.py",
      {"cut", "--target", std::to_string(camera_->port()), "--seconds", "1"});
  const auto source =
      Source(cut.Url("h264"), Timeouts(10, 5), {}, "admin", kPassword);
  ASSERT_THAT(source->Open(), IsOk());
  absl::StatusOr<AccessUnit> unit = absl::UnknownError("");
  do {
    unit = source->Read();
  } while (unit.ok());
  EXPECT_THAT(unit, StatusIs(absl::StatusCode::kUnavailable));
}

// Cameras of gst-rtsp-server with certificates of an authority of our own.
class TlsCameraTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!HaveRtspCamera()) return;
    dir_ = new TempDir;
    const std::string video = MakeVideo(*dir_);
    // Name of its files: what it is for, and for how many days.
    const std::string command = absl::StrCat(
        "cd '", dir_->path(),
        "' && { K='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'; "
        "openssl req -x509 $K -keyout ca.key -out ca.pem -days 30 "
        "-subj /CN=test-authority && "
        "for c in good:30:IP:127.0.0.1,DNS:localhost "
        "other:30:DNS:camera.example expired:-1:IP:127.0.0.1; do "
        "n=${c%%:*}; c=${c#*:}; d=${c%%:*}; "
        "openssl req $K -keyout $n.key -out $n.csr -subj /CN=camera && "
        "echo subjectAltName=${c#*:} > $n.ext && "
        "openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key "
        "-CAcreateserial -days $d -extfile $n.ext -out $n.pem || exit 1; "
        "done; } >openssl.log 2>&1");
    if (video.empty() || std::system(command.c_str()) != 0) return;
    for (const char* name : {"good", "other", "expired"}) {
      cameras_[name] = std::make_unique<RtspServer>(
          CAMHERD_RTSP_DIR, "camera.py",
          std::vector<std::string>{
              "--cache", *dir_ / "cache", "--tls-cert",
              *dir_ / absl::StrCat(name, ".pem"), "--tls-key",
              *dir_ / absl::StrCat(name, ".key"), "--mount",
              absl::StrCat("h264,codec=h264,gop=1,video=", video)});
    }
  }
  static void TearDownTestSuite() {
    cameras_.clear();
    delete std::exchange(dir_, nullptr);
  }
  void SetUp() override {
    if (cameras_.empty() || cameras_["expired"]->port() == 0) {
      GTEST_SKIP() << "gst-rtsp-server, ffmpeg or openssl is not installed";
    }
  }

  static std::unique_ptr<LibavPacketSource> Connect(const std::string& name,
                                                    const std::string& host,
                                                    bool with_ca,
                                                    bool verify = true) {
    PacketSource::Options options = Timeouts(5, 2);
    options.tls_verify = verify;
    if (with_ca) options.tls_ca_file = *dir_ / "ca.pem";
    return Source(
        absl::StrCat("rtsps://", host, ":", cameras_[name]->port(), "/h264"),
        options);
  }

  static TempDir* dir_;
  static std::map<std::string, std::unique_ptr<RtspServer>> cameras_;
};

TempDir* TlsCameraTest::dir_ = nullptr;
std::map<std::string, std::unique_ptr<RtspServer>> TlsCameraTest::cameras_;

TEST_F(TlsCameraTest, ACertificateForTheAddressOrTheNameIsAccepted) {
  for (const char* host : {"127.0.0.1", "localhost"}) {
    const auto source = Connect("good", host, /*with_ca=*/true);
    ASSERT_THAT(source->Open(), IsOk()) << host;
    EXPECT_THAT(source->Read(), IsOk()) << host;
  }
}

TEST_F(TlsCameraTest, ACertificateForAnotherNameIsRefused) {
  for (const char* host : {"127.0.0.1", "localhost"}) {
    EXPECT_THAT(
        Connect("other", host, /*with_ca=*/true)->Open(),
        StatusIs(absl::StatusCode::kPermissionDenied,
                 AllOf(HasSubstr("certificate"), HasSubstr(host),
                       HasSubstr("name in the certificate does not match"))));
  }
}

TEST_F(TlsCameraTest, ACertificateThatHasExpiredIsRefused) {
  EXPECT_THAT(
      Connect("expired", "127.0.0.1", /*with_ca=*/true)->Open(),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("expired")));
}

TEST_F(TlsCameraTest, ACertificateOfAnUnknownAuthorityIsRefused) {
  EXPECT_THAT(Connect("good", "127.0.0.1", /*with_ca=*/false)->Open(),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("issuer is unknown")));
}

TEST_F(TlsCameraTest, AFileWithoutCertificatesTrustsNobody) {
  PacketSource::Options options = Timeouts(5, 2);
  options.tls_ca_file = *dir_ / "good.key";
  EXPECT_THAT(
      Source(
          absl::StrCat("rtsps://127.0.0.1:", cameras_["good"]->port(), "/h264"),
          options)
          ->Open(),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("tls_ca_file")));
}

TEST_F(TlsCameraTest, WithoutVerificationAnyCertificateWillDo) {
  for (const char* name : {"good", "other", "expired"}) {
    const auto source =
        Connect(name, "127.0.0.1", /*with_ca=*/false, /*verify=*/false);
    ASSERT_THAT(source->Open(), IsOk()) << name;
    EXPECT_THAT(source->Read(), IsOk()) << name;
  }
}

TEST_F(TlsCameraTest, APortThatSpeaksNoTlsIsUnavailableNotDistrusted) {
  RtspServer garbage(CAMHERD_RTSP_DIR, "misbehave.py", {"garbage"});
  const absl::Status status =
      Source(absl::StrCat("rtsps://127.0.0.1:", garbage.port(), "/cam"),
             Timeouts(2, 1))
          ->Open()
          .status();
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status))
      << status;
}

}  // namespace

const char* NextAddressOf(const char* name) {
  RebindingName* rebinding = RebindingName::current();
  const bool known =
      rebinding != nullptr && name != nullptr && RebindingName::name() == name;
  return known ? rebinding->Next() : name;
}

}  // namespace camherd::capture

// In place of the C library's, for this program and the libraries it uses.
// NOLINTNEXTLINE(readability-identifier-naming): the name is the C library's.
extern "C" __attribute__((visibility("default"))) int getaddrinfo(
    const char* name, const char* service, const addrinfo* hints,
    addrinfo** found) {
  using Lookup = int(const char*, const char*, const addrinfo*, addrinfo**);
  static auto* const next =
      reinterpret_cast<Lookup*>(dlsym(RTLD_NEXT, "getaddrinfo"));
  const bool numeric =
      hints != nullptr && (hints->ai_flags & AI_NUMERICHOST) != 0;
  return next(numeric ? name : camherd::capture::NextAddressOf(name), service,
              hints, found);
}
