"""Data of a study: the shipped images, splits, label noise, settings, and the value itself."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle.errors import DataError, InvalidValueError, UnknownNameError
from dwindle.studies import data_fashion
from dwindle.studies.data import Dataset, load, with_label_noise
from dwindle.studies.data_arrays import sha256
from dwindle.studies.data_draws import hold_out

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("train", "validation", "test")


def script():
    spec = importlib.util.spec_from_file_location("make_fashion_subset", ROOT / "scripts" / "make_fashion_subset.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(rows=40, header="a,b,kind"):
    """Rows whose third column is x or y, as CSV text."""
    return header + "\n" + "".join(f"{i},{(i * 7) % 11 - 0.5},{'xy'[i % 2]}\n" for i in range(rows))


def write(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def blobs(rows, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    return rng.normal(size=(rows, 4)) * [1, 10, 100, 0] + y[:, None], y


# --- the shipped images -----------------------------------------------------------------------------------------------


def test_the_shipped_images_are_balanced_and_hold_what_their_labels_say():
    data = load("fashion")
    assert [len(data.part(p)[0]) for p in PARTS] == [2000, 1000, 1000]
    for part, each in zip(PARTS, (200, 100, 100), strict=True):
        assert np.bincount(data.part(part)[1]).tolist() == [each] * 10
    assert data.classes == data_fashion.CLASSES
    assert data.input_shape == (28, 28)
    np.testing.assert_allclose(data.train_x.mean(axis=0), 0, atol=1e-6)
    assert 0.5 < data.train_x.max() <= 1.0
    # A ridge regression on one-hot labels does well only if images, labels and both scalings fit together.
    weights = np.linalg.solve(
        data.train_x.T @ data.train_x + 100 * np.eye(784), data.train_x.T @ (np.eye(10)[data.train_y] - 0.1)
    )
    assert ((data.test_x @ weights).argmax(1) == data.test_y).mean() > 0.75


def test_the_held_out_images_of_a_class_go_to_validation_and_test_by_turns():
    raw = data_fashion.shipped()
    held = raw.target[2000:]
    for label in range(10):
        rows = 2000 + np.flatnonzero(held == label)
        assert np.isin(rows[0::2], raw.own["validation"]).all()
        assert np.isin(rows[1::2], raw.own["test"]).all()


def test_the_parts_share_no_image():
    data = load("fashion")
    images = [{row.tobytes() for row in data.part(part)[0]} for part in PARTS]
    assert not images[1] & images[2]
    assert not images[0] & (images[1] | images[2])


def test_the_script_makes_the_shipped_files_again():
    if not (data_fashion.INSTALLED / "train-images-idx3-ubyte.gz").exists():
        pytest.skip("dataset-fashion-mnist is not installed (apt-get install dataset-fashion-mnist)")
    maker = script()
    made = maker.subset(data_fashion.INSTALLED)
    shipped = json.loads((data_fashion.SHIPPED / "manifest.json").read_text())
    assert {name: sha256(data) for name, data in made.items()} == {n: f["sha256"] for n, f in shipped["files"].items()}
    assert json.loads(maker.manifest(made)) == shipped


def test_the_rule_of_the_script_is_balanced_and_fixed():
    labels = np.arange(5000) % 10
    rows = script().chosen(labels, "train")
    assert np.bincount(labels[rows]).tolist() == [200] * 10
    assert (np.diff(rows) > 0).all()
    assert rows[:3].tolist() != script().chosen(labels, "t10k")[:3].tolist()
    least = min(range(0, 5000, 10), key=lambda i: sha256(f"dwindle 0 train {i}".encode()))
    assert least in rows


def test_the_shipped_files_are_small_and_carry_their_licence():
    assert sum(path.stat().st_size for path in data_fashion.SHIPPED.iterdir()) < 1_900_000
    assert "Zalando SE" in (data_fashion.SHIPPED / "fashion-mnist.LICENSE").read_text()
    assert "Zalando SE" in (ROOT / "NOTICE").read_text()


@pytest.mark.parametrize("name", [f"{name}.gz" for name in data_fashion.FULL_SHA256])
def test_a_tampered_shipped_file_is_refused_by_name(tmp_path, name):
    folder = shutil.copytree(data_fashion.SHIPPED, tmp_path / "data")
    data = bytearray(gzip.decompress((folder / name).read_bytes()))
    data[-1] ^= 1
    (folder / name).write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(DataError, match=name):
        data_fashion.shipped(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        data_fashion.shipped(folder)


def test_a_broken_manifest_is_refused(tmp_path):
    folder = shutil.copytree(data_fashion.SHIPPED, tmp_path / "data")
    for text in ("{", "[]", '{"format": 2, "files": {}}'):
        write(folder, text, "manifest.json")
        with pytest.raises(DataError, match="manifest"):
            data_fashion.shipped(folder)


def test_the_full_set_says_how_to_install_it_and_takes_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DWINDLE_FASHION_MNIST", str(tmp_path))
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        load("fashion-mnist")
    for path in data_fashion.SHIPPED.glob("*.gz"):  # the right names, the wrong content
        shutil.copy(path, tmp_path)
    with pytest.raises(DataError, match=r"train-images.*sha256"):
        load("fashion-mnist")


def test_the_full_set_is_split_as_promised(monkeypatch):
    if not (data_fashion.INSTALLED / "train-images-idx3-ubyte.gz").exists():
        pytest.skip("dataset-fashion-mnist is not installed (apt-get install dataset-fashion-mnist)")
    monkeypatch.delenv("DWINDLE_FASHION_MNIST", raising=False)
    data = load("fashion-mnist")
    assert [np.bincount(data.part(p)[1]).tolist() for p in PARTS] == [[5000] * 10, [1000] * 10, [1000] * 10]


# --- splits and noise -------------------------------------------------------------------------------------------------


@pytest.mark.law
@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(5, 40), min_size=1, max_size=4), st.integers(0, 2**70), st.floats(0.05, 0.4))
def test_holding_out_is_a_stratified_partition_that_the_seed_decides(sizes, seed, share):
    strata = np.repeat(np.arange(len(sizes)), sizes)
    parts = hold_out(strata, (share, 0.2), seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(strata)))
    for part, wanted in zip(parts[1:], (share, 0.2), strict=True):
        assert np.bincount(strata[part]).tolist() == [max(1, round(wanted * n)) for n in sizes]
    again = hold_out(strata, (share, 0.2), seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_splits_and_noise_are_the_same_on_every_machine_and_differ_by_seed():
    strata = np.zeros(12, np.int64)
    assert [part.tolist() for part in hold_out(strata, (0.25,), 0)] == [[0, 1, 3, 5, 6, 7, 8, 10, 11], [2, 4, 9]]
    assert hold_out(strata, (0.25,), 1)[1].tolist() != [2, 4, 9]
    labels = load("fashion", label_noise=0.2).train_y.astype(np.uint8)
    assert sha256(labels.tobytes()).startswith("cac1a540da595cd7")
    noisy = [load("fashion", label_noise=0.2, seed=seed).fingerprint() for seed in (0, 0, 1)]
    assert noisy[0] == noisy[1] != noisy[2]


@pytest.mark.law
@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 10))
def test_label_noise_draws_that_share_of_training_labels_again_and_no_other(a, b, seed):
    x, y = blobs(300)
    parts = {f"{p}_{axis}": value for p in PARTS for axis, value in (("x", x), ("y", y))}
    clean = Dataset(**parts, name="blobs", task="classification", classes=("a", "b", "c"))
    low, high = (with_label_noise(clean, rate, seed) for rate in sorted((a, b)))
    assert (low.train_y != y).sum() <= round(300 * min(a, b))
    changed = low.train_y != y
    assert np.array_equal(low.train_y[changed], high.train_y[changed])  # a lower rate is nested in a higher one
    for data in (low, high):
        assert np.array_equal(data.validation_y, y)
        assert np.array_equal(data.test_y, y)
        assert np.array_equal(data.train_x, clean.train_x)


def test_a_fifth_of_noise_leaves_about_eighteen_percent_wrong():
    clean = load("fashion")
    wrong = [(load("fashion", label_noise=0.2, seed=s).train_y != clean.train_y).mean() for s in range(5)]
    assert abs(np.mean(wrong) - 0.18) < 0.005
    assert "400 of 2000 training labels" in str(load("fashion", label_noise=0.2).provenance)
    assert np.bincount(load("fashion", label_noise=1.0).train_y, minlength=10).min() > 150  # uniform over the classes


# --- functions, settings, the value itself ----------------------------------------------------------------------------

MODULE = """
import numpy as np
from dwindle.studies.data import Dataset
def mine():
    x = np.arange(20.0).reshape(10, 2); y = np.arange(10) % 2
    return Dataset(train_x=x, train_y=y, validation_x=x, validation_y=y, test_x=x, test_y=y,
                   name="mine", task="classification", classes=("no", "yes"))
def none(): return None
five = 5
"""


def test_a_function_of_the_working_folder_gives_the_data(tmp_path, monkeypatch):
    write(tmp_path, MODULE, "data_of_a_user.py")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    data = load("data_of_a_user:mine", label_noise=1.0)
    assert data.name == "mine"
    assert "10 of 10 training labels" in str(data.provenance)
    for source, message in (
        ("data_of_a_user:none", "returned NoneType"),
        ("data_of_a_user:five", "no function"),
        ("data_of_a_user:other", "other"),
        ("no_such_module_here:f", "No module named"),
    ):
        with pytest.raises(DataError, match=message):
            load(source)
    with pytest.raises(InvalidValueError, match="target='x' has no meaning"):
        load("data_of_a_user:mine", target="x")
    assert sys.path == before
    sys.modules.pop("data_of_a_user")


def test_settings_that_cannot_be_meant_are_refused(tmp_path):
    path = write(tmp_path, table())
    for error, options in (
        (InvalidValueError, {"label_noise": 1.5}),
        (InvalidValueError, {"label_noise": float("nan")}),
        (InvalidValueError, {"label_noise": 0.1, "target": "b"}),  # a regression
        (InvalidValueError, {"seed": -1}),
        (InvalidValueError, {"seed": 0.5}),
        (InvalidValueError, {"validation": 0.0}),
        (InvalidValueError, {"test": 1.0}),
        (InvalidValueError, {"test": 0.5, "validation": 0.5}),
        (InvalidValueError, {"drop": "a"}),
        (UnknownNameError, {"task": "clasification"}),
    ):
        with pytest.raises(error):
            load(path, **options)
    for options in ({"target": "x"}, {"drop": ["x"]}, {"validation": 0.1}, {"test": 0.1}):
        with pytest.raises(InvalidValueError, match=r"(?i)fashion"):
            load("fashion", **options)
    for source, message in (
        ("fashon", "did you mean 'fashion'"),
        (tmp_path / "no.csv", r"no\.csv: no such file"),
        ("x" * 5000, "no such file"),
        (write(tmp_path, "hello", "t.docx"), "no format read here"),
    ):
        with pytest.raises(DataError, match=message):
            load(source)
    for source in (5, None, (path,)):
        with pytest.raises(InvalidValueError):
            load(source)


def test_a_dataset_is_a_checked_read_only_value():
    x, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    good = {f"{p}_{a}": v for p in PARTS for a, v in (("x", x), ("y", y))}
    said = {"name": "d", "task": "classification", "classes": ("a", "b")}
    data = Dataset(**good, **said)
    with pytest.raises(ValueError, match="read-only"):
        data.train_x[0] = 1
    x[0] = 0.0  # the caller's own array stays writable
    for change, message in (
        ({"train_x": np.full((4, 2), np.nan)}, r"train_x of d, at \(0, 0\)"),
        ({"train_x": np.full((4, 2), 1e39)}, "1e\\+39 is not a finite float32"),
        ({"train_x": np.zeros((3, 2))}, "3 rows of features and 4 targets"),
        ({"test_x": np.zeros((4, 3))}, "test_x of d has rows of shape"),
        ({"train_x": np.zeros(4)}, "needs rows of features"),
        ({"train_x": [[1], [1, 2]]}, "not an array"),
        (
            {"train_x": np.ma.masked_array(np.zeros((4, 2)), mask=[[0, 1]] * 4)},
            "train_x of d is not an array: a part of it is masked",
        ),
        ({"test_y": np.ma.masked_array(y, mask=y > 0)}, "test_y of d is not an array: a part of it is masked"),
        ({"train_x": np.array([["a", "b"]] * 4)}, "needs real numbers"),
        ({"test_y": np.array([0, 1, 2, 0])}, "test_y of d, row 2: label 2"),
        ({"test_y": np.array([0, -1, 1, 0])}, "label -1"),
        ({"test_y": y.astype(float)}, "whole numbers"),
        ({"test_y": y[:, None]}, "one value a row"),
        ({"classes": ("a",)}, "1 classes"),
        ({"input_shape": (3,)}, "does not hold"),
        ({"task": "regression"}, "leave classes out"),
    ):
        with pytest.raises((DataError, InvalidValueError), match=message):
            Dataset(**(good | said | change))


def test_tensors_are_data_with_a_gradient_or_in_low_precision_too():
    torch = pytest.importorskip("torch")
    x = torch.arange(8.0).reshape(4, 2)
    for values in (x.clone().requires_grad_(), x.bfloat16(), np.ma.masked_array(x.numpy(), mask=False)):
        arrays = {f"{part}_{axis}": values if axis == "x" else values[:, 0] for part in PARTS for axis in "xy"}
        data = Dataset(**arrays, name="d", task="regression")
        assert data.train_x.tolist() == x.tolist()
