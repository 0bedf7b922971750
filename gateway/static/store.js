// SPDX-License-Identifier: Apache-2.0
// What the page knows of the server, kept new by its events: lists are read once, then
// replaced piece by piece. Who shows something is told of changes a few times a second.

import * as api from "/static/api.js";

const FLUSH_MS = 250;
const PING_MS = 10_000;
const POLL_MS = 3000;
const MAX_RECORDS = 200;
const MAX_SAMPLES = 400;
const MAX_NOTES = 60;

export const streams = new Map();
export const models = new Map();
// Newest first.
export let records = [];
// The newest record of a stream.
export const newestRecord = new Map();
// By stream: what was seen since the page was opened, and what was found of the time before.
// samples: { at, luma }, notes: { at, kind, text }, newest first; before: true once it was asked for.
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
  if (!history) histories.set(id, (history = { samples: [], notes: [], before: false }));
  return history;
}

const keyOf = ({ at, kind, text }) => `${at} ${kind} ${text}`;

// Adds those that are not there yet, in the order of their times. Of each kind the newest stay:
// the many records push out no failure.
function note(id, ...notes) {
  const history = historyOf(id);
  const known = new Set(history.notes.map(keyOf));
  const added = notes.filter((one) => !known.has(keyOf(one)));
  if (added.length === 0) return;
  const count = {};
  // Those of one moment stay as they came.
  history.notes = [...added.toReversed(), ...history.notes]
    .sort((a, b) => Date.parse(b.at) - Date.parse(a.at))
    .filter(({ kind }) => (count[kind] = (count[kind] ?? 0) + 1) <= MAX_NOTES);
}

const asked = ["interval_seconds", "models", "sampling_mode", "transport", "rtsp_url", "detect_url", "ttl_seconds", "max_frames"];
const opened = Date.now();
const now = () => new Date(api.serverNow()).toISOString();

function stateNote(stream, at) {
  const why = stream.state_reason === "" ? "" : `: ${stream.state_reason}`;
  return { at, kind: "state", text: `${stream.state.replaceAll("_", " ")}${why}` };
}

// What happened between two looks at a stream; `at`: when, for what has no time of its own (`about`).
function changes(before, after, at) {
  const notes = [];
  for (const field of asked) {
    const [was, is] = [String(before[field]), String(after[field])];
    const text = `${field.replaceAll("_", " ")}: ${was || "none"} \u2192 ${is || "none"}`;
    if (was !== is) notes.push({ at, kind: "change", text, about: true });
  }
  if (before.state !== after.state) {
    notes.push(stateNote(after, after.state_since ?? at));
  } else if (before.state_reason !== after.state_reason) {
    notes.push({ ...stateNote(after, at), about: true });
  }
  if (before.condition !== after.condition && after.condition !== "unspecified") {
    notes.push({ at: after.condition_since ?? at, kind: "picture", text: after.condition.replaceAll("_", " ") });
  }
  return notes;
}

function recordNote(record) {
  return { at: record.recorded_at, kind: "record", text: `#${record.record_id}: ${found(record)}` };
}

function remember(before, after) {
  const id = after.stream_id;
  if (after.last_frame_at && after.last_frame_at !== before?.last_frame_at) {
    const { samples } = historyOf(id);
    samples.push({ at: Date.parse(after.last_frame_at), luma: after.last_frame_luma });
    if (samples.length > MAX_SAMPLES) samples.shift();
  }
  if (before) note(id, ...changes(before, after, now()));
}

// Asks for what happened before the page was opened, once.
export async function readPast(stream) {
  const id = stream.stream_id;
  const history = historyOf(id);
  if (history.before) return;
  history.before = true;
  const past = (await api.streamsBefore(stream.camera_id)).filter((one) => one.stream_id === id);
  const all = [...past, stream];
  // Of the oldest that is known only its state has a time.
  const notes = [stateNote(all[0], all[0].state_since ?? all[0].started_at)];
  for (let i = 1; i < all.length; i += 1) {
    const { last_frame_at, state_since } = all[i];
    notes.push(...changes(all[i - 1], all[i], [last_frame_at, state_since].filter(Boolean).sort().at(-1)));
  }
  // What came while the page is open is there with a better time.
  const began = opened + api.serverNow() - Date.now();
  note(id, ...notes.filter(({ at, about }) => !about || Date.parse(at) < began));
  tell("streams", id);
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
  note(record.stream_id, recordNote(record));
  tell("records", record.stream_id);
}

// Records of one stream that are older than those of all streams.
export function takeOlder(id, older) {
  note(id, ...older.map(recordNote));
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
