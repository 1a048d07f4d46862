// Looking for models that are not here yet, and pulling those that are found.

import * as api from "./api.js";
import { button, byId, el } from "./dom.js";
import { bytes, count, speed } from "./format.js";

/** Models of Hugging Face that are shown. */
const MAX_SHOWN = 20;

let pull;

/** Makes the form work; `pullModel` is called with the name of a model. */
export function start(pullModel) {
  pull = pullModel;
  byId("find-form").addEventListener("submit", (event) => {
    event.preventDefault();
    find(byId("find-text").value.trim());
  });
}

async function find(text) {
  const form = byId("find-form");
  const submit = form.querySelector("button");
  submit.disabled = true;
  try {
    draw(await api.search(text));
  } catch (error) {
    say(error.message);
    byId("found").replaceChildren();
  }
  submit.disabled = false;
}

function say(text) {
  const place = byId("find-problem");
  place.textContent = text;
  place.hidden = !text;
}

function draw({ catalog, hugging_face, error }) {
  const cards = [
    ...catalog.map((model) => card(model.pull, ofCatalog(model), model.good_at)),
    ...hugging_face.slice(0, MAX_SHOWN).map((model) => card(model.pull, ofHub(model))),
  ];
  byId("found").replaceChildren(...cards);
  if (error) say(`Only the catalogue was searched: ${error}`);
  else say(cards.length ? "" : "Nothing found. Fewer words find more.");
}

function card(name, facts, about) {
  const take = button("Pull", () => pull(name), { class: "quiet", "aria-label": `Pull ${name}` });
  const texts = [el("h3", {}, name), el("p", { class: "facts" }, facts.filter(Boolean).join(" · "))];
  if (about) texts.push(el("p", { class: "hint" }, about));
  return el("li", { class: "card" }, ...texts, el("div", { class: "buttons" }, take));
}

function ofCatalog({ file_bytes, memory_bytes, tokens_per_second, fits, licence }) {
  const fit = { true: "fits this machine", false: "does not fit the free memory" }[fits];
  return [
    `about ${bytes(file_bytes)}`,
    `${bytes(memory_bytes)} of memory`,
    tokens_per_second && `about ${speed(tokens_per_second)} tokens/s`,
    fit,
    licence,
  ];
}

function ofHub({ parameters, downloads, licence }) {
  return [parameters && `${count(parameters / 1e6)} million parameters`, `${count(downloads)} downloads`, licence];
}
