"""The unmodified `langchain-ollama` and `langchain-openai`: the same conversations through both of their dialects."""
import asyncio

import ollama
import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from common import (CAPITAL_FORM, EMBEDDER, ENDLESS, FACT, MODEL, QUESTION, TEXTS, WEATHER, WEATHER_ANSWER,
                    WEATHER_QUESTION, IsGivenUp, are_golden, is_capital, refusal, url)


# one loop for all: these clients keep connections, which belong to the loop that opened them
wait = asyncio.new_event_loop().run_until_complete


@tool
def get_weather(city: str) -> str:
    """The weather"""
    cities.append(city)
    return "windy"


def with_ollama(model, **more):
    return ChatOllama(model=model, base_url=url, **more)


def with_openai(model, **more):
    more = {("max_tokens" if key == "num_predict" else key): value for key, value in more.items()}
    return ChatOpenAI(model=model, base_url=url + "/v1", api_key="unused", max_retries=0, stream_usage=True, **more)


def with_responses(model, **more):
    return with_openai(model, use_responses_api=True, **more)


async def streamed(chat):
    return "".join([part.text async for part in chat.astream(QUESTION)])


async def given_up(chat):
    """Has a task that reads an endless answer cancelled."""
    heard = asyncio.Event()

    async def read():
        async for part in chat.astream(QUESTION):
            if part.text:
                heard.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(heard.wait(), 60)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled(), task


for make in (with_ollama, with_openai, with_responses):
    name = make.__name__
    chat = make(MODEL, temperature=0, num_predict=30)
    whole = chat.invoke([HumanMessage(QUESTION)])
    assert whole.text == FACT, (name, whole)
    usage = whole.usage_metadata
    assert usage["output_tokens"] > 5 and usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"], usage
    parts = list(chat.stream(QUESTION))
    assert "".join(part.text for part in parts) == FACT and len(parts) > 4, (name, parts)
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert total.usage_metadata["output_tokens"] == usage["output_tokens"], (name, total)
    assert wait(streamed(chat)) == FACT, name
    assert [each.text for each in chat.batch([QUESTION, QUESTION])] == [FACT, FACT], name
    told = chat.invoke([SystemMessage("You are a pirate."), HumanMessage(QUESTION)])
    assert told.usage_metadata["input_tokens"] != usage["input_tokens"], (name, told)

    # a call, what the tool says, and the answer; streamed, the call comes in pieces that add up
    cities = []
    tooled = make(WEATHER, temperature=0).bind_tools([get_weather])
    messages = [HumanMessage(WEATHER_QUESTION)]
    called = tooled.invoke(messages)
    assert [(c["name"], c["args"]) for c in called.tool_calls] == [("get_weather", {"city": "Paris"})], (name, called)
    total = None
    for part in tooled.stream(messages):
        total = part if total is None else total + part
    assert [(c["name"], c["args"]) for c in total.tool_calls] == [("get_weather", {"city": "Paris"})], (name, total)
    messages += [called, *(get_weather.invoke(call) for call in called.tool_calls)]
    assert isinstance(messages[-1], ToolMessage) and cities == ["Paris"], (name, messages)
    assert tooled.invoke(messages).text == WEATHER_ANSWER, name

    # an answer in a form
    shaped = make(MODEL, temperature=0).with_structured_output(CAPITAL_FORM, method="json_schema")
    is_capital(shaped.invoke(QUESTION))

    # giving up: by leaving the loop, and by cancelling the task
    endless = make(ENDLESS)
    with IsGivenUp():
        stream = endless.stream(QUESTION)
        heard = [part.text for _, part in zip(range(6), stream)]
        stream.close()
    assert "".join(heard), name
    with IsGivenUp():
        wait(given_up(make(ENDLESS)))
    assert chat.invoke(QUESTION).text == FACT, name

# what only one of the dialects has
forced = with_openai(WEATHER, temperature=0).bind_tools([get_weather], tool_choice="any").invoke("Hello")
assert [call["name"] for call in forced.tool_calls] == ["get_weather"], forced
as_call = with_openai(WEATHER, temperature=0).with_structured_output(CAPITAL_FORM, method="function_calling")
assert set(as_call.invoke(QUESTION)) == {"capital", "letters"}
likely = with_openai(MODEL, temperature=0, max_tokens=30, logprobs=True).invoke(QUESTION)
assert "".join(item["token"] for item in likely.response_metadata["logprobs"]["content"]) == FACT, likely
assert OllamaLLM(model=MODEL, base_url=url, temperature=0).invoke(QUESTION) == FACT
assert "".join(OllamaLLM(model=MODEL, base_url=url, temperature=0).stream(QUESTION)) == FACT
assert with_ollama(MODEL, validate_model_on_init=True).model == MODEL

# vectors
native = OllamaEmbeddings(model=EMBEDDER, base_url=url)
are_golden(native.embed_documents(TEXTS))
are_golden([native.embed_query(text) for text in TEXTS])
# its own way to count tokens is for OpenAI's models, and its tables have to be downloaded
compatible = OpenAIEmbeddings(model=EMBEDDER, base_url=url + "/v1", api_key="unused", check_embedding_ctx_length=False)
are_golden(compatible.embed_documents(TEXTS))
are_golden(wait(compatible.aembed_documents(TEXTS)))

# what is wrong is said
error = refusal(lambda: with_ollama("absent").invoke(QUESTION))
assert isinstance(error, ollama.ResponseError) and error.status_code == 404, error
error = refusal(lambda: with_ollama("absent", validate_model_on_init=True))
assert isinstance(error, ValueError) and "absent" in str(error), error
error = refusal(lambda: list(with_openai("absent").stream(QUESTION)))
assert isinstance(error, openai.NotFoundError) and "absent" in str(error), error
error = refusal(lambda: with_ollama(MODEL).bind_tools([get_weather]).invoke(QUESTION))
assert error.status_code == 400 and "does not support tools" in str(error), error

print("OK")
