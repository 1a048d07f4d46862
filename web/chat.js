// The chat page: conversations, their messages, and answers as they come. Several may be answered at once.

import * as api from "./api.js";
import { announce, askName, button, byId, confirmed, el, icon, reconcile, setText, toast } from "./dom.js";
import { MessageView } from "./message.js";
import { openSettings, thinkValue } from "./settings.js";
import { MAX_TITLE, newConversation, titleOf } from "./store.js";

/** Milliseconds between two drawings of an answer, two savings of it, and two sentences for screen readers. */
const DRAW_EVERY = 60;
const SAVE_EVERY = 1000;
const SPEAK_EVERY = 3000;
/** Pixels from the end at which a reader still follows an answer. */
const FOLLOWS = 80;
/** Lines of icons, 20 by 20. */
const PENCIL = "M4 16l1-4 8-8 3 3-8 8zM11.5 5.5l3 3";
const BIN = "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6";

let store;
let models = [];
/** The conversation that is shown, and what shows its messages. */
let current;
let views = [];
/** Answers that are being written: conversation id → `{conversation, message, controller}`. */
const runs = new Map();
let drawTimer = 0;

/** Makes the page work. */
export function start(conversations) {
  store = conversations;
  const prompt = byId("prompt");
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  prompt.addEventListener("input", () => fitPrompt());
  byId("stop").addEventListener("click", stop);
  byId("view-chat").addEventListener("keydown", (event) => event.key === "Escape" && escape());
  byId("new-chat").addEventListener("click", () => {
    location.hash = "#chat";
    open(null);
    prompt.focus();
  });
  byId("model").addEventListener("change", () => {
    current.model = byId("model").value;
    store.set("model", current.model);
    if (current.messages.length) keep(current);
  });
  byId("settings-open").addEventListener("click", changeSettings);
  byId("show-conversations").addEventListener("click", () =>
    showList(!byId("conversations").classList.contains("open")),
  );
  addEventListener("storage", (event) => event.key?.startsWith("slm.chat.") && changedElsewhere(event.key));
  addEventListener("slm-models", () => loadModels());
  open(null);
}

/** The page is looked at; `id` names a conversation, "" is the one that was shown. */
export function show(id) {
  loadModels();
  if (id && id !== current.id) open(store.get(id));
  else if (!id && current.messages.length) history.replaceState(null, "", `#chat/${current.id}`);
  drawList();
  scrollToEnd();
  if (matchMedia("(pointer: fine)").matches) byId("prompt").focus({ preventScroll: true });
}

/** What the page is called. */
export const title = () => titleOf(current);

async function loadModels() {
  try {
    const all = await api.tags();
    models = all.filter(({ capabilities }) => !capabilities || capabilities.includes("completion"));
  } catch (error) {
    toast(error.message);
    return;
  }
  if (!current.model) current.model = preferred();
  drawModels();
  drawEmpty();
}

/** The model of a new conversation: the last that was chosen, else the newest. */
function preferred() {
  const last = store.setting("model");
  return models.some(({ name }) => name === last) ? last : (models[0]?.name ?? "");
}

/** Shows a conversation; null is a new one. */
function open(conversation) {
  const running = conversation && runs.get(conversation.id);
  current = running?.conversation ?? conversation ?? newConversation(preferred());
  showList(false);
  drawModels();
  drawMessages();
  drawList();
}

/** Begins a conversation with a model, from another page. */
export function startWith(model) {
  store.set("model", model);
  open(null);
  current.model = model;
  location.hash = "#chat";
}

function send() {
  const prompt = byId("prompt");
  const text = prompt.value.trim();
  if (!text || runs.has(current.id)) return;
  if (!current.model) return toast("There is no model yet. Pull one on the page Models.");
  prompt.value = "";
  fitPrompt();
  ask(current, text);
}

/** Adds what a person says, and has it answered. */
function ask(conversation, text) {
  const isFirst = conversation.messages.length === 0;
  conversation.messages.push({ role: "user", content: text });
  if (isFirst && !conversation.isNamed) conversation.title = text.replace(/\s+/g, " ").slice(0, MAX_TITLE);
  run(conversation);
}

/** Forgets `message` and what follows. */
function cut(conversation, message) {
  runs.get(conversation.id)?.controller.abort();
  const index = conversation.messages.indexOf(message);
  if (index >= 0) conversation.messages.length = index;
}

const actions = {
  edit(message, text) {
    cut(current, message);
    ask(current, text);
  },
  retry(message) {
    cut(current, message);
    run(current);
  },
};

function requestOf({ model, system, options, think, messages }) {
  const said = messages.filter(({ content }) => content).map(({ role, content }) => ({ role, content }));
  if (system) said.unshift({ role: "system", content: system });
  return { model, messages: said, options, think: thinkValue(think) };
}

/** Has the model write the next message. */
async function run(conversation) {
  const request = requestOf(conversation);
  const message = { role: "assistant", content: "", thinking: "", stats: null, error: "", stopped: false };
  const controller = new AbortController();
  conversation.messages.push(message);
  conversation.updated = Date.now();
  runs.set(conversation.id, { conversation, message, controller });
  keep(conversation);
  if (conversation === current) {
    history.replaceState(null, "", `#chat/${conversation.id}`);
    drawMessages();
  }
  drawList();
  announce("The model is answering.");
  const speaker = new Speaker();
  const began = performance.now();
  let saved = began;
  let firstMs = 0;
  try {
    for await (const chunk of api.chat(request, controller.signal)) {
      const { content = "", thinking = "" } = chunk.message ?? {};
      if ((content || thinking) && !firstMs) firstMs = performance.now() - began;
      message.content += content;
      message.thinking += thinking;
      if (chunk.done) message.stats = statsOf(chunk, firstMs);
      if (performance.now() - saved > SAVE_EVERY) {
        saved = performance.now();
        keep(conversation);
      }
      if (conversation === current) {
        speaker.hear(message.content);
        drawSoon();
      }
    }
  } catch (error) {
    if (error.name === "AbortError") message.stopped = true;
    else message.error = error.message;
  }
  // an answer that was cut off by another is not the one that runs
  if (runs.get(conversation.id)?.message === message) runs.delete(conversation.id);
  conversation.updated = Date.now();
  keep(conversation);
  drawList();
  if (conversation !== current) return;
  drawMessage();
  if (message.stopped) announce("Stopped.");
  else if (!message.error) speaker.end(message.content);
}

function statsOf(chunk, firstMs) {
  const seconds = (chunk.eval_duration ?? 0) / 1e9;
  const tokens = chunk.eval_count ?? 0;
  return {
    tokens,
    // the time runs from the first token on
    speed: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : 0,
    prompt: chunk.prompt_eval_count ?? 0,
    cached: chunk.prompt_cached_count ?? 0,
    firstMs,
    reason: chunk.done_reason ?? "",
  };
}

function stop() {
  runs.get(current.id)?.controller.abort();
  byId("prompt").focus();
}

function escape() {
  if (byId("conversations").classList.contains("open")) showList(false);
  else stop();
}

/** Keeps a conversation in the browser, unless it was deleted meanwhile. */
function keep(conversation) {
  if (conversation.isDeleted) return;
  try {
    store.save(conversation);
  } catch (error) {
    toast(error.message);
  }
}

async function changeSettings() {
  const conversation = current;
  let canThink = true;
  try {
    canThink = (await api.show(conversation.model)).capabilities.includes("thinking");
  } catch {
    // a model that is not here may be able to
  }
  openSettings(conversation, canThink, () => {
    if (conversation.messages.length) keep(conversation);
    drawSettingsMark();
  });
}

function drawSettingsMark() {
  const { system, options, think } = current;
  const isChanged = Boolean(system || think || Object.keys(options).length);
  byId("settings-open").classList.toggle("changed", isChanged);
}

function drawModels() {
  const select = byId("model");
  const names = models.map(({ name }) => name);
  const options = names.map((name) => el("option", { value: name }, name));
  if (current.model && !names.includes(current.model)) {
    options.unshift(el("option", { value: current.model }, `${current.model} (not installed)`));
  }
  if (!options.length) options.push(el("option", { value: "" }, "No model"));
  select.replaceChildren(...options);
  select.value = current.model;
}

function drawEmpty() {
  const place = byId("chat-empty");
  place.hidden = current.messages.length > 0;
  if (models.length) {
    place.replaceChildren(
      el("p", {}, "Ask the model something. It runs where the daemon does, and nothing is sent elsewhere."),
    );
  } else {
    const link = el("a", { href: "#models" }, "Pull one");
    place.replaceChildren(
      el("p", {}, "No model is installed that could answer. ", link, ", smollm2:135m for a beginning."),
    );
  }
}

/** Draws the whole conversation. */
function drawMessages() {
  const { messages } = current;
  views = messages.map((message, index) => {
    const known = views.find((view) => view.message === message);
    if (known) known.number = index + 1;
    return known ?? new MessageView(message, index + 1, actions);
  });
  const list = byId("messages");
  list.replaceChildren(...views.map((view) => view.node));
  for (const view of views) view.update(isRunning(view.message));
  setText(byId("chat-title"), titleOf(current));
  document.title = `${titleOf(current)} – slm`;
  drawEmpty();
  drawButtons();
  drawSettingsMark();
  scrollToEnd();
}

const isRunning = (message) => runs.get(current.id)?.message === message;

/** Draws the last message and what depends on whether it is finished. */
function drawMessage() {
  const follows = isAtEnd();
  const view = views.at(-1);
  view?.update(isRunning(view.message));
  drawButtons();
  if (follows) scrollToEnd();
}

function drawSoon() {
  drawTimer ||= setTimeout(() => {
    drawTimer = 0;
    drawMessage();
  }, DRAW_EVERY);
}

function drawButtons() {
  const isBusy = runs.has(current.id);
  const stop = byId("stop");
  const hadFocus = document.activeElement === stop;
  byId("send").hidden = isBusy;
  stop.hidden = !isBusy;
  if (hadFocus && !isBusy) byId("prompt").focus();
}

function drawList() {
  const make = ({ id }) => {
    const row = el("li", {}, el("a", { href: `#chat/${id}` }));
    row.append(
      button(icon(PENCIL), () => rename(id), { class: "quiet small", title: "Rename" }),
      button(icon(BIN), () => forget(id), { class: "quiet small", title: "Delete" }),
    );
    return row;
  };
  reconcile(
    byId("conversation-list"),
    store.list(),
    ({ id }) => id,
    make,
    (row, summary) => {
      const [link, renaming, deleting] = row.children;
      const name = titleOf(summary);
      setText(link, name);
      if (summary.id === current.id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      row.classList.toggle("busy", runs.has(summary.id));
      renaming.setAttribute("aria-label", `Rename ${name}`);
      deleting.setAttribute("aria-label", `Delete ${name}`);
    },
  );
}

async function rename(id) {
  const conversation = id === current.id ? current : (runs.get(id)?.conversation ?? store.get(id));
  const name = conversation && (await askName("Rename the conversation", titleOf(conversation)));
  if (!name) return;
  conversation.title = name.slice(0, MAX_TITLE);
  conversation.isNamed = true;
  keep(conversation);
  drawList();
  if (conversation === current) drawMessages();
}

async function forget(id) {
  const name = titleOf(store.get(id) ?? current);
  if (!(await confirmed("Delete the conversation?", `“${name}” is kept nowhere else.`, "Delete"))) return;
  const running = runs.get(id);
  if (running) {
    running.conversation.isDeleted = true;
    running.controller.abort();
  }
  store.remove(id);
  if (id === current.id) {
    location.hash = "#chat";
    open(null);
  }
  drawList();
  byId("new-chat").focus();
}

/** Another window has changed a conversation. */
function changedElsewhere(key) {
  store.refresh();
  drawList();
  const isShown = key.endsWith(current.id);
  const other = isShown && !runs.has(current.id) && store.get(current.id);
  if (other) {
    current = other;
    drawMessages();
  }
}

/** On a narrow screen the list lies over the conversation. */
function showList(isOpen) {
  const toggle = byId("show-conversations");
  const hadFocus = byId("conversations").contains(document.activeElement);
  byId("conversations").classList.toggle("open", isOpen);
  toggle.setAttribute("aria-expanded", String(isOpen));
  if (isOpen) byId("new-chat").focus();
  else if (hadFocus && toggle.offsetParent) toggle.focus();
}

function fitPrompt() {
  const prompt = byId("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(prompt.scrollHeight + 2, innerHeight / 3)}px`;
}

function isAtEnd() {
  const place = byId("scroll");
  return place.scrollHeight - place.scrollTop - place.clientHeight < FOLLOWS;
}

function scrollToEnd() {
  const place = byId("scroll");
  place.scrollTop = place.scrollHeight;
}

/** Reads an answer to screen readers in sentences, not in tokens. */
class Speaker {
  #told = 0;
  #last = performance.now();

  /** The answer so far. */
  hear(text) {
    if (performance.now() - this.#last < SPEAK_EVERY) return;
    const fresh = text.slice(this.#told);
    const end = Math.max(...[". ", "! ", "? ", ".\n", "\n"].map((mark) => fresh.lastIndexOf(mark))) + 1;
    if (end > 0) this.#tell(fresh.slice(0, end));
  }

  /** The whole answer. */
  end(text) {
    this.#tell(`${text.slice(this.#told)} End of the answer.`);
  }

  #tell(text) {
    this.#told += text.length;
    this.#last = performance.now();
    announce(text);
  }
}
