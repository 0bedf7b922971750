// SPDX-License-Identifier: Apache-2.0
// The one file that talks to the gateway.

export class ApiError extends Error {
  // `code` 0: the gateway could not be reached.
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

let clockOffset = 0;

// The server's time in milliseconds: countdowns do not trust this machine's clock.
export function serverNow() {
  return Date.now() + clockOffset;
}

let onUnauthenticated = () => {};

// `then` is called when the login has ended.
export function whenLoggedOut(then) {
  onUnauthenticated = then;
}

async function request(method, path, body, { type = "application/json", timeout = 90_000, accept = "application/json" } = {}) {
  const options = {
    method,
    headers: { Accept: accept },
    cache: "no-store",
    signal: AbortSignal.timeout(timeout),
  };
  if (body !== undefined) {
    options.headers["Content-Type"] = type;
    options.body = type === "application/json" ? JSON.stringify(body) : body;
  }
  let response;
  let data;
  try {
    response = await fetch(path, options);
    data = await response.blob();
  } catch {
    throw new ApiError("The gateway cannot be reached.", 0);
  }
  const date = Date.parse(response.headers.get("Date") ?? "");
  // The header has whole seconds: smaller differences are none.
  if (!Number.isNaN(date)) {
    const offset = date + 500 - Date.now();
    clockOffset = Math.abs(offset) > 1500 ? offset : 0;
  }
  if (response.ok && accept !== "application/json") return data;
  const text = await data.text();
  let json = null;
  try {
    json = text === "" ? null : JSON.parse(text);
  } catch {
    json = null;
  }
  if (!response.ok) {
    if (response.status === 401 && path !== "/api/v1/login") onUnauthenticated();
    throw new ApiError(json?.error?.message ?? `The gateway answered ${response.status}.`, response.status);
  }
  return json;
}

const id = encodeURIComponent;

function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== "" && value !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

// All pages of a list, at most `most` items.
async function all(path, name, fields, most) {
  const items = [];
  let token = "";
  do {
    const page = await request("GET", path + query({ ...fields, page_size: 1000, page_token: token }));
    items.push(...page[name]);
    token = page.next_page_token;
  } while (token !== "" && items.length < most);
  return items;
}

// Who is asking, and what they may do. Quick: it says that the gateway is there.
export async function session() {
  const answer = await request("GET", "/api/v1/session", undefined, { timeout: 5000 });
  if (answer.auth_required && !answer.authenticated) onUnauthenticated();
  return answer;
}
export const login = (token) => request("POST", "/api/v1/login", { token });
export const logout = () => request("POST", "/api/v1/logout", {});

// All but "stopped".
const liveStates = ["starting", "running", "reconnecting", "auth_failed", "not_found", "no_video",
  "unsupported_codec", "refused", "stopping"];

// All live streams, and the newest of the stopped ones, of which there may be a thousand.
export async function listStreams() {
  const live = await all("/api/v1/streams", "streams", { state: liveStates.join(",") }, Infinity);
  // After the live ones: a stream that stops in between is in both answers, not in none.
  const stopped = await request("GET", "/api/v1/streams?state=stopped&page_size=200");
  const over = new Set(stopped.streams.map((stream) => stream.stream_id));
  return [...live.filter((stream) => !over.has(stream.stream_id)), ...stopped.streams];
}

export const getStream = (stream) => request("GET", `/api/v1/streams/${id(stream)}`);
export const startStream = (fields) => request("POST", "/api/v1/streams", fields);
export const changeStream = (stream, fields) => request("PATCH", `/api/v1/streams/${id(stream)}`, fields);
export const stopStream = (stream) => request("POST", `/api/v1/streams/${id(stream)}/stop?grid_jpeg=true`);
export const deleteStream = (stream) => request("DELETE", `/api/v1/streams/${id(stream)}`);
export const gridCells = (stream) => request("GET", `/api/v1/streams/${id(stream)}/grid.json`);
export const probeSource = (fields) => request("POST", "/api/v1/probe", fields);

// `fields`: the filters of ListRecords, page_size and page_token.
export const listRecords = (fields) => request("GET", `/api/v1/records${query(fields)}`);
export const getRecord = (record) => request("GET", `/api/v1/records/${id(record)}`);

export const listCameras = () => all("/api/v1/cameras", "cameras", {}, 20_000);
export const putCamera = (camera) => request("PUT", `/api/v1/cameras/${id(camera.camera_id)}`, camera);
export const importCameras = (csv) => request("POST", "/api/v1/cameras/import", csv, { type: "text/csv" });

export const listModels = () => request("GET", "/api/v1/models");
export const prepareModel = (model, rebuild) =>
  request("POST", `/api/v1/models/${id(model)}/prepare`, rebuild ? { rebuild } : {});
export const unloadModel = (model) => request("POST", `/api/v1/models/${id(model)}/unload`, {});

// The nine brightest as they are now, as a data URL: their address is always the same.
export async function gridPicture(stream) {
  const jpeg = await request("GET", `/api/v1/streams/${id(stream)}/grid.jpg`, undefined, { accept: "image/jpeg" });
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(jpeg);
  });
}

// What a record is called whatever the data folder: the numbers begin at 1 in each.
export const recordKey = (record) => `${record.session_id}/${record.batch_seq}`;

// Addresses of pictures. `v` makes the browser ask again when there is a new one.
export const latestPicture = (stream, version, width) =>
  `/api/v1/streams/${id(stream)}/latest.jpg?width=${width}&v=${id(version)}`;
// The picture that shows most: that with the highest score, or the first one.
export const recordPicture = (record, width, { boxes = true, evidence = "" } = {}) =>
  `/api/v1/records/${id(record.record_id)}/frame.jpg`
  + query({ boxes, width, evidence, v: recordKey(record) });
export const exportFile = (fields) => `/api/v1/records/export${query(fields)}`;

// What the services still know of the past of a camera's streams: as they were after each
// change, oldest first.
export function streamsBefore(camera) {
  return new Promise((resolve) => {
    const source = new EventSource(`/api/v1/events${query({ types: "stream", camera_id: camera, replay: true })}`);
    const found = [];
    const end = () => {
      source.close();
      resolve(found);
    };
    source.addEventListener("stream", (event) => found.push(JSON.parse(event.data)));
    // It comes after all that is kept.
    source.addEventListener("peer", end);
    source.addEventListener("error", end);
  });
}

const eventNames = ["stream", "stream_deleted", "record", "model", "peer", "reset"];

// Listens to what changes. `handlers`: a function for each event; `open` when
// events come, `lost` when they stop coming and are tried again, `refused` when
// the gateway gives none. Returns what ends it.
export function listen(handlers) {
  const source = new EventSource("/api/v1/events");
  for (const name of eventNames) {
    source.addEventListener(name, (event) => handlers[name](JSON.parse(event.data)));
  }
  source.addEventListener("open", () => handlers.open());
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) handlers.refused();
    else handlers.lost();
  });
  return () => source.close();
}
