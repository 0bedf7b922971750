// SPDX-License-Identifier: Apache-2.0
// The wall: a tile for each stream. Only tiles in view have pictures fetched and are kept new.

import * as api from "/static/api.js";
import { act, byId, confirmed, element, figure, picture, reconcile, saidIn, seconds, setClass, setHidden, setLine, setText, show, sum, words } from "/static/dom.js";
import * as store from "/static/store.js";

const list = byId("streams-list");
const search = byId("wall-search");
const filter = byId("wall-filter");
const order = byId("wall-order");
const boxes = byId("wall-boxes");
// Only the newest of those that are history.
const MAX_STOPPED = 60;

const kinds = { running: "good", starting: "", stopping: "", stopped: "", reconnecting: "warn" };
export const kindOf = (state) => kinds[state] ?? "bad";
export const isIll = (stream) => stream.condition && !["unspecified", "good"].includes(stream.condition);
const isOver = (stream) => stream.state === "stopped";
export const isTrouble = (stream) => !isOver(stream) && !["running", "starting", "stopping"].includes(stream.state);

export function retryText(stream) {
  if (!stream.next_retry_at || stream.state === "running") return "";
  const left = (Date.parse(stream.next_retry_at) - api.serverNow()) / 1000;
  return left > 0.5 ? `Next try in ${seconds(Math.ceil(left))}.` : "Trying now.";
}

export function ageText(stream) {
  if (!stream.last_frame_at) return "-";
  return seconds(Math.max(0, (api.serverNow() - Date.parse(stream.last_frame_at)) / 1000));
}

export function why(stream) {
  if (isOver(stream)) return stream.state_reason;
  return stream.state === "running" ? stream.sending_reason || stream.state_reason : stream.state_reason || stream.sending_reason;
}

export function about(stream) {
  const parts = [stream.camera_id];
  parts.push(stream.models.length > 0 ? stream.models.join(", ") : "no model");
  parts.push(`every ${stream.interval_seconds} s`);
  if (stream.width > 0) parts.push(`${stream.codec} ${stream.width}x${stream.height}`);
  return parts.join(" \u00b7 ");
}

// "dog 0.89 (3)" for each class of a record: highest score and number of boxes.
export function findings(record) {
  const classes = new Map();
  for (const section of record.sections) {
    for (const detection of section.detections) {
      const seen = classes.get(detection.class_name) ?? { best: 0, count: 0 };
      seen.best = Math.max(seen.best, detection.confidence);
      seen.count += 1;
      classes.set(detection.class_name, seen);
    }
  }
  return [...classes].map(([name, { best, count }]) => `${name} ${best.toFixed(2)}${count > 1 ? ` (${count})` : ""}`);
}

// Asks, stops, and shows the grid.
export async function stopAndShow(stream) {
  const yes = await confirmed({
    title: `Stop ${stream.process_name}?`,
    text: "Its frames that wait are still recorded, and its grid is made. Starting the camera again makes a new stream.",
    yes: "Stop it",
  });
  if (!yes) return;
  const answer = await api.stopStream(stream.stream_id);
  const cells = answer.grid?.cells ?? [];
  show({
    title: `${stream.process_name} is stopped`,
    picture: answer.grid_jpeg ? `data:image/jpeg;base64,${answer.grid_jpeg}` : "",
    alt: `The brightest frames of ${stream.process_name}, brightest first`,
    text: answer.grid_jpeg
      ? `The ${cells.length} brightest frames, brightest first. Saved as images/${answer.grid.file_name}.`
      : answer.grid_reason,
  });
  await store.refresh("stream");
}

export async function askAndRemove(stream) {
  const yes = await confirmed({
    title: `Remove ${stream.process_name}?`,
    text: "The stream is forgotten, and what still waits of it is dropped. Its records stay.",
    yes: "Remove it",
  });
  if (!yes) return false;
  await api.deleteStream(stream.stream_id);
  await store.refresh("stream");
  return true;
}

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) target.tile.seen(isIntersecting);
}, { rootMargin: "200px" });

// The inside of a tile, made when it first comes into view.
function content(address) {
  const shot = picture("no picture yet");
  const name = element("h3");
  const state = element("span");
  const condition = element("span", { className: "pill warn" });
  const quarantine = element("span", {
    className: "pill warn",
    textContent: "in quarantine",
    title: "It made a worker process crash or hang, and has one of its own for a while.",
  });
  const link = element("a", { className: "picture", href: address }, shot.node);
  const line = element("p", { className: "line" });
  const reason = element("p");
  const retry = element("p", { className: "line" });
  const tags = element("div", { className: "tags" });
  const numbers = { age: figure("last frame"), captured: figure("captured"), recorded: figure("recorded"),
    spooled: figure("waiting"), missed: figure("missed"), dropped: figure("dropped") };
  const stop = element("button", { type: "button", textContent: "Stop", className: "small for-operator" });
  const remove = element("button", { type: "button", textContent: "Remove", className: "small quiet for-operator" });
  const diagnose = element("a", { className: "button small for-operator", href: `${address}/diagnosis`, textContent: "Find out why" });
  const failed = element("p", { className: "line reason bad", role: "alert", hidden: true });
  const body = element(
    "div",
    { className: "body" },
    element("div", { className: "head" }, element("a", { href: address }, name), condition, quarantine, state),
    line, reason, retry, tags,
    element("dl", { className: "numbers" }, ...Object.values(numbers).map((one) => one.node)),
    failed,
    element("div", { className: "foot" }, element("a", { className: "button small", href: address, textContent: "Open" }), diagnose, stop, remove),
  );
  let stream = null;
  stop.addEventListener("click", () => act(stop, saidIn(failed), () => stopAndShow(stream)));
  remove.addEventListener("click", () => act(remove, saidIn(failed), () => askAndRemove(stream)));

  function tick() {
    setLine(retry, isOver(stream) ? "" : retryText(stream));
    numbers.age.set(isOver(stream) ? "-" : ageText(stream));
  }

  return {
    nodes: [link, body],
    tick,
    update(next) {
      stream = next;
      const kind = kindOf(stream.state);
      const over = isOver(stream);
      setText(name, stream.process_name);
      setText(state, words(stream.state));
      setClass(state, `pill ${kind}`);
      setLine(condition, isIll(stream) && !over ? words(stream.condition) : "");
      setHidden(quarantine, !stream.quarantined_until || over);
      setText(line, about(stream));
      setLine(reason, why(stream));
      setClass(reason, `line reason ${kind === "bad" ? "bad" : ""}`);
      const record = store.newestRecord.get(stream.stream_id);
      const tagged = record ? findings(record) : [];
      if (tags.dataset.shown !== tagged.join()) {
        tags.dataset.shown = tagged.join();
        tags.replaceChildren(...tagged.map((text) => element("span", { className: "pill", textContent: text })));
      }
      setHidden(tags, tagged.length === 0);
      const accounting = stream.accounting ?? {};
      numbers.captured.set(accounting.captured ?? 0);
      numbers.recorded.set(accounting.recorded ?? 0);
      numbers.spooled.set(accounting.spooled ?? 0);
      numbers.missed.set(sum(accounting.missed));
      numbers.dropped.set(sum(accounting.dropped));
      setHidden(stop, over || stream.state === "stopping");
      setHidden(remove, !over);
      setHidden(diagnose, !isTrouble(stream));
      link.setAttribute("aria-label", `Open ${stream.process_name}`);
      if (boxes.checked && record) {
        shot.show(api.recordPicture(record, 640), `Newest result of ${stream.process_name}, with boxes`);
      } else if (stream.last_frame_at) {
        shot.show(api.latestPicture(stream.stream_id, stream.last_frame_at, 640), `Last picture of ${stream.process_name}`);
      }
      tick();
    },
  };
}

function create(first) {
  const node = element("li", { className: "card tile" });
  let stream = first;
  let inside = null;
  let visible = false;
  const view = {
    node,
    seen(now) {
      visible = now;
      if (!visible) return;
      if (!inside) {
        inside = content(`#/streams/${encodeURIComponent(stream.stream_id)}`);
        node.append(...inside.nodes);
      }
      inside.update(stream);
    },
    tick() {
      if (visible) inside.tick();
    },
    update(next) {
      stream = next;
      node.classList.toggle("is-bad", isTrouble(stream));
      node.classList.toggle("is-over", isOver(stream));
      if (visible) inside.update(stream);
    },
    gone: () => seen.unobserve(node),
  };
  node.tile = view;
  seen.observe(node);
  return view;
}

const filters = {
  live: (stream) => !isOver(stream),
  running: (stream) => stream.state === "running",
  trouble: isTrouble,
  picture: (stream) => !isOver(stream) && isIll(stream),
  stopped: isOver,
};

function fits(stream, text) {
  if (text === "") return true;
  return [stream.process_name, stream.camera_id, stream.rtsp_url, stream.state, stream.stream_id, ...stream.models]
    .some((part) => part.toLowerCase().includes(text));
}

const collator = new Intl.Collator(undefined, { numeric: true });
const byName = (a, b) => collator.compare(a.process_name, b.process_name);
const rank = (stream) => (isTrouble(stream) ? 0 : isIll(stream) ? 1 : 2);
const orders = {
  name: byName,
  trouble: (a, b) => rank(a) - rank(b) || byName(a, b),
};

function summary(all) {
  const live = all.filter(filters.live);
  const parts = [`${live.length} ${live.length === 1 ? "stream" : "streams"}`];
  const count = (what, test) => {
    const number = live.filter(test).length;
    if (number > 0) parts.push(`${number} ${what}`);
  };
  count("running", filters.running);
  count("in trouble", filters.trouble);
  count("with a bad picture", filters.picture);
  return parts.join(" \u00b7 ");
}

function redraw() {
  const all = [...store.streams.values()];
  const text = search.value.trim().toLowerCase();
  let shown = all.filter((stream) => filters[filter.value](stream) && fits(stream, text));
  if (filter.value === "stopped") {
    shown.sort((a, b) => String(b.stopped_at).localeCompare(String(a.stopped_at)));
    shown = shown.slice(0, MAX_STOPPED);
  } else {
    shown.sort(orders[order.value]);
  }
  reconcile(list, shown, (stream) => stream.stream_id, create);
  setText(byId("streams-count"), summary(all));
  const live = all.some(filters.live);
  setLine(byId("streams-empty"), shown.length > 0 || store.connection.state === "connecting" ? ""
    : live || filter.value !== "live" || text !== "" ? "No stream fits." : "No stream is running.");
  setLine(byId("streams-notice"), store.listErrors.get("streams") ?? "");
}

export function initWall() {
  for (const input of [search, filter, order, boxes]) input.addEventListener("input", redraw);
  store.watch(({ topics }) => {
    if (["streams", "records", "connection"].some((topic) => topics.has(topic))) redraw();
  });
  // Countdowns and ages move by themselves.
  setInterval(() => {
    for (const view of list.views?.values() ?? []) view.tick();
  }, 500);
}
