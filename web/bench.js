// The page of benchmarks: draws what `slmd bench -o json` or `jsonl` wrote, of one run or of several beside each other.
// Files of llama-bench have the same fields and are read too.

import { bar } from "./charts.js";
import { byId, el } from "./dom.js";
import { bytes, count, speed } from "./format.js";

/** Tests that are drawn, bytes of a file that are read, and series with a colour of their own. */
const MAX_ROWS = 400;
const MAX_BYTES = 8 << 20;
const N_COLOURS = 6;

let store;

/** Makes the page work. */
export function start(conversations) {
  store = conversations;
  const input = byId("bench-file");
  input.addEventListener("change", async () => {
    await take([...input.files]);
    input.value = "";
  });
  const view = byId("view-bench");
  view.addEventListener("dragover", (event) => event.preventDefault());
  view.addEventListener("drop", (event) => {
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
  byId("bench-clear").addEventListener("click", () => {
    store.set("bench", []);
    draw();
    input.focus();
  });
}

/** The page is looked at. */
export const show = () => draw();

async function take(files) {
  const problem = byId("bench-problem");
  problem.hidden = true;
  let rows = [];
  try {
    for (const file of files) {
      if (file.size > MAX_BYTES) throw new Error(`${file.name} is too large for results of a benchmark.`);
      rows = rows.concat(read(await file.text(), file.name));
    }
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    return;
  }
  if (!rows.length) return;
  store.set("bench", rows.slice(0, MAX_ROWS));
  draw();
}

/** The tests in a file. */
export function read(text, name) {
  const bad = (why) => new Error(`${name} holds no results of a benchmark: ${why}. Make one with \`-o json\`.`);
  let values;
  try {
    const lines = () =>
      text
        .split("\n")
        .filter((line) => line.trim())
        .map((line) => JSON.parse(line));
    values = text.trimStart().startsWith("[") ? JSON.parse(text) : lines();
  } catch {
    throw bad("it is no JSON");
  }
  const rows = values.map((value) => row(value, name));
  if (!rows.length || rows.includes(null)) throw bad("there are no figures in it");
  return rows;
}

const number = (value) => (Number.isFinite(value) && value >= 0 ? value : null);
const text = (value) => (typeof value === "string" ? value.slice(0, 200) : "");

function row(value, file) {
  const speed = number(value?.median_ts) ?? number(value?.avg_ts);
  if (speed === null) return null;
  const samples = Array.isArray(value.samples_ts) ? value.samples_ts.map(number).filter((n) => n !== null) : [];
  const prompt = number(value.n_prompt) ?? 0;
  const gen = number(value.n_gen) ?? 0;
  const depth = number(value.n_depth) ?? 0;
  return {
    file,
    model: text(value.model_type) || text(value.model_filename),
    size: number(value.model_size),
    setup: [text(value.tier), value.n_threads && `${value.n_threads} threads`].filter(Boolean).join(", "),
    cpu: text(value.cpu_info),
    prompt,
    gen,
    depth,
    test: text(value.test) || testName(prompt, gen, depth),
    speed,
    low: number(value.min_ts) ?? Math.min(speed, ...samples),
    high: number(value.max_ts) ?? Math.max(speed, ...samples),
    share: number(value.ceiling_share),
  };
}

function testName(prompt, gen, depth) {
  const name = [prompt && `pp${prompt}`, gen && `tg${gen}`].filter(Boolean).join("+");
  return depth ? `${name} @ d${depth}` : name;
}

const KINDS = [
  ["Reading a prompt", "tokens of a prompt in a second (pp)", (r) => r.prompt > 0 && r.gen === 0],
  ["Writing an answer", "single tokens in a second (tg)", (r) => r.prompt === 0 && r.gen > 0],
  ["A prompt and its answer", "tokens of both in a second (pp+tg)", (r) => r.prompt > 0 && r.gen > 0],
];

function draw() {
  const rows = store.setting("bench");
  const place = byId("bench-results");
  byId("bench-clear").hidden = !rows?.length;
  if (!Array.isArray(rows) || !rows.length) {
    place.replaceChildren(el("p", { class: "none" }, "Nothing to draw yet. Choose a file, or drop one here."));
    return;
  }
  const series = seriesOf(rows);
  const charts = KINDS.map(([title, what, belongs]) => chart(title, what, rows.filter(belongs), series));
  const cpus = [...new Set(rows.map((r) => r.cpu).filter(Boolean))];
  place.replaceChildren(el("p", { class: "hint" }, cpus.join("; ")), ...charts.filter(Boolean), table(rows));
}

/** What tells runs apart, as far as they differ: model, setup, file. Series → its number. */
function seriesOf(rows) {
  const parts = ["model", "setup", "file"].filter((part) => new Set(rows.map((r) => r[part])).size > 1);
  for (const r of rows) r.series = (parts.length ? parts : ["model"]).map((part) => r[part]).join(" · ");
  return new Map([...new Set(rows.map((r) => r.series))].map((name, index) => [name, index % N_COLOURS]));
}

function chart(title, what, rows, series) {
  if (!rows.length) return null;
  const top = Math.max(...rows.map((r) => r.high));
  const tests = [...new Set(rows.map((r) => r.test))];
  const groups = tests.map((test) => {
    const bars = rows
      .filter((r) => r.test === test)
      .map((r) => {
        const share = r.share === null ? "" : `${Math.round(r.share * 100)} % of what the machine can`;
        const label = el(
          "p",
          {},
          el("span", {}, r.series),
          el("strong", {}, `${speed(r.speed)} tokens/s`),
          el("span", { class: "hint" }, share),
        );
        return el(
          "li",
          {},
          label,
          bar({ value: r.speed, low: r.low, high: r.high, top, series: series.get(r.series) }),
        );
      });
    return el("div", { class: "group" }, el("h3", {}, test), el("ul", {}, bars));
  });
  return el(
    "figure",
    { class: "chart" },
    el(
      "figcaption",
      {},
      el("h2", {}, title),
      el("p", { class: "hint" }, `${what}; the thin line is the range of the repetitions`),
    ),
    groups,
  );
}

const COLUMNS = [
  ["Model", (r) => r.model],
  ["Size", (r) => (r.size === null ? "–" : bytes(r.size)), "right"],
  ["Computed on", (r) => r.setup],
  ["Test", (r) => r.test],
  ["Tokens/s", (r) => speed(r.speed), "right"],
  ["Range", (r) => `${speed(r.low)} … ${speed(r.high)}`, "right"],
  ["Of what is possible", (r) => (r.share === null ? "–" : `${Math.round(r.share * 100)} %`), "right"],
  ["File", (r) => r.file],
];

function table(rows) {
  const head = el(
    "tr",
    {},
    COLUMNS.map(([name, , side]) => el("th", { scope: "col", class: side }, name)),
  );
  const body = rows.map((r) =>
    el(
      "tr",
      {},
      COLUMNS.map(([, get, side]) => el("td", { class: side }, get(r))),
    ),
  );
  const inner = el(
    "table",
    {},
    el("caption", {}, `All figures, ${count(rows.length)} tests`),
    el("thead", {}, head),
    el("tbody", {}, body),
  );
  return el("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": "All figures" }, inner);
}
