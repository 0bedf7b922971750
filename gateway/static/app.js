// SPDX-License-Identifier: Apache-2.0
// Asks every two seconds and shows what it gets.

import * as api from "/static/api.js";
import { setClass, setHidden, setText } from "/static/dom.js";
import { showModels } from "/static/models.js";
import { showRecords } from "/static/records.js";
import { initStart, showModelChoices } from "/static/start.js";
import { showStreams, tickStreams } from "/static/streams.js";

const POLL_MS = 2000;
const RECORDS = 12;
const connection = document.getElementById("connection");

function notice(section, error) {
  const node = document.getElementById(`${section}-notice`);
  // A lost gateway is said once, at the top.
  const text = error && error.code !== 0 ? error.message : "";
  setText(node, text);
  setHidden(node, text === "");
}

const sections = {
  streams: { ask: api.listStreams, take: (answer) => showStreams(answer, refresh) },
  records: { ask: () => api.listRecords(RECORDS), take: (answer) => showRecords(answer.records) },
  models: {
    ask: api.listModels,
    take: (answer) => {
      showModels(answer.models, refresh);
      showModelChoices(answer.models);
    },
  },
};

async function one(name) {
  const { ask, take } = sections[name];
  try {
    take(await ask());
    notice(name, null);
    return null;
  } catch (error) {
    notice(name, error);
    return error;
  }
}

async function refresh() {
  const errors = (await Promise.all(Object.keys(sections).map(one))).filter((error) => error !== null);
  if (errors.some((error) => error.code === 0)) {
    setText(connection, "connection lost, trying again");
    setClass(connection, "pill bad");
  } else if (errors.length > 0) {
    setText(connection, "partly available");
    setClass(connection, "pill warn");
  } else {
    setText(connection, "connected");
    setClass(connection, "pill good");
  }
}

// The next question comes two seconds after the last answer: a slow gateway is not asked faster.
async function poll() {
  if (!document.hidden) await refresh();
  setTimeout(poll, POLL_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
initStart(refresh);
setInterval(tickStreams, 500);
poll();
