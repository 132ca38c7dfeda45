// What was shown and what was clicked, told to the service under a random number that is kept in this browser.
// Who asked not to be tracked isn't; where the service doesn't take events, nothing more is sent.
let silent = navigator.globalPrivacyControl === true || navigator.doNotTrack === "1";

export const user = (() => {
  try {
    const kept = localStorage.getItem("movierec-viewer");
    if (/^web-[0-9a-f]{12}$/.test(kept)) return kept;
  } catch { /* then it is a new one */ }
  const fresh = "web-" + [...crypto.getRandomValues(new Uint8Array(6))].map(b => b.toString(16).padStart(2, "0")).join("");
  try { localStorage.setItem("movierec-viewer", fresh); } catch { /* for this visit only */ }
  return fresh;
})();

async function send(type, { id, listId, position }) {
  if (silent || !listId) return;
  try {
    const answer = await fetch("/events", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user_id: user, movie_id: id, type, list_id: listId, position }) });
    if (!answer.ok) silent = true;
  } catch { silent = true; setTimeout(() => { silent = false; }, 30_000); }
}
export const clicked = shown => send("click", shown);

const waiting = [], seen = new Set(), timers = new Map(), about = new WeakMap();
let busy = false;
async function drain() {
  if (busy) return;
  busy = true;
  while (waiting.length && !silent) await send("impression", waiting.shift());
  waiting.length = 0;
  busy = false;
}
// a card counts as shown when half of it was on the screen for half a second, once in each list
const eye = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    clearTimeout(timers.get(target));
    timers.delete(target);
    if (!isIntersecting) continue;
    timers.set(target, setTimeout(() => {
      const shown = about.get(target), key = `${shown.listId} ${shown.id}`;
      timers.delete(target);
      if (!target.isConnected || seen.has(key)) return;
      seen.add(key);
      waiting.push(shown);
      drain();
    }, 500));
  }
}, { threshold: .5 });

/** Watch a card; again for each list that it is part of. */
export function watch(node, shown) {
  about.set(node, shown);
  eye.unobserve(node);
  eye.observe(node);
}
