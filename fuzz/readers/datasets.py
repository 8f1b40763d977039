"""The data of a study: IDX, NPZ, tables of text, and Parquet."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

from dwindle.studies import data as studied
from fuzz.corpus import ROOT, texts
from fuzz.reader import Reader, placed

_MAGIC = b"\x93NUMPY"
_LABELS = b"\0\0\x08\x01"


def _idx(pack: Callable[[bytes], bytes]) -> Callable[[bytes], object]:
    """Return what reads images and labels, which begin where the last of IDX's own beginnings for labels stands."""

    def read(data: bytes) -> object:
        at = data.rfind(_LABELS)
        images, labels = (data[:at], data[at:]) if at > 0 else (data, data)
        return studied.load((placed("images-idx3-ubyte", pack(images)), placed("labels-idx1-ubyte", pack(labels))))

    return read


def _npz(names: tuple[str, ...]) -> Callable[[bytes], object]:
    """Return what packs arrays, each from one of NumPy's own beginnings to the next, under these names."""

    def read(data: bytes) -> object:
        parts = data.split(_MAGIC)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for i, part in enumerate(parts[1:] or parts):
                name = names[i] if i < len(names) else f"other{i}"
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), _MAGIC + part)
        return studied.load(placed("data.npz", out.getvalue()))

    return read


def _table(name: str, **options: object) -> Callable[[bytes], object]:
    return lambda data: studied.load(placed(name, data), **options)  # type: ignore[arg-type]


def _parquet_of(data: bytes) -> object:
    """Write columns that stand in JSON as Parquet, and read that."""
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    try:
        parquet.write_table(pyarrow.table(json.loads(data)), out)
    except (
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        NotImplementedError,
        OverflowError,
    ):  # no table to write
        return None
    return studied.load(placed("data.parquet", out.getvalue()))


def _images() -> Iterator[tuple[int, bytes]]:
    rng = np.random.default_rng(0)
    for kind, dtype in ((8, "u1"), (0x0D, ">f4"), (0x0B, ">i2")):
        pixels = rng.integers(0, 100, (20, 2, 2)).astype(dtype).tobytes()
        labels = (np.arange(20) % 3).astype("u1").tobytes()
        whole = (
            bytes((0, 0, kind, 3)) + struct.pack(">III", 20, 2, 2) + pixels + _LABELS + struct.pack(">I", 20) + labels
        )
        yield 0, whole
        yield 1, whole
    yield 2, gzip.compress(whole, mtime=0)


def _arrays() -> Iterator[tuple[int, bytes]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3)).round(2)
    for arrays in (
        (x, np.arange(20) % 3), (x.astype("f4"), x[:, 0]), ((x * 9).astype("u1").reshape(20, 3, 1), np.array(["a", "b"] * 10)),
        (x, np.arange(20) % 2, x, np.arange(20) % 2), (x[:, :1] > 0, x[:, :1]), (x, np.array([b"a", b"b"] * 10)),
    ):  # fmt: skip
        out = io.BytesIO()
        for array in arrays:
            np.lib.format.write_array(out, np.asarray(array), allow_pickle=False)
        yield 0, out.getvalue()
        yield 1, out.getvalue()
    whole = io.BytesIO()
    np.savez_compressed(whole, x=x, y=np.arange(20) % 3)
    yield 2, whole.getvalue()
    objects = io.BytesIO()
    np.lib.format.write_array(objects, np.array([{}, []], dtype=object), allow_pickle=True)
    yield 0, objects.getvalue()


def _csv() -> Iterator[tuple[int, bytes]]:
    lines = (ROOT / "examples" / "wine.csv").read_bytes().splitlines(keepends=True)
    wine = lines[0] + b"".join(lines[1::9])
    yield 0, wine
    yield 3, wine
    yield 1, wine.replace(b",", b"\t")
    yield from ((0, data) for data in texts("test_data_tables", "test_data", among=","))
    yield 0, b"a;b;kind\n" + b"".join(b"%d;%d,5;%s\n" % (i, i * i % 7, b"xyz"[i % 3 : i % 3 + 1]) for i in range(20))
    yield 1, b"a\tb\n" + b"".join(b"%d\t%.3f\n" % (i, 1 / (i + 1)) for i in range(20))
    yield 2, gzip.compress(b"".join(b"%d,%d\n" % (i, i % 2) for i in range(20)), mtime=0)


def _columns() -> Iterator[tuple[int, bytes]]:
    import pyarrow
    from pyarrow import parquet

    some = {"a": [i / 7 for i in range(20)], "word": ["p", "q"] * 10, "kind": [i % 2 for i in range(20)]}
    yield 1, json.dumps(some).encode()
    yield 1, json.dumps({"a": list(range(12)), "b": [None, 1.5] * 6, "c": [True, False] * 6}).encode()
    yield 1, json.dumps({"a": [[1], [2]] * 6, "b": [{"x": 1}] * 12}).encode()
    for compression in ("none", "snappy", "gzip"):
        out = io.BytesIO()
        parquet.write_table(pyarrow.table(some), out, compression=compression, use_dictionary=compression == "none")
        yield 0, out.getvalue()


READERS = (
    Reader("data-idx", (_idx(lambda data: data), _idx(lambda data: gzip.compress(data, 1, mtime=0)),
        _table("images-idx3-ubyte.gz")),
           _images, (_LABELS, b"\0\0\x0d\x03", b"\0\0\x0c\x02", b"\0\0\0\x14", b"\xff\xff\xff\xff", b"\0\0\x08\xff")),
    Reader("data-npz", (_npz(("x", "y", "test_x", "test_y")), _npz(("train_x", "train_y", "x_val", "y_val")), _table("data.npz")),
           _arrays, (_MAGIC, b"'descr': '|O'", b"'<f8'", b"'>i4'", b"'|b1'", b"'<U1'", b"'|S1'", b"'<c16'", b"'<M8[s]'",
               b"'fortran_order': True",
                     b"(20, 3)", b"(99999999999,)", b"()", b"(0,)", b"(-1,)", b"[('a', '<f8')]", b"'<f2'", b"'|V3'", b"'<U0'")),
    Reader("data-csv", (_table("data.csv"), _table("data.tsv"), _table("data.csv.gz"), _table("data.csv", target="cultivar",
        task="classification")),
           _csv, (b"NA", b"?", b"a,b\n", b'"a"', b"1;2", b"1,5", b"\t", b"=1+1", b"nan", b"inf", b"#", b"cultivar")),
    Reader("data-parquet", (_table("data.parquet"), _parquet_of), _columns,
           (b"PAR1", b"null", b"true", b'"x"', b"[1]", b'{"a": 1}', b"1e400", b"9223372036854775808")),
)  # fmt: skip
