// SPDX-License-Identifier: Apache-2.0
// Building and updating elements. Text enters by textContent only.

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

// Makes `list` show `items` in order, keeping the elements of those that stay.
// create(item) -> { node, update(item) }
export function reconcile(list, items, keyOf, create) {
  const known = (list.views ??= new Map());
  const keys = new Set(items.map(keyOf));
  for (const [key, view] of known) {
    if (!keys.has(key)) {
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

export function seconds(value) {
  if (value < 0) return "-";
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return `${Math.round(value / 3600)} h`;
}

export function localTime(rfc3339) {
  const time = new Date(rfc3339);
  return Number.isNaN(time.getTime()) ? "" : time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export const sum = (object) => Object.values(object ?? {}).reduce((a, b) => a + b, 0);
export const words = (name) => name.replaceAll("_", " ");

const viewer = document.getElementById("viewer");
document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close();
});

// Shows a picture with a title, a sentence and rows of cells; all but the title may be left out.
export function show({ title, picture, alt = "", text = "", rows = [] }) {
  const image = document.getElementById("viewer-picture");
  const table = document.getElementById("viewer-table");
  setText(document.getElementById("viewer-title"), title);
  setText(document.getElementById("viewer-text"), text);
  image.hidden = !picture;
  image.alt = alt;
  if (picture) image.src = picture;
  else image.removeAttribute("src");
  table.hidden = rows.length < 2;
  table.replaceChildren(
    ...rows.map((row, index) =>
      element("tr", {}, ...row.map((cell) => element(index === 0 ? "th" : "td", { textContent: cell })))),
  );
  if (!viewer.open) viewer.showModal();
}
