// SPDX-License-Identifier: Apache-2.0
// The form that starts a stream. It checks nothing itself: what is wrong, the API says.

import * as api from "/static/api.js";
import { act, byId, element, formMessage, numberOr, reconcile, setText } from "/static/dom.js";
import { probe, showSteps } from "/static/probe.js";
import * as store from "/static/store.js";

const form = byId("start-form");
const models = byId("models");
const button = form.querySelector("button[type=submit]");
const test = byId("probe");
const steps = byId("probe-steps");
const beside = byId("start-models");
const say = formMessage(form, byId("start-message"));

function request() {
  const body = { rtsp_url: form.elements.rtsp_url.value.trim() };
  for (const name of ["camera_id", "user", "password", "detect_url"]) {
    if (form.elements[name].value !== "") body[name] = form.elements[name].value;
  }
  const interval = numberOr(form.elements.interval_seconds.value);
  if (interval !== "") body.interval_seconds = interval;
  for (const name of ["ttl_seconds", "max_frames"]) {
    const value = numberOr(form.elements[name].value);
    if (value !== "" && value !== 0) body[name] = value;
  }
  if (form.elements.transport.value !== "tcp") body.transport = form.elements.transport.value;
  if (form.elements.sampling_mode.value !== "auto") body.sampling_mode = form.elements.sampling_mode.value;
  const others = [...beside.querySelectorAll("input:checked")].map((box) => box.value);
  body.models = [...new Set([models.value, ...others])].filter((name) => name !== "");
  return body;
}

// Tries the camera, and leaves the form as it is.
function tryCamera() {
  const { rtsp_url, user, password, transport } = request();
  return act(test, say, () => probe({ rtsp_url, user, password, transport }, steps, say));
}

async function start() {
  const link = byId("start-open");
  link.hidden = true;
  say("Starting");
  showSteps(steps, []);
  const answer = await api.startStream(request());
  const name = answer.stream.process_name;
  say(answer.already_running ? `${name} is running already.` : `${name} is starting.`, "good");
  for (const secret of ["rtsp_url", "detect_url", "user", "password"]) form.elements[secret].value = "";
  link.href = `#/streams/${encodeURIComponent(answer.stream.stream_id)}`;
  link.hidden = false;
  await store.refresh("stream");
}

function label(model) {
  const state = model.state === "ready" ? "" : ` (${model.state === "absent" ? "not prepared yet" : model.state})`;
  return `${model.name}${state}`;
}

let touched = false;

// Keeps what the person has chosen while the states change.
function showChoices() {
  const list = [...store.models.values()];
  const wanted = ["", ...list.map((model) => model.name)];
  if (wanted.length !== models.options.length || wanted.some((name, i) => models.options[i].value !== name)) {
    const chosen = models.value;
    models.replaceChildren(
      element("option", { value: "", textContent: "none, only the brightest frames" }),
      ...list.map((model) => element("option", { value: model.name })),
    );
    const usable = (name) => list.some((model) => model.name === name && model.state !== "failed");
    models.value = touched && wanted.includes(chosen) ? chosen : (["animals", "people"].find(usable) ?? "");
  }
  reconcile(beside, list, (model) => model.name, (model) => ({
    node: element("label", { className: "check" }, element("input", { type: "checkbox", value: model.name }), model.name),
    update() {},
  }));
  list.forEach((model, i) => setText(models.options[i + 1], label(model)));
}

export function initStart() {
  showChoices();
  models.addEventListener("change", () => {
    touched = true;
  });
  test.addEventListener("click", tryCamera);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(button, say, start);
  });
  store.watch(({ topics }) => {
    if (topics.has("models")) showChoices();
  });
}
