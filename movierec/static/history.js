// The shelf of films watched, oldest first: walk it with the arrows, move a film with Shift and an arrow or by dragging it.
import { $, el, full, icon, place, poster, say, toast } from "./dom.js";
import * as s from "./state.js";

const nodes = new Map();
let current = "", dragged = null, open = () => {}, shown = 0;

const films = () => s.state.history;
const button = id => nodes.get(id)?.querySelector(".poster");

function take(film) {
  const i = films().findIndex(f => f.id === film.id), next = films()[i + 1] ?? films()[i - 1], inside = nodes.get(film.id)?.contains(document.activeElement);
  s.remove(film);
  toast(`${full(film)} removed`, s.undo);
  if (inside) (next ? button(next.id) : $("q"))?.focus();
}

function shift(film, by) {
  const to = s.move(film, films().findIndex(f => f.id === film.id) + by);
  if (to === false) return;
  button(film.id).focus();
  say(`${full(film)} is now number ${to + 1} of ${films().length}`);
}

function keys(event, film) {
  const i = films().findIndex(f => f.id === film.id);
  const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (by !== undefined) {
    event.preventDefault();
    if (event.shiftKey) return shift(film, by);
    focus(films()[Math.max(0, Math.min(films().length - 1, i + by))]);
  } else if (event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); take(film); }
}
function focus(film) {
  current = film.id;
  films().forEach(f => { button(f.id).tabIndex = f.id === current ? 0 : -1; });
  button(current).focus();
}

function make(film) {
  const show = el("button", { type: "button", className: "poster", onclick: () => open(film), onkeydown: e => keys(e, film), onfocus: () => { current = film.id; } }, poster(film.id, true));
  const small = (name, label, act) => el("button", { type: "button", className: name, tabIndex: -1, "aria-label": `${label} ${full(film)}`, title: label, onclick: act });
  const gone = small("gone", "Remove", () => take(film));
  gone.append(icon("cross"));
  const earlier = small("earlier", "Move earlier", () => shift(film, -1)), later = small("later", "Move later", () => shift(film, 1));
  earlier.append(icon("back")); later.append(icon("on"));
  const li = el("li", { draggable: true }, show, gone, el("span", { className: "nudge" }, earlier, later), el("span", { className: "name", textContent: film.title }));
  li.dataset.id = film.id;
  li.addEventListener("dragstart", event => {
    dragged = film;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", full(film));
    li.classList.add("dragged");
  });
  li.addEventListener("dragend", () => { dragged = null; li.classList.remove("dragged"); mark(); });
  return li;
}

const mark = (node, side) => [...$("seen").children].forEach(li => { li.classList.toggle("before", li === node && side === 0); li.classList.toggle("after", li === node && side === 1); });
function over(event) {
  const li = event.target.closest("#seen > li");
  if (!li) return [null, 0];
  const box = li.getBoundingClientRect();
  return [li, event.clientX > box.left + box.width / 2 ? 1 : 0];
}

export function startHistory(details) {
  open = details;
  const list = $("seen");
  list.addEventListener("dragover", event => { if (dragged) { event.preventDefault(); mark(...over(event)); } });
  list.addEventListener("dragleave", () => mark());
  list.addEventListener("drop", event => {
    const [li, side] = over(event);
    mark();
    if (!dragged || !li) return;
    event.preventDefault();
    const from = films().findIndex(f => f.id === dragged.id), at = films().findIndex(f => f.id === li.dataset.id) + side;
    const to = s.move(dragged, at > from ? at - 1 : at);
    if (to !== false) say(`${full(dragged)} is now number ${to + 1} of ${films().length}`);
  });
  $("undo").addEventListener("click", () => { s.undo(); say("Undone"); });
  $("clear").addEventListener("click", () => { s.clear(); toast("Your list is empty", s.undo); $("q").focus(); });
  addEventListener("keydown", event => {
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.target.closest("input, textarea")) return;
    if (s.undo()) { event.preventDefault(); say("Undone"); }
  });
}

export function showHistory() {
  const list = $("seen"), has = films().length > 0;
  for (const id of nodes.keys()) if (!films().some(f => f.id === id)) nodes.delete(id);
  for (const film of films()) if (!nodes.has(film.id)) nodes.set(film.id, make(film));
  if (!films().some(f => f.id === current)) current = films().at(-1)?.id ?? "";
  films().forEach((film, i) => {
    button(film.id).tabIndex = film.id === current ? 0 : -1;
    button(film.id).setAttribute("aria-label", `${full(film)}, ${i + 1} of ${films().length}`);
  });
  place(list, () => films().map(f => nodes.get(f.id)));
  if (films().length > shown) list.scrollLeft = list.scrollWidth;
  shown = films().length;
  $("welcome").hidden = has;
  $("shelf").hidden = !has;
  $("count").textContent = has ? String(films().length) : "";
  $("clear").hidden = !has;
  $("undo").hidden = !s.canUndo();
}
