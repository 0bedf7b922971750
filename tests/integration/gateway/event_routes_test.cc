// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "tests/integration/gateway/running_gateway.h"

namespace camherd::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kWait = absl::Seconds(10);

// One event as a browser would take it.
struct Heard {
  std::string event;
  std::string id;
  std::string data;
};

std::string StreamId(const Heard& heard) {
  return heard.data.empty() ? ""
                            : nlohmann::json::parse(heard.data)["stream_id"];
}

// A page that listens.
class Listener {
 public:
  explicit Listener(const std::string& address, const std::string& query = "",
                    const std::string& last_event_id = "",
                    const std::string& header = "")
      : connection_(address) {
    connection_.Send(absl::StrCat(
        "GET /api/v1/events", query, " HTTP/1.0\r\n", header,
        last_event_id.empty() ? "" : "Last-Event-ID: ", last_event_id,
        last_event_id.empty() ? "\r\n" : "\r\n\r\n"));
    const absl::Duration until = Clock::Real().SteadyNow() + kWait;
    while (!absl::StrContains(bytes_, "\r\n\r\n") &&
           Clock::Real().SteadyNow() < until) {
      bytes_ += connection_.ReadSome(absl::Seconds(1));
    }
    head_ = ParseAnswer(bytes_);
    bytes_ = head_.body;
  }

  const RawAnswer& head() const { return head_; }

  // The next event but comments and what is only an id; "" if none comes.
  Heard Next(absl::Duration timeout = kWait) {
    const absl::Duration until = Clock::Real().SteadyNow() + timeout;
    while (true) {
      const size_t end = bytes_.find("\n\n");
      if (end == std::string::npos) {
        const absl::Duration left = until - Clock::Real().SteadyNow();
        const std::string more =
            left > absl::ZeroDuration() ? connection_.ReadSome(left) : "";
        if (more.empty()) return {};
        bytes_ += more;
        continue;
      }
      Heard heard;
      for (absl::string_view line :
           absl::StrSplit(bytes_.substr(0, end), '\n')) {
        if (absl::ConsumePrefix(&line, "event: "))
          heard.event = std::string(line);
        if (absl::ConsumePrefix(&line, "id: ")) heard.id = std::string(line);
        if (absl::ConsumePrefix(&line, "data: "))
          heard.data = std::string(line);
      }
      bytes_.erase(0, end + 2);
      if (!heard.id.empty()) last_id_ = heard.id;
      if (!heard.event.empty()) return heard;
    }
  }
  // The next that is no peer's.
  Heard NextNews(absl::Duration timeout = kWait) {
    while (true) {
      Heard heard = Next(timeout);
      if (heard.event != "peer") return heard;
    }
  }
  // Hears that all three services are there.
  void AwaitPeers() {
    std::set<std::string> there;
    while (there.size() < 3) {
      const Heard heard = Next();
      if (heard.event.empty()) {
        ADD_FAILURE() << "a service is not there";
        return;
      }
      if (heard.event != "peer") continue;
      const auto peer = nlohmann::json::parse(heard.data);
      if (peer["connected"]) there.insert(peer["service"]);
    }
  }
  bool ClosedWithin(absl::Duration timeout) {
    return connection_.ClosedWithin(timeout);
  }
  const std::string& last_id() const { return last_id_; }

 private:
  RawConnection connection_;
  RawAnswer head_;
  std::string bytes_;
  std::string last_id_;
};

v1::WatchStreamsResponse StreamEvent(const std::string& id,
                                     v1::StreamState state) {
  v1::WatchStreamsResponse event;
  event.mutable_stream()->set_stream_id(id);
  event.mutable_stream()->set_camera_id(absl::StrCat("CAM-", id));
  event.mutable_stream()->set_state(state);
  return event;
}

v1::WatchRecordsResponse RecordEvent(int64_t id, const std::string& camera) {
  v1::WatchRecordsResponse event;
  event.mutable_record()->set_record_id(id);
  event.mutable_record()->set_camera_id(camera);
  return event;
}

v1::WatchModelsResponse ModelEvent(const std::string& name, int done) {
  v1::WatchModelsResponse event;
  event.mutable_model()->set_name(name);
  event.mutable_model()->set_progress_done(done);
  return event;
}

// Waits until the gateway has heard all three services.
void AwaitHub(RunningGateway& gateway) {
  const absl::Duration until = Clock::Real().SteadyNow() + kWait;
  for (const auto source :
       {EventHub::kStreams, EventHub::kRecords, EventHub::kModels}) {
    while (!gateway.hub().peer(source).connected) {
      ASSERT_LT(Clock::Real().SteadyNow(), until);
      Clock::Real().SleepFor(absl::Milliseconds(2));
    }
  }
}

bool MetricBecomes(RunningGateway& gateway, const std::string& line) {
  const absl::Duration until = Clock::Real().SteadyNow() + kWait;
  while (!absl::StrContains(gateway.Metrics(), line)) {
    if (Clock::Real().SteadyNow() > until) return false;
    Clock::Real().SleepFor(absl::Milliseconds(2));
  }
  return true;
}

constexpr char kListeners[] = "camherd_gateway_live_answers{kind=\"events\"} ";

TEST(EventRoutesTest, TellsWhatEachServiceTellsAsItsRestJson) {
  RunningGateway gateway;
  AwaitHub(gateway);
  Listener listener(gateway.address());
  EXPECT_EQ(listener.head().code, 200);
  EXPECT_EQ(listener.head().Header("Content-Type"), "text/event-stream");
  EXPECT_EQ(listener.head().Header("Cache-Control"), "no-cache");
  listener.AwaitPeers();
  gateway.fake().streams().Add(StreamEvent("a", v1::STREAM_STATE_RUNNING));
  Heard heard = listener.Next();
  EXPECT_EQ(heard.event, "stream");
  auto json = nlohmann::json::parse(heard.data);
  EXPECT_EQ(json["stream_id"], "a");
  EXPECT_EQ(json["state"], "running");
  EXPECT_TRUE(json.contains("accounting"));
  gateway.fake().records().Add(RecordEvent(7, "CAM-a"));
  heard = listener.Next();
  EXPECT_EQ(heard.event, "record");
  EXPECT_EQ(nlohmann::json::parse(heard.data)["record_id"], 7);
  gateway.fake().models().Add(ModelEvent("animals", 3), "animals", true);
  heard = listener.Next();
  EXPECT_EQ(heard.event, "model");
  EXPECT_EQ(nlohmann::json::parse(heard.data)["progress_done"], 3);
  v1::WatchStreamsResponse deleted =
      StreamEvent("a", v1::STREAM_STATE_UNSPECIFIED);
  deleted.set_deleted(true);
  gateway.fake().streams().Add(deleted);
  heard = listener.Next();
  EXPECT_EQ(heard.event, "stream_deleted");
  EXPECT_EQ(StreamId(heard), "a");
}

TEST(EventRoutesTest, WhoComesBackHearsWhatCameMeanwhileAndNothingTwice) {
  RunningGateway gateway;
  AwaitHub(gateway);
  std::string id;
  {
    Listener listener(gateway.address());
    listener.AwaitPeers();
    gateway.fake().streams().Add(StreamEvent("a", v1::STREAM_STATE_RUNNING));
    EXPECT_EQ(listener.Next().event, "stream");
    id = listener.last_id();
  }
  gateway.fake().records().Add(RecordEvent(1, "CAM-a"));
  gateway.fake().streams().Add(StreamEvent("a", v1::STREAM_STATE_RECONNECTING));
  // By the header and by the query.
  for (const bool header : {true, false}) {
    Listener back(gateway.address(),
                  header ? "" : absl::StrCat("?last_event_id=", id),
                  header ? id : "");
    std::vector<std::string> heard = {back.NextNews().event,
                                      back.NextNews().event};
    EXPECT_THAT(heard, ::testing::UnorderedElementsAre("stream", "record"));
    gateway.fake().models().Add(ModelEvent("m", 1), "m", true);
    EXPECT_EQ(back.NextNews().event, "model");
  }
}

TEST(EventRoutesTest, AReplayTellsWhatIsKeptThenThePeerThenWhatComes) {
  RunningGateway gateway;
  AwaitHub(gateway);
  Listener before(gateway.address(), "?types=stream");
  for (const v1::StreamState state :
       {v1::STREAM_STATE_STARTING, v1::STREAM_STATE_RUNNING}) {
    gateway.fake().streams().Add(StreamEvent("a", state));
    gateway.fake().streams().Add(StreamEvent("b", state));
    EXPECT_EQ(before.NextNews().event, "stream");
    EXPECT_EQ(before.NextNews().event, "stream");
  }
  const auto heard = [](Listener& listener) {
    const Heard next = listener.Next();
    if (next.event != "stream") return next.event;
    const auto stream = nlohmann::json::parse(next.data);
    return absl::StrCat(stream["stream_id"].get<std::string>(), " ",
                        stream["state"].get<std::string>());
  };
  Listener after(gateway.address(),
                 "?types=stream&camera_id=CAM-a&replay=true");
  EXPECT_EQ(heard(after), "a starting");
  EXPECT_EQ(heard(after), "a running");
  EXPECT_EQ(heard(after), "peer");
  gateway.fake().streams().Add(StreamEvent("a", v1::STREAM_STATE_RECONNECTING));
  EXPECT_EQ(heard(after), "a reconnecting");
  // Where it was says more than that all is wanted.
  Listener back(gateway.address(), "?types=stream&replay=true",
                before.last_id());
  EXPECT_EQ(heard(back), "peer");
  EXPECT_EQ(heard(back), "a reconnecting");
}

TEST(EventRoutesTest, WhoComesBackToAnotherGatewayGoesOnWhereItWas) {
  FakeBackends fake;
  std::string id;
  for (const int turn : {1, 2, 3}) {
    BackendClients clients(fake.ClientOptions());
    EventHub hub({}, clients);
    LiveCount count(10, "listen", nullptr);
    hub.Start(nullptr);
    prometheus::Registry registry;
    GatewayMetrics metrics(registry);
    const auto authenticator = Authenticator::Create({}, Clock::Real()).value();
    const auto server =
        HttpServer::Start(RunningGateway::DefaultOptions(),
                          EventRoutes(hub, count), *authenticator, metrics)
            .value();
    // The second turn has one that was added while no gateway was there.
    fake.streams().Add(
        StreamEvent(absl::StrCat(turn), v1::STREAM_STATE_RUNNING));
    Listener listener(server->addresses()[0], "?types=stream",
                      id.empty() ? "none" : id);
    Heard heard = listener.NextNews();
    if (turn == 1) {
      EXPECT_EQ(heard.event, "reset");
      fake.streams().Add(StreamEvent("after", v1::STREAM_STATE_RUNNING));
      heard = listener.NextNews();
      // The hub may have begun to watch before the first was added.
      if (StreamId(heard) == "1") heard = listener.NextNews();
    }
    EXPECT_EQ(heard.event, "stream") << turn;
    EXPECT_EQ(StreamId(heard), turn == 1 ? "after" : absl::StrCat(turn));
    id = listener.last_id();
    clients.Cancel();
    hub.Stop();
    server->Stop();
  }
}

TEST(EventRoutesTest, WhatAServiceKeepsNoMoreIsAReset) {
  RunningGateway gateway;
  AwaitHub(gateway);
  Listener first(gateway.address(), "?types=stream");
  gateway.fake().streams().Add(StreamEvent("a", v1::STREAM_STATE_RUNNING));
  ASSERT_EQ(first.NextNews().event, "stream");
  gateway.fake().RestartEvents();
  // Who listens is told, and who comes back with an id of the run before.
  EXPECT_EQ(first.NextNews().event, "reset");
  Listener second(gateway.address(), "?types=stream", first.last_id());
  gateway.fake().streams().Add(StreamEvent("b", v1::STREAM_STATE_RUNNING));
  EXPECT_EQ(first.NextNews().event, "stream");
  EXPECT_EQ(second.NextNews().event, "stream");
  Listener foreign(gateway.address(), "", "0123456789abcdef-5_x_");
  std::vector<std::string> types;
  for (int i = 0; i < 3; ++i) {
    const Heard heard = foreign.NextNews();
    ASSERT_EQ(heard.event, "reset");
    types.push_back(nlohmann::json::parse(heard.data)["type"]);
  }
  EXPECT_THAT(types,
              ::testing::UnorderedElementsAre("stream", "record", "model"));
}

TEST(EventRoutesTest, AServiceThatIsAwayAndComesBackIsToldWithItsName) {
  RunningGateway gateway;
  AwaitHub(gateway);
  Listener listener(gateway.address(), "?types=record");
  Heard heard = listener.Next();
  EXPECT_EQ(heard.event, "peer");
  EXPECT_EQ(heard.data,
            R"({"service":"aggregator","connected":true,"reason":""})");
  gateway.fake().RestartEvents();
  heard = listener.Next();
  EXPECT_EQ(heard.event, "peer");
  EXPECT_THAT(heard.data, HasSubstr(R"("connected":false,"reason":"the s)"));
  // Back again, and anew.
  std::vector<std::string> events = {listener.Next().event,
                                     listener.Next().event};
  EXPECT_THAT(events, ::testing::UnorderedElementsAre("peer", "reset"));
}

TEST(EventRoutesTest, OnlyWhatIsAskedForIsTold) {
  RunningGateway gateway;
  AwaitHub(gateway);
  Listener records(gateway.address(), "?types=record,model&camera_id=CAM-b");
  gateway.fake().streams().Add(StreamEvent("b", v1::STREAM_STATE_RUNNING));
  gateway.fake().records().Add(RecordEvent(1, "CAM-a"));
  gateway.fake().records().Add(RecordEvent(2, "CAM-b"));
  Heard heard = records.NextNews();
  EXPECT_EQ(nlohmann::json::parse(heard.data)["record_id"], 2);
  gateway.fake().models().Add(ModelEvent("m", 1), "m", true);
  EXPECT_EQ(records.NextNews().event, "model");
  EXPECT_EQ(records.NextNews(absl::Milliseconds(50)).event, "");

  for (const char* bad :
       {"?types=stream,dogs", "?types=", "?camera_id=a,,b",
        "?camera_id=", "?no=1", "?types=stream&types=model"}) {
    EXPECT_EQ(
        Ask(gateway.address(), "GET", absl::StrCat("/api/v1/events", bad)).code,
        400)
        << bad;
  }
  EXPECT_EQ(Ask(gateway.address(), "HEAD", "/api/v1/events").code, 200);
}

TEST(EventRoutesTest, ATokenForCertainCamerasHearsOfTheseUntilItsLoginEnds) {
  RunningGateway gateway(
      RunningGateway::DefaultOptions(), {}, 256,
      {.required = true,
       .tokens = {absl::StrCat(Sha256Hex("of-two"),
                               " viewer guard camera=CAM-a camera=CAM-c")}});
  AwaitHub(gateway);
  const RawAnswer login =
      Ask(gateway.address(), "POST", "/api/v1/login", R"({"token":"of-two"})",
          {"Content-Type: application/json"});
  ASSERT_EQ(login.code, 200) << login.body;
  const std::string set = login.Header("Set-Cookie");
  const std::string cookie =
      absl::StrCat("Cookie: ", set.substr(0, set.find(';')));
  Listener all(gateway.address(), "", "", cookie + "\r\n");
  Listener of_others(gateway.address(), "?camera_id=CAM-b", "",
                     cookie + "\r\n");
  Listener by_token(gateway.address(), "", "",
                    "Authorization: Bearer of-two\r\n");
  for (Listener* listener : {&all, &of_others, &by_token}) {
    listener->AwaitPeers();
  }
  // Who guesses at the same address does not end what is listened to there.
  for (int i = 0; i <= Authenticator::kFreeFailures; ++i) {
    Ask(gateway.address(), "GET", "/api/v1/streams", "",
        {absl::StrCat("Authorization: Bearer guess-", i)});
  }
  for (const char* id : {"a", "b", "c"}) {
    gateway.fake().streams().Add(StreamEvent(id, v1::STREAM_STATE_RUNNING));
  }
  // After what is hers, and belongs to no camera.
  gateway.fake().models().Add(ModelEvent("animals", 3), "animals", true);
  std::set<std::string> heard;
  while (heard.size() < 3) {
    const Heard next = all.NextNews();
    ASSERT_FALSE(next.event.empty());
    heard.insert(
        next.event == "stream"
            ? nlohmann::json::parse(next.data)["camera_id"].get<std::string>()
            : next.event);
  }
  EXPECT_THAT(heard, ElementsAre("CAM-a", "CAM-c", "model"));
  EXPECT_EQ(of_others.NextNews().event, "model");
  EXPECT_FALSE(all.ClosedWithin(absl::Milliseconds(1500)));
  EXPECT_FALSE(by_token.ClosedWithin(absl::ZeroDuration()));
  EXPECT_EQ(Ask(gateway.address(), "POST", "/api/v1/logout", "", {cookie}).code,
            200);
  EXPECT_TRUE(all.ClosedWithin(kWait));
  EXPECT_TRUE(of_others.ClosedWithin(kWait));
}

TEST(EventRoutesTest, SamplesOfAStreamAreToldOnceASecondAtMost) {
  RunningGateway gateway;
  AwaitHub(gateway);
  Listener listener(gateway.address(), "?types=stream");
  v1::WatchStreamsResponse sample = StreamEvent("a", v1::STREAM_STATE_RUNNING);
  sample.set_sample(true);
  for (int i = 0; i < 10; ++i) gateway.fake().streams().Add(sample, "a", true);
  gateway.fake().streams().Add(StreamEvent("a", v1::STREAM_STATE_RECONNECTING),
                               "a");
  const Heard first = listener.NextNews();
  const Heard second =
      nlohmann::json::parse(first.data)["state"] == "reconnecting"
          ? first
          : listener.NextNews();
  EXPECT_EQ(nlohmann::json::parse(second.data)["state"], "reconnecting");
}

TEST(EventRoutesTest, SilenceIsBrokenByACommentThatKeepsTheId) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.idle_interval = absl::Milliseconds(100);
  RunningGateway gateway(options);
  AwaitHub(gateway);
  RawConnection connection(gateway.address());
  connection.Send("GET /api/v1/events HTTP/1.0\r\n\r\n");
  std::string all;
  const absl::Duration until = Clock::Real().SteadyNow() + kWait;
  while (!absl::StrContains(all, "all is quiet") &&
         Clock::Real().SteadyNow() < until) {
    all += connection.ReadSome(absl::Seconds(1));
  }
  EXPECT_THAT(
      all,
      HasSubstr(absl::StrCat(
          ": all is quiet\nid: ",
          gateway.hub().ring(EventHub::kStreams).Newest().ToToken(), "_")));
}

TEST(EventRoutesTest, AsManyListenAsMayAndTheirPlacesAreFreeWhenTheyGo) {
  RunningGateway gateway(RunningGateway::DefaultOptions(), {}, 2);
  auto first = std::make_unique<Listener>(gateway.address());
  Listener second(gateway.address());
  EXPECT_TRUE(MetricBecomes(gateway, absl::StrCat(kListeners, 2)));
  const RawAnswer refused = Ask(gateway.address(), "GET", "/api/v1/events");
  EXPECT_EQ(refused.code, 503);
  EXPECT_EQ(refused.Header("Retry-After"), "10");
  EXPECT_THAT(refused.body, HasSubstr("2 listen to events already"));
  first.reset();
  EXPECT_TRUE(MetricBecomes(gateway, absl::StrCat(kListeners, 1)));
  EXPECT_EQ(Listener(gateway.address()).head().code, 200);
}

TEST(EventRoutesTest, OneThatDoesNotReadHoldsUpNobodyAndIsToldToBeginAnew) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  RunningGateway gateway(options);
  AwaitHub(gateway);
  Listener slow(gateway.address(), "?types=stream");
  Listener quick(gateway.address(), "?types=record");
  // More than the sockets and the copy hold.
  v1::WatchStreamsResponse event = StreamEvent("a", v1::STREAM_STATE_RUNNING);
  event.mutable_stream()->set_state_reason(std::string(4000, 'x'));
  const auto position = [&] {
    return gateway.hub().ring(EventHub::kStreams).Newest().sequence;
  };
  for (int i = 1; i <= 9000; ++i) {
    gateway.fake().streams().Add(event);
    if (i % 8 != 0) continue;
    // The fake keeps 16 only.
    const absl::Duration until = Clock::Real().SteadyNow() + kWait;
    while (position() < i && Clock::Real().SteadyNow() < until) {
      Clock::Real().SleepFor(absl::Microseconds(50));
    }
  }
  gateway.fake().records().Add(RecordEvent(1, "CAM-a"));
  EXPECT_EQ(quick.NextNews(absl::Seconds(1)).event, "record");
  int told = 0;
  Heard heard = slow.NextNews();
  for (; heard.event == "stream"; heard = slow.NextNews()) ++told;
  EXPECT_EQ(heard.event, "reset");
  EXPECT_LT(told, 9000 - 4096);
}

TEST(EventRoutesTest, AStopEndsTheAnswersAtOnce) {
  auto gateway = std::make_unique<RunningGateway>();
  AwaitHub(*gateway);
  RawConnection connection(gateway->address());
  connection.Send(absl::StrCat(
      "GET /api/v1/events HTTP/1.1\r\nHost: ", gateway->address(), "\r\n\r\n"));
  ASSERT_THAT(connection.ReadSome(kWait), HasSubstr("200 OK"));
  const absl::Duration begin = Clock::Real().SteadyNow();
  gateway->server().Drain(absl::Seconds(20));
  EXPECT_LT(Clock::Real().SteadyNow() - begin, absl::Seconds(5));
  // The end of the chunks: no half an answer.
  EXPECT_TRUE(absl::EndsWith(connection.ReadAll(), "0\r\n\r\n"));
}

}  // namespace
}  // namespace camherd::gateway
