// The picture, and the boxes on it. Coordinates of boxes are pixels of the image; `view` says which
// of them lies at the stage's top left corner, and how many pixels of the screen one takes.

import { el, svg } from "./dom.js";

const LARGEST_SCALE = 12; // a small image is not blown up further by itself
const CLOSEST = 60; // but a person may
const HANDLES = [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]];
const REACH = { mouse: 9, pen: 14, touch: 24 }; // how near to a handle is on it
const MARGIN = 12;
const SMALLEST = 1;

export class Stage {
  // hooks: choose(id), commit(id, box), draw(box), changed()
  constructor(element, hooks) {
    this.element = element;
    this.hooks = hooks;
    this.holder = el("div", { class: "holder" });
    this.patch = el("img", { class: "patch", alt: "", hidden: true });
    this.overlay = svg("svg", { class: "overlay", role: "group", "aria-label": "Boxes" });
    this.words = el("p", { class: "words", hidden: true });
    this.corner = el("div", { class: "corner" });
    this.element.append(this.holder, this.overlay, this.words, this.corner);
    this.view = { x: 0, y: 0, scale: 1 };
    this.size = [1, 1];
    this.boxes = [];
    this.chosen = null;
    this.editing = false;
    this.drawing = false;
    this.part = "all";
    this.pointers = new Map();
    this.room = [element.clientWidth, element.clientHeight]; // asking each time would cost a layout
    this.shown = { overlays: true, predictions: false };
    this.#listen();
  }

  // ---- what is shown

  async show(entry, image, boxes, focus, chosen) {
    this.settle();
    this.entry = entry;
    this.boxes = boxes;
    this.chosen = chosen;
    this.editing = this.drawing = false;
    this.#drop();
    this.words.hidden = true;
    if (image && !(image.complete && image.naturalWidth)) {
      this.holder.replaceChildren();
      this.overlay.replaceChildren();
      this.element.classList.add("waiting");
      await image.ready;
      if (this.entry !== entry) return;
    }
    this.element.classList.remove("waiting");
    this.image = image;
    if (!image?.naturalWidth) {
      this.holder.replaceChildren();
      this.size = [entry.picture?.width || 1, entry.picture?.height || 1];
      this.words.hidden = false;
      this.words.textContent = image ? "This image cannot be shown: it is gone or broken, or the server is." : "";
    } else {
      const { width, height } = entry.picture;
      this.size = width && height ? [width, height] : [image.naturalWidth, image.naturalHeight];
      this.holder.replaceChildren(image, this.patch);
    }
    this.fit();
    if (focus && this.#onScreen(focus) < 34) this.zoomTo(focus, 0.22);
  }

  get isWaiting() {
    return this.element.classList.contains("waiting");
  }

  get isBroken() {
    return Boolean(this.image && !this.image.naturalWidth);
  }

  setBoxes(boxes) {
    const draft = this.boxes.find((box) => box.id === this.draft?.id);
    this.boxes = boxes;
    if (draft) this.#boxOf(draft.id) && (this.#boxOf(draft.id).box = draft.box);
    if (!this.#boxOf(this.chosen)) this.chosen = null;
    this.render();
  }

  choose(id, editing = false) {
    if (id !== this.chosen) this.settle();
    this.chosen = id;
    this.part = "all";
    this.editing = editing && this.#boxOf(id)?.editable === true;
    this.render();
  }

  #boxOf(id) {
    return this.boxes.find((box) => box.id === id);
  }

  // ---- zoom and pan

  #onScreen([x1, y1, x2, y2]) {
    return Math.max(x2 - x1, y2 - y1) * this.view.scale;
  }

  fit() {
    const [w, h] = this.room;
    const scale = Math.min((w - 2 * MARGIN) / this.size[0], (h - 2 * MARGIN) / this.size[1], LARGEST_SCALE);
    this.#see(this.size[0] / 2, this.size[1] / 2, scale);
    this.fitted = true;
  }

  // Show a box so that it takes a share of the stage.
  zoomTo([x1, y1, x2, y2], share) {
    const [w, h] = this.room;
    const scale = Math.min((w * share) / (x2 - x1), (h * share) / (y2 - y1), CLOSEST);
    this.#see((x1 + x2) / 2, (y1 + y2) / 2, scale);
    this.fitted = false;
  }

  toggleZoom(box) {
    if (this.fitted && box) this.zoomTo(box, 0.5);
    else this.fit();
  }

  zoomBy(factor, x = this.room[0] / 2, y = this.room[1] / 2) {
    const { view } = this;
    const least = 0.5 * Math.min(this.room[0] / this.size[0], this.room[1] / this.size[1], 1);
    const scale = Math.min(Math.max(view.scale * factor, least), CLOSEST);
    const [px, py] = [view.x + x / view.scale, view.y + y / view.scale];
    this.view = { x: px - x / scale, y: py - y / scale, scale };
    this.fitted = false;
    this.render();
  }

  #see(x, y, scale) {
    const [w, h] = this.room;
    this.view = { x: x - w / 2 / scale, y: y - h / 2 / scale, scale };
    this.render();
  }

  #toImage(event) {
    const { left, top } = this.element.getBoundingClientRect();
    const { x, y, scale } = this.view;
    return [x + (event.clientX - left) / scale, y + (event.clientY - top) / scale];
  }

  #toScreen([x1, y1, x2, y2]) {
    const { x, y, scale } = this.view;
    return [(x1 - x) * scale, (y1 - y) * scale, (x2 - x) * scale, (y2 - y) * scale];
  }

  // ---- drawing

  render() {
    const { x, y, scale } = this.view;
    const [w, h] = this.size;
    if (this.image?.naturalWidth) {
      place(this.image, -x * scale, -y * scale, w * scale, h * scale);
      this.#sharpen();
    }
    this.overlay.replaceChildren();
    this.element.classList.toggle("drawing", this.drawing);
    if (!this.shown.overlays) return;
    const order = { prediction: 0, given: 1, added: 2, suggested: 3, issue: 4 };
    const visible = this.boxes
      .filter((box) => box.role !== "prediction" || this.shown.predictions)
      .sort((a, b) => order[a.role] - order[b.role] || (a.id === this.chosen) - (b.id === this.chosen));
    const few = visible.length <= 25;
    for (const box of visible) this.overlay.append(this.#draw(box, few));
    const chosen = this.#boxOf(this.chosen);
    if (this.editing && chosen) this.overlay.append(this.#handles(chosen));
    if (this.drag?.kind === "draw" && this.drag.box) {
      this.overlay.append(this.#draw({ id: "new", role: "added", text: "", box: this.drag.box }, true));
    }
  }

  #draw(box, few) {
    const [x1, y1, x2, y2] = this.#toScreen(box.box);
    const at = { x: x1, y: y1, width: Math.max(x2 - x1, 1), height: Math.max(y2 - y1, 1) };
    const isChosen = box.id === this.chosen;
    const group = svg("g", { class: `box ${box.role}${isChosen ? " chosen" : ""}${box.gone ? " gone" : ""}` });
    group.append(svg("rect", { class: "casing", ...at }), svg("rect", { class: "line", ...at }));
    if (box.gone) group.append(svg("path", { class: "line", d: `M${x1} ${y1}L${x2} ${y2}M${x2} ${y1}L${x1} ${y2}` }));
    const important = box.role === "issue" || box.role === "suggested" || isChosen;
    if (box.text && (important || (few && x2 - x1 > 28))) {
      const ty = { suggested: Math.min(y2 + 15, this.room[1] - 5), prediction: y2 - 4 }[box.role] ?? Math.max(y1 - 5, 13);
      const tx = box.role === "prediction" ? x1 + 4 : Math.max(x1, 4);
      group.append(svg("text", { x: tx, y: ty }, box.text));
    }
    return group;
  }

  #handles(box) {
    const [x1, y1, x2, y2] = this.#toScreen(box.box);
    const group = svg("g", { class: "handles" });
    for (const [fx, fy] of HANDLES) {
      const lit = (this.part === "first" && !fx && !fy) || (this.part === "last" && fx === 1 && fy === 1);
      const [cx, cy] = [x1 + fx * (x2 - x1), y1 + fy * (y2 - y1)];
      group.append(svg("rect", { x: cx - 5, y: cy - 5, width: 10, height: 10, class: lit ? "lit" : null }));
    }
    return group;
  }

  // Where the picture has fewer pixels than the screen shows, fetch that part of the image itself.
  #sharpen() {
    clearTimeout(this.sharpening);
    this.patch.hidden = true;
    const dense = this.image.naturalWidth / this.size[0];
    const wanted = this.view.scale * devicePixelRatio;
    if (dense >= 0.99 || wanted < 1.15 * dense) return;
    this.sharpening = setTimeout(() => this.#fetchPatch(), 140);
  }

  async #fetchPatch() {
    const { x, y, scale } = this.view;
    const [w, h] = this.room;
    const x1 = Math.max(0, Math.floor(x)), y1 = Math.max(0, Math.floor(y));
    const x2 = Math.min(this.size[0], Math.ceil(x + w / scale));
    const y2 = Math.min(this.size[1], Math.ceil(y + h / scale));
    if (x1 >= x2 || y1 >= y2) return;
    const size = Math.min(4096, Math.ceil(Math.max(x2 - x1, y2 - y1) * Math.min(1, scale * devicePixelRatio)));
    const view = this.view;
    const patch = el("img", { class: "patch", alt: "", src: `crop/${this.entry.picture.row}?box=${x1},${y1},${x2},${y2}&size=${size}` });
    try {
      await patch.decode();
    } catch {
      return;
    }
    if (view !== this.view) return;
    this.patch.replaceWith(patch);
    this.patch = patch;
    place(patch, (x1 - x) * scale, (y1 - y) * scale, (x2 - x1) * scale, (y2 - y1) * scale);
  }

  // ---- editing

  // Move by pixels of the image: the box, or its first or last corner.
  nudge(dx, dy) {
    const box = this.#boxOf(this.chosen);
    if (!box || !this.editing) return false;
    const [x1, y1, x2, y2] = box.box;
    const moved = {
      all: [x1 + dx, y1 + dy, x2 + dx, y2 + dy],
      first: [x1 + dx, y1 + dy, x2, y2],
      last: [x1, y1, x2 + dx, y2 + dy],
    }[this.part];
    this.#reshape(box, moved, this.part === "all");
    this.draft = { id: box.id };
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.settle(), 600);
    this.render();
    return true;
  }

  nextPart() {
    this.part = { all: "first", first: "last", last: "all" }[this.part];
    this.render();
    return { all: "the box", first: "its first corner", last: "its last corner" }[this.part];
  }

  // Hand over what was changed by keys.
  settle() {
    clearTimeout(this.settling);
    const box = this.draft && this.#boxOf(this.draft.id);
    this.draft = null;
    if (box) this.hooks.commit(box.id, box.box);
  }

  #reshape(box, [x1, y1, x2, y2], whole) {
    const [w, h] = this.size;
    if (whole) {
      const [bw, bh] = [x2 - x1, y2 - y1];
      x1 = clamp(x1, Math.min(0, box.box[0]), Math.max(w, box.box[2]) - bw);
      y1 = clamp(y1, Math.min(0, box.box[1]), Math.max(h, box.box[3]) - bh);
      box.box = [x1, y1, x1 + bw, y1 + bh];
      return;
    }
    [x1, x2] = [clamp(Math.min(x1, x2), 0, w), clamp(Math.max(x1, x2), 0, w)];
    [y1, y2] = [clamp(Math.min(y1, y2), 0, h), clamp(Math.max(y1, y2), 0, h)];
    if (x2 - x1 >= SMALLEST && y2 - y1 >= SMALLEST) box.box = [x1, y1, x2, y2];
  }

  // A box in the middle of what is seen, for whoever draws by keys.
  placeNew() {
    const { x, y, scale } = this.view;
    const [w, h] = this.room.map((length) => length / scale);
    const side = Math.min(w, h) / 4;
    const [cx, cy] = [clamp(x + w / 2, 0, this.size[0]), clamp(y + h / 2, 0, this.size[1])];
    const box = { box: [0, 0, 1, 1] };
    this.#reshape(box, [cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2].map(Math.round), false);
    this.draw(false);
    this.hooks.draw(box.box);
  }

  draw(on) {
    this.settle();
    this.drawing = on;
    if (on) this.editing = false;
    this.render();
  }

  #listen() {
    const target = this.overlay;
    target.addEventListener("pointerdown", (event) => this.#down(event));
    target.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      target.addEventListener(end, (event) => this.#up(event, end === "pointercancel"));
    }
    target.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { left, top } = this.element.getBoundingClientRect();
      const notch = event.deltaMode === 1 ? 16 : 1;
      this.zoomBy(Math.exp(-event.deltaY * notch * 0.0016), event.clientX - left, event.clientY - top);
    }, { passive: false });
    target.addEventListener("dblclick", () => this.toggleZoom(this.#boxOf(this.chosen)?.box));
    new ResizeObserver(([{ contentRect: { width, height } }]) => {
      if (!width || !height) return; // hidden
      this.room = [width, height];
      if (this.fitted === false) this.render();
      else this.fit();
    }).observe(this.element);
  }

  #down(event) {
    if (event.button > 1) return;
    this.overlay.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    const at = this.#toImage(event);
    if (this.pointers.size === 2) {
      this.#drop();
      return;
    }
    if (event.button === 1) {
      this.drag = { kind: "pan", at };
    } else if (this.drawing) {
      this.drag = { kind: "draw", at };
    } else {
      this.drag = this.#grab(event, at) ?? { kind: "pan", at };
    }
  }

  // What a pointer takes hold of: a handle of the chosen box, the box itself, or another box.
  #grab(event, at) {
    if (!this.shown.overlays) return null;
    const chosen = this.#boxOf(this.chosen);
    if (chosen && this.editing) {
      const [x1, y1, x2, y2] = chosen.box;
      const reach = (REACH[event.pointerType] ?? REACH.mouse) / this.view.scale;
      const near = HANDLES.map(([fx, fy]) => Math.hypot(x1 + fx * (x2 - x1) - at[0], y1 + fy * (y2 - y1) - at[1]));
      const best = near.indexOf(Math.min(...near));
      if (near[best] <= reach) return { kind: "resize", at, handle: HANDLES[best], from: chosen.box, box: chosen };
    }
    const under = this.boxes
      .filter((box) => box.role !== "prediction" && box.id !== "suggestion" && contains(box.box, at, 4 / this.view.scale))
      .sort((a, b) => area(a.box) - area(b.box));
    if (chosen && this.editing && under.includes(chosen)) {
      return { kind: "move", at, from: chosen.box, box: chosen, under };
    }
    return under.length ? { kind: "pick", at, under } : null;
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.#hover(event);
      return;
    }
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      this.#pinch(before, event);
      return;
    }
    const { drag } = this;
    if (!drag) return;
    const at = this.#toImage(event);
    const [dx, dy] = [at[0] - drag.at[0], at[1] - drag.at[1]];
    if (!drag.moved && Math.hypot(dx, dy) * this.view.scale < 3) return;
    drag.moved = true;
    if (drag.kind === "pan" || drag.kind === "pick") {
      this.view = { ...this.view, x: this.view.x - dx, y: this.view.y - dy };
      this.fitted = false;
    } else if (drag.kind === "draw") {
      drag.box = this.#round(this.#inside([...drag.at, ...at]));
    } else {
      this.#edit(drag, dx, dy);
    }
    this.render();
  }

  #edit({ kind, from, handle, box }, dx, dy) {
    const [x1, y1, x2, y2] = from;
    if (kind === "move") {
      this.#reshape(box, [x1 + Math.round(dx), y1 + Math.round(dy), x2 + Math.round(dx), y2 + Math.round(dy)], true);
      return;
    }
    const [fx, fy] = handle;
    this.#reshape(box, [
      fx === 0 ? Math.round(x1 + dx) : x1,
      fy === 0 ? Math.round(y1 + dy) : y1,
      fx === 1 ? Math.round(x2 + dx) : x2,
      fy === 1 ? Math.round(y2 + dy) : y2,
    ], false);
  }

  #inside([xa, ya, xb, yb]) {
    const [w, h] = this.size;
    const [x1, x2] = [clamp(Math.min(xa, xb), 0, w), clamp(Math.max(xa, xb), 0, w)];
    const [y1, y2] = [clamp(Math.min(ya, yb), 0, h), clamp(Math.max(ya, yb), 0, h)];
    return [x1, y1, x2, y2];
  }

  #round([x1, y1, x2, y2]) {
    return [Math.floor(x1), Math.floor(y1), Math.min(Math.ceil(x2), this.size[0]), Math.min(Math.ceil(y2), this.size[1])];
  }

  #up(event, cancelled) {
    this.pointers.delete(event.pointerId);
    const { drag } = this;
    this.drag = null;
    if (!drag || cancelled) {
      if (drag?.from) drag.box.box = drag.from;
      this.render();
      return;
    }
    if (drag.kind === "draw") {
      const box = drag.box;
      if (box && box[2] - box[0] >= 2 && box[3] - box[1] >= 2) {
        this.draw(false);
        this.hooks.draw(box);
      }
    } else if (drag.moved && drag.from) {
      this.draft = null;
      this.hooks.commit(drag.box.id, drag.box.box);
    } else if (!drag.moved && drag.under) {
      // A further click on the same place goes through the boxes that lie on each other there.
      const at = drag.under.findIndex((box) => box.id === this.chosen);
      const next = at >= 0 && !this.editing ? at : (at + 1) % drag.under.length;
      this.hooks.choose(drag.under[next].id, true);
    } else if (!drag.moved && drag.kind === "pan") {
      this.hooks.choose(null, false);
    }
    this.render();
  }

  #pinch(before, event) {
    const [a, b] = [...this.pointers.values()];
    const other = a === event ? b : a;
    const { left, top } = this.element.getBoundingClientRect();
    const far = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
    const { scale } = this.view;
    this.view = {
      ...this.view,
      x: this.view.x - (event.clientX - before.clientX) / 2 / scale,
      y: this.view.y - (event.clientY - before.clientY) / 2 / scale,
    };
    const middle = [(event.clientX + other.clientX) / 2 - left, (event.clientY + other.clientY) / 2 - top];
    this.zoomBy(far(event) / far(before), ...middle);
  }

  #hover(event) {
    if (event.pointerType !== "mouse" || this.drawing) return;
    const held = this.#grab(event, this.#toImage(event));
    const cursors = { pick: "pointer", move: "move" };
    this.overlay.style.cursor = held?.kind === "resize" ? cursorOf(held.handle) : (cursors[held?.kind] ?? "grab");
  }

  #drop() {
    if (this.drag?.from) this.drag.box.box = this.drag.from;
    this.drag = null;
  }
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);

function contains([x1, y1, x2, y2], [x, y], slack) {
  return x >= x1 - slack && x <= x2 + slack && y >= y1 - slack && y <= y2 + slack;
}

function cursorOf([fx, fy]) {
  if (fx === 0.5) return "ns-resize";
  if (fy === 0.5) return "ew-resize";
  return fx === fy ? "nwse-resize" : "nesw-resize";
}

function place(image, x, y, width, height) {
  Object.assign(image.style, {
    transform: `translate(${x}px, ${y}px)`, width: `${width}px`, height: `${height}px`,
  });
  image.hidden = false;
}
