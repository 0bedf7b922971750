// SPDX-License-Identifier: Apache-2.0
// The streams: a card each, with what is asked for and what is observed.

import * as api from "/static/api.js";
import { element, reconcile, seconds, setClass, setHidden, setText, show, sum, words } from "/static/dom.js";

const list = document.getElementById("streams-list");
const stoppedList = document.getElementById("stopped-list");
const stopped = document.getElementById("stopped");
// Only the newest of those that are history.
const MAX_STOPPED = 12;

const kinds = { running: "good", starting: "", stopping: "", stopped: "", reconnecting: "warn" };
const kindOf = (state) => kinds[state] ?? "bad";

function number(label) {
  const value = element("dd");
  return { node: element("div", {}, element("dt", { textContent: label }), value), set: (text) => setText(value, String(text)) };
}

function retryText(stream) {
  if (!stream.next_retry_at || stream.state === "running") return "";
  const left = (Date.parse(stream.next_retry_at) - api.serverNow()) / 1000;
  return left > 0.5 ? `Next try in ${seconds(Math.ceil(left))}.` : "Trying now.";
}

function about(stream) {
  const parts = [stream.camera_id];
  parts.push(stream.models.length > 0 ? stream.models.join(", ") : "no model");
  parts.push(`every ${stream.interval_seconds} s`);
  if (stream.width > 0) parts.push(`${stream.codec} ${stream.width}x${stream.height}`);
  return parts.join(" \u00b7 ");
}

function create(first, refresh) {
  const image = element("img", { alt: "", hidden: true, decoding: "async" });
  const none = element("span", { textContent: "no picture yet" });
  const picture = element("button", { type: "button", className: "picture" }, none, image);
  const name = element("h3");
  const state = element("span");
  const condition = element("span", { className: "pill warn" });
  const quarantine = element("span", {
    className: "pill warn",
    textContent: "in quarantine",
    title: "It made a worker process crash or hang, and has one of its own for a while.",
  });
  const line = element("p", { className: "line" });
  const url = element("p", { className: "line" });
  const reason = element("p");
  const retry = element("p", { className: "line" });
  const numbers = {
    captured: number("captured"),
    recorded: number("recorded"),
    spooled: number("waiting"),
    missed: number("missed"),
    dropped: number("dropped"),
    age: number("last frame"),
  };
  const stop = element("button", { type: "button", textContent: "Stop", className: "small" });
  const grid = element("button", { type: "button", textContent: "Brightest", className: "small" });
  const remove = element("button", { type: "button", textContent: "Remove", className: "small quiet" });
  const failed = element("p", { className: "line reason bad", role: "alert", hidden: true });
  const node = element(
    "li",
    { className: "card" },
    picture,
    element(
      "div",
      { className: "body" },
      element("div", { className: "head" }, name, condition, quarantine, state),
      line,
      url,
      reason,
      retry,
      element("dl", { className: "numbers" }, ...Object.values(numbers).map((n) => n.node)),
      failed,
      element("div", { className: "foot" }, stop, grid, remove),
    ),
  );
  let stream = first;
  let shown = "";

  image.addEventListener("load", () => {
    image.hidden = false;
    none.hidden = true;
  });
  image.addEventListener("error", () => {
    image.hidden = true;
    none.hidden = false;
  });

  async function act(button, action) {
    button.disabled = true;
    failed.hidden = true;
    try {
      await action();
      await refresh();
    } catch (error) {
      setText(failed, error.message);
      failed.hidden = false;
    } finally {
      button.disabled = false;
    }
  }

  stop.addEventListener("click", () =>
    act(stop, async () => {
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
    }));
  grid.addEventListener("click", () =>
    show({
      title: `${stream.process_name}: brightest frames`,
      picture: api.gridPicture(stream.stream_id),
      alt: `The brightest frames of ${stream.process_name}, brightest first`,
      text: `${stream.brightest_count} of 9 frames so far, brightest first.`,
    }));
  remove.addEventListener("click", () => act(remove, () => api.deleteStream(stream.stream_id)));
  picture.addEventListener("click", () => {
    if (image.hidden) return;
    show({ title: stream.process_name, picture: image.src, alt: image.alt, text: about(stream) });
  });

  return {
    node,
    tick() {
      setText(retry, retryText(stream));
      setHidden(retry, retry.textContent === "");
      const at = stream.last_frame_at ? (api.serverNow() - Date.parse(stream.last_frame_at)) / 1000 : -1;
      numbers.age.set(at < 0 ? "-" : seconds(at));
    },
    update(next) {
      stream = next;
      const kind = kindOf(stream.state);
      const over = stream.state === "stopped";
      setText(name, stream.process_name);
      setText(state, words(stream.state));
      setClass(state, `pill ${kind}`);
      const ill = stream.condition && !["unspecified", "good"].includes(stream.condition);
      setText(condition, ill ? words(stream.condition) : "");
      setHidden(condition, !ill || over);
      setHidden(quarantine, !stream.quarantined_until || over);
      setText(line, about(stream));
      setText(url, stream.rtsp_url);
      const why = stream.state === "running" ? stream.sending_reason : stream.state_reason || stream.sending_reason;
      setText(reason, why);
      setClass(reason, `line reason ${kind === "bad" ? "bad" : ""}`);
      setHidden(reason, why === "" || over);
      const accounting = stream.accounting ?? {};
      numbers.captured.set(accounting.captured ?? 0);
      numbers.recorded.set(accounting.recorded ?? 0);
      numbers.spooled.set(accounting.spooled ?? 0);
      numbers.missed.set(sum(accounting.missed));
      numbers.dropped.set(sum(accounting.dropped));
      setHidden(stop, over || stream.state === "stopping");
      setHidden(grid, stream.brightest_count === 0);
      setHidden(remove, !over);
      if (stream.last_frame_at && stream.last_frame_at !== shown) {
        shown = stream.last_frame_at;
        image.alt = `Last picture of ${stream.process_name}`;
        image.src = api.latestPicture(stream.stream_id, shown);
      }
      picture.setAttribute("aria-label", `Show the last picture of ${stream.process_name}`);
      this.tick();
    },
  };
}

const order = { stopping: 1 };

// `moreStopped`: there are stopped streams that are not among `streams`.
export function showStreams({ streams, moreStopped }, refresh) {
  const live = streams.filter((stream) => stream.state !== "stopped");
  live.sort((a, b) => (order[a.state] ?? 0) - (order[b.state] ?? 0) || a.process_name.localeCompare(b.process_name));
  const over = streams.filter((stream) => stream.state === "stopped");
  over.sort((a, b) => String(b.stopped_at).localeCompare(String(a.stopped_at)));
  const key = (stream) => stream.stream_id;
  const make = (stream) => create(stream, refresh);
  reconcile(list, live, key, make);
  reconcile(stoppedList, over.slice(0, MAX_STOPPED), key, make);
  setText(document.getElementById("streams-count"), live.length > 0 ? String(live.length) : "");
  setText(document.getElementById("stopped-count"), `${over.length}${moreStopped ? "+" : ""}`);
  setHidden(document.getElementById("streams-empty"), live.length > 0);
  setHidden(stopped, over.length === 0);
}

// Countdowns and ages move between two polls.
export function tickStreams() {
  for (const view of list.views?.values() ?? []) view.tick();
}
