// @ts-check
/** Coverage: one table at a time, with or without the values below others. */

import { find } from "./see.js";

/**
 * Take over the page.
 * @param {AbortSignal} signal when the page is left without the browser's doing
 */
export function start(signal) {
  const choice = /** @type {HTMLSelectElement | null} */ (find("[data-pair]"));
  const fine = /** @type {HTMLInputElement | null} */ (find("input[data-fine]"));
  const parts = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-matrix]")]);

  function draw() {
    for (const part of parts) {
      part.hidden = part.dataset.matrix !== choice?.value;
      find("table", part)?.toggleAttribute("data-coarse", fine?.checked === false);
    }
  }

  /** The table that the address names, if there is one. */
  function fromAddress() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    if (choice && parts.some((part) => part.dataset.matrix === wanted)) choice.value = wanted;
    draw();
  }

  choice?.addEventListener("change", () => {
    history.replaceState(null, "", `#${choice.value}`);
    draw();
  });
  fine?.addEventListener("change", draw);
  addEventListener("hashchange", fromAddress, { signal });
  fromAddress();
  document.documentElement.dataset.ready = "";
}
