#!/usr/bin/env python3
"""The training steps of kernels.rs in NumPy, or in PyTorch, in the same unit, by CPU time.

    OMP_NUM_THREADS=1 python reference.py [numpy | torch]
"""

import sys
import time

import numpy as np


def measure(name, multiply_adds, work):
    def seconds(repeats):
        start = time.process_time()
        for _ in range(repeats):
            work()
        return time.process_time() - start

    repeats = 1
    while seconds(repeats) < 0.05:
        repeats *= 2
    rates = sorted(multiply_adds * repeats / seconds(repeats) / 1e6 for _ in range(3))
    print(f"{name}: {rates[1]:.0f}")


def measure_training(inputs, hidden, outputs, batch, step):
    multiply_adds = batch * (2 * inputs * hidden + 3 * hidden * outputs)
    measure(f"training {inputs}-{hidden}-{outputs}, batches of {batch}", multiply_adds, step)


def perceptron(inputs, hidden, outputs, batch):
    random = np.random.default_rng(1)
    normal = lambda *shape: (0.1 * random.standard_normal(shape)).astype(np.float32)
    p = [normal(inputs, hidden), np.zeros(hidden, np.float32), normal(hidden, outputs), np.zeros(outputs, np.float32)]
    v = [np.zeros_like(value) for value in p]
    x = random.random((batch, inputs), np.float32) - np.float32(0.5)
    rows, labels = np.arange(batch), np.arange(batch) % outputs

    def step():
        y = x @ p[0]
        y += p[1]
        np.maximum(y, 0, out=y)
        scores = y @ p[2]
        scores += p[3]
        scores -= scores.max(1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(1, keepdims=True)
        scores[rows, labels] -= 1
        scores /= np.float32(batch)
        by_y = scores @ p[2].T
        by_y *= y > 0
        for value, velocity, gradient in zip(p, v, (x.T @ by_y, by_y.sum(0), y.T @ scores, scores.sum(0))):
            velocity *= np.float32(0.9)
            velocity += gradient
            value -= np.float32(0.01) * velocity

    measure_training(inputs, hidden, outputs, batch, step)


def perceptron_in_pytorch(inputs, hidden, outputs, batch):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, outputs))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss = torch.nn.CrossEntropyLoss()
    x, labels = torch.rand(batch, inputs) - 0.5, torch.arange(batch) % outputs

    def step():
        optimiser.zero_grad()
        loss(model(x), labels).backward()
        optimiser.step()

    measure_training(inputs, hidden, outputs, batch, step)


def main(library):
    if library == "numpy":
        for size in (64, 512):
            a = np.random.default_rng(1).random((size, size), np.float32)
            c = np.empty_like(a)
            measure(f"product of {size} x {size}", size**3, lambda: np.matmul(a, a, out=c))
    train = {"numpy": perceptron, "torch": perceptron_in_pytorch}[library]
    for shape in ((64, 32, 10, 32), (784, 128, 10, 32), (784, 512, 10, 128)):
        train(*shape)


main(*sys.argv[1:] or ["numpy"])
