// The unmodified `ollama` of npm, as a program on Node.js and as a page in a browser has it.

import assert from "node:assert/strict";
import {
  areGolden,
  capitalForm,
  cityOnly,
  EMBEDDER,
  ENDLESS,
  FACT,
  golden,
  isCapital,
  isGivenUp,
  load,
  messages,
  MODEL,
  QUESTION,
  refusal,
  url,
  WEATHER,
  WEATHER_ANSWER,
  weatherQuestion,
} from "./common.mjs";

const { Ollama } = load("ollama");
const { Ollama: InBrowser } = load("ollama/browser");
const client = new Ollama({ host: url });
const options = { temperature: 0, num_predict: 30 };

const { models } = await client.list();
const listed = models.find(({ name }) => name === MODEL);
assert.ok(listed.size > 90_000_000 && /^[0-9a-f]{64}$/.test(listed.digest), JSON.stringify(listed));
assert.equal(listed.details.family, "llama");
const shown = await client.show({ model: MODEL });
assert.equal(shown.model_info["general.architecture"], "llama");
assert.deepEqual(shown.capabilities, ["completion"]);
assert.ok((await client.show({ model: WEATHER })).capabilities.includes("tools"));
assert.match((await client.version()).version, /^\d+\.\d+\.\d+/);

// a conversation, whole and streamed, by both builds
for (const each of [client, new InBrowser({ host: url })]) {
  const whole = await each.chat({ model: MODEL, messages, options });
  assert.deepEqual([whole.message.role, whole.message.content], ["assistant", FACT]);
  assert.equal(whole.done_reason, "stop");
  assert.ok(whole.eval_count > 5 && whole.prompt_eval_count > whole.eval_count, JSON.stringify(whole));
  const chunks = [];
  for await (const chunk of await each.chat({ model: MODEL, messages, options, stream: true })) chunks.push(chunk);
  assert.equal(chunks.map((chunk) => chunk.message.content).join(""), FACT);
  assert.equal(chunks.filter(({ done }) => done).length, 1);
  assert.ok(chunks.length > 4 && chunks.at(-1).total_duration > 0, JSON.stringify(chunks.at(-1)));
}
const loaded = (await client.ps()).models;
assert.ok(loaded.some(({ name, size }) => name === MODEL && size > 0), JSON.stringify(loaded));

// a text
const written = await client.generate({ model: MODEL, prompt: QUESTION, options });
assert.equal(written.response, FACT);
const onward = await client.generate({ model: MODEL, prompt: "The capital of France is", raw: true, options });
assert.ok(onward.response.startsWith(" Paris"), onward.response);
let streamed = "";
for await (const { response } of await client.generate({ model: MODEL, prompt: QUESTION, options, stream: true })) {
  streamed += response;
}
assert.equal(streamed, FACT);
const likely = await client.chat({ model: MODEL, messages, options, logprobs: true, top_logprobs: 2 });
assert.equal(likely.logprobs.map(({ token }) => token).join(""), FACT);
assert.ok(likely.logprobs.every(({ top_logprobs: top }) => top.length === 2 && top[0].logprob >= top[1].logprob));

// tools: the model calls one, reads what it says and answers
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather", parameters: cityOnly } }];
for (const stream of [false, true]) {
  const history = [...weatherQuestion];
  const answer = await client.chat({ model: WEATHER, messages: history, tools, stream });
  const parts = stream ? [] : [answer];
  if (stream) for await (const part of answer) parts.push(part);
  const calls = parts.flatMap(({ message }) => message.tool_calls ?? []);
  assert.equal(parts.map(({ message }) => message.content).join(""), "");
  assert.equal(calls.length, 1, JSON.stringify(parts));
  assert.deepEqual(calls[0].function, { index: 0, name: "get_weather", arguments: { city: "Paris" } });
  history.push({ role: "assistant", content: "", tool_calls: calls });
  history.push({ role: "tool", tool_name: "get_weather", content: "windy" });
  const end = await client.chat({ model: WEATHER, messages: history, tools });
  assert.equal(end.message.content, WEATHER_ANSWER);
}

// an answer in a form
const formed = await client.chat({ model: MODEL, messages, format: capitalForm, options: { temperature: 0 } });
isCapital(formed.message.content);

// vectors
const vectors = await client.embed({ model: EMBEDDER, input: golden.map(({ text }) => text) });
areGolden(vectors.embeddings);
assert.ok(vectors.prompt_eval_count > golden.length, JSON.stringify(vectors.prompt_eval_count));
const old = await client.embeddings({ model: EMBEDDER, prompt: golden[0].text });
const { embedding } = golden[0];
const dot = old.embedding.reduce((sum, x, i) => sum + x * embedding[i], 0);
const length = Math.hypot(...old.embedding) * Math.hypot(...embedding);
assert.ok(dot / length > 0.99999, `${dot / length}`);

// models come and go
const created = await client.create({ model: "brief", from: MODEL, system: "You are brief.", parameters: { top_k: 1 } });
assert.equal(created.status, "success");
const brief = await client.show({ model: "brief" });
assert.equal(brief.system, "You are brief.");
assert.match(brief.parameters, /top_k\s+1/);
await client.copy({ source: "brief", destination: "short" });
assert.equal((await client.delete({ model: "brief" })).status, "success");
const names = (await client.list()).models.map(({ name }) => name);
assert.ok(names.includes("short:latest") && !names.includes("brief:latest"), names.join());
assert.equal((await client.generate({ model: "short", prompt: "", keep_alive: 0 })).done_reason, "unload");

// what is wrong is said, with the status
for (const [call, status, pattern] of [
  [() => client.chat({ model: "absent", messages }), 404, /model 'absent' not found/],
  [() => client.chat({ model: "absent", messages, stream: true }), 404, /model 'absent' not found/],
  [() => client.show({ model: "absent" }), 404, /not found/],
  [() => client.delete({ model: "absent" }), 404, /not found/],
  [() => client.chat({ model: MODEL, messages, tools }), 400, /does not support tools/],
  [() => client.chat({ model: MODEL, messages, think: true }), 400, /does not support thinking/],
  [() => client.chat({ model: MODEL, messages, format: { type: "nonsense" } }), 400, /nonsense/],
]) {
  const error = await refusal(call);
  assert.deepEqual([error.name, error.status_code], ["ResponseError", status], `${error}`);
  assert.match(error.message, pattern);
}

// giving up: one answer, and all of a client
const endless = { model: ENDLESS, messages, stream: true };
const one = await client.chat(endless);
const ended = await isGivenUp(
  async (piece) => {
    for await (const { message } of one) piece(message.content);
  },
  () => one.abort(),
);
assert.equal(ended?.name, "AbortError");
const other = new Ollama({ host: url });
const aborted = await isGivenUp(
  async (piece) => {
    for await (const { message } of await other.chat(endless)) piece(message.content);
  },
  () => other.abort(),
);
assert.equal(aborted?.name, "AbortError");
const after = await client.chat({ model: MODEL, messages, options });
assert.equal(after.message.content, FACT);

console.log("OK");
