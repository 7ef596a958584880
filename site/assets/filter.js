// @ts-check
/**
 * Chooses papers of the catalog. No page, no network: what a person chose goes in, the papers that
 * fit and a count for every further choice come out.
 *
 * Every value has a bit set of the papers that have it, so that a choice costs a few thousand
 * machine words however it is combined: one frame is enough for 10,000 papers.
 */

/**
 * The catalog without its texts, as `catalog/site/columns.py` writes it. A paper is its place in
 * the catalog, newest first; ascending numbers are given as the steps between them.
 * @typedef {object} Columns
 * @property {number} entries How many there are.
 * @property {number[]} appeared Steps down from month to month, in months since the year 0.
 * @property {Record<string, Record<string, number[]>>} facets By facet and value: steps from paper to paper.
 * @property {Record<string, number>} observed By paper: in how many dimensions a run showed a tag.
 * @property {{name: number[], key: number[]}} orders All papers, sorted.
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
 * @property {number[]} entries Places in the catalog, in the order asked for.
 * @property {Record<string, Record<string, number>>} counts By facet and value: how many papers
 *   would have the value, all other filters as they are.
 * @property {Map<number, number>} years By year, all filters but the years' as they are.
 */

export const SORTS = ["newest", "oldest", "name", "key"];

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

/**
 * The numbers themselves.
 * @param {number[]} steps
 */
function ascending(steps) {
  let last = 0;
  return steps.map((step) => (last += step));
}

export class Index {
  /** @param {Columns} columns */
  constructor(columns) {
    this.count = columns.entries;
    this.words = Math.ceil(this.count / 32);
    /** @type {Map<string, Map<string, Uint32Array>>} */
    this.facets = new Map(
      Object.entries(columns.facets).map(([facet, values]) => [
        facet,
        new Map(Object.entries(values).map(([value, steps]) => [value, this.#bits(ascending(steps))])),
      ]),
    );
    const months = ascending(columns.appeared).map((each) => -each);
    /** @type {Map<number, number[]>} */
    const years = new Map();
    months.forEach((month, position) => {
      const year = Math.floor(month / 12);
      const papers = years.get(year);
      if (papers) papers.push(position);
      else years.set(year, [position]);
    });
    /** @type {Map<number, Uint32Array>} */
    this.byYear = new Map([...years].map(([year, papers]) => [year, this.#bits(papers)]));
    const newest = Uint32Array.from(months.keys());
    /** @type {Record<string, Uint32Array>} */
    this.orders = {
      newest,
      // Within a month both begin at the same end of the alphabet.
      oldest: newest.slice().sort((a, b) => months[a] - months[b] || a - b),
      name: Uint32Array.from(columns.orders.name),
      key: Uint32Array.from(columns.orders.key),
    };
    this.observed = columns.observed;
    /** @type {string[] | null} */
    this.texts = null;
    this.lastText = "";
    /** @type {Uint32Array | null} */
    this.lastFound = null;
  }

  /**
   * From here on words can be searched for.
   * @param {string[]} texts By paper, folded.
   */
  learn(texts) {
    this.texts = texts;
  }

  /**
   * Whether a paper has a value.
   * @param {number} position
   * @param {string} facet
   * @param {string} value
   */
  has(position, facet, value) {
    const bits = this.facets.get(facet)?.get(value);
    return bits !== undefined && (bits[position >>> 5] & (1 << (position & 31))) !== 0;
  }

  /** @param {number[]} positions */
  #bits(positions) {
    const bits = this.#empty();
    for (const position of positions) bits[position >>> 5] |= 1 << (position & 31);
    return bits;
  }

  #empty() {
    return new Uint32Array(this.words);
  }

  #full() {
    const bits = this.#empty().fill(0xffffffff);
    const rest = this.count & 31;
    if (rest) bits[this.words - 1] = 2 ** rest - 1;
    return bits;
  }

  /**
   * The papers in whose text all words occur; null if there are no words. Throws if there are words
   * before the texts are there.
   * @param {string} text
   */
  #search(text) {
    const wanted = fold(text)
      .split(/\s+/)
      .map((word) => word.replace(/^[,;]+|[,;]+$/g, "").replace(/([0-9]{4}\.[0-9]{4,5})v[0-9]+$/, "$1"))
      .filter(Boolean);
    if (!wanted.length) return null;
    if (!this.texts) throw new Error("the texts are not there yet");
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
