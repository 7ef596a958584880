// @ts-check
/** The timeline: says what the dot under the pointer or the focus is. */

import { find, say } from "./see.js";

/** Take over the page. */
export function start() {
  const place = find("[data-say-here]");

  /** @param {Event} event */
  function tell(event) {
    const dot = event.target instanceof Element ? event.target.closest("[data-say]") : null;
    if (dot instanceof SVGElement) say(place, dot.dataset.say ?? "", "");
  }

  const drawing = find("svg.time");
  drawing?.addEventListener("pointerover", tell);
  drawing?.addEventListener("focusin", tell);
  if (drawing) drawing.dataset.ready = "";
}
