#!/usr/bin/env python3
"""The same clusters by scikit-learn: `reference.py DATASET MODEL.csv [CENTRES.csv]`, with the folder of datasets.py. Needs
scikit-learn 1.9.1."""

import pathlib
import sys

import numpy
from sklearn.cluster import KMeans


def table(path):
    return numpy.loadtxt(path, delimiter=",", skiprows=1)


rows = table(pathlib.Path(sys.argv[1]) / "train/data.csv")[:, :-1]
deviations = rows.std(0)
model = KMeans(3, init=table(sys.argv[2]) / deviations, n_init=1, tol=0, algorithm="lloyd").fit(rows / deviations)
print(f"inertia {model.inertia_:.4f}")
if len(sys.argv) > 3:
    difference = numpy.abs(model.cluster_centers_ * deviations / table(sys.argv[3]) - 1).max()
    print(f"largest relative difference of a centre {difference:.2g}")
