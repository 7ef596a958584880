// @ts-check
/** What the drawn pages share: finding elements, and saying what is pointed at. */

/**
 * @template {Element} [T=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {T | null}
 */
export function find(selector, within = document) {
  return /** @type {T | null} */ (within.querySelector(selector));
}

/**
 * An element with text or children; text is never taken for HTML.
 * @param {string} name
 * @param {Record<string, string>} [attributes]
 * @param {...(string | Node)} content
 */
export function make(name, attributes = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

/**
 * Show a text in the line above a drawing: the part before the first comma or full stop is its head.
 * @param {HTMLElement | null} place
 * @param {string} name
 * @param {string} rest
 */
export function say(place, name, rest) {
  place?.replaceChildren(make("strong", {}, name), rest);
}
