#!/usr/bin/env python3
"""The same model by scikit-learn: `reference.py DATASET`, with the folder of datasets.py. Needs scikit-learn 1.9.1."""

import pathlib
import sys

import numpy
from sklearn.ensemble import GradientBoostingRegressor


def table(path):
    values = numpy.loadtxt(path, delimiter=",", skiprows=1)
    return values[:, :-1], values[:, -1]


folder = pathlib.Path(sys.argv[1])
rows, targets = table(folder / "train/data.csv")
heldout = table(folder / "heldout/data.csv")
model = GradientBoostingRegressor(random_state=0).fit(rows, targets)
print(f"loss {model.train_score_[-1]:.6f}")
print(f"R2 {model.score(*heldout):.4f}")
