// @ts-check
/**
 * The lineage graph: highlights where a paper comes from and what came of it, filters, and changes
 * the size of the drawing. It moves in its box by scrolling, so that wheel, touch and arrow keys
 * do what they do everywhere.
 */

import { find, say } from "./see.js";

/** Relations followed for one step only: who is compared with is no ancestor. */
const FAR = ".e-builds";
const SMALLEST = 0.35;
const LARGEST = 3;

/** @typedef {{path: SVGElement, older: string, newer: string, relation: string, far: boolean}} Edge */

/** @param {SVGSVGElement} svg @param {HTMLElement} frame */
function enliven(svg, frame) {
  const place = find("[data-say-here]");
  const form = /** @type {HTMLFormElement | null} */ (find("[data-controls]"));
  /** @type {Map<string, SVGAElement>} */
  const dots = new Map();
  for (const each of svg.querySelectorAll("a.n")) {
    if (each instanceof SVGAElement && each.dataset.key) dots.set(each.dataset.key, each);
  }
  /** @type {Edge[]} */
  const edges = [];
  for (const path of svg.querySelectorAll(".e")) {
    if (!(path instanceof SVGElement)) continue;
    const { older = "", newer = "", relation = "" } = path.dataset;
    edges.push({ path, older, newer, relation, far: path.matches(FAR) });
  }

  /**
   * The edges on the way from a paper in one direction.
   * @param {string} key
   * @param {"older" | "newer"} from
   * @param {"older" | "newer"} to
   */
  function follow(key, from, to) {
    /** @type {Set<Edge>} */
    const found = new Set();
    const seen = new Set([key]);
    const open = [key];
    for (let now = open.pop(); now !== undefined; now = open.pop()) {
      for (const edge of edges) {
        if (edge[from] !== now || edge.path.hasAttribute("data-out")) continue;
        if (!edge.far && now !== key) continue;
        found.add(edge);
        if (edge.far && !seen.has(edge[to])) {
          seen.add(edge[to]);
          open.push(edge[to]);
        }
      }
    }
    return found;
  }

  function dark() {
    svg.removeAttribute("data-lit");
    for (const each of svg.querySelectorAll("[data-on]")) each.removeAttribute("data-on");
  }

  /** @type {string | null} */
  let lit = null;

  /** @param {string | null} key */
  function light(key) {
    if (key === lit) return;
    lit = key;
    dark();
    const self = key === null ? undefined : dots.get(key);
    if (key === null || !self) return;
    const before = follow(key, "newer", "older");
    const after = follow(key, "older", "newer");
    svg.setAttribute("data-lit", "");
    self.setAttribute("data-on", "self");
    /** @type {Set<string>} */
    const earlier = new Set();
    /** @type {Set<string>} */
    const later = new Set();
    for (const edge of before) earlier.add(edge.older);
    for (const edge of after) later.add(edge.newer);
    for (const edge of [...before, ...after]) edge.path.setAttribute("data-on", "");
    for (const other of [...earlier, ...later]) {
      if (other !== key) dots.get(other)?.setAttribute("data-on", "");
    }
    const label = self.getAttribute("aria-label") ?? "";
    const end = label.lastIndexOf(". Refers to");
    say(
      place,
      end < 0 ? label : label.slice(0, end),
      `. ${earlier.size} before it and ${later.size} after it are highlighted.`,
    );
  }

  /** @param {EventTarget | null} target */
  const keyOf = (target) =>
    target instanceof Element ? (target.closest("a.n")?.getAttribute("data-key") ?? null) : null;

  /** A finger cannot hover: its first tap highlights, its second opens. @type {string | null} */
  let tapped = null;
  svg.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse") light(keyOf(event.target));
  });
  svg.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") light(keyOf(document.activeElement));
  });
  svg.addEventListener("focusin", (event) => light(keyOf(event.target)));
  svg.addEventListener("focusout", () => light(null));
  let touch = false;
  /** @type {string | null} */
  let touched = null;
  svg.addEventListener("pointerdown", (event) => {
    touch = event.pointerType === "touch";
    touched = keyOf(event.target);
  });
  svg.addEventListener("click", (event) => {
    // A keyboard's click has no finger before it.
    if (!touch || event.detail === 0) return;
    const key = touched;
    if (key === null) {
      tapped = null;
      light(null);
    } else if (tapped !== key) {
      event.preventDefault();
      tapped = key;
      light(key);
      place?.prepend("Tap again to open ");
    }
  });

  // The keyboard: from paper to paper by arrows, the size by plus, minus and 0.
  /** @param {SVGAElement} from @param {string} arrow */
  function neighbour(from, arrow) {
    const here = from.getBoundingClientRect();
    const along = arrow === "ArrowLeft" || arrow === "ArrowRight" ? "x" : "y";
    const sign = arrow === "ArrowRight" || arrow === "ArrowDown" ? 1 : -1;
    let best = null;
    let least = Infinity;
    for (const dot of dots.values()) {
      if (dot === from || dot.hasAttribute("data-out")) continue;
      const there = dot.getBoundingClientRect();
      const x = there.x - here.x;
      const y = there.y - here.y;
      const [ahead, aside] = along === "x" ? [x * sign, Math.abs(y)] : [y * sign, Math.abs(x)];
      if (ahead < 2) continue;
      const way = ahead + 3 * aside;
      if (way < least) [best, least] = [dot, way];
    }
    return best;
  }
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const dot = event.target instanceof Element ? event.target.closest("a.n") : null;
    if (dot instanceof SVGAElement && event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = neighbour(dot, event.key);
      next?.focus({ preventScroll: true });
      next?.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else if (event.key === "+" || event.key === "=") {
      zoom(scale * 1.25);
    } else if (event.key === "-") {
      zoom(scale / 1.25);
    } else if (event.key === "0") {
      fit();
    } else if (event.key === "Escape") {
      light(null);
    } else {
      return;
    }
    if (!event.key.startsWith("Arrow")) event.preventDefault();
  });

  // The size.
  const width = svg.viewBox.baseVal.width;
  const height = svg.viewBox.baseVal.height;
  let scale = 1;

  /**
   * Change the size; what is under the given point of the box, or its middle, stays there.
   * @param {number} wanted
   * @param {{x: number, y: number}} [around]
   */
  function zoom(wanted, around = { x: frame.clientWidth / 2, y: frame.clientHeight / 2 }) {
    const next = Math.min(LARGEST, Math.max(SMALLEST, wanted));
    const x = (frame.scrollLeft + around.x) / scale;
    const y = (frame.scrollTop + around.y) / scale;
    scale = next;
    svg.setAttribute("width", String(Math.round(width * scale)));
    svg.setAttribute("height", String(Math.round(height * scale)));
    svg.dataset.scale = scale.toFixed(2);
    frame.scrollLeft = x * scale - around.x;
    frame.scrollTop = y * scale - around.y;
  }
  // As wide as the box, unless nobody could read that.
  const fit = () => zoom(Math.max(0.72, Math.min(1.15, (frame.clientWidth - 2) / width)));

  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const way = button.getAttribute("data-zoom");
      if (way === "fit") fit();
      else zoom(way === "in" ? scale * 1.25 : scale / 1.25);
    });
  }
  frame.addEventListener(
    "wheel",
    (event) => {
      // With Ctrl, as a trackpad sends when two fingers part; alone, the wheel scrolls.
      if (!event.ctrlKey) return;
      event.preventDefault();
      const area = frame.getBoundingClientRect();
      zoom(scale * Math.exp(-event.deltaY / 300), { x: event.clientX - area.x, y: event.clientY - area.y });
    },
    { passive: false },
  );

  /** Two fingers: how far apart they were, and the size then. @type {{gap: number, scale: number} | null} */
  let pinch = null;
  /** @param {TouchList} touches */
  const gap = (touches) => Math.hypot(touches[0].clientX - touches[1].clientX, touches[0].clientY - touches[1].clientY);
  frame.addEventListener("touchstart", (event) => {
    pinch = event.touches.length === 2 ? { gap: gap(event.touches), scale } : null;
  }, { passive: true });
  frame.addEventListener(
    "touchmove",
    (event) => {
      if (!pinch || event.touches.length !== 2) return;
      event.preventDefault();
      const area = frame.getBoundingClientRect();
      const x = (event.touches[0].clientX + event.touches[1].clientX) / 2 - area.x;
      const y = (event.touches[0].clientY + event.touches[1].clientY) / 2 - area.y;
      zoom((pinch.scale * gap(event.touches)) / pinch.gap, { x, y });
    },
    { passive: false },
  );
  frame.addEventListener("touchend", () => (pinch = null));

  // A mouse drags the drawing by its ground.
  /** @type {{x: number, y: number, left: number, top: number} | null} */
  let held = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0 || keyOf(event.target) !== null) return;
    held = { x: event.clientX, y: event.clientY, left: frame.scrollLeft, top: frame.scrollTop };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!held) return;
    frame.scrollLeft = held.left - (event.clientX - held.x);
    frame.scrollTop = held.top - (event.clientY - held.y);
  });
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => (held = null));

  // The filters.
  function filter() {
    /** @type {(name: string) => Set<string>} */
    const chosen = (name) =>
      new Set([...(form?.querySelectorAll(`input[name=${name}]:checked`) ?? [])].map((each) => each instanceof HTMLInputElement ? each.value : ""));
    const types = chosen("type");
    const relations = chosen("relation");
    for (const dot of dots.values()) {
      const has = (dot.dataset.types ?? "").trim().split(" ");
      dot.toggleAttribute("data-out", !has.some((each) => types.has(each)));
    }
    for (const edge of edges) {
      const ends = [dots.get(edge.older), dots.get(edge.newer)];
      edge.path.toggleAttribute(
        "data-out",
        !relations.has(edge.relation) || ends.some((dot) => !dot || dot.hasAttribute("data-out")),
      );
    }
    lit = null;
    dark();
  }
  form?.addEventListener("change", filter);
  form?.addEventListener("submit", (event) => event.preventDefault());

  // They explain the signs; only a narrow window has no room for them.
  if (matchMedia("(min-width: 60em)").matches) find("[data-filters]")?.setAttribute("open", "");
  fit();
  // The address may name a paper.
  const named = dots.get(decodeURIComponent(location.hash.slice(1)));
  if (named) {
    named.scrollIntoView({ block: "center", inline: "center" });
    light(named.dataset.key ?? null);
  }
  svg.dataset.ready = "";
}

/** Take over the page. */
export function start() {
  const drawing = /** @type {SVGSVGElement | null} */ (find("[data-graph]"));
  const box = find("[data-box]");
  if (drawing && box) enliven(drawing, box);
}
