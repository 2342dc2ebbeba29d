// The review app: what is on the screen, and what keys and buttons do.

import { byId, el, newId, notify, plural, say, storage } from "./dom.js";
import { Grid } from "./grid.js";
import { Keyboard, keyOf, shown } from "./keys.js";
import { ask, get, Outbox } from "./outbox.js";
import { cells, Panel, verdict } from "./panel.js";
import { Queue } from "./queue.js";
import { Search } from "./search.js";
import { Stage } from "./stage.js";
import { acceptWords, actWords, nameOf, setClasses } from "./words.js";

const boot = JSON.parse(byId("boot").textContent);
const isBoxes = boot.run.of === "boxes";
const EDITS = new Set(["set_label", "set_box", "add_box", "delete", "mark"]);
const POLL = 4000;

setClasses(boot.classes);

let progress = boot.page.progress;
let version = boot.page.version;
let since = performance.now(); // when the reviewer began to look
let before = false; // the boxes as they were given
let newest = null; // class of the last new box

const keyboard = new Keyboard(boot.actions, boot.keys, () => (grid.isOpen ? "grid" : stage.editing || stage.drawing ? "box" : "item"), act);
const stage = new Stage(byId("stage"), { choose, commit, draw });
const panel = new Panel(byId("panel"), keyboard, { act, setClass, isSettled, choose: (id) => choose(id, false) });
const search = new Search(boot.classes);
const outbox = new Outbox(boot.run.id, { change: showSaved, done, refused });
const grid = new Grid(keyboard, outbox, { act, open: leaveGridFor });
const queue = new Queue(boot.page, pictureSize, (answer) => {
  progress = answer.progress;
  showProgress();
});

// ---- what is on the screen

// Longest side of a picture that fills the stage: few different sizes, so that they are kept.
function pictureSize() {
  const wanted = Math.max(...stage.room) * devicePixelRatio;
  return [640, 960, 1280, 1600, 1920, 2560].find((size) => size >= wanted) ?? 3200;
}

let pressed = 0; // when the last key or button was
for (const kind of ["keydown", "pointerup"]) {
  addEventListener(kind, ({ timeStamp }) => (pressed = timeStamp), { capture: true });
}

let seen = null; // key of the last entry that a frame has shown
const isUnseen = () => stage.isWaiting || queue.current?.key !== seen;

// Note how long the next item took, from the key to the frame that shows it.
function measure(key) {
  const start = performance.now() - pressed < 1000 ? pressed : since;
  requestAnimationFrame(() => {
    seen = key;
    setTimeout(() => performance.measure("labelfix:shown", { start, detail: key }));
  });
}

async function show() {
  const entry = queue.current;
  if (!entry) {
    panel.renderEnd(progress);
    stage.show({ key: null, picture: null }, null, [], null, null);
    stage.corner.replaceChildren();
    return;
  }
  before = false;
  since = performance.now();
  const image = entry.picture ? queue.picture(entry) : null;
  const focus = focusOf(entry);
  byId("stage").setAttribute("aria-label", `Picture ${entry.name}`);
  const shownNow = stage.show(entry, image, boxesOf(entry), focus, isBoxes ? entry.subject : null);
  if (!entry.picture && entry.cells?.length) stage.holder.replaceChildren(cells(entry));
  render();
  await shownNow;
  if (queue.current?.key !== entry.key) return;
  measure(entry.key);
  setTimeout(() => {
    queue.prepare();
    if (queue.current === entry) history.replaceState(null, "", `#${entry.key}`); // for a reload
  });
  const words = entry.given === null ? "" : `given ${nameOf(entry.given)}, `;
  say(`${entry.name}: ${words}${entry.acceptable ? `suggestion: ${acceptWords(entry)}` : "no suggestion"}. ${entry.evidence}`);
}

function render() {
  const entry = queue.current;
  if (!entry) return;
  panel.render(entry, {
    numbered: numbered(entry), boxes: isBoxes ? boxesOf(entry) : [], chosen: stage.chosen,
    position: `${queue.index + 1} of those fetched so far`,
  });
  for (const [action, on] of [["overlays", stage.shown.overlays], ["predictions", stage.shown.predictions], ["before", before]]) {
    byId("stage").querySelector(`[data-view=${action}]`)?.setAttribute("aria-pressed", String(on));
  }
  const given = before && el("p", { class: "state skipped" }, "As it was given");
  stage.corner.replaceChildren(...[given || verdict(entry)].filter(Boolean));
}

function redraw() {
  if (!queue.current) return;
  stage.setBoxes(boxesOf(queue.current));
  render();
}

// Which number key is which class. Classes that are called by a digit have that digit.
function numbered(entry) {
  const names = boot.classes;
  if (names.length <= 10) {
    if (names.every((name) => /^[0-9]$/.test(name))) return names.map((name, label) => [name === "0" ? 10 : Number(name), label]);
    return names.map((_, label) => [label + 1, label]);
  }
  const likely = isBoxes ? boot.common : entry.candidates.map(([label]) => label);
  return likely.slice(0, 10).map((label, i) => [i + 1, label]);
}

// The part of the image that the issue is about.
function focusOf(entry) {
  const all = [entry.given_box, entry.suggested_box].filter(Boolean);
  if (!all.length) return null;
  const edge = (i, pick) => pick(...all.map((box) => box[i]));
  return [edge(0, Math.min), edge(1, Math.min), edge(2, Math.max), edge(3, Math.max)];
}

// The boxes to draw: as they are now, or as they were given.
function boxesOf(entry) {
  if (!isBoxes) return [];
  const list = [];
  const local = entry.local ?? new Map();
  for (const one of entry.boxes) {
    if (before && one.added) continue;
    const now = before ? {} : { ...one.now, ...local.get(one.subject) };
    const label = now.label ?? one.label;
    list.push({
      id: one.subject, label, box: [...(now.box ?? one.box)], gone: Boolean(now.gone), editable: !before && !now.gone,
      role: one.subject === entry.subject ? "issue" : one.added ? "added" : "given",
      text: nameOf(label), note: now.mark ?? (one.crowd ? "crowd" : null),
    });
  }
  for (const [subject, now] of local) {
    if (before || entry.boxes.some((one) => one.subject === subject)) continue;
    if (now.gone) continue;
    list.push({ id: subject, label: now.label, box: [...now.box], editable: true, role: subject === entry.subject ? "issue" : "added", text: nameOf(now.label) });
  }
  const proposed = entry.suggested_box;
  if (proposed && !before) {
    const isOwn = entry.kind === "missing";
    const known = list.some((box) => box.id === entry.subject);
    const changed = entry.state && entry.state.outcome !== "flagged" && entry.state.outcome !== "skipped";
    if (isOwn && !known) {
      const gone = entry.state?.outcome === "kept" || entry.pending === "keep";
      list.push({ id: entry.subject, label: entry.suggested, box: [...proposed], editable: true, gone, role: "suggested", text: `${nameOf(entry.suggested)}?` });
    } else if (!isOwn && !changed) {
      list.push({ id: "suggestion", label: entry.suggested, box: [...proposed], editable: false, role: "suggested", text: entry.suggested === entry.given ? "suggested" : nameOf(entry.suggested) });
    }
  }
  for (const [i, { label, score, box }] of entry.predictions.entries()) {
    list.push({ id: `prediction-${i}`, label, box, role: "prediction", text: `${nameOf(label)} ${score.toFixed(2).replace(/^0/, "")}` });
  }
  return list;
}

function showProgress() {
  const { decided, flagged, flagged_left: left, errors, total } = progress;
  const share = flagged ? (flagged - left) / flagged : decided / Math.max(total, 1);
  byId("progress").firstElementChild.style.transform = `scaleX(${share})`; // no layout, as a width would cost in each frame
  byId("progress").setAttribute("aria-valuemax", String(flagged || total));
  byId("progress").setAttribute("aria-valuenow", String(flagged ? flagged - left : decided));
  byId("counts").textContent = `${decided.toLocaleString("en")} decided · ${plural(errors, "error")} · ${left.toLocaleString("en")} flagged left`;
  byId("counts").title = `${flagged.toLocaleString("en")} flagged of ${total.toLocaleString("en")} in all`;
}

function showSaved() {
  const chip = byId("saved");
  const n = outbox.waiting.reduce((sum, { body }) => sum + (body.events?.length ?? 1), 0);
  chip.className = `saved ${outbox.trouble ? "trouble" : n ? "busy" : "fine"}`;
  if (outbox.trouble && n) chip.textContent = `Not saved: ${outbox.trouble}. ${plural(n, "decision")} kept here; tried again every few seconds`;
  else if (outbox.trouble) chip.textContent = `Nothing can be saved: ${outbox.trouble}; tried again every few seconds`;
  else chip.textContent = n ? "Saving…" : "Saved";
}

// ---- deciding

function spent() {
  const now = performance.now();
  const seconds = Math.max(0, (now - since) / 1000);
  since = now;
  return seconds;
}

let hiddenAt = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else since += performance.now() - hiddenAt; // nobody looks at a hidden page
});

function decide(action, more = {}) {
  const entry = queue.current;
  if (!entry) return;
  stage.settle();
  const event = { id: more.id ?? newId(), key: entry.key, action, seconds: spent(), ...more };
  if (!more.subject || more.subject === entry.subject) entry.pending = action;
  outbox.send("api/decide", { events: [event] });
}

function decideAndGo(action, more = {}) {
  if (isUnseen()) return; // nobody decides what nobody has seen
  decide(action, more);
  toOpen();
}

async function toOpen() {
  const next = queue.open();
  if (next >= 0) {
    queue.go(next);
    show();
    return;
  }
  const from = queue.current;
  if (await queue.more()) {
    if (queue.current === from || queue.current?.key === from?.key) toOpen();
  } else if (queue.ended) {
    queue.index = queue.entries.length;
    show();
  } else {
    notify("What comes next is with the server, which does not answer.");
  }
}

async function revisit() {
  await queue.revisit();
  toOpen();
}

// Whether it was accepted or changed already: what was decided is not decided again.
function isSettled(entry) {
  const last = entry.pending ?? entry.state?.action;
  return last === "accept" || (EDITS.has(last) && !openPart(entry));
}

// What of the suggestion is still open after the other part was changed: a box that was moved may
// still get the suggested class, and one of another class the suggested place.
function openPart(entry) {
  const given = entry.boxes?.find(({ subject }) => subject === entry.subject);
  if (!given) return null;
  const now = { ...given.now, ...entry.local?.get(entry.subject) };
  const isMoved = Boolean(now.box && now.box.some((edge, i) => edge !== given.box[i]));
  const isRenamed = (now.label ?? given.label) !== given.label;
  if (now.gone || now.mark) return null;
  if (entry.kind === "wrong_class" && isMoved && !isRenamed) return { action: "set_label", label: entry.suggested };
  if (entry.kind === "bad_location" && isRenamed && !isMoved) return { action: "set_box", box: entry.suggested_box };
  return null;
}

function accept() {
  const entry = queue.current;
  if (!entry) return;
  const editing = stage.editing || stage.drawing;
  stage.settle();
  if (isSettled(entry)) {
    toOpen();
  } else if (editing && !entry.pending) {
    stopEditing(); // nothing was changed, and nothing is decided in passing
  } else if (EDITS.has(entry.pending ?? entry.state?.action)) {
    const { action, ...what } = openPart(entry);
    decideAndGo(action, what);
  } else if (entry.acceptable) {
    decideAndGo("accept");
  } else {
    notify("Nothing is suggested here: keep what is given, or choose a class.");
  }
}

function setClass(label) {
  const entry = queue.current;
  if (!entry || label === undefined || isUnseen()) return;
  if (!isBoxes) {
    decideAndGo(label === entry.given ? "keep" : "set_label", label === entry.given ? {} : { label });
    return;
  }
  const subject = target();
  const box = stage.boxes.find(({ id }) => id === subject);
  if (!box || box.gone) return;
  if (box.role === "added") newest = label;
  if (box.label === label && entry.kind !== "missing") {
    if (subject === entry.subject && !isSettled(entry)) decideAndGo("keep");
    return;
  }
  change(subject, { label, box: box.box });
  decide("set_label", { subject, label });
  redraw();
}

// The box that an action is about: the chosen one, or that of the issue.
function target() {
  const id = stage.chosen ?? queue.current?.subject;
  return id === "suggestion" || id?.startsWith("prediction-") ? queue.current.subject : id;
}

// Show a change before the server has confirmed it; the panel says that it is being saved.
function change(subject, now) {
  const entry = queue.current;
  entry.local ??= new Map();
  entry.local.set(subject, { ...entry.local.get(subject), ...now });
}

function commit(id, box) {
  const entry = queue.current;
  const shownBox = stage.boxes.find((one) => one.id === id);
  change(id, { box: [...box], label: shownBox?.label });
  decide("set_box", { subject: id, box });
  redraw();
}

function draw(box) {
  const entry = queue.current;
  const label = newest ?? (entry.kind === "missing" ? entry.suggested : entry.given) ?? boot.common[0];
  const id = newId();
  change(id, { label, box: [...box] });
  decide("add_box", { id, subject: id, label, box });
  redraw();
  choose(id, true);
  notify(`New box: ${nameOf(label)}. ${keyboard.first("search")} or a number changes its class.`);
}

function erase() {
  if (isUnseen()) return;
  const subject = target();
  const box = stage.boxes.find(({ id }) => id === subject);
  if (!box || box.gone) return;
  change(subject, { gone: true });
  decide("delete", { subject });
  stage.choose(queue.current.subject);
  redraw();
}

function mark(kind, labels = []) {
  const subject = isBoxes ? target() : undefined;
  const own = !subject || subject === queue.current.subject;
  if (!own) change(subject, { mark: kind });
  (own ? decideAndGo : decide)("mark", { mark: kind, labels, ...(own ? {} : { subject }) });
  if (!own) redraw();
}

async function several() {
  const entry = queue.current;
  const first = [entry.given, entry.suggested].filter((label) => label !== null);
  const labels = await search.ask("Which classes are right?", entry.candidates.map(([label]) => label), first);
  if (labels.length && queue.current?.key === entry.key) mark("multi_label", labels);
}

async function anyClass() {
  const entry = queue.current;
  if (!entry) return;
  const likely = isBoxes ? boot.common : entry.candidates.map(([label]) => label);
  const [label] = await search.ask("Choose a class", [entry.suggested, ...likely].filter((one) => one !== null));
  if (label !== undefined && queue.current?.key === entry.key) setClass(label);
}

function choose(id, editing = false) {
  stage.choose(id, editing);
  render();
}

function cycle(by) {
  const boxes = stage.boxes.filter(({ role, id }) => role !== "prediction" && id !== "suggestion");
  if (!boxes.length) return;
  const at = boxes.findIndex(({ id }) => id === stage.chosen);
  const next = boxes[(at + by + boxes.length) % boxes.length];
  choose(next.id, stage.editing);
  say(`box ${boxes.indexOf(next) + 1} of ${boxes.length}, ${next.text}`);
}

function toggleEdit() {
  const id = stage.chosen ?? queue.current.subject;
  if (stage.editing || stage.drawing) {
    stopEditing();
  } else {
    choose(id, true);
    say("editing: arrows move the box");
  }
}

// ---- answers of the server

function done(request, answer) {
  progress = answer.progress;
  showProgress();
  if (request.path === "api/decide") {
    for (const entry of answer.entries) update(entry);
    grid.undone(request.body.events.map(({ key }) => key));
    return;
  }
  stepped(request, answer);
}

// Take fresh facts about an entry in, unless something newer is on its way.
function update(entry) {
  const index = queue.find(entry.key);
  if (index < 0 || outbox.concerns(entry.key)) return;
  queue.entries[index] = entry;
  if (index === queue.index && !grid.isOpen) redraw();
}

function stepped(request, answer) {
  const what = request.path.endsWith("undo") ? "undo" : "redo";
  if (!answer.touched.length) {
    if (!request.adopted) notify(`Nothing to ${what}.`);
    return;
  }
  for (const entry of answer.entries) update(entry);
  grid.undone(answer.touched);
  if (grid.isOpen) {
    grid.reload();
    return;
  }
  if (request.adopted) return;
  const isHere = ({ key, name }) => key === queue.current?.key || (isBoxes && name === queue.current?.name);
  if (answer.entries.some(isHere)) {
    refetch([queue.current.key]); // another box of the same image may be what changed
  } else if (answer.entries.length) {
    const index = queue.put(answer.entries[0]);
    queue.go(index);
    show();
  }
  notify(`${what === "undo" ? "Undone" : "Done again"}: ${actWords(answer.act)}.`);
}

function refused(request, reason) {
  notify(`Not taken: ${reason}`);
  for (const { key } of request.body.events ?? []) refetch([key]);
}

async function refetch(keys) {
  const answer = await get(`api/some?keys=${keys.map(encodeURIComponent).join(",")}`);
  for (const entry of answer?.entries ?? []) update(entry);
}

// What other tabs, or the command line, decided meanwhile.
async function poll() {
  const { data: answer, trouble } = await ask(`api/changes?since=${version}`);
  if (answer) {
    version = answer.version;
    progress = answer.progress;
    showProgress();
    const held = answer.keys.filter((key) => queue.find(key) >= 0 && !outbox.concerns(key));
    if (held.length) await refetch(held.slice(0, 50));
    if (outbox.trouble && stage.isBroken) show(); // its picture may be had again
  }
  if (!outbox.waiting.length) {
    outbox.trouble = trouble ?? "";
    showSaved();
  }
  setTimeout(poll, POLL);
}

// ---- keys and buttons

function act(action, event) {
  if (action.startsWith("class_")) {
    const number = Number(action.slice(6));
    const found = queue.current && numbered(queue.current).find(([n]) => n === number);
    if (found) setClass(found[1]);
    return undefined;
  }
  const nudge = /^(nudge|shift)_(left|right|up|down)$/.exec(action);
  if (nudge) {
    const far = nudge[1] === "shift" ? 10 : 1;
    const [dx, dy] = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] }[nudge[2]];
    if (stage.drawing) stage.placeNew();
    return stage.nudge(dx * far, dy * far);
  }
  return (grid.isOpen ? (IN_GRID[action] ?? ANYWHERE[action]) : (DO[action] ?? ANYWHERE[action]))?.(event);
}

const IN_GRID = {
  accept: () => grid.decide("accept"),
  keep: () => grid.decide("keep"),
  mark: () => grid.mark(),
  next_group: () => grid.step(1),
  previous_group: () => grid.step(-1),
  cell_left: () => grid.move(-1, 0),
  cell_right: () => grid.move(1, 0),
  cell_up: () => grid.move(0, -1),
  cell_down: () => grid.move(0, 1),
};

const DO = {
  accept,
  keep: () => queue.current && decideAndGo("keep"),
  skip: () => queue.current && decideAndGo("skip"),
  flag: () => queue.current && decideAndGo("flag"),
  search: anyClass,
  several: () => queue.current && several(),
  none: () => queue.current && mark("none_of_the_classes"),
  group: () => queue.current && mark("group"),
  ignore: () => queue.current && mark("ignore"),
  next: () => move(1),
  previous: () => move(-1),
  first_open: () => (queue.current ? toOpen() : revisit()),
  edit: () => queue.current && toggleEdit(),
  leave: stopEditing,
  new: () => {
    stage.draw(!stage.drawing);
    if (stage.drawing) notify("Drag a box; or press an arrow key for one in the middle. Esc stops.");
    render();
  },
  delete: () => queue.current && erase(),
  cycle: () => cycle(1),
  cycle_back: () => cycle(-1),
  overlays: () => toggle("overlays"),
  predictions: () => toggle("predictions"),
  before: () => {
    before = !before;
    redraw();
    notify(before ? "As it was given" : "As it is now");
  },
  zoom_in: () => stage.zoomBy(1.25),
  zoom_out: () => stage.zoomBy(0.8),
  zoom_fit: () => stage.toggleZoom(stage.boxes.find(({ id }) => id === stage.chosen)?.box ?? (queue.current && focusOf(queue.current))),
  buttons: () => {
    const inside = byId("panel").contains(document.activeElement);
    (inside ? byId("stage") : byId("panel").querySelector(".decide button")).focus();
  },
  corner: () => notify(`Arrows move ${stage.nextPart()}`),
};

const ANYWHERE = {
  undo: () => {
    stage.settle();
    outbox.send("api/undo", { id: newId() });
  },
  redo: () => outbox.send("api/redo", { id: newId() }),
  grid: toggleGrid,
  guideline: toggleGuideline,
  help: showHelp,
  theme: changeTheme,
};

function stopEditing() {
  stage.draw(false);
  stage.choose(stage.chosen, false);
  render();
}

function move(by) {
  const next = queue.index + by;
  if (queue.go(next)) show();
  else if (by > 0 && !queue.ended) queue.more();
}

function toggle(what) {
  stage.shown[what] = !stage.shown[what];
  stage.render();
  render();
  const names = { overlays: "Boxes", predictions: "What the detector sees:" };
  notify(`${names[what]} ${stage.shown[what] ? "shown" : "hidden"}`);
}

async function toggleGrid() {
  const opening = !grid.isOpen;
  byId("item").hidden = opening;
  document.querySelector("[data-do=grid]").setAttribute("aria-pressed", String(opening));
  if (opening) {
    stage.settle();
    await grid.open(queue.current);
  } else {
    grid.close();
    if (!queue.current || queue.current.state || queue.current.pending) toOpen();
    else show();
  }
}

async function leaveGridFor(entry) {
  const index = queue.put(entry);
  queue.index = index;
  await toggleGrid();
}

function toggleGuideline() {
  const aside = byId("guideline");
  if (!aside) {
    notify("There is no guideline: give one with --guideline FILE, or as guideline.md in the run.");
    return;
  }
  aside.hidden = !aside.hidden;
  document.querySelector("[data-do=guideline]").setAttribute("aria-pressed", String(!aside.hidden));
  storage.setItem("labelfix:guideline", aside.hidden ? "" : "open");
}

function showHelp() {
  const dialog = byId("help");
  if (dialog.open) {
    dialog.close();
    return;
  }
  const here = boot.actions.filter(({ of }) => of === "both" || of === boot.run.of);
  const sections = [["Looking at one item", "item"], ["Editing a box", "box"], ["In the grid", "grid"]];
  const used = new Set();
  const tables = sections.filter(([, place]) => isBoxes || place !== "box").map(([title, place]) => {
    const rows = new Map(); // what is done: by which keys; numbers and arrows share a row
    for (const { name, places, says } of here) {
      if (!places.includes(place) || used.has(name)) continue;
      used.add(name);
      const what = says.replace(/ numbered \d$/, " of that number").replace(/ (left|right|up|down)$/, "");
      rows.set(what, [...(rows.get(what) ?? []), ...boot.keys[name]]);
    }
    return el("section", {}, el("h3", {}, title), el("dl", {}, ...[...rows].filter(([, keys]) => keys.length).map(([what, keys]) =>
      el("div", {}, el("dt", {}, ...keys.map((key) => el("kbd", {}, shown(key)))), el("dd", {}, what)))));
  });
  dialog.replaceChildren(
    el("h2", {}, "Keys"),
    el("p", {}, "Mouse: wheel zooms, dragging moves the picture, a click chooses a box, its handles resize it. ",
      isBoxes ? "Tab goes through the boxes; F6 goes to the buttons and back." : "", " A file of keys changes them all: --keys FILE."),
    el("div", { class: "columns" }, ...tables),
    el("button", { type: "button", class: "main", onclick: () => dialog.close() }, el("span", {}, "Close"), el("kbd", {}, "Esc")));
  dialog.showModal();
}

function changeTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  setTheme(now === "dark" ? "light" : "dark");
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  storage.setItem("labelfix:theme", theme);
}

// ---- the beginning

byId("stage").append(panel.tools(isBoxes));

for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => act(button.dataset.do));
  const key = keyboard.first(button.dataset.do in boot.keys ? button.dataset.do : "");
  if (key) button.title = `${button.title || button.textContent} (${key})`;
}
byId("help").addEventListener("keydown", (event) => {
  if (boot.keys.help.includes(keyOf(event))) byId("help").close();
});
addEventListener("beforeunload", () => stage.settle());

// A server that was started anew has a new secret in its address. The page it opened tells the
// pages of before, which share this browser's storage, and they move there.
const ADDRESS = `labelfix:address:${boot.run.id}`;
storage.setItem(ADDRESS, location.pathname);
addEventListener("storage", ({ key, newValue }) => {
  if (key === ADDRESS && newValue && newValue !== location.pathname) location.replace(newValue + location.hash);
});

async function start() {
  if (storage.getItem("labelfix:theme")) setTheme(storage.getItem("labelfix:theme"));
  if (storage.getItem("labelfix:guideline") && byId("guideline")) toggleGuideline();
  showProgress();
  showSaved();
  for (const { key, action } of outbox.waiting.flatMap(({ body }) => body.events ?? [])) {
    const entry = queue.entries[queue.find(key)];
    if (entry) entry.pending = action; // decided on an earlier page, and about to be saved
  }
  queue.index = Math.max(queue.open(), 0);
  const asked = location.hash.slice(1);
  if (asked && queue.find(asked) >= 0) queue.index = queue.find(asked);
  else if (asked) {
    const answer = await get(`api/some?keys=${encodeURIComponent(asked)}`);
    if (answer?.entries.length) queue.index = queue.put(answer.entries[0]);
  }
  if (queue.current) await show();
  else toOpen();
  performance.mark("labelfix:open");
  setTimeout(poll, POLL);
}

start();
