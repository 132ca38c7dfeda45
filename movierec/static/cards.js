// Cards of recommended films. A film keeps its node from list to list, so that it moves instead of blinking.
import { el, facts, full, icon, poster } from "./dom.js";
import { film as ask } from "./api.js";

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
export const score = x => (Math.abs(x) < 1 && x !== 0 ? x.toFixed(2) : short.format(x)).replace("-", "−");

/** A list of cards; `acts` are {open, seen, no}, each called with the film as it now stands on the list. */
export class Cards {
  constructor(acts) { this.acts = acts; this.nodes = new Map(); }

  make(id) {
    const card = { film: null }, act = name => () => this.acts[name](card.film, card);
    const small = (name, drawing, text) => el("button", { type: "button", className: `act ${name}`, title: text, onclick: act(name) }, icon(drawing), el("span", { textContent: text }));
    card.show = el("button", { type: "button", className: "poster", onclick: act("open") }, poster(id));
    card.bar = el("span", { className: "bar" }); card.number = el("span");
    card.title = el("h3"); card.facts = el("small"); card.why = el("p", { className: "why" }); card.plot = el("p", { className: "plot" });
    card.both = el("span", { className: "both", textContent: "in both", hidden: true });
    card.seen = small("seen", "check", "I watched it"); card.no = small("no", "cross", "Not interested");
    card.acts = el("span", { className: "acts" }, card.seen, card.no);
    card.frame = el("div", { className: "frame" }, card.show, card.acts);
    card.score = el("div", { className: "score", title: "How high the model scores it; the bar compares it with the others here" }, card.bar, card.number);
    card.about = el("div", { className: "about" }, card.title, card.facts, card.score, card.why, card.plot, card.both);
    card.node = el("li", { className: "card" }, card.frame, card.about);
    card.node.dataset.id = id;
    return card;
  }

  /** Nodes for `films`; `lead`: the first one is shown large; `both`: ids that another list has too. */
  render(films, { lead = false, both = null } = {}) {
    const there = new Set(films.map(f => f.id));
    for (const id of this.nodes.keys()) if (!there.has(id)) this.nodes.delete(id);
    const scores = films.map(f => f.score), low = Math.min(...scores), range = Math.max(...scores) - low || 1;
    return films.map((film, i) => {
      if (!this.nodes.has(film.id)) this.nodes.set(film.id, this.make(film.id));
      const card = this.nodes.get(film.id), first = lead && i === 0;
      card.film = film; card.position = i + 1;
      card.show.setAttribute("aria-label", `Details of ${full(film)}`);
      card.seen.setAttribute("aria-label", `I watched it: ${full(film)}`);
      card.no.setAttribute("aria-label", `Not interested: ${full(film)}`);
      card.score.hidden = film.score === null;
      card.number.textContent = score(film.score ?? 0);
      card.bar.style.setProperty("--part", .06 + .94 * (film.score - low) / range);
      card.title.textContent = film.title; card.facts.textContent = facts(film, first ? 4 : 2); card.why.textContent = film.why;
      card.both.hidden = !both?.has(film.id);
      card.node.classList.toggle("lead", first);
      (first ? card.about : card.frame).append(card.acts);
      if (first) this.dress(card); else { card.back?.remove(); card.back = null; card.plot.textContent = ""; }
      return card.node;
    });
  }

  /** What only the large card has: its poster as a backdrop, and what the film is about. */
  dress(card) {
    if (!card.back) {
      card.back = poster(card.film.id);
      card.back.className = "backdrop";
      card.node.prepend(card.back);
    }
    const id = card.film.id;
    ask(id).then(f => { if (card.back && card.film.id === id) card.plot.textContent = f.overview ?? ""; }, () => {});
  }
}

export const skeletons = n => Array.from({ length: n }, () =>
  el("li", { className: "card skeleton", "aria-hidden": "true" }, el("div", { className: "frame" }), el("div", { className: "about" }, el("span"), el("span"))));
