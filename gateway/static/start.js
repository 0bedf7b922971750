// SPDX-License-Identifier: Apache-2.0
// The form that starts a stream. It checks nothing itself: what is wrong, the API says.

import * as api from "/static/api.js";
import { element, setText } from "/static/dom.js";
import { showSteps } from "/static/probe.js";

const form = document.getElementById("start-form");
const message = document.getElementById("start-message");
const models = document.getElementById("models");
const button = form.querySelector("button[type=submit]");
const test = document.getElementById("probe");
const fields = ["rtsp_url", "camera_id", "interval_seconds", "user", "password"];

function say(text, kind) {
  setText(message, text);
  message.className = `message ${kind}`;
}

// Marks the field that the message begins with.
function mark(text) {
  for (const name of fields) {
    const input = form.elements[name];
    const named = text.startsWith(`${name} `);
    input.setAttribute("aria-invalid", named ? "true" : "false");
    if (named) input.focus();
  }
}

function request() {
  const body = { rtsp_url: form.elements.rtsp_url.value.trim() };
  for (const name of ["camera_id", "user", "password"]) {
    if (form.elements[name].value !== "") body[name] = form.elements[name].value;
  }
  const interval = form.elements.interval_seconds.value.trim();
  // What is no number goes out as it is, for the API to name it.
  if (interval !== "") body.interval_seconds = Number.isFinite(Number(interval)) ? Number(interval) : interval;
  body.models = models.value === "" ? [] : [models.value];
  return body;
}

// Tries the camera, and leaves the form as it is.
async function probe() {
  const { rtsp_url, user, password } = request();
  test.disabled = true;
  say("Testing the camera; this may take up to a minute.", "");
  mark("");
  showSteps([]);
  try {
    const answer = await api.probeSource({ rtsp_url, user, password });
    say(answer.ok ? "The camera works." : "The camera does not work yet.", answer.ok ? "good" : "bad");
    showSteps(answer.steps);
  } catch (error) {
    say(error.message, "bad");
    mark(error.message);
  } finally {
    test.disabled = false;
  }
}

export function initStart(onStarted) {
  showModelChoices([]);
  test.addEventListener("click", probe);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    say("Starting", "");
    mark("");
    showSteps([]);
    try {
      const answer = await api.startStream(request());
      const name = answer.stream.process_name;
      say(answer.already_running ? `${name} is running already.` : `${name} is starting.`, "good");
      for (const secret of ["rtsp_url", "user", "password"]) form.elements[secret].value = "";
      onStarted();
    } catch (error) {
      say(error.message, "bad");
      mark(error.message);
    } finally {
      button.disabled = false;
    }
  });
}

function label(model) {
  const state = model.state === "ready" ? "" : ` (${model.state === "absent" ? "not prepared yet" : model.state})`;
  return `${model.name}${state}`;
}

let touched = false;
models.addEventListener("change", () => {
  touched = true;
});

// Keeps what the person has chosen while the states change.
export function showModelChoices(list) {
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
  list.forEach((model, i) => setText(models.options[i + 1], label(model)));
}
