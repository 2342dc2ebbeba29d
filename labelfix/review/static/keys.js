// Keys as the server names them ("Ctrl+Shift+z"), and what they do where.

export function keyOf(event) {
  const altGr = event.getModifierState("AltGraph");
  const one = event.key.length === 1;
  const key = event.key === " " ? "Space" : one ? event.key.toLowerCase() : event.key;
  const isLetter = one && event.key.toLowerCase() !== event.key.toUpperCase();
  const parts = [];
  if ((event.ctrlKey || event.metaKey) && !altGr) parts.push("Ctrl");
  if (event.altKey && !altGr) parts.push("Alt");
  if (event.shiftKey && (!one || isLetter)) parts.push("Shift");
  return [...parts, key].join("+");
}

// Whether a key was pressed at such an element. For a moment after a dialog was closed, the focus is
// still within it: what is pressed then is meant for the page.
const isAt = (event, what) => event.target.closest(what) !== null && !event.target.closest("dialog:not([open])");

const HOLDABLE = /^(next|previous|nudge_|shift_|cell_|cycle|zoom_)/;

export class Keyboard {
  // `place` says where the person is: "item", "box" or "grid"; `act(action, event)` does it, and
  // gives false if there is nothing to do, so that the browser may have the key.
  constructor(actions, keys, place, act) {
    this.meaning = new Map();
    this.keys = keys;
    for (const { name, places } of actions) {
      for (const where of places) {
        for (const key of keys[name]) this.meaning.set(`${where} ${key}`, name);
      }
    }
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
      if (isAt(event, "input, textarea, select")) return;
      const action = this.meaning.get(`${place()} ${keyOf(event)}`);
      if (!action || this.#isForButton(event, action)) return;
      if (event.repeat && !HOLDABLE.test(action)) {
        event.preventDefault();
        return;
      }
      if (act(action, event) !== false) event.preventDefault();
    });
    // A button that was clicked must not catch the Enter that is meant for the next item.
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button && event.detail > 0) button.blur();
    });
  }

  // Whoever went to a button by Tab wants Enter, Space and Tab to do what they do at buttons.
  #isForButton(event, action) {
    if (!isAt(event, "button, .boxes [role=option]")) return false;
    if (["Enter", " "].includes(event.key)) return true;
    return event.key === "Tab" && action.startsWith("cycle");
  }

  // For a button's face and for screen readers.
  first(action) {
    return shown(this.keys[action]?.[0] ?? "");
  }
}

const FACES = {
  ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Enter: "⏎", Escape: "Esc",
  PageDown: "Page ↓", PageUp: "Page ↑", Delete: "Del",
};

export function shown(key) {
  if (!key) return "";
  const parts = key.endsWith("++") ? [...key.slice(0, -2).split("+"), "+"] : key === "+" ? ["+"] : key.split("+");
  return parts.map((part) => FACES[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join(" ");
}
