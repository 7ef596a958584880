// @ts-check
/** Up to four papers side by side. The address holds which: `compare.html?papers=a,b,c`. */

import { find, make } from "./see.js";

const MOST = 4;
/** Related papers from which on a list is folded. */
const FOLDED = 8;

/** @typedef {{id: string, name: string, values: {id: string, name: string, url: string}[], url: string}} Dimension */
/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} title
 * @property {string | null} name
 * @property {number} year
 * @property {{short: string}} venue
 * @property {string} kind
 * @property {Record<string, string[]>} tags
 * @property {Record<string, string[]>} verified
 * @property {string} takeaway
 * @property {{code?: {url: string}}} links
 * @property {string | null} implementation
 * @property {string} url
 */
/** @typedef {{key: string, name: string, words: string}} Related */
/** @typedef {{protocol: number, budget: string, value: number, form: string, by: string, url: string | null, page?: string}} Figure */
/**
 * @typedef {object} More
 * @property {Related[]} builds_on
 * @property {Related[]} built_on_by
 * @property {string[]} models
 * @property {string[]} calibration
 * @property {string[]} finetuning
 * @property {string[]} evaluation
 * @property {Figure[]} figures
 */
/** @typedef {{title: string, conditions: string, better: string}} Protocol */

/**
 * Take over the page.
 * @param {AbortSignal} signal when the page is left without the browser's doing
 */
export async function start(signal) {
  const page = find("[data-compare-page]");
  if (!page) throw new Error("the page has no place for a comparison");

  /** @param {string} address */
  async function load(address) {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`${address}: ${response.status}`);
    return response.json();
  }

  /** @type {[{dimensions: Dimension[], entries: Entry[]}, {protocols: Protocol[], papers: Record<string, More>}]} */
  const [catalog, more] = await Promise.all([
    load(page.dataset.catalog ?? "catalog.json"),
    load(page.dataset.more ?? "compare.json"),
  ]);
  const entries = new Map(catalog.entries.map((entry) => [entry.key, entry]));
  const box = find("[data-box]");
  const status = find("[data-status]");
  const field = /** @type {HTMLInputElement | null} */ (find("[data-add] input"));

  /** The papers that the address names: known ones, each once, four at most. */
  function chosen() {
    const words = new URLSearchParams(location.search).getAll("papers").join(",").split(",");
    const known = words.map((word) => word.trim()).filter((word) => entries.has(word));
    return [...new Set(known)].slice(0, MOST);
  }

  /** @param {string[]} keys */
  function choose(keys) {
    history.pushState(null, "", keys.length ? `?papers=${keys.join(",")}` : location.pathname);
    draw();
  }

  /** @param {Entry} entry */
  const called = (entry) => entry.name ?? entry.title;

  /** @param {string} url @param {string} text */
  function outward(url, text) {
    return /^https?:\/\//.test(url) ? make("a", { href: url, rel: "noopener nofollow" }, text) : text;
  }

  /** @param {(string | Node)[]} items */
  function listed(items) {
    if (!items.length) return make("span", { class: "quiet" }, "not recorded");
    return make("ul", {}, ...items.map((item) => make("li", {}, item)));
  }

  /**
   * @param {string} head
   * @param {Entry[]} papers
   * @param {(entry: Entry, more: More) => string | Node} cell
   */
  function row(head, papers, cell) {
    const cells = papers.map((entry) => make("td", {}, cell(entry, more.papers[entry.key])));
    const line = make("tr", {}, make("th", { scope: "row" }, head), ...cells);
    // Where all say the same there is nothing to compare.
    if (cells.length > 1 && cells.every((each) => each.textContent === cells[0].textContent)) line.dataset.same = "";
    return line;
  }

  /** @param {Entry} entry @param {Dimension} dimension */
  function tags(entry, dimension) {
    const seen = entry.verified[dimension.id] ?? [];
    return listed(
      (entry.tags[dimension.id] ?? []).map((id) => {
        const value = dimension.values.find((each) => each.id === id);
        const name = make("span", {}, value ? make("a", { href: value.url }, value.name) : id);
        if (seen.includes(id)) name.append(" ", make("span", { class: "seen-mark" }, "✓ verified"));
        return name;
      }),
    );
  }

  /** @param {Related[]} related */
  function relations(related) {
    if (!related.length) return make("span", { class: "quiet" }, "none recorded");
    const list = listed(
      related.map((each) => {
        const target = entries.get(each.key);
        return make("span", {}, `${each.words} `, target ? make("a", { href: target.url }, each.name) : each.name);
      }),
    );
    if (related.length <= FOLDED) return list;
    // What is below in the table matters more than the twentieth paper.
    return make("details", {}, make("summary", {}, `${related.length} papers`), list);
  }

  /** @param {string} text @param {string} under @param {number} columns */
  function band(text, under, columns) {
    return make("tr", { class: "compare-band" }, make("th", { colspan: String(columns), scope: "rowgroup" }, text, make("span", {}, under)));
  }

  const numeric = new Intl.Collator("en", { numeric: true });

  /**
   * The order of budgets: shares and counts by their numbers, then patterns such as 2:4.
   * @param {string} one @param {string} two
   */
  function rising(one, two) {
    return Number(one.includes(":")) - Number(two.includes(":")) || numeric.compare(one, two);
  }

  /**
   * Who says so: a source, or a leaderboard of this site.
   * @param {Figure} figure
   */
  function said(figure) {
    const form = figure.form ? ` ${figure.form},` : "";
    if (figure.page) return [`${form} `, make("a", { href: figure.page }, "measured here")];
    return [`${form} reported by `, outward(figure.url ?? "", figure.by)];
  }

  /**
   * Figures that at least two of the papers have under one protocol at one budget.
   * @param {Entry[]} papers
   */
  function figures(papers) {
    /** @type {Map<number, Map<string, Map<string, Figure[]>>>} */
    const found = new Map();
    for (const { key } of papers) {
      for (const figure of more.papers[key]?.figures ?? []) {
        const budgets = found.get(figure.protocol) ?? new Map();
        found.set(figure.protocol, budgets);
        const by = budgets.get(figure.budget) ?? new Map();
        budgets.set(figure.budget, by);
        by.set(key, [...(by.get(key) ?? []), figure]);
      }
    }
    const rows = [];
    for (const [number, budgets] of [...found].sort(([a], [b]) => a - b)) {
      const shared = [...budgets].filter(([, by]) => by.size > 1).sort(([a], [b]) => rising(a, b));
      if (!shared.length) continue;
      const protocol = more.protocols[number];
      const conditions = protocol.conditions ? `${protocol.conditions}. ` : "";
      rows.push(band(protocol.title, `${conditions}${protocol.better === "lower" ? "Lower" : "Higher"} is better.`, papers.length + 1));
      for (const [budget, by] of shared) {
        rows.push(
          row(budget, papers, ({ key }) => {
            const own = by.get(key);
            if (!own) return make("span", { class: "quiet" }, "none under this protocol");
            return listed(
              own.map((figure) =>
                make(
                  "span",
                  {},
                  make("span", { class: "compare-value" }, String(figure.value)),
                  ...said(figure),
                ),
              ),
            );
          }),
        );
      }
    }
    if (!rows.length && papers.length > 1) {
      rows.push(band("Reported figures", "No two of these papers have a figure at the same budget under the same protocol, so there is nothing that may be compared.", papers.length + 1));
    }
    return rows;
  }

  /** @param {Entry[]} papers */
  function table(papers) {
    const head = make("tr", {}, make("td", {}));
    for (const entry of papers) {
      const remove = make("button", { type: "button", class: "button button-small", "aria-label": `Remove ${called(entry)}` }, "Remove");
      remove.addEventListener("click", () => {
        choose(chosen().filter((key) => key !== entry.key));
        (box?.querySelector("button") ?? field)?.focus();
      });
      head.append(make("th", { scope: "col" }, make("a", { href: entry.url }, called(entry)), remove));
    }
    const body = make(
      "tbody",
      {},
      row("Title", papers, (entry) => entry.title),
      row("Year", papers, (entry) => String(entry.year)),
      row("Venue", papers, (entry) => entry.venue.short),
      row("Kind", papers, (entry) => entry.kind),
      row("Take-away", papers, (entry) => entry.takeaway),
      ...catalog.dimensions.map((dimension) => row(dimension.name, papers, (entry) => tags(entry, dimension))),
      row("Runs here", papers, (entry) => (entry.implementation ? make("code", {}, `prunedex run ${entry.implementation}`) : "no")),
      row("Official code", papers, (entry) => {
        const url = entry.links.code?.url;
        return url ? outward(url, url.replace(/^https?:\/\/(www\.)?/, "")) : "none known";
      }),
      row("Models", papers, (_, its) => listed(its?.models ?? [])),
      row("Calibration data", papers, (_, its) => listed(its?.calibration ?? [])),
      row("Fine-tuning data", papers, (_, its) => listed(its?.finetuning ?? [])),
      row("Evaluation data", papers, (_, its) => listed(its?.evaluation ?? [])),
      row("Builds on", papers, (_, its) => relations(its?.builds_on ?? [])),
      row("Built on by", papers, (_, its) => relations(its?.built_on_by ?? [])),
      ...figures(papers),
    );
    const columns = make("colgroup", {}, make("col"), ...papers.map(() => make("col")));
    return make("table", { class: "compare-table" }, columns, make("thead", {}, head), body);
  }

  function draw() {
    const keys = chosen();
    const papers = keys.flatMap((key) => entries.get(key) ?? []);
    const empty = find("[data-empty]");
    if (empty) empty.hidden = papers.length > 0;
    if (box) {
      box.hidden = papers.length === 0;
      box.replaceChildren(...(papers.length ? [table(papers)] : []));
    }
    const asked = new URLSearchParams(location.search).getAll("papers").join(",").split(",").filter((word) => word.trim());
    if (status) {
      status.textContent =
        asked.length > papers.length ? `${papers.length} of the ${asked.length} papers in the address are shown.` : papers.length === MOST ? "These are four, the most that fit." : "";
    }
  }

  /** @param {string} text */
  function meant(text) {
    const folded = text.trim().toLowerCase();
    if (!folded) return undefined;
    const named = (/** @type {Entry} */ entry) => [entry.key, entry.name ?? "", entry.title].map((each) => each.toLowerCase());
    return (
      catalog.entries.find((entry) => named(entry).includes(folded)) ??
      catalog.entries.find((entry) => named(entry).some((each) => each.includes(folded)))
    );
  }

  find("[data-add]")?.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!field || !status) return;
    const keys = chosen();
    const entry = meant(field.value);
    if (!entry) status.textContent = field.value.trim() ? `No paper is called “${field.value.trim()}”.` : "";
    else if (keys.includes(entry.key)) status.textContent = `${called(entry)} is there already.`;
    else if (keys.length >= MOST) status.textContent = `Four papers are the most that fit; remove one to add ${called(entry)}.`;
    else {
      field.value = "";
      choose([...keys, entry.key]);
    }
  });
  for (const link of document.querySelectorAll("[data-start]")) {
    link.addEventListener("click", (event) => {
      if (!(event instanceof MouseEvent) || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      choose((new URLSearchParams(link.getAttribute("href") ?? "").get("papers") ?? "").split(","));
    });
  }
  addEventListener("popstate", draw, { signal });
  draw();
  page.dataset.ready = "";
}
