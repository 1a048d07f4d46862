"""The unmodified `ollama`, `openai` and `anthropic` of Python: what `tests/data/*_client.py` leave out, the same for each."""
import asyncio
import json

import anthropic
import ollama
import openai
from common import (CAPITAL_FORM, CITY_ONLY, EMBEDDER, ENDLESS, FACT, GET_WEATHER, MODEL, QUESTION, TEXTS, WEATHER,
                    WEATHER_ANSWER, WEATHER_QUESTION, IsGivenUp, are_golden, is_capital, refusal, url)

messages = [{"role": "user", "content": QUESTION}]
asking = [{"role": "user", "content": WEATHER_QUESTION}]
native = ollama.Client(host=url)
gpt = openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)
claude = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)
# these clients keep connections, which belong to the loop that opened them
wait = asyncio.new_event_loop().run_until_complete
greedy = {"temperature": 0, "num_predict": 100}


def get_weather(city: str) -> str:
    """The weather

    Args:
      city: where
    """
    return {"Paris": "windy"}[city]


# a call, what the tool says, and the answer; `ollama` describes a function by itself
turns = list(asking)
called = native.chat(WEATHER, turns, tools=[get_weather]).message
assert [call.function.name for call in called.tool_calls] == ["get_weather"] and not called.content, called
turns += [called, {"role": "tool", "tool_name": "get_weather",
                   "content": get_weather(**called.tool_calls[0].function.arguments)}]
assert native.chat(WEATHER, turns, tools=[get_weather]).message.content == WEATHER_ANSWER
parts = [part.message for part in native.chat(WEATHER, asking, tools=[GET_WEATHER], stream=True)]
streamed = [call for part in parts for call in part.tool_calls or []]
assert [call.function.arguments for call in streamed] == [{"city": "Paris"}], parts

chosen = gpt.chat.completions.create(model=WEATHER, messages=asking, tools=[GET_WEATHER]).choices[0]
call = chosen.message.tool_calls[0]
assert chosen.finish_reason == "tool_calls" and json.loads(call.function.arguments) == {"city": "Paris"}, chosen
turns = asking + [chosen.message, {"role": "tool", "tool_call_id": call.id, "content": "windy"}]
end = gpt.chat.completions.create(model=WEATHER, messages=turns, tools=[GET_WEATHER]).choices[0]
assert (end.message.content, end.finish_reason) == (WEATHER_ANSWER, "stop"), end

tool = {"name": "get_weather", "description": "The weather", "input_schema": CITY_ONLY}
told = {"model": WEATHER, "max_tokens": 100, "tools": [tool]}
called = claude.messages.create(**told, messages=asking)
assert called.stop_reason == "tool_use" and called.content[0].input == {"city": "Paris"}, called
result = {"type": "tool_result", "tool_use_id": called.content[0].id, "content": "windy"}
turns = asking + [{"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
assert claude.messages.create(**told, messages=turns).content[0].text == WEATHER_ANSWER

# the client's own loop, which would have the service keep the conversation
loop = claude.beta.messages.tool_runner(model=WEATHER, max_tokens=100, messages=asking,
                                        tools=[anthropic.beta_tool(get_weather)])
assert [part.text for part in loop.until_done().content] == [WEATHER_ANSWER]

# answers in a form
is_capital(native.chat(MODEL, messages, format=CAPITAL_FORM, options=greedy).message.content)
schema = {"type": "json_schema", "json_schema": {"name": "capital", "strict": True, "schema": CAPITAL_FORM}}
is_capital(gpt.chat.completions.create(
    model=MODEL, messages=messages, response_format=schema, temperature=0, max_tokens=100).choices[0].message.content)
is_capital(claude.messages.create(
    model=MODEL, messages=messages, max_tokens=100, extra_body={"temperature": 0},
    output_config={"format": {"type": "json_schema", "schema": CAPITAL_FORM}}).content[0].text)

# vectors
are_golden(native.embed(EMBEDDER, TEXTS).embeddings)
are_golden([item.embedding for item in gpt.embeddings.create(model=EMBEDDER, input=TEXTS).data])

# models, as Anthropic has them
listed = {model.id: model for model in claude.models.list()}
assert listed[MODEL].type == "model" and listed[MODEL].created_at.year > 2024, listed
error = refusal(lambda: claude.models.retrieve("absent"))
assert isinstance(error, anthropic.NotFoundError) and "absent" in error.body["error"]["message"], error

# giving up: by leaving a stream, and by cancelling a task
with IsGivenUp():
    stream = native.chat(ENDLESS, messages, stream=True)
    assert "".join(part.message.content for _, part in zip(range(6), stream))
    stream.close()
with IsGivenUp():
    with gpt.chat.completions.create(model=ENDLESS, messages=messages, stream=True) as stream:
        assert "".join(part.choices[0].delta.content or "" for _, part in zip(range(6), stream))
with IsGivenUp():
    with claude.messages.stream(model=ENDLESS, messages=messages, max_tokens=8000) as stream:
        assert "".join(text for _, text in zip(range(6), stream.text_stream))


async def given_up(request):
    """Cancels a whole answer while it is written."""
    task = asyncio.create_task(request)
    while not await asyncio.to_thread(is_running):
        await asyncio.sleep(0.02)
        assert not task.done(), task
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled(), task


def is_running():
    return native._client.get("/api/status").json()["requests"]["running"] > 0


for request in (
    lambda: ollama.AsyncClient(host=url).chat(ENDLESS, messages),
    lambda: openai.AsyncOpenAI(base_url=url + "/v1", api_key="unused").chat.completions.create(
        model=ENDLESS, messages=messages),
    lambda: anthropic.AsyncAnthropic(base_url=url, api_key="unused").messages.create(
        model=ENDLESS, messages=messages, max_tokens=8000),
):
    with IsGivenUp():
        wait(given_up(request()))
assert native.chat(MODEL, messages, options=greedy).message.content == FACT

print("OK")
