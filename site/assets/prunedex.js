// @ts-check
/** What every page does: buttons that copy, the search, and menus that close. */

/**
 * Put text on the clipboard; false if the browser refuses.
 * @param {string} text
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without a secure connection there is no clipboard: select the text in a field instead.
    const field = document.createElement("textarea");
    field.value = text;
    field.style.cssText = "position:fixed;opacity:0";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

/**
 * Say briefly in the button itself, and to screen readers, what happened.
 * @param {HTMLElement} button
 * @param {string} words
 */
export function answer(button, words) {
  const label = button.querySelector("span") ?? button;
  const before = label.dataset.before ?? label.textContent ?? "";
  label.dataset.before = before;
  label.textContent = words;
  announce(words);
  setTimeout(() => (label.textContent = before), 1800);
}

/** @param {string} words */
function announce(words) {
  let region = document.querySelector("#announcements");
  if (!region) {
    region = document.createElement("p");
    region.id = "announcements";
    region.className = "sr";
    region.setAttribute("role", "status");
    document.body.append(region);
  }
  region.textContent = words;
}

function copyable() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    if (!(button instanceof HTMLElement)) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      // A copy button belongs to the code beside it, or to the part of the page that it names.
      const place = button.dataset.copy ? document.getElementById(button.dataset.copy) : button.parentElement;
      const text = place?.querySelector("pre")?.textContent ?? "";
      answer(button, (await copy(text)) ? "Copied" : "Press Ctrl+C");
    });
  }
}

/** Ends what the page before listens to, where it was left without the browser's doing. */
let left = new AbortController();

/** What is done once a page: with the theme's instant navigation, one document shows many. */
async function arrive() {
  left.abort();
  left = new AbortController();
  const { signal } = left;
  delete document.documentElement.dataset.ready;
  copyable();
  const part = document.querySelector("[data-module]");
  if (!(part instanceof HTMLElement)) return;
  // Named as it is from the site's root, of which this module is one folder below.
  const { start } = await import(new URL(`../${part.dataset.module}`, import.meta.url).href);
  if (!signal.aborted) await start(signal);
}

// The browser's own frame follows the scheme that is shown, also where that is not the system's.
const colour = () => {
  const paper = getComputedStyle(document.body).getPropertyValue("--paper").trim();
  for (const meta of document.querySelectorAll("meta[name='theme-color']")) meta.setAttribute("content", paper);
};
new MutationObserver(colour).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
colour();

// Its index is fetched when somebody is about to search (see search.js), ahead of the first word.
document.querySelector(".md-search__input")?.addEventListener(
  "focus",
  () => void fetch(new URL("../search/search_index.json", import.meta.url), { priority: "low" }).catch(() => {}),
  { once: true },
);

// The theme's search is a dialog without a name, and opens by a label, which no keyboard reaches.
document.querySelector(".md-search[role=dialog]")?.setAttribute("aria-label", "Search all pages");
document.querySelector("[data-open-search]")?.addEventListener("click", () => {
  const toggle = document.querySelector("[data-md-toggle=search]");
  if (toggle instanceof HTMLInputElement && !toggle.checked) toggle.click();
  const field = document.querySelector(".md-search__input");
  if (field instanceof HTMLElement) field.focus();
});

// Esc closes an open menu, and so does a click beside it.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.removeAttribute("open");
    menu.querySelector("summary")?.focus();
  }
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (event.target instanceof Node && !menu.contains(event.target)) menu.removeAttribute("open");
  }
});

/** The theme's observable of documents: it says so at once, and whenever the page has been exchanged. */
const { document$ } = /** @type {{document$?: {subscribe(next: () => void): void}}} */ (/** @type {unknown} */ (window));
if (document$) document$.subscribe(() => void arrive());
else void arrive();
