// The page keeps one list, the history; all it shows follows from that. Text is only ever set as text, never as HTML.
const $ = id => document.getElementById(id);
const history = [];                 // {id, title, note}, oldest first
let found = [], active = -1, searching = 0, asking = 0;

function el(tag, props = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
}

async function api(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  const data = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(typeof data.detail === "string" ? data.detail : "the request was refused"), { status: answer.status });
  return data;
}

const picture = id => el("img", { src: `/posters/${id}`, alt: "", loading: "lazy", width: 300, height: 450 });

function card(film, hint, act) {
  const frame = el("span", { className: "frame" }, picture(film.id), el("span", { className: "hint", textContent: hint }));
  const button = el("button", { type: "button", className: "card", onclick: act }, frame,
    el("strong", { textContent: film.title }), el("small", { textContent: film.note }));
  button.setAttribute("aria-label", `${hint}: ${film.title}`);
  return el("li", {}, button);
}

function show() {
  $("empty").hidden = history.length > 0;
  $("clear").hidden = history.length === 0;
  $("seen").replaceChildren(...history.map((film, i) => card(film, "Remove", () => { history.splice(i, 1); show(); })));
  $("seen").scrollLeft = $("seen").scrollWidth;
  recommend();
}

function add(film) {
  if (!history.some(h => h.id === film.id)) history.push(film);
  closeSearch();
  $("q").value = "";
  show();
}

async function recommend() {
  const turn = ++asking;
  $("next").classList.add("busy");
  try {
    const got = await api("/recommendation", { interaction_history: history.map(h => h.id), k: 24 });
    if (turn !== asking) return;                       // a later question is under way
    const films = got.recommendations.map((id, i) => {
      const colon = got.translated[i].lastIndexOf(":");
      return { id: String(id), title: got.translated[i].slice(0, colon), note: got.translated[i].slice(colon + 1) };
    });
    $("next-title").textContent = got.strategy === "popular" ? "Popular with everyone" : "What to watch next";
    $("message").textContent = films.length ? "" : "You have seen everything there is.";
    $("next").replaceChildren(...films.map(film => card(film, "Watched it", () => add(film))));
  } catch (error) {
    if (turn !== asking) return;
    $("message").textContent = error.status ? `Not now: ${error.message}` : "The server can't be reached. Trying again…";
    if (!error.status || error.status === 503) setTimeout(() => turn === asking && start(), 2000);
  }
  $("next").classList.remove("busy");
}

function closeSearch() {
  searching++;
  found = []; active = -1;
  $("found").hidden = true;
  $("q").setAttribute("aria-expanded", "false");
  $("q").removeAttribute("aria-activedescendant");
}

function choose(i) {
  active = (i + found.length) % found.length;
  [...$("found").children].forEach((li, j) => li.setAttribute("aria-selected", String(j === active)));
  $("found").children[active].scrollIntoView({ block: "nearest" });
  $("q").setAttribute("aria-activedescendant", `found-${active}`);
}

async function search() {
  const q = $("q").value.trim(), turn = ++searching;
  if (!q) return closeSearch();
  await new Promise(done => setTimeout(done, 90));     // wait for the next letter
  if (turn !== searching) return;
  const got = await api(`/movies/search?limit=8&q=${encodeURIComponent(q.slice(0, 200))}`).catch(() => []);
  if (turn !== searching) return;
  found = got.map(m => ({ id: m.movie_id, title: m.title, note: [m.year, ...m.genres.slice(0, 2)].filter(Boolean).join(" · ") }));
  const none = el("li", { textContent: "No film of that name." });
  none.setAttribute("role", "option");
  none.setAttribute("aria-disabled", "true");
  $("found").replaceChildren(...(found.length ? found.map((film, i) => {
    const li = el("li", { id: `found-${i}`, onmousedown: event => { event.preventDefault(); add(film); } }, picture(film.id),
      el("span", {}, film.title, el("small", { textContent: film.note })));
    li.setAttribute("role", "option");
    return li;
  }) : [none]));
  $("found").hidden = false;
  $("q").setAttribute("aria-expanded", "true");
  if (found.length) choose(0);
}

$("q").addEventListener("input", search);
$("q").addEventListener("blur", closeSearch);
$("q").addEventListener("keydown", event => {
  if (event.key === "Escape") return closeSearch();
  if (!found.length || !["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
  event.preventDefault();
  if (event.key === "Enter") add(found[active]); else choose(active + (event.key === "ArrowDown" ? 1 : -1));
});
$("clear").addEventListener("click", () => { history.length = 0; show(); $("q").focus(); });

async function start() {
  show();
  const m = await api("/model").catch(() => null);
  if (!m) return;
  const data = m.simulated ? "The films are real; the viewers this was trained on are simulated." : `Trained on ${m.dataset}. ${m.source.citation ?? ""}`;
  $("about").textContent = `${data.replace(/\.?$/, ".")} ${m.n_movies.toLocaleString("en")} films, model “${m.model}”, bundle ${m.version}.`;
}
start();
