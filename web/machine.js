// The page of the machine: what the daemon does now, what memory it takes, and how its last requests went.

import * as api from "./api.js";
import { sparkline, stack } from "./charts.js";
import { byId, el, reconcile, setText } from "./dom.js";
import { bytes, count, duration, plural, speed, when } from "./format.js";

/** Milliseconds between two looks, and looks that are drawn. */
const EVERY = 1000;
const SLOTS = 120;

let timer = 0;
let isShown = false;
/** Tokens a second, the newest last. */
let speeds = [];
let before = null;
let tiles;

/** The page is looked at. */
export function show() {
  isShown = true;
  about();
  watch();
}

/** It is not any more. */
export function hide() {
  isShown = false;
  clearTimeout(timer);
}

async function about() {
  try {
    const { version, slm } = await api.version();
    const cpu = slm?.cpu;
    const text = `slm ${slm?.version ?? version}`;
    setText(
      byId("machine-about"),
      cpu ? `${text}, ${plural(cpu.threads, "thread")}, ${cpu.tier}: ${cpu.reason}` : text,
    );
  } catch {
    // the banner says that nobody answers
  }
}

async function watch() {
  clearTimeout(timer);
  if (!document.hidden) await look();
  if (isShown) timer = setTimeout(watch, EVERY);
}

async function look() {
  let status, loaded;
  try {
    [status, loaded] = await Promise.all([api.status(), api.running()]);
  } catch {
    return;
  }
  note(status);
  drawTiles(status, loaded);
  drawModels(loaded);
  drawRecent(status.recent);
}

function note({ uptime_ms, tokens }) {
  const seconds = before ? (uptime_ms - before.uptime_ms) / 1000 : 0;
  // a daemon that was started anew counts from zero
  if (seconds > 0 && tokens.generated >= before.generated) {
    speeds.push((tokens.generated - before.generated) / seconds);
  }
  if (seconds > (3 * EVERY) / 1000) speeds = [];
  speeds = speeds.slice(-SLOTS);
  before = { uptime_ms, generated: tokens.generated };
}

function tile(name, drawing) {
  const value = el("p", { class: "value" });
  const more = el("p", { class: "hint" });
  const node = el("div", { class: "tile" }, el("h2", {}, name), value, drawing?.node, more);
  return { node, value, more, drawing };
}

function buildTiles() {
  tiles = {
    speed: tile("Tokens a second", sparkline()),
    queue: tile("Requests"),
    memory: tile("Memory", stack([])),
    kv: tile("Keys and values", stack([])),
  };
  byId("tiles").append(...Object.values(tiles).map(({ node }) => node));
}

const sum = (loaded, get) => loaded.reduce((all, model) => all + (get(model) ?? 0), 0);

function drawTiles({ memory, requests, tokens, uptime_ms }, loaded) {
  if (!tiles) buildTiles();
  const now = speeds.at(-1) ?? 0;
  setText(tiles.speed.value, speed(now));
  const most = Math.max(0, ...speeds);
  setText(
    tiles.speed.more,
    `at most ${speed(most)} in the last 2 minutes · ${plural(tokens.generated, "token")} in ${duration(uptime_ms)}`,
  );
  tiles.speed.drawing.draw(speeds, SLOTS);

  const waiting = sum(loaded, (model) => model.requests?.waiting);
  const longest = Math.max(0, ...loaded.map((model) => model.requests?.estimated_wait_ms ?? 0));
  setText(tiles.queue.value, requests.running ? `${requests.running} now` : "idle");
  const wait = waiting ? `${waiting} waiting, about ${duration(longest)} · ` : "";
  setText(
    tiles.queue.more,
    `${wait}${count(requests.finished)} finished, ${count(requests.cancelled)} stopped, ${count(requests.failed)} failed`,
  );

  const { total = 0, available = 0, resident = 0, limit } = memory;
  const others = Math.max(0, total - available - resident);
  setText(tiles.memory.value, bytes(resident));
  const bound = limit ? ` · models may take ${bytes(limit)}` : "";
  setText(
    tiles.memory.more,
    total ? `others ${bytes(others)}, free ${bytes(available)} of ${bytes(total)}${bound}` : "of the daemon",
  );
  if (total)
    tiles.memory.drawing.draw([
      ["own", resident / total],
      ["others", others / total],
    ]);

  const used = sum(loaded, (model) => model.memory?.kv_used);
  const most_kv = sum(loaded, (model) => model.memory?.kv_limit);
  setText(tiles.kv.value, bytes(used));
  setText(tiles.kv.more, most_kv ? `of ${bytes(most_kv)} that loaded models may take` : "no model is loaded");
  tiles.kv.drawing.draw(most_kv ? [["own", used / most_kv]] : []);
}

function drawModels(loaded) {
  const rows = loaded.length ? loaded : [null];
  reconcile(byId("machine-models"), rows, (model) => model?.name ?? "", makeModel, updateModel);
}

function makeModel(model) {
  if (!model) return el("li", { class: "none" }, "None.");
  const drawing = stack([]);
  const node = el("li", { class: "card" }, el("h3", {}, model.name), drawing.node, el("p", { class: "facts" }));
  node.drawing = drawing;
  return node;
}

function updateModel(node, model) {
  if (!model) return;
  const { weights = 0, buffers = 0, kv_limit = 0, kv_used = 0 } = model.memory ?? {};
  const all = weights + buffers + kv_limit;
  node.drawing.draw(
    all
      ? [
          ["own", weights / all],
          ["buffers", buffers / all],
          ["kv", kv_used / all],
        ]
      : [],
  );
  const facts = [
    `weights ${bytes(weights)}`,
    `buffers ${bytes(buffers)}`,
    `keys and values ${bytes(kv_used)} of ${bytes(kv_limit)}`,
  ];
  facts.push(
    `context ${count(model.context_length)}`,
    `${model.requests?.running ?? 0} running, ${model.requests?.waiting ?? 0} waiting`,
  );
  setText(node.lastChild, facts.join(" · "));
}

const COLUMNS = [
  ["When", (r) => when(new Date(r.ended_at))],
  ["Model", (r) => r.model],
  ["Route", (r) => r.endpoint],
  ["Ended", (r) => r.status],
  [
    "Prompt",
    (r) => (r.cached_tokens ? `${count(r.prompt_tokens)} (${count(r.cached_tokens)} known)` : count(r.prompt_tokens)),
    "right",
  ],
  ["Answer", (r) => count(r.generated_tokens), "right"],
  ["First token", (r) => duration(r.first_token_ms), "right"],
  ["Tokens/s", (r) => speed(r.tokens_per_second), "right"],
  ["Waited", (r) => duration(r.queued_ms), "right"],
  ["Whole", (r) => duration(r.total_ms), "right"],
];

let recentDrawn = "";

function drawRecent(recent) {
  const text = JSON.stringify(recent);
  if (text === recentDrawn) return;
  recentDrawn = text;
  if (!recent.length) {
    byId("recent").replaceChildren(el("p", { class: "none" }, "None since the daemon started."));
    return;
  }
  const head = el(
    "tr",
    {},
    COLUMNS.map(([name, , side]) => el("th", { scope: "col", class: side }, name)),
  );
  const rows = recent.map((request) =>
    el(
      "tr",
      { class: request.status },
      COLUMNS.map(([, get, side]) => el("td", { class: side }, get(request))),
    ),
  );
  byId("recent").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, rows)));
}
