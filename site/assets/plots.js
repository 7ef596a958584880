// @ts-check
/** Plots: one protocol at a time; the address names it. */

import { find } from "./see.js";

const choice = /** @type {HTMLSelectElement | null} */ (find("[data-protocol]"));
const parts = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-plot]")]);

/** @param {string} wanted */
function show(wanted) {
  if (!choice) return;
  if (parts.some((part) => part.dataset.plot === wanted)) choice.value = wanted;
  for (const part of parts) part.hidden = part.dataset.plot !== choice.value;
}

choice?.addEventListener("change", () => {
  history.pushState(null, "", `#${choice.value}`);
  show(choice.value);
});
document.addEventListener("click", (event) => {
  // The part that a link leads to is hidden, and would not be scrolled to.
  const link = event.target instanceof Element ? event.target.closest("a[data-to]") : null;
  if (!(link instanceof HTMLElement) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", `#${link.dataset.to}`);
  show(link.dataset.to ?? "");
  choice?.focus({ preventScroll: true });
  choice?.scrollIntoView({ block: "center" });
});
for (const name of ["hashchange", "popstate"]) {
  addEventListener(name, () => show(decodeURIComponent(location.hash.slice(1)) || (parts[0]?.dataset.plot ?? "")));
}
show(decodeURIComponent(location.hash.slice(1)));
document.documentElement.dataset.ready = "";
