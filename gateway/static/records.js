// SPDX-License-Identifier: Apache-2.0
// The records: the newest ones on the wall, and a gallery of those that fit a filter.

import * as api from "/static/api.js";
import { byId, element, localTime, reconcile, setHidden, setLine, setText, show, words } from "/static/dom.js";
import * as store from "/static/store.js";
import { findings } from "/static/wall.js";

const PAGE = 24;
const ON_THE_WALL = 6;
const form = byId("records-form");
const gallery = byId("gallery");
const more = byId("records-more");
const fresh = byId("records-fresh");

export function placeOf(record) {
  const { latitude, longitude } = record;
  if (typeof latitude !== "number" || typeof longitude !== "number") return "place not known";
  return `${latitude.toFixed(4)}, ${longitude.toFixed(4)}`;
}

function table(record) {
  const found = record.sections.flatMap((section) => section.detections);
  const zones = found.some((one) => one.zone);
  const rows = [["found", "score", "frame", "box", ...(zones ? ["zone"] : [])]];
  for (const { class_name, confidence, frame_index, box, zone } of found) {
    const corners = box ? [box.x1, box.y1, box.x2, box.y2].map(Math.round).join(", ") : "";
    rows.push([class_name, confidence.toFixed(4), String(frame_index + 1), corners, ...(zones ? [zone] : [])]);
  }
  return rows;
}

// A record with its picture, what was found, and the JSON as the API has it.
export function showRecord(record, { boxes = true, evidence = "" } = {}) {
  const title = `${record.camera_id}, record ${record.record_id}`;
  const box = element("input", { type: "checkbox", checked: boxes });
  box.addEventListener("change", () => showRecord(record, { boxes: box.checked, evidence }));
  const choices = [element("label", { className: "check" }, box, "boxes")];
  if (record.evidence.length > 1) {
    const select = element("select", { "aria-label": "Picture" },
      ...record.evidence.map(({ complaint_type }) => element("option", { value: complaint_type, textContent: words(complaint_type) })));
    select.value = evidence || record.evidence[0].complaint_type;
    select.addEventListener("change", () => showRecord(record, { boxes, evidence: select.value }));
    choices.push(select);
  }
  show({
    title,
    picture: api.recordPicture(record, 1280, { boxes, evidence }),
    alt: `Evidence of ${title}`,
    text: `${localTime(record.captured_at)} \u00b7 ${placeOf(record)} \u00b7 ${record.frames.length} frames of ${record.process_name}`,
    choices,
    rows: table(record),
    raw: JSON.stringify(record, null, 2),
  });
}

// A record never changes, so it is built once.
function create(record) {
  const image = element("img", { alt: "", decoding: "async", loading: "lazy" });
  const open = element("button", { type: "button", className: "picture" }, image);
  const title = `${record.camera_id}, record ${record.record_id}`;
  open.setAttribute("aria-label", `Show the picture of ${title}`);
  image.alt = `Evidence of ${title}`;
  image.src = api.recordPicture(record, 640);

  const tags = element("div", { className: "tags" });
  for (const section of record.sections) {
    if (section.complaint === 1) tags.append(element("span", { className: "pill warn", textContent: words(section.name) }));
  }
  for (const text of findings(record)) tags.append(element("span", { className: "pill", textContent: text }));
  if (tags.childElementCount === 0) tags.append(element("span", { className: "pill", textContent: "nothing found" }));

  const body = element(
    "div",
    { className: "body" },
    element("div", { className: "head" },
      element("h3", { textContent: record.camera_id }),
      element("span", { className: "line", textContent: `#${record.record_id}` })),
    element("p", { className: "line", textContent: `${localTime(record.captured_at)} \u00b7 ${placeOf(record)}` }),
    tags,
  );
  for (const model of record.models) {
    if (model.outcome !== "ok") {
      body.append(element("p", { className: "line reason bad", textContent: `${model.model}: ${model.reason}` }));
    }
  }
  open.addEventListener("click", () => showRecord(record));
  return { node: element("li", { className: "card" }, open, body), update() {} };
}

// What is asked for now, and what came of it.
let filters = {};
let listed = [];
let token = "";
let newest = 0;
let asking = 0;

async function ask(fields, append) {
  const own = (asking += 1);
  try {
    const answer = await api.listRecords({ ...fields, page_size: PAGE, page_token: append ? token : "" });
    if (own !== asking) return;
    listed = append ? [...listed, ...answer.records] : answer.records;
    token = answer.next_page_token;
    if (!append) newest = Math.max(0, ...store.records.map((one) => one.record_id), ...listed.map((one) => one.record_id));
    setLine(byId("records-notice"), "");
  } catch (error) {
    if (own !== asking) return;
    setLine(byId("records-notice"), error.code === 0 ? "" : error.message);
    if (!append) [listed, token] = [[], ""];
  }
  reconcile(gallery, listed, api.recordKey, create);
  setHidden(more, token === "");
  setHidden(fresh, true);
  setLine(byId("gallery-empty"), listed.length > 0 || !byId("records-notice").hidden ? "" : "No record fits.");
}

const instant = (text) => {
  const time = new Date(text);
  return text === "" || Number.isNaN(time.getTime()) ? "" : time.toISOString();
};

function read() {
  const values = form.elements;
  return {
    camera_id: values.camera_id.value.trim(),
    class_name: values.class_name.value.trim(),
    complaint_type: values.complaint_type.value,
    since: instant(values.since.value),
    until: instant(values.until.value),
  };
}

function showExport() {
  const { camera_id, since, until } = filters;
  byId("export-link").href = api.exportFile({ format: byId("export-format").value, camera_id, since, until });
}

function search(append = false) {
  filters = read();
  showExport();
  return ask(filters, append);
}

const forInput = (rfc3339) => {
  const time = new Date(rfc3339);
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};

// Called with the filters of the address.
export function showRecords(given) {
  const values = form.elements;
  for (const name of ["camera_id", "class_name"]) values[name].value = given.get(name) ?? "";
  const type = given.get("complaint_type") ?? "";
  showTypes(type);
  for (const name of ["since", "until"]) {
    const text = given.get(name) ?? "";
    values[name].value = instant(text) === "" ? "" : forInput(text);
  }
  search();
}

function showTypes(wanted = form.elements.complaint_type.value) {
  const types = new Set([...store.models.values()].map((model) => model.complaint_type).filter((type) => type !== ""));
  if (wanted !== "") types.add(wanted);
  const select = form.elements.complaint_type;
  const values = ["", ...types];
  if (values.join() !== [...select.options].map((option) => option.value).join()) {
    select.replaceChildren(...values.map((value) => element("option", { value, textContent: value === "" ? "any" : words(value) })));
  }
  select.value = wanted;
  byId("classes").replaceChildren(...[...new Set([...store.models.values()].flatMap((model) => model.classes))]
    .map((value) => element("option", { value })));
}

function fits(record) {
  const { camera_id, class_name, complaint_type, until } = filters;
  return (!camera_id || record.camera_id === camera_id)
    && (!class_name || record.sections.some((part) => part.detections.some((one) => one.class_name === class_name)))
    && (!complaint_type || record.sections.some((part) => part.name === complaint_type && part.complaint === 1))
    && (!until || record.captured_at < until);
}

export function initRecords() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.entries(read()).filter(([, value]) => value !== "");
    const hash = `#/records${given.length > 0 ? `?${new URLSearchParams(given)}` : ""}`;
    if (location.hash === hash) search();
    else location.hash = hash;
  });
  form.addEventListener("reset", () => {
    location.hash = "#/records";
  });
  more.addEventListener("click", () => ask(filters, true));
  fresh.addEventListener("click", () => search());
  byId("export-format").addEventListener("change", showExport);
  store.watch(({ topics }) => {
    if (topics.has("models")) showTypes();
    if (!topics.has("records")) return;
    reconcile(byId("records-list"), store.records.slice(0, ON_THE_WALL), api.recordKey, create);
    setHidden(byId("records-empty"), store.records.length > 0);
    setLine(byId("newest-notice"), store.listErrors.get("records") ?? "");
    const count = store.records.filter((record) => record.record_id > newest && fits(record)).length;
    setHidden(fresh, count === 0);
    setText(fresh, count === 1 ? "Show 1 new record" : `Show ${count} new records`);
  });
}
