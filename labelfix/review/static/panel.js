// What stands beside the picture: labels, evidence, what can be done, and what looks alike.

import { el } from "./dom.js";
import { acceptWords, keepWords, KINDS, nameOf, PENDING, percent, stateWords } from "./words.js";

export class Panel {
  // act(action), setClass(label), choose(subject), isSettled(entry): whether Enter only goes on
  constructor(element, keyboard, does) {
    this.element = element;
    this.keyboard = keyboard;
    this.does = does;
  }

  render(entry, { numbered, boxes, chosen, position }) {
    const isBoxes = entry.of === "boxes";
    this.element.replaceChildren(
      this.#where(entry, position),
      this.#labels(entry),
      el("p", { class: "evidence" }, entry.evidence),
      this.#decide(entry),
      this.#more(entry, isBoxes),
      this.#classes(entry, numbered, boxes, chosen),
      isBoxes ? this.#boxes(boxes, chosen) : entry.picture ? this.#alike(entry) : "",
    );
    const at = this.element.querySelector(".boxes [aria-selected=true]");
    if (at) at.parentElement.scrollTop = at.offsetTop - at.parentElement.clientHeight / 2; // the list alone moves
  }

  renderEnd(progress) {
    const shownNow = [
      el("h2", {}, "Nothing left to decide"),
      el("p", { class: "evidence" },
        `${progress.decided.toLocaleString("en")} decided, ${progress.errors.toLocaleString("en")} found to be errors. `,
        progress.skipped ? `${progress.skipped.toLocaleString("en")} were skipped.` : "Going back with the arrow keys still works."),
      progress.skipped && this.#button("first_open", "Go through what was skipped", { class: "main" }),
      this.#button("previous", "Back"),
    ];
    this.element.replaceChildren(...shownNow.filter(Boolean));
  }

  // What changes the view alone, for a corner of the picture.
  tools(isBoxes) {
    const tools = [["zoom_out", "−", "Zoom out"], ["zoom_in", "+", "Zoom in"], ["zoom_fit", "Zoom"]];
    if (isBoxes) tools.push(["overlays", "Boxes"], ["predictions", "Detector"], ["before", "As given"]);
    return el("div", { class: "tools", role: "toolbar", "aria-label": "View" },
      ...tools.map(([action, text, says]) => this.#button(action, text, { "data-view": action, "aria-label": says })));
  }

  // A button that says its key.
  #button(action, text, props = {}) {
    const key = this.keyboard.first(action);
    return el("button", {
      type: "button", onclick: () => this.does.act(action), "aria-keyshortcuts": this.keyboard.keys[action].join(" "), ...props,
    }, el("span", {}, text), key && el("kbd", { "aria-hidden": "true" }, key));
  }

  #where(entry, position) {
    return el("div", { class: "where" },
      el("div", {},
        el("span", { class: "kind" }, KINDS[entry.kind] ?? entry.kind),
        el("span", { class: "path", title: entry.name }, el("bdi", {}, entry.name))),
      el("div", { class: "steps", title: position },
        this.#button("previous", "←", { "aria-label": "Previous", class: "bare" }),
        this.#button("next", "→", { "aria-label": "Next", class: "bare" })));
  }

  #labels(entry) {
    const given = entry.given === null ? null : el("span", { class: "given" }, el("small", {}, "given"), el("b", {}, nameOf(entry.given)));
    const other = entry.suggested !== null && entry.suggested !== entry.given;
    const better = other && entry.kind !== "none_of_the_classes"
      ? el("span", { class: "better" }, el("small", {}, entry.kind === "multi_label" ? "also" : "suggested"), el("b", {}, nameOf(entry.suggested)))
      : null;
    return el("h2", { class: "labels" }, given, better);
  }

  #decide(entry) {
    const forward = this.does.isSettled(entry) ? "Next" : entry.acceptable && acceptWords(entry);
    return el("div", { class: "decide" },
      forward && this.#button("accept", forward, { class: "main" }),
      this.#button("keep", keepWords(entry), { class: forward ? "second" : "main" }));
  }

  #more(entry, isBoxes) {
    const tools = isBoxes
      ? [["edit", "Edit"], ["new", "New"], ["delete", "Delete"], ["group", "Group"], ["ignore", "Ignore"]]
      : [["several", "Several"], ["none", "None"]];
    return el("div", { class: "more" },
      ...[["skip", "Skip"], ["flag", "Flag"], ...tools].map(([action, text]) => this.#button(action, text)));
  }

  #classes(entry, numbered, boxes, chosen) {
    const box = boxes.find(({ id }) => id === chosen);
    const now = box ? box.label : entry.state?.label ?? (entry.state?.outcome === "kept" ? entry.given : null);
    const share = new Map(entry.candidates);
    const item = ([number, label]) => el("li", {},
      el("button", {
        type: "button", onclick: () => this.does.setClass(label), "aria-pressed": String(now === label), title: nameOf(label),
        class: label === entry.given ? "is-given" : label === entry.suggested ? "is-better" : null,
      },
      el("kbd", {}, this.keyboard.first(`class_${number}`)),
      el("span", {}, nameOf(label)),
      share.has(label) ? el("i", {}, percent(share.get(label))) : null));
    return el("div", { class: "classes" },
      el("ol", {}, ...numbered.map(item)),
      this.#button("search", "Any class…", { class: "any" }));
  }

  #boxes(boxes, chosen) {
    const listed = boxes.filter(({ role }) => role !== "prediction" && role !== "suggested");
    return el("div", { class: "boxes" },
      el("h3", {}, `Boxes (${listed.length})`),
      el("ul", { role: "listbox", "aria-label": "Boxes" }, ...listed.map((box) => el("li", {
        role: "option", tabindex: "0", "aria-selected": String(box.id === chosen), class: `${{ issue: "own", added: "new" }[box.role] ?? ""}${box.gone ? " gone" : ""}`,
        onclick: () => this.does.choose(box.id),
        onkeydown: (event) => event.key === "Enter" && this.does.choose(box.id),
      }, box.text || nameOf(box.label), box.note && el("i", {}, box.note)))));
  }

  #alike(entry) {
    return el("div", { class: "alike" }, ...entry.alike.map(({ title, items }) => el("section", {},
      el("h3", {}, title),
      el("ul", {}, ...items.map((item) => el("li", { title: item.name },
        item.row === null ? null : el("img", { src: `picture/${item.row}?size=160`, alt: "", draggable: "false", onerror: hide }),
        el("span", { class: item.label === entry.given ? "is-given" : item.label === entry.suggested ? "is-better" : null }, nameOf(item.label))))))));
  }
}

function hide({ target }) {
  target.style.visibility = "hidden";
}

// What was decided, for the corner of the picture: it moves nothing on the panel.
export function verdict(entry) {
  if (entry.pending) return el("p", { class: "state saving" }, `${PENDING[entry.pending]} – saving…`);
  return entry.state && el("p", { class: `state ${entry.state.outcome}` }, stateWords(entry));
}

// The cells of a table's row, where there is no image, beside those of what is like it.
export function cells(entry) {
  const like = entry.alike.flatMap(({ items }) => items);
  const name = (label) => el("th", { scope: "col", class: label === entry.given ? "is-given" : label === entry.suggested ? "is-better" : null }, nameOf(label));
  return el("table", { class: "cells" },
    el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, "this"), ...like.map(({ label }) => name(label)))),
    el("tbody", {}, ...entry.cells.map(([column, value], i) => el("tr", {},
      el("th", { scope: "row" }, column), el("td", { class: "this" }, value), ...like.map((item) => el("td", {}, item.cells[i]?.[1]))))));
}
