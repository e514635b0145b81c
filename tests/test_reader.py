#!/usr/bin/env python3
"""The reader against the test vectors, whole and damaged."""

import contextlib
import copy
import io
import json
import pathlib
import random
import tempfile
import unittest

import reader
from reader import Refused


def vectors(name):
    """A file of test vectors."""
    return json.loads((reader.DEFAULT_VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def run(*words):
    """The exit code and what was printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = reader.main([str(word) for word in words])
    return code, out.getvalue() + err.getvalue()


class Known(unittest.TestCase):
    """What others have computed before."""

    def test_keccak(self):
        empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        self.assertEqual(reader.keccak256(b"").hex(), empty)
        # The selector of every ERC-20 token's `transfer`.
        self.assertEqual(reader.keccak256(b"transfer(address,uint256)")[:4].hex(), "a9059cbb")
        for length in (135, 136, 137):
            self.assertNotEqual(reader.keccak256(bytes(length)), reader.keccak256(bytes(length + 1)))

    def test_chacha20(self):
        # RFC 8439, A.1, test vectors 1 and 2.
        stream = reader.chacha20(bytes(32), 128).hex()
        self.assertTrue(stream.startswith("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"))
        self.assertEqual(stream[128:192], "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed")

    def test_ed25519(self):
        # RFC 8032, 7.1, tests 1 and 2.
        cases = [
            (
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
                "d25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
                "387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ]
        for public, message, signature in cases:
            public, message, signature = map(bytes.fromhex, (public, message, signature))
            self.assertTrue(reader.is_signed(public, message, signature))
            self.assertFalse(reader.is_signed(public, message + b"x", signature))

    def test_cids(self):
        empty = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
        self.assertEqual(str(reader.file_cid(b"")), empty)
        self.assertEqual(str(reader.Cid.parse(empty)), empty)


class Vectors(unittest.TestCase):
    """Every file of test vectors."""

    def test_all_are_right(self):
        for name, check in reader.VECTORS.items():
            with self.subTest(name):
                check(vectors(name))

    def test_each_file_is_checked_or_left_out_for_a_reason(self):
        files = {path.stem for path in reader.DEFAULT_VECTORS.glob("*.json")}
        # Instrumenting modules takes more than a small reader, and the machine's hashes are the verifier's alone.
        self.assertEqual(files - {"admission", "machine"}, set(reader.VECTORS))

    def test_contracts(self):
        """What the contracts are tested with is what the reference says."""
        path = reader.DEFAULT_VECTORS.parents[3] / "contracts/test/vectors/core.json"
        known = json.loads(path.read_text(encoding="utf-8"))
        plain = lambda text: bytes.fromhex(text[2:])
        for case in known["run_ids"]:
            found = reader.market_run_id(
                case["chain_id"], *(plain(case[n]) for n in ("market", "slot", "client", "data_root", "randomness"))
            )
            self.assertEqual(found, plain(case["run_id"]))
        for case in known["levels"]:
            self.assertEqual(reader.level_root([plain(leaf) for leaf in case["leaves"]]), plain(case["root"]))
        for case in known["headers"]:
            body = {name: plain(case[name]) for name in ("run_id", "job_root", "data_root", "blind_hash")}
            code = case["exit_code"] - (1 << 32) if case["exit_code"] >> 31 else case["exit_code"]
            body["outcome"] = {"status": reader.STATUS[case["status"]], "exit_code": code}
            body["trace"] = {"steps": case["steps"], "segments": [plain(case["last"])]}
            body["results"] = [
                {**file, "root": plain(file["root"]), "cid": reader.Cid(file["codec"], plain(file["digest"]))}
                for file in case["files"]
            ]
            size_class = "SML"[case["class"]]
            reader.check_last_leaf(body, size_class)
            first = {"trace": {"steps": 0, "segments": [plain(case["first"])]}, "outcome": {"status": "running"}, "results": []}
            reader.check_last_leaf({**body, **first}, size_class)

    def test_a_changed_vector_is_noticed(self):
        digits = str.maketrans("0123456789abcdef", "123456789abcdef0")

        def leaves(value, path=()):
            if isinstance(value, dict) or isinstance(value, list):
                for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                    yield from leaves(inner, (*path, key))
            elif isinstance(value, str) and value.startswith("0x"):
                yield path

        dice = random.Random(1)
        for name in ("run", "trace", "receipt", "header", "whole-run"):
            good = vectors(name)
            paths = [path for path in leaves(good) if "refused" not in path]
            for path in dice.sample(paths, 6):
                bad = copy.deepcopy(good)
                inner = bad
                for key in path[:-1]:
                    inner = inner[key]
                inner[path[-1]] = "0x" + inner[path[-1]][2:].translate(digits)
                with self.subTest(f"{name} {path}"), self.assertRaises(Refused):
                    reader.VECTORS[name](bad)


class Damaged(unittest.TestCase):
    """Bytes that were changed are refused, never anything else that a reader could do wrong."""

    def damage(self, good, dice):
        bad = bytearray(good)
        kind = dice.randrange(4)
        at = dice.randrange(len(bad))
        if kind == 0:
            bad[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            bad[at : at + 1] = b""
        elif kind == 2:
            bad[at:at] = bytes([dice.randrange(256)])
        else:
            del bad[at:]
        return bytes(bad)

    def test_receipts(self):
        dice = random.Random(2)
        case = vectors("receipt")["accepted"][0]
        good = bytes.fromhex(case["block"])
        job = reader.read_manifest(bytes.fromhex(case["job"]))
        accepted = 0
        for _ in range(400):
            bad = self.damage(good, dice)
            try:
                body = reader.read_body(bad)
                reader.check_body_with_job(body, job)
                reader.check_last_leaf(body, "L")
            except Refused:
                continue
            # Only the job's link is in nothing else that is checked here.
            known = reader.read_body(good)
            self.assertNotEqual(body.pop("job"), known.pop("job"))
            self.assertEqual(body, known)
            accepted += 1
        self.assertLess(accepted, 40)

    def test_envelopes(self):
        dice = random.Random(3)
        good = bytes.fromhex(vectors("envelope")["accepted"][0]["block"])
        for _ in range(60):
            with self.assertRaises(Refused):
                reader.read_envelope(self.damage(good, dice))

    def test_packs(self):
        dice = random.Random(4)
        case = vectors("pack")["packs"][3]
        good = reader.content_of(case["pack"])
        for _ in range(400):
            bad = self.damage(good, dice)
            try:
                pack = reader.Pack(bad)
            except Refused:
                continue
            if pack.is_padded_with_zeros:
                self.assertEqual(reader.write_pack(pack.files, pack.salt), bad[: pack.total])

    def test_headers(self):
        dice = random.Random(5)
        good = reader.content_of(vectors("header")["accepted"][2]["page"])
        for _ in range(400):
            bad = bytearray(good)
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            try:
                self.assertEqual(reader.write_header(reader.read_header(bytes(bad))), bytes(bad))
            except Refused:
                pass

    def test_manifests_and_other_blocks(self):
        dice = random.Random(6)
        for case in vectors("manifest")["accepted"]:
            good = bytes.fromhex(case["block"])
            for _ in range(400):
                bad = self.damage(good, dice)
                try:
                    self.assertEqual(reader.encode(reader.read_manifest(bad)), bad)
                except Refused:
                    pass

    def test_wasi_states(self):
        dice = random.Random(7)
        known = vectors("wasi")
        state, area = reader.content_of(known["wasi_state"]), reader.content_of(known["file_area"])
        used = len(state.rstrip(b"\0"))
        for _ in range(200):
            bad = bytearray(state)
            bad[dice.randrange(used)] ^= 1 << dice.randrange(8)
            try:
                reader.read_wasi_state(bytes(bad), area)
            except Refused:
                pass


class Archive:
    """A CAR archive in the making."""

    def __init__(self, roots):
        self.bytes = b""
        self.add(reader.encode({"roots": roots, "version": 1}))

    def add(self, section):
        """Adds bytes after their length."""
        self.bytes += reader.varint(len(section)) + section

    def block(self, codec, block):
        """Adds a block."""
        cid = reader.Cid.of(codec, block)
        self.add(bytes(cid) + block)
        return cid


class Commands(unittest.TestCase):
    """The command line, on the run of the test vectors."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.known = vectors("whole-run")
        self.capsule = self.write("capsule", reader.content_of(self.known["capsule"]))

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def archive(self):
        body = bytes.fromhex(self.known["receipt_body"])
        archive = Archive([reader.Cid.of(reader.DAG_CBOR, body)])
        archive.block(reader.DAG_CBOR, body)
        archive.block(reader.DAG_CBOR, bytes.fromhex(self.known["job"]))
        for name in ("trainer", "model", "result"):
            archive.block(reader.RAW, bytes.fromhex(self.known[name]))
        return archive

    def test_a_receipt_in_an_archive(self):
        path = self.write("receipt.car", self.archive().bytes)
        code, out = run("receipt", path)
        self.assertEqual(code, 0, out)
        self.assertIn(self.known["receipt_body_cid"], out)
        self.assertIn("job root, from the job's blocks", out)
        self.assertIn("last leaf of the trace", out)
        code, out = run("receipt", path, "--capsule", self.capsule)
        self.assertEqual(code, 0, out)
        self.assertIn("data root and blind, from the capsule", out)

    def test_a_receipt_alone(self):
        code, out = run("receipt", self.write("body", bytes.fromhex(self.known["receipt_body"])))
        self.assertEqual(code, 0, out)
        self.assertIn("in size class S", out)
        block = vectors("envelope")["accepted"][0]["block"]
        code, out = run("receipt", self.write("envelope", bytes.fromhex(block)))
        self.assertEqual(code, 0, out)

    def test_another_capsule_is_refused(self):
        path = self.write("receipt.car", self.archive().bytes)
        pack = reader.Pack(self.capsule.read_bytes())
        other = reader.write_pack({**pack.files, "a.csv": b"1,2\n3,4\n5,6\n7,9\n"}, pack.salt)
        code, out = run("receipt", path, "--capsule", self.write("other", other))
        self.assertEqual(code, 1, out)
        self.assertIn("data root", out)

    def test_damaged_and_incomplete_archives_are_refused(self):
        whole = self.archive().bytes
        dice = random.Random(8)
        for _ in range(20):
            bad = bytearray(whole)
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            code, out = run("receipt", self.write("bad.car", bytes(bad)))
            self.assertEqual(code, 1, out)
        code, out = run("receipt", self.write("cut.car", whole[: -len(self.known["result"]) // 2 - 37]))
        self.assertEqual(code, 1, out)

    def test_a_capsule_and_a_job_drive(self):
        code, out = run("capsule", self.capsule)
        self.assertEqual(code, 0, out)
        self.assertIn(self.known["data_root"], out)
        code, out = run("capsule", self.capsule, "--log2-size", 24)
        self.assertIn(self.known["data_root"], out)
        drive = self.write("job", reader.content_of(self.known["job_drive"]) + bytes(8192))
        code, out = run("job", drive)
        self.assertEqual(code, 0, out)
        self.assertIn(self.known["job_root"], out)
        code, out = run("job", self.capsule)
        self.assertEqual(code, 1, out)
        code, out = run("capsule", self.write("text", b"nothing"))
        self.assertEqual(code, 1, out)

    def test_a_file_that_is_not_there(self):
        self.assertEqual(run("capsule", self.folder / "none")[0], 2)


if __name__ == "__main__":
    unittest.main()
