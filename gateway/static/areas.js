// SPDX-License-Identifier: Apache-2.0
// The privacy masks and zones of a camera, drawn on its picture or typed.

import * as api from "/static/api.js";
import { act, byId, confirmed, element, formMessage, listOf, numberOr, setHidden, setLine, setText, svg } from "/static/dom.js";
import * as store from "/static/store.js";

const WIDTH = 1000;
const dialog = byId("areas");
const form = byId("areas-form");
const list = byId("areas-list");
const drawing = byId("areas-drawing");
const image = byId("areas-picture");
const say = formMessage(form, byId("areas-message"));

// What is drawn: { mask: is it one, or a zone; corners, name, classes: inputs; node }.
let areas = [];
let chosen = null;
let cameraId = "";
let height = WIDTH * 9 / 16;
let before = "";
let whenSaved = () => {};

// What is nearly at the edge is meant to be there.
const EDGE = 0.01;
const round = (share) => (share < EDGE ? 0 : share > 1 - EDGE ? 1 : Math.round(share * 1000) / 1000);
const written = (points) => points.map(({ x, y }) => `${x},${y}`).join(" ");

// What is no number stays as it is, for the API to name it.
function pointsOf(area) {
  return area.corners.value.split(/[\s;]+/).filter((pair) => pair !== "").map((pair) => {
    const [x = "", y = ""] = pair.split(",");
    return { x: numberOr(x), y: numberOr(y) };
  });
}

function fields() {
  return {
    privacy_masks: areas.filter((area) => area.mask).map((area) => ({ points: pointsOf(area) })),
    zones: areas.filter((area) => !area.mask).map((area) => ({
      name: area.name.value.trim(),
      classes: listOf(area.classes.value),
      area: { points: pointsOf(area) },
    })),
  };
}

function place(event) {
  const box = drawing.getBoundingClientRect();
  return { x: round((event.clientX - box.left) / box.width), y: round((event.clientY - box.top) / box.height) };
}

function handle(area, points, index) {
  const { x, y } = points[index];
  const node = svg("circle", { cx: x * WIDTH, cy: y * height, r: 12, class: "corner" });
  node.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    event.stopPropagation();
    drawing.setPointerCapture(event.pointerId);
    drawing.onpointermove = (move) => {
      points[index] = place(move);
      area.corners.value = written(points);
      draw();
    };
    drawing.onpointerup = drawing.onpointercancel = () => {
      drawing.onpointermove = drawing.onpointerup = drawing.onpointercancel = null;
    };
  });
  return node;
}

function draw() {
  const nodes = [];
  const handles = [];
  for (const area of areas) {
    const points = pointsOf(area).filter(({ x, y }) => typeof x === "number" && typeof y === "number");
    area.node.classList.toggle("is-chosen", area === chosen);
    if (points.length === 0) continue;
    nodes.push(svg("polygon", {
      points: points.map(({ x, y }) => `${x * WIDTH},${y * height}`).join(" "),
      class: `${area.mask ? "mask" : "zone"}${area === chosen ? " is-chosen" : ""}`,
    }));
    const label = area.mask ? "" : area.name.value;
    if (label !== "") nodes.push(svg("text", { x: points[0].x * WIDTH + 14, y: points[0].y * height + 34 }, label));
    if (area === chosen) handles.push(...points.map((_, index) => handle(area, points, index)));
  }
  drawing.replaceChildren(...nodes, ...handles);
  setHidden(byId("areas-none"), areas.length > 0);
}

// Names the inputs as the API's messages do.
function nameAll() {
  const count = { mask: 0, zone: 0 };
  for (const area of areas) {
    const kind = area.mask ? "mask" : "zone";
    const path = `${area.mask ? "privacy_masks" : "zones"}[${count[kind]}]`;
    count[kind] += 1;
    setText(area.title, `${area.mask ? "Privacy mask" : "Zone"} ${count[kind]}`);
    area.corners.name = area.mask ? `${path}.points` : `${path}.area.points`;
    if (area.mask) continue;
    area.name.name = `${path}.name`;
    area.classes.name = `${path}.classes`;
  }
}

let number = 0;

function field(label, value, placeholder) {
  const input = element("input", { id: `area-field-${(number += 1)}`, autocomplete: "off", spellcheck: false, value, placeholder });
  input.addEventListener("input", draw);
  return { input, node: element("div", { className: "field" }, element("label", { htmlFor: input.id, textContent: label }), input) };
}

function add(mask, { points = [], name = "", classes = [] } = {}) {
  const corners = field("Corners", written(points), "0,0 0.3,0 0.3,1 0,1");
  const named = field("Name", name, "road");
  const kept = field("Classes, empty: all", classes.join(", "), "cow, dog");
  const undo = element("button", { type: "button", className: "small", textContent: "Last corner back" });
  const remove = element("button", { type: "button", className: "small quiet", textContent: "Remove" });
  const area = { mask, corners: corners.input, name: named.input, classes: kept.input, title: element("h3") };
  area.node = element("li", { className: "area" }, area.title, ...(mask ? [] : [named.node, kept.node]), corners.node,
    element("div", { className: "foot" }, undo, remove));
  const choose = () => {
    if (chosen === area) return;
    chosen = area;
    draw();
  };
  area.node.addEventListener("focusin", choose);
  area.node.addEventListener("click", choose);
  undo.addEventListener("click", () => {
    area.corners.value = written(pointsOf(area).slice(0, -1));
    draw();
  });
  remove.addEventListener("click", () => {
    areas = areas.filter((one) => one !== area);
    chosen = areas.at(-1) ?? null;
    area.node.remove();
    nameAll();
    draw();
    byId("areas-mask").focus();
  });
  areas.push(area);
  chosen = area;
  list.append(area.node);
  nameAll();
  return area;
}

// The newest picture of a stream of the camera, or of its records.
function pictureOf(camera) {
  const streams = [...store.streams.values()].filter((one) => one.camera_id === camera && one.last_frame_at);
  const stream = streams.find((one) => one.state !== "stopped") ?? streams[0];
  if (stream) return api.latestPicture(stream.stream_id, stream.last_frame_at, 1280);
  const record = store.records.find((one) => one.camera_id === camera);
  return record ? api.recordPicture(record, 1280, { boxes: false }) : "";
}

function setPicture(address) {
  const size = () => {
    height = image.naturalWidth > 0 && address !== "" ? (WIDTH * image.naturalHeight) / image.naturalWidth : (WIDTH * 9) / 16;
    drawing.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
    draw();
  };
  image.onload = size;
  image.onerror = () => setPicture("");
  setHidden(image, address === "");
  setLine(byId("areas-without"), address === "" ? "There is no picture of this camera yet." : "");
  if (address === "") image.removeAttribute("src");
  else image.src = address;
  size();
}

// One that nobody has placed yet may have masks; asking for it alone would be an error in the
// browser's console.
async function asItIs(camera) {
  const known = (await api.listCameras()).find((one) => one.camera_id === camera);
  return known ?? { camera_id: camera };
}

// Opens it; saved(camera) is called with the camera as it is then.
export async function openAreas(camera, saved = () => {}) {
  const known = await asItIs(camera);
  cameraId = camera;
  whenSaved = saved;
  areas = [];
  chosen = null;
  list.replaceChildren();
  for (const mask of known.privacy_masks ?? []) add(true, mask);
  for (const zone of known.zones ?? []) add(false, { ...zone, points: zone.area?.points });
  chosen = null;
  before = JSON.stringify(fields());
  say("");
  setText(byId("areas-title"), `Masks and zones of ${known.name || camera}`);
  dialog.showModal();
  setPicture(pictureOf(camera));
}

async function close() {
  if (JSON.stringify(fields()) === before || await confirmed({
    title: "Leave without saving?",
    text: "What was drawn or typed here is lost.",
    yes: "Leave",
  })) dialog.close();
}

async function save() {
  say("Saving");
  // Only masks and zones are changed.
  const stored = await api.putCamera({ ...(await asItIs(cameraId)), ...fields() });
  before = JSON.stringify(fields());
  say("Saved. It holds within seconds.", "good");
  whenSaved(stored);
}

// "2 privacy masks and the zones road, gate"; "" without any.
export function areasText(camera) {
  const parts = [];
  const masks = camera?.privacy_masks?.length ?? 0;
  const zones = camera?.zones ?? [];
  if (masks > 0) parts.push(`${masks} privacy ${masks === 1 ? "mask" : "masks"}`);
  if (zones.length > 0) parts.push(`the ${zones.length === 1 ? "zone" : "zones"} ${zones.map((zone) => zone.name).join(", ")}`);
  return parts.join(" and ");
}

export function initAreas() {
  for (const [id, mask] of [["areas-mask", true], ["areas-zone", false]]) {
    byId(id).addEventListener("click", () => {
      const area = add(mask);
      draw();
      (mask ? area.corners : area.name).focus();
    });
  }
  drawing.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    if (!chosen) add(true);
    chosen.corners.value = written([...pointsOf(chosen), place(event)]);
    draw();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(form.querySelector("button[type=submit]"), say, save);
  });
  byId("areas-close").addEventListener("click", close);
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
}
