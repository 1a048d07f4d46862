// The page of models: what is loaded, what is installed, and pulling more.

import * as api from "./api.js";
import { startWith } from "./chat.js";
import { button, byId, confirmed, copy, el, reconcile, setText, toast } from "./dom.js";
import * as finding from "./find.js";
import { bytes, count, day, plural, until } from "./format.js";
import { startPull } from "./pulls.js";

/** Letters of a licence or a template that are shown. */
const MAX_TEXT = 100_000;
/** Milliseconds between two looks at what is loaded. */
const EVERY = 2000;

let installed = [];
let loaded = [];
let isShown = false;
let timer = 0;

/** Makes the page work. */
export function start() {
  byId("pull-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("pull-name");
    const name = field.value.trim();
    if (!name) return;
    startPull(name, byId("pull-insecure").checked, changed);
    field.value = "";
  });
  finding.start((name) => startPull(name, false, changed));
  byId("model-filter").addEventListener("input", drawInstalled);
}

/** The page is looked at. */
export function show() {
  isShown = true;
  loadInstalled();
  watch();
}

/** It is not any more. */
export function hide() {
  isShown = false;
  clearTimeout(timer);
}

/** The set of models has changed. */
function changed() {
  dispatchEvent(new Event("slm-models"));
  loadInstalled();
}

async function loadInstalled() {
  try {
    installed = await api.tags();
  } catch (error) {
    toast(error.message);
  }
  drawInstalled();
}

async function watch() {
  clearTimeout(timer);
  await loadRunning();
  if (isShown) timer = setTimeout(watch, EVERY);
}

async function loadRunning() {
  if (document.hidden) return;
  try {
    loaded = await api.running();
  } catch {
    // the banner says that nobody answers
    return;
  }
  drawRunning();
  drawInstalled();
}

function drawRunning() {
  const place = byId("running");
  reconcile(place, loaded.length ? loaded : [null], (model) => model?.name ?? "", makeRunning, updateRunning);
}

function makeRunning(model) {
  if (!model) return el("li", { class: "none" }, "None. A model is loaded when it is first asked for.");
  const facts = el("p", { class: "facts" });
  const unload = button("Unload", () => act(unload, () => api.load(model.name, 0)), {
    class: "quiet",
    "aria-label": `Unload ${model.name}`,
  });
  return el("li", { class: "card" }, el("h3", {}, model.name), facts, el("div", { class: "buttons" }, unload));
}

function updateRunning(node, model) {
  if (model) setText(node.children[1], runningFacts(model).join(" · "));
}

/** What there is to say of a loaded model. */
function runningFacts({ size, context_length, expires_at, pinned, requests }) {
  const facts = [bytes(size), `context ${count(context_length)}`];
  const end = until(new Date(expires_at));
  facts.push(pinned ? "pinned: stays" : end === "never" ? "stays loaded" : `leaves ${end}`);
  if (requests?.running) facts.push(`${requests.running} running`);
  if (requests?.waiting) facts.push(`${requests.waiting} waiting`);
  return facts;
}

/** Whether every word of the search is in what is shown of a model. */
function matches({ name, details, capabilities }, words) {
  const { family, parameter_size, quantization_level } = details;
  const text = [name, family, parameter_size, quantization_level, ...(capabilities ?? [])].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function drawInstalled() {
  const words = byId("model-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = installed.filter((model) => matches(model, words));
  const size = installed.reduce((all, model) => all + model.size, 0);
  const all = `${plural(installed.length, "model")}, ${bytes(size)}`;
  setText(byId("installed-count"), words.length ? `${found.length} of ${all}` : all);
  const rows = found.length ? found : [null];
  reconcile(byId("installed"), rows, (model) => model?.name ?? "", makeInstalled, updateInstalled);
}

function makeInstalled(model) {
  if (!model) return el("li", { class: "none" });
  const { name } = model;
  const quiet = (text, onclick) => button(text, onclick, { class: "quiet", "aria-label": `${text} ${name}` });
  const chat = quiet("Chat", () => startWith(name));
  const load = quiet("Load", () => act(load, () => api.load(name)));
  const details = quiet("Details", () => showDetails(name));
  const remove = quiet("Delete", () => removeModel(name));
  const buttons = el("div", { class: "buttons" }, chat, load, details, remove);
  return el("li", { class: "card" }, el("h3", {}, name), el("p", { class: "facts" }), buttons);
}

function updateInstalled(node, model) {
  if (!model) {
    setText(node, installed.length ? "No installed model is called so." : "None yet. Pull one above.");
    return;
  }
  const { details, size, modified_at, capabilities } = model;
  const facts = [bytes(size), details.parameter_size, details.quantization_level, details.family];
  facts.push(...(capabilities ?? []).filter((name) => name !== "completion"), day(new Date(modified_at)));
  setText(node.children[1], facts.filter(Boolean).join(" · "));
  const [chat, load] = node.children[2].children;
  chat.hidden = Boolean(capabilities && !capabilities.includes("completion"));
  load.hidden = loaded.some(({ digest }) => digest === model.digest);
}

/** Does something that takes a while, with its button out of reach. */
async function act(button, work) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    toast(error.message);
  }
  button.disabled = false;
  button.removeAttribute("aria-busy");
  await loadRunning();
}

async function removeModel(name) {
  const text = `${name} and what no other model uses of it is deleted from this machine.`;
  if (!(await confirmed("Delete the model?", text, "Delete"))) return;
  try {
    await api.remove(name);
    toast(`${name} is deleted.`);
  } catch (error) {
    toast(error.message);
  }
  changed();
  byId("model-filter").focus();
}

async function showDetails(name) {
  let model;
  try {
    model = await api.show(name);
  } catch (error) {
    return toast(error.message);
  }
  byId("details-title").textContent = name;
  byId("details-body").replaceChildren(...detailsOf(model));
  byId("details").showModal();
}

function detailsOf({ details, capabilities, parameters, system, template, license, model_info }) {
  const architecture = model_info["general.architecture"];
  const context = model_info[`${architecture}.context_length`];
  const facts = [
    ["Architecture", architecture],
    ["Parameters", details.parameter_size],
    ["Quantisation", details.quantization_level],
    ["Context", context && `${count(context)} tokens`],
    ["Can", capabilities.join(", ")],
  ];
  const rows = facts.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  const texts = [
    ["Parameters", parameters],
    ["System prompt", system],
    ["Template", template],
    ["Licence", license],
  ];
  const long = texts
    .filter(([, text]) => text)
    .map(([name, text]) => {
      const take = button("Copy", () => copy(text), { class: "quiet small", "aria-label": `Copy: ${name}` });
      return el(
        "details",
        {},
        el("summary", {}, name),
        take,
        el("pre", { tabindex: "0", role: "region", "aria-label": name }, text.slice(0, MAX_TEXT)),
      );
    });
  return [el("dl", {}, rows.flat()), ...long];
}
