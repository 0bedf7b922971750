// SPDX-License-Identifier: Apache-2.0
#include "gateway/live_pictures.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::gateway {
namespace {

// The boundary follows its picture at once: a browser shows a part when the
// next one begins.
std::string Part(const v1::Frame& frame) {
  return absl::StrCat(
      "Content-Type: image/jpeg\r\nContent-Length: ", frame.jpeg().size(),
      "\r\nX-Frame-Seq: ", frame.info().frame_seq(), "\r\nX-Captured-At: ",
      FormatRfc3339(FromProto(frame.info().captured_at())), "\r\n\r\n",
      frame.jpeg(), "\r\n--", LivePictures::kBoundary, "\r\n");
}

}  // namespace

// One picture that changes, and who watches it.
class LivePictures::Feed {
 public:
  explicit Feed(v1::GetLatestFrameRequest request)
      : request_(std::move(request)) {}

  const v1::GetLatestFrameRequest& request() const { return request_; }

  void Add(const std::shared_ptr<LiveBody>& viewer) {
    absl::MutexLock lock(&mu_);
    viewers_.push_back(viewer);
  }

  // Fetches for the first time, whoever comes first.
  absl::Status Open(BackendClients& clients) ABSL_LOCKS_EXCLUDED(open_mu_) {
    absl::MutexLock lock(&open_mu_);
    if (open_) return absl::OkStatus();
    absl::StatusOr<v1::GetLatestFrameResponse> frame =
        clients.GetLatestFrame(request_);
    // None yet.
    if (!frame.ok() && !absl::IsNotFound(frame.status())) {
      return frame.status();
    }
    open_ = true;
    if (frame.ok()) Take(frame->frame());
    return absl::OkStatus();
  }

  void Take(const v1::Frame& frame) {
    {
      absl::MutexLock lock(&mu_);
      if (frame.info().frame_seq() == frame_seq_) return;
      frame_seq_ = frame.info().frame_seq();
      part_ = std::make_shared<const std::string>(Part(frame));
      ++version_;
    }
    WakeViewers();
  }
  void End() {
    {
      absl::MutexLock lock(&mu_);
      if (ended_) return;
      ended_ = true;
    }
    WakeViewers();
  }

  // True: there is a sample, or a recorded batch, that was not there before.
  bool HasNews(const v1::Stream& stream) {
    const std::string now = request_.acknowledged()
                                ? absl::StrCat(stream.accounting().recorded())
                                : absl::StrCat(absl::ToUnixNanos(
                                      FromProto(stream.last_frame_at())));
    absl::MutexLock lock(&mu_);
    return std::exchange(news_, now) != now;
  }

  // One fetch at a time. True: the caller is to fetch.
  bool WantsFetch(bool look) {
    absl::MutexLock lock(&mu_);
    look_ = look_ || look;
    again_ = fetching_;
    return !std::exchange(fetching_, true);
  }
  bool TakeLook() {
    absl::MutexLock lock(&mu_);
    return std::exchange(look_, false);
  }
  // True: fetch again, since there was more meanwhile.
  bool Fetched() {
    absl::MutexLock lock(&mu_);
    fetching_ = std::exchange(again_, false);
    return fetching_;
  }
  void NotFetched() {
    absl::MutexLock lock(&mu_);
    fetching_ = again_ = false;
  }

  struct Picture {
    int64_t version = 0;
    // Null before the first. shared_ptr: others send it too.
    std::shared_ptr<const std::string> part;
    bool ended = false;
  };
  Picture Newest() {
    absl::MutexLock lock(&mu_);
    return {.version = version_, .part = part_, .ended = ended_};
  }

 private:
  void WakeViewers() ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<std::shared_ptr<LiveBody>> here;
    {
      absl::MutexLock lock(&mu_);
      std::vector<std::weak_ptr<LiveBody>> left;
      for (std::weak_ptr<LiveBody>& viewer : viewers_) {
        if (auto one = viewer.lock()) {
          here.push_back(std::move(one));
          left.push_back(std::move(viewer));
        }
      }
      viewers_ = std::move(left);
    }
    for (const auto& viewer : here) viewer->Wake();
  }

  const v1::GetLatestFrameRequest request_;

  absl::Mutex open_mu_;
  bool open_ ABSL_GUARDED_BY(open_mu_) = false;

  absl::Mutex mu_;
  std::vector<std::weak_ptr<LiveBody>> viewers_ ABSL_GUARDED_BY(mu_);
  int64_t frame_seq_ ABSL_GUARDED_BY(mu_) = -1;
  int64_t version_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<const std::string> part_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::string news_ ABSL_GUARDED_BY(mu_);
  bool fetching_ ABSL_GUARDED_BY(mu_) = false;
  bool again_ ABSL_GUARDED_BY(mu_) = false;
  bool look_ ABSL_GUARDED_BY(mu_) = false;
};

class LivePictures::Viewer : public LiveBody {
 public:
  Viewer(FeedPtr feed, LiveCount::Place place)
      : feed_(std::move(feed)), place_(std::move(place)) {}

  std::optional<std::string> Next() override {
    const Feed::Picture newest = feed_->Newest();
    if (newest.ended) return std::nullopt;
    if (newest.version == told_) return "";
    return Send(newest);
  }
  // The same again.
  std::string Idle() override {
    const Feed::Picture newest = feed_->Newest();
    return newest.part == nullptr ? "\r\n" : Send(newest);
  }

 private:
  std::string Send(const Feed::Picture& picture) {
    std::string begin = std::exchange(begun_, true)
                            ? ""
                            : absl::StrCat("--", kBoundary, "\r\n");
    told_ = picture.version;
    return begin + *picture.part;
  }

  const FeedPtr feed_;
  const LiveCount::Place place_;
  bool begun_ = false;
  int64_t told_ = 0;
};

LivePictures::LivePictures(const Options& options, BackendClients& clients)
    : clients_(clients), fetches_(options.threads, options.queue) {}

LivePictures::~LivePictures() { Stop(); }

void LivePictures::Stop() { fetches_.Stop(); }

LivePictures::FeedPtr LivePictures::FeedOf(
    const v1::GetLatestFrameRequest& request) {
  absl::MutexLock lock(&mu_);
  std::weak_ptr<Feed>& slot = feeds_[request.SerializeAsString()];
  FeedPtr feed = slot.lock();
  if (feed == nullptr) {
    feed = std::make_shared<Feed>(request);
    slot = feed;
  }
  return feed;
}

std::vector<LivePictures::FeedPtr> LivePictures::Feeds() {
  std::vector<FeedPtr> feeds;
  absl::MutexLock lock(&mu_);
  for (auto it = feeds_.begin(); it != feeds_.end();) {
    if (FeedPtr feed = it->second.lock()) {
      feeds.push_back(std::move(feed));
      ++it;
    } else {
      it = feeds_.erase(it);
    }
  }
  return feeds;
}

absl::StatusOr<std::shared_ptr<LiveBody>> LivePictures::View(
    v1::GetLatestFrameRequest request, LiveCount::Place place) {
  v1::GetStreamRequest get;
  get.set_stream(request.stream());
  CAMHERD_ASSIGN_OR_RETURN(const v1::Stream stream, clients_.GetStream(get));
  if (!stream.desired_running()) {
    return absl::FailedPreconditionError(
        absl::StrCat("stream \"", request.stream(), "\" is stopped"));
  }
  request.set_stream(stream.stream_id());
  const FeedPtr feed = FeedOf(request);
  auto viewer = std::make_shared<Viewer>(feed, std::move(place));
  // Before the first picture, so that none that comes meanwhile is missed.
  feed->Add(viewer);
  CAMHERD_RETURN_IF_ERROR(feed->Open(clients_));
  return std::shared_ptr<LiveBody>(std::move(viewer));
}

void LivePictures::OnStream(const v1::WatchStreamsResponse* news) {
  for (const FeedPtr& feed : Feeds()) {
    if (news == nullptr) {
      Refresh(feed, /*look=*/true);
      continue;
    }
    const v1::Stream& stream = news->stream();
    if (feed->request().stream() != stream.stream_id()) continue;
    if (news->deleted() || !stream.desired_running()) {
      feed->End();
    } else if (feed->HasNews(stream)) {
      Refresh(feed, /*look=*/false);
    }
  }
}

void LivePictures::Refresh(const FeedPtr& feed, bool look) {
  if (!feed->WantsFetch(look)) return;
  if (!fetches_.TryRun([this, feed] { Fetch(feed); })) feed->NotFetched();
}

void LivePictures::Fetch(const FeedPtr& feed) {
  do {
    if (feed->TakeLook()) {
      v1::GetStreamRequest get;
      get.set_stream(feed->request().stream());
      const absl::StatusOr<v1::Stream> stream = clients_.GetStream(get);
      if (absl::IsNotFound(stream.status()) ||
          (stream.ok() && !stream->desired_running())) {
        feed->End();
      }
    }
    const absl::StatusOr<v1::GetLatestFrameResponse> frame =
        clients_.GetLatestFrame(feed->request());
    // What fails comes with the next sample.
    if (frame.ok()) feed->Take(frame->frame());
  } while (feed->Fetched());
}

}  // namespace camherd::gateway
