// Choosing among any number of classes by typing a part of a name.

import { byId, el } from "./dom.js";
import { nameOf } from "./words.js";

const LISTED = 200;

export class Search {
  constructor(classes) {
    this.names = classes.map((name) => name.toLowerCase());
    this.recent = [];
    this.dialog = byId("search");
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  // Ask for a class, or with `several` for two or more; gives a list, empty if there was none.
  ask(title, candidates, several = null) {
    this.several = several ? new Set(several) : null;
    this.candidates = candidates;
    this.at = 0;
    this.input = el("input", {
      type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": "found", "aria-autocomplete": "list",
      autocomplete: "off", spellcheck: "false", placeholder: "Part of a name", "aria-label": title, oninput: () => this.#look(),
    });
    this.list = el("ul", { id: "found", role: "listbox", "aria-label": "Classes" });
    this.picked = el("p", { class: "picked" });
    const done = several && el("button", { type: "button", class: "main", onclick: () => this.#finish() }, el("span", {}, "Done"), el("kbd", {}, "Ctrl ⏎"));
    this.dialog.replaceChildren(el("h2", {}, title), this.input, this.picked, this.list, done || "");
    this.dialog.onkeydown = (event) => this.#key(event);
    const answer = (this.answer = []);
    this.dialog.showModal();
    this.input.focus();
    this.#look();
    return new Promise((resolve) => {
      const closed = () => {
        if (this.dialog.open) return; // the event is late: it is of the question before
        this.dialog.removeEventListener("close", closed);
        resolve(answer);
      };
      this.dialog.addEventListener("close", closed);
    });
  }

  #look() {
    this.found = this.#ranked(this.input.value.trim().toLowerCase());
    this.at = 0;
    this.#draw();
  }

  #ranked(query) {
    if (!query) {
      const first = [...(this.several ?? []), ...this.recent, ...this.candidates];
      return [...new Set([...first, ...this.names.keys()])].slice(0, LISTED);
    }
    const found = [];
    for (const [label, name] of this.names.entries()) {
      const rank = rankOf(name, query);
      if (rank < 9) found.push([rank, this.candidates.includes(label) ? 0 : 1, name.length, label]);
    }
    found.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || a[3] - b[3]);
    return found.slice(0, LISTED).map((row) => row[3]);
  }

  #draw() {
    this.list.replaceChildren(...this.found.map((label, i) => el("li", {
      role: "option", id: `found-${i}`, "aria-selected": String(i === this.at),
      class: this.several?.has(label) ? "in" : null, onclick: () => this.#take(label),
    }, nameOf(label))));
    if (!this.found.length) this.list.append(el("li", { class: "none" }, "No class is called so"));
    this.input.setAttribute("aria-activedescendant", this.found.length ? `found-${this.at}` : "");
    this.list.children[this.at]?.scrollIntoView({ block: "nearest" });
    if (this.several) this.picked.textContent = [...this.several].map(nameOf).join(" + ") || "Choose two or more";
    this.picked.hidden = !this.several;
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step) {
      this.at = Math.min(Math.max(this.at + step, 0), Math.max(this.found.length - 1, 0));
      this.#draw();
    } else if (event.key === "Enter" && this.several && (event.ctrlKey || event.metaKey || !this.input.value)) {
      this.#finish();
    } else if (event.key === "Enter" && event.target === this.input) {
      if (this.found.length) this.#take(this.found[this.at]);
    } else {
      return;
    }
    event.preventDefault();
  }

  #take(label) {
    if (!this.several) {
      this.recent = [label, ...this.recent.filter((one) => one !== label)].slice(0, 6);
      this.answer.push(label);
      this.dialog.close();
      return;
    }
    if (!this.several.delete(label)) this.several.add(label);
    this.input.value = "";
    this.input.focus();
    this.#look();
  }

  #finish() {
    if (this.several.size < 2) {
      this.picked.textContent = "Choose two or more";
      return;
    }
    this.answer.push(...this.several);
    this.dialog.close();
  }
}

// 0 the same, 1 begins so, 2 a word begins so, 3 contains it, 4 has its letters in order, 9 none.
function rankOf(name, query) {
  if (name === query) return 0;
  const at = name.indexOf(query);
  if (at === 0) return 1;
  if (at > 0) return /[^\p{L}\p{N}]/u.test(name[at - 1]) ? 2 : 3;
  let from = 0;
  for (const letter of query) {
    from = name.indexOf(letter, from) + 1;
    if (!from) return 9;
  }
  return 4;
}
