// Under the hood: which stages made the list, what each kept, how long it took.
import { $, el } from "./dom.js";

const STAGES = {
  read: ["Read", "films of your list that the model knows"], filter: ["Filter", "films that pass your wishes and that you haven't seen"],
  retrieve: ["Retrieve", "candidates from sequence, ratings, content and what is popular"], score: ["Score", "candidates scored by the sequence model"],
  order: ["Order", "films put in order, best first but not all alike"], explain: ["Explain", "films given a reason"],
};
const ms = x => `${x < 10 ? x.toFixed(1) : Math.round(x)} ms`;

export function showHood(list, name) {
  const inside = list.stages?.reduce((sum, s) => sum + s.ms, 0), most = Math.max(1, ...(list.stages ?? []).map(s => s.kept)), slow = Math.max(.01, ...(list.stages ?? []).map(s => s.ms));
  $("stages").replaceChildren(...(list.stages ?? []).map(s => {
    const [title, what] = STAGES[s.name] ?? [s.name, ""], kept = el("span", { className: "bar" }), time = el("span", { className: "bar time" });
    kept.style.setProperty("--part", Math.max(.01, Math.log1p(s.kept) / Math.log1p(most)));
    time.style.setProperty("--part", Math.max(.01, s.ms / slow));
    return el("tr", {}, el("th", { scope: "row" }, title, el("small", { textContent: what })), el("td", {}, el("b", { textContent: s.kept.toLocaleString("en") }), kept), el("td", {}, el("b", { textContent: ms(s.ms) }), time));
  }));
  $("stages-part").hidden = !list.stages?.length;
  const parts = [`${name} answered in ${ms(list.ms)}, the way there and back included`];
  if (inside !== undefined) parts.push(`${ms(inside)} of it in the stages`);
  if (list.cached !== undefined) parts.push(list.cached ? "with what was in the cache" : "computed for this request");
  $("hood-line").textContent = `${parts.join(", ")}. Strategy: ${list.strategy}. List ${list.listId || "without a name"}.`;
  const unknown = list.unknown.length;
  $("hood-unknown").textContent = unknown ? `${unknown} of your films ${unknown > 1 ? "are" : "is"} unknown to this model and had no say.` : "";
}
