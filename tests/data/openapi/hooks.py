"""What schemathesis needs to know of slmd: which models there are, how long an answer may get, how to read streams.

A made-up request names a made-up model, so two of three get the name of one that is there. What would take the
test's own models away, or ask the network for one, is bent.
"""
import json
import random

import jsonschema_rs
import schemathesis

CHAT, VECTORS, MADE = "tiny", "vec", "made"
MAX_TOKENS = 4
TALK = [{"role": "user", "content": "hi"}]
# What a request to a model needs to get as far as the model, and which one that is.
WHOLE = {
    "/api/generate": {"model": CHAT, "prompt": "hi"},
    "/api/chat": {"model": CHAT, "messages": TALK},
    "/api/apply-template": {"model": CHAT, "messages": TALK},
    "/api/embed": {"model": VECTORS, "input": ["hi", "ho"]},
    "/api/embeddings": {"model": VECTORS, "prompt": "hi"},
    "/v1/chat/completions": {"model": CHAT, "messages": TALK},
    "/v1/completions": {"model": CHAT, "prompt": ["hi", "ho"]},
    "/v1/embeddings": {"model": VECTORS, "input": ["hi", "ho"]},
    "/v1/rerank": {"model": VECTORS, "query": "hi", "documents": ["hi", "ho"]},
    "/v1/score": {"model": VECTORS, "text_1": "hi", "text_2": ["hi", "ho"]},
    "/v1/responses": {"model": CHAT, "input": "hi"},
    "/v1/messages": {"model": CHAT, "messages": TALK, "max_tokens": 2},
    "/v1/messages/count_tokens": {"model": CHAT, "messages": TALK},
}
chance = random.Random(1)


@schemathesis.hook
def before_call(context, case, **kwargs):
    if not isinstance(case.body, dict):
        return
    path, body = case.operation.path, dict(case.body)
    if path == "/api/create":
        # a base that is not there would be pulled
        body.update(model=MADE, **({"from": CHAT} if "from" in body else {}))
    elif path == "/api/delete":
        body["model"] = MADE
    elif path == "/api/copy":
        body["destination"] = MADE
        body["source"] = chance.choice([CHAT, body.get("source")])
    elif path == "/api/export":
        body["models"] = chance.choice([[CHAT], body.get("models")])
    elif path in WHOLE and chance.random() < 0.6:
        # most made-up fields are refused; a few at a time are not
        rest = [key for key in body if key not in WHOLE[path]]
        kept = chance.sample(rest, min(len(rest), chance.randrange(4)))
        body = {**{key: body[key] for key in kept}, **WHOLE[path]}
        if chance.random() < 0.5:
            body["stream"] = chance.choice([True, False])
    elif "model" in body:
        body["model"] = chance.choice([CHAT, VECTORS, body["model"]])
    bound(path, body)
    case.body = body


def bound(path, body):
    """Answers of a model that was never trained end when they must."""
    if path in ("/api/generate", "/api/chat"):
        options = body.get("options")
        body["options"] = {**(options if isinstance(options, dict) else {}), "num_predict": MAX_TOKENS}
    elif path in ("/v1/chat/completions", "/v1/completions"):
        body["max_tokens"] = MAX_TOKENS
        body.pop("max_completion_tokens", None)
        body["n"] = min(body["n"], 3) if isinstance(body.get("n"), int) else 1
    elif path == "/v1/responses":
        body["max_output_tokens"] = MAX_TOKENS
    elif path == "/v1/messages" and isinstance(body.get("max_tokens"), int):
        body["max_tokens"] = min(body["max_tokens"], MAX_TOKENS)


@schemathesis.serializer("application/x-tar")
def tar(context, value):
    return value if isinstance(value, bytes) else str(value).encode()


def lines(text, schema):
    return schema, text.splitlines()


def events(text, schema):
    """Data of events, and the schema of those that are JSON."""
    data = schema["properties"]["data"]
    inner, *words = data.get("anyOf", [data])
    words = words[0]["enum"] if words else []
    said = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return inner["contentSchema"], [item for item in said if item not in words]


STREAMS = {"application/x-ndjson": lines, "text/event-stream": events}


@schemathesis.check
def every_line_is_as_described(context, response, case):
    kind = response.headers.get("content-type", [""])[0].split(";")[0]
    split = STREAMS.get(kind)
    if split is None:
        return
    document = case.operation.schema.raw_schema
    operation = document["paths"][case.operation.path][case.operation.method.lower()]
    content = operation["responses"][str(response.status_code)]["content"]
    schema, items = split(response.content.decode(), content[kind]["schema"])
    assert items, "a stream says something"
    validator = jsonschema_rs.Draft202012Validator({"components": document["components"], **schema})
    for item in items:
        problems = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(json.loads(item))]
        assert not problems, f"{item}\n{problems}"
