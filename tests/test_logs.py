"""Logs as people keep them: which columns are read, what an empty cell is, and what is refused with its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle.errors import DataError
from dwindle.logs import Columns, history, kind, read

CURVES = Path(__file__).resolve().parents[2] / "shared" / "curves"


def written(folder: Path, text: str | bytes, name: str = "run.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_rows_are_read_in_order_and_empty_cells_are_nan(tmp_path: Path) -> None:
    log = read(written(tmp_path, "step,lr,loss\n100,3e-4,3.5\n200,,3.25\n300,1e-4,\n"))
    assert log.name == "run"
    np.testing.assert_array_equal(log.step, [100, 200, 300])
    np.testing.assert_array_equal(log.lr, [3e-4, np.nan, 1e-4])
    np.testing.assert_array_equal(log.loss, [3.5, 3.25, np.nan])
    assert log.notes == ()
    assert all(a.dtype == np.float64 and not a.flags.writeable for a in (log.step, log.lr, log.loss))


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("step,lr,loss", ("step", "lr", "loss")),
        ("iter,lr,train_loss,val_loss", ("iter", "lr", "val_loss")),
        ("epoch,step,learning_rate,loss,eval_loss", ("step", "learning_rate", "eval_loss")),  # Hugging Face
        (
            "epoch,global_step,lr-AdamW,step,train_loss_step",
            ("global_step", "lr-AdamW", "train_loss_step"),
        ),  # Lightning
        ("Step,trainer/global_step,train/lr,val/loss", ("trainer/global_step", "train/lr", "val/loss")),  # W&B
        (
            "Step,sunny-2 - train/loss,sunny-2 - train/loss__MIN,sunny-2 - lr",
            ("Step", "sunny-2 - lr", "sunny-2 - train/loss"),
        ),
        ("Iteration,Learning Rate,Validation Loss,Loss", ("Iteration", "Learning Rate", "Validation Loss")),
        ("loss_scale,lr_scale,step,lr,loss,test_loss", ("step", "lr", "loss")),
        ("step,lr/pg1,loss", ("step", "lr/pg1", "loss")),
    ],
)
def test_columns_are_found_by_their_usual_names(header: str, columns: tuple[str, ...], tmp_path: Path) -> None:
    row = ",".join(str(i) for i in range(header.count(",") + 1))
    log = read(written(tmp_path, f"{header}\n{row}\n"))
    assert log.columns == Columns(*columns)
    names = header.split(",")
    assert [log.step[0], log.lr[0], log.loss[0]] == [names.index(column) for column in columns]


def test_that_the_validation_loss_was_preferred_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "step,lr,train_loss,val_loss\n1,1,2,3\n")
    assert read(path).notes == ("the validation loss 'val_loss' was read, not 'train_loss'",)
    assert read(path, loss="val_loss").notes == ()
    chosen = read(path, loss="train_loss")
    assert (chosen.loss[0], chosen.notes) == (2.0, ())


def test_names_that_are_given_override(tmp_path: Path) -> None:
    path = written(tmp_path, "step,lr,loss,Tokens,rate,perplexity\n1,2,3,4,5,6\n")
    log = read(path, step="tokens", lr="rate", loss="perplexity")
    assert (log.step[0], log.lr[0], log.loss[0]) == (4, 5, 6)
    assert log.columns == ("Tokens", "rate", "perplexity")


def test_columns_of_the_same_content_are_one(tmp_path: Path) -> None:
    log = read(written(tmp_path, "step,lr-AdamW/pg1,lr-AdamW/pg2,loss\n1,0.5,0.5,3\n2,0.25,0.25,2\n"))
    assert log.columns.lr == "lr-AdamW/pg1"
    with pytest.raises(DataError, match="several columns could be the learning rate: 'lr-AdamW/pg1', 'lr-AdamW/pg2'"):
        read(written(tmp_path, "step,lr-AdamW/pg1,lr-AdamW/pg2,loss\n1,0.5,0.5,3\n2,0.25,0.2,2\n"))


def test_a_second_column_of_steps_counts_only_where_a_rate_or_a_loss_stands(tmp_path: Path) -> None:
    train = "".join(f"{s},{s},0.1,{3 - s / 1e3},\n" for s in range(50, 550, 50))
    head = "iter,step,lr,loss,coco/bbox_mAP\n"
    path = written(tmp_path, f"{head}{train},1,,,0.3\n,2,,,0.4\n", "scalars.csv")  # mmengine's: there step is the epoch
    log = read(path)
    assert (log.columns.step, log.step[~np.isnan(log.loss)].tolist()) == ("iter", list(range(50, 550, 50)))
    assert history(path).series["coco/bbox_mAP"].step.tolist() == [500, 500]
    for row in (",550,0.1,2.45,\n", "550,560,0.1,2.45,\n"):
        with pytest.raises(DataError, match="several columns could be the number of steps: 'iter', 'step'"):
            read(written(tmp_path, head + train + row))


def test_a_log_without_rates_is_read_where_none_are_needed(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss\n1,3\n2,2\n")
    log = read(path, needs_lr=False)
    assert log.columns.lr is None
    assert np.isnan(log.lr).all()
    with pytest.raises(DataError, match="learning rate"):
        read(path)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_separators_line_ends_and_marks_of_byte_order(mark: str, end: str, before: bytes, tmp_path: Path) -> None:
    lines = [mark.join(cells) for cells in (["step", "lr", '"loss"'], ["1", '"0.5"', "3"], ["2", "0.25", "2.5"], [""])]
    log = read(written(tmp_path, before + end.join(lines).encode()))
    assert (log.step.tolist(), log.lr.tolist(), log.loss.tolist()) == ([1, 2], [0.5, 0.25], [3, 2.5])
    assert log.columns == ("step", "lr", "loss")


@pytest.mark.law
@given(st.lists(st.tuples(*[st.none() | st.floats(allow_nan=False)] * 3), min_size=1, max_size=20))
@settings(deadline=None)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float | None, ...]]
) -> None:
    rows = [(1.0, 2.0, 3.0), *rows]
    out = io.StringIO()
    csv.writer(out).writerows([("loss", "step", "lr"), *rows])
    log = read(written(tmp_path_factory.mktemp("log"), out.getvalue()))
    want = np.array([row for row in rows if row != (None, None, None)], dtype=np.float64).T
    for got, column in zip((log.loss, log.step, log.lr), want, strict=True):
        np.testing.assert_array_equal(got, column)


def test_a_line_cut_short_at_the_end_is_left_out_and_said(tmp_path: Path) -> None:
    log = read(written(tmp_path, "step,lr,loss\n1,0.5,3\n2,0.5,2\n3,0."))
    assert log.step.tolist() == [1, 2]
    assert log.notes == ("not complete and left out; the file may still be written: line 4",)


def test_a_header_that_comes_again_is_left_out_and_said(tmp_path: Path) -> None:
    log = read(written(tmp_path, "step,lr,loss\n1,0.5,3\nstep,lr,loss\n2,0.5,2\n"))
    assert log.step.tolist() == [1, 2]
    assert log.notes == ("the header comes again, as after a restart, and was left out: line 3",)


def test_nan_in_words_is_said_and_infinity_is_kept(tmp_path: Path) -> None:
    log = read(written(tmp_path, "step,lr,loss\n1,0.5,3\n2,0.5,NaN\n3,0.5,inf\n4,None,2\n"))
    np.testing.assert_array_equal(log.loss, [3, np.nan, np.inf, 2])
    assert np.isnan(log.lr[3])
    assert log.notes == ("cells of 'loss' that say nan count as empty: line 3",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("step,lr,loss\n", "no rows after the header, line 1"),
        ("100,3e-4,3.5\n200,3e-4,3.4\n", "line 1: numbers where the names of the columns should be. Add a header"),
        ("step|lr|loss\n1|2|3\n", "line 1: one column only, 'step|lr|loss'. Separate columns by comma, semicolon or tab"),
        ("step lr loss\n1 2 3\n", "line 1: one column only"),
        ("step,rate,loss\n1,2,3\n", "line 1: no column is called like a learning rate; there are 'step', 'rate', 'loss'. "
         "Name one: lr=COLUMN, on the command line --lr COLUMN."),
        ("step,lr,perplexity\n1,2,3\n", "no column is called like a loss"),
        ("epoch,lr,loss\n1,2,3\n", "Epochs are not enough: log the number of optimiser steps."),
        ("step,iter,lr,loss\n1,2,3,4\n", "several columns could be the number of steps: 'step', 'iter'. Name one: step=COLUMN"),
        ("step,lr,val_loss,eval_loss\n1,2,3,4\n", "several columns could be the loss: 'val_loss', 'eval_loss'"),
        ("step,lr,loss,loss\n1,2,3,4\n", "two columns are called 'loss'. Rename one."),
        ("step;lr;loss\n1;0,5;3\n", "column 'lr' holds no number. Cells of 'lr' that hold no number were left out, such as "
         "'0,5'; write a point for decimals, nothing between thousands: line 2."),
        ("step,lr,loss\n1_000,2,3\n", "column 'step' holds no number. Cells of 'step' that hold no number were left out, such as "
         "'1_000': line 2. Is it the right column?"),
        ("step,lr,loss\n1,,3\n2,,3\n", "column 'lr' holds no number. Is it the right column?"),
        ('step,lr,loss\n1,"2,3\n', "A quote is not closed, and the line was left out: line 2."),
        ('{"phase": "train"}\n{"phase": "val"}\n', "Columns without a number were left out: 'phase'. Is it the log"),
        ("{'loss': 2.5, 'learning_rate': 0.1}\n", "no number could be read. "),
        (b"step,lr,loss\n1,2,\xff\n", "Text that is not UTF-8 was read as Latin-1: line 2."),
        (b"PK\x03\x04step,lr", "this is a zip archive, which is not read. Unpack it"),
        (b"\x80\x04\x95pickle", "this is a pickle, which is not read. Pickles are not opened, for they can run code"),
        (gzip.compress(gzip.compress(b"step,lr,loss\n1,2,3\n", mtime=0), mtime=0), "gzipped twice. Unpack it once"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_place(text: str | bytes, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_name_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: no column 'val_los'; did you mean 'val_loss'"):
        read(written(tmp_path, "step,lr,val_loss\n1,2,3\n"), loss="val_los")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: cannot be read: No such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(DataError, match=r"no log is in this folder\. Give the file itself"):
        read(tmp_path)


def test_what_is_no_row_is_left_out_and_counted(tmp_path: Path) -> None:
    log = read(written(tmp_path, "step,lr,loss\n1,0.5,3\n2,0.5\n3,0.5,2,1\n\n4,0.5,low\n5,0.5,1\n"))
    np.testing.assert_array_equal(log.step, [1, 4, 5])
    np.testing.assert_array_equal(log.loss, [3, np.nan, 1])
    assert log.notes == (
        "2 cells where the header has 3, left out; correct them, or quote cells that hold the separator: line 3",
        "4 cells where the header has 3, left out; correct them, or quote cells that hold the separator: line 4",
        "cells of 'loss' that hold no number were left out, such as 'low': line 6",
    )


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("val_loss", "validation"),
        ("x - eval/loss", "validation"),
        ("train_loss", "training"),
        ("loss", "training"),
        ("y", ""),
    ],
)
def test_the_kind_of_a_loss(column: str, told: str) -> None:
    assert kind(column) == told


LOGS = [*(CURVES / "multipowerlaw").rglob("*.csv"), *(CURVES / "lr-scheduling" / "main").glob("*.csv")]


@pytest.mark.skipif(not LOGS, reason=f"the curves are not at {CURVES}")
@pytest.mark.parametrize("path", sorted(LOGS), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_published_logs_are_read_cell_by_cell(path: Path) -> None:
    log = read(path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert log.columns == (("step", "lr", "loss") if "step" in rows[0] else ("iter", "lr", "val_loss"))
    for column, got in zip(log.columns, (log.step, log.lr, log.loss), strict=True):
        np.testing.assert_array_equal(got, [float(row[str(column)] or "nan") for row in rows])


def test_losses_of_0_where_they_were_no_numbers_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [f"{s},0.1,{0.0 if s > 300 else 3.0 - s / 1e3:g}" for s in range(10, 1010, 10)]
    log = read(written(tmp_path, "step,lr,loss\n" + "\n".join(rows) + "\n"))
    assert np.isnan(log.loss).sum() == 70
    assert log.notes == (
        "the last 70 losses, which are exactly 0, were left out: the Hugging Face Trainer writes 0 where a loss is not a number "
        "(logging_nan_inf_filter)",
    )
    log = read(written(tmp_path, "step,lr,val_loss\n" + "\n".join(rows) + "\n"))
    assert not np.isnan(log.loss).any()
    log = read(written(tmp_path, "step,lr,loss\n" + "\n".join(rows[25:]) + "\n"))  # after too few to tell
    assert not np.isnan(log.loss).any()
    assert log.notes == (
        "the last 70 losses are exactly 0 and were kept, but may be no numbers: the Hugging Face Trainer writes 0 where a loss "
        "is not a number (logging_nan_inf_filter)",
    )


def test_an_empty_column_of_losses_gives_way_to_the_next(tmp_path: Path) -> None:
    path = written(tmp_path, "step,lr,loss,val_loss\n10,0.1,3,\n20,0.1,2,\n")
    log = read(path)
    assert (log.columns.loss, log.loss.tolist(), log.notes) == (
        "loss",
        [3, 2],
        ("'val_loss' holds no number, and 'loss' was read",),
    )
    with pytest.raises(DataError, match="column 'val_loss' holds no number"):
        read(path, loss="val_loss")
    with pytest.raises(DataError, match="column 'val_loss' holds no number"):
        read(written(tmp_path, "step,lr,val_loss\n10,0.1,\n20,0.1,\n"))


def test_points_that_are_all_at_one_step_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "step,lr,loss\n" + "0,0.1,3\n" * 20)
    for reader in (read, history):
        with pytest.raises(DataError) as raised:
            reader(path)
        assert (
            str(raised.value)
            == f"{path}: every point is at step 0. Give the number of optimiser steps where the log is written."
        )
    path = written(tmp_path, json.dumps({f"metric {i}": i for i in range(20)}), "summary.json")
    assert len(history(path).series) == 20
