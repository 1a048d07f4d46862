"""The unmodified `litellm`, which speaks all of a daemon's dialects: Ollama's two, OpenAI's and Anthropic's."""
import asyncio
import json
import os

# what models cost is told by the package, not by the network
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402
from common import (CAPITAL_FORM, EMBEDDER, ENDLESS, FACT, GET_WEATHER, MODEL, QUESTION, TEXTS, WEATHER, WEATHER_ANSWER,
                    WEATHER_QUESTION, IsGivenUp, are_golden, is_capital, refusal, url)

litellm.telemetry = False
litellm.num_retries = 0
wait = asyncio.new_event_loop().run_until_complete

# the prefix of a model's name says in which dialect it is asked
DIALECTS = {"ollama_chat/": url, "ollama/": url, "openai/": url + "/v1", "anthropic/": url}
messages = [{"role": "user", "content": QUESTION}]
form = {"type": "json_schema", "json_schema": {"name": "capital", "strict": True, "schema": CAPITAL_FORM}}


def arguments(prefix, model, **more):
    return {"model": prefix + model, "api_base": DIALECTS[prefix], "api_key": "unused", "temperature": 0,
            "messages": messages, **more}


def text_of(parts):
    return "".join(part.choices[0].delta.content or "" for part in parts)


async def streamed(**more):
    return text_of([part async for part in await litellm.acompletion(**more, stream=True)])


async def beginning(request):
    async with await litellm.acompletion(**request) as stream:
        return await anext(stream)


def calls(message):
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]


for prefix in DIALECTS:
    short = arguments(prefix, MODEL, max_tokens=30)
    whole = litellm.completion(**short)
    assert whole.choices[0].message.content == FACT and whole.choices[0].finish_reason == "stop", (prefix, whole)
    assert whole.usage.completion_tokens > 5 and whole.usage.prompt_tokens > 5, (prefix, whole)
    parts = list(litellm.completion(**short, stream=True))
    assert text_of(parts) == FACT and len(parts) > 4, (prefix, parts)
    assert [part.choices[0].finish_reason for part in parts].count("stop") == 1, (prefix, parts)
    assert wait(streamed(**short)) == FACT, prefix
    # what it does not know to have forms in Anthropic's dialect, it has call a tool of that form
    shaped = arguments(prefix, WEATHER if prefix == "anthropic/" else MODEL, max_tokens=100)
    is_capital(litellm.completion(**shaped, response_format=form).choices[0].message.content)
    error = refusal(lambda: litellm.completion(**arguments(prefix, "absent")))
    assert "absent" in str(error) and "not found" in str(error), (prefix, error)
    endless = {**arguments(prefix, ENDLESS, max_tokens=8000, stream=True), "temperature": None}
    with IsGivenUp():
        with litellm.completion(**endless) as stream:
            assert text_of(part for _, part in zip(range(6), stream)), prefix
    with IsGivenUp():
        assert wait(beginning(endless)), prefix

# calls, in those that have them
for prefix in ("ollama_chat/", "openai/", "anthropic/"):
    turns = [{"role": "user", "content": WEATHER_QUESTION}]
    asking = {**arguments(prefix, WEATHER), "messages": turns, "tools": [GET_WEATHER], "max_tokens": 100}
    called = litellm.completion(**asking).choices[0]
    assert calls(called.message) == [("get_weather", {"city": "Paris"})], (prefix, called)
    assert called.finish_reason == "tool_calls", (prefix, called)
    parts = list(litellm.completion(**asking, stream=True))
    assert calls(litellm.stream_chunk_builder(parts).choices[0].message) == calls(called.message), (prefix, parts)
    call = called.message.tool_calls[0]
    said = {"role": "tool", "tool_call_id": call.id, "name": call.function.name, "content": "windy"}
    end = litellm.completion(**{**asking, "messages": turns + [called.message.model_dump(), said]})
    assert end.choices[0].message.content == WEATHER_ANSWER, (prefix, end)

# vectors
for prefix in ("ollama/", "openai/"):
    made = litellm.embedding(model=prefix + EMBEDDER, api_base=DIALECTS[prefix], api_key="unused", input=TEXTS)
    are_golden([item["embedding"] for item in made.data])

# a text that goes on
written = litellm.text_completion(model="openai/" + MODEL, api_base=url + "/v1", api_key="unused", temperature=0,
                                  prompt="The capital of France is", max_tokens=8)
assert written.choices[0].text.startswith(" Paris"), written

print("OK")
