// SPDX-License-Identifier: Apache-2.0
// The map of the cameras. Where no tiles are configured it is a grid of degrees.

import * as L from "/static/leaflet.js";
import { byId, element, setLine } from "/static/dom.js";

const lines = L.layerGroup();
const markers = new Map();
let map = null;
let placed = "";

// The widest step that gives at least three lines in `span` degrees.
function step(span) {
  let width = 90;
  for (const divisor of [2, 2.5, 2]) {
    if (span / width >= 3) return width;
    width /= divisor;
  }
  const power = 10 ** Math.floor(Math.log10(span / 3));
  return [5, 2, 1].map((times) => times * power).find((size) => span / size >= 3) ?? power;
}

function drawLines() {
  lines.clearLayers();
  const bounds = map.getBounds();
  const width = step(Math.max(1e-6, Math.min(bounds.getEast() - bounds.getWest(), 2 * (bounds.getNorth() - bounds.getSouth()))));
  // Beside one another they need some 64 pixels.
  const every = Math.ceil(64 / ((map.getSize().x * width) / (bounds.getEast() - bounds.getWest())));
  const digits = Math.max(0, -Math.floor(Math.log10(width)));
  const style = { className: "map-line", interactive: false, weight: 1 };
  const mark = (at, text) => lines.addLayer(L.marker(at, {
    interactive: false,
    keyboard: false,
    // A node of its own: what is a string here would be taken as HTML.
    icon: L.divIcon({ className: "map-degree", html: element("span", { textContent: text }), iconSize: null, iconAnchor: [-3, 18] }),
  }));
  for (let at = Math.ceil(bounds.getWest() / width) * width; at <= bounds.getEast(); at += width) {
    lines.addLayer(L.polyline([[-85, at], [85, at]], style));
    if (Math.round(at / width) % every === 0) mark([bounds.getSouth(), at], `${at.toFixed(digits)}\u00b0`);
  }
  for (let at = Math.ceil(bounds.getSouth() / width) * width; at <= bounds.getNorth(); at += width) {
    lines.addLayer(L.polyline([[at, -720], [at, 720]], style));
    mark([at, bounds.getWest()], `${at.toFixed(digits)}\u00b0`);
  }
}

// `onClick(latitude, longitude)`: a place on the map was clicked.
export function initMap(onClick) {
  if (map) return;
  map = L.map(byId("map"), { worldCopyJump: true, zoomControl: false, attributionControl: false, maxZoom: 19 });
  map.setView([20, 0], 2);
  L.control.zoom({ position: "topright" }).addTo(map);
  L.control.scale({ position: "bottomright", imperial: false }).addTo(map);
  // The server writes them into the page where they are configured.
  const setting = (name) => document.querySelector(`meta[name="${name}"]`).content;
  if (setting("map-tiles") !== "") {
    L.tileLayer(setting("map-tiles"), { maxZoom: 19 }).addTo(map);
    setLine(byId("map-attribution"), setting("map-attribution"));
  } else {
    lines.addTo(map);
    map.on("moveend zoomend resize", drawLines);
    drawLines();
  }
  map.on("click", ({ latlng }) => onClick(latlng.lat, latlng.wrap().lng));
}

// cameras: { id, latitude, longitude, kind, label, content() -> node }; kind: "good", "warn", "bad", "".
export function showOnMap(cameras) {
  if (!map) return;
  map.invalidateSize();
  const known = new Set(cameras.map((camera) => camera.id));
  for (const [id, marker] of markers) {
    if (!known.has(id)) {
      marker.remove();
      markers.delete(id);
    }
  }
  for (const camera of cameras) {
    let marker = markers.get(camera.id);
    if (!marker) {
      marker = L.marker([camera.latitude, camera.longitude], { keyboard: true, title: camera.id, alt: camera.id });
      marker.bindPopup(() => marker.camera.content());
      markers.set(camera.id, marker);
    }
    const look = `map-pin ${camera.kind}`;
    if (marker.look !== `${look}/${camera.label}`) {
      marker.look = `${look}/${camera.label}`;
      marker.setIcon(L.divIcon({ className: look, html: element("span", { textContent: camera.label }), iconSize: null }));
    }
    marker.camera = camera;
    marker.setLatLng([camera.latitude, camera.longitude]);
    if (!map.hasLayer(marker)) marker.addTo(map);
  }
  const places = cameras.map(({ latitude, longitude }) => [latitude, longitude]);
  // Moves only when there are other cameras, so that it stays where a person has moved it.
  if (places.length > 0 && placed !== [...known].sort().join()) {
    placed = [...known].sort().join();
    map.fitBounds(places, { padding: [50, 50], maxZoom: 15, animate: false });
  }
}
