// Decisions on their way to the disk. Each waits here, and in the browser's storage, until the
// server has said that it is written; whatever happens in between, it is sent again with the same
// id, and the server writes it once.

import { newId, storage } from "./dom.js";

const FIRST_WAIT = 400;
const LONGEST_WAIT = 5000;
const PATIENCE = 15000; // for one answer

export class Outbox {
  // `on.change()` after every change; `on.done(request, answer)`; `on.refused(request, reason)`.
  constructor(run, on) {
    this.prefix = `labelfix:${run}:`;
    this.on = on;
    this.waiting = [];
    this.trouble = "";
    this.sending = false;
    this.wait = FIRST_WAIT;
    this.count = 0;
    addEventListener("online", () => this.#hurry());
    this.#adopt();
  }

  // What an earlier page could not send, in the order in which it was decided.
  #adopt() {
    for (const key of this.#storedKeys()) {
      try {
        this.waiting.push({ ...JSON.parse(storage.getItem(key)), key, adopted: true });
      } catch {
        storage.removeItem(key);
      }
    }
    if (this.waiting.length) this.#flush();
  }

  #storedKeys() {
    const keys = [];
    for (let i = 0; i < storage.length; i++) {
      const key = storage.key(i);
      if (key.startsWith(this.prefix)) keys.push(key);
    }
    return keys.sort();
  }

  send(path, body) {
    const stamp = String(Date.now()).padStart(15, "0") + String(this.count++).padStart(6, "0");
    const request = { path, body, key: `${this.prefix}${stamp}-${newId().slice(0, 8)}` };
    try {
      storage.setItem(request.key, JSON.stringify({ path, body }));
    } catch {
      // The storage is full or forbidden: memory alone keeps it.
    }
    this.waiting.push(request);
    this.on.change();
    setTimeout(() => this.#flush()); // what comes next is drawn first
    return request;
  }

  // Whether something that concerns this entry is on its way.
  concerns(key) {
    return this.waiting.some(({ body }) => body.events?.some((event) => event.key === key));
  }

  async #flush() {
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.length) {
      const request = this.waiting[0];
      const answer = await post(request.path, request.body);
      if (answer.trouble) {
        this.trouble = answer.trouble;
        this.on.change();
        await new Promise((resolve) => {
          this.wake = resolve;
          setTimeout(resolve, this.wait);
        });
        this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
        continue;
      }
      this.trouble = "";
      this.wait = FIRST_WAIT;
      this.waiting.shift();
      storage.removeItem(request.key);
      if (answer.refusal) this.on.refused(request, answer.refusal);
      else this.on.done(request, answer.data);
      this.on.change();
    }
    this.sending = false;
  }

  #hurry() {
    this.wake?.();
  }
}

// {data}, {refusal: why} for what will never be taken, or {trouble: why} for what may be later.
export async function ask(path, options = {}) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE);
  try {
    const response = await fetch(path, { ...options, signal: abort.signal });
    if (response.ok) return { data: await response.json() };
    const { error } = await response.json().catch(() => ({ error: "" }));
    if (response.status === 400) return { refusal: error };
    if (response.status === 403) return { trouble: "a new server, which has another address" };
    return { trouble: error || `the server answered ${response.status}` };
  } catch {
    return { trouble: "no connection to the server" };
  } finally {
    clearTimeout(timer);
  }
}

export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const get = async (path) => (await ask(path)).data ?? null;
