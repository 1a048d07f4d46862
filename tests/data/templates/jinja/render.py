"""Renders every *.jinja beside it with every conversation as transformers does, and writes expected.json.

    python render.py        (needs jinja2; 3.1.6 made the file that is stored)

The environment is that of `apply_chat_template`: a sandbox with trim_blocks, lstrip_blocks and loop controls, `tojson`
without HTML escaping, `raise_exception`. `strftime_now` writes its format between marks, for the test to fill in. What
raises is written as null.

Templates differ in where they look for some things: earlier thoughts are there under each name, and a template that reads
tools from the system message finds them there, the functions as JSON text, as the card of Phi-4-mini says.
"""
import glob, json, os
import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather in a <city> & \"more\"", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "Name"},
        "days": {"type": "integer", "default": 1}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "add", "description": "Adds", "parameters": {
        "type": "object", "properties": {"numbers": {"type": "array", "items": {"type": "number"}},
        "how": {"type": "object", "properties": {}}}}}},
]


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = lambda format: f"<<{format}>>"


def arranged(messages, tools, source):
    messages = [dict(message) for message in messages]
    for message in messages:
        if "reasoning_content" in message:
            message["reasoning"] = message["thinking"] = message["reasoning_content"]
    if tools and "message['tools']" in source:
        if messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": ""})
        messages[0]["tools"] = json.dumps([tool["function"] for tool in tools], ensure_ascii=False)
    return messages


def main():
    with open(os.path.join(HERE, "conversations.json")) as file:
        conversations = json.load(file)
    expected = {"tools": TOOLS}
    for path in sorted(glob.glob(os.path.join(HERE, "*.jinja"))):
        with open(path, newline="") as file:
            source = file.read()
        template = environment.from_string(source)
        name = os.path.basename(path).removesuffix(".jinja")
        for conversation, values in conversations.items():
            values = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", "tools": None, **values}
            if values["tools"] == "TOOLS":
                values["tools"] = TOOLS
            values["messages"] = arranged(values["messages"], values["tools"], source)
            try:
                text = template.render(**values)
            except Exception:
                text = None
            expected[f"{name}/{conversation}"] = text
    with open(os.path.join(HERE, "expected.json"), "w") as file:
        json.dump(expected, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
