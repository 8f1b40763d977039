"""NPZ and IDX: what is read, and every way a file of arrays can be wrong."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from dwindle.errors import DataError, InvalidValueError
from dwindle.studies import data_fashion
from dwindle.studies.data import load
from dwindle.studies.data_arrays import parse_idx

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("train", "validation", "test")


def script():
    spec = importlib.util.spec_from_file_location("make_fashion_subset", ROOT / "scripts" / "make_fashion_subset.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def npz(folder, name="d.npz", **arrays):
    np.savez(folder / name, **arrays)
    return folder / name


def blobs(rows, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    return rng.normal(size=(rows, 4)) * [1, 10, 100, 0] + y[:, None], y


def test_an_npz_with_or_without_its_own_parts(tmp_path):
    x, y = blobs(90)
    whole = load(npz(tmp_path, X=x, y=y))
    assert [len(whole.part(p)[1]) for p in PARTS] == [54, 18, 18]
    keras = load(
        npz(tmp_path, x_train=x[:60], y_train=y[:60, None], x_test=x[60:], y_test=y[60:, None]), validation=0.25
    )
    assert [len(keras.part(p)[1]) for p in PARTS] == [45, 15, 30]
    assert np.array_equal(keras.test_y, y[60:])
    parts = {
        f"{p}_{a}": v
        for p, at in zip(PARTS, (0, 30, 60), strict=True)
        for a, v in zip("xy", (x[at : at + 30], y[at : at + 30]), strict=True)
    }
    own = load(npz(tmp_path, **parts))
    assert np.array_equal(own.validation_y, y[30:60])
    np.testing.assert_allclose(own.train_x[:, 3], 1.5**0.5 * (y[:30] - 1), rtol=1e-6)
    assert load(npz(tmp_path, x=x, y=np.array(["p", "q", "r"])[y])).classes == ("p", "q", "r")
    assert load(npz(tmp_path, x=x, y=np.array([b"p", b"q", b"r"])[y])).classes == ("p", "q", "r")
    with pytest.raises(InvalidValueError, match="its own test part"):
        load(npz(tmp_path, **parts), test=0.1)


def test_images_are_divided_by_the_largest_pixel_and_centred(tmp_path):
    y = np.arange(60) % 3
    x = (np.arange(60)[:, None, None] % 17 + np.zeros((60, 2, 3))).astype(np.uint8)
    data = load(npz(tmp_path, x=x, y=y))
    assert data.input_shape == (2, 3)
    np.testing.assert_allclose(data.train_x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.ptp(np.concatenate([data.part(p)[0] for p in PARTS]), axis=0), 1, atol=1e-6)


def bad_npz():
    x, y = blobs(30)
    holed = x.copy()
    holed[4, 2] = np.nan
    return {
        "pickle": ({"x": np.array([{}, 1], dtype=object), "y": y}, "array 'x' holds pickled objects"),
        "no y": ({"x": x}, "no y"),
        "unknown": ({"x": x, "y": y, "weights": y}, "array 'weights' is not known"),
        "typo": ({"x": x, "y": y, "tets_x": x}, "did you mean 'test_x'"),
        "twice": ({"x": x, "X": x, "y": y}, "a second time"),
        "mixed": ({"x": x, "y": y, "test_x": x, "test_y": y}, "it needs x and y, or train_x"),
        "lengths": ({"x": x, "y": y[:-1]}, "30 rows of features, 29 targets"),
        "flat x": ({"x": x[:, 0], "y": y}, r"shape \(30,\)"),
        "one-hot y": ({"x": x, "y": np.eye(3)[y]}, "argmax"),
        "nan": ({"x": holed, "y": y}, r"features at \(4, 2\): nan is not finite"),
        "inf y": ({"x": x, "y": np.where(y == 1, np.inf, y)}, "targets at"),
        "complex": ({"x": x + 1j, "y": y}, "complex128"),
        "widths": ({"train_x": x, "train_y": y, "test_x": x[:, :2], "test_y": y}, "different shapes"),
    }


@pytest.mark.parametrize("case", bad_npz())
def test_a_bad_npz_is_refused_with_its_file(tmp_path, case):
    arrays, message = bad_npz()[case]
    with pytest.raises(DataError, match=message) as caught:
        load(npz(tmp_path, **arrays))
    assert "d.npz" in str(caught.value)


def test_an_npz_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="not an NPZ"):
        load(write(tmp_path, "PK nonsense", "d.npz"))
    whole = npz(tmp_path, "w.npz", x=blobs(30)[0], y=blobs(30)[1]).read_bytes()
    at = whole.index(b"NUMPY") + 200
    with pytest.raises(DataError, match="broken"):
        load(write(tmp_path, whole[:at] + b"????????" + whole[at + 8 :], "w.npz"))


@pytest.mark.parametrize("names", [("a-images-idx3-ubyte.gz", "a-labels-idx1-ubyte.gz"), ("p.idx", "q.idx")])
def test_a_pair_of_idx_files(tmp_path, names):
    idx, y = script().idx, (np.arange(50) % 5).astype(np.uint8)
    x = (np.arange(50 * 4).reshape(50, 2, 2) % 251).astype(np.uint8)
    pack = gzip.compress if names[0].endswith(".gz") else bytes
    paths = tuple(write(tmp_path, pack(idx(array)), name) for array, name in zip((x, y), names, strict=True))
    pair = load(paths)
    assert pair.classes == ("0", "1", "2", "3", "4")
    if pack is bytes:
        with pytest.raises(DataError, match=r"load\(\(images, labels\)\)"):
            load(paths[0])
    else:
        assert load(paths[0]).fingerprint() == pair.fingerprint()
    write(tmp_path, idx(y[:-1]), names[1])
    with pytest.raises(DataError, match="50 rows of features, 49 targets"):
        load(paths)


def test_a_folder_laid_out_as_mnist(tmp_path):
    for path in data_fashion.SHIPPED.glob("*.gz"):
        shutil.copy(path, tmp_path)
    data = load(tmp_path)
    assert [len(data.part(p)[1]) for p in PARTS] == [1600, 400, 2000]
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels"):
        load(tmp_path)


@pytest.mark.parametrize("code", ["u1", "i1", ">i2", ">i4", ">f4", ">f8"])
def test_idx_holds_every_type_of_the_format(code):
    codes = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}
    array = np.arange(6).reshape(2, 3).astype(code)
    data = bytes([0, 0, codes[code], 2, 0, 0, 0, 2, 0, 0, 0, 3]) + array.tobytes()
    assert np.array_equal(parse_idx(Path("f"), data), array)
    for broken in (data[:-1], data + b"\0", data[:3], b"\1" + data[1:], data[:2] + b"\7" + data[3:], data[:9]):
        with pytest.raises(DataError, match="f: "):
            parse_idx(Path("f"), broken)


@pytest.mark.parametrize("shape", [(3_800_082_432, 3_801_131_008, 0), (0,) * 70, (1,) * 70])
def test_a_shape_that_no_array_has_is_refused(shape):
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    with pytest.raises(DataError, match="f: its header promises the shape"):
        parse_idx(Path("f"), header + b"\7" * (0 not in shape))
