// SPDX-License-Identifier: Apache-2.0
// A line chart over time, as SVG.

import { shortTime, element, svg } from "/static/dom.js";

const WIDTH = 600;
const HEIGHT = 180;
// Room for the text at its size on a phone.
const LEFT = 62;
const BOTTOM = 26;
const TOP = 16;

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value);
}

// chart(title, unit).draw(points): points { at: milliseconds, value } in order of time; `top`: the
// axis ends there, else where the values do. `bars`: a bar a point instead of a line.
export function chart(title, { unit = "", top = 0, bars = false } = {}) {
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart" });
  const text = element("p", { className: "line" });
  const node = element("figure", { className: "figure" }, element("figcaption", { textContent: title }), root, text);
  let shown = "";

  function draw(points) {
    const key = `${points.length}/${points[0]?.at}/${points.at(-1)?.at}/${points.at(-1)?.value}`;
    if (key === shown) return;
    shown = key;
    if (points.length === 0) {
      root.setAttribute("hidden", "");
      root.setAttribute("aria-label", `${title}: nothing yet`);
      text.textContent = "Nothing yet.";
      return;
    }
    root.removeAttribute("hidden");
    const values = points.map((point) => point.value);
    const most = Math.max(...values);
    const end = top || niceTop(most);
    const [from, to] = [points[0].at, Math.max(points.at(-1).at, points[0].at + 1000)];
    const x = (at) => LEFT + ((at - from) / (to - from)) * (WIDTH - LEFT - 8);
    const y = (value) => TOP + (1 - value / end) * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const at = y(end * share);
      parts.push(svg("line", { x1: LEFT, x2: WIDTH - 8, y1: at, y2: at, class: "rule" }));
      parts.push(svg("text", { x: LEFT - 6, y: at + 4, class: "right" }, String(end * share)));
    }
    parts.push(svg("text", { x: LEFT, y: HEIGHT - 5 }, shortTime(from)));
    parts.push(svg("text", { x: WIDTH - 8, y: HEIGHT - 5, class: "right" }, shortTime(to)));
    if (bars) {
      for (const { at, value } of points) {
        parts.push(svg("line", { x1: x(at), x2: x(at), y1: y(0), y2: y(value), class: "bar-line" }));
      }
    } else {
      const line = points.map(({ at, value }) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      parts.push(svg("polyline", { points: line, class: "data" }));
    }
    root.replaceChildren(...parts);
    const said = `${Math.round(points.at(-1).value * 10) / 10}${unit} now, ${Math.round(Math.min(...values) * 10) / 10} to ${Math.round(most * 10) / 10}`;
    root.setAttribute("aria-label", `${title}: ${said}`);
    text.textContent = said;
  }
  return { node, draw };
}
