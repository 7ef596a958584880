// @ts-check
/** What the page for a wrong address proposes. It finds the site's root itself, to load this. */

/** @typedef {{url: string, name: string, note: string, forms: string[]}} Place */

const SHOWN = 5;
const LIKE_ENOUGH = 0.42;

/** @param {string} text */
export function folded(text) {
  return text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "").replace(/[^\p{L}\p{N}]+/gu, " ").trim();
}

/**
 * The part of a wrong address that says what was wanted: its last one, without an ending.
 * @param {string} path
 */
export function wanted(path) {
  const parts = path.split("/").filter((part) => part && !/^index(\.\w+)?$/.test(part));
  let last = parts.at(-1) ?? "";
  try {
    last = decodeURIComponent(last);
  } catch {
    // A stray per cent sign: as it stands, then.
  }
  return folded(last.replace(/\.\w{2,4}$/, "")).slice(0, 80);
}

/** @param {string} text */
function pairs(text) {
  const padded = ` ${text} `;
  /** @type {Map<string, number>} */
  const found = new Map();
  for (let i = 0; i + 1 < padded.length; i++) {
    const pair = padded.slice(i, i + 2);
    found.set(pair, (found.get(pair) ?? 0) + 1);
  }
  return found;
}

/**
 * How alike two texts are, from 0 to 1: the share of neighbouring letters that they have in common.
 * @param {string} one
 * @param {string} other
 */
export function likeness(one, other) {
  if (!one || !other) return 0;
  const [a, b] = [pairs(one), pairs(other)];
  let common = 0;
  for (const [pair, count] of a) common += Math.min(count, b.get(pair) ?? 0);
  return (2 * common) / (one.length + other.length + 2);
}

/**
 * The pages that are nearest to what was wanted, the best first.
 * @param {string} text
 * @param {Place[]} places
 */
export function nearest(text, places) {
  return places
    .map((place) => ({ place, score: Math.max(0, ...place.forms.map((form) => likeness(text, form))) }))
    .filter(({ score }) => score >= LIKE_ENOUGH)
    .sort((a, b) => b.score - a.score || (a.place.url < b.place.url ? -1 : 1))
    .slice(0, SHOWN)
    .map(({ place }) => place);
}

/**
 * Every paper and tag of catalog.json.
 * @param {any} data
 * @returns {Place[]}
 */
export function places(data) {
  const papers = data.entries.map((/** @type {any} */ entry) => ({
    url: entry.url,
    name: entry.name && !entry.title.toLowerCase().startsWith(entry.name.toLowerCase()) ? `${entry.name}: ${entry.title}` : entry.title,
    note: `${entry.key}, ${entry.year}`,
    // A key is half a name: its letters count without the year, and with another one.
    forms: [entry.key, entry.key.replace(/\d{4}/, " "), entry.name ?? "", entry.title].map(folded),
  }));
  const tags = data.dimensions.flatMap((/** @type {any} */ dimension) =>
    [{ ...dimension, note: "tags" }, ...dimension.values.map((/** @type {any} */ value) => ({ ...value, note: `tag, ${dimension.name.toLowerCase()}` }))].map(
      ({ url, name, id, note }) => ({ url, name, note, forms: [id, name].map(folded) }),
    ),
  );
  return [...papers, ...tags];
}

/**
 * List what may have been meant.
 * @param {string} root the site's
 */
export async function help(root) {
  const response = await fetch(`${root}catalog.json`);
  if (response.ok) show(root, nearest(wanted(location.pathname), places(await response.json())));
}

/**
 * @param {string} root
 * @param {Place[]} found
 */
function show(root, found) {
  const section = document.querySelector("[data-near]");
  if (!(section instanceof HTMLElement) || !found.length) return;
  section.querySelector("ul")?.replaceChildren(
    ...found.map((place) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = root + place.url;
      link.textContent = place.name;
      const note = document.createElement("span");
      note.textContent = place.note;
      item.append(link, " ", note);
      return item;
    }),
  );
  section.hidden = false;
}
