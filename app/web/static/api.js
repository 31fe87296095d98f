// Requests to the service, and its answers: JSON, server-sent events, errors in its one shape.

import { read, write } from "./store.js";

// The service lets hear of itself every few seconds, also when it has nothing to tell: a line silent for longer is dead.
const SILENCE_MS = 40_000;

export const key = () => read("key", "");
export const setKey = (value) => write("key", value || undefined);

/** What the service, or the way to it, refused. `status` 0: it was not reached. */
export class ApiError extends Error {
  constructor(status, detail = {}, retryAfter = null) {
    super(detail.message ?? "");
    this.status = status;
    this.code = detail.code ?? null;
    this.param = detail.param ?? null;
    this.requestId = detail.request_id ?? null;
    this.retryAfter = retryAfter;
  }
}

export function headers(hasBody) {
  const found = {};
  if (hasBody) found["Content-Type"] = "application/json";
  if (key()) found.Authorization = `Bearer ${key()}`;
  return found;
}

/** Ask for a path; resolves to the response, or rejects with an `ApiError` (or an AbortError). */
export async function call(path, { method, json, signal, headers: more } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  let response;
  try {
    response = await fetch(path, {
      method: method ?? (body ? "POST" : "GET"),
      headers: { ...headers(body), ...more },
      body,
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export const get = async (path, options) => (await call(path, options)).json();

async function refusal(response) {
  let detail = {};
  try {
    detail = (await response.json()).error ?? {};
  } catch {
    // A proxy's own page: its status has to do.
  }
  const seconds = Number.parseFloat(response.headers.get("Retry-After"));
  return new ApiError(response.status, detail, Number.isFinite(seconds) ? seconds : null);
}

/** The events of a response as {name, data, id}, as they come. What a comment tells of the queue is one: `waiting`. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      let chunk;
      try {
        chunk = await within(SILENCE_MS, reader.read());
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ApiError(0);
      }
      if (chunk.done) return;
      const blocks = (rest + chunk.value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A promise's outcome, or an `ApiError` if that takes too long. */
async function within(ms, promise) {
  let timer = 0;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new ApiError(0)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function parse(block) {
  const [, ahead] = block.match(/^: waiting, (\d+) ahead$/) ?? [];
  if (ahead) return { name: "waiting", data: { ahead: Number(ahead) } };
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = line.match(/^(\w+): ?(.*)$/s) ?? [];
    if (name) fields[name] = value;
  }
  return fields.data === undefined ? null : { name: fields.event, data: JSON.parse(fields.data), id: fields.id };
}
