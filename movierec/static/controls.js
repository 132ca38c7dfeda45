// The wishes: which model, how much variety, which genres and years. Each control shows what the state says.
import { $, el } from "./dom.js";
import { state, unhide, wish, WISHES } from "./state.js";

const MODELS = {
  pipeline: ["The whole pipeline", "Candidates from several models, scored by the sequence model, put in order with variety, with reasons."],
  decoder: ["Sequence model alone", "A decoder that reads your films in order and says which comes next."],
  taste: ["Taste fusion, dot product", "Long-term taste and recent films fused, compared with each film by a dot product."],
  "taste-mlp": ["Taste fusion, MLP", "Long-term taste and recent films fused, compared with each film by a small network."],
  rating: ["Star ratings", "A model of the stars people give; it favours what is rated highest."],
  "item-knn": ["Same viewers", "Films watched by the people who watched yours."],
  pearson: ["Like-minded ratings", "Films on which people agree who agree on yours."],
  content: ["Content alone", "Films alike in plot, people and genre; no viewers involved."],
  popular: ["Popular with everyone", "The films watched most, whatever you watched."],
};
const COUNTS = [12, 24, 48, 96];
export const label = name => MODELS[name]?.[0] ?? name;
let models = [], offers = {};
/** The model asked when nothing else is wished for, and the one that is asked now. */
export const main = () => models[0];
export const model = () => models.includes(state.wishes.model) ? state.wishes.model : main();
export const against = () => models.includes(state.wishes.against) && state.wishes.against !== model() ? state.wishes.against : "";

const option = (value, text, disabled = false) => el("option", { value, textContent: text, disabled });
const year = node => { const x = parseInt(node.value, 10); return Number.isFinite(x) && x >= 0 && x <= 9999 ? x : null; };

function years() {
  let [from, to] = [year($("from")), year($("to"))];
  if (from !== null && to !== null && from > to) [from, to] = [to, from];
  wish({ from, to });
}

export function startControls(info) {
  offers = info.offers ?? {};
  const piped = offers.diversity !== null && offers.diversity !== undefined;
  models = [...(piped ? ["pipeline"] : []), ...info.models];
  $("model").replaceChildren(...models.map(m => option(m, label(m))));
  $("wording").replaceChildren(option("rules", "By rules"), option("llm", offers.llm ? "By a language model" : "By a language model (not set up here)", !offers.llm));
  $("k").replaceChildren(...COUNTS.map(n => option(n, `${n} films`)));
  $("genres").replaceChildren(...(offers.genres ?? []).map(g => {
    const box = el("input", { type: "checkbox", value: g });
    box.addEventListener("change", () => wish({ genres: [...$("genres").querySelectorAll("input:checked")].map(x => x.value) }));
    return el("label", { className: "chip" }, box, el("span", { textContent: g }));
  }));
  $("genre-part").hidden = !(offers.genres ?? []).length;
  const [first, last] = offers.years ?? [];
  $("year-part").hidden = !first;
  for (const [id, hint] of [["from", first], ["to", last]]) { $(id).placeholder = hint ?? ""; $(id).min = first ?? ""; $(id).max = last ?? ""; $(id).addEventListener("change", years); }
  $("model").addEventListener("change", () => wish({ model: $("model").value === main() ? "" : $("model").value }));
  $("against").addEventListener("change", () => wish({ against: $("against").value }));
  $("k").addEventListener("change", () => wish({ k: Number($("k").value) }));
  $("wording").addEventListener("change", () => wish({ wording: $("wording").value }));
  $("sequential").addEventListener("change", () => wish({ sequential: $("sequential").checked }));
  $("diversity").addEventListener("input", () => wish({ diversity: Number($("diversity").value) }));
  $("reset").addEventListener("click", () => { wish({ ...WISHES, genres: [] }); $("model").focus(); });
  $("unhide").addEventListener("click", () => { unhide(); $("model").focus(); });
  const wide = matchMedia("(min-width: 64rem)"), fold = () => { $("tune").open = wide.matches; };
  wide.addEventListener("change", fold);
  fold();
}

export function showControls() {
  const w = state.wishes, now = model(), piped = now === "pipeline";
  $("model").value = now;
  $("model-tip").textContent = MODELS[now]?.[1] ?? "A model of this bundle.";
  const others = models.filter(m => m !== now);
  $("against").replaceChildren(option("", "nothing"), ...others.map(m => option(m, label(m))));
  $("against").value = against();
  $("k").value = String(COUNTS.reduce((a, b) => Math.abs(b - w.k) < Math.abs(a - w.k) ? b : a));
  $("sequential").checked = w.sequential; $("wording").value = offers.llm ? w.wording : "rules";
  $("diversity").value = String(w.diversity ?? offers.diversity ?? 0);
  $("diversity-now").textContent = Number($("diversity").value).toFixed(2);
  for (const part of document.querySelectorAll("#tune .piped")) part.hidden = !piped;
  for (const box of $("genres").querySelectorAll("input")) box.checked = w.genres.includes(box.value);
  if (document.activeElement !== $("from")) $("from").value = w.from ?? "";
  if (document.activeElement !== $("to")) $("to").value = w.to ?? "";
  const n = state.hidden.length;
  $("hidden-part").hidden = !n;
  $("hidden-line").textContent = `${n} ${n === 1 ? "film" : "films"} hidden, not interesting.`;
  const wishes = [w.genres.length > 0, w.from !== null || w.to !== null, w.diversity !== null, !w.sequential, now !== main()].filter(Boolean).length;
  $("tune-count").textContent = wishes ? String(wishes) : "";
}
export const filtered = () => state.wishes.genres.length > 0 || state.wishes.from !== null || state.wishes.to !== null;
