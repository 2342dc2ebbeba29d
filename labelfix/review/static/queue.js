// The entries that were shown and that come next, with their pictures fetched ahead.

import { post } from "./outbox.js";

const AHEAD = 5; // pictures ready
const LOW = 6; // entries left before more are asked for
const MORE = 8; // entries asked for at once: few, since the order learns from what is decided
const KEPT = 14; // pictures held

export class Queue {
  constructor(page, size, onMore) {
    this.entries = page.entries;
    this.size = size; // () => the picture size that fits the screen
    this.onMore = onMore;
    this.index = -1;
    this.pictures = new Map();
    this.fetching = false;
    this.ended = false; // nothing is left that is not here
    this.revisiting = false; // whether what was skipped is open again
  }

  get current() {
    return this.entries[this.index] ?? null;
  }

  find(key) {
    return this.entries.findIndex((entry) => entry.key === key);
  }

  go(index) {
    if (index < 0 || index >= this.entries.length) return false;
    this.index = index;
    return true;
  }

  // The next that is open after this one, or else before it; -1 if none is known.
  open() {
    const isOpen = (entry) => !entry.state && !entry.pending;
    const after = this.entries.findIndex((entry, i) => i > this.index && isOpen(entry));
    return after >= 0 ? after : this.entries.findIndex(isOpen);
  }

  // Take an entry in: fresh facts about one that is known, or one to look at now.
  put(entry) {
    const index = this.find(entry.key);
    if (index >= 0) {
      this.entries[index] = entry;
      return index;
    }
    this.entries.splice(this.index, 0, entry);
    this.index += 1;
    return this.index - 1;
  }

  // Fetch what comes next; to be called once the picture that is looked at has come.
  prepare() {
    const around = [0, 1, -1];
    for (let i = 2; i <= AHEAD; i++) around.push(i);
    for (const step of around) {
      const entry = this.entries[this.index + step];
      if (entry?.picture) this.picture(entry);
    }
    while (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value);
    if (!this.ended && this.entries.length - this.index <= LOW) this.more();
  }

  // An image element of an entry; loading starts now if it has not before.
  picture(entry) {
    const address = `picture/${entry.picture.row}?size=${this.size()}`;
    let image = this.pictures.get(address);
    if (!image || image.dataset.failed) {
      image = new Image();
      image.alt = "";
      image.draggable = false;
      image.decoding = "sync";
      image.src = address;
      image.ready = image.decode().catch(() => {
        image.dataset.failed = "yes";
        this.pictures.delete(address);
      });
    }
    this.pictures.delete(address); // and put it last: the first goes first
    this.pictures.set(address, image);
    return image;
  }

  // Ask for more, and say whether any came. The order of what is left depends on what was decided,
  // so a little is asked for at a time.
  async more() {
    if (this.fetching) return this.fetching;
    this.fetching = this.#fetch();
    const came = await this.fetching;
    this.fetching = null;
    return came;
  }

  async #fetch() {
    const have = this.entries.filter(({ state }) => !state || state.outcome === "skipped");
    const answer = await post("api/more", { have: have.map(({ key }) => key), count: MORE });
    if (!answer.data) return false;
    const known = new Set(this.entries.map(({ key }) => key));
    const fresh = answer.data.entries.filter(({ key }) => !known.has(key));
    if (this.revisiting) fresh.forEach(reopen);
    this.entries.push(...fresh);
    this.ended = !fresh.length;
    this.onMore(answer.data);
    this.prepare();
    return fresh.length > 0;
  }

  // Open again what was skipped.
  revisit() {
    this.revisiting = true;
    this.entries.forEach(reopen);
    return this.more();
  }
}

function reopen(entry) {
  if (entry.state?.outcome === "skipped") entry.state = null;
}
