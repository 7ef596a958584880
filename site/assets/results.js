// @ts-check
/** Leaderboards: a click on a column's head sorts by it. Without this the tables are ranked. */

/** @param {HTMLTableRowElement} row @param {number} column */
function valueOf(row, column) {
  const cell = row.cells[column];
  const value = cell?.dataset.value;
  if (value !== undefined) return Number(value);
  const text = cell?.textContent?.trim() ?? "";
  return text && cell?.tagName === "TH" ? text.toLowerCase() : text || undefined;
}

/** Numbers before texts; what is not there comes last in either direction.
 * @param {string | number | undefined} one @param {string | number | undefined} two @param {number} sign
 */
function order(one, two, sign) {
  if (one === undefined || two === undefined) return Number(one === undefined) - Number(two === undefined);
  if (typeof one === "number" && typeof two === "number") return sign * (one - two);
  if (typeof one !== typeof two) return typeof one === "number" ? -1 : 1;
  return sign * String(one).localeCompare(String(two));
}

/** @param {HTMLTableElement} table */
function sortable(table) {
  const heads = /** @type {HTMLElement[]} */ ([...(table.tHead?.rows[0]?.cells ?? [])]);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      if (!body) return;
      const rows = [...body.rows].filter((row) => row.dataset.fixed === undefined);
      const keys = new Map(rows.map((row) => [row, valueOf(row, column)]));
      rows.sort((one, two) => order(keys.get(one), keys.get(two), down ? -1 : 1));
      body.append(...rows);
    });
  });
}

/** Take over the page. */
export function start() {
  for (const table of document.querySelectorAll("table[data-sort]")) {
    if (table instanceof HTMLTableElement) sortable(table);
  }
  document.documentElement.dataset.ready = "";
}
