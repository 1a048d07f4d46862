"""What the Python programs that drive clients share: the models that a test has made, and what they are known to answer.

Each is called as `python CLIENT.py URL REFERENCE` and ends with "OK". REFERENCE is the file with the vectors that the model
"vec" must give.
"""
import json
import sys
import time
import urllib.request

url, reference = sys.argv[1:]

MODEL = "smollm2:135m"  # can chat
WEATHER = "weather"  # calls get_weather when asked for the weather in a city, and says what the tool answered
ENDLESS = "endless"  # its answers do not end
EMBEDDER = "vec"

QUESTION = "What is the capital of France? Answer with one word."
FACT = "The capital of France is Paris."
WEATHER_QUESTION = "What is the weather in Paris?"
WEATHER_ANSWER = "It is windy in Paris."
CITY_ONLY = {"type": "object", "additionalProperties": False, "required": ["city"],
             "properties": {"city": {"type": "string"}}}
GET_WEATHER = {"type": "function",
               "function": {"name": "get_weather", "description": "The weather", "parameters": CITY_ONLY}}
CAPITAL_FORM = {
    "title": "Capital", "description": "A capital", "type": "object", "additionalProperties": False,
    "required": ["capital", "letters"],
    "properties": {"capital": {"type": "string", "enum": ["Rome", "Oslo", "Paris"]},
                   "letters": {"type": "integer", "enum": [4, 5]}}}

with open(reference, encoding="utf-8") as file:
    _cases = json.load(file)["cases"]
TEXTS = [case["text"] for case in _cases]


def are_golden(vectors):
    """Asserts that `vectors` are those of TEXTS."""
    assert len(vectors) == len(_cases), len(vectors)
    for case, vector in zip(_cases, vectors):
        assert len(vector) == len(case["embedding"]), case["text"]
        worst = max(abs(a - b) for a, b in zip(case["embedding"], vector))
        assert worst < 1e-5, (case["text"], worst)


def is_capital(value):
    """Asserts that `value`, or the JSON in it, has CAPITAL_FORM and the right answer."""
    value = json.loads(value) if isinstance(value, str) else value
    assert set(value) == {"capital", "letters"} and value["letters"] in (4, 5), value
    assert value["capital"] == "Paris", value


def refusal(call):
    """The error that `call` ends with."""
    try:
        call()
    except Exception as error:  # whatever the client makes of it
        return error
    raise AssertionError("it is an error")


def _requests():
    with urllib.request.urlopen(url + "/api/status") as answer:
        return json.load(answer)["requests"]


class IsGivenUp:
    """Asserts at the end of a `with` that the daemon gave up one answer within it, as its client did."""

    def __enter__(self):
        self.before = _requests()

    def __exit__(self, kind, *_):
        if kind is not None:
            return
        deadline = time.monotonic() + 60
        while True:
            now = _requests()
            if now["running"] == 0 and now["cancelled"] == self.before["cancelled"] + 1:
                return
            assert time.monotonic() < deadline, ("the daemon goes on", self.before, now)
            time.sleep(0.05)
