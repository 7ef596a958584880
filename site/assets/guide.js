// @ts-check
/**
 * The guide: answers become filters of the catalog, and the papers that fit are listed with the
 * command that runs them. What a filter finds is decided by filter.js, as on the catalog page.
 */

import { answer as respond, copy } from "./prunedex.js";
import { open } from "./store.js";

/** @typedef {import("./store.js").Row} Row */
/** @typedef {Record<string, string[]>} Wanted */

/** So many papers are listed; the catalog has all. */
const LISTED = 12;

/** The facets in which a paper's tags are given as reasons, with the words for them. */
const REASONS = /** @type {const} */ ([
  ["type", "Removes"],
  ["data", "Sees"],
  ["retraining", "Retraining"],
  ["weight_update", "Survivors"],
]);

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

/**
 * Take over the page.
 * @param {AbortSignal} signal when the page is left without the browser's doing
 */
export async function start(signal) {
  const page = one("[data-guide]");
  /** @type {{questions: {id: string, answers: Record<string, Wanted>}[], parts: Record<string, string[]>, methods: Record<string, {model: string | null, pattern: boolean}>}} */
  const data = JSON.parse(page.dataset.guide ?? "{}");
  const form = /** @type {HTMLFormElement} */ (one("[data-questions]"));
  const model = /** @type {HTMLInputElement} */ (one("[data-model]"));
  const list = one("[data-papers]");
  const pattern = /** @type {HTMLTemplateElement} */ (one("template[data-row]"));

  /** @param {number} count */
  const papers = (count) => `${count.toLocaleString("en")} paper${count === 1 ? "" : "s"}`;

  /** @param {string} question @param {string} id */
  function radio(question, id) {
    const name = `[data-question="${CSS.escape(question)}"] input[value="${CSS.escape(id)}"]`;
    return /** @type {HTMLInputElement | null} */ (form.querySelector(name));
  }

  /** The answers as they are now. @returns {Record<string, string>} */
  function answers() {
    return Object.fromEntries(
      data.questions.map(({ id }) => {
        const chosen = form.querySelector(`[data-question="${CSS.escape(id)}"] input:checked`);
        return [id, chosen instanceof HTMLInputElement ? chosen.value : "any"];
      }),
    );
  }

  /**
   * The parts that serve a goal.
   * @param {string} goal
   */
  const parts = (goal) => data.parts[goal] ?? Object.keys(data.questions.find(({ id }) => id === "part")?.answers ?? {});

  /**
   * The filter of a path; a part that does not serve the goal counts as open.
   * @param {Record<string, string>} now
   * @returns {Wanted}
   */
  function wanted(now) {
    /** @type {Wanted} */
    const found = {};
    for (const { id, answers: offered } of data.questions) {
      const given = id === "part" && !parts(now.goal ?? "any").includes(now.part) ? "any" : now[id];
      Object.assign(found, offered[given ?? "any"] ?? {});
    }
    return found;
  }

  /** @param {Record<string, string>} now */
  function count(now) {
    return find(wanted(now)).length;
  }

  /** @param {Wanted} chosen */
  function find(chosen) {
    return index.select({ chosen, from: null, to: null, text: "", sort: "newest" }).entries;
  }

  /** @param {Wanted} chosen */
  function query(chosen) {
    const parameters = new URLSearchParams();
    for (const [facet, values] of Object.entries(chosen)) for (const value of values) parameters.append(facet, value);
    const text = parameters.toString();
    return text && `?${text}`;
  }

  /**
   * A word as a shell reads it back.
   * @param {string} word
   */
  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\"'\"'")}'`);

  /**
   * @param {string} method
   * @param {Wanted} chosen
   */
  function command(method, chosen) {
    const words = ["prunedex", "run", method];
    const known = data.methods[method];
    const on = model.value.trim() || known?.model;
    if (on) words.push("--model", on);
    if (known?.pattern && chosen.type?.join() === "n:m") words.push("--pattern", "2:4");
    return words.map(quoted).join(" ");
  }

  /** @param {number} position */
  const runs = (position) => index.has(position, "has", "runs");

  /** What can be run comes first, then what was observed in more dimensions; else newest first. @param {number[]} found */
  function ranked(found) {
    /** @param {number} position */
    const weight = (position) => (runs(position) ? 100 : 0) + (index.observed[position] ?? 0);
    return [...found].sort((a, b) => weight(b) - weight(a));
  }

  /**
   * Name of a tag, and whether a run showed it.
   * @param {Row} entry
   * @param {string} facet
   */
  function tags(entry, facet) {
    return (entry.tags[facet] ?? []).map((id) => {
      const part = document.createElement("span");
      part.textContent = names.get(facet)?.get(id) ?? id;
      if (entry.verified[facet]?.includes(id)) {
        part.className = "guide-seen";
        part.title = "Verified by running";
        const mark = document.createElement("span");
        mark.className = "sr";
        mark.textContent = " (verified by running)";
        part.append(mark);
      }
      return part;
    });
  }

  /**
   * @param {Row} entry
   * @param {Wanted} chosen
   */
  function row(entry, chosen) {
    const item = /** @type {HTMLElement} */ (one("li", /** @type {DocumentFragment} */ (pattern.content.cloneNode(true))));
    const link = /** @type {HTMLAnchorElement} */ (one("[data-link]", item));
    link.href = entry.url;
    link.textContent = entry.name ?? entry.title;
    one("[data-year]", item).textContent = String(entry.year);
    one("[data-take]", item).textContent = entry.takeaway;
    const reasons = one("[data-reasons]", item);
    for (const [facet, label] of REASONS) {
      const shown = tags(entry, facet);
      if (!shown.length) continue;
      const group = document.createElement("div");
      const term = document.createElement("dt");
      term.textContent = label;
      const text = document.createElement("dd");
      text.append(...shown.flatMap((each, at) => (at ? [", ", each] : [each])));
      group.append(term, " ", text);
      reasons.append(group);
    }
    if (entry.implementation) {
      const run = one("[data-run]", item);
      run.hidden = false;
      const line = command(entry.implementation, chosen);
      one("code", run).textContent = line;
      one("pre", run).setAttribute("aria-label", `Command that runs ${link.textContent}`);
      const button = one("button", run);
      button.addEventListener("click", async () => respond(button, (await copy(line)) ? "Copied" : "Press Ctrl+C"));
    }
    return item;
  }

  /** @param {Record<string, string>} now */
  function promise(now) {
    const said = data.questions.flatMap(({ id }) => {
      const chosen = now[id] && now[id] !== "any" ? radio(id, now[id]) : null;
      const text = chosen?.parentElement?.querySelector(".guide-label")?.textContent;
      const asked = chosen?.closest("fieldset")?.querySelector("legend")?.textContent?.trim();
      return text ? [`${asked} ${text}.`] : [];
    });
    return said.join(" ") || "Nothing is asked for yet.";
  }

  function draw() {
    const now = answers();
    const serving = parts(now.goal ?? "any");
    for (const { id, answers: offered } of data.questions) {
      for (const each of Object.keys(offered)) {
        const input = radio(id, each);
        const label = input?.closest("label");
        if (!input || !label) continue;
        const given = count({ ...now, [id]: each });
        one("[data-count]", label).textContent = given.toLocaleString("en");
        input.disabled = given === 0 && !input.checked;
        label.hidden = id === "part" && !serving.includes(each);
      }
    }
    // One thing to remove besides the open answer: there is nothing to ask.
    const part = form.querySelector("[data-question=part]");
    if (part instanceof HTMLElement) part.hidden = serving.length < 3;

    const chosen = wanted(now);
    const found = ranked(find(chosen));
    one("[data-status]").textContent = papers(found.length);
    one("[data-jump]").textContent = papers(found.length);
    one("[data-promise]").textContent = promise(now);
    const open = /** @type {HTMLAnchorElement} */ (one("[data-open]"));
    open.href = (page.dataset.page ?? "catalog.html") + query(chosen);
    one("[data-reset]").hidden = Object.values(now).every((each) => each === "any") && !model.value;
    one("[data-model-line]").hidden = !found.some(runs);
    drawRows(found.slice(0, LISTED), chosen);
    const rest = one("[data-rest]");
    rest.hidden = found.length <= LISTED;
    rest.textContent = `${papers(found.length - LISTED)} more in the catalog.`;
  }

  /** What is drawn now; what was fetched for an earlier drawing comes too late. */
  let turn = 0;

  /**
   * @param {number[]} listed
   * @param {Wanted} chosen
   */
  function drawRows(listed, chosen) {
    const own = (turn += 1);
    const known = listed.flatMap((position) => store.row(position) ?? []);
    if (known.length === listed.length) {
      list.replaceChildren(...known.map((entry) => row(entry, chosen)));
      list.removeAttribute("aria-busy");
      return;
    }
    list.setAttribute("aria-busy", "true");
    store.load(listed).then(
      () => own === turn && drawRows(listed, chosen),
      (error) => {
        console.error(error);
        if (own === turn) one("[data-status]").textContent = "The papers could not be fetched. Is there a connection?";
      },
    );
  }

  /** The state as an address. @param {Record<string, string>} now */
  function address(now) {
    const parameters = new URLSearchParams();
    for (const { id } of data.questions) if (now[id] && now[id] !== "any") parameters.set(id, now[id]);
    if (model.value.trim()) parameters.set("model", model.value.trim());
    const text = parameters.toString();
    return location.pathname + (text && `?${text}`) + location.hash;
  }

  /** Set the form to what the address says; what is not offered counts as open. */
  function readAddress() {
    const parameters = new URLSearchParams(location.search);
    for (const { id } of data.questions) {
      const field = radio(id, parameters.get(id) ?? "any") ?? radio(id, "any");
      if (field) field.checked = true;
    }
    model.value = parameters.get("model") ?? "";
    settle();
  }

  /** A part that does not serve the goal is taken back. */
  function settle() {
    const now = answers();
    if (!parts(now.goal ?? "any").includes(now.part)) {
      const open = radio("part", "any");
      if (open) open.checked = true;
    }
  }

  /** @param {{quietly?: boolean}} [how] Quietly: without a step in the history. */
  function changed({ quietly = false } = {}) {
    settle();
    const aim = address(answers());
    if (aim !== location.pathname + location.search + location.hash) {
      history[quietly ? "replaceState" : "pushState"](null, "", aim);
    }
    draw();
  }

  const store = await open(page.dataset.columns ?? "assets/data/", signal);
  const { index } = store;
  const names = new Map(store.dimensions.map((each) => [each.id, new Map(each.values.map((value) => [value.id, value.name]))]));

  form.addEventListener("change", () => changed());
  form.addEventListener("submit", (event) => event.preventDefault());
  model.addEventListener("input", () => changed({ quietly: true }));
  one("[data-reset]").addEventListener("click", () => {
    form.reset();
    model.value = "";
    changed();
    radio(data.questions[0].id, "any")?.focus();
  });
  addEventListener(
    "popstate",
    () => {
      readAddress();
      draw();
    },
    { signal },
  );

  readAddress();
  draw();
  page.dataset.ready = "";
}
