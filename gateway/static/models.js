// SPDX-License-Identifier: Apache-2.0
// The models and the building of their environments.

import * as api from "/static/api.js";
import { element, reconcile, setClass, setHidden, setText } from "/static/dom.js";

const list = document.getElementById("models-list");
const building = new Set(["creating", "installing", "loading"]);
const kinds = { ready: "good", failed: "bad", creating: "warn", installing: "warn", loading: "warn" };
const labels = { absent: "not prepared", creating: "creating", installing: "installing", loading: "loading", ready: "ready", failed: "failed" };

function create(first, refresh) {
  const name = element("h3");
  const state = element("span");
  const text = element("p", { className: "line" });
  const reason = element("p", { className: "line reason bad" });
  const progress = element("progress");
  const log = element("pre", { className: "log", tabIndex: 0 });
  const prepare = element("button", { type: "button", className: "small" });
  let model = first;

  prepare.addEventListener("click", async () => {
    prepare.disabled = true;
    try {
      await api.prepareModel(model.name);
      await refresh();
    } catch (error) {
      setText(reason, error.message);
      reason.hidden = false;
    } finally {
      prepare.disabled = false;
    }
  });

  return {
    node: element("li", {}, element("div", { className: "head" }, name, state), text, reason, progress, log,
      element("div", { className: "foot" }, prepare)),
    update(next) {
      model = next;
      const busy = building.has(model.state);
      const failed = model.state === "failed";
      setText(name, model.name);
      setText(state, labels[model.state] ?? model.state);
      setClass(state, `pill ${kinds[model.state] ?? ""}`);
      setText(text, busy ? model.progress_text || "Preparing" : model.description);
      const why = failed || (model.state === "ready" && !model.preparing) ? [model.reason, model.hint].filter((part) => part !== "").join("\n") : "";
      setText(reason, why);
      setHidden(reason, why === "");
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
      setHidden(log, !(busy || failed) || model.log_tail.length === 0);
      if (atEnd) log.scrollTop = log.scrollHeight;
      setText(prepare, failed ? "Try again" : "Prepare");
      setHidden(prepare, !(failed || model.state === "absent"));
      setHidden(prepare.parentElement, prepare.hidden);
    },
  };
}

export function showModels(models, refresh) {
  reconcile(list, models, (model) => model.name, (model) => create(model, refresh));
}
