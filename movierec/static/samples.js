// Histories to begin with. They are written as titles and years and looked up in whatever films the service has.
import { searchTitles } from "./api.js";

const SAMPLES = [
  ["Sci-fi weekend", "Star Wars 1977", "Alien 1979", "Blade Runner 1982", "The Terminator 1984", "The Matrix 1999"],
  ["90s thrillers", "The Silence of the Lambs 1991", "Seven 1995", "The Usual Suspects 1995", "Fargo 1996", "L.A. Confidential 1997"],
  ["Animation night", "Beauty and the Beast 1991", "Aladdin 1992", "The Lion King 1994", "Toy Story 1995", "A Bug's Life 1998"],
  ["Old Hollywood", "Citizen Kane 1941", "Casablanca 1942", "Singin' in the Rain 1952", "Rear Window 1954", "Some Like It Hot 1959"],
  ["Made men", "The Godfather 1972", "Scarface 1983", "GoodFellas 1990", "Reservoir Dogs 1992", "Pulp Fiction 1994"],
  ["Good laughs", "Airplane! 1980", "Ghostbusters 1984", "The Princess Bride 1987", "A Fish Called Wanda 1988", "Groundhog Day 1993"],
];
const words = text => text.toLowerCase().replace(/^(the|a|an) /, "").match(/[\p{L}\p{N}]+/gu) ?? [];

async function find(wanted) {
  const year = Number(wanted.slice(-4)), title = wanted.slice(0, -5);
  const hits = await searchTitles(title, 5);
  return hits.find(f => Math.abs((f.year ?? 0) - year) <= 1 && (words(f.title)[0] === words(title)[0] || title === "Seven")) ?? null;
}

/** [{name, films}] of the samples of which this catalogue has at least three films. */
export async function samples() {
  const found = await Promise.all(SAMPLES.map(async ([name, ...titles]) => ({ name, films: (await Promise.all(titles.map(find))).filter(Boolean) })));
  return found.filter(s => s.films.length >= 3);
}
