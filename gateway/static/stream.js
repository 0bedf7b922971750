// SPDX-License-Identifier: Apache-2.0
// One stream: its picture and newest result, the nine brightest, charts, accounting, what
// happened to it, and changing it.

import * as api from "/static/api.js";
import { chart } from "/static/chart.js";
import { act, byId, bytes, element, formMessage, localTime, numberOr, picture, reconcile, saidIn, seconds, setClass, setHidden, setLine, setText, shortTime, show, sum, words } from "/static/dom.js";
import { openAreas } from "/static/areas.js";
import { diagnosis } from "/static/probe.js";
import { showRecord } from "/static/records.js";
import * as store from "/static/store.js";
import { about, ageText, askAndRemove, findings, isIll, isTrouble, kindOf, retryText, stopAndShow, why } from "/static/wall.js";

const GRID_MS = 10_000;
const MAX_POINTS = 400;
const place = byId("stream-view");
const form = byId("edit-form");
const dialog = byId("edit");
const say = formMessage(form, byId("edit-message"));

const pairs = (counts) => Object.entries(counts ?? {}).filter(([, count]) => count > 0)
  .map(([reason, count]) => `${words(reason)} ${count}`).join(", ");

// The two sums of a session, with the reasons in words.
function accountingRows({ due = 0, captured = 0, missed, recorded = 0, dropped, spooled = 0, ranked_only = 0 } = {}) {
  const because = (counts) => (pairs(counts) === "" ? "" : ` (${pairs(counts)})`);
  return [
    ["due", String(due), `= ${captured} captured + ${sum(missed)} missed${because(missed)}`],
    ["captured", String(captured), `= ${recorded} recorded + ${sum(dropped)} dropped${because(dropped)}`
      + ` + ${spooled} waiting + ${ranked_only} ranked only`],
  ];
}

function facts(stream) {
  const rows = [
    ["Camera", stream.camera_id],
    ["Address", stream.rtsp_url],
    ["Second address", stream.detect_url],
    ["Models", stream.models.join(", ") || "none, only the brightest frames"],
    ["Video", stream.width > 0 ? `${stream.codec} ${stream.width} x ${stream.height}, ${stream.transport}` : ""],
    ["Keyframe every", stream.gop_seconds > 0 ? seconds(stream.gop_seconds) : ""],
    ["Sampling", `every ${stream.interval_seconds} s`
      + (stream.effective_interval_seconds > stream.interval_seconds ? `, now every ${stream.effective_interval_seconds} s` : "")
      + `, ${stream.sampling_mode}${stream.effective_mode === "unspecified" ? "" : ` (${stream.effective_mode})`}`],
    ["Started", localTime(stream.started_at)],
    ["Stopped", localTime(stream.stopped_at)],
    ["Ends", stream.expires_at ? localTime(stream.expires_at) : ""],
    ["Frames at most", stream.max_frames > 0 ? String(stream.max_frames) : ""],
    ["Connections", `${stream.connects} made, ${stream.disconnects} lost`],
    ["Received", bytes(stream.received_bytes)],
    ["Waiting", `${stream.batches_pending} batches, ${bytes(stream.spool_bytes)}`],
    ["Stream id", stream.stream_id],
    ["Session id", stream.session_id],
    ["Node", stream.node_id],
  ];
  return rows.filter(([, text]) => text !== "" && text !== undefined);
}

function setTable(table, rows) {
  const text = JSON.stringify(rows);
  if (table.dataset.shown === text) return;
  table.dataset.shown = text;
  table.replaceChildren(...rows.map(([head, ...cells]) =>
    element("tr", {}, element("th", { scope: "row", textContent: head }),
      ...cells.map((cell) => element("td", { textContent: cell })))));
}

const back = () => element("a", { href: "#/", textContent: "\u2190 All streams", className: "back" });

function section(title, ...children) {
  return element("section", { className: "card" }, element("h3", { textContent: title }), ...children);
}

// Frames of the session's records, which know brightness and boxes of each.
class Past {
  constructor(stream) {
    this.stream = stream;
    this.records = new Map();
  }

  async read() {
    const { session_id } = this.stream;
    const answer = await api.listRecords({ session_id, page_size: 40 });
    answer.records.forEach((record) => this.add(record));
    store.takeOlder(this.stream.stream_id, answer.records);
  }

  add(record) {
    if (record.session_id === this.stream.session_id) this.records.set(record.record_id, record);
  }

  #frames() {
    const frames = [];
    for (const record of this.records.values()) {
      const counts = new Map();
      for (const part of record.sections) {
        for (const { frame_index } of part.detections) counts.set(frame_index, (counts.get(frame_index) ?? 0) + 1);
      }
      record.frames.forEach((frame, index) => {
        frames.push({ at: Date.parse(frame.captured_at), luma: frame.mean_luma, found: counts.get(index) ?? 0 });
      });
    }
    return frames.sort((a, b) => a.at - b.at);
  }

  brightness() {
    const points = new Map(this.#frames().map(({ at, luma }) => [at, luma]));
    for (const { at, luma } of store.historyOf(this.stream.stream_id).samples) points.set(at, luma);
    return [...points].map(([at, value]) => ({ at, value })).sort((a, b) => a.at - b.at).slice(-MAX_POINTS);
  }

  detections() {
    return this.#frames().map(({ at, found }) => ({ at, value: found })).slice(-MAX_POINTS);
  }
}

function view(first) {
  let stream = first;
  const past = new Past(first);
  const name = element("h2", { tabIndex: -1 });
  const state = element("span");
  const condition = element("span", { className: "pill warn" });
  const line = element("p", { className: "line" });
  const reason = element("p");
  const retry = element("p", { className: "line" });
  const failed = element("p", { className: "line reason bad", role: "alert", hidden: true });
  const edit = element("button", { type: "button", textContent: "Edit", className: "for-operator" });
  const areas = element("button", { type: "button", textContent: "Masks and zones", className: "for-operator" });
  const stop = element("button", { type: "button", textContent: "Stop", className: "for-operator" });
  const remove = element("button", { type: "button", textContent: "Remove", className: "quiet for-operator" });
  const findOut = element("button", { type: "button", textContent: "Find out why", className: "for-operator" });

  const live = picture("no picture yet");
  const liveText = element("p", { className: "line" });
  const result = picture("no result yet");
  const resultText = element("p", { className: "line" });
  const resultLink = element("button", { type: "button", className: "picture" }, result.node);
  const liveLink = element("button", { type: "button", className: "picture" }, live.node);
  liveLink.setAttribute("aria-label", "Show the newest picture large");
  resultLink.setAttribute("aria-label", "Show the newest result with all it found");
  const grid = picture("no frame yet");
  const gridLink = element("button", { type: "button", className: "picture" }, grid.node);
  gridLink.setAttribute("aria-label", "Show the brightest frames large");
  const gridText = element("p", { className: "line" });
  const cells = element("ol", { className: "cells" });
  const brightness = chart("Brightness", { top: 255 });
  const detections = chart("Boxes in a frame", { bars: true });
  const accounting = element("table", { className: "plain" });
  const factTable = element("table", { className: "plain ids" });
  const notes = element("ul", { className: "notes" });
  const quiet = element("p", { className: "line", textContent: "Nothing yet." });
  const probe = diagnosis(() => stream);
  const resultBox = section("Newest result, with boxes", resultLink, resultText);

  const node = element("div", { className: "stream" },
    back(),
    element("div", { className: "head" }, name, condition, state,
      element("div", { className: "foot end" }, findOut, edit, areas, stop, remove)),
    line, reason, retry, failed, probe.node,
    element("div", { className: "columns" },
      section("Newest picture", liveLink, liveText), resultBox,
      section("The nine brightest", gridLink, gridText, cells),
      section("Over time", brightness.node, detections.node),
      section("Where every frame went", accounting, element("h3", { textContent: "What happened" }), quiet, notes),
      section("Details", factTable)));

  liveLink.addEventListener("click", () => {
    const image = live.image();
    if (image) show({ title: stream.process_name, picture: image.src, alt: image.alt, text: about(stream) });
  });
  resultLink.addEventListener("click", () => {
    const record = store.newestRecord.get(stream.stream_id);
    if (record) showRecord(record);
  });
  gridLink.addEventListener("click", () => {
    const image = grid.image();
    if (image) show({ title: `${stream.process_name}: brightest frames`, picture: image.src, alt: image.alt, text: gridText.textContent });
  });
  stop.addEventListener("click", () => act(stop, saidIn(failed), () => stopAndShow(stream)));
  remove.addEventListener("click", () => act(remove, saidIn(failed), async () => {
    if (await askAndRemove(stream)) location.hash = "#/";
  }));
  edit.addEventListener("click", () => openEdit(stream));
  areas.addEventListener("click", () => act(areas, saidIn(failed), () => openAreas(stream.camera_id)));
  findOut.addEventListener("click", () => probe.open());

  let gridAt = 0;
  async function newGrid() {
    if (stream.brightest_count === 0 || Date.now() - gridAt < GRID_MS) return;
    gridAt = Date.now();
    try {
      const [jpeg, answer] = await Promise.all([api.gridPicture(stream.stream_id), api.gridCells(stream.stream_id)]);
      grid.show(jpeg, `The brightest frames of ${stream.process_name}, brightest first`);
      cells.replaceChildren(...answer.cells.map((cell) =>
        element("li", { textContent: `${shortTime(cell.captured_at)}, ${cell.mean_luma.toFixed(1)}` })));
      setText(gridText, `${stream.brightest_count} of 9, brightest first; time and brightness of each:`);
    } catch (error) {
      setText(gridText, error.message);
    }
  }

  function tick() {
    const over = stream.state === "stopped";
    setLine(retry, over ? "" : retryText(stream));
    const record = store.newestRecord.get(stream.stream_id);
    setText(liveText, stream.last_frame_at ? `${ageText(stream)} old, brightness ${stream.last_frame_luma.toFixed(0)} of 255` : "");
    if (record) {
      const at = (api.serverNow() - Date.parse(record.last_captured_at)) / 1000;
      setText(resultText, `${findings(record).join(", ") || "nothing found"}, ${seconds(Math.max(0, at))} ago`);
    }
  }

  function update(next) {
    stream = next;
    const kind = kindOf(stream.state);
    const over = stream.state === "stopped";
    setText(name, stream.process_name);
    setText(state, words(stream.state));
    setClass(state, `pill ${kind}`);
    setLine(condition, isIll(stream) && !over ? words(stream.condition) : "");
    setText(line, about(stream));
    setLine(reason, why(stream));
    setClass(reason, `line reason ${kind === "bad" ? "bad" : ""}`);
    setHidden(stop, over || stream.state === "stopping");
    setHidden(edit, over);
    setHidden(remove, !over);
    setHidden(areas, over);
    setHidden(findOut, over);
    setText(findOut, isTrouble(stream) ? "Find out why" : "Test");
    if (stream.last_frame_at) {
      live.show(api.latestPicture(stream.stream_id, stream.last_frame_at, 1280), `Last picture of ${stream.process_name}`);
    }
    const record = store.newestRecord.get(stream.stream_id);
    const judged = stream.models.length > 0 || record !== undefined;
    setHidden(resultBox, !judged);
    setHidden(detections.node, !judged);
    if (record) {
      past.add(record);
      result.show(api.recordPicture(record, 1280),
        `Newest result of ${stream.process_name}: ${findings(record).join(", ") || "nothing found"}`);
    }
    brightness.draw(past.brightness());
    detections.draw(past.detections());
    setTable(accounting, accountingRows(stream.accounting));
    setTable(factTable, facts(stream));
    const known = store.historyOf(stream.stream_id).notes;
    setHidden(quiet, known.length > 0);
    reconcile(notes, known, (one) => `${one.at}${one.kind}${one.text}`, (one) => ({
      node: element("li", {}, element("span", { className: "line", textContent: shortTime(one.at), title: localTime(one.at) }),
        element("strong", { textContent: one.kind }), element("span", { textContent: one.text })),
      update() {},
    }));
    newGrid();
    tick();
  }

  store.readPast(first);
  past.read().then(() => update(stream), (error) => setLine(failed, error.message));
  update(first);
  name.focus({ preventScroll: true });
  return { node, update, tick, probe };
}

let shown = null;
let shownId = "";

function redraw() {
  const stream = store.streams.get(shownId);
  if (!stream) return;
  if (shown) shown.update(stream);
  else {
    shown = view(stream);
    place.replaceChildren(shown.node);
  }
}

// Called with the id of the address, or "" when another view is shown.
export async function showStream(id, diagnose) {
  if (id !== shownId) {
    shown = null;
    shownId = id;
    place.replaceChildren();
  }
  if (id === "") return;
  if (!store.streams.has(id)) {
    place.replaceChildren(element("p", { className: "empty", textContent: "Looking for the stream." }));
    try {
      const stream = await api.getStream(id);
      if (shownId !== id) return;
      // Where the address has another name of it.
      if (stream.stream_id !== id) shownId = stream.stream_id;
      if (!store.streams.has(shownId)) store.streams.set(shownId, stream);
    } catch (error) {
      if (shownId === id) place.replaceChildren(back(), element("p", { className: "empty", role: "alert", textContent: error.message }));
      return;
    }
  }
  redraw();
  if (diagnose) shown.probe.open();
}

// Editing: only what was changed is sent.
let edited = null;

function openEdit(stream) {
  edited = stream;
  say("");
  const chosen = new Set(stream.models);
  byId("edit-models").replaceChildren(...[...new Set([...store.models.keys(), ...stream.models])].map((model) =>
    element("label", { className: "check" },
      element("input", { type: "checkbox", name: "models", value: model, checked: chosen.has(model) }), model)));
  form.reset();
  for (const box of form.querySelectorAll("input[name=models]")) box.checked = chosen.has(box.value);
  const values = form.elements;
  setText(byId("edit-title"), `Edit ${stream.process_name}`);
  values.interval_seconds.value = stream.interval_seconds;
  values.sampling_mode.value = stream.sampling_mode;
  values.transport.value = stream.transport === "unspecified" ? "tcp" : stream.transport;
  values.ttl_seconds.value = stream.ttl_seconds;
  values.max_frames.value = stream.max_frames;
  values.rtsp_url.placeholder = stream.rtsp_url;
  values.detect_url.placeholder = stream.detect_url || "none";
  form.no_detect_url.closest("label").hidden = stream.detect_url === "";
  dialog.showModal();
}

function changes() {
  const values = form.elements;
  const fields = {};
  for (const name of ["interval_seconds", "ttl_seconds", "max_frames"]) {
    const value = numberOr(values[name].value);
    if (value !== edited[name] && value !== "") fields[name] = value;
  }
  if (values.sampling_mode.value !== edited.sampling_mode) fields.sampling_mode = values.sampling_mode.value;
  const transport = edited.transport === "unspecified" ? "tcp" : edited.transport;
  if (values.transport.value !== transport) fields.transport = values.transport.value;
  const models = [...form.querySelectorAll("input[name=models]:checked")].map((box) => box.value);
  if (models.toSorted().join() !== edited.models.toSorted().join()) fields.models = models;
  for (const name of ["rtsp_url", "detect_url", "user", "password"]) {
    if (values[name].value !== "") fields[name] = values[name].value;
  }
  if (values.no_detect_url.checked) fields.detect_url = "";
  return fields;
}

async function save(event) {
  event.preventDefault();
  const fields = changes();
  if (Object.keys(fields).length === 0) {
    dialog.close();
    return;
  }
  await act(form.querySelector("button[type=submit]"), say, async () => {
    say("Saving");
    await api.changeStream(edited.stream_id, fields);
    form.reset();
    dialog.close();
    await store.refresh("stream");
  });
}

export function initStream() {
  form.addEventListener("submit", save);
  byId("edit-close").addEventListener("click", () => dialog.close());
  store.watch(({ topics, ids }) => {
    if (shownId === "" || (!ids.has(shownId) && !(topics.has("streams") && !shown))) return;
    if (shown && !store.streams.has(shownId)) {
      shown = null;
      place.replaceChildren(back(), element("p", { className: "empty", textContent: "This stream was removed." }));
      return;
    }
    redraw();
  });
  setInterval(() => {
    if (shownId !== "" && shown) shown.tick();
  }, 500);
}
