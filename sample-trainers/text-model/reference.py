#!/usr/bin/env python3
"""The same model in NumPy: `reference.py HELDOUT.txt WEIGHTS.safetensors [ADAPTERS.safetensors]`.

Prints the bits for each character that the example `evaluate-text-model` prints, computed in f64. Needs NumPy.
"""

import json
import pathlib
import struct
import sys

import numpy as np

CONTEXT, RECENT, HEADS, SYMBOLS = 64, 8, 4, 96


def tensors(path):
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"]).astype(float)
        for name, entry in header.items()
        if name != "__metadata__"
    }


p = tensors(sys.argv[2])
if len(sys.argv) > 3:
    adapters = tensors(sys.argv[3])
    for name in {name.rsplit(".", 1)[0] for name in adapters}:
        p[name] = p[name] + adapters[f"{name}.down"] @ adapters[f"{name}.up"]


def linear(name, x):
    return x @ p[f"{name}.weights"] + p[f"{name}.bias"]


def normal(name, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * p[f"{name}.scale"] + p[f"{name}.shift"]


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def probabilities(windows):
    """Of each symbol after each symbol of each window."""
    count, length = windows.shape
    x = np.broadcast_to(p["places"][:length], (count, length, p["places"].shape[1])).copy()
    for distance in range(RECENT):
        before = np.full_like(windows, SYMBOLS)
        before[:, distance:] = windows[:, : length - distance]
        x += p[f"recent.{distance}"][before]
    parts = linear("attention", normal("before_attention", x)).reshape(count, length, 3, HEADS, -1)
    query, key, value = parts.transpose(2, 0, 3, 1, 4)
    fits = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    fits[..., np.triu(np.ones((length, length), bool), 1)] = -np.inf
    taken = (softmax(fits) @ value).transpose(0, 2, 1, 3).reshape(x.shape)
    x += linear("mixed", taken)
    x += linear("back", gelu(linear("hidden", normal("before_hidden", x))))
    return softmax(linear("output", normal("before_output", x)))


text = np.frombuffer(pathlib.Path(sys.argv[1]).read_bytes(), np.uint8).astype(int)
symbols = np.where(text == 10, 0, text - 31)
starts = np.arange(0, len(symbols) - CONTEXT, CONTEXT // 2)
bits = []
for some in np.array_split(starts, max(1, len(starts) // 64)):
    places = some[:, None] + np.arange(CONTEXT)
    found = np.take_along_axis(probabilities(symbols[places]), symbols[places + 1][..., None], -1)[..., 0]
    for start, row in zip(some, -np.log2(found)):
        bits.extend(row[0 if start == 0 else CONTEXT // 2 :])
print(f"model: {np.mean(bits):.4f} bits per character")
