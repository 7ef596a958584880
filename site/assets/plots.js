// @ts-check
/**
 * Plots: one protocol at a time, or two that somebody wants to see beside each other; the address
 * names them. Two keep charts and tables of their own, and what sets them apart stands above them.
 */

import { find, make } from "./see.js";

/** @typedef {{shared: Record<string, string>, own: Record<string, string>}} Fields */

/**
 * Take over the page.
 * @param {AbortSignal} signal when the page is left without the browser's doing
 */
export function start(signal) {
  const choice = /** @type {HTMLSelectElement | null} */ (find("[data-protocol]"));
  const second = /** @type {HTMLSelectElement | null} */ (find("[data-beside]"));
  const pair = find("[data-pair]");
  const apart = find("[data-apart]");
  const parts = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-plot]")]);

  /** @param {string | undefined} name */
  const part = (name) => parts.find((each) => each.dataset.plot === name);

  /** @param {HTMLElement} section @returns {Fields} */
  const fields = (section) => JSON.parse(section.dataset.fields ?? '{"shared":{},"own":{}}');

  /** @param {HTMLElement} section */
  const title = (section) => find("h2", section)?.textContent ?? "";

  /**
   * The fields in which two protocols differ, with both values. Fields that only one kind of protocol
   * has are left to the conditions, which stand above each chart.
   * @param {Fields} one
   * @param {Fields} two
   * @returns {[string, string, string][]}
   */
  function differences(one, two) {
    /** @type {[string, string, string][]} */
    const found = [];
    const alike = one.shared.measured === two.shared.measured;
    const told = new Set();
    for (const kind of /** @type {const} */ (alike ? ["shared", "own"] : ["shared"])) {
      for (const name of new Set([...Object.keys(one[kind]), ...Object.keys(two[kind])])) {
        const [a, b] = [one[kind][name] ?? "none", two[kind][name] ?? "none"];
        if (a === b || told.has(name)) continue;
        told.add(name);
        found.push([name, a, b]);
      }
    }
    return found;
  }

  /** @param {HTMLElement} one @param {HTMLElement} two */
  function tell(one, two) {
    const found = differences(fields(one), fields(two));
    const names = found.map(([name]) => name).join(", ");
    find("[data-apart-say]")?.replaceChildren(
      found.length
        ? `They differ in ${names}. A value on one side is neither better nor worse than one on the other.`
        : "They differ in their conditions, which stand above each chart. A value on one side is neither better nor worse than one on the other.",
    );
    find("[data-apart-one]")?.replaceChildren(title(one));
    find("[data-apart-two]")?.replaceChildren(title(two));
    find("[data-apart-rows]")?.replaceChildren(
      ...found.map(([name, a, b]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, name),
          make("td", { "data-label": title(one) }, a),
          make("td", { "data-label": title(two) }, b),
        ),
      ),
    );
  }

  /** @param {string} wanted One protocol, or two with a comma between them. */
  function show(wanted) {
    if (!choice || !pair) return;
    const [one, two] = wanted.split(",");
    if (part(one)) choice.value = one;
    const first = part(choice.value);
    const other = two === choice.value ? undefined : part(two);
    if (second) {
      second.value = other?.dataset.plot ?? "";
      for (const option of second.options) option.disabled = option.value === choice.value;
    }
    for (const each of parts) each.hidden = each !== first && each !== other;
    // The one that was chosen first is read first; alone, the parts stand as they were written.
    pair.append(...parts);
    if (first && other) pair.prepend(first, other);
    pair.toggleAttribute("data-two", Boolean(other));
    pair.closest(".page")?.classList.toggle("see-wide", Boolean(other));
    if (apart) apart.hidden = !other;
    if (first && other) tell(first, other);
  }

  /** What the address names; one that somebody cut short names nothing. */
  function named() {
    try {
      return decodeURIComponent(location.hash.slice(1));
    } catch {
      return "";
    }
  }

  function chosen() {
    const wanted = [choice?.value, second?.value].filter(Boolean).join(",");
    history.pushState(null, "", `#${wanted}`);
    show(wanted);
  }

  choice?.addEventListener("change", chosen);
  second?.addEventListener("change", chosen);
  const aim = (/** @type {MouseEvent} */ event) => {
    // The part that a link leads to is hidden, and would not be scrolled to.
    const link = event.target instanceof Element ? event.target.closest("a[data-to]") : null;
    if (!(link instanceof HTMLElement) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", `#${link.dataset.to}`);
    show(link.dataset.to ?? "");
    choice?.focus({ preventScroll: true });
    choice?.scrollIntoView({ block: "center" });
  };
  document.addEventListener("click", aim, { signal });
  for (const name of ["hashchange", "popstate"]) {
    addEventListener(name, () => show(named() || (parts[0]?.dataset.plot ?? "")), { signal });
  }
  show(named());
  document.documentElement.dataset.ready = "";
}
