// SPDX-License-Identifier: Apache-2.0
// Clients of the gateway, and what it is measured beside. All times are of the
// wall, in milliseconds; every client keeps its connection open.
//
//   camherd_bench_rest latency GATEWAY CAPTURE CALLS
//     ListStreams by RPC and by REST in turn: {"rpc":{"p50":..,"p99":..},...}
//   camherd_bench_rest load ADDRESS PATH CLIENTS SECONDS
//     as many GETs as there are answers to: {"per_second":..,"p50":..,
//     "p99":..,"worst":..,"least":..,"most":..}; the last two are requests of
//     one client
//   camherd_bench_rest watch ADDRESS PATH,PATH,... VIEWERS SECONDS
//     viewers of live.mjpeg, of one path after the other:
//     {"least":..,"most":..} pictures of one viewer
//   camherd_bench_rest plain
//     GET /livez of a plain cpp-httplib server: serving 127.0.0.1:43211

#include <grpcpp/grpcpp.h>
#include <httplib.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "camherd/v1/capture_service.grpc.pb.h"
#include "services/common/clock.h"
#include "services/common/grpc_client.h"
#include "tests/unit/gateway/http_client.h"

namespace camherd::bench {
namespace {

using gateway::RawAnswer;
using gateway::RawConnection;

absl::Duration Now() { return Clock::Real().SteadyNow(); }

double Percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share *
                                    static_cast<double>(values.size() - 1))];
}

// One client, which comes back when its connection has had its requests.
class KeepAliveClient {
 public:
  KeepAliveClient(std::string address, const std::string& path)
      : address_(std::move(address)),
        request_(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n",
                              "\r\n")) {}

  // The time that one GET took; negative: it was not answered 200.
  double Get() {
    const absl::Duration before = Now();
    if (connection_ == nullptr) {
      connection_ = std::make_unique<RawConnection>(address_);
    }
    connection_->Send(request_);
    const RawAnswer answer = connection_->ReadAnswer();
    const double took = absl::ToDoubleMilliseconds(Now() - before);
    if (answer.code != 200 || answer.Header("Connection") == "close") {
      connection_ = nullptr;
    }
    return answer.code == 200 ? took : -1;
  }

 private:
  const std::string address_;
  const std::string request_;
  std::unique_ptr<RawConnection> connection_;
};

int Latency(const std::string& address, const std::string& target, int calls) {
  auto stub = v1::CaptureService::NewStub(MakeChannel(target));
  KeepAliveClient client(address, "/api/v1/streams");
  std::vector<double> rpc;
  std::vector<double> rest;
  const int warm_up = calls / 10 + 1;
  for (int i = 0; i < warm_up + calls; ++i) {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(10));
    v1::ListStreamsResponse streams;
    const absl::Duration before = Now();
    const grpc::Status status = stub->ListStreams(&context, {}, &streams);
    const double direct = absl::ToDoubleMilliseconds(Now() - before);
    const double through = client.Get();
    if (!status.ok() || through < 0) {
      std::fprintf(stderr, "ListStreams failed: %s\n",
                   status.error_message().c_str());
      return 1;
    }
    if (i < warm_up) continue;
    rpc.push_back(direct);
    rest.push_back(through);
  }
  std::printf(
      "{\"rpc\":{\"p50\":%.4f,\"p99\":%.4f},"
      "\"rest\":{\"p50\":%.4f,\"p99\":%.4f}}\n",
      Percentile(rpc, 0.5), Percentile(rpc, 0.99), Percentile(rest, 0.5),
      Percentile(rest, 0.99));
  return 0;
}

int Load(const std::string& address, const std::string& path, int clients,
         int seconds) {
  std::vector<std::vector<double>> took(clients);
  std::vector<int> failed(clients);
  std::vector<std::thread> threads;
  const absl::Duration start = Now();
  const absl::Duration end = start + absl::Seconds(seconds);
  for (int i = 0; i < clients; ++i) {
    threads.emplace_back([&, i] {
      KeepAliveClient client(address, path);
      while (Now() < end) {
        const double one = client.Get();
        if (one < 0) {
          ++failed[i];
        } else {
          took[i].push_back(one);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double lasted = absl::ToDoubleSeconds(Now() - start);
  std::vector<double> all;
  size_t least = took[0].size();
  size_t most = 0;
  int failures = 0;
  for (int i = 0; i < clients; ++i) {
    all.insert(all.end(), took[i].begin(), took[i].end());
    least = std::min(least, took[i].size());
    most = std::max(most, took[i].size());
    failures += failed[i];
  }
  if (failures > 0) {
    std::fprintf(stderr, "%d requests failed\n", failures);
    return 1;
  }
  std::printf(
      "{\"per_second\":%.1f,\"p50\":%.4f,\"p99\":%.4f,\"worst\":%.4f,"
      "\"least\":%zu,\"most\":%zu}\n",
      static_cast<double>(all.size()) / lasted, Percentile(all, 0.5),
      Percentile(all, 0.99), Percentile(all, 1), least, most);
  return 0;
}

int Watch(const std::string& address, const std::vector<std::string>& paths,
          int viewers, int seconds) {
  // Of each picture, once.
  static const std::string kPart = "Content-Type: image/jpeg";
  std::vector<std::unique_ptr<RawConnection>> connections;
  for (int i = 0; i < viewers; ++i) {
    connections.push_back(std::make_unique<RawConnection>(address));
    connections[i]->Send(
        absl::StrCat("GET ", paths[static_cast<size_t>(i) % paths.size()],
                     " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  }
  std::vector<std::string> unread(connections.size());
  std::vector<int> pictures(connections.size());
  const absl::Duration end = Now() + absl::Seconds(seconds);
  while (Now() < end) {
    bool idle = true;
    for (size_t i = 0; i < connections.size(); ++i) {
      const std::string some = connections[i]->ReadSome(absl::ZeroDuration());
      if (some.empty()) continue;
      idle = false;
      unread[i] += some;
      for (size_t at = unread[i].find(kPart); at != std::string::npos;
           at = unread[i].find(kPart)) {
        ++pictures[i];
        unread[i].erase(0, at + kPart.size());
      }
      // What may be the beginning of the next.
      if (unread[i].size() >= kPart.size()) {
        unread[i].erase(0, unread[i].size() - kPart.size() + 1);
      }
    }
    if (idle) Clock::Real().SleepFor(absl::Milliseconds(5));
  }
  const auto [least, most] =
      std::minmax_element(pictures.begin(), pictures.end());
  std::printf("{\"least\":%d,\"most\":%d}\n", *least, *most);
  return 0;
}

int Plain() {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  httplib::Server server;
  // It holds a thread for each connection.
  server.new_task_queue = [] { return new httplib::ThreadPool(128); };
  server.set_keep_alive_max_count(1000);
  server.set_tcp_nodelay(true);
  server.Get("/livez", [](const httplib::Request&, httplib::Response& answer) {
    answer.set_content("ok\n", "text/plain; charset=utf-8");
  });
  const int port = server.bind_to_any_port("127.0.0.1");
  std::printf("serving 127.0.0.1:%d\n", port);
  std::fflush(stdout);
  return server.listen_after_bind() ? 0 : 1;
}

int Main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string what = words.empty() ? "" : words[0];
  std::vector<int> numbers;
  for (size_t i = 3; i < words.size(); ++i) {
    int number = 0;
    if (!absl::SimpleAtoi(words[i], &number) || number < 1) break;
    numbers.push_back(number);
  }
  if (what == "plain") return Plain();
  if (what == "latency" && numbers.size() == 1) {
    return Latency(words[1], words[2], numbers[0]);
  }
  if (what == "load" && numbers.size() == 2) {
    return Load(words[1], words[2], numbers[0], numbers[1]);
  }
  if (what == "watch" && numbers.size() == 2) {
    return Watch(words[1], absl::StrSplit(words[2], ','), numbers[0],
                 numbers[1]);
  }
  std::fprintf(stderr, "usage: see the top of rest_client.cc\n");
  return 2;
}

}  // namespace
}  // namespace camherd::bench

int main(int argc, char** argv) { return camherd::bench::Main(argc, argv); }
