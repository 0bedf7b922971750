// SPDX-License-Identifier: Apache-2.0
// What a test of a camera found: a line a step, and below it what to do.

import { element, setHidden } from "/static/dom.js";

const list = document.getElementById("probe-steps");
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

export function showSteps(steps) {
  list.replaceChildren(...steps.map(line));
  setHidden(list, steps.length === 0);
}
