// A person with a browser: drives the web page of a running daemon in headless Chromium, and ends with "OK".
//
//   node page.mjs DAEMON MODEL REFERENCE RESULTS
//
// DAEMON is its address, MODEL one that can chat, REFERENCE what is pulled over plain HTTP, RESULTS a file that
// `slmd bench -o json` wrote; that run is kept on the daemon's machine, and one of `slm bench serve` after it.
// SLM_BROWSER names the folder with Playwright, axe-core and Chromium; pictures go to SLM_SCREENSHOTS where that is set.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { launch } from "./chromium.mjs";

const [address, model, reference, results] = process.argv.slice(2);
const origin = `http://${address}`;
const folder = process.env.SLM_BROWSER;
const axe = fs.readFileSync(createRequire(`${folder}/`).resolve("axe-core/axe.min.js"), "utf8");
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 360, height: 740 };

const browser = await launch(folder);
const context = await browser.newContext({ viewport: DESKTOP, colorScheme: "light" });
const page = await context.newPage();
page.setDefaultTimeout(60_000);

/** What must not happen, whatever else does. */
const faults = [];
page.on("pageerror", (error) => faults.push(`an exception: ${error}`));
page.on("console", (message) => {
  // what a test breaks on purpose is said there, too
  const isExpected = /ERR_FAILED|status of 4/.test(message.text());
  if (message.type() === "error" && !isExpected) faults.push(`the console: ${message.text()}`);
});
page.on("request", (request) => {
  if (!request.url().startsWith(`${origin}/`)) faults.push(`a request to ${request.url()}`);
});

const api = async (method, route, body) => {
  const response = await fetch(origin + route, { method, body: body && JSON.stringify(body) });
  return response.json();
};

/** Waits until `condition` gives something true. */
async function until(what, condition) {
  for (let tries = 0; tries < 600; tries++) {
    const value = await condition();
    if (value) return value;
    await page.waitForTimeout(100);
  }
  throw new Error(`it never happened: ${what}`);
}

/** No serious accessibility problem, no text cut off at the side, in both colours and on a phone; pictures of all. */
async function look(name) {
  for (const [size, viewport] of [
    ["desktop", DESKTOP],
    ["phone", PHONE],
  ]) {
    for (const colours of ["light", "dark"]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme: colours, reducedMotion: "reduce" });
      await page.waitForTimeout(80);
      if (process.env.SLM_SCREENSHOTS) {
        const file = path.join(process.env.SLM_SCREENSHOTS, `${name}-${size}-${colours}.png`);
        await page.screenshot({ path: file });
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name} is ${wide} pixels too wide on a ${size}`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join("\n  ")}`);
      assert.deepEqual(told, [], `${name}, ${size}, ${colours}`);
    }
  }
  await page.setViewportSize(DESKTOP);
  await page.emulateMedia({ colorScheme: "light" });
}

const answers = page.locator(".message.assistant");
const lastAnswer = () => answers.last();
const textOf = (locator) => locator.locator(":scope > .text").innerText();
const sentChats = [];
page.on("request", (request) => {
  if (request.url().endsWith("/api/chat")) sentChats.push(request.postDataJSON());
});

async function send(text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

async function finished() {
  await page.getByRole("button", { name: "Send", exact: true }).waitFor();
  assert.equal(await lastAnswer().locator(".problem").isVisible(), false);
}

async function choose(settings) {
  await page.getByRole("button", { name: "Settings" }).click();
  for (const [label, value] of Object.entries(settings)) await page.getByLabel(label, { exact: true }).fill(value);
  await page.getByRole("button", { name: "Save" }).click();
}

// The whole conversation with a real model: streamed, as the API answers, kept, changed, asked again.
async function aChat() {
  await page.goto(origin);
  await page.locator("#model option", { hasText: model }).waitFor({ state: "attached" });
  await page.getByLabel("Model", { exact: true }).selectOption(model);
  await look("empty");
  await choose({ "System prompt": "You answer briefly.", Temperature: "0", "Answer tokens": "40" });
  await send("What is the capital of France?");
  const lengths = new Set();
  await until("the answer ends", async () => {
    lengths.add((await textOf(lastAnswer())).length);
    return page.getByRole("button", { name: "Send", exact: true }).isVisible();
  });
  await finished();
  assert.ok(lengths.size > 2, `the answer came in ${lengths.size} pieces`);
  const messages = [
    { role: "system", content: "You answer briefly." },
    { role: "user", content: "What is the capital of France?" },
  ];
  const options = { temperature: 0, num_predict: 40 };
  assert.deepEqual(sentChats.at(-1), { model, messages, options, stream: true });
  const expected = await api("POST", "/api/chat", { model, messages, options, stream: false });
  const words = (text) => text.replace(/\s+/g, " ").trim();
  const first = await textOf(lastAnswer());
  assert.equal(words(first), words(expected.message.content));
  const stats = await lastAnswer().locator(".stats").innerText();
  assert.match(
    stats,
    new RegExp(
      `${expected.eval_count} tokens · [\\d.,]+ tokens/s · first after .* · prompt ${expected.prompt_eval_count}`,
    ),
  );

  await page.reload();
  assert.equal(await textOf(lastAnswer()), first);
  assert.equal(await page.locator(".message.user .text").innerText(), "What is the capital of France?");

  // what was asked is changed, and what followed is written anew
  await page.getByRole("button", { name: "Edit message 1" }).click();
  await page.getByRole("textbox", { name: "Message 1" }).fill("What is the capital of Italy?");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Stop", exact: true }).waitFor();
  await finished();
  assert.equal(await page.locator(".message").count(), 2);
  assert.equal(sentChats.at(-1).messages[1].content, "What is the capital of Italy?");
  const italy = await textOf(lastAnswer());
  assert.notEqual(italy, first);
  await send("And of Spain?");
  await finished();
  assert.equal(sentChats.at(-1).messages.length, 4);

  // the same again gives the same, and what followed is gone
  const before = sentChats.length;
  await page.getByRole("button", { name: "Retry answer 2" }).click();
  await until("it is asked again", () => sentChats.length > before);
  await finished();
  assert.equal(await page.locator(".message").count(), 2);
  assert.equal(await textOf(lastAnswer()), italy);
  await look("chat");
}

// Escape and the button both end an answer; what came stays, the daemon stops working, and a reload changes nothing.
async function stopping() {
  await page.getByRole("button", { name: "New chat" }).click();
  await choose({ Temperature: "0", "Answer tokens": "4000", "Context tokens": "8192" });
  for (const end of [
    () => page.keyboard.press("Escape"),
    () => page.getByRole("button", { name: "Stop", exact: true }).click(),
  ]) {
    await send("Write a long story about a ship.");
    await until("the answer begins", async () => (await textOf(lastAnswer())).length > 20);
    await end();
    await lastAnswer().locator(".stats", { hasText: "stopped" }).waitFor();
    await until("the engine rests", async () => {
      const { models } = await api("GET", "/api/ps");
      return models.every(({ requests }) => requests.running === 0);
    });
  }
  const kept = await textOf(lastAnswer());
  assert.ok(kept.length > 20);
  const status = await api("GET", "/api/status");
  assert.equal(status.recent[0].status, "cancelled");
  await page.reload();
  assert.equal(await textOf(lastAnswer()), kept);
  // leaving in the middle of an answer keeps what there was
  await send("Go on.");
  await until("the answer begins", async () => (await textOf(lastAnswer())).length > 20);
  await page.waitForTimeout(1200);
  await page.reload();
  assert.ok((await textOf(lastAnswer())).length > 20);
}

// Conversations side by side, renamed and deleted.
async function conversations() {
  const list = page.locator("#conversation-list li");
  assert.equal(await list.count(), 2);
  await list.nth(1).getByRole("link").click();
  await page.locator(".message.user", { hasText: "Italy" }).waitFor();
  await list.nth(1).hover();
  await list
    .nth(1)
    .getByRole("button", { name: /^Rename/ })
    .click();
  await page.getByLabel("Name", { exact: true }).fill("Capitals");
  await look("dialog");
  await page.getByRole("button", { name: "Save" }).click();
  await list.getByRole("link", { name: "Capitals" }).waitFor();
  const other = list.filter({ hasText: "ship" });
  await other.hover();
  await other.getByRole("button", { name: /^Delete/ }).click();
  await page.locator("#ask").getByRole("button", { name: "Delete" }).click();
  await until("it is gone", async () => (await list.count()) === 1);
  await page.reload();
  assert.equal(await list.count(), 1);
  await page.setViewportSize(PHONE);
  await page.getByRole("button", { name: "Conversations" }).click();
  await look("conversations");
  await page.setViewportSize(PHONE);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#conversations").isVisible(), false);
  await page.setViewportSize(DESKTOP);
}

// A model may write whatever it likes.
async function hostileAnswer() {
  const thinking = "Should I <b>attack</b>? I write *Markdown* instead.";
  const content = fs.readFileSync(new URL("hostile.txt", import.meta.url), "utf8");
  const parts = content
    .match(/[^]{1,40}/g)
    .map((part) => ({ message: { role: "assistant", content: part }, done: false }));
  const lines = [{ message: { role: "assistant", content: "", thinking }, done: false }, ...parts];
  lines.push({
    message: { role: "assistant", content: "" },
    done: true,
    done_reason: "stop",
    eval_count: 9,
    eval_duration: 2e8,
  });
  await page.route("**/api/chat", (route) =>
    route.fulfill({
      contentType: "application/x-ndjson",
      body: lines.map((line) => JSON.stringify(line)).join("\n"),
    }),
  );
  await page.getByRole("button", { name: "New chat" }).click();
  await send("<img src=x onerror=alert(1)> **not bold**");
  await finished();
  await page.unroute("**/api/chat");
  const found = await page.evaluate(() => {
    const answer = document.querySelector(".message.assistant");
    const links = [...document.querySelectorAll(".message a")].map((a) => a.getAttribute("href"));
    const tags = [...new Set([...answer.querySelectorAll("*")].map((node) => node.localName))];
    return { links, tags, user: document.querySelector(".message.user .text").textContent, attacked: window.attacked };
  });
  assert.equal(found.attacked, undefined);
  assert.equal(found.user, "<img src=x onerror=alert(1)> **not bold**");
  assert.deepEqual(found.links, [
    "https://example.com/a_(b)",
    "https://example.com/picture.png",
    "https://example.com/bare",
  ]);
  for (const tag of ["img", "script", "iframe", "b", "style", "svg", "form"]) assert.ok(!found.tags.includes(tag), tag);
  for (const tag of ["h3", "table", "pre", "ol", "ul", "blockquote", "strong", "em", "del", "hr", "input"]) {
    assert.ok(found.tags.includes(tag), `no <${tag}> is drawn`);
  }
  await lastAnswer().locator("summary").click();
  assert.ok((await lastAnswer().locator(".thoughts .text").innerText()).includes("<b>attack</b>"));
  await look("markdown");

  // an error that the daemon tells, and a daemon that is gone
  await page.route("**/api/chat", (route) =>
    route.fulfill({ status: 400, body: '{"error":"the prompt is too long"}' }),
  );
  await page.getByRole("button", { name: /^Retry/ }).click();
  await lastAnswer().locator(".problem", { hasText: "the prompt is too long" }).waitFor();
  await page.unroute("**/api/chat");
  await page.route("**/api/**", (route) => route.abort());
  await page.getByRole("button", { name: /^Retry/ }).click();
  await page.getByText("The daemon does not answer. This page goes on").waitFor();
  await page.unroute("**/api/**");
  await until("it goes on", async () => page.locator("#offline").isHidden());
}

// A pull with its progress, from a registry; then the model is found, looked at, loaded, unloaded and deleted.
async function aPull() {
  await page.getByRole("link", { name: "Models", exact: true }).click();
  await page.getByLabel("Name or address").fill(reference);
  await page.getByLabel("Allow plain HTTP").check();
  await page.getByRole("button", { name: "Pull", exact: true }).click();
  const bar = page.getByRole("progressbar");
  const seen = [];
  let hasLooked = false;
  const card = page.locator("#pulls li");
  await until("the pull ends", async () => {
    const [value, max, text, state] = await card.evaluate((node) => {
      const { value, max } = node.querySelector("progress");
      return [value, max, node.querySelector("p").textContent, node.dataset.state];
    });
    // parts are told as they begin, so the whole grows, too
    if (state === "running" && value > 0.1 * max && value < 0.9 * max) seen.push([value, text]);
    if (seen.length > 2 && !hasLooked) {
      hasLooked = true;
      await look("pull");
    }
    assert.notEqual(state, "failed", text);
    return state === "done";
  });
  assert.ok(seen.length > 2, `progress was seen ${seen.length} times`);
  assert.ok(
    seen.every(([value], index) => index === 0 || value >= seen[index - 1][0]),
    "it only grows",
  );
  assert.match(seen.at(-1)[1], /^[\d.]+ [KM]B of [\d.]+ [KM]B · [\d.]+ [KM]?B\/s · .* left$/);
  assert.equal(await bar.isVisible(), false);

  const name = reference.split("/").pop();
  await page.getByLabel("Search", { exact: true }).fill(`library/${name}`);
  const row = page.locator("#installed li");
  await until(
    "the search finds it alone",
    async () => (await row.count()) === 1 && (await row.innerText()).includes(name),
  );
  await row.getByRole("button", { name: /^Details/ }).click();
  await page.locator("#details").getByText("System prompt").click();
  await page.getByText("You count boats.").waitFor();
  await look("details");
  await page.getByRole("button", { name: "Close" }).click();
  await row.getByRole("button", { name: /^Load/ }).click();
  const unload = page.getByRole("button", { name: new RegExp(`^Unload .*${name}`) });
  await unload.waitFor();
  await look("models");
  await unload.click();
  await unload.waitFor({ state: "detached" });
  await row.getByRole("button", { name: /^Delete/ }).click();
  await page.locator("#ask").getByRole("button", { name: "Delete" }).click();
  await page.getByText("No installed model is called so.").waitFor();
  const { models } = await api("GET", "/api/tags");
  assert.ok(models.every((model) => !model.name.includes(name)));

  await page.getByLabel("Name or address").fill(reference.replace(/:[^:/]+$/, ":none"));
  await page.getByRole("button", { name: "Pull", exact: true }).click();
  await page.locator("#pulls .problem").waitFor();
}

// Models that are not here are found, with what they take; the hub is one that cannot be reached.
async function finding() {
  await page.getByRole("link", { name: "Models", exact: true }).click();
  await page.getByLabel("What it is called or good at").fill("smollm2");
  await page.getByRole("button", { name: "Find", exact: true }).click();
  const found = page.locator("#found li");
  await until("models are found", async () => (await found.count()) > 1);
  const { catalog, error } = await api("POST", "/api/search", { query: "smollm2" });
  assert.equal(await found.count(), catalog.length);
  assert.deepEqual(await found.locator("h3").allInnerTexts(), catalog.map((model) => model.pull));
  assert.match(await found.first().innerText(), /of memory/);
  assert.match(await page.locator("#find-problem").innerText(), /^Only the catalogue was searched: /);
  assert.ok(error);
  await look("find");
  await page.getByLabel("What it is called or good at").fill("nothing is called so");
  await page.getByRole("button", { name: "Find", exact: true }).click();
  await until("nothing is found", async () => (await found.count()) === 0);
}

// Figures of the machine are those of the API, and move while an answer is written.
async function theMachine() {
  await page.getByRole("link", { name: "Machine", exact: true }).click();
  const speed = page.locator(".tile .value").first();
  const request = {
    model,
    messages: [{ role: "user", content: "Count to a hundred." }],
    options: { num_predict: 150, temperature: 0 },
  };
  const answer = api("POST", "/api/chat", { ...request, stream: false });
  await until("tokens come", async () => Number.parseFloat(await speed.innerText()) > 0);
  await answer;
  await until("the engine rests", async () => (await speed.innerText()) === "0.0");
  const { recent } = await api("GET", "/api/status");
  const row = page.locator("#recent tbody tr").first();
  await until("the request is shown", async () => (await row.innerText()).includes(String(recent[0].generated_tokens)));
  const cells = await row.locator("td").allInnerTexts();
  assert.deepEqual(cells.slice(1, 4), [recent[0].model, "/api/chat", recent[0].status]);
  assert.equal(await page.locator("#machine-models .card").count(), 1);
  await look("machine");
}

// What was measured here is drawn by itself, beside other runs and beside files; what is new appears.
async function benchmarks() {
  const { runs } = await api("GET", "/api/bench");
  assert.deepEqual(
    runs.map(({ kind }) => kind),
    ["server", "model"],
  );
  const [underLoad, rows] = runs.map(({ results }) => results);
  await page.getByRole("link", { name: "Benchmarks", exact: true }).click();
  const boxes = page.locator("#bench-runs").getByRole("checkbox");
  const lines = page.locator("#bench-results tbody tr");
  const bars = page.locator("#bench-results svg.bar");
  await until("runs are listed", async () => (await boxes.count()) === 2);
  // the newest, without a word
  assert.deepEqual([await boxes.nth(0).isChecked(), await boxes.nth(1).isChecked()], [true, false]);
  assert.equal(await lines.count(), underLoad.length);
  assert.match(await page.locator("#bench-results .chart").innerText(), /Under load[^]*2 at once/);
  await look("bench-server");
  await boxes.nth(0).uncheck();
  await page.getByText("Nothing to draw: choose a run above").waitFor();
  await page.locator("#bench-runs label").nth(1).click();
  await until("all tests are in the table", async () => (await lines.count()) === rows.length);
  assert.equal(await bars.count(), rows.length);
  const widths = await page
    .locator("#bench-results svg.bar rect")
    .evaluateAll((all) => all.map((rect) => Number(rect.getAttribute("width"))));
  assert.ok(
    widths.every((width) => width > 0 && width <= 100),
    widths.join(),
  );
  assert.ok(rows.every((row) => row.model_filename === model));
  await look("bench");

  // a file beside it, which a reload leaves there
  await page.getByLabel(/^Results/).setInputFiles(results);
  await until("the file is drawn, too", async () => (await lines.count()) === 2 * rows.length);
  await look("bench-compare");
  await page.reload();
  await until("the newest and the file", async () => (await lines.count()) === underLoad.length + rows.length);
  const text = { name: "bad.json", mimeType: "application/json", buffer: Buffer.from("{}") };
  await page.getByLabel(/^Results/).setInputFiles(text);
  await page.getByText("bad.json holds no results").waitFor();
  await page.getByRole("button", { name: "Clear", exact: true }).click();
  await until("only the newest", async () => (await lines.count()) === underLoad.length);
  assert.equal(await page.locator("#bench-problem").isVisible(), false);

  // a run that appears while the page is looked at is drawn, as long as nobody has chosen
  const newer = { id: "new", kind: "model", started_at: new Date().toISOString(), results: rows.slice(0, 1) };
  await page.route("**/api/bench", (route) => route.fulfill({ json: { runs: [newer, ...runs] } }));
  await until("it is drawn", async () => (await bars.count()) === 1 && (await boxes.count()) === 3);
  // names are text, whatever they are
  const hostile = [{ model_filename: "<img src=x onerror=alert(1)>", model_type: "<b>x</b>", avg_ts: 1, n_gen: 1 }, "no result", null];
  await page.route("**/api/bench", (route) => route.fulfill({ json: { runs: [{ ...newer, results: hostile }] } }));
  await page.locator("#bench-runs", { hasText: "<img src=x" }).waitFor();
  assert.equal(await page.locator("#view-bench :is(img, b)").count(), 0);
  await page.route("**/api/bench", (route) => route.fulfill({ json: { runs: [] } }));
  await page.getByText("None yet: measure something").waitFor();
  await look("bench-empty");
  await page.unroute("**/api/bench");
}

// Without a mouse: the skip link, the pages, a message, and a dialog that gives the focus back.
async function keyboardAlone() {
  await page.goto("about:blank");
  await page.goto(`${origin}/#models`);
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Chat");
  await page.keyboard.press("Enter");
  await until("the field has the focus", async () => (await focused()) === "prompt");
  await page.locator("#settings-open").focus();
  await page.keyboard.press("Enter");
  await page.locator("#settings").waitFor();
  await look("settings");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "settings-open");
  await page.locator("#theme").focus();
  for (const theme of ["light", "dark", undefined]) {
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), theme);
  }
}

try {
  for (const part of [aChat, stopping, conversations, hostileAnswer, finding, aPull, theMachine, benchmarks, keyboardAlone]) {
    const began = Date.now();
    try {
      await part();
    } catch (error) {
      if (process.env.SLM_SCREENSHOTS)
        await page.screenshot({ path: path.join(process.env.SLM_SCREENSHOTS, "failed.png") });
      error.message = `${part.name}: ${error.message}\n${faults.join("\n")}`;
      throw error;
    }
    assert.deepEqual(faults, [], part.name);
    console.error(`${part.name}: ${Date.now() - began} ms`);
  }
  console.log("OK");
} finally {
  await browser.close();
}
