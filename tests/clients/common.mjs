// What the programs that drive clients share: the models that a test has made, and what they are known to answer.
//
// Each is called as `node CLIENT.mjs URL REFERENCE` and ends with "OK". REFERENCE is the file with the vectors that the
// model "vec" must give; SLM_CLIENTS names the folder where npm installed the clients.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";

export const [url, reference] = process.argv.slice(2);

/** A package of the folder in which the clients are. */
export const load = createRequire(`${process.env.SLM_CLIENTS}/`);

/** A model that can chat. */
export const MODEL = "smollm2:135m";
/** One that calls `get_weather` when it is asked for the weather in a city, and says what the tool answered. */
export const WEATHER = "weather";
/** One whose answers do not end. */
export const ENDLESS = "endless";
/** One that makes vectors. */
export const EMBEDDER = "vec";

export const QUESTION = "What is the capital of France? Answer with one word.";
export const FACT = "The capital of France is Paris.";
export const messages = [{ role: "user", content: QUESTION }];
export const weatherQuestion = [{ role: "user", content: "What is the weather in Paris?" }];
export const WEATHER_ANSWER = "It is windy in Paris.";

/** What arguments of `get_weather` look like. */
export const cityOnly = {
  type: "object",
  additionalProperties: false,
  required: ["city"],
  properties: { city: { type: "string" } },
};
/** A form for an answer to the question. */
export const capitalForm = {
  type: "object",
  additionalProperties: false,
  required: ["capital", "letters"],
  properties: { capital: { type: "string", enum: ["Rome", "Oslo", "Paris"] }, letters: { type: "integer", enum: [4, 5] } },
};

/** Texts with the vectors that another program made of them. */
export const golden = JSON.parse(fs.readFileSync(reference, "utf8")).cases.map(({ text, embedding }) => ({ text, embedding }));

/** Asserts that `vectors` are those of the golden texts. */
export function areGolden(vectors) {
  assert.equal(vectors.length, golden.length);
  for (const [i, { text, embedding }] of golden.entries()) {
    assert.equal(vectors[i].length, embedding.length, text);
    const worst = Math.max(...embedding.map((x, at) => Math.abs(x - vectors[i][at])));
    assert.ok(worst < 1e-5, `${text}: ${worst}`);
  }
}

/** Asserts that `text` is JSON in the form of `capitalForm`, with the right answer. */
export function isCapital(text) {
  const value = typeof text === "string" ? JSON.parse(text) : text;
  assert.deepEqual(Object.keys(value).sort(), ["capital", "letters"], JSON.stringify(text));
  assert.equal(value.capital, "Paris");
  assert.ok([4, 5].includes(value.letters), JSON.stringify(text));
}

/** The error that `call` ends with. */
export async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  return assert.fail(`it is an error: ${call}`);
}

const requests = async () => (await (await fetch(`${url}/api/status`)).json()).requests;

/**
 * Asserts that the daemon gives up an answer when the client does: `stream` gets a function to call for each piece of
 * text, and `giveUp` is called after some of them. Returns the error that `stream` ended with, if any.
 */
export async function isGivenUp(stream, giveUp) {
  const before = await requests();
  let pieces = 0;
  let error;
  try {
    await stream((text) => {
      pieces += text ? 1 : 0;
      if (pieces === 4) giveUp();
    });
  } catch (caught) {
    error = caught;
  }
  assert.ok(pieces >= 4, `it came to ${pieces} pieces: ${error}`);
  const deadline = Date.now() + 60_000;
  for (;;) {
    const now = await requests();
    if (now.running === 0 && now.cancelled === before.cancelled + 1) return error;
    assert.ok(Date.now() < deadline, `the daemon goes on: ${JSON.stringify({ before, now })}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
