"""Drives a running slmd with the unmodified `openai` and `anthropic` clients; prints OK at the end.

usage: openai_client.py URL MODEL EMBEDDER
"""
import asyncio
import json
import sys

import anthropic
import ollama
import openai

url, model, embedder = sys.argv[1:]
client = openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)
claude = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)

messages = [{"role": "user", "content": "What is the capital of France?"}]
short = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 24}

# models
ids = [m.id for m in client.models.list()]
assert model in ids, ids
found = client.models.retrieve(model)
assert found.id == model and found.object == "model" and found.created > 0, found

# a conversation, whole and streamed
whole = client.chat.completions.create(**short)
text = whole.choices[0].message.content
native = ollama.Client(host=url).chat(model, messages, options={"temperature": 0, "num_predict": 24})
assert whole.choices[0].message.role == "assistant" and len(text) > 20, whole
assert text == native.message.content and whole.usage.prompt_tokens == native.prompt_eval_count, (whole, native)
assert whole.choices[0].finish_reason in ("stop", "length"), whole
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole
chunks = list(client.chat.completions.create(**short, stream=True, stream_options={"include_usage": True}))
assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0, chunks[-1]
whole_chat = whole
both = client.chat.completions.create(**{**short, "temperature": 1.5}, n=2, seed=3)
assert [c.index for c in both.choices] == [0, 1]
assert both.choices[0].message.content != both.choices[1].message.content, both
stop = text[10:16]
before = text[:text.index(stop)]
stopped = client.chat.completions.create(**short, stop=[stop])
assert stopped.choices[0].finish_reason == "stop" and stopped.choices[0].message.content == before, stopped


async def stream():
    said = ""
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="unused") as other:
        async for chunk in await other.chat.completions.create(**short, stream=True):
            said += chunk.choices[0].delta.content or ""
    return said


assert asyncio.run(stream()) == text

# a text that goes on
onward = {"model": model, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8}
whole = client.completions.create(**onward)
assert "Paris" in whole.choices[0].text and whole.usage.completion_tokens == 8, whole
chunks = list(client.completions.create(**onward, stream=True))
assert "".join(c.choices[0].text for c in chunks) == whole.choices[0].text
echoed = client.completions.create(**{**onward, "prompt": ["One, two,", "A, B,"]}, echo=True)
assert [c.text.split(",")[0] for c in echoed.choices] == ["One", "A"], echoed

# vectors: the client asks for base64 by itself
vectors = client.embeddings.create(model=embedder, input=["a boat", "rain"])
assert [v.index for v in vectors.data] == [0, 1] and vectors.usage.prompt_tokens > 0, vectors
for vector in vectors.data:
    assert abs(sum(x * x for x in vector.embedding) - 1) < 1e-4
floats = client.embeddings.create(model=embedder, input="rain", encoding_format="float")
assert all(abs(a - b) < 1e-6 for a, b in zip(floats.data[0].embedding, vectors.data[1].embedding))
assert len(client.embeddings.create(model=embedder, input="rain", dimensions=16).data[0].embedding) == 16

# errors
for call, kind, code in [
    (lambda: client.chat.completions.create(**{**short, "model": "absent"}), openai.NotFoundError, "model_not_found"),
    (lambda: client.models.retrieve("some/absent"), openai.NotFoundError, "model_not_found"),
    (lambda: client.chat.completions.create(**{**short, "messages": []}), openai.BadRequestError, None),
]:
    try:
        call()
    except kind as error:
        assert error.code == code and error.body["message"], error
    else:
        raise AssertionError("it is an error")
raw = client.chat.completions.with_raw_response.create(
    **short, verbosity="low", extra_headers={"x-request-id": "mine"})
assert raw.headers["x-slm-warning"] == "ignored: verbosity", raw.headers
assert raw.parse()._request_id == "mine", raw.headers

# how likely tokens were, and what makes them likelier
likely = client.chat.completions.create(**short, logprobs=True, top_logprobs=3).choices[0]
items = likely.logprobs.content
assert "".join(item.token for item in items) == likely.message.content == text, likely
assert all(len(item.top_logprobs) == 3 and item.logprob <= item.top_logprobs[0].logprob for item in items), items
assert bytes(items[0].bytes).decode() == items[0].token, items[0]
first = client.completions.create(model=model, prompt="One, two,", max_tokens=1, temperature=0, logprobs=5).choices[0]
assert list(first.logprobs.top_logprobs[0]) and first.logprobs.tokens == [first.text], first
token = ollama.Client(host=url)._client.post("/api/tokenize", json={"model": model, "text": " sea"}).json()["tokens"][0]
biased = client.chat.completions.create(**{**short, "max_tokens": 3}, logit_bias={str(token): 100})
assert biased.choices[0].message.content.split() == ["sea"] * 3, biased

# tools: the model's own template has no place for them; one that has sees them
tool = {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}
try:
    client.chat.completions.create(**short, tools=[{"type": "function", "function": tool}])
except openai.BadRequestError as error:
    assert "does not support tools" in error.body["message"], error
else:
    raise AssertionError("it is an error")
history = messages + [
    {"role": "assistant", "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
]
tooled = {**short, "model": "tooled", "messages": history, "tools": [{"type": "function", "function": tool}]}
with_tools = client.chat.completions.create(**tooled)
without = client.chat.completions.create(**tooled, tool_choice="none")
assert with_tools.usage.prompt_tokens > without.usage.prompt_tokens, (with_tools, without)

# a call that must come, by the tool's schema
weather = {"name": "get_weather", "description": "The weather", "strict": True, "parameters": {
    "type": "object", "additionalProperties": False, "required": ["city", "days"],
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]},
                   "days": {"type": "integer", "minimum": 1, "maximum": 5}}}}
offered = [{"type": "function", "function": tool}, {"type": "function", "function": weather}]
asking = {"model": "tooled", "messages": messages, "max_tokens": 200, "temperature": 0, "tools": offered}
named = {"type": "function", "function": {"name": "get_weather"}}


def check(arguments):
    arguments = json.loads(arguments)
    assert set(arguments) == {"city", "days"} and arguments["city"] in ("Paris", "Rome"), arguments
    assert 1 <= arguments["days"] <= 5, arguments


forced = client.chat.completions.create(**asking, tool_choice=named).choices[0]
assert forced.finish_reason == "tool_calls" and len(forced.message.tool_calls) == 1, forced
check(forced.message.tool_calls[0].function.arguments)
with client.chat.completions.stream(**asking, tool_choice=named) as streamed:
    final = streamed.get_final_completion().choices[0]
assert final.message.tool_calls[0].function.name == "get_weather", final
check(final.message.tool_calls[0].function.arguments)
some = client.chat.completions.create(**asking, tool_choice="required", parallel_tool_calls=False).choices[0]
assert len(some.message.tool_calls) == 1 and not some.message.content, some

# responses: kept, gone on from, streamed, with calls
responding = {"model": model, "temperature": 0, "max_output_tokens": 24}
response = client.responses.create(**responding, input=messages[0]["content"])
assert response.output_text == text and response.status in ("completed", "incomplete"), response
assert response.usage.input_tokens == whole_chat.usage.prompt_tokens, response.usage
assert client.responses.retrieve(response.id).output_text == text
items = client.responses.input_items.list(response.id).data
assert [item.content[0].text for item in items] == [messages[0]["content"]], items
follow = client.responses.create(**responding, input="And of Italy?", previous_response_id=response.id)
turns = messages + [{"role": "assistant", "content": text}, {"role": "user", "content": "And of Italy?"}]
same = client.chat.completions.create(**{**short, "messages": turns})
assert follow.output_text == same.choices[0].message.content, (follow, same)
seen = []
with client.responses.stream(**responding, input=messages[0]["content"], instructions="Be kind.") as streamed:
    for event in streamed:
        seen.append(event)
assert [event.sequence_number for event in seen] == list(range(len(seen))), seen
assert seen[0].type == "response.created" and seen[-1].type in ("response.completed", "response.incomplete"), seen
assert "".join(e.delta for e in seen if e.type == "response.output_text.delta") == seen[-1].response.output_text
flat = [{"type": "function", **weather}]
called = client.responses.create(**{**responding, "model": "tooled", "max_output_tokens": 200}, tools=flat,
                                 input=messages[0]["content"], tool_choice="required", parallel_tool_calls=False)
call = called.output[0]
assert call.type == "function_call" and call.name == "get_weather", called
check(call.arguments)
after = client.responses.create(
    **{**responding, "model": "tooled"}, tools=flat, previous_response_id=called.id,
    input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}])
assert after.output_text and after.usage.input_tokens > called.usage.input_tokens, (called, after)
shaped = client.responses.create(**{**responding, "max_output_tokens": 60}, input="Name a colour as JSON.", text={
    "format": {"type": "json_schema", "name": "colour", "strict": True, "schema": {
        "type": "object", "additionalProperties": False, "required": ["colour"],
        "properties": {"colour": {"enum": ["red", "blue"]}}}}})
assert json.loads(shaped.output_text)["colour"] in ("red", "blue"), shaped
client.responses.delete(response.id)
try:
    client.responses.retrieve(response.id)
except openai.NotFoundError as error:
    assert "not found" in error.body["message"], error
else:
    raise AssertionError("it is an error")

# the same with Anthropic's client
claude_weather = {"name": "get_weather", "input_schema": weather["parameters"]}
claude_called = claude.messages.create(model="tooled", messages=messages, max_tokens=200, tools=[claude_weather],
                                       tool_choice={"type": "tool", "name": "get_weather"})
assert claude_called.stop_reason == "tool_use" and claude_called.content[0].type == "tool_use", claude_called
check(json.dumps(claude_called.content[0].input))
claude_short = {"model": model, "messages": messages, "max_tokens": 24, "extra_body": {"temperature": 0}}
answer = claude.messages.create(**claude_short)
assert answer.role == "assistant" and answer.content[0].text == text, answer
assert answer.stop_reason in ("end_turn", "max_tokens") and answer.usage.output_tokens > 0, answer
with claude.messages.stream(**claude_short) as streamed:
    assert "".join(streamed.text_stream) == text
    final = streamed.get_final_message()
assert final.content[0].text == text and final.stop_reason == answer.stop_reason, final
assert final.usage.output_tokens == answer.usage.output_tokens, final
stopped = claude.messages.create(**claude_short, stop_sequences=["no such text", stop])
assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop), stopped
assert stopped.content[0].text == before, stopped
counted = claude.messages.count_tokens(model=model, messages=messages)
used = answer.usage.input_tokens + answer.usage.cache_read_input_tokens
assert counted.input_tokens == used, (counted, answer)
claude_tool = {"name": "now", "description": "The time", "input_schema": {"type": "object", "properties": {}}}
claude_history = messages + [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "noon"}]},
]
counted = claude.messages.count_tokens(model="tooled", messages=claude_history, tools=[claude_tool])
assert counted.input_tokens == with_tools.usage.prompt_tokens, (counted, with_tools)
try:
    claude.messages.create(**{**claude_short, "model": "absent"})
except anthropic.NotFoundError as error:
    assert error.body["error"]["type"] == "not_found_error", error
    assert error.body["request_id"] == error.request_id, error
else:
    raise AssertionError("it is an error")

print("OK")
