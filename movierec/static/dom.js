// Making and finding elements. Text only ever becomes text: nothing here, or anywhere on the page, parses HTML.
export const $ = id => document.getElementById(id);

/** An element: properties, attributes where the name has a dash or is `role`, `for`, `data…`; children as nodes or text. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (key.includes("-") || key === "role" || key === "for") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.filter(c => c !== null && c !== undefined && c !== false));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  check: "M4 12.5 9.5 18 20 6.5", cross: "M6 6l12 12M18 6 6 18", undo: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  share: "M12 15V3M7.5 7 12 2.5 16.5 7M5 12v8h14v-8", back: "M15 5l-7 7 7 7", on: "M9 5l7 7-7 7", sliders: "M4 7h10M18 7h2M4 17h2M10 17h10M16 4.5v5M8 14.5v5",
};
/** A small drawing that says nothing to a screen reader; whoever uses it says it in words. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export const poster = (id, eager = false) =>
  el("img", { src: `/posters/${encodeURIComponent(id)}`, alt: "", loading: eager ? "eager" : "lazy", decoding: "async", width: 300, height: 450, draggable: false });

export const full = film => film.year ? `${film.title} (${film.year})` : film.title;
export const facts = (film, genres = 2) => [film.year, film.genres?.slice(0, genres).join(", ")].filter(Boolean).join(" · ");

/** Said to whoever listens instead of looking. */
export function say(text) {
  $("say").textContent = "";
  setTimeout(() => { $("say").textContent = text; }, 60);
}

let fading;
/** A line at the bottom of the screen, with a way back where there is one. */
export function toast(text, back) {
  clearTimeout(fading);
  $("toast-text").textContent = text;
  $("toast-undo").hidden = !back;
  $("toast-undo").onclick = () => { $("toast").hidden = true; back(); };
  $("toast").hidden = false;
  fading = setTimeout(() => { $("toast").hidden = true; }, 8000);
}

const still = matchMedia("(prefers-reduced-motion: reduce)");
/** Put the nodes that `make()` gives into `list`, let those that were there already glide to their new places, keep the focus. */
export function place(list, make) {
  const before = new Map(still.matches ? [] : [...list.children].map(n => [n, n.getBoundingClientRect()]));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  list.replaceChildren(...make());
  if (focused && document.activeElement !== focused && list.contains(focused)) focused.focus({ preventScroll: true });
  for (const [node, was] of before) {
    if (!node.isConnected) continue;
    const now = node.getBoundingClientRect(), dx = was.left - now.left, dy = was.top - now.top;
    if ((dx || dy) && was.width === now.width) node.animate([{ transform: `translate(${dx}px, ${dy}px)` }, { transform: "none" }], { duration: 260, easing: "cubic-bezier(.2, .8, .2, 1)" });
  }
}
