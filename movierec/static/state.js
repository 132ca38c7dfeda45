// What the viewer has said: films watched, films not wanted, wishes. All that the page shows follows from it.
// It is kept in this browser and in the address, so that an address shows somebody else the same list.
export const WISHES = { model: "", sequential: true, diversity: null, genres: [], from: null, to: null, k: 24, wording: "rules", against: "" };
export const state = { history: [], hidden: [], wishes: { ...WISHES } };   // films are {id, title, year, genres}, oldest first

const KEY = "movierec", past = [], listeners = [];
let dataset = "", writing, taken = false, shown = location.hash;   // taken: something was taken up; shown: the address as read or written last

export const onChange = f => listeners.push(f);
const changed = () => { listeners.forEach(f => f()); save(); };
export const canUndo = () => past.length > 0;
const same = (a, b) => a.id === b.id;

/** Change the lists by `edit(state)`; `undo` takes it back. */
function edit(change) {
  past.push({ history: [...state.history], hidden: [...state.hidden] });
  if (past.length > 100) past.shift();
  change();
  changed();
}
export function undo() {
  if (!past.length) return false;
  Object.assign(state, past.pop());
  changed();
  return true;
}
const slim = ({ id, title, year, genres }) => ({ id, title, year: year ?? null, genres: genres ?? [] });
export function add(film) {
  if (state.history.some(f => same(f, film))) return false;
  edit(() => { state.history.push(slim(film)); state.hidden = state.hidden.filter(f => !same(f, film)); });
  return true;
}
export const addAll = films => edit(() => { for (const f of films) if (!state.history.some(h => same(h, f))) state.history.push(slim(f)); });
export const remove = film => edit(() => { state.history = state.history.filter(f => !same(f, film)); });
export const clear = () => edit(() => { state.history = []; });
export const hide = film => edit(() => { state.hidden = [...state.hidden.filter(f => !same(f, film)), slim(film)]; });
export const unhide = () => edit(() => { state.hidden = []; });
export function move(film, to) {
  const from = state.history.findIndex(f => same(f, film));
  to = Math.max(0, Math.min(state.history.length - 1, to));
  if (from < 0 || from === to) return false;
  edit(() => { state.history.splice(to, 0, ...state.history.splice(from, 1)); });
  return to;
}
export function wish(wishes) { Object.assign(state.wishes, wishes); changed(); }

// ---- keeping ----
export function address() {
  const w = state.wishes, p = new URLSearchParams();
  const set = (key, value) => value !== "" && value !== null && p.set(key, value);
  if (state.history.length) p.set("h", state.history.map(f => f.id).join("."));
  if (state.hidden.length) p.set("not", state.hidden.map(f => f.id).join("."));
  set("m", w.model); set("vs", w.against); set("g", w.genres.join("|")); set("from", w.from); set("to", w.to); set("div", w.diversity);
  if (!w.sequential) p.set("seq", "0");
  if (w.k !== WISHES.k) p.set("k", w.k);
  if (w.wording !== WISHES.wording) p.set("say", w.wording);
  if ([...p].length) p.set("d", dataset);
  const text = p.toString();
  return location.pathname + (text && "#" + text);
}
function save() {
  clearTimeout(writing);
  writing = setTimeout(write, 150);
}
function write() {
  try { if (location.hash === shown) { window.history.replaceState(null, "", address()); shown = location.hash; } }   // else another was given: it is taken up next
  catch { /* some browsers allow only so many a minute */ }
  try { localStorage.setItem(KEY, JSON.stringify({ dataset, ...state })); } catch { /* private windows keep nothing */ }
}
addEventListener("pagehide", () => { if (dataset) { clearTimeout(writing); write(); } });

const number = (text, low, high) => { const x = parseFloat(text); return Number.isFinite(x) && x >= low && x <= high ? x : null; };
const cleaned = w => ({
  model: String(w.model ?? "").slice(0, 40), against: String(w.against ?? "").slice(0, 40), sequential: w.sequential !== false,
  diversity: w.diversity === null ? null : number(w.diversity, 0, 1), genres: (Array.isArray(w.genres) ? w.genres : []).map(String).slice(0, 50),
  from: number(w.from, 0, 9999), to: number(w.to, 0, 9999), k: Math.round(number(w.k, 1, 200) ?? WISHES.k), wording: w.wording === "llm" ? "llm" : "rules",
});

function readAddress() {
  const p = new URLSearchParams(location.hash.slice(1));
  if (!["h", "not", "m", "vs", "g", "from", "to", "div", "seq", "k", "say"].some(key => p.has(key))) return null;
  const ids = key => [...new Set((p.get(key) ?? "").split(".").filter(x => /^[0-9]{1,10}$/.test(x)))].slice(0, 500);
  return {
    dataset: p.get("d") ?? "", history: ids("h"), hidden: ids("not"),
    wishes: cleaned({ model: p.get("m") ?? "", against: p.get("vs") ?? "", sequential: p.get("seq") !== "0", diversity: p.get("div"),
      genres: (p.get("g") ?? "").split("|").filter(Boolean), from: p.get("from"), to: p.get("to"), k: p.get("k"), wording: p.get("say") }),
  };
}
function readKept() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY)), films = x => (Array.isArray(x) ? x : []).filter(f => f && typeof f.id === "string" && typeof f.title === "string");
    return kept?.dataset === dataset ? { history: films(kept.history).map(slim), hidden: films(kept.hidden).map(slim), wishes: cleaned(kept.wishes ?? {}) } : null;
  } catch { return null; }
}

/** Take up what the address says, else what was kept; `find(id)` gives a film. What there is to tell comes back as text. */
export async function restore(name, find) {
  dataset = name;
  shown = location.hash;
  const kept = taken ? { ...state } : readKept(), linked = readAddress();   // what is on the page may not be kept yet
  const done = (says, note) => { taken = true; if (says) Object.assign(state, says); changed(); return note; };
  if (!linked) return done(kept, "");
  if (linked.dataset && linked.dataset !== dataset) return done(kept, `That link is for other films (${linked.dataset.slice(0, 40)}), so it can't be shown here.`);
  const known = new Map([...(kept?.history ?? []), ...(kept?.hidden ?? [])].map(f => [f.id, f]));
  const films = ids => Promise.all(ids.map(id => known.get(id) ?? Promise.resolve(find(id)).then(slim, error => { if (error.status === 404) return null; throw error; })));
  const [history, hidden] = await Promise.all([films(linked.history), films(linked.hidden)]);
  const mine = kept?.history ?? [];
  const foreign = mine.length > 0 && mine.map(f => f.id).join() !== linked.history.join();
  if (foreign) past.push({ history: mine, hidden: kept.hidden });
  return done({ history: history.filter(Boolean), hidden: hidden.filter(Boolean), wishes: linked.wishes }, foreign ? "This is a shared list. Undo brings back your own." : "");
}
