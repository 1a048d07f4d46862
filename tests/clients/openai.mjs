// The unmodified `openai` of npm: chats, responses, texts, vectors, and a loop that runs tools.

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

const { OpenAI } = load("openai");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const { completions } = client.chat;
const short = { model: MODEL, messages, temperature: 0, max_tokens: 30 };

const ids = [];
for await (const { id } of client.models.list()) ids.push(id);
assert.ok(ids.includes(MODEL), ids.join());
const found = await client.models.retrieve(MODEL);
assert.deepEqual([found.id, found.object], [MODEL, "model"]);
assert.ok(found.created > 1_600_000_000, `${found.created}`);

// a conversation, whole and streamed
const whole = await completions.create(short);
assert.deepEqual(whole.choices[0].message.content, FACT);
assert.equal(whole.choices[0].finish_reason, "stop");
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
const developer = [{ role: "developer", content: "You are a helpful AI assistant named SmolLM, trained by Hugging Face" }];
const parts = [{ role: "user", content: [{ type: "text", text: QUESTION }] }];
assert.equal((await completions.create({ ...short, messages: [...developer, ...parts] })).choices.length, 1);
assert.equal((await completions.create({ ...short, messages: parts })).choices[0].message.content, FACT);
const runner = completions.stream({ ...short, stream_options: { include_usage: true } });
let heard = "";
runner.on("content", (piece) => (heard += piece));
const final = await runner.finalChatCompletion();
assert.deepEqual([heard, final.choices[0].message.content], [FACT, FACT]);
assert.equal(final.choices[0].finish_reason, "stop");
assert.equal((await runner.totalUsage()).completion_tokens, whole.usage.completion_tokens);
const cut = await completions.create({ ...short, max_tokens: undefined, max_completion_tokens: 3 });
assert.equal(cut.choices[0].finish_reason, "length");
assert.ok(FACT.startsWith(cut.choices[0].message.content) && cut.usage.completion_tokens === 3, JSON.stringify(cut));
const stopped = await completions.create({ ...short, stop: " Paris" });
assert.equal(stopped.choices[0].message.content, "The capital of France is");
const likely = await completions.create({ ...short, logprobs: true, top_logprobs: 2 });
assert.equal(likely.choices[0].logprobs.content.map(({ token }) => token).join(""), FACT);

// tools: a call, and the client's own loop, whole and streamed
const get_weather = { name: "get_weather", description: "The weather", parameters: cityOnly };
const asking = { model: WEATHER, messages: weatherQuestion };
const called = await completions.create({ ...asking, tools: [{ type: "function", function: get_weather }] });
assert.equal(called.choices[0].finish_reason, "tool_calls");
const [call] = called.choices[0].message.tool_calls;
assert.deepEqual([call.type, call.function.name], ["function", "get_weather"]);
assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
for (const stream of [false, true]) {
  const cities = [];
  const look = ({ city }) => {
    cities.push(city);
    return "windy";
  };
  const tool = { type: "function", function: { ...get_weather, function: look, parse: JSON.parse } };
  const loop = completions.runTools({ ...asking, stream, tools: [tool] });
  assert.equal(await loop.finalContent(), WEATHER_ANSWER);
  assert.deepEqual(cities, ["Paris"]);
}

// answers in a form
const json_schema = { name: "capital", strict: true, schema: capitalForm };
const formed = await completions.create({ ...short, max_tokens: 100, response_format: { type: "json_schema", json_schema } });
isCapital(formed.choices[0].message.content);
const text = { format: { type: "json_schema", ...json_schema } };
const parsed = await client.responses.parse({ model: MODEL, temperature: 0, input: QUESTION, text });
isCapital(parsed.output_text);

// responses
const responding = { model: MODEL, temperature: 0, max_output_tokens: 30 };
const response = await client.responses.create({ ...responding, input: QUESTION });
assert.deepEqual([response.status, response.output_text], ["completed", FACT]);
assert.equal(response.usage.input_tokens, whole.usage.prompt_tokens);
assert.equal((await client.responses.retrieve(response.id)).output_text, FACT);
const events = [];
for await (const event of client.responses.stream({ ...responding, input: QUESTION })) events.push(event);
assert.deepEqual([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
assert.deepEqual(
  events.map(({ sequence_number }) => sequence_number),
  events.map((_, i) => i),
);
const pieces = events.filter(({ type }) => type === "response.output_text.delta");
assert.equal(pieces.map(({ delta }) => delta).join(""), FACT);
const flat = [{ type: "function", ...get_weather }];
const input = weatherQuestion[0].content;
const first = await client.responses.create({ model: WEATHER, input, tools: flat });
const item = first.output.find(({ type }) => type === "function_call");
assert.deepEqual([item.name, JSON.parse(item.arguments)], ["get_weather", { city: "Paris" }]);
const output = [{ type: "function_call_output", call_id: item.call_id, output: "windy" }];
const rest = { model: WEATHER, tools: flat, previous_response_id: first.id, input: output };
assert.equal((await client.responses.create(rest)).output_text, WEATHER_ANSWER);
const replayed = [...weatherQuestion, ...first.output, ...output];
const again = await client.responses.create({ model: WEATHER, tools: flat, input: replayed, store: false });
assert.equal(again.output_text, WEATHER_ANSWER);

// texts
const onward = { model: MODEL, prompt: "The capital of France is", temperature: 0, max_tokens: 8 };
const written = await client.completions.create(onward);
assert.ok(written.choices[0].text.startsWith(" Paris"), written.choices[0].text);
let streamed = "";
for await (const { choices } of await client.completions.create({ ...onward, stream: true })) streamed += choices[0].text;
assert.equal(streamed, written.choices[0].text);

// vectors: the client asks for base64 by itself
const texts = golden.map(({ text }) => text);
for (const encoding_format of [undefined, "base64", "float"]) {
  const vectors = await client.embeddings.create({ model: EMBEDDER, input: texts, encoding_format });
  assert.deepEqual(
    vectors.data.map(({ index }) => index),
    texts.map((_, i) => i),
  );
  const lists = vectors.data.map(({ embedding }) =>
    encoding_format === "base64" ? [...new Float32Array(Uint8Array.from(Buffer.from(embedding, "base64")).buffer)] : embedding,
  );
  areGolden(lists);
}

// what is wrong is said, in the client's own kinds of errors
for (const [call, kind, code, pattern] of [
  [() => completions.create({ ...short, model: "absent" }), OpenAI.NotFoundError, "model_not_found", /absent/],
  [() => completions.create({ ...short, model: "absent", stream: true }), OpenAI.NotFoundError, "model_not_found", /absent/],
  [() => client.models.retrieve("some/absent"), OpenAI.NotFoundError, "model_not_found", /absent/],
  [() => client.responses.retrieve("resp_none"), OpenAI.NotFoundError, null, /resp_none/],
  [() => completions.create({ ...short, messages: [] }), OpenAI.BadRequestError, null, /messages/],
  [() => completions.create({ ...short, tools: [{ type: "function", function: get_weather }] }), OpenAI.BadRequestError, null, /does not support tools/],
  [() => client.embeddings.create({ model: EMBEDDER, input: "word ".repeat(2000) }), OpenAI.BadRequestError, "context_length_exceeded", /\d/],
]) {
  const error = await refusal(call);
  assert.ok(error instanceof kind, `${error}`);
  assert.equal(error.code, code, `${error}`);
  assert.match(error.message, pattern);
  assert.ok(error.requestID, `${error}`);
}

// giving up
const control = new AbortController();
const chat = await completions.create({ model: ENDLESS, messages, stream: true }, { signal: control.signal });
await isGivenUp(
  async (piece) => {
    for await (const { choices } of chat) piece(choices[0].delta.content);
  },
  () => control.abort(),
);
const response_stream = client.responses.stream({ model: ENDLESS, input: QUESTION });
const ended = await isGivenUp(
  async (piece) => {
    for await (const { type, delta } of response_stream) piece(type === "response.output_text.delta" && delta);
  },
  () => response_stream.abort(),
);
assert.ok(ended instanceof OpenAI.APIUserAbortError, `${ended}`);
const unread = completions.create({ model: ENDLESS, messages }, { timeout: 1500 });
assert.ok((await refusal(() => unread)) instanceof OpenAI.APIConnectionTimeoutError);
const after = await completions.create(short);
assert.equal(after.choices[0].message.content, FACT);

console.log("OK");
