// @ts-check
/**
 * The filters of the catalog page. The page arrives with the newest papers in it; this module
 * decides which papers are shown, and in which order, and draws those that the page did not bring.
 */

import { Index, SORTS, fold } from "./filter.js";
import { answer, copy } from "./prunedex.js";
import { drawer } from "./rows.js";

/** @typedef {import("./filter.js").Choice} Choice */
/** @typedef {import("./filter.js").Entry} Entry */

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

/** @type {Map<string, HTMLElement>} */
const rows = new Map();
for (const row of list.children) {
  if (row instanceof HTMLElement && row.dataset.key) rows.set(row.dataset.key, row);
}

/** @type {Set<string>} */
const picked = new Set();
/** @type {Entry[]} */
let shown = [];
let drawn = 0;

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

/** @param {number} count */
const papers = (count) => `${count.toLocaleString("en")} paper${count === 1 ? "" : "s"}`;

/**
 * @param {Index} index
 * @param {Choice} now
 */
function draw(index, now) {
  const found = index.select(now);
  shown = found.entries.map((position) => index.entries[position]);
  drawn = 0;
  list.replaceChildren();
  drawMore();

  const total = index.entries.length;
  status.textContent =
    shown.length === total ? papers(total) : `${shown.length.toLocaleString("en")} of ${papers(total)}`;
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
  if (!empty.hidden) drawWayOut(index, now);
  drawExport();
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
 * @param {Index} index
 * @param {Choice} now
 */
function drawWayOut(index, now) {
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
  const next = shown.slice(drawn, drawn + STEP);
  for (const entry of next) {
    let row = rows.get(entry.key);
    if (!row) {
      rows.set(entry.key, (row = drawRow(entry)));
      const box = row.querySelector("[data-pick]");
      if (box instanceof HTMLInputElement) box.checked = picked.has(entry.key);
    }
    list.append(row);
  }
  drawn += next.length;
  more.hidden = drawn >= shown.length;
}

/** What an export takes: the picked papers, or else all that are shown. */
function exported() {
  return picked.size ? index.entries.filter((entry) => picked.has(entry.key)) : shown;
}

function drawExport() {
  const count = exported().length;
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

one("[data-export]").addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? event.target.closest("button") : null;
  if (!button) return;
  const entries = exported();
  if (button.dataset.do === "copy-bibtex") {
    answer(button, (await copy(toBibtex(entries))) ? `Copied ${papers(entries.length)}` : "The browser refuses");
  } else if (button.dataset.do === "bibtex") {
    download("prunedex.bib", "text/plain", toBibtex(entries));
  } else if (button.dataset.do === "csv") {
    download("prunedex.csv", "text/csv", toCsv(entries));
  } else if (button.dataset.do === "json") {
    download("prunedex.json", "application/json", JSON.stringify(entries, null, 2) + "\n");
  } else if (button.dataset.do === "unpick") {
    picked.clear();
    for (const row of rows.values()) {
      const box = row.querySelector("[data-pick]");
      if (box instanceof HTMLInputElement) box.checked = false;
    }
    drawExport();
    one("summary", one("[data-export]")).focus();
  }
});

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
  draw(index, now);
}

/** @param {string} text */
const plain = (text) => fold(text).replace(/[^\p{L}\p{N}]+/gu, "");

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

const response = await fetch(page.dataset.catalog ?? "catalog.json");
if (!response.ok) throw new Error(`catalog.json: ${response.status}`);
const catalog = await response.json();
const index = new Index(catalog);
const drawRow = drawer(catalog);

form.addEventListener("change", () => changed());
form.addEventListener("submit", (event) => event.preventDefault());
sort.addEventListener("change", () => changed());
let typing = false;
search.addEventListener("input", () => {
  changed({ quietly: typing });
  typing = true;
});
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
new IntersectionObserver((seen) => {
  if (seen.some((each) => each.isIntersecting) && !more.hidden) drawMore();
}, { rootMargin: "600px" }).observe(more);
addEventListener("popstate", () => {
  readAddress();
  draw(index, choice());
});

readAddress();
draw(index, choice());
page.dataset.ready = "";
