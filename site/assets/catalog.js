// @ts-check
/**
 * The filters of the catalog page. The page arrives with the newest papers in it; this module
 * decides which papers are shown, and in which order, and draws those that the page did not bring.
 */

import { SORTS, fold } from "./filter.js";
import { answer, copy } from "./prunedex.js";
import { drawer } from "./rows.js";
import { open } from "./store.js";

/** @typedef {import("./filter.js").Choice} Choice */

/**
 * A paper as catalog.json has it.
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} title
 * @property {string | null} name
 * @property {string[]} authors
 * @property {number} year
 * @property {{short: string}} venue
 * @property {string} kind
 * @property {Record<string, string[]>} tags
 * @property {string} takeaway
 * @property {string | null} paper
 * @property {{code?: {url: string}}} links
 * @property {string | null} implementation
 * @property {string} bibtex
 */

/** So many papers at a time; the rest follows on scrolling. */
const STEP = 30;

/**
 * @template {Element} [T=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {T}
 */
function one(selector, within = document) {
  const found = within.querySelector(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return /** @type {T} */ (/** @type {unknown} */ (found));
}

const numbers = new Intl.NumberFormat("en");

/** @param {number} count */
const papers = (count) => `${numbers.format(count)} paper${count === 1 ? "" : "s"}`;

/** @param {Entry[]} entries */
const toBibtex = (entries) => entries.map((entry) => entry.bibtex).join("\n\n") + "\n";

/** @param {Entry[]} entries */
function toCsv(entries) {
  const dimensions = [...new Set(entries.flatMap((entry) => Object.keys(entry.tags)))];
  const head = ["key", "name", "title", "authors", "year", "venue", "kind", ...dimensions, "paper", "code", "runs here", "take-away"];
  const lines = entries.map((entry) => [
    entry.key,
    entry.name ?? "",
    entry.title,
    entry.authors.join("; "),
    String(entry.year),
    entry.venue.short,
    entry.kind,
    ...dimensions.map((dimension) => (entry.tags[dimension] ?? []).join("; ")),
    entry.paper ?? "",
    entry.links.code?.url ?? "",
    entry.implementation ?? "",
    entry.takeaway,
  ]);
  return [head, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

/**
 * A field of CSV. A spreadsheet would run a text that begins like a formula; a quote stops it.
 * @param {string} text
 */
function cell(text) {
  const safe = /^[=+\-@\t\r\n＝＋－＠]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/**
 * @param {string} name
 * @param {string} type
 * @param {string} content
 */
function download(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** @param {string} text */
const plain = (text) => fold(text).replace(/[^\p{L}\p{N}]+/gu, "");

/**
 * Take over the catalog page.
 * @param {AbortSignal} signal when the page is left without the browser's doing
 */
export async function start(signal) {
  const page = one("[data-catalog]");
  const form = /** @type {HTMLFormElement} */ (one("[data-filters]"));
  const searchForm = /** @type {HTMLFormElement} */ (one("[data-search]"));
  const search = /** @type {HTMLInputElement} */ (one("input[name=text]", searchForm));
  const sort = /** @type {HTMLSelectElement} */ (one("[data-sort]"));
  const list = one("[data-rows]");
  const status = one("[data-status]");
  const chips = one("[data-chips]");
  const more = one("[data-more]");
  const empty = one("[data-empty]");
  const from = /** @type {HTMLSelectElement | null} */ (form.querySelector("select[name=from]"));
  const to = /** @type {HTMLSelectElement | null} */ (form.querySelector("select[name=to]"));
  const boxes = /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll("input[type=checkbox]")]);
  const facets = [...new Set(boxes.map((box) => box.name))];
  const counters = boxes.map((box) => box.parentElement?.querySelector("[data-count]"));
  const parts = [...form.querySelectorAll("details.facet")].map((part) => ({
    counter: part.querySelector("[data-chosen]"),
    boxes: /** @type {HTMLInputElement[]} */ ([...part.querySelectorAll("input[type=checkbox]")]),
    selects: [...part.querySelectorAll("select")],
  }));

  /** By place in the catalog; the page brings the newest papers. @type {Map<number, HTMLElement>} */
  const rows = new Map();
  [...list.children].forEach((row, place) => row instanceof HTMLElement && rows.set(place, row));

  /** @type {Set<string>} */
  const picked = new Set();
  /** @type {number[]} */
  let shown = [];
  let drawn = 0;
  /** What is drawn now; what was fetched for an earlier drawing comes too late. */
  let turn = 0;
  /** The drawing that waits for its rows. */
  let waiting = -1;

  /** What the form says now. @returns {Choice} */
  function choice() {
    /** @type {Record<string, string[]>} */
    const chosen = {};
    for (const box of boxes) if (box.checked) (chosen[box.name] ??= []).push(box.value);
    return {
      chosen,
      from: from?.value ? Number(from.value) : null,
      to: to?.value ? Number(to.value) : null,
      text: search.value.trim(),
      sort: sort.value,
    };
  }

  /** Set the form to what the address says. Values that do not exist are passed over. */
  function readAddress() {
    const query = new URLSearchParams(location.search);
    for (const box of boxes) box.checked = query.getAll(box.name).includes(box.value);
    search.value = query.get("text") ?? "";
    const order = query.get("sort") ?? "";
    sort.value = SORTS.includes(order) ? order : "newest";
    for (const field of [from, to]) {
      if (!field) continue;
      const wanted = query.get(field.name) ?? "";
      field.value = [...field.options].some((option) => option.value === wanted) ? wanted : "";
    }
    for (const facet of form.querySelectorAll("details.facet")) {
      if (facet.querySelector("input:checked")) facet.setAttribute("open", "");
    }
  }

  /**
   * The form's state as an address. The words are `text`, as on the command line: the theme would
   * take a `q` for its own search.
   * @param {Choice} now
   */
  function address(now) {
    const query = new URLSearchParams();
    if (now.text) query.set("text", now.text);
    for (const facet of facets) for (const value of now.chosen[facet] ?? []) query.append(facet, value);
    if (now.from !== null) query.set("from", String(now.from));
    if (now.to !== null) query.set("to", String(now.to));
    if (now.sort !== "newest") query.set("sort", now.sort);
    const text = query.toString();
    return location.pathname + (text ? `?${text}` : "") + location.hash;
  }

  /** @param {HTMLInputElement} box */
  function nameOf(box) {
    return box.parentElement?.querySelector(".choice-name")?.textContent?.trim() ?? box.value;
  }

  /** @param {string} facet */
  function nameOfFacet(facet) {
    return form.querySelector(`[data-facet="${CSS.escape(facet)}"] .facet-name`)?.textContent?.trim() ?? facet;
  }

  /** @param {Choice} now */
  function draw(now) {
    turn += 1;
    page.removeAttribute("aria-busy");
    if (now.text && !index.texts) {
      wait(store.learn(), () => draw(now));
      return;
    }
    const found = index.select(now);
    shown = found.entries;
    // The page arrives with the newest papers in it: as long as nothing is chosen, they stay.
    drawn = turn === 1 && shown.length === index.count && now.sort === "newest" ? list.children.length : 0;
    if (drawn) more.hidden = drawn >= shown.length;
    else drawMore();

    const total = index.count;
    status.textContent =
      shown.length === total ? papers(total) : `${numbers.format(shown.length)} of ${papers(total)}`;
    one("[data-done-count]").textContent = papers(shown.length);

    boxes.forEach((box, place) => {
      const count = String(found.counts[box.name]?.[box.value] ?? 0);
      const counter = counters[place];
      // Only what differs is written: every change costs the browser a new layout.
      if (counter && counter.textContent !== count) counter.textContent = count;
      const dead = count === "0" && !box.checked;
      if (box.disabled !== dead) box.disabled = dead;
    });
    drawYears(found.years, now);
    drawChips(now);
    empty.hidden = shown.length > 0 || total === 0;
    if (!empty.hidden) drawWayOut(now);
    drawExport();
  }

  /**
   * Go on when something has been fetched, unless something else is drawn by then.
   * @param {Promise<void>} coming
   * @param {() => void} next
   */
  function wait(coming, next) {
    const own = turn;
    page.setAttribute("aria-busy", "true");
    coming
      .then(() => own === turn && next(), (error) => {
        if (own === turn) status.textContent = "The papers could not be fetched. Is there a connection?";
        console.error(error);
      })
      .finally(() => {
        if (own === turn) page.removeAttribute("aria-busy");
      });
  }

  /**
   * @param {Map<number, number>} years
   * @param {Choice} now
   */
  function drawYears(years, now) {
    const highest = Math.max(1, ...years.values());
    for (const bar of form.querySelectorAll("[data-bars] span")) {
      if (!(bar instanceof HTMLElement)) continue;
      const year = Number(bar.dataset.year);
      const count = years.get(year) ?? 0;
      bar.style.setProperty("--h", String(count / highest));
      bar.title = `${year}: ${papers(count)}`;
      bar.toggleAttribute("data-out", (now.from !== null && year < now.from) || (now.to !== null && year > now.to));
    }
  }

  /** @param {Choice} now */
  function drawChips(now) {
    /** @type {{label: string, remove: () => void}[]} */
    const active = [];
    for (const box of boxes.filter((each) => each.checked)) {
      active.push({ label: `${nameOfFacet(box.name)}: ${nameOf(box)}`, remove: () => (box.checked = false) });
    }
    if (now.from !== null && from) active.push({ label: `From ${now.from}`, remove: () => (from.value = "") });
    if (now.to !== null && to) active.push({ label: `To ${now.to}`, remove: () => (to.value = "") });
    if (now.text) active.push({ label: `“${now.text}”`, remove: () => (search.value = "") });

    chips.replaceChildren(
      ...active.map(({ label, remove }) => chip(label, `Remove the filter ${label}`, "chip", remove)),
      ...(active.length > 1 ? [chip("Clear all", "Remove all filters", "chip chip-clear", clear)] : []),
    );
    chips.hidden = active.length === 0;
    const badge = one("[data-active-count]");
    badge.hidden = active.length === 0;
    badge.textContent = String(active.length);
    for (const part of parts) {
      if (!(part.counter instanceof HTMLElement)) continue;
      const chosen = part.boxes.filter((box) => box.checked).length + part.selects.filter((field) => field.value).length;
      part.counter.textContent = String(chosen);
      part.counter.hidden = chosen === 0;
    }
  }

  /**
   * @param {string} label
   * @param {string} description
   * @param {string} look
   * @param {() => void} remove
   */
  function chip(label, description, look, remove) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = look;
    button.textContent = label;
    button.setAttribute("aria-label", description);
    button.addEventListener("click", () => {
      const place = [...chips.children].indexOf(item);
      remove();
      changed();
      // The button is gone; the focus goes to its neighbour, or else to where the filters were.
      const next = chips.querySelectorAll("button")[Math.min(place, chips.children.length - 1)];
      (next ?? search).focus({ preventScroll: true });
    });
    item.append(button);
    return item;
  }

  /**
   * The one filter whose removal helps most.
   * @param {Choice} now
   */
  function drawWayOut(now) {
    /** @type {{label: string, count: number, remove: () => void}[]} */
    const ways = [];
    for (const facet of Object.keys(now.chosen)) {
      const chosen = { ...now.chosen, [facet]: [] };
      ways.push({
        label: `the filter on ${nameOfFacet(facet).toLowerCase()}`,
        count: index.select({ ...now, chosen }).entries.length,
        remove: () => boxes.filter((box) => box.name === facet).forEach((box) => (box.checked = false)),
      });
    }
    if (now.from !== null || now.to !== null) {
      ways.push({
        label: "the years",
        count: index.select({ ...now, from: null, to: null }).entries.length,
        remove: () => [from, to].forEach((field) => field && (field.value = "")),
      });
    }
    if (now.text) {
      ways.push({
        label: `the words “${now.text}”`,
        count: index.select({ ...now, text: "" }).entries.length,
        remove: () => (search.value = ""),
      });
    }
    const best = ways.sort((a, b) => b.count - a.count)[0];
    const hint = one("[data-empty-hint]");
    hint.replaceChildren();
    if (!best?.count) {
      hint.textContent = "No single filter is to blame; take back several.";
      return;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button";
    button.textContent = `Drop ${best.label}: ${papers(best.count)}`;
    button.addEventListener("click", () => {
      best.remove();
      changed();
      search.focus({ preventScroll: true });
    });
    hint.append(button);
  }

  function drawMore() {
    if (waiting === turn) return;
    const next = shown.slice(drawn, drawn + STEP);
    const missing = next.filter((position) => !rows.has(position) && !store.row(position));
    if (missing.length) {
      waiting = turn;
      const own = turn;
      wait(
        store.load(missing).finally(() => {
          if (waiting === own) waiting = -1;
        }),
        drawMore,
      );
      return;
    }
    const elements = next.map(rowOf);
    if (drawn) list.append(...elements);
    else list.replaceChildren(...elements);
    drawn += next.length;
    more.hidden = drawn >= shown.length;
    // Observed anew, it tells whether it is in sight now; else it tells only of changes, and rows
    // that come late may have made none.
    observer.unobserve(more);
    observer.observe(more);
  }

  /**
   * The row of a paper that has been loaded.
   * @param {number} position
   */
  function rowOf(position) {
    let element = rows.get(position);
    const row = store.row(position);
    if (!element && row) {
      rows.set(position, (element = drawRow(row)));
      const box = element.querySelector("[data-pick]");
      if (box instanceof HTMLInputElement) box.checked = picked.has(row.key);
    }
    return element ?? "";
  }

  /** @type {Promise<Entry[]> | null} */
  let everything = null;

  /** All papers with all that is known of them, for an export; fetched once. */
  function entries() {
    everything ??= fetch(page.dataset.catalog ?? "catalog.json").then(async (response) => {
      if (!response.ok) throw new Error(`catalog.json: ${response.status}`);
      return (await response.json()).entries;
    });
    everything.catch(() => (everything = null));
    return everything;
  }

  /** What an export takes: the picked papers, or else all that are shown. */
  async function exported() {
    const all = await entries();
    return picked.size ? all.filter((entry) => picked.has(entry.key)) : shown.map((position) => all[position]);
  }

  function drawExport() {
    const count = picked.size || shown.length;
    one("[data-export-label]").textContent = picked.size ? `Export ${picked.size} selected` : "Cite or export";
    one("[data-export-scope]").textContent = picked.size ? `${papers(count)}, selected` : `${papers(count)}, as filtered`;
    one("[data-do=unpick]").hidden = picked.size === 0;
    const compare = /** @type {HTMLAnchorElement} */ (one("[data-compare]"));
    compare.hidden = picked.size < 2;
    compare.textContent = picked.size > 4 ? "Compare the first 4" : `Compare ${picked.size}`;
    compare.search = `?papers=${[...picked].slice(0, 4).join(",")}`;
    for (const button of document.querySelectorAll("[data-export] button")) {
      if (button instanceof HTMLButtonElement) button.disabled = count === 0;
    }
  }

  one("[data-export]").addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    if (!button) return;
    if (button.dataset.do !== "unpick") {
      /** @type {Entry[]} */
      let chosen;
      try {
        chosen = await exported();
      } catch (error) {
        console.error(error);
        answer(button, "Could not be fetched");
        return;
      }
      if (button.dataset.do === "copy-bibtex") {
        answer(button, (await copy(toBibtex(chosen))) ? `Copied ${papers(chosen.length)}` : "The browser refuses");
      } else if (button.dataset.do === "bibtex") {
        download("prunedex.bib", "text/plain", toBibtex(chosen));
      } else if (button.dataset.do === "csv") {
        download("prunedex.csv", "text/csv", toCsv(chosen));
      } else if (button.dataset.do === "json") {
        download("prunedex.json", "application/json", JSON.stringify(chosen, null, 2) + "\n");
      }
    } else {
      picked.clear();
      for (const row of rows.values()) {
        const box = row.querySelector("[data-pick]");
        if (box instanceof HTMLInputElement) box.checked = false;
      }
      drawExport();
      one("summary", one("[data-export]")).focus();
    }
  });

  // By the time that somebody has read what there is to choose from, it is there.
  one("[data-export]").addEventListener("toggle", () => void entries().catch(() => {}), { once: true });

  list.addEventListener("change", (event) => {
    const box = event.target;
    if (!(box instanceof HTMLInputElement) || !box.matches("[data-pick]")) return;
    const key = box.closest("[data-key]")?.getAttribute("data-key") ?? "";
    if (box.checked) picked.add(key);
    else picked.delete(key);
    drawExport();
  });

  /** Uncheck everything and search for nothing. */
  function clear() {
    for (const box of boxes) box.checked = false;
    search.value = "";
    for (const field of [from, to]) if (field) field.value = "";
  }

  /** @param {{quietly?: boolean}} [how] Quietly: one step in the history for a whole word typed. */
  function changed({ quietly = false } = {}) {
    const now = choice();
    const wanted = address(now);
    if (wanted !== location.pathname + location.search + location.hash) {
      history[quietly ? "replaceState" : "pushState"](null, "", wanted);
    }
    draw(now);
  }

  // A long list shows what most papers have; a button shows the rest, and words narrow it.
  for (const list of form.querySelectorAll("[data-folded]")) {
    const button = list.querySelector("[data-unfold]");
    const words = list.querySelector("[data-narrow]");
    const choices = [...list.querySelectorAll(".choice")];
    const names = choices.map((each) => plain(each.querySelector(".choice-name")?.textContent ?? ""));
    if (button instanceof HTMLElement) {
      button.addEventListener("click", () => {
        const open = !list.toggleAttribute("data-folded");
        button.setAttribute("aria-expanded", String(open));
        button.textContent = (open ? button.dataset.opened : button.dataset.closed) ?? "";
      });
    }
    if (words instanceof HTMLInputElement) {
      words.addEventListener("input", () => {
        const wanted = plain(words.value);
        list.toggleAttribute("data-narrowed", wanted !== "");
        choices.forEach((each, place) => each.toggleAttribute("data-out", !names[place].includes(wanted)));
      });
      // It is no filter by itself: the form's change event is not meant for it.
      words.addEventListener("change", (event) => event.stopPropagation());
      words.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
    }
  }

  /** @param {boolean} open */
  function openFacets(open) {
    one("#facets-body").toggleAttribute("data-open", open);
    one("[data-facets-toggle]").setAttribute("aria-expanded", String(open));
  }

  one("[data-facets-toggle]").addEventListener("click", () =>
    openFacets(!one("#facets-body").hasAttribute("data-open")),
  );
  one("[data-facets-done]").addEventListener("click", () => {
    openFacets(false);
    one("[data-facets-toggle]").focus({ preventScroll: true });
    one("#results-title").scrollIntoView({ block: "start" });
  });

  const store = await open(page.dataset.columns ?? "assets/data/", signal);
  const { index } = store;
  const drawRow = drawer(store.dimensions);

  form.addEventListener("change", () => changed());
  form.addEventListener("submit", (event) => event.preventDefault());
  sort.addEventListener("change", () => changed());
  let typing = false;
  search.addEventListener("input", () => {
    changed({ quietly: typing });
    typing = true;
  });
  search.addEventListener("focus", () => void store.learn().catch(() => {}), { once: true });
  search.addEventListener("blur", () => (typing = false));
  searchForm.addEventListener("submit", (event) => {
    event.preventDefault();
    typing = false;
  });
  one("[data-clear]").addEventListener("click", () => {
    clear();
    changed();
    search.focus({ preventScroll: true });
  });
  one("button", more).addEventListener("click", drawMore);
  const observer = new IntersectionObserver(
    (seen) => {
      if (seen.some((each) => each.isIntersecting) && !more.hidden) drawMore();
    },
    { rootMargin: "600px" },
  );
  observer.observe(more);
  signal.addEventListener("abort", () => observer.disconnect());
  addEventListener(
    "popstate",
    () => {
      readAddress();
      draw(choice());
    },
    { signal },
  );

  readAddress();
  // Words in the address are answered before the page says that it is ready.
  if (search.value.trim()) await store.learn().catch(() => {});
  draw(choice());
  page.dataset.ready = "";
}
