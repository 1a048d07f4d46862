// The dialog with a conversation's system prompt and parameters.

import { byId, el } from "./dom.js";

/** Options of the API with their bounds; an empty field leaves the choice to the model. */
const PARAMETERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 5, step: 0.05, hint: "0 always takes the likeliest word" },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.01 },
  { name: "top_k", label: "Top k", min: 0, max: 100000, step: 1 },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01 },
  { name: "repeat_penalty", label: "Repeat penalty", min: 0, max: 5, step: 0.05 },
  {
    name: "seed",
    label: "Seed",
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    step: 1,
    hint: "the same seed, the same answer",
  },
  { name: "num_predict", label: "Answer tokens", min: 1, max: 1000000, step: 1 },
  { name: "num_ctx", label: "Context tokens", min: 0, max: 10000000, step: 1, hint: "0 is all that the model has" },
];

const THINKING = [
  ["", "As the model does"],
  ["off", "Off"],
  ["on", "On"],
  ["low", "Low"],
  ["medium", "Medium"],
  ["high", "High"],
];

const field = (name) => byId(`option-${name}`);

function build() {
  const rows = PARAMETERS.map(({ name, label, min, max, step, hint }) => {
    const id = `option-${name}`;
    const input = el("input", { id, type: "number", min, max, step, inputmode: "decimal", placeholder: "model's own" });
    if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
    return el(
      "div",
      {},
      el("label", { for: id }, label),
      input,
      hint && el("p", { id: `${id}-hint`, class: "hint" }, hint),
    );
  });
  const choices = THINKING.map(([value, label]) => el("option", { value }, label));
  const think = el(
    "div",
    { id: "think-field" },
    el("label", { for: "think" }, "Thinking"),
    el("select", { id: "think" }, choices),
  );
  const stop = el(
    "div",
    {},
    el("label", { for: "option-stop" }, "Stop texts, one a line"),
    el("textarea", { id: "option-stop", rows: 2 }),
  );
  byId("parameters").append(...rows, stop, think);
}

/** What the API takes for a choice of thinking; undefined for none. */
export function thinkValue(choice) {
  if (choice === "on" || choice === "off") return choice === "on";
  return choice || undefined;
}

/** Lets a person change the settings of `conversation`; `onSave` is called when they were. */
export function openSettings(conversation, canThink, onSave) {
  if (!field("seed")) build();
  const dialog = byId("settings");
  const form = byId("settings-form");
  const show = ({ system, options, think }) => {
    byId("system").value = system;
    for (const { name } of PARAMETERS) field(name).value = options[name] ?? "";
    field("stop").value = Array.isArray(options.stop) ? options.stop.join("\n") : "";
    byId("think").value = think;
  };
  show(conversation);
  byId("think-field").hidden = !canThink;
  byId("settings-reset").onclick = () => show({ system: "", options: {}, think: "" });
  byId("settings-cancel").onclick = () => dialog.close();
  form.onsubmit = () => {
    const options = {};
    for (const { name } of PARAMETERS) {
      const { value } = field(name);
      if (value !== "") options[name] = Number(value);
    }
    const stop = field("stop")
      .value.split("\n")
      .filter((line) => line !== "");
    if (stop.length) options.stop = stop;
    conversation.system = byId("system").value.trim();
    conversation.options = options;
    conversation.think = byId("think").value;
    onSave();
  };
  dialog.showModal();
}
