// SPDX-License-Identifier: Apache-2.0
// The newest records, each with its evidence: the frame with the highest score, boxes drawn in.

import * as api from "/static/api.js";
import { element, localTime, reconcile, setHidden, show, words } from "/static/dom.js";

const list = document.getElementById("records-list");

function place(record) {
  if (record.latitude === null || record.longitude === null) return "place not known";
  return `${record.latitude.toFixed(4)}, ${record.longitude.toFixed(4)}`;
}

// "dog 0.89 (3)" for each class: highest score and number of boxes.
function findings(record) {
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

function tables(record) {
  const rows = [["found", "score", "frame", "box"]];
  for (const section of record.sections) {
    for (const { class_name, confidence, frame_index, box } of section.detections) {
      const corners = box ? [box.x1, box.y1, box.x2, box.y2].map(Math.round).join(", ") : "";
      rows.push([class_name, confidence.toFixed(4), String(frame_index + 1), corners]);
    }
  }
  return rows;
}

// A record never changes, so it is built once.
function create(record) {
  const image = element("img", { alt: "", decoding: "async", loading: "lazy" });
  const picture = element("button", { type: "button", className: "picture" }, image);
  const title = `${record.camera_id}, record ${record.record_id}`;
  picture.setAttribute("aria-label", `Show the picture of ${title}`);
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
    element("p", { className: "line", textContent: `${localTime(record.captured_at)} \u00b7 ${place(record)}` }),
    tags,
  );
  for (const model of record.models) {
    if (model.outcome !== "ok") {
      body.append(element("p", { className: "line reason bad", textContent: `${model.model}: ${model.reason}` }));
    }
  }
  picture.addEventListener("click", () =>
    show({
      title,
      picture: api.recordPicture(record, 1280),
      alt: image.alt,
      text: `${localTime(record.captured_at)} \u00b7 ${place(record)} \u00b7 ${record.frames.length} frames of ${record.process_name}`,
      rows: tables(record),
    }));
  return { node: element("li", { className: "card" }, picture, body), update() {} };
}

export function showRecords(records) {
  reconcile(list, records, api.recordKey, create);
  setHidden(document.getElementById("records-empty"), records.length > 0);
}
