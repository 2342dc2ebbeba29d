// Making elements. All text goes in as text: nothing that came with the data is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

// el("button", {class: "wide", onclick: go, "aria-label": "Go"}, "Go", icon)
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

// Said by screen readers; the same words twice are said twice.
export function say(text) {
  const live = byId("live");
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

let vanishing = 0;

// Shown to everybody for some seconds.
export function notify(text) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.hidden = false;
  clearTimeout(vanishing);
  vanishing = setTimeout(() => (notice.hidden = true), 4500);
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

// What the browser keeps for this page, or nothing where it is told to keep nothing.
const NOTHING = { length: 0, key: () => null, getItem: () => null, setItem: () => {}, removeItem: () => {} };

export const storage = (() => {
  try {
    return localStorage;
  } catch {
    return NOTHING;
  }
})();
