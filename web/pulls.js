// Downloads: started by a person, shown until they are done or dismissed, and stopped when the page is left.

import * as api from "./api.js";
import { announce, button, byId, el, reconcile, setText } from "./dom.js";
import { bytes, duration } from "./format.js";

/** How far back the speed is measured, in milliseconds. */
const SPAN = 5000;

/** By what is pulled. */
const pulls = new Map();

class Pull {
  controller = new AbortController();
  /** Digest → `{total, completed}`. */
  parts = new Map();
  status = "starting";
  state = "running";
  /** `[time, bytes]` of the last seconds. */
  points = [];

  constructor(name, insecure) {
    this.name = name;
    this.insecure = insecure;
  }

  get total() {
    return sum(this.parts, "total");
  }

  get completed() {
    return sum(this.parts, "completed");
  }

  take({ status, digest, total, completed }, now) {
    this.status = status;
    if (digest && total)
      this.parts.set(digest, { total, completed: completed ?? this.parts.get(digest)?.completed ?? 0 });
    this.points = this.points.filter(([time]) => now - time < SPAN);
    this.points.push([now, this.completed]);
  }

  /** Bytes a second; 0 where that is not known yet. */
  get speed() {
    const [first, last] = [this.points[0], this.points.at(-1)];
    return first && last[0] - first[0] > 300 ? ((last[1] - first[1]) / (last[0] - first[0])) * 1000 : 0;
  }

  get text() {
    if (this.state !== "running") return this.status;
    if (!this.total || this.completed >= this.total) return this.status;
    const { total, completed, speed } = this;
    const left = speed > 0 ? ` · ${bytes(speed)}/s · ${duration(((total - completed) / speed) * 1000)} left` : "";
    return `${bytes(completed)} of ${bytes(total)}${left}`;
  }
}

const sum = (parts, name) => [...parts.values()].reduce((all, part) => all + part[name], 0);

/** Starts a download, or again one that has ended; `onDone` is called when the model is there. */
export async function startPull(name, insecure, onDone) {
  if (pulls.get(name)?.state === "running") return;
  const pull = new Pull(name, insecure);
  pull.onDone = onDone;
  pulls.set(name, pull);
  draw();
  announce(`Pulling ${name}.`);
  try {
    for await (const line of api.pull(name, insecure, pull.controller.signal)) {
      pull.take(line, performance.now());
      draw();
    }
    pull.state = "done";
    pull.status = "Done.";
    onDone();
    announce(`${name} is here.`);
  } catch (error) {
    const isStopped = error.name === "AbortError";
    pull.state = isStopped ? "stopped" : "failed";
    pull.status = isStopped ? "Stopped. What has come is kept, and a new pull goes on from there." : error.message;
    if (!isStopped) announce(`${name} could not be pulled. ${error.message}`);
  }
  draw();
}

function make(pull) {
  const bar = el("progress", { "aria-label": `Download of ${pull.name}` });
  const text = el("p", { class: "hint" });
  const stop = button("Stop", () => pulls.get(pull.name).controller.abort(), {
    class: "quiet",
    "aria-label": `Stop the download of ${pull.name}`,
  });
  const again = button(
    "Try again",
    () => {
      const old = pulls.get(pull.name);
      startPull(old.name, old.insecure, old.onDone);
    },
    { class: "quiet" },
  );
  const dismiss = button(
    "Dismiss",
    () => {
      pulls.delete(pull.name);
      draw();
      byId("pull-name").focus();
    },
    { class: "quiet", "aria-label": `Dismiss ${pull.name}` },
  );
  const buttons = el("div", { class: "buttons" }, stop, again, dismiss);
  return el("li", { class: "card" }, el("h3", {}, pull.name), bar, text, buttons);
}

function update(node, pull) {
  const [, bar, text, buttons] = node.children;
  const [stop, again, dismiss] = buttons.children;
  const isRunning = pull.state === "running";
  bar.hidden = !isRunning;
  if (pull.total) {
    bar.max = pull.total;
    bar.value = Math.min(pull.completed, pull.total);
  } else {
    bar.removeAttribute("value");
  }
  setText(text, pull.text);
  text.className = pull.state === "failed" ? "problem" : "hint";
  node.dataset.state = pull.state;
  stop.hidden = !isRunning;
  again.hidden = isRunning || pull.state === "done";
  dismiss.hidden = isRunning;
}

function draw() {
  reconcile(byId("pulls"), [...pulls.values()], ({ name }) => name, make, update);
}
