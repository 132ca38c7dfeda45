// The map of films on a canvas: like films lie near each other. Drag or arrows move it, wheel, pinch or + and − zoom.
import { $, el, full, poster } from "./dom.js";
import { ask, film as know } from "./api.js";

const view = { zoom: 1, x: 0, y: 0 };                        // how large, and which place is in the middle
let points = [], at = new Map(), marks = { past: [], next: [] }, open = () => {}, asked = null, drawing = 0, ink = {}, hovered = null, hovering;
const pictures = new Map(), pointers = new Map();

const canvas = () => $("map");
const size = () => { const { clientWidth: w, clientHeight: h } = canvas(); return [w, h]; };
/** A place of the map as pixels of the canvas. */
function spot(p) {
  const [w, h] = size();
  return [w / 2 + (p.x - view.x) * view.zoom * (w / 2 - 26), h / 2 - (p.y - view.y) * view.zoom * (h / 2 - 34)];
}
function limit() {
  view.zoom = Math.max(1, Math.min(60, view.zoom));
  const most = 1 - 1 / view.zoom;
  view.x = Math.max(-most, Math.min(most, view.x)); view.y = Math.max(-most, Math.min(most, view.y));
}
const draw = () => { cancelAnimationFrame(drawing); drawing = requestAnimationFrame(paint); };

function picture(id) {
  if (!pictures.has(id)) {
    if (pictures.size > 400) pictures.delete(pictures.keys().next().value);
    const image = new Image();
    image.onload = draw;
    image.src = `/posters/${id}`;
    pictures.set(id, image);
  }
  const image = pictures.get(id);
  return image.complete && image.naturalWidth ? image : null;
}

function frame(g, p, width, color) {
  const [x, y] = spot(p), h = width * 1.5, image = picture(p.id);
  g.save();
  g.beginPath(); g.roundRect(x - width / 2, y - h / 2, width, h, 3);
  g.fillStyle = ink.panel; g.fill();
  if (image) { g.clip(); g.drawImage(image, x - width / 2, y - h / 2, width, h); }
  g.restore();
  if (!color) return;
  g.beginPath(); g.roundRect(x - width / 2, y - h / 2, width, h, 3);
  g.lineWidth = 2; g.strokeStyle = color; g.stroke();
}

function dot(g, p, r) { const [x, y] = spot(p); g.moveTo(x + r, y); g.arc(x, y, r, 0, 7); }

function paint() {
  const node = canvas(), [w, h] = size(), dpr = Math.min(2, devicePixelRatio || 1);
  if (!w || !points.length) return;
  if (node.width !== Math.round(w * dpr) || node.height !== Math.round(h * dpr)) { node.width = Math.round(w * dpr); node.height = Math.round(h * dpr); }
  const style = getComputedStyle(node);
  for (const name of ["soft", "panel", "accent", "mint"]) ink[name] = style.getPropertyValue(`--${name}`).trim();
  const g = node.getContext("2d"), inside = p => { const [x, y] = spot(p); return x > -30 && x < w + 30 && y > -40 && y < h + 40; };
  g.setTransform(dpr, 0, 0, dpr, 0, 0);
  g.clearRect(0, 0, w, h);
  const visible = points.filter(inside), close = visible.length <= 70, width = Math.min(46, 20 + 5 * Math.log2(view.zoom));
  if (close) for (const p of visible) frame(g, p, 34);
  else {
    g.globalAlpha = .55; g.fillStyle = ink.soft; g.beginPath();
    for (const p of visible) dot(g, p, points.length > 1500 ? 1.4 : 2.2);
    g.fill(); g.globalAlpha = 1;
  }
  const past = marks.past.map(id => at.get(id)).filter(Boolean), next = marks.next.map(id => at.get(id)).filter(Boolean);
  g.beginPath(); g.setLineDash([3, 4]); g.lineWidth = 1.5; g.strokeStyle = ink.mint;
  past.forEach((p, i) => g[i ? "lineTo" : "moveTo"](...spot(p)));
  g.stroke(); g.setLineDash([]);
  for (const p of [...next].reverse()) frame(g, p, width, ink.accent);
  for (const p of past) frame(g, p, width, ink.mint);
  if (hovered) frame(g, hovered, width * 1.35, ink.accent);
}

function nearest(x, y, within = 16) {
  let best = null, least = within ** 2;
  const marked = new Set([...marks.past, ...marks.next]);
  for (const p of points) {
    const [px, py] = spot(p), d = ((px - x) ** 2 + (py - y) ** 2) * (marked.has(p.id) ? .2 : 1);
    if (d < least) { least = d; best = p; }
  }
  return best;
}

function tip(p, x, y) {
  clearTimeout(hovering);
  if (hovered !== p) { hovered = p; draw(); }
  canvas().style.cursor = p ? "pointer" : "grab";
  if (!p) { $("map-tip").hidden = true; return; }
  hovering = setTimeout(async () => {
    const f = await know(p.id).catch(() => null);
    if (!f || hovered !== p) return;
    const [w] = size(), box = $("map-tip"), kind = marks.past.includes(p.id) ? "watched" : marks.next.includes(p.id) ? "recommended" : "";
    box.replaceChildren(el("strong", { textContent: full(f) }), el("small", { textContent: [f.genres.slice(0, 3).join(", "), kind].filter(Boolean).join(" · ") }));
    box.hidden = false;
    box.style.left = `${Math.max(4, Math.min(w - box.offsetWidth - 4, x - box.offsetWidth / 2))}px`;
    box.style.top = `${y > 90 ? y - box.offsetHeight - 30 : y + 34}px`;
  }, 70);
}

/** Zoom by a factor, keeping the place under (x, y) where it is. */
function zoom(by, x, y) {
  const [w, h] = size(), before = view.zoom;
  x = x ?? w / 2; y = y ?? h / 2;
  view.zoom = Math.max(1, Math.min(60, view.zoom * by));
  const k = 1 / before - 1 / view.zoom;
  view.x += (x - w / 2) / (w / 2 - 26) * k; view.y -= (y - h / 2) / (h / 2 - 34) * k;
  limit(); draw();
}
function pan(dx, dy) {
  const [w, h] = size();
  view.x -= dx / (w / 2 - 26) / view.zoom; view.y += dy / (h / 2 - 34) / view.zoom;
  limit(); draw();
}

function hands(node) {
  let moved = 0;
  const place = e => { const box = node.getBoundingClientRect(); return [e.clientX - box.left, e.clientY - box.top]; };
  node.addEventListener("pointerdown", e => { node.setPointerCapture(e.pointerId); pointers.set(e.pointerId, place(e)); moved = 0; });
  node.addEventListener("pointermove", e => {
    const [x, y] = place(e), was = pointers.get(e.pointerId);
    if (!was) return tip(nearest(x, y), x, y);
    const other = [...pointers].find(([id]) => id !== e.pointerId)?.[1];
    pointers.set(e.pointerId, [x, y]);
    moved += Math.abs(x - was[0]) + Math.abs(y - was[1]);
    if (other) zoom(Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(was[0] - other[0], was[1] - other[1])), (x + other[0]) / 2, (y + other[1]) / 2);
    else pan(x - was[0], y - was[1]);
  });
  node.addEventListener("pointerup", e => {
    const [x, y] = place(e), alone = pointers.size === 1;
    pointers.delete(e.pointerId);
    const p = alone && moved < 6 && nearest(x, y, 22);
    if (p) know(p.id).then(open, () => {});
  });
  node.addEventListener("pointercancel", e => pointers.delete(e.pointerId));
  node.addEventListener("pointerleave", () => !pointers.size && tip(null));
  node.addEventListener("wheel", e => { e.preventDefault(); const [x, y] = place(e); zoom(Math.exp(-e.deltaY / 300), x, y); }, { passive: false });
}

function keys(event) {
  const by = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
  if (by) pan(...by);
  else if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (event.key === "0") home();
  else return;
  event.preventDefault();
}
function home() { Object.assign(view, { zoom: 1, x: 0, y: 0 }); draw(); }

/** Load the points once, when the map is first looked at. */
async function load(version) {
  $("map-note").textContent = "Drawing the map…";
  try {
    const { data } = await ask(`/map?v=${encodeURIComponent(version)}`), most = k => Math.max(1e-9, ...data.map(p => Math.abs(p[k])));
    const [mx, my] = [most("x"), most("y")];
    points = data.map(p => ({ id: p.movie_id, x: p.x / mx, y: p.y / my }));
    at = new Map(points.map(p => [p.id, p]));
    $("map-note").textContent = "";
    showMap(marks.past, marks.next);
  } catch (error) {
    asked = null;
    $("map-note").textContent = error.status === 501 ? "This service has no map of its films." : `The map can't be drawn: ${error.message}.`;
  }
}

export function showMap(past, next) {
  marks = { past, next };
  const seen = past.filter(id => at.has(id)).length;
  canvas().setAttribute("aria-label", `Map of ${points.length || "all"} films: ${seen} watched, ${next.length} recommended. The lists above have the same films.`);
  draw();
}
export function startMap(details, version) {
  open = details;
  hands(canvas());
  $("map-frame").addEventListener("keydown", keys);
  $("map-in").addEventListener("click", () => zoom(1.6)); $("map-out").addEventListener("click", () => zoom(1 / 1.6)); $("map-home").addEventListener("click", home);
  new ResizeObserver(draw).observe(canvas());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new IntersectionObserver(([e]) => { if (e.isIntersecting) asked ??= load(version()); }).observe(canvas());
}
