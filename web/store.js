// Conversations in the browser's own storage, one entry for each, and what was chosen last.
//
// A conversation is `{id, title, isNamed, created, updated, model, system, options, think, messages}`; a message is
// `{role, content, thinking, stats, error, stopped}`. Nothing leaves the browser but what a person sends to a model.

/** Conversations that are kept. */
export const MAX_CONVERSATIONS = 200;
/** Letters of a title. */
export const MAX_TITLE = 80;
const PREFIX = "slm.chat.";

/** The browser has no room, or keeps nothing at all. */
export class StorageFull extends Error {
  constructor() {
    super("The browser has no room left for this conversation; delete others to have it kept.");
  }
}

/** A conversation without messages. */
export function newConversation(model) {
  const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  const now = Date.now();
  return {
    id,
    title: "",
    isNamed: false,
    created: now,
    updated: now,
    model,
    system: "",
    options: {},
    think: "",
    messages: [],
  };
}

/** What a conversation is called. */
export const titleOf = (conversation) => conversation.title || "New chat";

export class Store {
  #storage;
  #summaries = new Map();

  /** @param storage what `localStorage` is. */
  constructor(storage) {
    this.#storage = storage;
    this.refresh();
  }

  /** Reads everything anew: another window may have changed it. */
  refresh() {
    this.#summaries.clear();
    let keys = [];
    try {
      keys = Object.keys(this.#storage).filter((key) => key.startsWith(PREFIX));
    } catch {
      // a browser that keeps nothing
    }
    for (const key of keys) {
      const conversation = this.#read(key);
      if (conversation) this.#summarise(conversation);
    }
  }

  /** `{id, title, updated}` of all, the last one first. */
  list() {
    return [...this.#summaries.values()].sort((a, b) => b.updated - a.updated);
  }

  /** A conversation, or null. */
  get(id) {
    return this.#read(PREFIX + id);
  }

  /**
   * Keeps a conversation, and lets go of the oldest where there are too many.
   * @throws {StorageFull}
   */
  save(conversation) {
    const others = this.list().filter(({ id }) => id !== conversation.id);
    for (const { id } of others.slice(MAX_CONVERSATIONS - 1)) this.remove(id);
    try {
      this.#storage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
    } catch {
      throw new StorageFull();
    }
    this.#summarise(conversation);
  }

  /** Forgets a conversation. */
  remove(id) {
    this.#summaries.delete(id);
    this.#storage.removeItem(PREFIX + id);
  }

  /** What was kept under a name; null where there is nothing, or nothing that can be read. */
  setting(name) {
    try {
      return JSON.parse(this.#storage.getItem(`slm.${name}`));
    } catch {
      return null;
    }
  }

  /** Keeps something small; whether it is kept is nobody's business. */
  set(name, value) {
    try {
      this.#storage.setItem(`slm.${name}`, JSON.stringify(value));
    } catch {
      // it is chosen anew next time
    }
  }

  #summarise({ id, title, updated }) {
    this.#summaries.set(id, { id, title, updated });
  }

  #read(key) {
    try {
      return checked(JSON.parse(this.#storage.getItem(key)), key.slice(PREFIX.length));
    } catch {
      return null;
    }
  }
}

/** What an older page, another program or a fault left behind, as far as it is a conversation. */
function checked(found, id) {
  if (typeof found !== "object" || !Array.isArray(found?.messages)) return null;
  const text = (value) => (typeof value === "string" ? value : "");
  const time = (value) => (Number.isFinite(value) ? value : 0);
  const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});
  return {
    id,
    title: text(found.title),
    created: time(found.created),
    updated: time(found.updated),
    isNamed: found.isNamed === true,
    model: text(found.model),
    system: text(found.system),
    options: object(found.options),
    think: text(found.think),
    messages: found.messages
      .filter((message) => ["user", "assistant"].includes(message?.role))
      .map((message) => ({
        role: message.role,
        content: text(message.content),
        thinking: text(message.thinking),
        stats: message.stats ? object(message.stats) : null,
        error: text(message.error),
        stopped: message.stopped === true,
      })),
  };
}
