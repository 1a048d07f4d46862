// The daemon's API, as far as the page uses it: public routes, and nothing that another client could not call.

/** What the daemon refused, in its words. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Longest line of a stream that is waited for. */
const MAX_LINE = 16 << 20;

/** Cuts a stream of text into lines of JSON. */
export class LineSplitter {
  #rest = "";

  /** The values whose lines are complete now. */
  push(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    if (this.#rest.length > MAX_LINE) throw new ApiError("A line of the answer is too long.", 0);
    return lines.filter((line) => line.trim()).map((line) => JSON.parse(line));
  }

  /** What is left when the stream has ended. */
  end() {
    return this.#rest.trim() ? this.push("\n") : [];
  }
}

function reachable(is) {
  dispatchEvent(new CustomEvent("slm-reachable", { detail: is }));
}

async function send(method, path, body, signal) {
  const request = { method, signal, headers: {} };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    reachable(false);
    throw new ApiError("The daemon does not answer.", 0);
  }
  reachable(true);
  if (!response.ok) {
    const text = await response.text().catch(() => "");
    throw new ApiError(errorIn(text) || `The daemon answered ${response.status}.`, response.status);
  }
  return response;
}

function errorIn(text) {
  try {
    const error = JSON.parse(text).error;
    return typeof error === "string" ? error : error?.message;
  } catch {
    return text.slice(0, 300);
  }
}

async function json(method, path, body, signal) {
  const response = await send(method, path, body, signal);
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/** The values of a stream, as they come; one that is an error is thrown. */
async function* lines(path, body, signal) {
  const response = await send("POST", path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const splitter = new LineSplitter();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        if (error.name === "AbortError") throw error;
        throw new ApiError("The connection to the daemon broke.", 0);
      });
      for (const item of done ? splitter.end() : splitter.push(value)) {
        if (typeof item.error === "string") throw new ApiError(item.error, 0);
        yield item;
      }
      if (done) return;
    }
  } finally {
    // whoever stops reading stops the work, too
    reader.cancel().catch(() => {});
  }
}

/** Models that are installed, the newest first. */
export const tags = async () => (await json("GET", "/api/tags")).models;
/** Models that are loaded. */
export const running = async () => (await json("GET", "/api/ps")).models;
/** What the daemon does and has done. */
export const status = () => json("GET", "/api/status");
/** Runs of benchmarks that are kept on the daemon's machine, the newest first. */
export const benchmarks = async () => (await json("GET", "/api/bench")).runs;
/** The daemon's version and what it computes on. */
export const version = () => json("GET", "/api/version");
/** All about a model. */
export const show = (model) => json("POST", "/api/show", { model });
/** Models to pull: of the catalogue, and of Hugging Face. */
export const search = (query) => json("POST", "/api/search", { query });
/** Removes a model. */
export const remove = (model) => json("DELETE", "/api/delete", { model });
/** Ends with the last line; stopped by `signal`. */
export const pull = (model, insecure, signal) => lines("/api/pull", { model, insecure }, signal);
/** A turn of a conversation; stopped by `signal`. */
export const chat = (request, signal) => lines("/api/chat", { ...request, stream: true }, signal);

/** Loads a model, or with `keep_alive` 0 lets it go. One that only makes vectors is asked on another route. */
export async function load(model, keep_alive) {
  const { capabilities } = await show(model);
  const path = capabilities.includes("completion") ? "/api/generate" : "/api/embed";
  return json("POST", path, { model, keep_alive, stream: false });
}
