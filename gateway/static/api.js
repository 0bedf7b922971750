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

async function request(method, path, body) {
  const options = { method, headers: { Accept: "application/json" }, cache: "no-store" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ApiError("The gateway cannot be reached.", 0);
  }
  const date = Date.parse(response.headers.get("Date") ?? "");
  // The header has whole seconds: smaller differences are none.
  if (!Number.isNaN(date)) {
    const offset = date + 500 - Date.now();
    clockOffset = Math.abs(offset) > 1500 ? offset : 0;
  }
  const text = await response.text();
  let json = null;
  try {
    json = text === "" ? null : JSON.parse(text);
  } catch {
    json = null;
  }
  if (!response.ok) {
    throw new ApiError(json?.error?.message ?? `The gateway answered ${response.status}.`, response.status);
  }
  return json;
}

const id = encodeURIComponent;

// All but "stopped".
const liveStates = ["starting", "running", "reconnecting", "auth_failed", "not_found", "no_video",
  "unsupported_codec", "refused", "stopping"];

// All live streams, and the newest of the stopped ones, of which there may be a thousand.
export async function listStreams() {
  const live = [];
  let token = "";
  do {
    const page = await request("GET",
      `/api/v1/streams?state=${liveStates.join(",")}&page_size=1000&page_token=${id(token)}`);
    live.push(...page.streams);
    token = page.next_page_token;
  } while (token !== "");
  // After the live ones: a stream that stops in between is in both answers, not in none.
  const stopped = await request("GET", "/api/v1/streams?state=stopped&page_size=200");
  const over = new Set(stopped.streams.map((stream) => stream.stream_id));
  return {
    streams: [...live.filter((stream) => !over.has(stream.stream_id)), ...stopped.streams],
    moreStopped: stopped.next_page_token !== "",
  };
}

export const startStream = (fields) => request("POST", "/api/v1/streams", fields);
export const probeSource = (fields) => request("POST", "/api/v1/probe", fields);
export const stopStream = (stream) => request("POST", `/api/v1/streams/${id(stream)}/stop?grid_jpeg=true`);
export const deleteStream = (stream) => request("DELETE", `/api/v1/streams/${id(stream)}`);
export const listRecords = (count) => request("GET", `/api/v1/records?page_size=${count}`);
export const listModels = () => request("GET", "/api/v1/models");
export const prepareModel = (model) => request("POST", `/api/v1/models/${id(model)}/prepare`, {});

// What a record is called whatever the data folder: the numbers begin at 1 in each.
export const recordKey = (record) => `${record.session_id}/${record.batch_seq}`;

// Addresses of pictures. `v` makes the browser ask again when there is a new one.
export const latestPicture = (stream, version) =>
  `/api/v1/streams/${id(stream)}/latest.jpg?v=${id(version)}`;
export const gridPicture = (stream) => `/api/v1/streams/${id(stream)}/grid.jpg`;
export const recordPicture = (record, width) =>
  `/api/v1/records/${id(record.record_id)}/frame.jpg?boxes=true&width=${width}&v=${id(recordKey(record))}`;
