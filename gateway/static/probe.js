// SPDX-License-Identifier: Apache-2.0
// Testing a camera: what each step found, how long it took, and what to do.

import * as api from "/static/api.js";
import { act, element, formMessage, setHidden } from "/static/dom.js";
import * as store from "/static/store.js";

const names = {
  dns: "address",
  tcp: "connection",
  rtsp: "RTSP",
  auth: "login",
  codec: "codec",
  keyframe: "keyframe",
  gop: "keyframe interval",
  decode: "picture",
  luma: "brightness",
};

function line(step) {
  const kind = step.ok ? (step.hint === "" ? "good" : "warn") : "bad";
  const parts = [
    element("span", { className: `pill ${kind}`, textContent: step.ok ? "ok" : "failed" }),
    element("strong", { textContent: names[step.step] ?? step.step }),
    element("span", { className: "line", textContent: `${step.elapsed_seconds.toFixed(2)} s` }),
    element("p", { textContent: step.detail }),
  ];
  if (step.hint !== "") parts.push(element("p", { className: "line reason", textContent: step.hint }));
  return element("li", {}, ...parts);
}

export function showSteps(list, steps) {
  list.replaceChildren(...steps.map(line));
  setHidden(list, steps.length === 0);
}

// Tries a camera and says what it found: `say` as of formMessage. True: it works.
export async function probe(fields, list, say) {
  say("Testing the camera; this may take up to a minute.");
  showSteps(list, []);
  const answer = await api.probeSource(fields);
  say(answer.ok ? "The camera works." : "The camera does not work yet.", answer.ok ? "good" : "bad");
  showSteps(list, answer.steps);
  return answer.ok;
}

// Without its login, which the server does not tell.
const withoutLogin = (address) => address.replace(/^(rtsps?:\/\/)[^/@]*@/, "$1");

let count = 0;

// A wizard for a stream that has trouble: test with the login typed again, and where that works,
// give it to the stream. streamNow() -> the stream as it is.
export function diagnosis(streamNow) {
  const key = `diagnosis-${(count += 1)}`;
  const field = (label, name, properties) => {
    const input = element("input", { id: `${key}-${name}`, name, autocomplete: "off", spellcheck: false, ...properties });
    return element("div", { className: "field" }, element("label", { htmlFor: input.id, textContent: label }), input);
  };
  const transport = element("select", { id: `${key}-transport`, name: "transport" },
    element("option", { value: "tcp", textContent: "TCP" }), element("option", { value: "udp", textContent: "UDP" }));
  const test = element("button", { type: "submit", className: "primary", textContent: "Test the camera" });
  const use = element("button", { type: "button", textContent: "Use this for the stream", hidden: true });
  const message = element("p", { className: "message", role: "status", id: `${key}-message` });
  const steps = element("ol", { className: "steps wide", "aria-label": "What the test found", hidden: true });
  const address = field("Camera URL", "rtsp_url", { inputMode: "url", autocapitalize: "off" });
  address.classList.add("wide");
  const form = element("form", { noValidate: true, autocomplete: "off" }, address,
    field("User", "user", { autocapitalize: "off" }),
    field("Password", "password", { type: "password", autocomplete: "new-password" }),
    element("div", { className: "field" }, element("label", { htmlFor: transport.id, textContent: "Transport" }), transport),
    element("div", { className: "actions wide" }, test, use, message), steps);
  const node = element("section", { className: "card wide for-operator", hidden: true },
    element("h3", { textContent: "Find out why", tabIndex: -1 }),
    element("p", { className: "line", textContent: "Tries the camera from the server, step by step, beside the stream. "
      + "Logins are never shown, so type them again." }),
    form);
  const say = formMessage(form, message);
  const fields = () => {
    const given = { rtsp_url: form.elements.rtsp_url.value.trim(), transport: transport.value };
    for (const name of ["user", "password"]) {
      if (form.elements[name].value !== "") given[name] = form.elements[name].value;
    }
    return given;
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await act(test, say, async () => {
      use.hidden = true;
      use.hidden = !(await probe(fields(), steps, say));
    });
  });
  use.addEventListener("click", () => act(use, say, async () => {
    await api.changeStream(streamNow().stream_id, fields());
    say("The stream has it now.", "good");
    form.elements.password.value = "";
    use.hidden = true;
    await store.refresh("stream");
  }));
  return {
    node,
    open() {
      const stream = streamNow();
      if (form.elements.rtsp_url.value === "") form.elements.rtsp_url.value = withoutLogin(stream.rtsp_url);
      transport.value = stream.transport === "udp" ? "udp" : "tcp";
      node.hidden = false;
      node.scrollIntoView({ block: "start" });
      node.firstElementChild.focus({ preventScroll: true });
    },
  };
}
