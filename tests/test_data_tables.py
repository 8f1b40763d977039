"""CSV, TSV and Parquet: what is read, and every way a table can be wrong."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import sys

import numpy as np
import pytest

from dwindle.errors import DataError, MissingExtraError
from dwindle.studies.data import load
from dwindle.studies.data_draws import hold_out
from dwindle.studies.data_table import _of_arrows_own

PARTS = ("train", "validation", "test")


def table(rows=40, header="a,b,kind"):
    """Rows whose third column is x or y, as CSV text."""
    return header + "\n" + "".join(f"{i},{(i * 7) % 11 - 0.5},{'xy'[i % 2]}\n" for i in range(rows))


def write(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_is_split_by_class_and_standardised_by_its_training_rows(tmp_path):
    text = "n,flat,word,y\n" + "".join(f"{i * i},0.1,{'uvw'[i % 3]},{'no' if i % 4 else 'yes'}\n" for i in range(100))
    data = load(write(tmp_path, text))
    assert (data.task, data.classes, data.name) == ("classification", ("no", "yes"), "t")
    assert [len(data.part(p)[1]) for p in PARTS] == [60, 20, 20]
    assert [int(data.part(p)[1].sum()) for p in PARTS] == [15, 5, 5]
    n, flat, words = data.train_x[:, 0], data.train_x[:, 1], data.train_x[:, 2:]
    assert abs(n.mean()) < 1e-6
    assert abs(n.std() - 1) < 1e-6
    assert not flat.any()
    assert (words.sum(axis=1) == 1).all()
    assert words.shape[1] == 3
    # Any row can be told by its standardised n: check each against its own label and word, in all three parts.
    values = np.arange(100.0) ** 2
    kept = sorted(set(range(100)) - {int(r) for p in hold_out(np.arange(100) % 4 == 0, (0.2, 0.2), 0)[1:] for r in p})
    for part in PARTS:
        x, y = data.part(part)
        i = np.rint(np.sqrt(np.abs(x[:, 0] * values[kept].std() + values[kept].mean()))).astype(int)
        assert np.array_equal(y == 1, i % 4 == 0)
        assert np.array_equal(x[:, 2:].argmax(axis=1), i % 3)


def test_held_out_rows_do_not_touch_the_training_part(tmp_path):
    lines = table().splitlines()
    before = load(write(tmp_path, "\n".join(lines)))
    held = set(range(40)) - set(hold_out(np.arange(40) % 2, (0.2, 0.2), 0)[0].tolist())
    for i in held:
        lines[1 + i] = f"{1000 + i},{5000 - i},{lines[1 + i][-1]}"
    after = load(write(tmp_path, "\n".join(lines)))
    assert np.array_equal(before.train_x, after.train_x)
    assert before.validation_x.max() < 10 < after.validation_x.max()


def test_the_target_the_task_and_the_columns_can_be_chosen(tmp_path):
    path = write(tmp_path, table())
    reg = load(path, target="b")
    assert reg.task == "regression"
    assert reg.outputs == 1
    assert reg.train_x.shape[1] == 3  # a, and kind one-hot
    assert abs(reg.train_y.mean()) < 1e-6
    given_back = np.concatenate([reg.part(p)[1] for p in PARTS]) * reg.target_scale + reg.target_mean
    assert np.allclose(np.sort(given_back), np.sort([(i * 7) % 11 - 0.5 for i in range(40)]), atol=1e-5)
    few = write(tmp_path, "x,y\n" + "".join(f"{i * 0.5},{3 * (i % 5)}\n" for i in range(60)))
    assert load(few).classes == ("0", "3", "6", "9", "12")
    assert load(few, task="regression").task == "regression"
    many = write(tmp_path, "x,y\n" + "".join(f"{i * 0.5},{i % 21}\n" for i in range(105)))
    assert load(many).task == "regression"
    assert len(load(many, task="classification").classes) == 21
    index = write(tmp_path, table(header=",b,kind"))
    assert load(index, drop=[""]).train_x.shape[1] == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("t.csv.gz", lambda text: gzip.compress(text.encode())),
        ("t.csv", lambda text: b"\xef\xbb\xbf" + text.encode()),
        ("t.csv", lambda text: text.replace(",", ";")),
        ("t.tsv", lambda text: text.replace(",", "\t")),
        ("t.csv", lambda text: text.replace("\n", "\r\n") + "\n\n"),
        ("t.csv", lambda text: text.replace(",", " , ")),
        ("t.csv", lambda text: '"' + text.replace(",", '","').replace("\n", '"\n"')[:-1]),
    ],
    ids=["gzip", "bom", "semicolon", "tab", "crlf", "spaces", "quotes"],
)
def test_the_same_table_in_other_clothes_is_the_same_data(tmp_path, name, change):
    plain = load(write(tmp_path, table(), "plain.csv"))
    path = write(tmp_path, change(table()), name)
    assert load(path).fingerprint() == plain.fingerprint()
    assert load(path, drop=["a"]).train_x.shape[1] == 1  # its first name is read right, too


def test_a_first_line_of_numbers_is_data_and_positions_are_names(tmp_path):
    rows = [f"{i + 0.5},{i % 3}" for i in range(30)]
    bare = load(write(tmp_path, "\n".join(rows)))
    assert sum(len(bare.part(p)[1]) for p in PARTS) == 30
    assert "no header" in str(bare.provenance)
    named = load(write(tmp_path, "\n".join(["0,1", *rows])))
    assert named.fingerprint() == bare.fingerprint()
    iris = load(write(tmp_path, "\n".join(f"{i + 0.5},{'xy'[i % 2]}" for i in range(30))))
    assert sum(len(iris.part(p)[1]) for p in PARTS) == 30


def test_a_category_unseen_in_training_is_all_zeros(tmp_path):
    held = int(hold_out(np.arange(40) % 2, (0.2, 0.2), 0)[2][0])
    text = "w,y\n" + "".join(f"{'rare' if i == held else 'pq'[i % 3 > 0]},{'xy'[i % 2]}\n" for i in range(40))
    data = load(write(tmp_path, text))
    assert (data.test_x.sum(axis=1) == 0).sum() == 1
    assert "1 rows unseen in training" in str(data.provenance)


def with_line(number, line):
    """The table with the given line (counted from 1) in place of its own."""
    lines = table().splitlines()
    lines[number - 1] = line
    return "\n".join(lines) + "\n"


def thousands(*numbers):
    """A table whose first column holds these numbers, written with commas, in turn."""
    return "a,kind\n" + "".join(f'"{numbers[i % len(numbers)]:,}",{"xy"[i // 2 % 2]}\n' for i in range(40))


def long_numbers():
    """A table whose first column differs by less than float64 sees."""
    return "a,kind\n" + "".join(f"{2**62 + i},{'xy'[i % 2]}\n" for i in range(40))


BAD_TABLES = {
    "empty file": (b"", {}, "the file is empty"),
    "blank lines": ("\n\n\n", {}, "blank lines"),
    "header only": ("a,b,kind\n", {}, "0 rows"),
    "few rows": (table(9), {}, "9 rows"),
    "one column": ("a\n1\n2\n", {}, "line 1: one column only"),
    "duplicate names": (table(header="a,a,kind"), {}, "line 1: columns 1 and 2 are both called 'a'"),
    "unnamed column": (table(header=",b,kind"), {}, r"column 1 has no name.*drop=\[''\]"),
    "names and numbers": (with_line(1, "39,State,77516"), {}, "line 1: names and numbers"),
    "missing": (with_line(7, "5,,x"), {}, "line 7, column 'b': the value is missing"),
    "missing as NA": (with_line(8, "NA,1,x"), {}, "line 8, column 'a'.*'NA'"),
    "missing target": (
        with_line(8, "1,1,"),
        {},
        r"line 8, column 'kind'.*\(''\)\. That is the target: remove the row\.$",
    ),
    "missing in what is not the target": (with_line(8, "1,1,"), {"target": "b"}, r"column 'kind'.*drop=\['kind'\]"),
    "one number class": (table().replace("y\n", "1\n").replace("x\n", "1\n"), {}, r"every row has the target 1\.0;"),
    "whole numbers too large": (long_numbers(), {}, "column 'a': different numbers are one and the same in float64"),
    "too small to square": (
        "a,kind\n" + "".join(f"{i}e-300,{'xy'[i % 2]}\n" for i in range(40)),
        {},
        "'a' holds values too small",
    ),
    "too small a target": (
        "a,y\n" + "".join(f"{i},{i % 7}.5e-300\n" for i in range(40)),
        {},
        "the target is too small",
    ),
    "dates": (
        "day,y\n" + "".join(f"2020-01-{i + 1:02},{i % 2}\n" for i in range(30)),
        {},
        "18 different texts in 18 .*a name or a key",
    ),
    "nan": (with_line(9, "nan,1,x"), {}, "line 9, column 'a'"),
    "infinite": (with_line(9, "inf,1,x"), {}, "line 9, column 'a': 'inf' is not finite"),
    "too large": (with_line(9, "1e999,1,x"), {}, "line 9, column 'a': '1e999' is not finite"),
    "too large to square": (with_line(9, "1e300,1,x"), {"seed": 0}, "column 'a' holds values too large"),
    "stray word": (with_line(10, "oops,1,x"), {}, "line 10, column 'a': 'oops' is not a number"),
    "underscore": (with_line(10, "1_0,1,x"), {}, "line 10, column 'a': '1_0' is not a number"),
    "decimal comma": (table().replace(",", ";").replace(".", ","), {}, "line 2, column 'b'.*decimal comma"),
    "thousands": (
        thousands(5220, 999),
        {},
        "line 2, column 'a': '5,220' has a comma.*separates thousands, leave it out",
    ),
    "thousands below": (thousands(999, 5220), {}, "line 3, column 'a': '5,220' has a comma"),
    "millions": (thousands(1234567, 5220), {}, "line 2, column 'a': '1,234,567' has a comma"),
    "too many columns": (with_line(12, "1,2,x,3"), {}, "line 12: 4 columns where line 1 has 3"),
    "too few columns": (with_line(12, "1,x"), {}, "line 12: 2 columns"),
    "open quote": (with_line(40, '"1,2,x'), {}, "line 41: unexpected end of data"),
    "huge field": (with_line(5, "1,2," + "x" * 200_000), {}, "line 5: field larger"),
    "not utf-8": (table().encode() + b"1,2,\xff\n", {}, "line 42: byte 0xff is not UTF-8"),
    "utf-16": (table().encode("utf-16"), {}, "not UTF-8"),
    "cut gzip": (gzip.compress(table().encode())[:-20], {}, "broken gzip"),
    "one class": (table().replace("y\n", "x\n"), {}, "every row has the target 'x'"),
    "lonely class": (with_line(4, "1,2,z"), {}, "class 'z' has only 1 row.*Add rows of it, merge it with another"),
    "greedy shares": (table(), {"validation": 0.6, "test": 0.39}, "shares of 0.6 and 0.39 leave none.*smaller shares"),
    "unknown target": (table(), {"target": "kin"}, "did you mean 'kind'"),
    "unknown drop": (table(), {"drop": ["c"]}, "no column 'c' to drop"),
    "target only": (table(), {"drop": ["a", "b"]}, "no column beside the target"),
    "text regression": (table(), {"task": "regression"}, "text such as 'x'"),
    "fraction classes": (table(), {"target": "b", "task": "classification"}, "fractions"),
    "flat regression": (table().replace("x\n", "1\n").replace("y\n", "1\n"), {"task": "regression"}, "does not vary"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_with_its_file_and_place(tmp_path, case):
    text, options, message = BAD_TABLES[case]
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        load(path, **options)
    assert str(path) in str(caught.value)
    assert str(caught.value).rstrip("'\"])").endswith((".", "?")) or "must be one of" in str(caught.value)


def test_a_column_of_names_is_no_category(tmp_path):
    text = "id,y\n" + "".join(f"person {i},{i % 2}\n" for i in range(300))
    with pytest.raises(DataError, match=r"column 'id' holds 180 different texts in 180 training rows.*drop=\['id'\]"):
        load(write(tmp_path, text))


def test_a_long_table_is_read_in_blocks_as_at_once(tmp_path, monkeypatch):
    text = "a,b,word,y\n" + "".join(f"{i},0{i % 7},{'uv'[i % 2]},{'no' if i % 3 else 'yes'}\n\n" for i in range(101))
    path = write(tmp_path, text)
    whole = load(path)
    monkeypatch.setattr("dwindle.studies.data_table._BLOCK", 10)
    assert load(path).fingerprint() == whole.fingerprint()
    for line, said in (
        ("oops,1,u,no", "line 42, column 'a': 'oops'"),
        ("1,1,u", "line 42: 3 columns where line 1 has 4"),
    ):
        lines = text.splitlines()
        lines[41] = line
        with pytest.raises(DataError, match=said):
            load(write(tmp_path, "\n".join(lines)))
    with pytest.raises(DataError, match="line 1: one column only"):
        load(write(tmp_path, "a\n" + "1\n" * 40))


@pytest.mark.parametrize("rows", [39, 40, 41, 45, 50])
def test_a_column_is_judged_whole_whatever_the_block(tmp_path, monkeypatch, rows):
    key = lambda i: 1234567890123456789 + 30 * i  # noqa: E731  # ten of them may be one in float64, forty are not
    path = write(tmp_path, "a,b,kind\n" + "".join(f"{key(i)},{i % 7}.5,{'xy'[i % 2]}\n" for i in range(rows)))
    whole = load(path).fingerprint()
    monkeypatch.setattr("dwindle.studies.data_table._BLOCK", 10)
    assert load(path).fingerprint() == whole
    text = "a,b,kind\n" + "".join(f"{'0.1' if i < 25 else '+1e-1'},{i},{'xy'[i % 2]}\n" for i in range(rows))
    assert (load(write(tmp_path, text)).train_x[:, 0] == 0).all()
    with pytest.raises(DataError, match="column 'a': different numbers are one and the same in float64"):
        load(write(tmp_path, text.replace("+1e-1", "0.10000000000000001")))


def test_whole_numbers_too_large_for_float64_in_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = importlib.import_module("pyarrow.parquet")
    parquet.write_table(
        pyarrow.table({"a": [2**62 + i for i in range(40)], "y": [i % 2 for i in range(40)]}), tmp_path / "t.parquet"
    )
    with pytest.raises(DataError, match="column 'a': different numbers are one and the same in float64"):
        load(tmp_path / "t.parquet")
    parquet.write_table(pyarrow.table({"a": [*range(39), None], "y": [*range(39), None]}), tmp_path / "t.parquet")
    for options, said in (
        ({}, r"column 'a'.*drop=\['a'\]"),
        ({"drop": ["a"], "target": "y"}, "column 'y'.*target: remove the row"),
    ):
        with pytest.raises(DataError, match=said):
            load(tmp_path / "t.parquet", **options)


def test_parquet_is_read_from_memory_of_arrows_own():
    arrow, data = pytest.importorskip("pyarrow"), bytes(range(256))
    before = sys.getrefcount(data)
    held = _of_arrows_own(arrow, data)
    assert sys.getrefcount(data) == before
    assert held.read() == data


def test_parquet_needs_pyarrow_and_says_so(tmp_path, monkeypatch):
    path = write(tmp_path, b"PAR1", "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"pip install .dwindle\[parquet\]"):
        load(path)


def test_parquet_is_the_same_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed; Parquet is read only with it")
    parquet = importlib.import_module("pyarrow.parquet")
    columns = {
        "a": list(range(40)),
        "b": [(i * 7) % 11 - 0.5 for i in range(40)],
        "kind": ["xy"[i % 2] for i in range(40)],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").fingerprint() == load(write(tmp_path, table())).fingerprint()
    coded = pyarrow.table(columns | {"kind": pyarrow.array(columns["kind"]).dictionary_encode()})
    parquet.write_table(coded, tmp_path / "t.pq")
    assert load(tmp_path / "t.pq").classes == ("x", "y")
    for name, values, message in (
        ("b", [None, *columns["b"][1:]], "row 0, column 'b': the value is missing"),
        ("b", [*columns["b"][:-1], float("inf")], "row 39, column 'b': inf is not finite"),
        ("b", [[1]] * 40, "column 'b' holds list"),
        ("b", [b"1"] * 40, "column 'b' holds binary"),
    ):
        parquet.write_table(pyarrow.table(columns | {name: values}), tmp_path / "t.parquet")
        with pytest.raises(DataError, match=message):
            load(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="not a Parquet table"):
        load(write(tmp_path, b"PAR1 nonsense", "t.parquet"))


def test_the_row_index_of_pandas_is_neither_a_feature_nor_the_target_unasked(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed; Parquet is read only with it")
    parquet = importlib.import_module("pyarrow.parquet")
    columns = {"a": [i * 0.5 for i in range(40)], "kind": ["xy"[i % 2] for i in range(40)]}
    path = tmp_path / "t.parquet"

    def written(index, metadata):
        said = {b"pandas": metadata.encode()} if metadata is not None else None
        table = pyarrow.table(columns | {index: list(range(40))}).replace_schema_metadata(said)
        parquet.write_table(table, path)

    unnamed = "__index_level_0__"
    for metadata in (f'{{"index_columns": ["{unnamed}"]}}', None):
        written(unnamed, metadata)
        for target in (None, "kind"):
            with pytest.raises(DataError, match=rf"row index that pandas wrote.*drop=\['{unnamed}'\]"):
                load(path, target=target)
        assert load(path, drop=[unnamed]).classes == ("x", "y")
        assert load(path, target=unnamed, task="regression").train_x.shape[1] == 3
    written("day", '{"index_columns": ["day"]}')
    with pytest.raises(DataError, match=r"the last column, 'day', is the row index.*no target was named"):
        load(path)
    assert load(path, target="kind").train_x.shape[1] == 2  # it has a name, and so a meaning
    for metadata in ('{"index_columns": [{"kind": "range"}]}', '{"index_columns": 3}', "[]", "no JSON", None):
        written("day", metadata)
        assert load(path).task == "regression"
