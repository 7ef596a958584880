// @ts-check
/**
 * Chooses entries of catalog.json. No page, no network: what a person chose goes in, the entries
 * that fit and a count for every further choice come out.
 *
 * Every value has a bit set of the entries that have it, so that a choice costs a few thousand
 * machine words however it is combined: one frame is enough for 10,000 entries.
 */

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} title
 * @property {string | null} name
 * @property {string[]} authors
 * @property {number} year
 * @property {{short: string, full: string, series: string, year: number, type: string}} venue
 * @property {string} kind
 * @property {Record<string, string[]>} tags
 * @property {Record<string, string[]>} verified
 * @property {Record<string, string[]>} [uses] Models and data sets, with what they belong to.
 * @property {string} takeaway
 * @property {string | null} paper
 * @property {Record<string, any>} links
 * @property {Record<string, string>} ids
 * @property {string | null} implementation
 * @property {string} url
 * @property {string} bibtex
 */

/**
 * @typedef {object} Catalog
 * @property {{id: string, name: string, values: {id: string, name: string, parent: string | null}[]}[]} dimensions
 * @property {Entry[]} entries
 */

/**
 * What a person chose. `chosen` maps a facet to its values.
 * @typedef {object} Choice
 * @property {Record<string, string[]>} chosen
 * @property {number | null} from First year, included.
 * @property {number | null} to Last year, included.
 * @property {string} text Words that must all occur.
 * @property {string} sort One of `SORTS`.
 */

/**
 * @typedef {object} Selection
 * @property {number[]} entries Positions in the catalog's list, in the order asked for.
 * @property {Record<string, Record<string, number>>} counts By facet and value: how many entries
 *   would have the value, all other filters as they are.
 * @property {Map<number, number>} years By year, all filters but the years' as they are.
 */

export const SORTS = ["newest", "oldest", "name", "key"];

/**
 * When a paper was first public, in months: an arXiv id of its year tells the month.
 * @param {Entry} entry
 */
function appeared(entry) {
  const [, year, month] = /^(\d\d)(\d\d)\./.exec(entry.ids?.arxiv ?? "") ?? [];
  return entry.year * 12 + (Number(year) === entry.year % 100 ? Number(month) - 1 : 0);
}

/** Facets whose values must all hold; in the others they are alternatives. */
const ALL_MUST_HOLD = new Set(["has"]);

/**
 * Text without case and accents, for searching.
 * @param {string} text
 */
export function fold(text) {
  // Most text is plain, and taking it apart is what costs.
  if (/^[\x00-\x7f]*$/.test(text)) return text.toLowerCase();
  const whole = text.replace(/[øØłŁđĐıħŧ]/g, (letter) => "oOlLdDiht"["øØłŁđĐıħŧ".indexOf(letter)]);
  // Capitals first, then small letters: "ß" becomes "ss", as it does on the command line.
  return whole.normalize("NFKD").replace(/\p{M}+/gu, "").toUpperCase().toLowerCase();
}

/**
 * What a paper is called elsewhere, in the forms in which people paste it.
 * @param {Entry} entry
 */
function identifiers(entry) {
  const { arxiv, doi, openreview, acl, pmlr } = entry.ids ?? {};
  const texts = [doi, openreview, acl, pmlr].filter(Boolean);
  return arxiv ? [...texts, `arxiv:${arxiv}`, `https://arxiv.org/abs/${arxiv}`] : texts;
}

/**
 * How many bits are set.
 * @param {number} word
 */
function ones(word) {
  word -= (word >>> 1) & 0x55555555;
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
  return (((word + (word >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}

/**
 * How many entries are in both sets.
 * @param {Uint32Array} one
 * @param {Uint32Array} other
 */
function common(one, other) {
  let count = 0;
  for (let i = 0; i < one.length; i++) count += ones(one[i] & other[i]);
  return count;
}

/**
 * @param {Uint32Array} target
 * @param {Uint32Array} other
 */
function intersect(target, other) {
  for (let i = 0; i < target.length; i++) target[i] &= other[i];
}

export class Index {
  /** @param {Catalog} catalog */
  constructor(catalog) {
    /** @type {Entry[]} */
    this.entries = catalog.entries;
    this.words = Math.ceil(this.entries.length / 32);
    /** @type {Map<string, Map<string, Uint32Array>>} */
    this.facets = new Map();
    /** @type {Map<number, Uint32Array>} */
    this.byYear = new Map();
    this.parents = new Map(
      catalog.dimensions.map((dimension) => [
        dimension.id,
        new Map(dimension.values.map((value) => [value.id, value.parent])),
      ]),
    );
    this.entries.forEach((entry, position) => this.#add(entry, position));
    this.texts = this.entries.map((entry) =>
      fold([entry.key, entry.title, entry.name ?? "", ...entry.authors, entry.takeaway, ...identifiers(entry)].join(" ")),
    );
    /** @type {Record<string, Uint32Array>} */
    this.orders = Object.fromEntries(SORTS.map((sort) => [sort, this.#order(sort)]));
    this.lastText = "";
    /** @type {Uint32Array | null} */
    this.lastFound = null;
  }

  /**
   * @param {Entry} entry
   * @param {number} position
   */
  #add(entry, position) {
    for (const [dimension, values] of Object.entries(entry.tags)) {
      const parents = this.parents.get(dimension);
      for (let value of values) {
        // A value counts for everything above it. A circle of parents ends where it began.
        for (const seen = new Set(); value && !seen.has(value); value = parents?.get(value) ?? "") {
          seen.add(value);
          this.#set(dimension, value, position);
        }
      }
    }
    this.#set("kind", entry.kind, position);
    this.#set("venue", entry.venue.series, position);
    for (const [facet, values] of Object.entries(entry.uses ?? {})) {
      for (const value of values) this.#set(facet, value, position);
    }
    if (entry.links.code) this.#set("has", "code", position);
    if (entry.implementation) this.#set("has", "runs", position);
    if (Object.keys(entry.verified).length) this.#set("has", "verified", position);
    const year = this.byYear.get(entry.year) ?? this.#empty();
    year[position >>> 5] |= 1 << (position & 31);
    this.byYear.set(entry.year, year);
  }

  /**
   * @param {string} facet
   * @param {string} value
   * @param {number} position
   */
  #set(facet, value, position) {
    let values = this.facets.get(facet);
    if (!values) this.facets.set(facet, (values = new Map()));
    let bits = values.get(value);
    if (!bits) values.set(value, (bits = this.#empty()));
    bits[position >>> 5] |= 1 << (position & 31);
  }

  #empty() {
    return new Uint32Array(this.words);
  }

  #full() {
    const bits = this.#empty().fill(0xffffffff);
    const rest = this.entries.length & 31;
    if (rest) bits[this.words - 1] = 2 ** rest - 1;
    return bits;
  }

  /** @param {string} sort */
  #order(sort) {
    const called = this.entries.map((entry) => fold(entry.name ?? entry.title));
    /** @param {number} a @param {number} b */
    const byName = (a, b) =>
      called[a] < called[b] ? -1 : called[a] > called[b] ? 1 : this.#byKey(a, b);
    const compare = {
      newest: (/** @type {number} */ a, /** @type {number} */ b) =>
        appeared(this.entries[b]) - appeared(this.entries[a]) || byName(a, b),
      oldest: (/** @type {number} */ a, /** @type {number} */ b) =>
        appeared(this.entries[a]) - appeared(this.entries[b]) || byName(a, b),
      name: byName,
      key: (/** @type {number} */ a, /** @type {number} */ b) => this.#byKey(a, b),
    }[sort];
    return Uint32Array.from(this.entries.keys()).sort(compare);
  }

  /**
   * @param {number} a
   * @param {number} b
   */
  #byKey(a, b) {
    return this.entries[a].key < this.entries[b].key ? -1 : 1;
  }

  /**
   * The entries in whose text all words occur; null if there are no words.
   * @param {string} text
   */
  #search(text) {
    const wanted = fold(text)
      .split(/\s+/)
      .map((word) => word.replace(/^[,;]+|[,;]+$/g, "").replace(/([0-9]{4}\.[0-9]{4,5})v[0-9]+$/, "$1"))
      .filter(Boolean);
    if (!wanted.length) return null;
    const folded = wanted.join(" ");
    if (folded !== this.lastText || !this.lastFound) {
      const bits = this.#empty();
      this.texts.forEach((found, position) => {
        if (wanted.every((word) => found.includes(word))) bits[position >>> 5] |= 1 << (position & 31);
      });
      this.lastText = folded;
      this.lastFound = bits;
    }
    return this.lastFound;
  }

  /**
   * The entries that have the chosen values of one facet; null if none is chosen.
   * @param {string} facet
   * @param {string[]} values
   */
  #mask(facet, values) {
    if (!values.length) return null;
    const all = ALL_MUST_HOLD.has(facet);
    const bits = all ? this.#full() : this.#empty();
    for (const value of values) {
      const those = this.facets.get(facet)?.get(value) ?? this.#empty();
      for (let i = 0; i < this.words; i++) bits[i] = all ? bits[i] & those[i] : bits[i] | those[i];
    }
    return bits;
  }

  /**
   * @param {Choice} choice
   * @returns {Selection}
   */
  select(choice) {
    const names = [...this.facets.keys()];
    const masks = names.map((name) => this.#mask(name, choice.chosen[name] ?? []));
    const base = this.#full();
    const found = this.#search(choice.text);
    if (found) intersect(base, found);

    const span = this.#empty();
    for (const [year, bits] of this.byYear) {
      if ((choice.from !== null && year < choice.from) || (choice.to !== null && year > choice.to)) continue;
      for (let i = 0; i < this.words; i++) span[i] |= bits[i];
    }
    const withoutYears = base.slice();
    for (const mask of masks) if (mask) intersect(withoutYears, mask);
    const result = withoutYears.slice();
    intersect(result, span);

    // A count leaves out its own facet's filter: alternatives add to what is shown.
    /** @type {Record<string, Record<string, number>>} */
    const counts = {};
    names.forEach((name, own) => {
      let others = result;
      if (masks[own] && !ALL_MUST_HOLD.has(name)) {
        others = base.slice();
        intersect(others, span);
        masks.forEach((mask, at) => {
          if (mask && at !== own) intersect(others, mask);
        });
      }
      const values = /** @type {Map<string, Uint32Array>} */ (this.facets.get(name));
      counts[name] = {};
      for (const [value, bits] of values) counts[name][value] = common(bits, others);
    });

    const years = new Map([...this.byYear].map(([year, bits]) => [year, common(bits, withoutYears)]));
    const order = this.orders[choice.sort] ?? this.orders.newest;
    const entries = [];
    for (const position of order) {
      if (result[position >>> 5] & (1 << (position & 31))) entries.push(position);
    }
    return { entries, counts, years };
  }
}
