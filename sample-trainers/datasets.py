#!/usr/bin/env python3
"""Writes the data sets of the sample trainers: `datasets.py NAME [OUT]`.

The data comes out of scikit-learn's wheel, which is unpacked and never installed: Python's own library is enough.
`train/` is what a client would grant, `heldout/` what the sponsor measures with. OUT is target/datasets/NAME unless given.
"""

import csv
import gzip
import hashlib
import io
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WHEEL = "scikit-learn==1.9.1"
# Every fourth row is held out.
HELD_OUT = 4


def from_wheel(path, sha256):
    """The bytes of a file in scikit-learn's wheel, which are the same in the wheels of all platforms."""
    kept = ROOT / "target/datasets/wheel" / pathlib.Path(path).name
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            download += ["--no-deps", "--only-binary", ":all:", "--dest", folder, WHEEL]
            subprocess.run(download, check=True)
            (wheel,) = pathlib.Path(folder).glob("*.whl")
            content = zipfile.ZipFile(wheel).read(path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        part.write_bytes(content)
        part.replace(kept)
    content = kept.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        sys.exit(f"{kept} has the SHA-256 {found}, not {sha256}: another release of {WHEEL}?")
    return content


def parts(examples):
    """The examples to train with, and those to measure with."""
    return {
        "train": [example for index, example in enumerate(examples) if index % HELD_OUT != 0],
        "heldout": [example for index, example in enumerate(examples) if index % HELD_OUT == 0],
    }


def write_tables(out, columns, rows):
    """Writes `rows` to train/data.csv and heldout/data.csv. Fields stay the text that they are."""
    for part, chosen in parts(rows).items():
        path = out / part / "data.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(chosen)
        print(f"{path}: {len(chosen)} rows")


def write_bytes_array(path, shape, values):
    """Writes a NumPy array of bytes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    # The data begins at a multiple of 64 bytes.
    header = header.ljust(-(len(header) + 11) % 64 + len(header)) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(values))
    print(f"{path}: {shape[0]} examples")


def digits(out):
    """1,797 handwritten digits of 8 by 8 pixels with 17 shades (Alpaydin and Kaynak, 1998)."""
    content = from_wheel(
        "sklearn/datasets/data/digits.csv.gz",
        "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    )
    rows = [[int(float(field)) for field in row] for row in csv.reader(io.StringIO(gzip.decompress(content).decode()))]
    for part, chosen in parts(rows).items():
        pixels = [pixel for row in chosen for pixel in row[:-1]]
        write_bytes_array(out / part / "images.npy", [len(chosen), 8, 8], pixels)
        write_bytes_array(out / part / "labels.npy", [len(chosen)], [row[-1] for row in chosen])


def breast_cancer(out):
    """569 tumours, 30 measures of cell nuclei, malignant or not (Wisconsin, 1995)."""
    content = from_wheel(
        "sklearn/datasets/data/breast_cancer.csv",
        "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed",
    )
    measures = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity"]
    measures += ["concave_points", "symmetry", "fractal_dimension"]
    columns = [f"{measure}_{kind}" for kind in ("mean", "error", "worst") for measure in measures]
    rows = list(csv.reader(io.StringIO(content.decode())))[1:]
    # In the wheel 1 stands for benign.
    malignant = {"0": "1", "1": "0"}
    write_tables(out, columns + ["malignant"], [row[:-1] + [malignant[row[-1]]] for row in rows])


SETS = {"breast-cancer": breast_cancer, "digits": digits}


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in SETS:
        sys.exit(f"usage: datasets.py {'|'.join(SETS)} [OUT]")
    name = sys.argv[1]
    SETS[name](pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else ROOT / "target/datasets" / name)


if __name__ == "__main__":
    main()
