// The unmodified `@anthropic-ai/sdk` of npm: messages, streams, a loop that runs tools, counted tokens.

import assert from "node:assert/strict";
import {
  capitalForm,
  cityOnly,
  ENDLESS,
  FACT,
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

const { default: Anthropic } = load("@anthropic-ai/sdk");
const client = new Anthropic({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const short = { model: MODEL, messages, max_tokens: 30, temperature: 0 };

// models
const models = [];
for await (const model of client.models.list()) models.push(model);
const listed = models.find(({ id }) => id === MODEL);
assert.deepEqual([listed?.type, listed?.display_name], ["model", MODEL], JSON.stringify(models));
assert.ok(Date.now() - Date.parse(listed.created_at) < 86_400_000, listed.created_at);
const found = await client.models.retrieve(MODEL);
assert.deepEqual([found.type, found.id], ["model", MODEL]);

// a conversation, whole and streamed
const whole = await client.messages.create(short);
assert.deepEqual(whole.content, [{ type: "text", text: FACT }]);
assert.deepEqual([whole.type, whole.role, whole.model, whole.stop_reason], ["message", "assistant", MODEL, "end_turn"]);
assert.ok(whole.usage.output_tokens > 5, JSON.stringify(whole.usage));
const parts = [{ role: "user", content: [{ type: "text", text: QUESTION, cache_control: { type: "ephemeral" } }] }];
assert.equal((await client.messages.create({ ...short, messages: parts })).content[0].text, FACT);
const stream = client.messages.stream(short);
let heard = "";
stream.on("text", (piece) => (heard += piece));
const final = await stream.finalMessage();
assert.deepEqual([heard, final.content[0].text, final.stop_reason], [FACT, FACT, "end_turn"]);
assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
const kinds = [];
for await (const { type } of await client.messages.create({ ...short, stream: true })) kinds.push(type);
const sorts = [...new Set(kinds)].filter((kind) => kind !== "ping");
assert.deepEqual(sorts, [
  "message_start",
  "content_block_start",
  "content_block_delta",
  "content_block_stop",
  "message_delta",
  "message_stop",
]);
const cut = await client.messages.create({ ...short, max_tokens: 3 });
assert.equal(cut.stop_reason, "max_tokens");
assert.ok(FACT.startsWith(cut.content[0].text), JSON.stringify(cut));
const stopped = await client.messages.create({ ...short, stop_sequences: [" Paris"] });
assert.deepEqual([stopped.stop_reason, stopped.stop_sequence], ["stop_sequence", " Paris"]);
assert.equal(stopped.content[0].text, "The capital of France is");
const counted = await client.messages.countTokens({ model: MODEL, messages });
assert.equal(counted.input_tokens, whole.usage.input_tokens + whole.usage.cache_read_input_tokens);
const system = await client.messages.countTokens({ model: MODEL, messages, system: "You are brief." });
assert.notEqual(system.input_tokens, counted.input_tokens);

// tools: a call, streamed and not; then the client's own loop
const tool = { name: "get_weather", description: "The weather", input_schema: cityOnly };
const asking = { model: WEATHER, max_tokens: 100, messages: weatherQuestion, tools: [tool] };
for (const answer of [await client.messages.create(asking), await client.messages.stream(asking).finalMessage()]) {
  assert.equal(answer.stop_reason, "tool_use");
  const [call] = answer.content;
  assert.deepEqual([call.type, call.name, call.input], ["tool_use", "get_weather", { city: "Paris" }]);
  const content = [{ type: "tool_result", tool_use_id: call.id, content: [{ type: "text", text: "windy" }] }];
  const turns = [...weatherQuestion, { role: "assistant", content: answer.content }, { role: "user", content }];
  const end = await client.messages.create({ ...asking, messages: turns });
  assert.deepEqual([end.content[0].text, end.stop_reason], [WEATHER_ANSWER, "end_turn"]);
}
for (const streamed of [false, true]) {
  const cities = [];
  const run = ({ city }) => {
    cities.push(city);
    return "windy";
  };
  const runnable = { type: "custom", ...tool, run, parse: (input) => input };
  const loop = client.beta.messages.toolRunner({ ...asking, tools: [runnable], stream: streamed });
  const end = await loop.runUntilDone();
  assert.equal(end.content[0].text, WEATHER_ANSWER);
  assert.deepEqual(cities, ["Paris"]);
}

// an answer in a form
const format = { type: "json_schema", schema: capitalForm };
const parsed = await client.messages.parse({ ...short, max_tokens: 100, output_config: { format } });
isCapital(parsed.content[0].text);

// what is wrong is said, in the client's own kinds of errors
for (const [call, kind, type, pattern] of [
  [() => client.messages.create({ ...short, model: "absent" }), Anthropic.NotFoundError, "not_found_error", /absent/],
  [() => client.messages.stream({ ...short, model: "absent" }).finalMessage(), Anthropic.NotFoundError, "not_found_error", /absent/],
  [() => client.models.retrieve("absent"), Anthropic.NotFoundError, "not_found_error", /absent/],
  [() => client.messages.create({ ...short, messages: [] }), Anthropic.BadRequestError, "invalid_request_error", /messages/],
  [() => client.messages.create({ ...short, tools: [tool] }), Anthropic.BadRequestError, "invalid_request_error", /does not support tools/],
]) {
  const error = await refusal(call);
  assert.ok(error instanceof kind, `${error}`);
  assert.equal(error.error?.error.type, type, `${error}`);
  assert.match(error.message, pattern);
  assert.ok(error.requestID, `${error}`);
}

// giving up
const endless = client.messages.stream({ model: ENDLESS, messages, max_tokens: 8000 });
const ended = await isGivenUp(
  async (piece) => {
    for await (const { type } of endless) piece(type === "content_block_delta");
  },
  () => endless.abort(),
);
assert.ok(ended instanceof Anthropic.APIUserAbortError, `${ended}`);
assert.equal((await client.messages.create(short)).content[0].text, FACT);

console.log("OK");
