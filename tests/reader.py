#!/usr/bin/env python3
"""A second reader of this project's formats, written from docs/src/reference alone, with nothing but the standard library.

    python3 tests/reader.py receipt FILE [--capsule FILE]   a receipt: a CAR archive, or the block of an envelope or body
    python3 tests/reader.py capsule FILE [--log2-size N]    a capsule, or any other pack
    python3 tests/reader.py job FILE                        a job drive
    python3 tests/reader.py vectors [DIR]                   checks the test vectors; also without any argument

It is slow, and simple enough to be believed.
"""

import argparse
import hashlib
import json
import pathlib
import struct
import sys
import unicodedata

PAGE = 4096
DRIVES = {"S": (24, 24, 24), "M": (26, 27, 27), "L": (28, 30, 29)}  # log2 of job, data, state
RAW, DAG_PB, DAG_CBOR = 0x55, 0x70, 0x71


class Refused(Exception):
    """The bytes are not what the reference says they must be."""


def need(right, what):
    """Refuses unless `right`."""
    if not right:
        raise Refused(what)


def utf8(raw):
    """The text in bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Refused("a text is not UTF-8") from None


# Hashes -----------------------------------------------------------------------------------------------------------


def _make_keccak_f():
    """Keccak-f[1600], written out: 25 lanes in local variables are twice as fast as a list."""
    mask = (1 << 64) - 1
    constants, lfsr = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if lfsr & 1:
                constant |= 1 << ((1 << j) - 1)
            lfsr = (lfsr << 1) ^ (0x171 if lfsr & 0x80 else 0)
        constants.append(constant)
    offsets, x, y = {(0, 0): 0}, 1, 0
    for t in range(24):
        offsets[x, y] = (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    lanes = ", ".join(f"a{i}" for i in range(25))
    lines = ["def keccak_f(a):", f" {lanes} = a", " for constant in CONSTANTS:"]
    for x in range(5):
        lines.append(f"  c{x} = " + " ^ ".join(f"a{x + 5 * y}" for y in range(5)))
    for x in range(5):
        right = (x + 1) % 5
        lines.append(f"  d{x} = c{(x + 4) % 5} ^ (c{right} << 1 & MASK | c{right} >> 63)")
    for x in range(5):
        for y in range(5):
            n, to = offsets[x, y], y + 5 * ((2 * x + 3 * y) % 5)
            lines.append(f"  t = a{x + 5 * y} ^ d{x}")
            lines.append(f"  b{to} = " + (f"t << {n} & MASK | t >> {64 - n}" if n else "t"))
    for y in range(5):
        for x in range(5):
            i, one, two = 5 * y + x, 5 * y + (x + 1) % 5, 5 * y + (x + 2) % 5
            lines.append(f"  a{i} = b{i} ^ (~b{one} & b{two})")
    lines += ["  a0 ^= constant", f" return [{lanes}]"]
    scope = {"CONSTANTS": constants, "MASK": mask}
    exec("\n".join(lines), scope)  # noqa: S102 - the text is made above
    return scope["keccak_f"]


_keccak_f = _make_keccak_f()


def keccak256(message):
    """Keccak-256 with the original padding."""
    rate = 136
    padded = bytearray(message) + b"\x01"
    padded += bytes(-len(padded) % rate)
    padded[-1] |= 0x80
    state = [0] * 25
    for block in range(0, len(padded), rate):
        for i, lane in enumerate(struct.unpack_from("<17Q", padded, block)):
            state[i] ^= lane
        state = _keccak_f(state)
    return struct.pack("<4Q", *state[:4])


def chacha20(key, length):
    """The first bytes of the ChaCha20 keystream with a nonce of zeros."""

    def quarter(s, a, b, c, d):
        for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = s[x] + s[y] & 0xFFFFFFFF
            s[z] ^= s[x]
            s[z] = (s[z] << n | s[z] >> 32 - n) & 0xFFFFFFFF

    out = b""
    for counter in range(-(-length // 64)):
        start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter, 0, 0, 0]
        s = start[:]
        for _ in range(10):
            for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
                quarter(s, a, b, c, d)
            for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
                quarter(s, a, b, c, d)
        out += struct.pack("<16I", *(x + y & 0xFFFFFFFF for x, y in zip(s, start)))
    return out[:length]


def is_signed(public, message, signature):
    """Verifies an Ed25519 signature (RFC 8032), strictly."""
    p = 2**255 - 19
    order = 2**252 + 27742317777372353535851937790883648493
    d = -121665 * pow(121666, -1, p) % p

    def add(one, two):
        a, b = (one[1] - one[0]) * (two[1] - two[0]), (one[1] + one[0]) * (two[1] + two[0])
        c, e = 2 * one[3] * two[3] * d, 2 * one[2] * two[2]
        e, f, g, h = b - a, e - c, e + c, b + a
        return e * f % p, g * h % p, f * g % p, e * h % p

    def times(number, point):
        result = (0, 1, 1, 0)
        while number:
            if number & 1:
                result = add(result, point)
            point, number = add(point, point), number >> 1
        return result

    def same(one, two):
        return (one[0] * two[2] - two[0] * one[2]) % p == 0 and (one[1] * two[2] - two[1] * one[2]) % p == 0

    def point(encoded):
        y, sign = int.from_bytes(encoded, "little") & (1 << 255) - 1, encoded[31] >> 7
        if y >= p:
            return None
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = pow(square, (p + 3) // 8, p)
        if (x * x - square) % p:
            x = x * pow(2, (p - 1) // 4, p) % p
        if (x * x - square) % p or (x == 0 and sign):
            return None
        x = p - x if x & 1 != sign else x
        return x, y, 1, x * y % p

    if len(public) != 32 or len(signature) != 64:
        return False
    key, commitment = point(public), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or s >= order:
        return False
    if any(same(times(8, small), (0, 1, 1, 0)) for small in (key, commitment)):
        return False
    y = 4 * pow(5, -1, p) % p
    base = point(y.to_bytes(32, "little"))
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % order
    return same(times(s, base), add(commitment, times(challenge, key)))


# Hash tree --------------------------------------------------------------------------------------------------------

_zero_nodes = {5: keccak256(bytes(32))}
for _n in range(6, 64):
    _zero_nodes[_n] = keccak256(_zero_nodes[_n - 1] * 2)


def zero_node(n):
    """The node over 2^n zero bytes."""
    return _zero_nodes[n]


def root(image, n):
    """The root of an image of 2^n bytes that begins with `image` and is zero after that."""
    need(len(image) <= 1 << n, f"{len(image)} bytes do not fit into 2^{n}")
    view = memoryview(bytes(image))

    def node(start, size):
        part = view[start : min(start + (1 << size), len(view))]
        if not any(part[:64]) and not any(part):
            return zero_node(size)
        if size == 5:
            return keccak256(bytes(part).ljust(32, b"\0"))
        half = 1 << size - 1
        return keccak256(node(start, size - 1) + node(start + half, size - 1))

    return node(0, n)


def size_for(length):
    """The smallest n of at least 12 with 2^n >= length."""
    return max(12, (length - 1).bit_length() if length else 0)


def proof_holds(proof, wanted):
    """Whether a proof of the test vectors' form ends in the root `wanted`."""
    address, t, n = proof["address"], proof["log2_target_size"], proof["log2_root_size"]
    if not (5 <= t <= n <= 63 and address % (1 << t) == 0 and address < 1 << n and len(proof["siblings"]) == n - t):
        return False
    node = bytes32(proof["target"])
    for k, sibling in zip(range(t, n), map(bytes32, proof["siblings"])):
        node = keccak256(sibling + node if address >> k & 1 else node + sibling)
    return node == wanted


# Pack -------------------------------------------------------------------------------------------------------------


def is_name(name):
    """Whether a text can be one component of a path."""
    size = len(name.encode())
    return 1 <= size <= 255 and name not in (".", "..") and not any(
        c in "/\\" or unicodedata.category(c) == "Cc" for c in name
    )


class Pack:
    """A capsule or job drive: `files` (None for a directory), `salt`, and `total` bytes."""

    def __init__(self, image):
        need(len(image) >= PAGE, "shorter than a header")
        need(image[:32] == b"fedmkt pack 1".ljust(32, b"\0"), "not a pack of this version")
        self.salt = bytes(image[32:64])
        count, index_bytes, self.total = struct.unpack_from("<3Q", image, 64)
        need(not any(image[88:PAGE]), "the rest of the header is not zero")
        need(count <= 1 << 20, "too many entries")
        need(index_bytes <= 1 << 26 and PAGE + index_bytes <= len(image), "the index is too large")
        need(self.total <= len(image), "cut short")
        self.files, self.order = {}, []
        at, index_end = PAGE, PAGE + index_bytes
        end, gaps = index_end, []
        last = b""
        for _ in range(count):
            need(at + 11 <= index_end, "an entry is cut short")
            kind, path_bytes, length = struct.unpack_from("<BHQ", image, at)
            raw = bytes(image[at + 11 : at + 11 + path_bytes])
            at += 11 + path_bytes
            need(at <= index_end, "a path is cut short")
            path = utf8(raw)
            parts = path.split("/")
            need(len(raw) <= 4096 and len(parts) <= 64 and all(map(is_name, parts)), f"the path {path!r}")
            need(not self.order or last < raw, f"{path!r} is out of order")
            last = raw
            parent = "/".join(parts[:-1])
            need(not parent or self.files.get(parent, b"") is None, f"{path!r} is in no directory")
            need(kind in (0, 1) and (kind or not length), f"the kind of {path!r}")
            content = None
            if kind:
                start = -(-end // 32) * 32
                need(start + length <= self.total, f"{path!r} has more content than there is")
                gaps.append((end, start))
                content, end = bytes(image[start : start + length]), start + length
            self.files[path] = content
            self.order.append(path)
        need(at == index_end, "the index is longer than its entries")
        need(self.total == -(-end // PAGE) * PAGE, "the total size")
        gaps.append((end, len(image)))
        self.is_padded_with_zeros = not any(any(image[start:stop]) for start, stop in gaps)


def write_pack(files, salt=bytes(32)):
    """The pack of these files; None is a directory."""
    files = dict(files)
    for path in list(files):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            files.setdefault("/".join(parts[:depth]), None)
    order = sorted(files, key=str.encode)
    index = b""
    for path in order:
        content, raw = files[path], path.encode()
        index += struct.pack("<BHQ", content is not None, len(raw), len(content or b"")) + raw
    image = bytearray(PAGE) + index
    for path in order:
        if files[path] is not None:
            image += bytes(-len(image) % 32) + files[path]
    image += bytes(-len(image) % PAGE)
    image[:13] = b"fedmkt pack 1"
    image[32:64] = salt
    struct.pack_into("<3Q", image, 64, len(order), len(index), len(image))
    return bytes(image)


# CIDs and UnixFS --------------------------------------------------------------------------------------------------

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


class Cid:
    """A CID of version 1 with sha2-256."""

    def __init__(self, codec, digest):
        self.codec, self.digest = codec, digest

    @classmethod
    def of(cls, codec, block):
        """The CID of a block."""
        return cls(codec, hashlib.sha256(block).digest())

    @classmethod
    def from_bytes(cls, raw):
        """Reads the binary form."""
        need(len(raw) == 36 and raw[0] == 1 and raw[1] < 0x80 and raw[2:4] == b"\x12\x20", "not a CIDv1 with sha2-256")
        return cls(raw[1], bytes(raw[4:]))

    @classmethod
    def parse(cls, text):
        """Reads the text form."""
        need(text[:1] == "b" and all(c in _BASE32 for c in text[1:]), f"{text!r} is not a CID in base32")
        bits = number = 0
        for c in text[1:]:
            number, bits = number << 5 | _BASE32.index(c), bits + 5
        need(number & (1 << bits % 8) - 1 == 0 and bits % 8 < 5, "bits after the last byte")
        return cls.from_bytes((number >> bits % 8).to_bytes(bits // 8, "big"))

    def __bytes__(self):
        return bytes([1, self.codec, 0x12, 0x20]) + self.digest

    def __str__(self):
        raw = bytes(self)
        number, bits = int.from_bytes(raw, "big") << -len(raw) * 8 % 5, -(-len(raw) * 8 // 5)
        return "b" + "".join(_BASE32[number >> 5 * (bits - 1 - i) & 31] for i in range(bits))

    def __eq__(self, other):
        return isinstance(other, Cid) and bytes(self) == bytes(other)

    def __hash__(self):
        return hash(bytes(self))

    __repr__ = __str__


def varint(number):
    """A number in groups of seven bits, lowest first."""
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def read_varint(data, at):
    """The number at an offset, and the offset behind it."""
    number = shift = 0
    while True:
        need(at < len(data) and shift < 64, "a number is cut short")
        byte = data[at]
        number, shift, at = number | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return number, at


def _field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def _dag_pb(links, unixfs):
    encoded = b"".join(_field(2, _field(1, bytes(cid)) + _field(2, name) + _field(3, size)) for cid, name, size in links)
    return encoded + _field(1, unixfs)


def unixfs_file(chunks):
    """The CID of a file, the bytes of all its blocks, and the block at the top; `chunks` are of 1 MiB but the last."""
    level, known = [], {}
    for chunk in chunks:
        if chunk not in known:
            known = {chunk: Cid.of(RAW, chunk)}
        level.append((known[chunk], len(chunk), len(chunk)))
    block = chunk
    while len(level) > 1:
        above = []
        for first in range(0, len(level), 1024):
            group = level[first : first + 1024]
            size = sum(file_bytes for _, _, file_bytes in group)
            sizes = b"".join(_field(4, file_bytes) for _, _, file_bytes in group)
            block = _dag_pb([(cid, b"", tree) for cid, tree, _ in group], _field(1, 2) + _field(3, size) + sizes)
            above.append((Cid.of(DAG_PB, block), len(block) + sum(tree for _, tree, _ in group), size))
        level = above
    return level[0][0], level[0][1], block


def chunks_of(content):
    """A content in chunks of 1 MiB; an empty one is a single empty chunk."""
    return [content[at : at + (1 << 20)] for at in range(0, len(content), 1 << 20)] or [b""]


def file_cid(content):
    """The CID of a file."""
    return unixfs_file(chunks_of(content))[0]


def directory_block(entries):
    """The block of a directory with these (name, CID, bytes of all blocks)."""
    links = sorted((name.encode(), cid, size) for name, cid, size in entries)
    return _dag_pb([(cid, name, size) for name, cid, size in links], _field(1, 1))


def _fields(data):
    at, fields = 0, []
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if tag & 7 == 2:
            need(at + value <= len(data), "a field is cut short")
            value, at = data[at : at + value], at + value
        else:
            need(tag & 7 == 0, "an unknown kind of field")
        fields.append((tag >> 3, value))
    return fields


class Blocks:
    """Blocks by CID, from a CAR archive; each was checked when it was read."""

    def __init__(self, archive):
        length, at = read_varint(archive, 0)
        header = decode(archive[at : at + length])
        roots = is_list(1, 1 << 16, lambda cid: isinstance(cid, Cid))
        check_record(header, "archive", {"version": lambda value: is_number(value, 1, 1), "roots": roots})
        self.roots, self.blocks = header["roots"], {}
        at += length
        while at < len(archive):
            length, at = read_varint(archive, at)
            need(36 <= length and at + length <= len(archive), "a section is cut short")
            cid, block = Cid.from_bytes(archive[at : at + 36]), archive[at + 36 : at + length]
            need(Cid.of(cid.codec, block) == cid, f"{cid} is damaged")
            self.blocks[cid] = block
            at += length

    def get(self, cid):
        """A block."""
        need(cid in self.blocks, f"{cid} is not in the archive")
        return self.blocks[cid]

    def tree(self, cid, path):
        """All files below a CID, by their paths; None is a directory."""
        if cid.codec == RAW:
            return {path: self.get(cid)}
        need(cid.codec == DAG_PB, f"{cid} is neither file nor directory")
        fields = _fields(self.get(cid))
        links = [dict(_fields(value)) for number, value in fields if number == 2]
        need(all(isinstance(link.get(1), bytes) for link in links) and 1 in dict(fields), f"{cid} is not dag-pb")
        links = [(Cid.from_bytes(link[1]), utf8(link.get(2, b""))) for link in links]
        kind = dict(_fields(dict(fields)[1])).get(1)
        if kind == 2:
            return {path: b"".join(self.tree(link, "")[""] for link, _ in links)}
        need(kind == 1, f"{cid} is neither file nor directory")
        found = {path: None}
        for link, name in links:
            found.update(self.tree(link, f"{path}/{name}"))
        return found


# DAG-CBOR ---------------------------------------------------------------------------------------------------------


def encode(value):
    """The canonical block of a value."""

    def head(major, number):
        for size, (code, form) in enumerate(((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q"))):
            if number < 24:
                return bytes([major << 5 | number])
            if number < 1 << (8 << size):
                return bytes([major << 5 | code]) + struct.pack(form, number)
        raise Refused("a number is too large")

    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, Cid):
        return b"\xd8\x2a" + encode(b"\0" + bytes(value))
    need(isinstance(value, dict), "a value that has no place in a block of this project")
    keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
    return head(5, len(keys)) + b"".join(encode(key) + encode(value[key]) for key in keys)


def decode(block):
    """The value of a canonical block."""
    need(len(block) <= 1 << 20, "the block is too large")

    def item(at, depth):
        need(depth < 100 and at < len(block), "cut short or nested too deeply")
        major, low, at = block[at] >> 5, block[at] & 31, at + 1
        if major == 7:
            need(low in (20, 21), "a simple value or float")
            return low == 21, at
        need(low < 28, "an indefinite length")
        number = low
        if low >= 24:
            size = 1 << low - 24
            need(at + size <= len(block), "cut short")
            number, at = int.from_bytes(block[at : at + size], "big"), at + size
        if major == 0:
            return number, at
        if major == 1:
            return -1 - number, at
        if major in (2, 3):
            need(at + number <= len(block), "cut short")
            raw, at = bytes(block[at : at + number]), at + number
            return (raw if major == 2 else utf8(raw)), at
        if major == 6:
            need(number == 42, "an unknown tag")
            raw, at = item(at, depth + 1)
            need(isinstance(raw, bytes) and raw[:1] == b"\0", "a link")
            return Cid.from_bytes(raw[1:]), at
        need(number <= len(block), "cut short")
        if major == 4:
            items = []
            for _ in range(number):
                value, at = item(at, depth + 1)
                items.append(value)
            return items, at
        fields = {}
        for _ in range(number):
            key, at = item(at, depth + 1)
            need(isinstance(key, str) and key not in fields, "a key")
            fields[key], at = item(at, depth + 1)
        return fields, at

    value, end = item(0, 0)
    need(end == len(block), "bytes after the block")
    need(encode(value) == block, "not canonical")
    return value


def is_number(value, least=0, most=(1 << 64) - 1):
    """Whether a value is an integer between two bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_bytes(length):
    """Whether a value is a byte string of this length."""
    return lambda value: isinstance(value, bytes) and len(value) == length


def is_text(least=0, most=1 << 20):
    """Whether a value is plain text with so many bytes."""
    return lambda value: (
        isinstance(value, str)
        and least <= len(value.encode()) <= most
        and not any(unicodedata.category(c) == "Cc" and c != "\n" for c in value)
    )


def is_list(least, most, each):
    """Whether a value is a list of so many of these."""
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(each, value))


def check_record(value, where, required, optional=()):
    """Refuses a record whose fields are not these, or break their rules."""
    need(isinstance(value, dict), f"{where} is not a record")
    rules = {**required, **dict(optional)}
    need(set(required) <= set(value) <= set(rules), f"the fields of {where}: {sorted(value)}")
    for name, found in value.items():
        need(rules[name](found), f"{where}.{name}".lstrip("."))


# Manifest ---------------------------------------------------------------------------------------------------------


def check_manifest(job):
    """Refuses a manifest that breaks a rule."""
    anything = lambda _: True
    number = lambda least, most: lambda value: is_number(value, least, most)
    file_link = lambda cid: isinstance(cid, Cid) and cid.codec in (RAW, DAG_PB)
    recipient = lambda text: (
        isinstance(text, str)
        and len(text) == 62
        and text.startswith("age1")
        and all(c in "abcdefghijklmnopqrstuvwxyz0123456789" for c in text)
    )
    argument = lambda text: isinstance(text, str) and len(text.encode()) <= 4096 and "\0" not in text
    check_record(
        job,
        "",
        {
            "version": lambda value: is_number(value, 1, 1),
            "profile": lambda value: value == "fedmkt-0",
            "name": is_text(1, 100),
            "description": is_text(0, 10_000),
            "trainer": file_link,
            "model": file_link,
            "arguments": is_list(0, 256, argument),
            "steps_per_segment": number(1, 1 << 48),
            "data": anything,
            "limits": anything,
            "results": is_list(1, 16, anything),
            "disclosure": anything,
            "machine": anything,
        },
        {"sponsor": recipient, "reward": anything},
    )
    check_record(
        job["machine"],
        "machine",
        {"class": lambda value: isinstance(value, str) and value in DRIVES},
        {"release": is_text(1, 64)},
    )
    _, log2_data, log2_state = DRIVES[job["machine"]["class"]]
    state = 1 << log2_state
    grant_name = lambda text: (
        isinstance(text, str) and 1 <= len(text) <= 32 and all(c in "abcdefghijklmnopqrstuvwxyz0123456789-_" for c in text)
    )
    check_record(
        job["data"],
        "data",
        {
            "name": grant_name,
            "format": is_text(1, 100),
            "least_rows": number(0, (1 << 64) - 1),
            "most_bytes": number(1, 1 << log2_data),
        },
        {"columns": is_list(1, 16_384, is_text(0, 1000)), "shape": is_list(1, 8, number(1, (1 << 64) - 1))},
    )
    limits = job["limits"]
    check_record(
        limits,
        "limits",
        {
            "memory": number(65_536, state),
            "steps": number(1, 1 << 48),
            "output": number(1, state),
            "scratch": number(0, state),
            "open_files": number(8, 1024),
            "step_seconds": number(1, 604_800),
        },
    )
    need(-(-limits["steps"] // job["steps_per_segment"]) <= 256, "steps_per_segment: too many segments")
    file_pages = -(-limits["output"] // PAGE) + -(-limits["scratch"] // PAGE)
    need(file_pages <= 65_536, "limits.output: too many pages of files")
    need(1_069_056 + PAGE * (file_pages + -(-limits["memory"] // PAGE)) <= state, "machine.class: the state is too large")
    for result in job["results"]:
        file_name = lambda text: isinstance(text, str) and is_name(text) and not text.startswith(".")
        check_record(result, "results", {"name": file_name, "most_bytes": number(0, (1 << 64) - 1)})
    names = [result["name"] for result in job["results"]]
    need(len(set(names)) == len(names), "results.name: twice")
    need(sum(result["most_bytes"] for result in job["results"]) <= limits["output"], "results.most_bytes: too many")
    if isinstance(job["disclosure"], dict):
        check_record(job["disclosure"], "disclosure", {"audited": anything})
        audit = {"auditors": is_list(1, 64, recipient), "per_million": number(1, 1_000_000)}
        check_record(job["disclosure"]["audited"], "disclosure", audit)
    else:
        need(job["disclosure"] in ("open", "private"), "disclosure")
    if "reward" in job:
        hexadecimal = "0123456789abcdefABCDEF"
        address = lambda text: (
            isinstance(text, str) and len(text) == 42 and text[:2] == "0x" and all(c in hexadecimal for c in text[2:])
        )
        amount = lambda text: (
            isinstance(text, str) and 1 <= len(text) <= 78 and all(c in "0123456789" for c in text) and text[0] != "0"
        )
        rules = {"chain_id": number(0, (1 << 64) - 1), "market": address, "token": address, "amount": amount}
        check_record(job["reward"], "reward", rules)


def read_manifest(block):
    """The manifest in a block."""
    job = decode(block)
    check_manifest(job)
    return job


def job_drive(blocks, cid):
    """The job drive's bytes, from the job's blocks."""
    need(cid.codec == DAG_CBOR, "a job is a DAG-CBOR block")
    block = blocks.get(cid)
    job = read_manifest(block)
    trainer = blocks.tree(job["trainer"], "trainer.wasm")
    need(trainer.get("trainer.wasm") is not None, "the trainer is a directory")
    return write_pack({"job.cbor": block, **trainer, **blocks.tree(job["model"], "model")})


# Run, state image, trace ------------------------------------------------------------------------------------------


def local_run_id(job_root, data_root):
    """The run id of a run that no market knows."""
    return keccak256(b"fedmkt local run" + job_root + data_root)


def market_run_id(chain_id, market, slot, client, data_root, randomness):
    """The run id of a run that a market knows."""
    words = (chain_id.to_bytes(32, "big"), market.rjust(32, b"\0"), slot, client.rjust(32, b"\0"), data_root, randomness)
    return keccak256(b"fedmkt market run" + b"".join(words))


def blind(salt):
    """The blind of a run."""
    return keccak256(b"fedmkt blind" + salt)


def random_key(run_id, salt):
    """The key of a run's random stream."""
    return keccak256(b"fedmkt random" + run_id + salt)


STATUS = ["running", "done", "data-refused", "failed", "trapped", "steps-exhausted", "results-refused"]


def write_header(header):
    """The page of a state header."""
    words = {
        0: b"fedmkt state image 1".ljust(32, b"\0"),
        1: b"fedmkt-0".ljust(32, b"\0"),
        2: header["run_id"],
        3: header["job_root"],
        4: header["data_root"],
        5: header["blind"],
        6: header["steps"],
        7: STATUS.index(header["status"]),
        8: header["exit_code"] & 0xFFFFFFFF,
        9: header["memory_bytes"],
        10: len(header["results"]),
    }
    for i, result in enumerate(header["results"]):
        words[16 + 4 * i] = result["size"]
        words[17 + 4 * i] = result["root"]
        words[18 + 4 * i] = result["cid"].digest
        words[19 + 4 * i] = result["cid"].codec
    page = bytearray(PAGE)
    for number, word in words.items():
        page[32 * number : 32 * number + 32] = word if isinstance(word, bytes) else word.to_bytes(32, "big")
    return bytes(page)


def read_header(page):
    """The header in a page."""
    need(len(page) == PAGE, "a header is a page")
    word = lambda number: bytes(page[32 * number : 32 * number + 32])

    def number(at):
        value = int.from_bytes(word(at), "big")
        need(value < 1 << 64, f"word {at}")
        return value

    need(number(7) < len(STATUS), "word 7")
    status = STATUS[number(7)]
    code = number(8)
    need(code < 1 << 32 and (status == "failed") == (code != 0), "word 8")
    count = number(10)
    need(count <= 16 and (count > 0) == (status == "done"), "word 10")
    need(number(6) > 0 or status == "running", "word 6")
    need(number(9) == 0 or (number(6) > 0 and status == "running"), "word 9")
    results = []
    for i in range(16, 16 + 4 * count, 4):
        need(number(i + 3) == (RAW if number(i) <= 1 << 20 else DAG_PB), f"word {i + 3}")
        results.append({"size": number(i), "root": word(i + 1), "cid": Cid(number(i + 3), word(i + 2))})
    header = {
        "run_id": word(2),
        "job_root": word(3),
        "data_root": word(4),
        "blind": word(5),
        "steps": number(6),
        "status": status,
        "exit_code": code - (1 << 32) if code >> 31 else code,
        "memory_bytes": number(9),
        "results": results,
    }
    need(write_header(header) == page, "a word that must be another")
    return header


def read_wasi_state(state, file_area):
    """The nodes of the writable part by inode number, and the descriptors."""
    need(len(state) == 1 << 20, "the WASI state has 2^20 bytes")
    at = 0

    def take(form):
        nonlocal at
        need(at + struct.calcsize("<" + form) <= len(state), "cut short")
        values = struct.unpack_from("<" + form, state, at)
        at += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def text():
        nonlocal at
        length = take("H")
        raw, at = bytes(state[at : at + length]), at + length
        return utf8(raw)

    clock, random, next_inode, next_serial, node_count, descriptor_count = take("QQQQII")
    nodes, used = {}, set()
    for _ in range(node_count):
        inode, kind, mount, zero, links, *times = take("QBBHIQQQ")
        need(not nodes or inode > max(nodes), "nodes are not in order")
        need(zero == 0 and mount in (0, 1), f"node {inode}")
        node = {"mount": mount, "links": links, "times": times}
        if kind == 4:
            size = take("Q")
            pages = [take("I") for _ in range(-(-size // PAGE))]
            need(not used & set(pages) and len(set(pages)) == len(pages), "a page is used twice")
            used |= set(pages)
            content = b"".join(file_area[PAGE * page : PAGE * page + PAGE] for page in pages)
            need(len(content) == PAGE * len(pages) and not any(content[size:]), f"the pages of node {inode}")
            node["file"] = content[:size]
        elif kind == 3:
            node["parent"], count = take("QI")
            node["entries"] = {}
            for _ in range(count):
                child, serial = take("QQ")
                name = text()
                need(not node["entries"] or name.encode() > max(node["entries"]).encode(), "names are not in order")
                node["entries"][name] = (child, serial)
        else:
            need(kind == 7, f"the kind of node {inode}")
            node["target"] = text()
        nodes[inode] = node
    descriptors = {}
    for _ in range(descriptor_count):
        fd, flags, zero, *rest = take("IHHQQQQ")
        need(zero == 0 and (not descriptors or fd > max(descriptors)), "descriptors are not in order")
        descriptors[fd] = (flags, *rest)
    need(not any(state[at:]), "bytes after the last descriptor")
    for page in range(len(file_area) // PAGE):
        need(page in used or not any(file_area[PAGE * page : PAGE * page + PAGE]), "a page of no file is not zero")
    return {
        "clock": clock,
        "random": random,
        "next_inode": next_inode,
        "next_serial": next_serial,
        "nodes": nodes,
        "descriptors": descriptors,
    }


def level_root(leaves):
    """The root of a level of the trace."""
    need(1 <= len(leaves) <= 256, "a level has 1 to 256 leaves")
    return root(b"".join(leaves), 13)


def level_below(level, index):
    """Part `index` of a level (first step, steps, steps in a part), cut in turn; None if it cannot be."""
    first, steps, part = level
    if index * part >= steps:
        return None
    begin, count = first + index * part, min(part, steps - index * part)
    if count == 1:
        return None
    part = 1
    while 256 * part < count:
        part *= 256
    return begin, count, part


# Receipt ----------------------------------------------------------------------------------------------------------


def read_body(block):
    """The body of a receipt, with what can be checked in it alone."""
    body = decode(block)
    anything, root32 = lambda _: True, is_bytes(32)
    link = lambda codecs: lambda cid: isinstance(cid, Cid) and cid.codec in codecs
    check_record(
        body,
        "body",
        {
            "version": lambda value: is_number(value, 1, 1),
            "profile": lambda value: isinstance(value, str),
            "job": link([DAG_CBOR]),
            "run_id": root32,
            "job_root": root32,
            "data_root": root32,
            "blind_hash": root32,
            "trace": anything,
            "outcome": anything,
            "results": is_list(0, 16, anything),
        },
    )
    trace = body["trace"]
    segments = is_list(1, 256, root32)
    check_record(trace, "trace", {"root": root32, "steps": is_number, "steps_per_segment": is_number, "segments": segments})
    need(trace["steps"] >= 1 and trace["steps_per_segment"] >= 1, "trace: no steps")
    need(-(-trace["steps"] // trace["steps_per_segment"]) == len(trace["segments"]), "trace: number of segments")
    need(level_root(trace["segments"]) == trace["root"], "trace: the root is not that of the segments")
    outcome = body["outcome"]
    check_record(
        outcome,
        "outcome",
        {"status": lambda value: value in STATUS[1:]},
        {"exit_code": lambda value: value != 0 and is_number(value, -(1 << 31), (1 << 31) - 1)},
    )
    need(("exit_code" in outcome) == (outcome["status"] == "failed"), "outcome: exit code")
    for result in body["results"]:
        rules = {"name": is_text(1, 255), "size": is_number, "root": root32, "cid": link([RAW, DAG_PB])}
        check_record(result, "results", rules)
    need((outcome["status"] == "done") == bool(body["results"]), "results and outcome disagree")
    return body


def check_body_with_job(body, job):
    """Refuses a body that cannot be of this job."""
    need(body["profile"] == job["profile"], "another profile")
    need(body["trace"]["steps_per_segment"] == job["steps_per_segment"], "other steps per segment")
    need(body["trace"]["steps"] <= job["limits"]["steps"], "more steps than the job allows")
    if body["results"]:
        names = [result["name"] for result in job["results"]]
        need([result["name"] for result in body["results"]] == names, "other results than the job's")
        for result, allowed in zip(body["results"], job["results"]):
            need(result["size"] <= allowed["most_bytes"], f"{result['name']} is larger than the job allows")


def check_last_leaf(body, size_class):
    """Refuses a body whose last segment does not end with the state that the body describes.

    The node over the blind's word is its Keccak-256, which is in the body, so the blind itself is not needed.
    """
    header = {
        "run_id": body["run_id"],
        "job_root": body["job_root"],
        "data_root": body["data_root"],
        "blind": bytes(32),
        "steps": body["trace"]["steps"],
        "status": body["outcome"]["status"],
        "exit_code": body["outcome"].get("exit_code", 0),
        "memory_bytes": 0,
        "results": body["results"],
    }
    page = write_header(header)
    nodes = [keccak256(page[at : at + 32]) for at in range(0, PAGE, 32)]
    nodes[5] = body["blind_hash"]
    while len(nodes) > 1:
        nodes = [keccak256(one + other) for one, other in zip(nodes[::2], nodes[1::2])]
    node = nodes[0]
    for n in range(12, DRIVES[size_class][2]):
        node = keccak256(node + zero_node(n))
    need(node == body["trace"]["segments"][-1], "the last leaf is not the last state")


def read_envelope(block):
    """A receipt's envelope, with its signature checked."""
    envelope = decode(block)
    check_record(
        envelope,
        "envelope",
        {
            "version": lambda value: is_number(value, 1, 1),
            "body": lambda cid: isinstance(cid, Cid) and cid.codec == DAG_CBOR,
            "client": is_bytes(32),
            "engine": lambda value: isinstance(value, str),
            "finished": is_number,
            "seconds": is_number,
            "signature": is_bytes(64),
        },
    )
    unsigned = {name: value for name, value in envelope.items() if name != "signature"}
    message = b"fedmkt receipt 1" + encode(unsigned)
    need(is_signed(envelope["client"], message, envelope["signature"]), "the signature is wrong")
    return envelope


# Test vectors -----------------------------------------------------------------------------------------------------


def bytes32(text):
    """Reads `0x` and 64 digits."""
    need(text[:2] == "0x" and len(text) == 66, f"{text!r} is not 32 bytes")
    return bytes.fromhex(text[2:])


def content_of(parts):
    """The bytes that a list of parts describes."""
    content = b""
    for part in parts:
        if "hex" in part:
            content += bytes.fromhex(part["hex"])
        elif "zeros" in part:
            content += bytes(part["zeros"])
        else:
            count, seed = part["pattern"]["bytes"], part["pattern"]["seed"]
            content += bytes((i * 2_654_435_761 & 0xFFFFFFFF) >> 24 ^ seed for i in range(count))
    return content


def same(found, expected, what):
    """Refuses what is not as expected."""
    need(found == expected, f"{what}: found {found!r}, expected {expected!r}")


def is_refused(function, *arguments):
    """Whether a function refuses its arguments."""
    try:
        function(*arguments)
    except Refused:
        return True
    return False


def check_tree(vectors):
    """tree.json"""
    for case in vectors["zeros"]:
        same(zero_node(case["log2_size"]), bytes32(case["node"]), "zero node")
    for case in vectors["images"]:
        same(root(content_of(case["image"]), case["log2_size"]), bytes32(case["root"]), "root of an image")
    proofs = vectors["proofs"]
    wanted = bytes32(proofs["root"])
    image = content_of(proofs["image"])
    for proof in proofs["proofs"]:
        same(proof_holds(proof, wanted), proof["holds"], f"proof at {proof['address']}")
        if proof["holds"]:
            start, size = proof["address"], proof["log2_target_size"]
            same(root(image[start : start + (1 << size)], size), bytes32(proof["target"]), "target of a proof")
    same(root(image, 17), wanted, "root of the proofs")


def check_pack(vectors):
    """pack.json"""
    for case in vectors["packs"]:
        files = {f["path"]: None if f["content"] is None else content_of(f["content"]) for f in case["files"]}
        salt, image = bytes32(case["salt"]), content_of(case["pack"])
        same(write_pack(files, salt), image, "bytes of a pack")
        same(keccak256(image), bytes32(case["keccak256"]), "Keccak-256 of a pack")
        for size_class, expected in case["data_roots"].items():
            same(root(image, DRIVES[size_class][1]), bytes32(expected), "data root")
        pack = Pack(image)
        same(pack.salt, salt, "salt")
        same({path: pack.files[path] for path in files}, files, "files of a pack")
        need(pack.is_padded_with_zeros, "bytes between contents")
        same(Pack(image + bytes(PAGE)).total, len(image), "a pack on a drive")
    for case in vectors["refused"]:
        image = content_of(case["pack"])
        need(is_refused(Pack, image) or not Pack(image).is_padded_with_zeros, f"not refused: {case['why']}")


def check_unixfs(vectors):
    """unixfs.json"""
    for case in vectors["files"]:
        parts = case["content"]
        if len(parts) == 1 and parts[0].get("zeros", 0) > 1 << 20:
            whole, rest = divmod(parts[0]["zeros"], 1 << 20)
            chunks = [bytes(1 << 20)] * whole + [bytes(rest)] * (rest > 0)
        else:
            chunks = chunks_of(content_of(parts))
        cid, size, block = unixfs_file(chunks)
        same(str(cid), case["cid"], "CID of a file")
        same(size, case.get("tree_bytes", size), "bytes of a file's blocks")
        same(block.hex(), case.get("top_block", block.hex()), "block at the top of a file")
    for case in vectors["directories"]:
        block = directory_block((e["name"], Cid.parse(e["cid"]), e["tree_bytes"]) for e in case["entries"])
        same(block.hex(), case["block"], "block of a directory")
        same(str(Cid.of(DAG_PB, block)), case["cid"], "CID of a directory")
    for case in vectors["blocks"]:
        cid = Cid.of(case["codec"], bytes.fromhex(case["block"]))
        same(str(cid), case["cid"], "CID of a block")
        same(bytes(cid).hex(), case["cid_bytes"], "CID in bytes")
        same(Cid.parse(case["cid"]), cid, "CID from text")


def check_manifests(vectors):
    """manifest.json"""
    for case in vectors["accepted"]:
        block = bytes.fromhex(case["block"])
        read_manifest(block)
        same(str(Cid.of(DAG_CBOR, block)), case["cid"], "CID of a job")
    for case in vectors["refused"]:
        need(is_refused(read_manifest, bytes.fromhex(case["block"])), f"not refused: {case['why']}")


def check_run(vectors):
    """run.json"""
    for case in vectors["cases"]:
        run_id = local_run_id(bytes32(case["job_root"]), bytes32(case["data_root"]))
        salt = bytes32(case["salt"])
        same(run_id, bytes32(case["local_run_id"]), "run id")
        same(blind(salt), bytes32(case["blind"]), "blind")
        same(keccak256(blind(salt)), bytes32(case["blind_hash"]), "hash of the blind")
        same(random_key(run_id, salt), bytes32(case["random_key"]), "key of the random stream")
        stream = chacha20(random_key(run_id, salt), len(case["random"]) // 2)
        same(stream.hex(), case["random"], "random stream")


def check_headers(vectors):
    """header.json"""
    for case in vectors["accepted"]:
        page = content_of(case["page"])
        header = read_header(page)
        for name in ("run_id", "job_root", "data_root", "blind"):
            same(header[name], bytes32(case[name]), name)
        for name in ("steps", "status", "exit_code", "memory_bytes"):
            same(header[name], case[name], name)
        same(len(header["results"]), len(case["results"]), "number of results")
        for found, expected in zip(header["results"], case["results"]):
            same(found["size"], expected["size"], "size of a result")
            same(found["root"], bytes32(expected["root"]), "root of a result")
            same(str(found["cid"]), expected["cid"], "CID of a result")
        for size_class, expected in case["root_alone"].items():
            same(root(page, DRIVES[size_class][2]), bytes32(expected), "root of a header alone")
    for case in vectors["refused"]:
        need(is_refused(read_header, content_of(case["page"])), f"not refused: a header with a wrong word {case['word']}")


def check_wasi(vectors):
    """wasi.json: the state after the calls"""
    area = content_of(vectors["file_area"])
    same(len(area), PAGE * (vectors["output_pages"] + vectors["scratch_pages"]), "bytes of the file area")
    state = read_wasi_state(content_of(vectors["wasi_state"]), area)
    nodes = state["nodes"]
    reads = sum(call["function"] == "random_get" for call in vectors["calls"])
    need(reads == 1 and state["random"] == 20, "bytes of the random stream that were used")
    for result in vectors["results"]:
        inode, _ = nodes[3]["entries"][result["name"]]
        content = nodes[inode]["file"]
        same(len(content), result["size"], "size of a result")
        same(root(content, size_for(len(content))), bytes32(result["root"]), "root of a result")
        same(str(file_cid(content)), result["cid"], "CID of a result")


def check_trace(vectors):
    """trace.json"""
    for case in vectors["roots"]:
        same(level_root([bytes32(leaf) for leaf in case["leaves"]]), bytes32(case["root"]), "root of a level")
    for case in vectors["cuts"]:
        level = (0, case["steps"], case["steps_per_segment"])
        for index, expected in zip([*case["path"], None], case["levels"]):
            found = None
            if level is not None:
                first, steps, part = level
                found = {
                    "begins_after": first,
                    "parts": -(-steps // part),
                    "part": part,
                    "first_end": first + min(part, steps),
                    "last_end": first + steps,
                }
            same(found, expected, f"level of a run of {case['steps']} steps")
            level = level_below(level, index) if level is not None and index is not None else None


def check_receipts(vectors):
    """receipt.json"""
    for case in vectors["accepted"]:
        block = bytes.fromhex(case["block"])
        body = read_body(block)
        job_block = bytes.fromhex(case["job"])
        job = read_manifest(job_block)
        same(str(Cid.of(DAG_CBOR, block)), case["cid"], "CID of a body")
        same(body["job"], Cid.of(DAG_CBOR, job_block), "job of a receipt")
        same(body["outcome"]["status"], case["status"], "status")
        same(body["trace"]["steps"], case["steps"], "steps")
        same(body["trace"]["root"], bytes32(case["trace_root"]), "trace root")
        same([str(result["cid"]) for result in body["results"]], case["results"], "CIDs of results")
        check_body_with_job(body, job)
        check_last_leaf(body, job["machine"]["class"])
        same(keccak256(blind(bytes32(case["salt"]))), body["blind_hash"], "hash of the blind")
    for case in vectors["refused"]:
        need(is_refused(read_body, bytes.fromhex(case["block"])), f"not refused: {case['why']}")


def check_envelopes(vectors):
    """envelope.json"""
    for case in vectors["accepted"]:
        block = bytes.fromhex(case["block"])
        envelope = read_envelope(block)
        same(str(Cid.of(DAG_CBOR, block)), case["cid"], "CID of an envelope")
        same(str(envelope["body"]), case["body"], "body of an envelope")
        same(envelope["client"].hex(), case["client"], "client of an envelope")
    for case in vectors["refused"]:
        need(is_refused(read_envelope, bytes.fromhex(case["block"])), f"not refused: {case['why']}")


def check_whole_run(vectors):
    """whole-run.json"""
    job_block, trainer = bytes.fromhex(vectors["job"]), bytes.fromhex(vectors["trainer"])
    model, salt = bytes.fromhex(vectors["model"]), bytes32(vectors["salt"])
    job = read_manifest(job_block)
    same(job["trainer"], file_cid(trainer), "trainer")
    same(job["model"], file_cid(model), "model")
    log2_job, log2_data, log2_state = DRIVES[job["machine"]["class"]]
    drive = write_pack({"job.cbor": job_block, "trainer.wasm": trainer, "model": model})
    same(drive, content_of(vectors["job_drive"]), "job drive")
    job_root = root(drive, log2_job)
    same(job_root, bytes32(vectors["job_root"]), "job root")
    capsule = write_pack({f["path"]: content_of(f["content"]) for f in vectors["capsule_files"]}, salt)
    same(capsule, content_of(vectors["capsule"]), "capsule")
    data_root = root(capsule, log2_data)
    same(data_root, bytes32(vectors["data_root"]), "data root")
    run_id = local_run_id(job_root, data_root)
    same(run_id, bytes32(vectors["run_id"]), "run id")

    roots = []
    for steps, case in enumerate(vectors["states"]):
        image = content_of(case["image"])
        state_root = root(image, log2_state)
        same(state_root, bytes32(case["root"]), f"state root after {steps} steps")
        roots.append(state_root)
        header = read_header(image[:PAGE])
        same(header["status"], case["status"], "status")
        same(header["steps"], steps, "steps")
        for name, value in (("run_id", run_id), ("job_root", job_root), ("data_root", data_root), ("blind", blind(salt))):
            same(header[name], value, name)
        limits = job["limits"]
        out, scratch, memory = (-(-limits[name] // PAGE) for name in ("output", "scratch", "memory"))
        files_at = 1_069_056
        memory_at = files_at + PAGE * (out + scratch)
        same(len(image), memory_at + PAGE * memory, "bytes of an image")
        if header["status"] != "running" or steps == 0:
            need(not any(image[PAGE:]), "an image that is not the header alone")
            continue
        state = read_wasi_state(image[20_480:files_at], image[files_at:memory_at])
        same(state["random"], 100, "bytes of the random stream")
        stream = chacha20(random_key(run_id, salt), 100)
        same(image[memory_at + 4096 : memory_at + 4196], stream, "random bytes in memory")
        same(state["clock"], 1_000_000 * (steps - 1), "clock")
        same(header["memory_bytes"], 65_536 if steps == 1 else 131_072, "bytes of memory")
        same(struct.unpack_from("<i", image, 4096)[0], steps - 2, "the first global")
        if steps == 2:
            same(image[4096 + 16 : 4096 + 20].hex(), "0000c07f", "a NaN in a global")
            same(image[memory_at + 2048 : memory_at + 2064].hex(), "0000c07f" + 3 * "0000807f", "lanes in memory")
        inode, _ = state["nodes"][3]["entries"]["model"]
        same(state["nodes"][inode]["file"], b"1,2\n3,4\n5,6\n7,8\n" * (steps - 1), "the result so far")

    body_block = bytes.fromhex(vectors["receipt_body"])
    body = read_body(body_block)
    same(str(Cid.of(DAG_CBOR, body_block)), vectors["receipt_body_cid"], "CID of the receipt's body")
    check_body_with_job(body, job)
    check_last_leaf(body, job["machine"]["class"])
    same(keccak256(blind(salt)), body["blind_hash"], "hash of the blind")
    per_segment = job["steps_per_segment"]
    last = len(roots) - 1
    leaves = [roots[min(last, end)] for end in range(per_segment, last + per_segment, per_segment)]
    same(body["trace"]["segments"], leaves, "leaves of the trace")
    result = bytes.fromhex(vectors["result"])
    same(body["results"][0]["root"], root(result, size_for(len(result))), "root of the result")
    same(body["results"][0]["cid"], file_cid(result), "CID of the result")


VECTORS = {
    "tree": check_tree,
    "pack": check_pack,
    "unixfs": check_unixfs,
    "manifest": check_manifests,
    "run": check_run,
    "header": check_headers,
    "wasi": check_wasi,
    "trace": check_trace,
    "receipt": check_receipts,
    "envelope": check_envelopes,
    "whole-run": check_whole_run,
}
DEFAULT_VECTORS = pathlib.Path(__file__).resolve().parent.parent / "docs/src/reference/vectors"


# Command line -----------------------------------------------------------------------------------------------------


def show(name, value):
    """Prints a line."""
    print(f"{name:<12} {'0x' + value.hex() if isinstance(value, bytes) else value}")


def show_pack(arguments):
    """The commands `capsule` and `job`."""
    image = pathlib.Path(arguments.file).read_bytes()
    pack = Pack(image)
    need(pack.is_padded_with_zeros, "bytes between or after contents are not zero")
    for path in pack.order:
        content = pack.files[path]
        show("directory" if content is None else f"{len(content)} bytes", ascii(path)[1:-1])
    show("salt", pack.salt)
    image = image[: pack.total]
    if arguments.command == "job":
        need(pack.salt == bytes(32), "a job drive has no salt")
        job = read_manifest(pack.files.get("job.cbor") or b"")
        others = [path for path in pack.order if path not in ("job.cbor", "trainer.wasm") and path.split("/")[0] != "model"]
        need(not others, f"a job drive has no {others}")
        trainer = pack.files.get("trainer.wasm")
        need(trainer is not None and "model" in pack.files, "trainer or model is missing")
        same(job["trainer"], file_cid(trainer), "CID of the trainer")
        if pack.files["model"] is not None:
            same(job["model"], file_cid(pack.files["model"]), "CID of the model")
        show("job", Cid.of(DAG_CBOR, pack.files["job.cbor"]))
        show("job root", root(image, DRIVES[job["machine"]["class"]][0]))
    elif arguments.log2_size is not None:
        show("root", root(image, arguments.log2_size))
    else:
        for size_class, (_, data, _) in DRIVES.items():
            if len(image) <= 1 << data:
                show(f"data root {size_class}", root(image, data))


def show_receipt(arguments):
    """The command `receipt`."""
    data = pathlib.Path(arguments.file).read_bytes()
    blocks = None
    if not is_refused(Blocks, data):
        blocks = Blocks(data)
        data = blocks.get(blocks.roots[0])
    show("receipt", Cid.of(DAG_CBOR, data))
    block = decode(data)
    if isinstance(block, dict) and "signature" in block:
        envelope = read_envelope(data)
        show("signed by", envelope["client"])
        show("engine", envelope["engine"])
        show("body", envelope["body"])
        if blocks is None:
            return
        data = blocks.get(envelope["body"])
    body = read_body(data)
    show("job", body["job"])
    for name in ("run_id", "job_root", "data_root"):
        show(name.replace("_", " "), body[name])
    show("trace root", body["trace"]["root"])
    show("segments", len(body["trace"]["segments"]))
    show("steps", body["trace"]["steps"])
    show("outcome", " ".join(map(str, body["outcome"].values())))
    for result in body["results"]:
        show("result", f"{ascii(result['name'])[1:-1]} {result['size']} bytes {result['cid']}")
    if blocks is None:
        classes = [size_class for size_class in DRIVES if not is_refused(check_last_leaf, body, size_class)]
        need(classes, "the last leaf is not the last state in any size class")
        show("checked", f"last leaf of the trace, in size class {classes[0]}")
    else:
        job = read_manifest(blocks.get(body["job"]))
        size_class = job["machine"]["class"]
        check_body_with_job(body, job)
        check_last_leaf(body, size_class)
        show("checked", "last leaf of the trace")
        same(root(job_drive(blocks, body["job"]), DRIVES[size_class][0]), body["job_root"], "job root")
        show("checked", "job root, from the job's blocks")
        for result in body["results"]:
            content = blocks.tree(result["cid"], "")[""]
            same(len(content), result["size"], "size of a result")
            same(root(content, size_for(len(content))), result["root"], "root of a result")
            same(file_cid(content), result["cid"], "CID of a result")
        show("checked", f"{len(body['results'])} results: size, root, CID")
    if arguments.capsule:
        capsule = pathlib.Path(arguments.capsule).read_bytes()
        pack = Pack(capsule)
        need(pack.is_padded_with_zeros, "the capsule has bytes between contents")
        capsule = capsule[: pack.total]
        need(blocks is not None, "to check the capsule, give the receipt as an archive with its job")
        need(len(capsule) <= job["data"]["most_bytes"], "the capsule is larger than the job allows")
        same(root(capsule, DRIVES[size_class][1]), body["data_root"], "data root")
        same(keccak256(blind(pack.salt)), body["blind_hash"], "hash of the blind")
        show("checked", "data root and blind, from the capsule")
    local = local_run_id(body["job_root"], body["data_root"]) == body["run_id"]
    show("checked", "trace root; " + ("a local run" if local else "the run id is not that of a local run"))


def check_vectors(arguments):
    """The command `vectors`."""
    folder = pathlib.Path(arguments.dir)
    for name, check in VECTORS.items():
        try:
            check(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
        except Refused as refused:
            raise Refused(f"{name}.json: {refused}") from refused
        print(f"{name}.json: right")


def main(words):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    receipt = commands.add_parser("receipt")
    receipt.add_argument("file")
    receipt.add_argument("--capsule")
    receipt.set_defaults(run=show_receipt)
    for name in ("capsule", "job"):
        pack = commands.add_parser(name)
        pack.add_argument("file")
        if name == "capsule":
            pack.add_argument("--log2-size", type=int)
        pack.set_defaults(run=show_pack)
    vectors = commands.add_parser("vectors")
    vectors.add_argument("dir", nargs="?", default=DEFAULT_VECTORS)
    vectors.set_defaults(run=check_vectors)
    arguments = parser.parse_args(words or ["vectors"])
    try:
        arguments.run(arguments)
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
