// SPDX-License-Identifier: Apache-2.0
// The cameras as places: the map, the list, one's form, and the import of a CSV.

import * as api from "/static/api.js";
import { areasText, openAreas } from "/static/areas.js";
import { act, byId, element, formMessage, listOf, localTime, numberOr, reconcile, saidIn, setHidden, setLine, setText, words } from "/static/dom.js";
import { initMap, showOnMap } from "/static/map.js";
import * as store from "/static/store.js";
import { isIll, kindOf } from "/static/wall.js";

const MAX_ROWS = 200;
const MAX_PINS = 500;
const REDRAW_MS = 1000;
const POPUP_RECORDS = 100;
const form = byId("camera-form");
const say = formMessage(form, byId("camera-message"));
const search = byId("camera-search");

let cameras = [];
let visible = false;
// The camera as it was when it was put into the form: what the form has no field for stays.
let edited = null;

const placed = (camera) => typeof camera.latitude === "number" && typeof camera.longitude === "number";

// What is known of the cameras, made anew at each look: { streams, counts, count, last } by camera.
let known = new Map();

const nothing = () => ({ streams: [], counts: new Map(), count: 0, last: "" });

function addRecord(one, record) {
  const classes = new Set(record.sections.flatMap((part) => part.detections.map((found) => found.class_name)));
  if (classes.size === 0) return;
  for (const name of classes) one.counts.set(name, (one.counts.get(name) ?? 0) + 1);
  one.count += 1;
  if (record.captured_at > one.last) one.last = record.captured_at;
}

function look() {
  known = new Map();
  const of = (id) => {
    let one = known.get(id);
    if (!one) known.set(id, (one = nothing()));
    return one;
  };
  for (const stream of store.streams.values()) {
    if (stream.state !== "stopped") of(stream.camera_id).streams.push(stream);
  }
  for (const record of store.records) addRecord(of(record.camera_id), record);
}

const knownOf = (camera) => known.get(camera.camera_id) ?? nothing();
// "dog (12), cow (3)": in how many of the newest records each was seen.
const seenText = ({ counts }) => [...counts].sort((a, b) => b[1] - a[1]).map(([name, times]) => `${name} (${times})`).join(", ");

function kind(streams) {
  if (streams.length === 0) return "";
  if (streams.some((stream) => kindOf(stream.state) === "bad")) return "bad";
  return streams.some((stream) => stream.state !== "running" || isIll(stream)) ? "warn" : "good";
}

function links(id, streams) {
  const nodes = streams.map((stream) => element("a", {
    href: `#/streams/${encodeURIComponent(stream.stream_id)}`,
    textContent: `${stream.process_name}: ${words(stream.state)}`,
  }));
  nodes.push(element("a", { href: `#/records?${new URLSearchParams({ camera_id: id })}`, textContent: "records" }));
  return element("div", { className: "tags" }, ...nodes);
}

function popup(camera) {
  const seen = element("p");
  const last = element("p", { className: "line" });
  const say = (one) => {
    const text = seenText(one);
    setText(seen, text === "" ? "Nothing seen lately." : `Seen lately: ${text}`);
    setLine(last, one.last === "" ? "" : `last ${localTime(one.last)}`);
  };
  say(knownOf(camera));
  // The newest records of all cameras may hold none of this one.
  api.listRecords({ camera_id: camera.camera_id, page_size: POPUP_RECORDS }).then(({ records }) => {
    const own = nothing();
    for (const record of records) addRecord(own, record);
    say(own);
  }, () => {});
  return element("div", {},
    element("h3", { textContent: camera.name || camera.camera_id }),
    element("p", { className: "line", textContent: camera.camera_id }),
    seen, last, links(camera.camera_id, knownOf(camera).streams));
}

function row() {
  const id = element("th", { scope: "row" });
  const name = element("td");
  const place = element("td");
  const seen = element("td");
  const running = element("td");
  const edit = element("button", { type: "button", className: "small", textContent: "Edit" });
  let camera = null;
  edit.addEventListener("click", () => fill(camera));
  return {
    node: element("tr", {}, id, name, place, seen, running, element("td", { className: "for-operator" }, edit)),
    update(next) {
      camera = next;
      setText(id, camera.camera_id);
      setText(name, camera.name);
      setText(place, placed(camera) ? `${camera.latitude.toFixed(5)}, ${camera.longitude.toFixed(5)}` : "not known");
      const { streams, ...rest } = knownOf(camera);
      setText(seen, seenText(rest));
      const shown = streams.map((stream) => stream.stream_id + stream.state).join();
      if (running.dataset.shown !== shown || shown === "") {
        running.dataset.shown = shown;
        running.replaceChildren(links(camera.camera_id, streams));
      }
      edit.setAttribute("aria-label", `Edit ${camera.camera_id}`);
    },
  };
}

function redraw() {
  if (!visible) return;
  look();
  const text = search.value.trim().toLowerCase();
  const shown = cameras.filter((camera) => `${camera.camera_id} ${camera.name}`.toLowerCase().includes(text));
  reconcile(byId("cameras-list"), shown.slice(0, MAX_ROWS), (camera) => camera.camera_id, row);
  setText(byId("cameras-count"), String(cameras.length));
  setLine(byId("cameras-rest"), shown.length > MAX_ROWS ? `${shown.length - MAX_ROWS} more; search for them.` : "");
  setHidden(byId("cameras-empty"), cameras.length > 0);
  const onMap = shown.filter(placed);
  const notes = [];
  if (onMap.length < shown.length) notes.push(`${shown.length - onMap.length} of ${shown.length} cameras have no place and are not on the map.`);
  if (onMap.length > MAX_PINS) notes.push(`The map shows the first ${MAX_PINS} of ${onMap.length}; search for others.`);
  setLine(byId("map-note"), notes.join(" "));
  showOnMap(onMap.slice(0, MAX_PINS).map((camera) => {
    const { streams, count } = knownOf(camera);
    return {
      id: camera.camera_id,
      latitude: camera.latitude,
      longitude: camera.longitude,
      kind: kind(streams),
      label: `${camera.name || camera.camera_id}${count > 0 ? ` \u00b7 ${count}` : ""}`,
      content: () => popup(camera),
    };
  }));
}

async function read() {
  try {
    cameras = await api.listCameras();
    setLine(byId("cameras-notice"), "");
  } catch (error) {
    setLine(byId("cameras-notice"), error.code === 0 ? "" : error.message);
  }
  redraw();
}

function fill(camera) {
  edited = camera;
  const values = form.elements;
  say("");
  values.camera_id.value = camera?.camera_id ?? "";
  values.name.value = camera?.name ?? "";
  values.latitude.value = camera?.latitude ?? "";
  values.longitude.value = camera?.longitude ?? "";
  values.classes.value = (camera?.classes ?? []).join(", ");
  values.class_thresholds.value = Object.entries(camera?.class_thresholds ?? {}).map(([name, score]) => `${name}=${score}`).join(", ");
  showAreas();
  if (camera) values.name.focus();
}

function showAreas() {
  const text = areasText(edited);
  setLine(byId("camera-keeps"), text === "" ? "" : `It has ${text}.`);
  setHidden(byId("camera-areas"), !edited);
}

async function save(event) {
  event.preventDefault();
  const values = form.elements;
  const id = values.camera_id.value.trim();
  const { privacy_masks, zones } = edited?.camera_id === id ? edited : {};
  const camera = { camera_id: id, name: values.name.value.trim(), classes: listOf(values.classes.value) };
  if (privacy_masks) camera.privacy_masks = privacy_masks;
  if (zones) camera.zones = zones;
  for (const field of ["latitude", "longitude"]) {
    if (values[field].value.trim() !== "") camera[field] = numberOr(values[field].value);
  }
  camera.class_thresholds = Object.fromEntries(listOf(values.class_thresholds.value).map((pair) => {
    const [name, score = ""] = pair.split("=");
    return [name.trim(), numberOr(score)];
  }));
  if (id === "") {
    say("camera_id must be given", "bad");
    return;
  }
  await act(form.querySelector("button[type=submit]"), say, async () => {
    say("Saving");
    if (edited?.camera_id !== id) await refuseToReplace(id);
    const stored = await api.putCamera(camera);
    say(`${stored.camera_id} is saved.`, "good");
    edited = stored;
    showAreas();
    await read();
  });
}

// A new camera's form must not wipe out one that is there.
async function refuseToReplace(id) {
  await read();
  if (cameras.some((camera) => camera.camera_id === id)) {
    throw new api.ApiError(`camera_id is that of a camera already, "${id}": edit that one`, 409);
  }
}

async function importFile() {
  setLine(byId("csv-result"), "");
  byId("csv-errors").replaceChildren();
  const [file] = byId("csv-file").files;
  if (!file) throw new api.ApiError("Choose a file first.", 400);
  const answer = await api.importCameras(file);
  setLine(byId("csv-result"), `${answer.added} added, ${answer.updated} updated, ${answer.unchanged} unchanged, ${answer.errors.length} rows not used.`);
  byId("csv-errors").replaceChildren(...answer.errors.slice(0, 100).map(({ line, message }) =>
    element("li", { textContent: `line ${line}: ${message}` })));
  byId("csv-file").value = "";
  await read();
}

// Called when the view is shown or left.
export async function showCameras(shown) {
  visible = shown;
  if (!shown) return;
  initMap((latitude, longitude) => {
    form.elements.latitude.value = latitude.toFixed(6);
    form.elements.longitude.value = longitude.toFixed(6);
  });
  await read();
}

export function initCameras() {
  form.addEventListener("submit", save);
  byId("camera-new").addEventListener("click", () => {
    fill(null);
    form.elements.camera_id.focus();
  });
  byId("camera-areas").addEventListener("click", () => act(byId("camera-areas"), say, () => openAreas(edited.camera_id, (stored) => {
    edited = stored;
    showAreas();
    say(`The masks and zones of ${stored.camera_id} are saved.`, "good");
    read();
  })));
  byId("csv-import").addEventListener("click", () => act(byId("csv-import"), saidIn(byId("csv-failed")), importFile));
  search.addEventListener("input", redraw);
  let waiting = 0;
  store.watch(({ topics }) => {
    if (!visible || waiting || !(topics.has("streams") || topics.has("records"))) return;
    waiting = setTimeout(() => {
      waiting = 0;
      redraw();
    }, REDRAW_MS);
  });
}
