// SPDX-License-Identifier: Apache-2.0
// The models and the building of their environments.

import * as api from "/static/api.js";
import { act, byId, confirmed, element, reconcile, saidIn, seconds, setClass, setHidden, setLine, setText } from "/static/dom.js";
import * as store from "/static/store.js";

const building = new Set(["creating", "installing", "loading"]);
const kinds = { ready: "good", failed: "bad", creating: "warn", installing: "warn", loading: "warn" };
const labels = { absent: "not prepared" };

function facts(model) {
  const parts = [];
  if (model.engine !== "") parts.push([model.engine, model.device, model.precision].filter((part) => part).join(" "));
  if (model.latency_p50_seconds > 0) parts.push(`${Math.round(model.latency_p50_seconds * 1000)} ms a picture`);
  if (model.batches_ok + model.batches_failed > 0) parts.push(`${model.batches_ok} ${model.batches_ok === 1 ? "batch" : "batches"}, ${model.batches_failed} failed`);
  if (model.worker_restarts > 0) parts.push(`${model.worker_restarts} restarts`);
  if (model.weights_file !== "") parts.push(model.weights_file);
  return parts.join(" \u00b7 ");
}

function create(first) {
  const name = element("h3");
  const state = element("span");
  const text = element("p", { className: "line" });
  const classes = element("p", { className: "line" });
  const numbers = element("p", { className: "line" });
  const reason = element("p", { className: "line reason bad" });
  const failed = element("p", { className: "line reason bad", role: "alert", hidden: true });
  const progress = element("progress");
  const log = element("pre", { className: "log", tabIndex: 0 });
  const prepare = element("button", { type: "button", className: "small for-operator for-all" });
  const unload = element("button", { type: "button", className: "small quiet for-admin for-all", textContent: "Unload" });
  let model = first;

  const run = (button, action) => act(button, saidIn(failed), async () => {
    await action();
    await store.refresh("model");
  });

  prepare.addEventListener("click", () => run(prepare, () => api.prepareModel(model.name, model.state === "ready")));
  unload.addEventListener("click", () => run(unload, async () => {
    const yes = await confirmed({
      title: `Unload ${model.name}?`,
      text: "Its memory is given back. The next batch that needs it loads it again.",
      yes: "Unload it",
    });
    if (yes) await api.unloadModel(model.name);
  }));

  return {
    node: element("li", { className: "card" }, element("div", { className: "head" }, name, state), text, classes, numbers,
      reason, progress, log, failed, element("div", { className: "foot" }, prepare, unload)),
    update(next) {
      model = next;
      const busy = building.has(model.state) || model.preparing;
      const broken = model.state === "failed";
      setText(name, model.name);
      setText(state, labels[model.state] ?? model.state);
      setClass(state, `pill ${kinds[model.state] ?? ""}`);
      setText(text, busy ? model.progress_text || "Preparing" : model.description);
      setLine(classes, model.classes.length > 12 ? `${model.classes.length} classes` : model.classes.join(", "));
      setLine(numbers, facts(model));
      const said = broken || (model.state === "ready" && !model.preparing);
      setLine(reason, said ? [model.reason, model.hint].filter((part) => part !== "").join("\n") : "");
      setHidden(progress, !busy);
      progress.setAttribute("aria-label", `Preparing ${model.name}`);
      if (model.progress_total > 0) {
        progress.max = model.progress_total;
        progress.value = model.progress_done;
      } else {
        progress.removeAttribute("value");
      }
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
      setText(log, model.log_tail.join("\n"));
      log.setAttribute("aria-label", `Log of ${model.name}`);
      setHidden(log, !(busy || broken) || model.log_tail.length === 0);
      if (atEnd) log.scrollTop = log.scrollHeight;
      setText(prepare, broken ? "Try again" : model.state === "ready" ? "Load anew" : "Prepare");
      setHidden(prepare, busy);
      setHidden(unload, model.state !== "ready" || busy);
      prepare.title = model.state_since ? `In this state for ${seconds((api.serverNow() - Date.parse(model.state_since)) / 1000)}` : "";
    },
  };
}

export function initModels() {
  store.watch(({ topics }) => {
    if (!topics.has("models")) return;
    reconcile(byId("models-list"), [...store.models.values()], (model) => model.name, create);
    setLine(byId("models-notice"), store.listErrors.get("models") ?? "");
  });
}
