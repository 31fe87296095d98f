// A conversation with the service: its turns, and how a reply comes about, stops or fails.

import { ApiError, call, events, get } from "./api.js";
import { showRate, state, watchClosely } from "./service.js";
import { read, write } from "./store.js";
import { TurnView } from "./turn.js";

export const ALTERNATIVES = 5;
const PATIENCE_MS = 700;
const SETTLE_MS = [100, 150, 250, 500, 1000, 1000, 1000, 1000, 1000];

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isBusy = (error) => error.code === "conversation_busy";

export class Conversation {
  constructor(id = null) {
    this.id = id;
    this.turns = [];
    this.system = ""; // the system message in force
    this.running = null; // the AbortController of the reply that is being written
    this.loading = null; // the promise of `load`
    this.isLoaded = false;
  }

  get isEmpty() {
    return !this.id && !this.turns.length;
  }

  /** Read it from the service; rejects with an `ApiError`. */
  async load() {
    const found = await this._settled();
    this.system = found.turns.findLast((turn) => turn.system !== null)?.system ?? "";
    this.turns = found.turns.map((turn) => {
      const view = new TurnView(turn.input);
      view.showStored(turn);
      return view;
    });
    this.isLoaded = true;
  }

  add(input) {
    const view = new TurnView(input);
    this.turns.push(view);
    return view;
  }

  drop(view) {
    this.turns = this.turns.filter((each) => each !== view);
    view.element.remove();
  }

  /** The request that made a turn, if it was the last one that this browser sent. */
  lastRequest(view) {
    if (view.body) return view.body;
    const last = read("last", {});
    return last.id === this.id && last.input === view.input ? last.body : null;
  }

  /** Have a turn answered, in place of its stored reply if it has one.
   *
   * Resolves, at the end however it comes, to {error, lostId}: what went wrong, and the id that this conversation has
   * lost because nothing of it was stored.
   */
  async answer(view, fields, { onBegin, onPiece }) {
    const controller = new AbortController();
    this.running = controller;
    if (view.isUncertain) await this._settleWhetherStored(view);
    const wasStored = view.isStored;
    const kept = view.keep();
    view.body = { input: view.input, ...fields, stream: true };
    if (this.id) view.body.conversation_id = this.id;
    if (wasStored) view.body.replace_last = true;
    view.reset();
    const followed = follow(view);
    try {
      const response = await this._post(view.body, controller.signal);
      this.id = response.headers.get("X-Conversation-ID") ?? this.id;
      write("last", { id: this.id, input: view.input, body: view.body });
      onBegin();
      await receive(view, response, onPiece);
      view.isStored = true;
      view.said = view.input;
      if (fields.system !== undefined) this.system = fields.system;
      return {};
    } catch (error) {
      const isStopped = error.name === "AbortError";
      const lostId = await this._find(view, error, wasStored, kept);
      return { error: isStopped ? null : error, lostId };
    } finally {
      followed();
      this.running = null;
    }
  }

  /** A conversation stays busy for a moment after a reply was stopped. */
  async _post(body, signal) {
    for (const wait of [...SETTLE_MS, null]) {
      try {
        return await call("chat", { json: body, signal });
      } catch (error) {
        if (!isBusy(error) || wait === null) throw error;
        await pause(wait);
      }
    }
  }

  /** A reply was stopped or lost: find out what of it the service has stored, and show that.
   *
   * Resolves to the id that this conversation has lost, if it has.
   */
  async _find(view, error, wasStored, kept) {
    const isRefused = error.status > 0; // by the service itself, which stores nothing then
    const stored = isRefused || !this.id ? [] : await this._stored();
    const last = stored?.at(-1);
    const count = this.turns.filter((turn) => turn.isStored).length;
    const isNew = wasStored ? last?.reply !== kept.content.text || last?.input !== kept.input : stored?.length > count;
    if (last && isNew) {
      view.showStored(last);
    } else if (wasStored) {
      view.restore(kept);
    } else {
      if (error.name === "AbortError") view.end({ finish_reason: "cancelled" });
      view.isUncertain = !stored;
      return stored ? this._loseId() : undefined;
    }
    return undefined;
  }

  /** The service could not be asked when the turn was lost: ask it now, before the turn is sent again. */
  async _settleWhetherStored(view) {
    const stored = this.id ? await this._stored() : [];
    view.isStored = (stored?.length ?? 0) > this.turns.filter((turn) => turn.isStored).length;
    view.isUncertain = !stored;
  }

  /** The stored turns: none if there is no such conversation, null if that can't be told. */
  async _stored() {
    try {
      return (await this._settled()).turns;
    } catch (error) {
      return error.status === 404 ? [] : null;
    }
  }

  /** If no turn is stored, the service knows nothing of this conversation. */
  _loseId() {
    if (!this.id || this.turns.some((turn) => turn.isStored)) return undefined;
    const lost = this.id;
    this.id = null;
    return lost;
  }

  /** The stored conversation, once no turn of it is being made. */
  async _settled() {
    for (const wait of [...SETTLE_MS, null]) {
      const found = await get(`conversations/${encodeURIComponent(this.id)}`);
      if (!found.busy) return found;
      if (wait !== null) await pause(wait);
    }
    throw new ApiError(409, { code: "conversation_busy" });
  }
}

async function receive(view, response, onPiece) {
  let first = 0;
  let count = 0;
  let isDone = false;
  for await (const { name, data } of events(response)) {
    if (name === "token") {
      view.add(data);
      count += 1;
      first ||= performance.now();
      if (count % 8 === 0) showRate((1000 * (count - 1)) / (performance.now() - first));
      onPiece();
    } else if (name === "waiting") {
      view.ahead = data.ahead;
      view.wait("wait.ahead", data);
    } else if (name === "done") {
      showRate(data.timing.tokens_per_s);
      view.end(data);
      isDone = true;
    } else if (name === "error") {
      throw new ApiError(503, data.error);
    }
  }
  if (!isDone) throw new ApiError(0);
}

/** Tell what a reply waits for, until it has begun or the returned function is called. */
function follow(view) {
  let stopWatching = null;
  const tell = () => {
    if (view.hasBegun) return stop();
    const { engine } = state() ?? {};
    if (engine?.state === "loading" || engine?.state === "restarting") view.wait(`wait.${engine.state}`);
    else if (view.ahead !== null) view.wait("wait.ahead", { ahead: view.ahead });
    else if (engine?.waiting) view.wait("wait.queue", { waiting: engine.waiting, running: engine.running });
    else view.wait("wait.reply");
    return undefined;
  };
  const timer = setTimeout(() => {
    stopWatching = watchClosely();
  }, PATIENCE_MS);
  const stop = () => {
    clearTimeout(timer);
    stopWatching?.();
    document.removeEventListener("service", tell);
  };
  document.addEventListener("service", tell);
  view.wait("wait.reply");
  return stop;
}
