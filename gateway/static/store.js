// SPDX-License-Identifier: Apache-2.0
// What the page knows of the server, kept new by its events: lists are read once, then
// replaced piece by piece. Who shows something is told of changes a few times a second.

import * as api from "/static/api.js";

const FLUSH_MS = 250;
const PING_MS = 10_000;
const POLL_MS = 3000;
const MAX_RECORDS = 200;
const MAX_SAMPLES = 400;
const MAX_NOTES = 100;

export const streams = new Map();
export const models = new Map();
// Newest first.
export let records = [];
// The newest record of a stream.
export const newestRecord = new Map();
// By stream: what was seen since the page was opened. samples: { at, luma }, notes: { at, kind, text }.
const histories = new Map();
// Services whose news do not arrive, with the reason.
export const away = new Map();
export const listErrors = new Map();
// "connecting", "connected", "lost"; since: milliseconds.
export const connection = { state: "connecting", since: Date.now() };

const watchers = new Set();
const changed = new Set();
const changedStreams = new Set();
let flushing = 0;

// watcher({ topics: Set of "streams", "records", "models", "connection"; ids: Set of changed streams })
export function watch(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

function tell(topic, id) {
  changed.add(topic);
  if (id !== undefined) changedStreams.add(id);
  flushing ||= setTimeout(() => {
    flushing = 0;
    const what = { topics: new Set(changed), ids: new Set(changedStreams) };
    changed.clear();
    changedStreams.clear();
    for (const watcher of watchers) watcher(what);
  }, FLUSH_MS);
}

function setConnection(state) {
  if (connection.state === state) return;
  connection.state = state;
  connection.since = Date.now();
  tell("connection");
}

export function historyOf(id) {
  let history = histories.get(id);
  if (!history) histories.set(id, (history = { samples: [], notes: [] }));
  return history;
}

function note(id, at, kind, text) {
  const { notes } = historyOf(id);
  notes.unshift({ at, kind, text });
  if (notes.length > MAX_NOTES) notes.pop();
}

const asked = ["interval_seconds", "models", "sampling_mode", "transport", "rtsp_url", "detect_url", "ttl_seconds", "max_frames"];
const now = () => new Date(api.serverNow()).toISOString();

function remember(before, after) {
  const id = after.stream_id;
  if (after.last_frame_at && after.last_frame_at !== before?.last_frame_at) {
    const { samples } = historyOf(id);
    samples.push({ at: Date.parse(after.last_frame_at), luma: after.last_frame_luma });
    if (samples.length > MAX_SAMPLES) samples.shift();
  }
  if (!before) return;
  if (before.state !== after.state || before.state_reason !== after.state_reason) {
    const why = after.state_reason === "" ? "" : `: ${after.state_reason}`;
    note(id, after.state_since ?? now(), "state", `${after.state.replaceAll("_", " ")}${why}`);
  }
  if (before.condition !== after.condition && after.condition !== "unspecified") {
    note(id, after.condition_since ?? now(), "picture", after.condition.replaceAll("_", " "));
  }
  for (const field of asked) {
    const [was, is] = [String(before[field]), String(after[field])];
    if (was !== is) note(id, now(), "change", `${field.replaceAll("_", " ")}: ${was || "none"} \u2192 ${is || "none"}`);
  }
}

function takeStream(stream) {
  const id = stream.stream_id;
  remember(streams.get(id), stream);
  streams.set(id, stream);
  tell("streams", id);
}

function dropStream(id) {
  streams.delete(id);
  histories.delete(id);
  newestRecord.delete(id);
  tell("streams", id);
}

function found(record) {
  const classes = new Set();
  for (const section of record.sections) {
    for (const detection of section.detections) classes.add(detection.class_name);
  }
  return classes.size === 0 ? "nothing found" : [...classes].join(", ");
}

function takeRecord(record) {
  const key = api.recordKey(record);
  if (records.some((known) => api.recordKey(known) === key)) return;
  records = [record, ...records].sort((a, b) => b.record_id - a.record_id).slice(0, MAX_RECORDS);
  const newest = newestRecord.get(record.stream_id);
  if (!newest || newest.record_id < record.record_id) newestRecord.set(record.stream_id, record);
  note(record.stream_id, record.recorded_at, "record", `#${record.record_id}: ${found(record)}`);
  tell("records", record.stream_id);
}

// What comes while a list is read is newer than the list, and taken after it.
const reading = new Map();

function later(topic, take) {
  const waiting = reading.get(topic);
  if (waiting) waiting.push(take);
  else take();
}

async function readList(topic, ask, take) {
  if (reading.has(topic)) return;
  reading.set(topic, []);
  try {
    take(await ask());
    listErrors.delete(topic);
  } catch (error) {
    if (error.code !== 0) listErrors.set(topic, error.message);
  }
  const waiting = reading.get(topic);
  reading.delete(topic);
  for (const one of waiting) one();
  tell(topic);
}

const read = {
  stream: () => readList("streams", api.listStreams, (list) => {
    const listed = new Set(list.map((stream) => stream.stream_id));
    for (const id of [...streams.keys()]) if (!listed.has(id)) dropStream(id);
    list.forEach(takeStream);
  }),
  record: () => readList("records", () => api.listRecords({ page_size: MAX_RECORDS }), (answer) => {
    // Oldest first, so that the notes are in order.
    answer.records.toReversed().forEach(takeRecord);
  }),
  model: () => readList("models", api.listModels, (answer) => {
    models.clear();
    for (const model of answer.models) models.set(model.name, model);
  }),
};

// After a change by this page: an event tells of it, but not where events are refused.
export function refresh(type) {
  return read[type]();
}

const readAll = () => Promise.all(Object.values(read).map((one) => one()));

let end = null;
let polling = 0;
// The lists have not been read since events were opened anew.
let fresh = false;

const handlers = {
  open() {
    setConnection("connected");
    // A connection that came back goes on from where it was.
    if (fresh) readAll();
    fresh = false;
  },
  lost: () => setConnection("lost"),
  refused() {
    close();
    poll();
  },
  stream: (stream) => later("streams", () => takeStream(stream)),
  stream_deleted: ({ stream_id }) => later("streams", () => dropStream(stream_id)),
  record: (record) => later("records", () => takeRecord(record)),
  model: (model) => later("models", () => {
    models.set(model.name, model);
    tell("models");
  }),
  peer({ service, connected, reason }) {
    if (connected) away.delete(service);
    else away.set(service, reason);
    tell("connection");
  },
  reset: ({ type }) => read[type]?.(),
};

function close() {
  end?.();
  end = null;
}

function open() {
  close();
  clearTimeout(polling);
  polling = 0;
  fresh = true;
  end = api.listen(handlers);
}

// Without events, because too many listen: asks, and now and then tries events again.
let rounds = 0;
async function poll() {
  try {
    await api.session();
    setConnection("connected");
    await readAll();
  } catch (error) {
    setConnection(error.code === 0 ? "lost" : "connected");
  }
  if (end || stopped) return;
  rounds += 1;
  if (rounds % 10 === 0 && connection.state === "connected") open();
  else polling = setTimeout(poll, POLL_MS);
}

// A server that vanished without a word keeps the connection, and a login may end: asks now and then.
async function ping() {
  if (stopped || !end || document.hidden) return;
  try {
    await api.session();
  } catch (error) {
    if (error.code !== 0 || !end) return;
    setConnection("lost");
    open();
  }
}

let stopped = true;

export function start() {
  stopped = false;
  open();
}

export function stop() {
  stopped = true;
  close();
  clearTimeout(polling);
}

setInterval(ping, PING_MS);
// A tab that nobody looks at holds no connection; browsers have six for one server.
document.addEventListener("visibilitychange", () => {
  if (stopped) return;
  if (document.hidden) {
    close();
    clearTimeout(polling);
  } else {
    start();
  }
});
