// SPDX-License-Identifier: Apache-2.0
#include "services/inference/model_registry.h"

#include <malloc.h>

#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/camera_url.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"
#include "services/inference/inference_metrics.h"
#include "services/inference/requirements_check.h"
#include "services/inference/status_hint.h"
#include "services/inference/weights_finder.h"

namespace camherd::inference {

using camherd::v1::Model;
using camherd::v1::MODEL_STATE_ABSENT;
using camherd::v1::MODEL_STATE_CREATING;
using camherd::v1::MODEL_STATE_FAILED;
using camherd::v1::MODEL_STATE_LOADING;
using camherd::v1::MODEL_STATE_READY;

namespace {

// What an engine had is freed, but glibc keeps it for the next who asks.
void GiveMemoryBack() { malloc_trim(0); }

}  // namespace

ModelRegistry::ModelRegistry(const Options& options, EngineFactory factory,
                             Clock& clock, InferenceMetrics* metrics)
    : options_(options),
      factory_(std::move(factory)),
      clock_(clock),
      metrics_(metrics),
      fetcher_(options.fetcher) {
  ReadFolder();
}

ModelRegistry::~ModelRegistry() { Stop(); }

void ModelRegistry::ReadFolder() {
  std::error_code error;
  absl::MutexLock lock(&mu_);
  for (const auto& folder :
       std::filesystem::directory_iterator(options_.models_dir, error)) {
    const std::string name = folder.path().filename().string();
    if (!IsValidId(name) ||
        !std::filesystem::exists(folder.path() / "model.yaml", error)) {
      continue;
    }
    Entry& entry = entries_[name];
    entry.model.set_name(name);
    if (metrics_ != nullptr) metrics_->ModelKnown(name);
    absl::StatusOr<Manifest> manifest = ReadManifest(name);
    if (manifest.ok()) {
      Describe(entry, *std::move(manifest));
      SetState(entry, MODEL_STATE_ABSENT, "");
    } else {
      Fail(entry, manifest.status());
    }
  }
  if (entries_.empty()) {
    LogWarning("no models found", {{"models_dir", options_.models_dir}});
  }
}

absl::StatusOr<ModelRegistry::Manifest> ModelRegistry::ReadManifest(
    const std::string& name) const {
  CAMHERD_ASSIGN_OR_RETURN(
      ModelManifest manifest,
      ModelManifest::Load(absl::StrCat(options_.models_dir, "/", name)));
  return std::make_shared<const ModelManifest>(std::move(manifest));
}

void ModelRegistry::Describe(Entry& entry, Manifest manifest) {
  Model& model = entry.model;
  model.set_description(manifest->description);
  model.set_section(manifest->section);
  model.set_complaint_type(manifest->complaint_type);
  *model.mutable_classes() = {manifest->classes.begin(),
                              manifest->classes.end()};
  *model.mutable_complaint_classes() = {manifest->complaint_classes.begin(),
                                        manifest->complaint_classes.end()};
  *model.mutable_engines() = {manifest->engines.begin(),
                              manifest->engines.end()};
  entry.manifest = std::move(manifest);
}

std::vector<Model> ModelRegistry::List() {
  absl::MutexLock lock(&mu_);
  std::vector<Model> models;
  for (const auto& [name, entry] : entries_) models.push_back(Snapshot(entry));
  return models;
}

absl::StatusOr<Model> ModelRegistry::Get(const std::string& name) {
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, entry] : entries_) names.push_back(known);
    return absl::NotFoundError(absl::StrCat("model_name must be one of [",
                                            absl::StrJoin(names, ", "),
                                            "], got \"", name, "\""));
  }
  return Snapshot(found->second);
}

absl::Status ModelRegistry::CheckQuickly(const ModelManifest& manifest) const {
  absl::Status missing;
  for (const std::string& engine : manifest.engines) {
    if (NeedsWeights(manifest, engine) &&
        !FindWeights(manifest, engine, options_.int8, options_.weights_dir,
                     options_.cache_dir)
             .has_value() &&
        !(options_.fetch_weights &&
          FetchableWeights(manifest, engine) != nullptr)) {
      missing.Update(MissingWeights(manifest, options_.weights_dir));
      continue;
    }
    if (engine == "venv") {
      const auto hash = CheckRequirements(manifest.requirements_path());
      if (!hash.ok()) {
        return absl::FailedPreconditionError(hash.status().message());
      }
    }
    return absl::OkStatus();
  }
  return missing;
}

absl::StatusOr<Model> ModelRegistry::Prepare(const std::string& name,
                                             bool rebuild) {
  CAMHERD_RETURN_IF_ERROR(CheckId("model_name", name));
  absl::Status refused;
  {
    absl::MutexLock lock(&mu_);
    auto found = entries_.find(name);
    const bool there = std::filesystem::exists(
        absl::StrCat(options_.models_dir, "/", name, "/model.yaml"));
    if (found == entries_.end() && there) {
      // A folder that came after the start.
      found = entries_.try_emplace(name).first;
      found->second.model.set_name(name);
    }
    if (found != entries_.end()) {
      Entry& entry = found->second;
      const bool serves = entry.engine != nullptr;
      if (entry.preparing != nullptr || (serves && !rebuild)) {
        return Snapshot(entry);
      }
      if (stopped_) return absl::UnavailableError("the service is stopping");
      const absl::StatusOr<Manifest> manifest = ReadManifest(name);
      if (manifest.ok()) {
        if (!serves) Describe(entry, *manifest);
        refused = CheckQuickly(**manifest);
      } else {
        if (!serves) entry.manifest = nullptr;
        refused = absl::FailedPreconditionError(manifest.status().message());
      }
      if (refused.ok()) {
        Enqueue(name, entry, *manifest, rebuild);
      } else {
        Fail(entry, refused);
        if (metrics_ != nullptr) metrics_->ModelLoaded(name, false);
      }
    }
  }
  Notify(name);
  CAMHERD_RETURN_IF_ERROR(refused);
  return Get(name);
}

void ModelRegistry::Enqueue(const std::string& name, Entry& entry,
                            Manifest manifest, bool rebuild) {
  const bool environment = manifest->engines.front() == "venv";
  entry.preparing = std::move(manifest);
  entry.rebuild = rebuild;
  entry.model.clear_log_tail();
  entry.model.clear_hint();
  entry.model.set_progress_text("starting");
  if (entry.engine != nullptr) {
    entry.model.set_reason("loading anew: starting");
  } else {
    SetState(entry, environment ? MODEL_STATE_CREATING : MODEL_STATE_LOADING,
             "starting");
  }
  queue_.push_back(name);
  if (idle_threads_ < queue_.size()) {
    threads_.emplace_back([this] { RunPreparing(); });
  }
}

ModelRegistry::Use ModelRegistry::Acquire(const std::string& name) {
  Use use;
  bool needs_prepare = false;
  {
    absl::MutexLock lock(&mu_);
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      needs_prepare = true;
    } else {
      const Entry& entry = found->second;
      const auto state = entry.model.state();
      needs_prepare =
          state == MODEL_STATE_ABSENT ||
          (state == MODEL_STATE_FAILED &&
           clock_.SteadyNow() - entry.failed_at >= options_.failed_retry);
    }
  }
  if (needs_prepare) {
    const absl::StatusOr<Model> prepared = Prepare(name, false);
    if (!prepared.ok()) use.status = prepared.status();
  }
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    use.state = MODEL_STATE_FAILED;
    use.failure = std::string(use.status.message());
    return use;
  }
  const Entry& entry = found->second;
  use.status = absl::OkStatus();
  use.state = entry.model.state();
  use.manifest = entry.manifest;
  use.failure = entry.failure;
  use.weights_sha256 = entry.model.weights_sha256();
  if (use.state == MODEL_STATE_READY) use.engine = entry.engine;
  return use;
}

void ModelRegistry::RunPreparing() {
  const auto has_work = [this]() {
    mu_.AssertReaderHeld();
    return stopped_ || !queue_.empty();
  };
  for (;;) {
    std::string name;
    Manifest manifest;
    bool rebuild = false;
    {
      absl::MutexLock lock(&mu_);
      ++idle_threads_;
      mu_.Await(absl::Condition(&has_work));
      --idle_threads_;
      if (stopped_) return;
      name = queue_.front();
      queue_.pop_front();
      const Entry& entry = entries_[name];
      manifest = entry.preparing;
      rebuild = entry.rebuild;
    }
    const absl::Duration start = clock_.SteadyNow();
    absl::StatusOr<Loaded> loaded = Load(name, *manifest, rebuild);
    std::shared_ptr<Engine> old;
    {
      absl::MutexLock lock(&mu_);
      Entry& entry = entries_[name];
      entry.preparing = nullptr;
      if (metrics_ != nullptr && !stopped_) {
        metrics_->ModelLoaded(name, loaded.ok());
      }
      if (stopped_) {
        SetState(entry, MODEL_STATE_ABSENT, "the service is stopping");
      } else if (loaded.ok()) {
        Describe(entry, std::move(manifest));
        old = Serve(entry, *std::move(loaded));
        LogInfo(
            "model ready",
            {{"model", name},
             {"engine", entry.model.engine()},
             {"seconds", absl::ToDoubleSeconds(clock_.SteadyNow() - start)}});
      } else {
        Fail(entry, loaded.status());
      }
    }
    if (old != nullptr) {
      // Ends now, or with the last batch that still runs on it.
      old.reset();
      GiveMemoryBack();
    }
    Notify(name);
  }
}

std::shared_ptr<Engine> ModelRegistry::Serve(Entry& entry, Loaded loaded) {
  std::shared_ptr<Engine> old = TakeEngine(entry);
  if (old != nullptr) {
    std::erase_if(replaced_,
                  [](const auto& engine) { return engine.expired(); });
    replaced_.push_back(old);
  }
  Model& model = entry.model;
  entry.engine = std::move(loaded.engine);
  entry.failure.clear();
  entry.latencies.Clear();
  model.set_engine(entry.engine->name());
  model.set_device(entry.engine->device());
  model.set_precision(entry.engine->precision());
  const std::filesystem::path weights = loaded.weights.path;
  model.set_weights_file(weights.filename().string());
  model.set_weights_sha256(std::move(loaded.weights.sha256));
  model.set_weights_licence(std::move(loaded.weights.licence));
  model.set_progress_text("ready");
  SetState(entry, MODEL_STATE_READY, "");
  return old;
}

std::shared_ptr<Engine> ModelRegistry::TakeEngine(Entry& entry) {
  if (entry.engine != nullptr) {
    entry.past_restarts += entry.engine->worker_restarts();
  }
  return std::exchange(entry.engine, nullptr);
}

absl::StatusOr<ModelRegistry::Loaded> ModelRegistry::Load(
    const std::string& name, const ModelManifest& manifest, bool rebuild) {
  const PrepareProgressFn progress = [&](const PrepareProgress& step) {
    Report(name, step);
  };
  absl::Status failed;
  for (const std::string& engine : manifest.engines) {
    absl::StatusOr<Weights> weights = ProvideWeights(name, manifest, engine);
    if (!weights.ok()) {
      failed.Update(weights.status());
      continue;
    }
    absl::StatusOr<std::unique_ptr<Engine>> made =
        factory_({manifest, engine, weights->path, rebuild}, progress, stop_);
    if (made.ok()) return Loaded{*std::move(made), *std::move(weights)};
    if (absl::IsCancelled(made.status())) return made.status();
    (absl::IsUnimplemented(made.status()) ? LogInfo : LogWarning)(
        "engine cannot be made",
        {{"model", name}, {"engine", engine}, {"error", made.status()}});
    // What an engine that is built says is worth more than that another is
    // not.
    if (failed.ok() || absl::IsUnimplemented(failed)) failed = made.status();
  }
  return failed;
}

absl::StatusOr<ModelRegistry::Weights> ModelRegistry::ProvideWeights(
    const std::string& name, const ModelManifest& manifest,
    const std::string& engine) {
  Weights weights;
  if (!NeedsWeights(manifest, engine)) return weights;
  std::optional<FoundWeights> found =
      FindWeights(manifest, engine, options_.int8, options_.weights_dir,
                  options_.cache_dir);
  if (found.has_value() && !found->entry->sha256.empty() &&
      found->path ==
          absl::StrCat(options_.cache_dir, "/", found->entry->file)) {
    // What was fetched for a manifest of another day, or has been damaged.
    const auto sha256 = Sha256HexOfFile(found->path);
    if (!sha256.ok() || *sha256 != found->entry->sha256) found.reset();
  }
  if (found.has_value()) {
    weights.path = found->path;
    weights.licence = found->entry->licence;
    if (options_.int8 && !found->entry->int8) {
      LogWarning(
          "no int8 weights, models/quantize.py makes them",
          {{"model", name}, {"engine", engine}, {"instead", weights.path}});
    }
  } else {
    const WeightsEntry* entry = FetchableWeights(manifest, engine);
    const absl::Status missing = MissingWeights(manifest, options_.weights_dir);
    if (entry == nullptr || !options_.fetch_weights) return missing;
    weights.path = absl::StrCat(options_.cache_dir, "/", entry->file);
    weights.licence = entry->licence;
    const std::string text =
        absl::StrCat("fetching ", entry->file, " from ", entry->url);
    LogInfo("fetching weights",
            {{"model", name}, {"url", entry->url}, {"path", weights.path}});
    const absl::Status fetched = fetcher_.Fetch(
        entry->url, entry->sha256, weights.path,
        [&](int64_t done, int64_t total) {
          Report(name, {MODEL_STATE_LOADING,
                        static_cast<int>(done >> 10),
                        static_cast<int>(total >> 10),
                        text,
                        {}});
        },
        stop_);
    if (absl::IsCancelled(fetched)) return fetched;
    if (!fetched.ok()) {
      return WithHint(absl::FailedPreconditionError(absl::StrCat(
                          "weights cannot be fetched: ", fetched.message())),
                      HintOf(missing));
    }
  }
  // The .xml of a network holds its graph, the .bin beside it the weights.
  std::filesystem::path hashed = weights.path;
  if (hashed.extension() == ".xml") hashed.replace_extension(".bin");
  CAMHERD_ASSIGN_OR_RETURN(weights.sha256, Sha256HexOfFile(hashed.string()));
  return weights;
}

void ModelRegistry::Report(const std::string& name,
                           const PrepareProgress& progress) {
  {
    absl::MutexLock lock(&mu_);
    Entry& entry = entries_[name];
    Model& model = entry.model;
    const bool serves = entry.engine != nullptr;
    const bool same = (serves || model.state() == progress.state) &&
                      model.progress_text() == progress.text &&
                      model.progress_done() == progress.done;
    model.set_progress_done(progress.done);
    model.set_progress_total(progress.total);
    model.set_progress_text(progress.text);
    if (!progress.log_tail.empty()) {
      *model.mutable_log_tail() = {progress.log_tail.begin(),
                                   progress.log_tail.end()};
    }
    if (same) return;
    if (!serves && model.state() != progress.state) {
      SetState(entry, progress.state, progress.text);
    }
    model.set_reason(serves ? absl::StrCat("loading anew: ", progress.text)
                            : progress.text);
  }
  LogInfo("preparing model",
          {{"model", name},
           {"state", camherd::v1::ModelState_Name(progress.state)},
           {"step", progress.text}});
  Notify(name);
}

void ModelRegistry::SetState(Entry& entry, camherd::v1::ModelState state,
                             const std::string& reason) {
  Model& model = entry.model;
  model.set_state(state);
  model.set_reason(reason);
  *model.mutable_state_since() = ToProto(clock_.Now());
  if (state != MODEL_STATE_READY) {
    model.clear_engine();
    model.clear_device();
    model.clear_precision();
  }
  if (state != MODEL_STATE_FAILED) model.clear_hint();
}

void ModelRegistry::Fail(Entry& entry, const absl::Status& status) {
  if (entry.engine != nullptr) {
    entry.model.set_progress_text("failed");
    entry.model.set_reason(
        absl::StrCat("cannot be loaded anew, what was loaded serves on: ",
                     status.message()));
    entry.model.set_hint(HintOf(status));
    LogWarning("model cannot be loaded anew, what was loaded serves on",
               {{"model", entry.model.name()},
                {"error", status},
                {"hint", entry.model.hint()}});
    return;
  }
  entry.failure = std::string(status.message());
  entry.failed_at = clock_.SteadyNow();
  entry.model.set_progress_text("failed");
  SetState(entry, MODEL_STATE_FAILED, entry.failure);
  entry.model.set_hint(HintOf(status));
  LogWarning("model failed", {{"model", entry.model.name()},
                              {"error", status},
                              {"hint", entry.model.hint()}});
}

void ModelRegistry::ReportBroken(const std::string& name, const Engine* engine,
                                 const absl::Status& status) {
  std::shared_ptr<Engine> broken;
  {
    absl::MutexLock lock(&mu_);
    const auto found = entries_.find(name);
    if (found == entries_.end() || found->second.engine.get() != engine) return;
    Entry& entry = found->second;
    broken = TakeEngine(entry);
    if (entry.preparing == nullptr) {
      Fail(entry, status);
    } else {
      entry.failure = std::string(status.message());
      SetState(entry, MODEL_STATE_LOADING, entry.failure);
    }
  }
  broken->Stop();
  Notify(name);
}

void ModelRegistry::CountBatch(const std::string& name, bool ok) {
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  Model& model = found->second.model;
  if (ok) {
    model.set_batches_ok(model.batches_ok() + 1);
  } else {
    model.set_batches_failed(model.batches_failed() + 1);
  }
}

void ModelRegistry::AddLatency(const std::string& name,
                               absl::Duration a_picture) {
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(name);
  if (found != entries_.end()) found->second.latencies.Add(a_picture);
}

absl::StatusOr<Model> ModelRegistry::Unload(const std::string& name) {
  std::shared_ptr<Engine> engine;
  {
    absl::MutexLock lock(&mu_);
    const auto found = entries_.find(name);
    if (found != entries_.end()) {
      Entry& entry = found->second;
      if (entry.preparing != nullptr) {
        return absl::FailedPreconditionError(
            absl::StrCat("model ", name, " is being prepared"));
      }
      engine = TakeEngine(entry);
      if (engine != nullptr) {
        entry.model.set_progress_text("unloaded");
        SetState(entry, MODEL_STATE_ABSENT, "unloaded");
      }
    }
  }
  if (engine != nullptr) {
    engine->Stop();
    engine.reset();
    GiveMemoryBack();
    LogInfo("model unloaded", {{"model", name}});
    Notify(name);
  }
  return Get(name);
}

Model ModelRegistry::Snapshot(const Entry& entry) const {
  Model model = entry.model;
  model.set_worker_restarts(
      entry.past_restarts +
      (entry.engine == nullptr ? 0 : entry.engine->worker_restarts()));
  model.set_preparing(entry.preparing != nullptr);
  model.set_latency_p50_seconds(
      absl::ToDoubleSeconds(entry.latencies.Quantile(0.5)));
  model.set_latency_p99_seconds(
      absl::ToDoubleSeconds(entry.latencies.Quantile(0.99)));
  return model;
}

std::vector<ModelRegistry::EngineSample> ModelRegistry::Samples() {
  absl::MutexLock lock(&mu_);
  std::vector<EngineSample> samples;
  for (const auto& [name, entry] : entries_) {
    samples.push_back(
        {name, entry.model.state(),
         entry.engine == nullptr ? 0 : entry.engine->queue_depth(),
         Snapshot(entry).worker_restarts()});
  }
  return samples;
}

int64_t ModelRegistry::Watch(const std::string& name, WatchFn fn) {
  absl::MutexLock lock(&mu_);
  watches_[next_watch_] = {name, std::make_shared<WatchFn>(std::move(fn))};
  return next_watch_++;
}

void ModelRegistry::Unwatch(int64_t id) {
  std::shared_ptr<WatchFn> removed;  // Destroyed without the lock.
  absl::MutexLock lock(&mu_);
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  removed = found->second.second;
  watches_.erase(found);
}

void ModelRegistry::Notify(const std::string& name) {
  std::vector<std::shared_ptr<WatchFn>> watchers;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, watch] : watches_) {
      if (watch.first == name) watchers.push_back(watch.second);
    }
  }
  for (const auto& watcher : watchers) (*watcher)();
}

void ModelRegistry::Stop() {
  stop_.Set();
  std::vector<std::shared_ptr<Engine>> engines;
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mu_);
    if (stopped_) return;
    stopped_ = true;
    threads.swap(threads_);
    for (const std::weak_ptr<Engine>& replaced : replaced_) {
      if (auto engine = replaced.lock()) engines.push_back(std::move(engine));
    }
    for (auto& [name, entry] : entries_) {
      if (entry.engine == nullptr) continue;
      engines.push_back(TakeEngine(entry));
      SetState(entry, MODEL_STATE_ABSENT, "the service is stopping");
    }
  }
  for (const auto& engine : engines) engine->Stop();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace camherd::inference
