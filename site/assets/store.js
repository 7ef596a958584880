// @ts-check
/**
 * The catalog as the pages load it: at once what filters need, and what rows show or what words are
 * looked for in when somebody asks for it. Written by `catalog/site/columns.py`.
 */

import { Index } from "./filter.js";

/**
 * What a row shows of a paper.
 * @typedef {object} Row
 * @property {string} key
 * @property {string} title
 * @property {string | null} name
 * @property {string} authors
 * @property {number} year
 * @property {string} venue
 * @property {string} kind
 * @property {Record<string, string[]>} tags
 * @property {Record<string, string[]>} verified
 * @property {string} takeaway
 * @property {string | null} implementation
 * @property {boolean} code
 * @property {string} url
 */

/** @typedef {{id: string, name: string, values: {id: string, name: string, url: string}[]}} Dimension */
/** @typedef {import("./filter.js").Columns & {block: number, dimensions: Dimension[]}} Filters */

/** @param {string} address @param {AbortSignal} [signal] */
async function fetched(address, signal) {
  const response = await fetch(address, { signal });
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  return response.json();
}

/**
 * @param {string} folder ends in a slash
 * @param {AbortSignal} [signal]
 */
export async function open(folder, signal) {
  return new Store(folder, await fetched(`${folder}filters.json`, signal));
}

export class Store {
  /** @type {Map<number, Row>} */
  #rows = new Map();
  /** @type {Map<number, Promise<void>>} */
  #blocks = new Map();
  /** @type {Promise<void> | null} */
  #words = null;

  /** @param {string} folder @param {Filters} filters */
  constructor(folder, filters) {
    this.folder = folder;
    this.block = filters.block;
    this.dimensions = filters.dimensions;
    this.index = new Index(filters);
  }

  /**
   * The row of a paper; undefined until it has been loaded.
   * @param {number} position
   */
  row(position) {
    return this.#rows.get(position);
  }

  /**
   * Fetch the rows of papers, each block once.
   * @param {number[]} positions
   */
  async load(positions) {
    const numbers = new Set(positions.filter((each) => !this.#rows.has(each)).map((each) => Math.floor(each / this.block)));
    await Promise.all([...numbers].map((number) => this.#load(number)));
  }

  /** @param {number} number */
  #load(number) {
    let loading = this.#blocks.get(number);
    if (!loading) {
      loading = fetched(`${this.folder}rows-${number}.json`).then((/** @type {Row[]} */ rows) => {
        rows.forEach((row, place) => this.#rows.set(number * this.block + place, row));
      });
      this.#blocks.set(number, loading);
      // Who failed is asked again next time.
      loading.catch(() => this.#blocks.delete(number));
    }
    return loading;
  }

  /** Fetch the text in which words are looked for, once. */
  learn() {
    if (!this.#words) {
      this.#words = fetched(`${this.folder}words.json`).then((texts) => this.index.learn(texts));
      this.#words.catch(() => (this.#words = null));
    }
    return this.#words;
  }
}
