#!/usr/bin/env python3
"""Writes the data sets of the sample trainers: `datasets.py NAME [OUT]`.

The data comes out of scikit-learn's wheel and a package of Debian, which are unpacked and never installed: Python's own
library is enough, and for the texts Debian's apt-get and dpkg-deb.
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
# Debian's collections of short texts: jokes, quotations, definitions.
TEXTS = "fortunes"
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
        keep(kept, content)
    return checked(kept, sha256, WHEEL)


def checked(path, sha256, source):
    """The bytes of a file that must have this hash."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        sys.exit(f"{path} has the SHA-256 {found}, not {sha256}: another release of {source}?")
    return content


def keep(path, content):
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


def from_debian(package, folder, hashes):
    """The bytes of files in a package of Debian, which is unpacked and not installed."""
    kept = ROOT / "target/datasets/debian"
    if not all((kept / name).exists() for name in hashes):
        with tempfile.TemporaryDirectory() as temporary:
            # As root, apt-get downloads as another user if that one may write here.
            pathlib.Path(temporary).chmod(0o777)
            subprocess.run(["apt-get", "download", "-qq", package], cwd=temporary, check=True)
            (deb,) = pathlib.Path(temporary).glob("*.deb")
            subprocess.run(["dpkg-deb", "--extract", deb.name, "files"], cwd=temporary, check=True)
            for name in hashes:
                keep(kept / name, (pathlib.Path(temporary) / "files" / folder / name).read_bytes())
    return [checked(kept / name, sha256, package) for name, sha256 in hashes.items()]


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


def write_messages(out, collections):
    """Writes a text with a message in each line: the short ones of these collections, in printable ASCII."""
    messages = []
    for text in from_debian(TEXTS, "usr/share/games/fortunes", collections):
        lines = (" ".join(message.split()) for message in text.decode("utf-8", "replace").split("\n%\n"))
        messages += [line for line in lines if 0 < len(line) <= 300 and all(" " <= c <= "~" for c in line)]
    for part, chosen in parts(messages).items():
        path = out / part / "messages.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in chosen))
        print(f"{path}: {len(chosen)} messages")


def messages(out):
    """Short texts that people like to quote: some thousand jokes and sayings."""
    write_messages(out, MESSAGES)


def computer_messages(out):
    """Short texts about computers and those who use them, in a language of their own."""
    write_messages(out, COMPUTER_MESSAGES)


def diabetes(out):
    """442 people with diabetes, 10 measures, and how the illness went on within a year (Efron et al., 2004)."""
    rows, targets = (
        gzip.decompress(from_wheel(f"sklearn/datasets/data/diabetes_{name}.csv.gz", sha256)).decode().split("\n")
        for name, sha256 in DIABETES.items()
    )
    columns = ["age", "sex", "bmi", "blood_pressure", "s1", "s2", "s3", "s4", "s5", "s6", "progression"]
    rows = [row.split() + [repr(float(target))] for row, target in zip(rows, targets, strict=True) if row]
    write_tables(out, columns, rows)


def wine(out):
    """178 wines of three vineyards, 13 measures (Forina et al., 1991)."""
    content = from_wheel(
        "sklearn/datasets/data/wine_data.csv",
        "10e8a802908b34f86e5da8ce962f3c806694bc98450a18f61851af59f324bede",
    )
    columns = ["alcohol", "malic_acid", "ash", "alcalinity", "magnesium", "phenols", "flavanoids"]
    columns += ["nonflavanoid_phenols", "proanthocyanins", "color", "hue", "od280", "proline", "vineyard"]
    write_tables(out, columns, list(csv.reader(io.StringIO(content.decode())))[1:])


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


DIABETES = {
    "data_raw": "7fc0ded571454b1982210d3bb43f0aca44eae01a0b8654a3b24022bdb6b38009",
    "target": "8e53f65eb811df43c206f3534bb3af0e5fed213bc37ed6ba36310157d6023803",
}
MESSAGES = {
    "cookie": "5dc97eee96dcc5287c373be629482730d45f77b59da1287933c9c5f482a055eb",
    "people": "2afb4b9f577be114d2dca279bc5590ee8415e1405295d7d7626c888d82f338e8",
    "science": "7ab350b142ee6c70c1d8517c5a1b3790c09b190a62859427cad98e6e35a19fcc",
    "work": "ad8a0e104160e2c4782fa86e143cd60ffab2872985d4293ffd0af6df19dbfa28",
    "wisdom": "9b0bd6b9331a68c9172219784a411c417c055ed69734edc7b4406795b87d4e94",
    "platitudes": "88448274efec3d2c0908cc11525c9b065b95a32c232a2c58c67a87dd88545ee5",
    "art": "600b8197bc994fd4fcbb623aa5e700629540af44f044d4907886bd1031f160ce",
    "miscellaneous": "e3d81fd016f9f84a70ecb9aa197c4911aca01a8034e49345b81093f6751bba9c",
    "humorists": "ffdf67e1f4049133bf904b769c364de45e5ae0abfb3ea7c9afb54b87b89acfc4",
    "definitions": "57be4744c353d931fa2ca95f50215d4b67539f5a527ae628a6441fb4a1258caa",
    "education": "ba13321d6d6beb7a6e65296a47450bfc87b24a319fff2e94762011b59a31aa35",
    "law": "f04141f94e788b7899e0adb0490d182ce711f8fdbb8252343a5257e717e9279d",
    "politics": "b56ca45a046edd5c459090a5c6b335332661b436e814b41ac87bb58065ad6131",
}
COMPUTER_MESSAGES = {
    "computers": "a86be224d9f733b88eeaf8a46ea0427e05cc69c69edcf5f6db47ddf561ca37fd",
    "linux": "85b0e5eadf7adeea77da4e1fbd456c962ce3bd1dabbd053098ecf37de9169cf3",
    "perl": "b19145eadf97c31add2e0a199d93ffa0eb92e00275c2724b7ad6b4e412113536",
    "knghtbrd": "c25e8373b38a6f159a7b1d336f363d5c962224a6ddcc86279dec47aad3c869b3",
}
SETS = {
    "breast-cancer": breast_cancer,
    "computer-messages": computer_messages,
    "diabetes": diabetes,
    "digits": digits,
    "messages": messages,
    "wine": wine,
}


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in SETS:
        sys.exit(f"usage: datasets.py {'|'.join(SETS)} [OUT]")
    name = sys.argv[1]
    SETS[name](pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else ROOT / "target/datasets" / name)


if __name__ == "__main__":
    main()
