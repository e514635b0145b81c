#!/usr/bin/env python3
"""The same model by scikit-learn: `reference.py DATASET [WEIGHTS.safetensors]`, with the folder of datasets.py.

Needs scikit-learn 1.9.1. Prints the accuracy on the held-out rows and, given weights, how far they are from the
reference's.
"""

import json
import pathlib
import struct
import sys

import numpy
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def table(path):
    values = numpy.loadtxt(path, delimiter=",", skiprows=1)
    return values[:, :-1], values[:, -1]


def tensors(path):
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    return {
        name: numpy.frombuffer(data[slice(*entry["data_offsets"])], "<f8")
        for name, entry in header.items()
        if name != "__metadata__"
    }


folder = pathlib.Path(sys.argv[1])
rows, labels = table(folder / "train/data.csv")
heldout, heldout_labels = table(folder / "heldout/data.csv")
scaler = StandardScaler().fit(rows)
model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10000).fit(scaler.transform(rows), labels)
print(f"accuracy {model.score(scaler.transform(heldout), heldout_labels):.4f}")
if len(sys.argv) > 2:
    ours = tensors(sys.argv[2])
    print(f"largest difference of a weight {numpy.abs(ours['weights'] - model.coef_[0]).max():.2g}")
    print(f"difference of the bias {abs(ours['bias'][0] - model.intercept_[0]):.2g}")
