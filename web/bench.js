// The page of benchmarks: draws what `slm bench` and `slm bench serve` measured on the daemon's machine, one run or several
// beside each other, and files of other machines that a person chooses. Files of llama-bench have the same fields.

import * as api from "./api.js";
import { bar } from "./charts.js";
import { byId, el, reconcile, setText } from "./dom.js";
import { bytes, count, duration, plural, speed, when } from "./format.js";

/** Tests that are drawn, bytes of a file that are read, and series with a colour of their own. */
const MAX_ROWS = 400;
const MAX_BYTES = 8 << 20;
const N_COLOURS = 6;
/** Milliseconds between two looks at what is kept: a run is there after its first test, and grows. */
const EVERY = 5000;

let store;
let timer = 0;
let isShown = false;
/** Runs that the daemon keeps, with what there is to draw of them; null until it has answered. */
let runs = null;
/** Ids of the runs that are drawn; null while nobody has chosen, and the newest is. */
let chosen = null;
/** Whether the last look is what went wrong. */
let hasFailed = false;
/** What was drawn last. */
let drawn = "";

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
    problem("");
    draw();
    input.focus();
  });
}

/** The page is looked at. */
export function show() {
  isShown = true;
  draw();
  watch();
}

/** It is not any more. */
export function hide() {
  isShown = false;
  clearTimeout(timer);
}

async function watch() {
  clearTimeout(timer);
  if (!document.hidden || runs === null) await look();
  if (isShown) timer = setTimeout(watch, EVERY);
}

async function look() {
  try {
    runs = (await api.benchmarks()).map(runOf).filter(({ rows }) => rows.length);
  } catch (error) {
    // the banner says that nobody answers
    if (error.status) problem(error.message);
    hasFailed ||= Boolean(error.status);
    return;
  }
  if (hasFailed) problem("");
  hasFailed = false;
  draw();
}

/** A run of the daemon, as it is listed and drawn. */
function runOf({ id, started_at, results }) {
  const began = when(new Date(started_at));
  const rows = results.map((result) => row(result, began)).filter(Boolean);
  const names = results.map((result) => text(result?.model_filename) || text(result?.model_id));
  const tests = [...new Set(rows.map((r) => r.test))];
  const shown = tests.length > 4 ? [...tests.slice(0, 3), `${tests.length - 3} more`] : tests;
  return { id, rows, name: names.find(Boolean) ?? "", about: `${began} · ${shown.join(", ")}` };
}

const isChosen = (run, index) => (chosen === null ? index === 0 : chosen.has(run.id));

function choose(id, is) {
  chosen ??= new Set(runs.filter(isChosen).map((run) => run.id));
  if (is) chosen.add(id);
  else chosen.delete(id);
  draw();
}

function problem(why) {
  const place = byId("bench-problem");
  setText(place, why);
  place.hidden = !why;
}

async function take(files) {
  problem("");
  let rows = [];
  try {
    for (const file of files) {
      if (file.size > MAX_BYTES) throw new Error(`${file.name} is too large for results of a benchmark.`);
      rows = rows.concat(read(await file.text(), file.name));
    }
  } catch (error) {
    problem(error.message);
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

/** What is drawn of a result, of a model or of a server; null where that is nothing. */
function row(value, file) {
  return number(value?.output_throughput) === null ? ofModel(value, file) : ofServer(value, file);
}

function ofModel(value, file) {
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

/** So many requests at once. */
function ofServer(value, file) {
  const speed = number(value.output_throughput);
  const atOnce = number(value.max_concurrency);
  return {
    file,
    model: text(value.model_id),
    setup: "",
    cpu: "",
    isServer: true,
    test: atOnce === null ? "at any rate" : `${count(atOnce)} at once`,
    speed,
    low: speed,
    high: speed,
    share: null,
    done: number(value.completed),
    failed: number(value.failed),
    all: number(value.total_token_throughput),
    ttft: number(value.median_ttft_ms),
    ttft99: number(value.p99_ttft_ms),
    tpot: number(value.median_tpot_ms),
    tpot99: number(value.p99_tpot_ms),
  };
}

function testName(prompt, gen, depth) {
  const name = [prompt && `pp${prompt}`, gen && `tg${gen}`].filter(Boolean).join("+");
  return depth ? `${name} @ d${depth}` : name;
}

const RANGE = "the thin line is the range of the repetitions";
const KINDS = [
  ["Reading a prompt", `tokens of a prompt in a second (pp); ${RANGE}`, (r) => r.prompt > 0 && r.gen === 0],
  ["Writing an answer", `single tokens in a second (tg); ${RANGE}`, (r) => r.prompt === 0 && r.gen > 0],
  ["A prompt and its answer", `tokens of both in a second (pp+tg); ${RANGE}`, (r) => r.prompt > 0 && r.gen > 0],
  ["Under load", "tokens of all answers together in a second, by requests at once", (r) => r.isServer === true],
];

/** What is to be drawn: the runs that are chosen, then files. */
function wanted() {
  const ofFiles = store.setting("bench");
  const ofRuns = (runs ?? []).filter(isChosen).flatMap((run) => run.rows);
  return { ofFiles: Array.isArray(ofFiles) ? ofFiles : [], ofRuns };
}

function draw() {
  drawRuns();
  const { ofFiles, ofRuns } = wanted();
  byId("bench-clear").hidden = !ofFiles.length;
  const rows = [...ofRuns, ...ofFiles].slice(0, MAX_ROWS).map((r) => ({ ...r }));
  // a page that is scrolled or read stays as it is
  const now = JSON.stringify(rows);
  if (now === drawn) return;
  drawn = now;
  const place = byId("bench-results");
  if (!rows.length) {
    place.replaceChildren(el("p", { class: "none" }, "Nothing to draw: choose a run above, or a file."));
    return;
  }
  const series = seriesOf(rows);
  const charts = KINDS.map(([title, what, belongs]) => chart(title, what, rows.filter(belongs), series));
  const cpus = [...new Set(rows.map((r) => r.cpu).filter(Boolean))];
  const servers = rows.filter((r) => r.isServer);
  const models = rows.filter((r) => !r.isServer);
  place.replaceChildren(
    ...[
      cpus.length > 0 && el("p", { class: "hint" }, cpus.join("; ")),
      ...charts,
      models.length > 0 && table("All figures of models", COLUMNS, models),
      servers.length > 0 && table("All figures under load", SERVER_COLUMNS, servers),
    ].filter(Boolean),
  );
}

function drawRuns() {
  const items = runs === null ? [] : runs.length ? runs.map((run, index) => ({ ...run, index })) : [null];
  reconcile(byId("bench-runs"), items, (run) => run?.id ?? "", makeRun, updateRun);
}

function makeRun(run) {
  if (!run) return el("li", { class: "none" }, "None yet: measure something, and it appears here.");
  const input = el("input", { type: "checkbox", onchange: () => choose(run.id, input.checked) });
  return el("li", {}, el("label", {}, input, el("span", {}, el("strong"), " ", el("span", { class: "hint" }))));
}

function updateRun(node, run) {
  if (!run) return;
  node.querySelector("input").checked = isChosen(run, run.index);
  setText(node.querySelector("strong"), run.name || "?");
  setText(node.querySelector(".hint"), run.about);
}

/** What tells runs of a kind apart, as far as they differ: model, setup, run. Series → its number. */
function seriesOf(rows) {
  const kinds = [rows.filter((r) => r.isServer), rows.filter((r) => !r.isServer)];
  const differs = (part) => kinds.some((kind) => new Set(kind.map((r) => r[part])).size > 1);
  const parts = ["model", "setup", "file"].filter(differs);
  for (const r of rows) {
    const names = (parts.length ? parts : ["model"]).map((part) => r[part]);
    r.series = names.filter(Boolean).join(" · ");
  }
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
        const wait = r.isServer && r.ttft !== null ? `first token after ${duration(r.ttft)}` : "";
        const label = el(
          "p",
          {},
          el("span", {}, r.series),
          el("strong", {}, `${speed(r.speed)} tokens/s`),
          el("span", { class: "hint" }, share || wait),
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
    el("figcaption", {}, el("h2", {}, title), el("p", { class: "hint" }, what)),
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
  ["Run", (r) => r.file],
];

const some = (n, say) => (n === null ? "–" : say(n));
const SERVER_COLUMNS = [
  ["Model", (r) => r.model],
  ["Requests", (r) => r.test],
  ["Done", (r) => some(r.done, count), "right"],
  ["Failed", (r) => some(r.failed, count), "right"],
  ["Tokens/s", (r) => speed(r.speed), "right"],
  ["With prompts", (r) => some(r.all, speed), "right"],
  ["First token", (r) => some(r.ttft, duration), "right"],
  ["99 of 100", (r) => some(r.ttft99, duration), "right"],
  ["Each further", (r) => some(r.tpot, duration), "right"],
  ["99 of 100", (r) => some(r.tpot99, duration), "right"],
  ["Run", (r) => r.file],
];

function table(caption, columns, rows) {
  const head = el(
    "tr",
    {},
    columns.map(([name, , side]) => el("th", { scope: "col", class: side }, name)),
  );
  const body = rows.map((r) =>
    el(
      "tr",
      {},
      columns.map(([, get, side]) => el("td", { class: side }, get(r))),
    ),
  );
  const inner = el(
    "table",
    {},
    el("caption", {}, `${caption}, ${plural(rows.length, "test")}`),
    el("thead", {}, head),
    el("tbody", {}, body),
  );
  return el("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": caption }, inner);
}
