// @ts-check
/**
 * A paper as it stands in the catalog's list, drawn from data: the page brings the newest papers
 * along, and a large catalog has more than those. The same as the macro `row` in
 * `catalog/site/templates/_macros.html`, which a test compares with it.
 */

/** @typedef {import("./store.js").Row} Row */

/** Dimensions whose values say nothing without their dimension: "Without", "Frozen". */
const NEED_CONTEXT = new Set(["retraining", "weight_update"]);

const ICONS = {
  check: ["m3 8.5 3.2 3.2L13 5", ""],
  run: ["M4.5 2.8v10.4L13 8z", "solid"],
  code: ["m5.5 4-4 4 4 4m5-8 4 4-4 4", ""],
};

/**
 * @param {string} tag
 * @param {string} look
 * @param {...(Node | string)} content
 */
function make(tag, look, ...content) {
  const element = document.createElement(tag);
  if (look) element.className = look;
  element.append(...content);
  return element;
}

/** @param {keyof typeof ICONS} name */
function icon(name) {
  const [line, look] = ICONS[name];
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [attribute, value] of [["class", "icon"], ["viewBox", "0 0 16 16"], ["aria-hidden", "true"], ["focusable", "false"]]) {
    drawing.setAttribute(attribute, value);
  }
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  if (look) path.setAttribute("class", look);
  path.setAttribute("d", line);
  drawing.append(path);
  return drawing;
}

/** @param {string} url @param {...(Node | string)} content */
function link(url, ...content) {
  const element = /** @type {HTMLAnchorElement} */ (make("a", "", ...content));
  element.setAttribute("href", url);
  return element;
}

/**
 * A function that draws rows of one catalog.
 * @param {import("./store.js").Dimension[]} dimensions
 * @returns {(row: Row) => HTMLElement}
 */
export function drawer(dimensions) {
  const known = dimensions.map((dimension) => ({
    ...dimension,
    look: `tag dim-${dimension.id.replaceAll("_", "-")}`,
    byId: new Map(dimension.values.map((value) => [value.id, value])),
  }));

  /** @param {Row} entry */
  function tags(entry) {
    const list = make("ul", "tags");
    for (const { id, name, look, byId } of known) {
      for (const tag of entry.tags[id] ?? []) {
        const value = byId.get(tag);
        if (!value) continue;
        const context = NEED_CONTEXT.has(id) || tag === "other";
        const anchor = link(value.url, make("span", context ? "tag-dim" : "sr", `${name}: `), value.name);
        anchor.className = look;
        if (entry.verified[id]?.includes(tag)) {
          const seen = make("span", "tag-seen", icon("check"), make("span", "sr", " (verified by running)"));
          seen.title = "Verified by running";
          anchor.append(seen);
        }
        list.append(make("li", "", anchor));
      }
    }
    return list.children.length ? [list] : [];
  }

  return (entry) => {
    const called = entry.name && !entry.title.toLowerCase().startsWith(entry.name.toLowerCase());
    const title = make("h3", "row-title", link(entry.url, ...(called ? [make("span", "row-name", entry.name ?? ""), " "] : []), entry.title));
    const pick = document.createElement("input");
    pick.type = "checkbox";
    pick.dataset.pick = "";
    pick.autocomplete = "off";
    const row = make(
      "li",
      "row",
      make("div", "row-call", make("span", "row-year", String(entry.year)), " ", make("span", "row-venue", entry.venue)),
      make("div", "row-body", title, make("p", "row-by", entry.authors), make("p", "row-take", entry.takeaway), ...tags(entry)),
      make(
        "div",
        "row-side",
        make("label", "row-pick", pick, make("span", "sr", `Select ${entry.name || entry.title}`)),
        make("span", "badge", entry.kind),
        ...(entry.implementation ? [make("span", "badge badge-run", icon("run"), "runs here")] : []),
        ...(entry.code ? [make("span", "badge", icon("code"), "official code")] : []),
      ),
    );
    row.dataset.key = entry.key;
    return row;
  };
}
