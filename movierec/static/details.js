// One film in a dialog: what it is, why it was recommended, what is like it.
import { $, el, facts, full, icon, poster } from "./dom.js";
import { film as ask, similar } from "./api.js";
import { score } from "./cards.js";
import { state } from "./state.js";

const KINDS = [["sequence", "Watched next to it"], ["content", "About the same"], ["ratings", "Same viewers"]];
let acts = {}, turn = 0, opener = null, kinds = ["sequence"], kind = "sequence", trail = [];

const line = (label, ...content) => [el("dt", { textContent: label }), el("dd", {}, ...content)];
const link = (film, text) => el("button", { type: "button", className: "link", onclick: () => open(film), textContent: text ?? full(film) });
const PLACES = {
  sequence: "among the films that the sequence model expects next", ratings: "among films with the same viewers",
  content: "among films like it in content", popular: "among the films watched most",
};

/** Where a film of a list came from, source by source. */
function sources(film) {
  return Object.entries(film.sources ?? {}).map(([name, { watched, place }]) => {
    const from = state.history.find(f => f.id === watched);
    return el("li", {}, `Number ${place} ${PLACES[name] ?? name}`, from ? " as " : "", from ? link(from) : "");
  });
}

function because(film) {
  const ids = new Set(Object.values(film.sources ?? {}).map(x => x.watched).filter(Boolean)), came = sources(film);
  const named = f => [f.title, full(f)].some(name => film.why?.includes(`“${name}”`));       // in the reason, which comes first
  const from = state.history.filter(f => named(f) || ids.has(f.id)).sort((a, b) => named(b) - named(a)).slice(0, 4);
  if (!film.why && !came.length) return [];
  const films = from.map(f => el("button", { type: "button", className: "thumb", "aria-label": full(f), title: full(f), onclick: () => open(f) }, poster(f.id)));
  return [el("h3", { textContent: from.length || film.why?.startsWith("Because") ? "Because you watched…" : "Why this film" }), film.why && el("p", { className: "why", textContent: film.why }),
    films.length ? el("div", { className: "thumbs" }, ...films) : "", came.length ? el("ul", { className: "sources" }, ...came) : ""];
}

function known(f) {
  const people = [f.director && line("Directed by", f.director), f.actors?.length && line("With", f.actors.join(", "))];
  const stars = f.vote_average ? line("Votes", `${f.vote_average.toFixed(1)} on average${f.vote_count ? `, of ${Math.round(f.vote_count).toLocaleString("en")} people` : ""}`) : null;
  const seen = f.n_ratings ? line("Here", `${f.n_ratings.toLocaleString("en")} viewers watched it`) : null;
  const list = f.score === undefined || f.score === null ? null : line("Score", `${score(f.score)}, by the model`);
  return [...people, stars, seen, list].filter(Boolean).flat();
}

async function showSimilar(film, mine) {
  const list = $("similar"), note = $("similar-note");
  list.replaceChildren(...Array.from({ length: 6 }, () => el("li", { className: "skeleton", "aria-hidden": "true" }, el("div", { className: "frame" }))));
  note.textContent = "";
  try {
    const got = await similar(film.id, kind, 12);
    if (mine !== turn) return;
    list.replaceChildren(...got.films.map(f => el("li", {}, el("button", { type: "button", className: "poster", "aria-label": full(f), onclick: () => open(f) }, poster(f.id)), el("span", { className: "name", textContent: f.title }))));
    note.textContent = got.films.length ? got.by !== kind ? "Too few watched it, so these are alike in content." : "" : "Too few watched it to say.";
  } catch (error) {
    if (mine !== turn) return;
    list.replaceChildren();
    note.textContent = error.status === 501 ? "This service holds no model for that." : `Not now: ${error.message}.`;
  }
}

function tabs(film) {
  $("kinds").replaceChildren(...KINDS.filter(([name]) => kinds.includes(name)).map(([name, label]) => {
    const b = el("button", { type: "button", className: "chip", textContent: label, "aria-pressed": String(name === kind) });
    b.addEventListener("click", () => {
      kind = name;
      [...$("kinds").children].forEach(x => x.setAttribute("aria-pressed", String(x === b)));
      showSimilar(film, ++turn);
    });
    return b;
  }));
  $("kinds").hidden = kinds.length < 2;
}

function fill(film, more) {
  const f = { ...film, ...more }, watched = state.history.some(h => h.id === film.id);
  $("d-title").textContent = film.title;
  $("d-facts").textContent = facts(f, 6);
  $("d-plot").textContent = f.overview || (more ? "Nobody has told yet what it is about." : "");
  $("d-known").replaceChildren(...known(f));
  $("d-words").replaceChildren(...(f.keywords ?? []).slice(0, 8).map(w => el("li", { textContent: w })));
  $("d-why").replaceChildren(...because(film).filter(Boolean));
  $("d-seen").hidden = watched; $("d-no").hidden = watched; $("d-gone").hidden = !watched;
  $("d-back").hidden = trail.length < 2;
}

export async function open(film, from) {
  const dialog = $("details"), mine = ++turn;
  if (!dialog.open) { opener = from ?? document.activeElement; trail = []; }
  trail.push(film);
  $("d-poster").replaceChildren(poster(film.id, true));
  $("d-backdrop").replaceChildren(poster(film.id, true));
  fill(film);
  tabs(film);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  $("d-title").focus();
  showSimilar(film, mine);
  const more = await ask(film.id).catch(() => null);
  if (mine === turn && more) fill({ ...film, title: more.title }, more);
}

function finish(act) {
  const film = trail.at(-1);
  $("details").close();
  act(film);
}

/** `does`: {seen, no, gone} called with the film; `by`: what films can be alike by. */
export function startDetails(does) {
  acts = does;
  const dialog = $("details");
  $("d-close").append(icon("cross")); $("d-back").append(icon("back"));
  $("d-close").addEventListener("click", () => dialog.close());
  $("d-back").addEventListener("click", () => { trail.pop(); open(trail.pop()); });
  for (const name of ["seen", "no", "gone"]) $(`d-${name}`).addEventListener("click", () => finish(acts[name]));
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { turn++; const to = opener?.isConnected ? opener : $("next-title"); to?.focus({ preventScroll: true }); });
  dialog.addEventListener("keydown", event => {                     // Tab stays inside
    if (event.key !== "Tab") return;
    const stops = [...dialog.querySelectorAll("button, a[href]")].filter(x => x.offsetParent !== null && !x.disabled), first = stops[0], last = stops.at(-1);
    if (event.shiftKey ? document.activeElement === first || document.activeElement === $("d-title") : document.activeElement === last) { event.preventDefault(); (event.shiftKey ? last : first).focus(); }
  });
}
export const alikeBy = names => { kinds = names; };
