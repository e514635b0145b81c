#!/usr/bin/env python3
"""The same training in NumPy: `reference.py mlp|cnn DATASET MODEL [WEIGHTS]`, with the folder of datasets.py.

It starts from the same initial model and takes the same batches, in f64 where the trainer has f32. Prints the accuracy on
the held-out digits, that of scikit-learn's MLPClassifier of the same shape for comparison, and given the trainer's
weights, its accuracy and how far its weights are from the reference's. Needs scikit-learn 1.9.1.
"""

import json
import pathlib
import struct
import sys

import numpy as np

WORD = (1 << 64) - 1
EPOCHS = {"mlp": 60, "cnn": 30}
RATE = {"mlp": 0.1, "cnn": 0.05}
MOST_SHIFT = {"mlp": 0, "cnn": 1}
BATCH, MOMENTUM, SEED = 32, 0.9, 1


class Random:
    """xoshiro256++, filled by SplitMix64, with the bounded numbers of Lemire 2019."""

    def __init__(self, seed):
        self.state = []
        for _ in range(4):
            seed = (seed + 0x9E3779B97F4A7C15) & WORD
            z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & WORD
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
            self.state.append(z ^ (z >> 31))

    def bits(self):
        def rotate(x, by):
            return ((x << by) | (x >> (64 - by))) & WORD

        s = self.state
        result = (rotate((s[0] + s[3]) & WORD, 23) + s[0]) & WORD
        t = (s[1] << 17) & WORD
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
        return result

    def below(self, bound):
        surplus = ((1 << 64) - bound) % bound
        while True:
            product = self.bits() * bound
            if product & WORD >= surplus:
                return product >> 64


def tensors(path):
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"]).astype(float)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def digits(folder):
    return np.load(folder / "images.npy").reshape(-1, 8, 8) / 16, np.load(folder / "labels.npy").astype(int)


def windows(images, stride):
    """All windows of 3 x 3, as rows; images are count x height x width x channels."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    return view.transpose(0, 1, 2, 4, 5, 3).reshape(*view.shape[:3], -1)


class Mlp:
    def forward(self, p, images):
        self.x = images.reshape(len(images), -1)
        self.y = np.maximum(self.x @ p["hidden.weights"] + p["hidden.bias"], 0)
        return self.y @ p["output.weights"] + p["output.bias"]

    def backward(self, p, by_scores):
        by_y = by_scores @ p["output.weights"].T * (self.y > 0)
        return {
            "output.weights": self.y.T @ by_scores,
            "output.bias": by_scores.sum(0),
            "hidden.weights": self.x.T @ by_y,
            "hidden.bias": by_y.sum(0),
        }


class Cnn:
    def forward(self, p, images):
        self.first_windows = windows(images[..., None], 1)
        first = self.first_windows @ p["first.weights"].reshape(9, 16) + p["first.bias"]
        self.first = np.maximum(first, 0)
        self.second_windows = windows(self.first, 2)
        self.second = np.maximum(self.second_windows @ p["second.weights"].reshape(144, 32) + p["second.bias"], 0)
        return self.second.reshape(len(images), -1) @ p["output.weights"] + p["output.bias"]

    def backward(self, p, by_scores):
        count = len(by_scores)
        by_second = (by_scores @ p["output.weights"].T).reshape(self.second.shape) * (self.second > 0)
        by_windows = (by_second @ p["second.weights"].reshape(144, 32).T).reshape(count, 4, 4, 3, 3, 16)
        by_first = np.zeros((count, 10, 10, 16))
        for row in range(4):
            for column in range(4):
                by_first[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += by_windows[:, row, column]
        by_first = by_first[:, 1:9, 1:9] * (self.first > 0)
        return {
            "output.weights": self.second.reshape(count, -1).T @ by_scores,
            "output.bias": by_scores.sum(0),
            "second.weights": np.einsum("nhwi,nhwo->io", self.second_windows, by_second).reshape(3, 3, 16, 32),
            "second.bias": by_second.sum((0, 1, 2)),
            "first.weights": np.einsum("nhwi,nhwo->io", self.first_windows, by_first).reshape(3, 3, 1, 16),
            "first.bias": by_first.sum((0, 1, 2)),
        }


def train(kind, network, p, images, labels):
    order, shuffle, shift = list(range(len(images))), Random(SEED), Random(SEED + 1)
    velocity = {name: np.zeros_like(value) for name, value in p.items()}
    most = MOST_SHIFT[kind]
    for epoch in range(EPOCHS[kind]):
        rate = RATE[kind] * (1 - epoch / EPOCHS[kind])
        for last in range(len(order) - 1, 0, -1):
            other = shuffle.below(last + 1)
            order[last], order[other] = order[other], order[last]
        total = 0
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = images[chosen]
            if most:
                framed = np.zeros((len(chosen), 8 + 2 * most, 8 + 2 * most))
                for frame, image in zip(framed, batch):
                    down, right = shift.below(2 * most + 1), shift.below(2 * most + 1)
                    frame[down : down + 8, right : right + 8] = image
                batch = framed[:, most : most + 8, most : most + 8]
            scores = network.forward(p, batch)
            probabilities = np.exp(scores - scores.max(1, keepdims=True))
            probabilities /= probabilities.sum(1, keepdims=True)
            rows = np.arange(len(chosen))
            total -= np.log(probabilities[rows, labels[chosen]]).sum()
            probabilities[rows, labels[chosen]] -= 1
            for name, gradient in network.backward(p, probabilities / len(chosen)).items():
                velocity[name] = MOMENTUM * velocity[name] + gradient
                p[name] = p[name] - rate * velocity[name]
    print(f"NumPy: loss of the last epoch {total / len(order):.6f}")


kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
network = {"mlp": Mlp, "cnn": Cnn}[kind]()
images, labels = digits(folder / "train")
heldout, heldout_labels = digits(folder / "heldout")


def accuracy(p):
    return (network.forward(p, heldout).argmax(1) == heldout_labels).mean()


reference = tensors(sys.argv[3])
train(kind, network, reference, images, labels)
print(f"NumPy: accuracy {accuracy(reference):.4f}")
if len(sys.argv) > 4:
    ours = tensors(sys.argv[4])
    print(f"trainer: accuracy {accuracy(ours):.4f}")
    difference = max(np.abs(ours[name] - value).max() for name, value in reference.items())
    print(f"largest difference of a weight {difference:.2g}")

from sklearn.neural_network import MLPClassifier

model = MLPClassifier((32,), solver="sgd", learning_rate_init=0.1, batch_size=32, alpha=0, max_iter=60, random_state=1)
model.fit(images.reshape(-1, 64), labels)
print(f"scikit-learn's MLPClassifier: accuracy {model.score(heldout.reshape(-1, 64), heldout_labels):.4f}")
