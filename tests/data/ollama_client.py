"""Drives a running slmd with the unmodified `ollama` client; prints OK at the end.

usage: ollama_client.py URL MODEL GGUF
"""
import asyncio
import hashlib
import sys

import ollama

url, model, gguf = sys.argv[1:]
client = ollama.Client(host=url)

names = [m.model for m in client.list().models]
assert model in names, names
listed = next(m for m in client.list().models if m.model == model)
assert listed.size > 0 and len(listed.digest) == 64 and listed.modified_at is not None
assert listed.details.family == "llama", listed.details

shown = client.show(model)
assert shown.modelinfo["general.architecture"] == "llama", shown.modelinfo
assert "completion" in shown.capabilities, shown.capabilities
assert shown.details.format == "gguf"

options = {"temperature": 0, "num_predict": 20}
whole = client.generate(model, "The capital of France is", raw=True, options=options)
assert whole.done and whole.done_reason == "length" and whole.eval_count == 20, whole
assert "Paris" in whole.response, whole.response
chunks = list(client.generate(model, "The capital of France is", raw=True, stream=True, options=options))
assert len(chunks) > 3 and chunks[-1].done and not chunks[0].done
assert "".join(c.response for c in chunks) == whole.response

messages = [{"role": "user", "content": "Why is the sky blue?"}]
answer = client.chat(model, messages, options=options)
assert answer.message.role == "assistant" and answer.eval_count == 20, answer
assert answer.message.content == client.generate(model, messages[0]["content"], options=options).response, answer
chunks = list(client.chat(model, messages, stream=True, options=options))
assert len(chunks) > 3 and chunks[-1].done
assert "".join(c.message.content for c in chunks) == answer.message.content
assert chunks[-1].total_duration > 0 and chunks[-1].prompt_eval_count > 0

loaded = client.ps().models
assert [m.model for m in loaded] == [model] and loaded[0].expires_at is not None, loaded


async def stream():
    text = ""
    async for chunk in await ollama.AsyncClient(host=url).chat(model, messages, stream=True, options=options):
        text += chunk.message.content
    return text


assert asyncio.run(stream()) == answer.message.content

digest = client.create_blob(gguf)
assert digest == "sha256:" + hashlib.sha256(open(gguf, "rb").read()).hexdigest()
created = client.create(model="from-python", files={"model.gguf": digest}, system="You are brief.")
assert created.status == "success", created
steps = [p.status for p in client.create(model="child", from_="from-python", parameters={"top_k": 1}, stream=True)]
assert steps[-1] == "success", steps
assert client.show("child").modelinfo["general.architecture"] == "llama"
client.copy("child", "copied")
assert client.delete("child").status == "success"
names = [m.model for m in client.list().models]
assert "copied:latest" in names and "child:latest" not in names, names

for call in (lambda: client.generate("absent", "x"), lambda: client.show("absent"), lambda: client.delete("absent")):
    try:
        call()
    except ollama.ResponseError as error:
        assert error.status_code == 404 and "not found" in error.error, error
    else:
        raise AssertionError("an absent model is an error")

print("OK")
