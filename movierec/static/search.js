// The search field: titles as you type; what is no title is looked for by meaning, and the box says so.
import { $, el, facts, full, poster, say } from "./dom.js";
import { searchMeaning, searchTitles } from "./api.js";
import { state } from "./state.js";

let found = [], active = -1, turn = 0, asking = new AbortController(), pick = () => {}, byMeaning = false;

const fold = text => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
/** Whether `text` may well be a (mistyped) title of the best hit: half of its words begin like one of the title's. */
function likeTitle(text, hit) {
  if (!hit) return false;
  const title = [...fold(hit.title), String(hit.year)], asked = fold(text), n = Math.min(2, Math.max(...asked.map(w => w.length)));
  return asked.filter(w => title.some(t => t.slice(0, n) === w.slice(0, n))).length * 2 >= asked.length;
}

function close() {
  turn++;
  asking.abort();
  found = []; active = -1;
  $("found-box").hidden = true;
  $("q").setAttribute("aria-expanded", "false");
  $("q").removeAttribute("aria-activedescendant");
}

function choose(i) {
  active = (i + found.length) % found.length;
  [...$("found").children].forEach((li, j) => li.setAttribute("aria-selected", String(j === active)));
  $("found").children[active].scrollIntoView({ block: "nearest" });
  $("q").setAttribute("aria-activedescendant", `found-${active}`);
}

function show(films, note) {
  found = films;
  active = -1;
  $("found-note").textContent = note;
  $("found-note").hidden = !note;
  $("found").replaceChildren(...films.map((film, i) => {
    const has = state.history.some(f => f.id === film.id);
    const text = el("span", { className: "text" }, el("span", { textContent: film.title }), el("small", { textContent: facts(film) }));
    return el("li", { id: `found-${i}`, role: "option", "aria-selected": "false", onmousedown: e => { e.preventDefault(); take(i); }, onmousemove: () => active !== i && choose(i) },
      poster(film.id, true), text, film.meaning && el("small", { className: "tag", textContent: "by meaning" }), has && el("small", { className: "tag", textContent: "watched" }));
  }));
  $("found-box").hidden = false;
  $("q").setAttribute("aria-expanded", String(films.length > 0));
  if (films.length) choose(0); else $("q").removeAttribute("aria-activedescendant");
}

function take(i) {
  const film = found[i];
  if (!film) return;
  $("q").value = "";
  close();
  if (!pick(film)) say(`${full(film)} is in your list already`);
}

const pause = ms => new Promise(done => setTimeout(done, ms));
async function search() {
  const text = $("q").value.trim(), mine = ++turn;
  asking.abort();
  asking = new AbortController();
  if (!/[\p{L}\p{N}]/u.test(text) && text.length < 2) return close();
  const { signal } = asking;
  try {
    await pause(90);                                       // wait for the next letter
    if (mine !== turn) return;
    const titles = await searchTitles(text, 8, signal);
    if (mine !== turn) return;
    if (likeTitle(text, titles[0]) || !byMeaning) return show(titles, titles.length ? "" : "No film of that name.");
    show(titles.slice(0, 3), "No film of that name. Searching by meaning…");
    await pause(250);
    if (mine !== turn) return;
    const meant = await searchMeaning(text, 8, signal);
    if (mine !== turn) return;
    const there = new Set(meant.map(f => f.id));
    show([...meant.map(f => ({ ...f, meaning: true })), ...titles.slice(0, 2).filter(f => !there.has(f.id))],
      meant.length ? `No film is called that. These fit it by meaning:` : "Nothing found, neither by name nor by meaning.");
  } catch (error) {
    if (error.name === "AbortError" || mine !== turn) return;
    show([], error.status === 503 ? "The service is getting ready. Try again in a moment." : `The search failed: ${error.message}.`);
  }
}

/** Start the field; `picked(film)` gives whether it was new, `meaning` whether the service can search by it. */
export function startSearch(picked) {
  pick = picked;
  const q = $("q");
  q.addEventListener("input", search);
  q.addEventListener("focus", () => q.value.trim() && search());
  q.addEventListener("blur", close);
  q.addEventListener("keydown", event => {
    if (event.isComposing) return;
    if (event.key === "Escape") { if ($("found-box").hidden) q.value = ""; event.preventDefault(); return close(); }
    if (!found.length || !["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Enter") take(active); else choose(active + (event.key === "ArrowDown" ? 1 : -1));
  });
  addEventListener("keydown", event => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
    event.preventDefault();
    q.focus();
  });
}
export const searchesMeaning = yes => { byMeaning = yes; };
