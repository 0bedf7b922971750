// SPDX-License-Identifier: Apache-2.0
// Building and updating elements, and how things are written. Text enters by textContent only.

// element("p", { className: "line" }, "text", childElement, ...)
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

// The same for SVG, whose properties are attributes.
export function svg(tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== "") node.textContent = text;
  return node;
}

export const byId = (name) => document.getElementById(name);

// Assigns only what differs, so that a reader's selection and a screen reader are left in peace.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

// A line that is only there when it says something.
export function setLine(node, text) {
  setText(node, text);
  setHidden(node, text === "");
}

// Makes `list` show `items` in order, keeping the elements of those that stay.
// create(item) -> { node, update(item), gone() }; gone may be left out.
export function reconcile(list, items, keyOf, create) {
  const known = (list.views ??= new Map());
  const keys = new Set(items.map(keyOf));
  for (const [key, view] of known) {
    if (!keys.has(key)) {
      view.gone?.();
      view.node.remove();
      known.delete(key);
    }
  }
  let place = list.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let view = known.get(key);
    if (!view) {
      view = create(item);
      known.set(key, view);
    }
    view.update(item);
    if (view.node === place) place = place.nextElementSibling;
    else list.insertBefore(view.node, place);
  }
}

// A label with a number below it.
export function figure(label) {
  const value = element("dd");
  return {
    node: element("div", {}, element("dt", { textContent: label }), value),
    set: (text) => setText(value, String(text)),
  };
}

// Pictures that load at once; the browser's few connections are for calls as well.
const MAX_LOADING = 4;
const waiting = [];
let loadingNow = 0;

function loadSome() {
  while (loadingNow < MAX_LOADING && waiting.length > 0) {
    loadingNow += 1;
    const { address, then } = waiting.shift();
    const image = element("img", { decoding: "async", alt: "" });
    const done = (good) => {
      loadingNow -= 1;
      then(good ? image : null);
      loadSome();
    };
    image.onload = () => done(true);
    image.onerror = () => done(false);
    image.src = address;
  }
}

// A picture with words in its place until there is one. show(address, alt) loads
// beside what is shown, so that nothing flickers; while one loads, the newest of
// the others waits.
export function picture(none) {
  const holder = element("span", { className: "shot" }, element("span", { textContent: none }));
  let loading = false;
  let wanted = "";
  let asked = "";
  let alt = "";
  function next() {
    if (loading || wanted === asked) return;
    asked = wanted;
    loading = true;
    waiting.push({
      address: asked,
      then(image) {
        loading = false;
        if (image) {
          image.alt = alt;
          holder.replaceChildren(image);
        }
        next();
      },
    });
    loadSome();
  }
  return {
    node: holder,
    // The picture that is shown, or null.
    image: () => holder.querySelector("img"),
    show(address, text) {
      wanted = address;
      alt = text;
      next();
    },
  };
}

export function seconds(value) {
  if (value < 0) return "-";
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172_800) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86_400)} days`;
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  const power = Math.min(4, Math.floor(Math.log2(value) / 10));
  return `${(value / 1024 ** power).toFixed(1)} ${["", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

export function localTime(rfc3339) {
  const time = new Date(rfc3339 || NaN);
  return Number.isNaN(time.getTime()) ? "" : time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

// The time, with its day where that is not today.
export function shortTime(rfc3339) {
  const time = new Date(rfc3339);
  if (time.toDateString() === new Date().toDateString()) return time.toLocaleTimeString();
  return time.toLocaleString(undefined, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
}

export const sum = (object) => Object.values(object ?? {}).reduce((a, b) => a + b, 0);
export const words = (name) => name.replaceAll("_", " ");

// A field's text as a number; what is none goes out as it is, for the API to name it.
export function numberOr(text) {
  const trimmed = text.trim();
  return trimmed !== "" && Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}

export const listOf = (text) => text.split(",").map((part) => part.trim()).filter((part) => part !== "");

// Runs what a button is for: once at a time. What goes wrong is said by say(message), after
// say("") at the start. The button is not disabled meanwhile: that would take the focus away.
export async function act(button, say, action) {
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  say("");
  try {
    await action();
  } catch (error) {
    say(error.message, "bad");
  } finally {
    button.ariaBusy = "false";
  }
}

// A `say` for a line of its own.
export const saidIn = (node) => (text) => setLine(node, text);

// "classes" begins "classes must be", "classes[0] must be" and "classes.dog must be".
const begins = (text, name) => text.startsWith(name) && " .[".includes(text.charAt(name.length) || "x");

// A `say` for a form: marks the field that the message begins with.
export function formMessage(form, node) {
  return (text, kind = "") => {
    setText(node, text);
    node.className = `message ${kind}`;
    let first = null;
    for (const input of form.elements) {
      if (!input.name || input.type === "hidden") continue;
      const named = kind === "bad" && begins(text, input.name);
      if (named) {
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-describedby", node.id);
        first ??= input;
      } else {
        input.removeAttribute("aria-invalid");
        input.removeAttribute("aria-describedby");
      }
    }
    first?.closest("details")?.setAttribute("open", "");
    first?.focus();
  };
}

function closeOutside(dialog) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

const viewer = byId("viewer");
byId("viewer-close").addEventListener("click", () => viewer.close());
closeOutside(viewer);

// Shows a picture with a title, a sentence, choices above it, rows of cells below and
// text as it is beside it; all but the title may be left out.
export function show({ title, picture = "", alt = "", text = "", choices = [], rows = [], raw = "" }) {
  const image = byId("viewer-picture");
  const table = byId("viewer-table");
  setText(byId("viewer-title"), title);
  setLine(byId("viewer-text"), text);
  byId("viewer-choices").replaceChildren(...choices);
  image.hidden = !picture;
  image.alt = alt;
  if (picture) image.src = picture;
  else image.removeAttribute("src");
  table.hidden = rows.length < 2;
  table.replaceChildren(
    ...rows.map((row, index) =>
      element("tr", {}, ...row.map((cell) => element(index === 0 ? "th" : "td", { textContent: cell })))),
  );
  setLine(byId("viewer-raw"), raw);
  if (!viewer.open) viewer.showModal();
}

const question = byId("question");
closeOutside(question);

// Asks before something that cannot be undone; true: yes.
export function confirmed({ title, text, yes }) {
  setText(byId("question-title"), title);
  setText(byId("question-text"), text);
  setText(byId("question-yes"), yes);
  question.returnValue = "";
  question.showModal();
  return new Promise((resolve) => {
    question.addEventListener("close", () => resolve(question.returnValue === "yes"), { once: true });
  });
}
