// SPDX-License-Identifier: Apache-2.0
// Which view is shown, who is logged in, and whether the server is there.

import * as api from "/static/api.js";
import { initAreas } from "/static/areas.js";
import { initCameras, showCameras } from "/static/cameras.js";
import { byId, formMessage, setClass, setHidden, setLine, setText } from "/static/dom.js";
import { initModels } from "/static/models.js";
import { initRecords, showRecords } from "/static/records.js";
import { initStart } from "/static/start.js";
import * as store from "/static/store.js";
import { initStream, showStream } from "/static/stream.js";
import { initWall, isTrouble } from "/static/wall.js";

const BACK_MS = 6000;
const views = { "": "wall", streams: "stream", start: "start", records: "records", cameras: "cameras", models: "models" };
let loggedIn = false;
let mayStart = false;

function route() {
  if (!loggedIn) return;
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, ...rest] = path.split("/");
  // What a role may not do is not offered by its address either.
  const name = first === "start" && !mayStart ? "wall" : views[first] ?? "wall";
  for (const view of document.querySelectorAll("main > .view")) setHidden(view, view.id !== `view-${name}`);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${first === "streams" ? "" : first}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let id = "";
  try {
    id = name === "stream" ? decodeURIComponent(rest[0] ?? "") : "";
  } catch {
    // No address of ours.
  }
  showStream(id, rest[1] === "diagnosis");
  showCameras(name === "cameras");
  if (name === "records") showRecords(new URLSearchParams(query));
  showTitle();
}

// The tab says where one is, and how many streams are in trouble.
function showTitle() {
  const heading = document.querySelector("main > .view:not([hidden]) h2")?.firstChild?.textContent.trim() ?? "";
  const trouble = [...store.streams.values()].filter(isTrouble).length;
  const title = [heading, "Camherd"].filter((part) => part !== "").join(" \u00b7 ");
  document.title = trouble > 0 && loggedIn ? `(${trouble}) ${title}` : title;
}

const services = { capture: "streams", aggregator: "records and cameras", inference: "models" };
let wasLost = false;
let backUntil = 0;

function showConnection() {
  const { state, since } = store.connection;
  const pill = byId("connection");
  const banner = byId("banner");
  const away = [...store.away];
  const lost = state === "lost";
  if (lost) wasLost = true;
  if (state === "connected" && wasLost) {
    wasLost = false;
    backUntil = Date.now() + BACK_MS;
    setTimeout(showConnection, BACK_MS + 50);
  }
  if (lost) {
    setText(pill, "connection lost");
    setClass(pill, "pill bad");
    setClass(banner, "banner bad");
    setLine(banner, `The connection to the server was lost at ${new Date(since).toLocaleTimeString()}. What you see is from then; it is tried again.`);
  } else if (away.length > 0) {
    setText(pill, "partly available");
    setClass(pill, "pill warn");
    setClass(banner, "banner warn");
    setLine(banner, away.map(([service, reason]) => `No news of ${services[service] ?? service}: ${reason}.`).join(" "));
  } else {
    setText(pill, state);
    setClass(pill, state === "connected" ? "pill good" : "pill");
    setClass(banner, "banner good");
    setLine(banner, Date.now() < backUntil ? "The connection is back." : "");
  }
}

function showSession(session) {
  const { auth_required, authenticated, name, role, cameras } = session;
  loggedIn = !auth_required || authenticated;
  mayStart = ["operator", "admin"].includes(role);
  setHidden(byId("view-login"), loggedIn);
  setHidden(byId("connection"), !loggedIn);
  setHidden(byId("nav"), !loggedIn);
  setHidden(byId("logout"), !auth_required || !loggedIn);
  setText(byId("who"), auth_required && loggedIn ? `${name}, ${role}` : "");
  const parts = [`role-${role}`];
  if (cameras.length > 0) parts.push("some-cameras");
  setClass(document.body, parts.join(" "));
  if (loggedIn) {
    store.start();
    route();
    return;
  }
  store.stop();
  showStream("", false);
  showCameras(false);
  for (const view of document.querySelectorAll("main > .view")) setHidden(view, view.id !== "view-login");
  byId("token").focus();
  showTitle();
}

const loginForm = byId("login-form");
const sayLogin = formMessage(loginForm, byId("login-message"));

async function ask() {
  try {
    showSession(await api.session());
    showConnection();
  } catch (error) {
    setText(byId("connection"), error.code === 0 ? "connection lost" : "not available");
    setClass(byId("connection"), "pill bad");
    setHidden(byId("connection"), false);
    setClass(byId("banner"), "banner bad");
    setLine(byId("banner"), `${error.message} It is tried again.`);
    setTimeout(ask, 2000);
  }
}

api.whenLoggedOut(() => {
  if (!loggedIn) return;
  loggedIn = false;
  store.stop();
  ask();
  sayLogin("The login has ended.");
});

loginForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  sayLogin("");
  try {
    const session = await api.login(loginForm.elements.token.value);
    loginForm.reset();
    showSession(session);
    focusHeading();
  } catch (error) {
    sayLogin(error.message, "bad");
  }
});
byId("logout").addEventListener("click", async () => {
  try {
    await api.logout();
  } finally {
    // Nothing of what was shown stays in memory.
    location.reload();
  }
});

// Where a keyboard goes on, and what a screen reader reads, after the view has changed.
function focusHeading() {
  const heading = document.querySelector("main > .view:not([hidden]) h2");
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  focusHeading();
});

initWall();
initStream();
initRecords();
initCameras();
initAreas();
initModels();
initStart();
store.watch(({ topics }) => {
  if (topics.has("connection")) showConnection();
  if (topics.has("streams")) showTitle();
});
addEventListener("hashchange", () => {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  const shown = () => document.querySelector("main > .view:not([hidden])");
  const before = shown();
  route();
  scrollTo(0, 0);
  // A search leaves the focus in its form.
  if (shown() !== before) focusHeading();
});
ask();
