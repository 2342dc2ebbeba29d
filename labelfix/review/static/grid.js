// Fifty thumbnails of one suspected kind and pair of classes: mark the exceptions, decide the rest.

import { byId, el, newId, notify, plural, say, svg } from "./dom.js";
import { get, post } from "./outbox.js";
import { KINDS, nameOf } from "./words.js";

const SHOWN = 50;

export class Grid {
  constructor(keyboard, outbox, does) {
    this.element = byId("grid");
    this.keyboard = keyboard;
    this.outbox = outbox;
    this.does = does; // act(action), open(entry)
    this.groups = [];
    this.at = 0;
    this.cell = 0;
    this.marked = new Set();
    this.decided = new Set(); // sent, and perhaps not yet written
    this.left = new Set(); // exceptions: they stay in the queue for a look one by one
  }

  get isOpen() {
    return !this.element.hidden;
  }

  async open(entry) {
    this.element.hidden = false;
    this.left.clear();
    await this.#loadGroups();
    const same = this.groups.findIndex((g) => entry && g.kind === entry.kind && g.given === entry.given && g.suggested === entry.suggested);
    await this.go(Math.max(same, 0));
  }

  close() {
    this.element.hidden = true;
  }

  async reload() {
    await this.#loadGroups();
    await this.go(Math.min(this.at, Math.max(this.groups.length - 1, 0)));
  }

  async #loadGroups() {
    const answer = await get("api/groups");
    if (answer) this.groups = answer.groups;
  }

  async go(index) {
    this.at = index;
    this.entries = [];
    this.marked.clear();
    this.cell = 0;
    this.started = performance.now();
    const group = this.groups[index];
    if (group) {
      const answer = await post("api/group", { like: group.like, count: SHOWN, without: [...this.decided, ...this.left] });
      if (answer.data && this.groups[this.at] === group) this.entries = answer.data.entries;
    }
    this.#draw();
  }

  step(by) {
    const next = this.at + by;
    if (next >= 0 && next < this.groups.length) this.go(next);
  }

  move(dx, dy) {
    const columns = getComputedStyle(this.cells).gridTemplateColumns.split(" ").length;
    const next = this.cell + dx + dy * columns;
    if (next < 0 || next >= this.entries.length) return;
    this.cell = next;
    this.#focus();
  }

  mark(index = this.cell) {
    const entry = this.entries[index];
    if (!entry) return;
    this.cell = index;
    if (!this.marked.delete(entry.key)) this.marked.add(entry.key);
    this.#draw();
    say(this.marked.has(entry.key) ? "exception" : "no exception");
  }

  // Decide all but the exceptions, as one act.
  decide(action) {
    const chosen = this.entries.filter((entry) => !this.marked.has(entry.key) && (action !== "accept" || entry.acceptable));
    for (const entry of this.entries) if (this.marked.has(entry.key)) this.left.add(entry.key);
    if (chosen.length) {
      const batch = newId();
      const seconds = (performance.now() - this.started) / 1000 / chosen.length;
      const events = chosen.map((entry) => ({ id: newId(), key: entry.key, action, batch, seconds }));
      for (const entry of chosen) this.decided.add(entry.key);
      this.outbox.send("api/decide", { events });
      const left = this.marked.size ? `, ${plural(this.marked.size, "exception")} left for later` : "";
      notify(`${plural(chosen.length, "item")} ${action === "accept" ? "accepted" : "kept"}${left}. ${this.keyboard.first("undo")} undoes it.`);
    }
    const group = this.groups[this.at];
    group.count -= chosen.length;
    const rest = group.count - [...this.left].filter((key) => this.entries.some((entry) => entry.key === key)).length;
    this.go(rest > 0 || this.at + 1 >= this.groups.length ? this.at : this.at + 1);
  }

  undone(keys) {
    for (const key of keys) this.decided.delete(key);
  }

  #focus() {
    const cells = [...this.cells.children];
    for (const [i, cell] of cells.entries()) cell.tabIndex = i === this.cell ? 0 : -1;
    cells[this.cell]?.focus();
    cells[this.cell]?.scrollIntoView({ block: "nearest" });
  }

  #draw() {
    const group = this.groups[this.at];
    const key = (action) => el("kbd", { "aria-hidden": "true" }, this.keyboard.first(action));
    this.cells = el("ul", { class: `cells-grid${this.entries.length <= 15 ? " few" : ""}`, role: "listbox", "aria-multiselectable": "true", "aria-label": "Items; chosen ones are exceptions" },
      ...this.entries.map((entry, i) => this.#cell(entry, i)));
    const rest = this.entries.filter(({ key: one }) => !this.marked.has(one));
    const taken = rest.filter(({ acceptable }) => acceptable).length;
    this.element.replaceChildren(
      el("div", { class: "groups" },
        el("h2", {}, "Groups"),
        el("ul", {}, ...this.groups.map((one, i) => el("li", {}, el("button", {
          type: "button", "aria-current": i === this.at ? "true" : null, onclick: () => this.go(i),
        }, el("span", { class: "pair" }, pairOf(one), el("small", {}, KINDS[one.kind])), el("i", {}, one.count.toLocaleString("en"))))))),
      el("div", { class: "many" },
        el("div", { class: "head" },
          el("h2", {}, ...(group ? [pairOf(group), " ", el("small", {}, KINDS[group.kind])] : ["Nothing left to decide"])),
          el("p", {}, `${plural(this.entries.length, "item")} shown`, this.marked.size ? `, ${plural(this.marked.size, "exception")}` : "", ". Mark what differs from the rest, then decide all others at once."),
          group && el("div", { class: "decide" },
            el("button", { type: "button", class: "main", disabled: !taken, onclick: () => this.does.act("accept") }, el("span", {}, `Accept ${taken}`), key("accept")),
            el("button", { type: "button", class: "second", disabled: !rest.length, onclick: () => this.does.act("keep") }, el("span", {}, `Keep ${rest.length} as given`), key("keep")),
            el("button", { type: "button", class: "plain", onclick: () => this.does.act("mark") }, el("span", {}, "Mark"), key("mark")),
            el("button", { type: "button", class: "plain", onclick: () => this.does.act("grid") }, el("span", {}, "Leave the grid"), key("grid")))),
        this.cells));
    this.element.querySelector(".groups [aria-current]")?.scrollIntoView({ block: "nearest" });
    if (this.entries.length) this.#focus();
  }

  #cell(entry, i) {
    const marked = this.marked.has(entry.key);
    return el("li", {
      role: "option", tabindex: i === this.cell ? "0" : "-1", "aria-selected": String(marked), class: marked ? "marked" : null,
      "aria-label": `${entry.name}${marked ? ", exception" : ""}`, title: `${entry.name}\n${entry.evidence}`,
      onclick: () => this.mark(i), ondblclick: () => this.does.open(entry),
    },
    entry.thumbnail ? el("img", { src: entry.thumbnail, alt: "", loading: "lazy", draggable: "false" }) : null,
    entry.region ? drawn(entry) : null,
    entry.thumbnail ? null : el("span", { class: "text" }, (entry.cells ?? []).map(([column, value]) => `${column}: ${value}`).join("\n") || entry.name),
    el("b", { "aria-hidden": "true" }, "✕"));
  }
}

// The boxes on a thumbnail: both are fitted into the cell in the same way.
function drawn({ region: [x1, y1, x2, y2], given_box: given, suggested_box: suggested }) {
  const rect = ([a, b, c, d], kind) => svg("rect", { class: kind, x: a, y: b, width: c - a, height: d - b });
  return svg("svg", { class: "box", viewBox: `${x1} ${y1} ${x2 - x1} ${y2 - y1}`, "aria-hidden": "true" },
    ...[given && rect(given, "casing"), given && rect(given, "line on-given"), suggested && rect(suggested, "casing"), suggested && rect(suggested, "line on-better")]);
}

function pairOf({ given, suggested }) {
  const parts = [];
  if (given !== null) parts.push(el("span", { class: "is-given" }, nameOf(given)));
  if (given !== null && suggested !== null && given !== suggested) parts.push(" → ");
  if (suggested !== null && suggested !== given) parts.push(el("span", { class: "is-better" }, nameOf(suggested)));
  return el("span", { class: "names" }, ...parts);
}
