// Asking the service. Whatever goes wrong becomes a `Trouble` that knows its status; 0: nobody answered.
export class Trouble extends Error {
  constructor(message, status, wait) { super(message); this.status = status; this.wait = wait; }
}

const told = detail => typeof detail === "string" ? detail : Array.isArray(detail) && detail[0]?.msg ? detail[0].msg : "the request was refused";

export async function ask(path, body, signal) {
  const options = { signal };
  if (body !== undefined) Object.assign(options, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  let answer, data;
  try { answer = await fetch(path, options); data = await answer.json(); }
  catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(answer ? "the answer could not be read" : "the server can't be reached", 0);
  }
  if (!answer.ok) throw new Trouble(told(data.detail), answer.status, Number(answer.headers.get("Retry-After")) || 0);
  return { data, headers: answer.headers };
}

const films = new Map();
/** All that is known of a film; asked for once. */
export function film(id) {
  id = String(id);
  if (!films.has(id)) {
    const asked = ask(`/movies/${encodeURIComponent(id)}`).then(({ data }) => ({ ...data, id: data.movie_id }));
    films.set(id, asked);
    asked.catch(() => films.delete(id));
  }
  return films.get(id);
}

export const card = m => ({ id: String(m.movie_id), title: m.title, year: m.year ?? null, genres: m.genres ?? [] });

export async function searchTitles(text, limit, signal) {
  const { data } = await ask(`/movies/search?limit=${limit}&q=${encodeURIComponent(text.slice(0, 200))}`, undefined, signal);
  return data.map(card);
}

export async function searchMeaning(text, limit, signal) {
  const { data } = await ask(`/title-or-prompt?top_k=${limit}&input_text=${encodeURIComponent(text.slice(0, 1000))}`, undefined, signal);
  return Promise.all(data.map(m => film(m.poster_path.split("/").pop()).then(f => ({ id: f.id, title: f.title, year: f.year, genres: f.genres }))));
}

export async function similar(id, by, limit) {
  const { data } = await ask("/similar", { movie_id: id, top_k: limit, by });
  return { by: data.by, films: await Promise.all(data.similar.map(s => film(s.movie_id))) };
}

/** A list by `model` for what `state` holds: the pipeline, or any model of the bundle behind the same filters. */
export async function list(model, state, user, signal) {
  const w = state.wishes, history = state.history.map(f => f.id), hidden = state.hidden.map(f => f.id), began = performance.now();
  const wishes = { history, genres: w.genres, ...(w.from ? { min_year: w.from } : {}), ...(w.to ? { max_year: w.to } : {}) };
  const { data, headers } = model === "pipeline"
    ? await ask("/pipeline/recommend", { ...wishes, top_k: w.k, sequential: w.sequential, diversity: w.diversity, explain: true, wording: w.wording, exclude: hidden }, signal)
    : await ask("/recommend/filtered", { ...wishes, user_id: user, model, final_k: Math.min(1000, w.k + hidden.length) }, signal);
  // the pipeline's popular films come in order, but without a score
  const without = new Set(hidden), got = data.recommendations.filter(m => !without.has(m.movie_id)).slice(0, w.k);
  return {
    films: got.map(m => ({ ...card(m), score: data.stages && data.strategy === "popular" ? null : m.score, why: m.explanation ?? "", sources: m.sources ?? {} })),
    listId: headers.get("X-List-ID") ?? "", model: data.model, strategy: data.strategy, stages: data.stages ?? null, cached: data.cached ?? data.stages?.find(x => x.name === "read")?.cached ?? undefined,
    unknown: (data.unknown_items ?? []).map(String), ms: performance.now() - began,
  };
}
