// @ts-check
/// <reference lib="webworker" />
/**
 * The worker of the search over all pages: the theme's own, fetched with its index only when
 * somebody types a word, since together they weigh more than a page. Until then it answers that
 * there is nothing. The messages are the theme's (`SearchMessageType` in Material's sources).
 *
 * Its address ends in `?` and the path of the theme's worker from here.
 */

const [SETUP, READY, QUERY, RESULT] = [0, 1, 2, 3];
const worker = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/** @type {string | null} the last words that somebody typed while there was no index */
let waiting = null;
let awake = false;

async function wake() {
  const response = await fetch("../search/search_index.json");
  if (!response.ok) throw new Error(`search_index.json: ${response.status}`);
  const { config, docs } = await response.json();
  // From here on the theme's script hears the same messages and answers them itself.
  importScripts(worker.location.search.slice(1));
  awake = true;
  tell(SETUP, { config, docs, options: { suggest: false } });
  // It sets up in a microtask, so before the next message. If that is a newer query, which may
  // come before the timer, this one must not be answered after it.
  setTimeout(() => {
    if (waiting !== null) tell(QUERY, waiting);
  });
}

/** @param {number} type @param {unknown} data */
function tell(type, data) {
  worker.dispatchEvent(new MessageEvent("message", { data: { type, data } }));
}

worker.addEventListener("message", ({ data: { type, data } }) => {
  if (type !== QUERY) return;
  if (awake) {
    waiting = null;
    return;
  }
  if (!data.trim()) {
    waiting &&= "";
    worker.postMessage({ type: RESULT, data: { items: [] } });
    return;
  }
  const first = waiting === null;
  waiting = data;
  if (first) {
    wake().catch((error) => {
      waiting = null; // the next letter tries again
      console.error(error);
      worker.postMessage({ type: RESULT, data: { items: [] } });
    });
  }
});
worker.postMessage({ type: READY });
