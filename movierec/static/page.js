// The page: what is in the state is asked for, and what comes back is shown.
import { $, el, full, icon, place, poster, say, toast } from "./dom.js";
import { ask, film as know, list } from "./api.js";
import * as s from "./state.js";
import { Cards, skeletons } from "./cards.js";
import { alikeBy, open as openDetails, startDetails } from "./details.js";
import { against, filtered, label, model, showControls, startControls } from "./controls.js";
import { clicked, user, watch } from "./events.js";
import { showHistory, startHistory } from "./history.js";
import { searchesMeaning, startSearch } from "./search.js";
import { showHood } from "./hood.js";
import { showMap, startMap } from "./map.js";
import { samples } from "./samples.js";

let info = null, turn = 0, asking = new AbortController(), retry, again = start, last = null;

// ---- what can be done with a film ----
function watched(film) {
  const fresh = s.add(film);
  if (fresh) say(`${full(film)} added to what you watched`);
  return fresh;
}
function unwanted(film) { s.hide(film); toast(`${full(film)} won't be shown again`, s.undo); }
function removed(film) { s.remove(film); toast(`${full(film)} removed`, s.undo); }

const click = (film, card) => clicked({ id: film.id, listId: card.listId, position: card.position });
/** Do something to a card, then go on from the one that takes its place. */
function leaving(act) {
  return (film, card) => {
    const cards = [...card.node.parentNode.children], at = cards.indexOf(card.node), kind = document.activeElement?.className.split(" ").at(-1), held = card.node.contains(document.activeElement);
    act(film, card);
    if (held) (cards[at + 1] ?? cards[at - 1])?.querySelector(`button.${kind}`)?.focus({ preventScroll: true });
  };
}
const acts = {
  open: (film, card) => { click(film, card); openDetails(film, card.show); },
  seen: leaving((film, card) => { click(film, card); watched(film); }),
  no: leaving(film => unwanted(film)),
};
const first = new Cards(acts), second = new Cards(acts);

// ---- trouble ----
function trouble(text, button = "", wait = 0) {
  clearTimeout(retry);
  $("trouble").hidden = !text;
  $("trouble-text").textContent = text;
  $("retry").hidden = !button;
  $("retry").textContent = button;
  if (wait) retry = setTimeout(() => again(), wait);
}
function failed(error) {
  $("results").removeAttribute("aria-busy");
  document.body.classList.toggle("offline", error.status === 0);
  if (!last) $("next").replaceChildren();
  const kept = last ? " What you see is the last list." : "";
  if (error.status === 0) return trouble(navigator.onLine ? `The server can't be reached.${kept} Trying again…` : `You are offline.${kept}`, "Try again", 3000);
  if (error.status === 503) return trouble(`One moment, the service isn't ready: ${error.message.replace(/^not ready: /, "")}.`, "Try now", Math.min(5, error.wait || 2) * 1000);
  if (error.status === 429) return trouble("That was a lot at once. Going on in a moment…", "", (error.wait || 2) * 1000);
  trouble(`That didn't work: ${error.message}.`, "Try again");
}

// ---- the lists ----
const title = got => got.strategy === "popular" || got.model === "popular" ? "Popular with everyone" : "What to watch next";
function show(cards, into, got, options) {
  place(into, () => cards.render(got.films, options));
  for (const card of cards.nodes.values()) {
    card.listId = got.listId;
    watch(card.node, { id: card.film.id, listId: got.listId, position: card.position });
  }
}

function showLists(got, other) {
  last = got;
  const ids = x => new Set(x.films.map(f => f.id)), both = other && new Set([...ids(got)].filter(id => ids(other).has(id)));
  $("results").classList.toggle("two", Boolean(other));
  $("other").hidden = !other;
  $("next-title").textContent = other ? label(model()) : title(got);
  $("next-note").textContent = other ? "" : got.strategy === "popular" && s.state.history.length ? "None of your films is known to this model." : got.strategy === "popular" ? "Say what you have watched, and this list becomes yours." : "";
  show(first, $("next"), got, { lead: !other && got.films.length > 3, both });
  if (other) {
    $("other-title").textContent = label(against());
    $("other-note").textContent = `${both.size} of ${other.films.length} in both lists`;
    show(second, $("other-list"), other, { both });
  } else { second.nodes.clear(); $("other-list").replaceChildren(); }
  const none = got.films.length === 0;
  $("none").hidden = !none;
  $("none-text").textContent = filtered() ? "No film passes these wishes." : "You have seen everything there is.";
  $("none-clear").hidden = !filtered();
  $("results").dataset.list = [got, other].filter(Boolean).map(x => x.listId).join(" ");
  showHood(got, label(model()));
  showMap(s.state.history.map(f => f.id), got.films.map(f => f.id));
}

async function refresh() {
  if (!info) return;
  const mine = ++turn;
  again = refresh;
  asking.abort();
  asking = new AbortController();
  clearTimeout(retry);
  const slow = setTimeout(() => mine === turn && $("results").setAttribute("aria-busy", "true"), 180);
  try {
    const { signal } = asking, names = [model(), against()].filter(Boolean);
    const [got, other] = await Promise.all(names.map(name => list(name, s.state, user, signal)));
    if (mine !== turn) return;
    showLists(got, other);
    trouble("");
    document.body.classList.remove("offline");
    $("results").removeAttribute("aria-busy");
    $("list-said").textContent = `${$("next-title").textContent}: ${got.films.length} films${got.films[0] ? `, first ${full(got.films[0])}` : ""}`;
  } catch (error) {
    if (error.name === "AbortError" || mine !== turn) return;
    failed(error);
    if (!(error.status >= 0)) throw error;
  } finally { clearTimeout(slow); }
}
let soon, before = -Infinity;
function changed() {
  const now = performance.now(), many = now - before < 150;     // a slider that moves: wait for it; one click: don't
  before = now;
  showHistory();
  showControls();
  clearTimeout(soon);
  soon = setTimeout(refresh, many ? 40 : 0);
}

// ---- beginning ----
async function showSamples() {
  const found = await samples().catch(() => []);
  $("samples").replaceChildren(...found.map(({ name, films }) => {
    const fan = el("span", { className: "fan" }, ...films.slice(0, 3).map(f => poster(f.id)));
    return el("li", {}, el("button", { type: "button", onclick: () => { s.addAll(films); say(`${name}: ${films.length} films added`); $("seen-title").focus(); } }, fan, el("strong", { textContent: name }), el("small", { textContent: films.map(f => f.title).slice(0, 3).join(", ") + "…" })));
  }));
  $("samples-part").hidden = !found.length;
}

function about() {
  const source = info.source ?? {}, n = info.n_movies.toLocaleString("en");
  const data = info.simulated ? "The films are real; the viewers this was trained on are simulated." : `Trained on ${info.dataset}.`;
  $("about").textContent = [data, source.citation, `${n} films, model “${info.model}”, bundle ${info.version}.`].filter(Boolean).map(x => x.replace(/\.?$/, ".")).join(" ");
}

async function share() {
  const url = new URL(s.address(), location.href).href;
  try { await navigator.clipboard.writeText(url); toast("The link to this list is copied"); }
  catch { $("link").value = url; $("link-part").hidden = false; $("link").select(); }
}

async function start() {
  again = start;
  try { info = (await ask("/model")).data; }
  catch (error) { return failed(error); }
  trouble("");
  startControls(info);
  searchesMeaning(info.offers?.search);
  alikeBy(["sequence", ...(info.models.includes("content") ? ["content"] : []), ...(info.models.some(m => m === "item-knn" || m === "pearson") ? ["ratings"] : [])]);
  $("map-part").hidden = info.offers?.diversity == null;
  about();
  await take();
  if (!s.state.history.length) showSamples();
  else s.onChange(() => { if (!s.state.history.length && !$("samples").children.length) showSamples(); });
}
async function take() {
  again = take;
  try { const note = await s.restore(info.dataset, know); if (note) toast(note, note.includes("Undo") ? s.undo : null); }
  catch (error) { failed(error); }
}

for (const name of ["undo", "share"]) $(name).prepend(icon(name));
$("next").replaceChildren(...skeletons(12));
startSearch(film => watched(film));
startHistory(film => openDetails(film));
startDetails({ seen: watched, no: unwanted, gone: removed });
startMap(film => openDetails(film, $("map-frame")), () => info.version);
$("retry").addEventListener("click", () => again());
$("share").addEventListener("click", share);
$("none-clear").addEventListener("click", () => s.wish({ genres: [], from: null, to: null }));
addEventListener("online", () => again());
addEventListener("offline", () => failed({ status: 0, message: "" }));
addEventListener("hashchange", () => info && take());
s.onChange(changed);
start();
