"""Every format and every way in which logs are irregular: what is read, what is counted, what is said."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dwindle.errors import DataError, UnknownNameError
from dwindle.logs import History, history, read
from dwindle.logs.block import Block, Cells
from dwindle.logs.csv_rows import CsvRows
from dwindle.logs.own_steps import OwnSteps
from dwindle.logs.points import Points, last_of, mean_of
from dwindle.logs.tally import Tally

COLUMNS = "step,lr,train_loss,val_loss\n"


def logged(folder: Path, content: str | bytes, name: str = "run.csv", **options: object) -> History:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return history(path, **options)  # type: ignore[arg-type]


def points(run: History, name: str) -> list[tuple[float, float]]:
    series = run.series[name]
    return list(zip(series.step.tolist(), series.value.tolist(), strict=True))


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("epoch,accuracy,loss,learning_rate,val_accuracy,val_loss", {"lr": "learning_rate", "training loss": "loss",
         "validation loss": "val_loss", "training accuracy": "accuracy", "validation accuracy": "val_accuracy"}),
        ("epoch,train_loss,eval_loss,eval_top1,eval_top5,lr", {"lr": "lr", "training loss": "train_loss",
         "validation loss": "eval_loss", "validation accuracy": "eval_top1"}),
        ("iter,train/loss,val/loss,lr,mfu", {"lr": "lr", "training loss": "train/loss", "validation loss": "val/loss"}),
        ("epoch,lr-AdamW,step,train_loss_epoch,train_loss_step,val_acc,val_loss", {"lr": "lr-AdamW", "epoch": "epoch",
         "training loss": "train_loss_step", "validation loss": "val_loss", "validation accuracy": "val_acc"}),  # Lightning
        ("epoch,lr-AdamW,lr-AdamW-momentum,lr-AdamW-weight_decay,step,train_loss", {"lr": "lr-AdamW", "epoch": "epoch",
         "training loss": "train_loss", "weight decay": "lr-AdamW-weight_decay"}),  # LearningRateMonitor, all of it
        ("step,train/epoch_learning_rate,train/epoch_loss,validation/epoch_loss", {"lr": "train/epoch_learning_rate",
         "training loss": "train/epoch_loss", "validation loss": "validation/epoch_loss"}),  # Keras' TensorBoard
        ("Step,run-1 - train/loss,run-1 - train/loss__MIN,run-1 - train/loss__MAX", {"training loss": "run-1 - train/loss"}),
        ("_step,_runtime,train/loss,train/learning_rate,train/grad_norm,eval/loss,train/epoch", {"lr": "train/learning_rate",
         "training loss": "train/loss", "validation loss": "eval/loss", "gradient norm": "train/grad_norm",
         "epoch": "train/epoch"}),
        ("step,loss,test_loss,weight_decay,global_batch_size,tokens_seen,weight_norm", {"training loss": "loss",
         "validation loss": "test_loss", "weight decay": "weight_decay", "batch size": "global_batch_size",
         "tokens": "tokens_seen", "weight norm": "weight_norm"}),
        ("num_updates,train_loss,valid_loss,train_gnorm,tokens_per_second", {"training loss": "train_loss",
         "validation loss": "valid_loss", "gradient norm": "train_gnorm"}),  # fairseq
        ("current_steps,total_steps,loss,lr,epoch", {"lr": "lr", "training loss": "loss", "epoch": "epoch"}),  # LLaMA-Factory
        ("batch,loss_scale,lr_scale", {}),
    ],
)  # fmt: skip
def test_roles_are_found_by_their_usual_names(header: str, roles: dict[str, str], tmp_path: Path) -> None:
    row = ",".join(str(i + 1) for i in range(header.count(",") + 1))
    assert dict(logged(tmp_path, f"{header}\n{row}\n").roles) == roles


def test_the_callers_names_go_first(tmp_path: Path) -> None:
    run = logged(tmp_path, "n,a,loss\n5,1,2\n6,3,4\n", step="N", roles={"training loss": "A", "lr": "loss"})
    assert (points(run, "a"), run.roles, run.unit) == ([(5, 1), (6, 3)], {"lr": "loss", "training loss": "a"}, "step")
    with pytest.raises(DataError, match="line 1: no column 'b'"):
        history(run.path, step="b")
    with pytest.raises(DataError, match="line 1: no column 'los'; did you mean 'loss'"):
        history(run.path, roles={"lr": "los"})
    with pytest.raises(UnknownNameError, match="'training los' is not known; did you mean 'training loss'"):
        history(run.path, roles={"training los": "loss"})


def test_where_several_differ_none_is_chosen_and_it_is_said(tmp_path: Path) -> None:
    run = logged(tmp_path, "step,a - loss,b - loss\n1,3,3\n2,2,2.5\n")
    assert run.roles == {}
    assert run.notes == (
        "several columns could be the training loss: 'a - loss', 'b - loss'; none was taken. "
        "Name one: roles={'training loss': COLUMN}",
    )
    assert logged(tmp_path, "step,a - loss,b - loss\n1,3,3\n2,2,2\n").roles == {"training loss": "a - loss"}
    run = logged(tmp_path, "step,iter,loss\n1,10,3\n2,20,2\n")
    assert (run.unit, points(run, "loss")) == ("row", [(0, 3), (1, 2)])
    assert run.notes == (
        "several columns could be the step: 'step', 'iter'; none was taken, and rows are counted. Name one: step=COLUMN",
    )


def test_what_a_step_counts(tmp_path: Path) -> None:
    assert logged(tmp_path, "epoch,loss\n0,3\n1,2\n").unit == "epoch"
    assert logged(tmp_path, "epoch,step,loss\n0,3,1\n1,2,1\n").unit == "step"
    run = logged(tmp_path, "loss,acc\n3,0.5\n2,0.6\n")
    assert (run.unit, points(run, "loss")) == ("row", [(0, 3), (1, 2)])
    run = logged(tmp_path, "epoch,loss\n0.25,3\n0.5,2\n")
    assert (run.unit, points(run, "epoch"), len(run.notes)) == ("row", [(0, 0.25), (1, 0.5)], 1)
    run = logged(tmp_path, "step,loss\n10,3\n20,2\n15,2.5\n15,2.25\n")
    assert points(run, "loss") == [(10, 3), (20, 2), (15, 2.5), (15, 2.25)]


def test_sparse_rows_and_an_index_of_pandas(tmp_path: Path) -> None:
    run = logged(tmp_path, ",step,train_loss,val_loss\n0,10,3,\n1,20,,2.5\n2,20,2,\n")
    assert (points(run, "train_loss"), points(run, "val_loss")) == ([(10, 3), (20, 2)], [(20, 2.5)])
    run = logged(tmp_path, "step,loss\na,10,3\nb,20,2\n")  # an index without a name, as R writes it
    assert points(run, "loss") == [(10, 3), (20, 2)]


def test_a_log_that_goes_on_with_other_columns(tmp_path: Path) -> None:
    run = logged(
        tmp_path, "step,lr,loss\n1,0.5,3\nstep,lr,loss\n2,0.5,2\nstep,loss,lr,val_loss\n2,1.5,0.25,4\n3,1,0.125,5\n"
    )
    assert points(run, "loss") == [(1, 3), (2, 2), (2, 1.5), (3, 1)]
    assert points(run, "val_loss") == [(2, 4), (3, 5)]
    assert run.notes == (
        "the header comes again, as after a restart, and was left out: line 3",
        "another header, as after a restart: what follows was read by it: line 5",
    )


def test_ragged_rows_among_regular_ones_do_not_shift_the_others(tmp_path: Path) -> None:
    rows = [f"{i},{i}.5,{i}.25" for i in range(20_000)]
    rows[9000:9002] = ["9000,9000.5", "9001,9001.5,9001.25,7"]  # as many cells as two whole rows
    run = logged(tmp_path, "step,lr,loss\n" + "\n".join(rows) + "\n")
    kept = [i for i in range(20_000) if i not in (9000, 9001)]
    assert points(run, "loss") == [(i, i + 0.25) for i in kept]
    assert [note.rpartition(": ")[2] for note in run.notes] == ["line 9002", "line 9003"]


def test_rows_that_say_train_or_val(tmp_path: Path) -> None:
    rows = "epoch,phase,loss\n0,train,3\n0,val,4\n1,train,2\n1,val,3\n"
    as_json = "".join(
        json.dumps({"phase": p, "epoch": e, "loss": v}) + "\n"
        for e, p, v in ((0, "train", 3), (0, "val", 4), (1, "train", 2), (1, "val", 3))
    )
    for content in (rows, as_json):
        run = logged(tmp_path, content)
        assert (points(run, "train/loss"), points(run, "val/loss")) == ([(0, 3), (1, 2)], [(0, 4), (1, 3)])
        assert run.roles == {"training loss": "train/loss", "validation loss": "val/loss"}


def test_a_row_a_metric_as_mlflow_exports_it(tmp_path: Path) -> None:
    run = logged(tmp_path, "run_id,key,value,timestamp,step\nab,loss,3,170,1\nab,val_loss,4,170,1\nab,loss,2,171,2\n")
    assert points(run, "ab - loss") == [(1, 3), (2, 2)]
    assert run.roles == {"training loss": "ab - loss", "validation loss": "ab - val_loss"}


def test_a_tag_as_tensorboards_page_saves_it(tmp_path: Path) -> None:
    run = logged(tmp_path, "Wall time,Step,Value\n1.5,10,3\n2.5,20,2\n", "run-validation-tag-epoch_loss.csv")
    assert run.get("validation loss").value.tolist() == [3, 2]  # type: ignore[union-attr]


JSONL = '{"step": 1, "train": {"loss": 3.0, "lr": [0.5, 0.25]}, "note": "x"}\n{"step": 2, "train": {"loss": NaN}}\n'


def test_objects_by_line(tmp_path: Path) -> None:
    run = logged(
        tmp_path, JSONL + "oops\n[1, 2]\n" + '{"step": 3, "train": {"loss": 1e400}}\n{"step": 4, "train": {"lo'
    )
    assert (run.format, run.unit) == ("jsonl", "step")
    np.testing.assert_array_equal(run.series["train/loss"].value, [3, np.nan, np.inf])
    assert points(run, "train/lr/1") == [(1, 0.25)]
    assert run.notes == (
        "no JSON and left out, such as 'oops': line 3",
        "JSON without names, left out, such as '[1, 2]': line 4",
        "not complete and left out; the file may still be written: line 6",
        "columns without a number were left out: 'note'",
        "several columns could be the lr: 'train/lr/0', 'train/lr/1'; none was taken. Name one: roles={'lr': COLUMN}",
    )


def test_numbers_that_float64_has_no_room_for(tmp_path: Path) -> None:
    run = logged(
        tmp_path,
        '{"step": 1, "loss": ' + "9" * 5000 + '}\n{"step": 2, "loss": -Infinity}\n{"step": 3, "loss": "2.5"}\n',
    )
    assert run.series["loss"].value.tolist() == [math.inf, -math.inf, 2.5]
    run = logged(tmp_path, "step,loss\n1,1e400\n2,-Infinity\n3,NaN\n4,1e-400\n")
    np.testing.assert_array_equal(run.series["loss"].value, [math.inf, -math.inf, math.nan, 0])
    assert run.notes == ("numbers beyond the range of float64 count as infinite, such as '1e400': line 2",)


@pytest.mark.parametrize("form", ["list", "by index", "wrapped", "lines", "rows"])
def test_documents(form: str, tmp_path: Path) -> None:
    table = {"loss": [3.0, 2.5, 2.0], "val_loss": [4.0, None, 3.0]}
    rows = [{"loss": a, "val_loss": b} for a, b in zip(*table.values(), strict=True)]
    content = {
        "list": json.dumps(table),
        "by index": json.dumps({name: {str(i): v for i, v in enumerate(column)} for name, column in table.items()}),
        "wrapped": json.dumps({"params": {"epochs": 3}, "history": table}, indent=1),
        "lines": "\n".join(json.dumps(row, indent=1) for row in rows),
        "rows": json.dumps(rows),
    }[form]
    run = logged(tmp_path, content)
    assert (points(run, "loss"), points(run, "val_loss")) == ([(0, 3), (1, 2.5), (2, 2)], [(0, 4), (2, 3)])
    assert (run.unit, run.format, run.notes) == ("row", "json", ())


def test_long_columns_of_a_document_in_small_pieces(tmp_path: Path) -> None:
    values = [random.Random(0).gauss(0, 1) for _ in range(150_000)]
    run = logged(tmp_path, json.dumps({"step": list(range(5, 150_005)), "loss": values}))
    np.testing.assert_array_equal(run.series["loss"].value, values)
    np.testing.assert_array_equal(run.series["loss"].step, np.arange(5, 150_005))


def test_a_trainers_state_without_gradient_norms_and_its_summary(tmp_path: Path) -> None:
    rows = [{"epoch": 0.5, "learning_rate": 1e-4, "loss": 3.0, "step": 10}, {"epoch": 0.5, "eval_loss": 3.5, "step": 10},
            {"epoch": 1.0, "train_loss": 2.9, "train_runtime": 9.0, "step": 20}]  # fmt: skip
    old, new = (
        {"global_step": step, "log_history": [*rows[:1], *([] if step < 100 else rows[1:])]} for step in (20, 100)
    )
    logged(tmp_path, json.dumps(old), "checkpoint-20/trainer_state.json")
    logged(tmp_path, json.dumps(new), "checkpoint-100/trainer_state.json")
    run = history(tmp_path)
    assert (run.format, points(run, "eval_loss")) == ("trainer_state", [(10, 3.5)])
    assert "train_loss" not in run.series
    assert any(
        note.startswith("the summary of the run (the row with train_runtime) was left out: line 1")
        for note in run.notes
    )
    assert any("checkpoint-100" in note for note in run.notes)


def test_the_newest_version_of_lightning(tmp_path: Path) -> None:
    for version in (0, 2, 10):
        logged(tmp_path, f"epoch,step,loss\n0,{version},3\n", f"lightning_logs/version_{version}/metrics.csv")
    run = history(tmp_path / "lightning_logs")
    assert (points(run, "loss"), run.notes) == ([(10, 3)], ("of 3 versions the newest was read: version_10",))
    with pytest.raises(DataError, match=r"several logs are in this folder: 'a\.csv', 'b\.csv'. Give one of them"):
        logged(tmp_path / "two", "x,y\n1,2\n", "a.csv") and logged(tmp_path / "two", "x,y\n1,2\n", "b.csv") and history(
            tmp_path / "two"
        )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    run = logged(tmp_path, "step,loss,größe\n1,3,4\n2,2,5\n".encode(encoding))
    assert points(run, "größe") == [(1, 4), (2, 5)]
    assert bool(run.notes) == (encoding != "utf-8-sig")


def test_nul_bytes_quotes_and_enormous_lines(tmp_path: Path) -> None:
    run = logged(
        tmp_path, b"step,loss,text\n1,3,a\n" + b"\0" * 5000 + b'2,2,"a, ""b""\nc"\n' + b"x" * 12_000_000 + b"\n3,1,b\n"
    )
    assert points(run, "loss") == [(1, 3), (2, 2), (3, 1)]
    assert run.notes == (
        "NUL bytes were left out: lines 3 and 4,999 more",
        "longer than 8 MB, as no row is, and left out: line 5",
        "columns without a number were left out: 'text'",
    )


@pytest.mark.parametrize("times", [20, 3_000, 300_000])
def test_a_quote_left_open_before_the_first_numbers_costs_its_row(tmp_path: Path, times: int) -> None:
    noise = b"noise\n" * times
    run = logged(tmp_path, b'step,loss,text\n"s,a,b\n' + noise + b"1,3,a\n2,2,b\n")
    assert points(run, "loss") == [(1, 3), (2, 2)]
    assert "a quote is not closed, and the line was left out: line 2" in run.notes
    closed = logged(tmp_path, b'step,loss,text\n1,3,"\n' + noise[:100_000] + b'"\n2,2,b\n')
    assert points(closed, "loss") == [(1, 3), (2, 2)]


def test_a_header_of_many_thousand_names_is_read_as_far_as_columns_are(tmp_path: Path) -> None:
    run = logged(
        tmp_path, b"step,loss" + b",s" * 200_000 + b"\n1,3" + b",1" * 200_000 + b"\n2,2" + b"," * 200_000 + b"\n"
    )
    assert points(run, "loss") == [(1, 3), (2, 2)]
    assert "of 200,002 columns the first 4,096 were read" in run.notes


def test_gzip_whole_in_parts_cut_and_damaged(tmp_path: Path) -> None:
    body = "".join(f"{i},{random.Random(i).random()!r}\n" for i in range(5000))
    one, two = gzip.compress(b"step,loss\n"), gzip.compress(body.encode())
    assert len(logged(tmp_path, one + two, "run.csv.gz").series["loss"]) == 5000
    assert history(tmp_path / "run.csv.gz").name == "run"
    cut = logged(tmp_path, (one + two)[: len(one) + len(two) // 2])
    assert 1000 < len(cut.series["loss"]) < 4000
    assert any(note.startswith("the gzip file is cut short") for note in cut.notes)
    assert read(tmp_path / "run.csv", needs_lr=False).notes == cut.notes
    hurt = bytearray(one + two)
    hurt[len(one) + len(two) // 2] ^= 255
    run = logged(tmp_path, bytes(hurt))
    assert any(note.startswith("the gzip file is damaged") for note in run.notes)
    assert run.series["loss"].value[:1000].tolist() == [random.Random(i).random() for i in range(1000)]


@pytest.mark.slow
def test_a_gzip_bomb_is_left_early(tmp_path: Path) -> None:
    bomb = gzip.compress(b"step,loss\n1,2\n" + b"0" * 600_000_000, compresslevel=1)
    run = logged(tmp_path, bomb)
    assert points(run, "loss") == [(1, 2)]
    assert any("times its size, as no log does" in note for note in run.notes)


CELLS = st.one_of(
    st.floats().map(repr), st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["", "nan", "NaN", "-inf", "Infinity", "+1.5", ".5", "7."]),
    st.sampled_from(["71394126874501", "-94182734509173", "1e999", "null", "low", "1_0"]),
)  # fmt: skip


@pytest.mark.law
@given(
    st.integers(2, 4).flatmap(lambda k: st.lists(st.lists(CELLS, min_size=k, max_size=k), min_size=1, max_size=12)),
    st.integers(1, 60),
    st.booleans(),
    st.sampled_from(",;\t"),
)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_rows_at_once_are_the_rows_one_by_one(rows: list[list[str]], times: int, quoted: bool, mark: str) -> None:
    from dwindle.logs.opened import lines
    from dwindle.logs.tally import Tally

    out = io.StringIO()
    writer = csv.writer(
        out, delimiter=mark, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator="\n"
    )
    names = ["a", "b", "c", "d"][: len(rows[0])]
    writer.writerows([names, *rows[:1], *(rows * times)])
    found = []
    for careful in (0, 10**9):
        tally = Tally()
        reader = CsvRows(Path("x.csv"), tally)
        reader._careful = careful
        cells: dict[str, list[np.ndarray]] = {}
        done = 0
        data = out.getvalue().encode()
        cut = data.find(b"\n", len(data) // 3) + 1
        for block in reader.blocks(lines(iter([data[:cut], data[cut:]]), tally)):
            kept = np.zeros(block.rows, dtype=bool)
            for name, each in block.columns.items():
                at = np.arange(block.rows) if each.at is None else each.at
                kept[at] = True
                cells.setdefault(name, []).append(np.stack([block.lines[at], each.value], axis=1))
            done += block.rows
        found.append(({name: np.concatenate(each) for name, each in cells.items()}, tally.notes(None, cells)))
    (fast, _), (slow, _) = found
    assert fast.keys() == slow.keys()
    for name, table in fast.items():
        np.testing.assert_array_equal(table, slow[name])
        np.testing.assert_array_equal(np.signbit(table), np.signbit(slow[name]))


@pytest.mark.law
@given(
    st.lists(st.floats(-10, 10) | st.sampled_from([math.nan, math.inf]), max_size=200),
    st.sampled_from([2, 4, 8, 64]),
    st.integers(1, 40),
)
def test_merged_points_keep_the_mean_the_ends_and_what_is_not_finite(
    values: list[float], limit: int, piece: int
) -> None:
    table = np.array([[float(i), v] for i, v in enumerate(values)]).reshape(-1, 2)
    mean, last = Points(mean_of, limit), Points(last_of, limit)
    for at in range(0, len(table), piece):
        mean.add(table[at : at + piece])
        last.add(table[at : at + piece])
    got, late = mean.values(), last.values()
    assert len(got) <= limit + 1
    if len(table) <= limit:
        np.testing.assert_array_equal(got, table)
        return
    whole = len(table) - len(table) % mean.stride
    groups = table[:whole].reshape(-1, mean.stride, 2)
    np.testing.assert_array_equal(got[: len(groups), 0], groups[:, -1, 0])
    np.testing.assert_allclose(got[: len(groups), 1], groups[:, :, 1].mean(axis=1), atol=1e-9)
    assert got[-1, 0] == late[-1, 0] == table[-1, 0]
    finite = np.isfinite(groups[:, :, 1]).all(axis=1)
    np.testing.assert_array_equal(np.isfinite(late[: len(groups), 1]), finite)
    np.testing.assert_array_equal(late[: len(groups)][finite], groups[finite, -1])


@pytest.mark.slow
def test_more_than_is_kept(tmp_path: Path) -> None:
    rows = 600_000
    body = "".join(f"{i},{i % 7},{'nan' if i == 333_333 else i % 5}\n" for i in range(rows))
    run = logged(tmp_path, "step,lr,loss\n" + body)
    loss, lr = run.get("training loss"), run.get("lr")
    assert loss is not None
    assert lr is not None
    assert len(loss) == len(lr) == rows // 4
    np.testing.assert_array_equal(lr.step, np.arange(3, rows, 4))
    np.testing.assert_array_equal(lr.value, np.arange(3, rows, 4) % 7)
    assert np.flatnonzero(np.isnan(loss.value)).tolist() == [333_333 // 4]
    assert np.nanmean(loss.value) == pytest.approx(2, abs=1e-4)
    assert run.notes == (
        "more points than are kept in 'lr', 'loss': up to 4 neighbours were merged into one, of losses their mean, of "
        "rates the last",
    )
    log = read(tmp_path / "run.csv")
    assert len(log.step) == rows // 4
    assert log.notes[-1] == "more than 262,144 rows: up to 4 neighbours were merged into one, their losses averaged"


def test_a_step_with_a_separator_of_thousands_is_placed_nowhere(tmp_path: Path) -> None:
    rows = [f'"{s:,}",{3.0 - s / 1e4:g}' for s in range(10, 1030, 10)]
    run = logged(tmp_path, "step,loss\n" + "\n".join(rows) + "\n")
    assert run.series["loss"].step.tolist() == list(range(10, 1000, 10))
    assert run.notes == (
        "cells of 'step' that hold no number were left out, such as '1,000'; write a point for decimals, nothing between "
        "thousands: lines 101, 102, 103",
    )
    rows += [f'"{s:,}",{3.0 - s / 1e4:g}' for s in range(1030, 2000, 10)]
    for reader in (logged, lambda folder, content: read(folder / "run.csv", needs_lr=False)):
        with pytest.raises(
            DataError, match=r"line 1: 'step' holds no number in 100 of 199 rows\. Cells of 'step' that hold no"
        ):
            reader(tmp_path, "step,loss\n" + "\n".join(rows) + "\n")
    lines = "".join(json.dumps({"step": f"{s:,}", "loss": 1.0}) + "\n" for s in range(980, 1100, 10))
    with pytest.raises(DataError, match="'step' holds no number in 10 of 12 rows"):
        logged(tmp_path, lines)


def test_decimal_commas_are_said_to_be_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        logged(tmp_path, "step;lr;loss\n10;0,001;2,9\n20;0,001;2,8\n")
    assert str(raised.value).partition(": line 1: ")[2] == (
        "'step' alone holds numbers. Cells of 'lr' that hold no number were left out, such as '0,001'; write a point for "
        "decimals, nothing between thousands: lines 2, 3. Cells of 'loss' that hold no number were left out, such as '2,9'; "
        "write a point for decimals, nothing between thousands: lines 2, 3."
    )


@pytest.mark.parametrize("names", [("hot", "cold"), ("0", "1")])
@pytest.mark.parametrize("mixed", [False, True])
def test_several_runs_in_one_table_are_refused(names: tuple[str, str], mixed: bool, tmp_path: Path) -> None:
    rows = (
        [(n, s) for s in range(10, 510, 10) for n in names]
        if mixed
        else [(n, s) for n in names for s in range(10, 510, 10)]
    )
    text = "run,step,lr,loss\n" + "".join(f"{n},{s},0.1,{3.0 - s / 1e4:g}\n" for n, s in rows)
    said = f"run.csv: several runs in one table: 'run' is {shown_as(names[0])} from line 2 and {shown_as(names[1])} from line "
    for reader in (logged, lambda folder, content: read(folder / "run.csv")):
        with pytest.raises(DataError) as raised:
            reader(tmp_path, text)
        line = 3 if mixed else 52
        assert str(raised.value).endswith(f"{said}{line}, and each begins anew. Give each run a file of its own.")
    objects = "".join(json.dumps({"run": n, "step": s, "lr": 0.1, "loss": 3.0 - s / 1e4}) + "\n" for n, s in rows)
    with pytest.raises(DataError, match="several runs in one table"):
        logged(tmp_path, objects, "run.jsonl")


def shown_as(name: str) -> str:
    return name if name.isdigit() else f"'{name}'"


def test_a_run_that_was_resumed_under_another_name_is_one_run(tmp_path: Path) -> None:
    rows = [("a", s) for s in range(10, 510, 10)] + [("b", s) for s in range(410, 910, 10)]
    run = logged(tmp_path, "run_id,seed,step,loss\n" + "".join(f"{n},1,{s},{3.0 - s / 1e4:g}\n" for n, s in rows))
    assert len(run.series["loss"]) == 100
    long = [("abc", s) for s in range(10, 60_010, 10)]  # further than what is read row by row
    run = logged(tmp_path, "run_id,step,loss\n" + "".join(f"{n},{s},2.5\n" for n, s in long))
    assert len(run.series["loss"]) == 6000
    with pytest.raises(DataError, match="'abc' from line 2 and 'z' from line 6002"):
        logged(tmp_path, "run_id,step,loss\n" + "".join(f"{n},{s},2.5\n" for n, s in [*long, ("z", 10), ("z", 20)]))


def in_epochs(per: int, gap: int, epochs: int, begin: int, extra: int = 0) -> list[dict[str, float]]:
    """Return rows whose iter begins anew in each epoch, every ``gap`` from ``begin``; ``extra`` is one more at its end."""
    at = [*range(begin, per + 1 if begin else per, gap), *([extra] if extra else [])]
    rows = [(e, i) for e in range(1, epochs + 1) for i in at]
    return [{"epoch": e, "iter": i, "lr": 0.1, "loss": 3.0 - n / len(rows)} for n, (e, i) in enumerate(rows)]


@pytest.mark.parametrize(
    ("per", "gap", "begin", "extra"), [(1000, 50, 50, 0), (40, 1, 0, 0), (40, 1, 1, 0), (973, 50, 50, 973)]
)
def test_steps_that_begin_anew_in_each_epoch_are_counted_on(
    per: int, gap: int, begin: int, extra: int, tmp_path: Path
) -> None:
    rows = in_epochs(per, gap, 5, begin, extra)[:-3]  # it may still be running
    said = f"the steps in 'iter' begin anew in each epoch, and were counted on, {per:,} to an epoch"
    run = logged(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "run.jsonl")
    wanted = [(row["epoch"] - 1) * per + row["iter"] for row in rows]
    assert (run.unit, run.series["loss"].step.tolist(), run.notes) == ("step", wanted, (said,))
    log = read(tmp_path / "run.jsonl")
    assert (log.step.tolist(), log.notes) == (wanted, (said,))
    table = "epoch,iter,loss\n" + "".join("{epoch},{iter},{loss}\n".format(**row) for row in rows)
    assert logged(tmp_path, table, step="iter").series["loss"].step.tolist() == wanted


def test_rows_of_validation_after_an_epoch_stand_at_its_end(tmp_path: Path) -> None:
    rows = []
    for row in in_epochs(1000, 50, 4, 50):
        rows.append({"mode": "train", **row})
        if row["iter"] == 1000:
            rows.append({"mode": "val", "epoch": row["epoch"], "iter": 625, "lr": 0.1, "loss": 3.0})
    run = logged(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "run.log.json")
    assert run.series["val/loss"].step.tolist() == [1000, 2000, 3000, 4000]
    assert run.series["lr"].step.tolist() == sorted(run.series["lr"].step)


@pytest.mark.parametrize("rest", [[3, 4], [2, 3, 4], [1, 2, 3, 4]])  # the epochs after the restart
@pytest.mark.parametrize("crash", [0, 3, 60, 100])  # the rows of the epoch it crashed in
@pytest.mark.parametrize("validation", [False, True])
def test_steps_in_epochs_of_a_resumed_run_go_back_and_are_counted_on(
    rest: list[int], crash: int, validation: bool, tmp_path: Path
) -> None:
    rows, wanted = list[dict[str, float]](), list[int]()
    for e, per in [(1, 100), (2, 100), (3, crash), *((e, 100) for e in rest)]:
        for i in range(per):
            rows.append({"epoch": e, "iter": i, "lr": 0.1, "loss": 3.0})
            wanted.append((e - 1) * 100 + i)
        if validation and per == 100:
            rows.append({"epoch": e, "iter": 25, "lr": 0.1, "val_loss": 3.0})
            wanted.append(e * 100)
    run = logged(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "run.jsonl")
    assert run.notes == ("the steps in 'iter' begin anew in each epoch, and were counted on, 100 to an epoch",)
    assert run.series["lr"].step.tolist() == wanted
    assert read(tmp_path / "run.jsonl", loss="loss").step.tolist() == wanted


@pytest.mark.parametrize("odd", ["length", "coarse", "epochs", "batches of validation"])
def test_steps_that_begin_anew_in_epochs_of_unsure_length_are_not_steps(odd: str, tmp_path: Path) -> None:
    rows = in_epochs(1000, 250 if odd == "coarse" else 50, 5, 50)
    if odd == "length":
        rows = [row for row in rows if row["epoch"] != 3 or row["iter"] < 800]
    if odd == "epochs":
        rows = [{**row, "epoch": row["epoch"] / 2} for row in rows]
    if odd == "batches of validation":
        rows = [
            {**row, "iter": i}
            for row in rows
            for i in (row["iter"], *(range(50, 550, 50) if row["iter"] == 1000 else ()))
        ]
    text = "epoch,iter,lr,loss\n" + "".join("{epoch},{iter},{lr},{loss}\n".format(**row) for row in rows)
    run = logged(tmp_path, text)
    assert (run.unit, run.series["loss"].step.tolist()) == ("row", list(range(len(rows))))
    assert run.notes == ("the steps in 'iter' begin anew in each epoch, and rows are counted",)
    said = r"the steps in 'iter' begin anew in each epoch, and how many an epoch has is not sure\. Log the number of optimiser"
    for reader in (read, lambda path: history(path, step="iter")):
        with pytest.raises(DataError, match=said):
            reader(tmp_path / "run.csv")


def test_steps_that_go_on_from_epoch_to_epoch_are_as_they_are(tmp_path: Path) -> None:
    steps = [*range(10, 510, 10), *range(310, 910, 10)]  # resumed
    run = logged(tmp_path, "epoch,step,loss\n" + "".join(f"{s // 100},{s},2.5\n" for s in steps))
    assert (run.series["loss"].step.tolist(), run.notes) == (steps, ())
    run = logged(tmp_path, "epoch,step,loss\n" + "".join(f"{s / 100},{s},2.5\n" for s in steps))
    assert (run.series["loss"].step.tolist(), run.notes) == (steps, ())
    many = list(range(10, 400_010, 10))
    run = logged(tmp_path, "epoch,step,loss\n" + "".join(f"{s / 1e5},{s},2.5\n" for s in many))
    assert run.series["loss"].step.tolist() == many


@pytest.mark.parametrize("first", ["validation", "rate"])
def test_steps_go_on_where_the_first_row_of_an_epoch_repeats_the_step_before(first: str, tmp_path: Path) -> None:
    row = {"val_loss": 2.5} if first == "validation" else {"lr": 0.1}
    rows = [{"epoch": 0, "step": 0, "lr": 0.1}]
    for s in range(1, 501):
        rows.append({"epoch": (s - 1) // 100, "step": s, "lr": 0.1, "loss": 3.0 - s / 1000})
        rows += [{"epoch": s // 100, "step": s, **row}] if s % 100 == 0 else []
    run = logged(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "run.jsonl")
    assert (run.unit, run.series["loss"].step.tolist(), run.notes) == ("step", list(range(1, 501)), ())
    assert read(tmp_path / "run.jsonl", loss="loss").step.tolist() == [row["step"] for row in rows]


@pytest.mark.parametrize("form", ["document", "lines"])
def test_rows_of_validation_with_steps_of_their_own_stand_there(form: str, tmp_path: Path) -> None:
    train = [{"step": s, "lr": 0.1, "loss": 3.0 - s / 1000} for s in range(50, 1050, 50)]
    val = [{"step": s, "loss": 3.1 - s / 1000} for s in range(200, 1200, 200)]
    rows = [
        {f"{split}/{k}": v for k, v in row.items()} for split, all_ in (("train", train), ("val", val)) for row in all_
    ]
    text = (
        json.dumps({"metrics": {"train": train, "val": val}})
        if form == "document"
        else "\n".join(map(json.dumps, rows)) + "\n"
    )
    run = logged(tmp_path, text, "run.json")
    assert run.series["val/loss"].step.tolist() == [row["step"] for row in val]
    assert run.notes == ("rows without 'train/step' stand at their 'val/step'",)
    log = read(tmp_path / "run.json")
    assert log.step[~np.isnan(log.loss)].tolist() == [row["step"] for row in val]


def test_a_count_of_validations_between_rows_of_training_is_no_step(tmp_path: Path) -> None:
    rows = []
    for s in range(50, 1050, 50):
        rows.append({"train/step": s, "train/loss": 3.0})
        if s % 200 == 0:
            rows.append({"val/step": s // 200, "val/loss": 3.1})
    run = logged(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "run.jsonl")
    assert run.series["val/loss"].step.tolist() == [200, 400, 600, 800, 1000]


@pytest.mark.parametrize("counts", ["batches", "many batches", "evaluations", "all batches"])
def test_counts_of_batches_and_of_evaluations_are_no_steps(counts: str, tmp_path: Path) -> None:
    rows, at = list[dict[str, float]](), range(50, 1050, 50)
    per = 600 if counts == "many batches" else 3
    for s in at:
        rows.append({"step": s, "lr": 0.1, "loss": 3.0})
        if s % 200 == 0 and counts != "evaluations":
            begin = (s // 200 - 1) * per if counts == "all batches" else 0
            rows += [{"val/step": begin + k, "val/loss": 3.1} for k in range(per)]
    if counts == "evaluations":
        rows += [{"val/step": k, "val/loss": 3.1} for k in range(5)]
    run = logged(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "run.jsonl")
    before = [1000] * 5 if counts == "evaluations" else [s for s in at if s % 200 == 0 for _ in range(per)]
    assert run.series["val/loss"].step.tolist() == before
    log = read(tmp_path / "run.jsonl")
    assert np.isnan(log.step[~np.isnan(log.loss)]).all()


def train_row(s: int) -> dict[str, float]:
    return {"step": s, "lr": 0.1, "loss": 3.0}


def with_own_steps(kind: str) -> list[dict[str, float]]:
    """Return the rows of a run of 2,000 steps whose rows of validation have the number of the run's steps as val/step."""
    if kind == "four an epoch, resumed":
        rows = list[dict[str, float]]()
        for e, quarters in [*((e, 4) for e in range(3)), (3, 2), (3, 4), (4, 4)]:  # it crashed in epoch 3
            rows += [{"val/step": 400 * e + 100 * (q + 1), "val/loss": 3.1} for q in range(quarters)]
            rows += [train_row(400 * (e + 1))] if quarters == 4 else []
        return rows
    if kind == "finer than training, resumed":
        parts, train, val = ((0, 1099), (1000, 2000)), 100, 30
    else:
        parts, train, val = ((0, 1210), (1000, 2000)) if "resumed" in kind else ((0, 2000),), 10, 200
    rows = []
    for begin, end in parts:
        steps = range(begin + 1, end + 1)
        of_train = [(s, train_row(s)) for s in steps if s % train == 0]
        late = 60 if kind == "late" else 0
        of_val = [(s + late, {"val/step": s, "val/loss": 3.1}) for s in steps if s % val == 0]
        if kind == "validation first":
            rows += [row for _, row in of_val + of_train]
        elif "apart" in kind:
            rows += [row for _, row in of_train + of_val]
        else:
            rows += [row for _, row in sorted(of_train + of_val, key=lambda each: each[0])]
    if "earlier checkpoint" in kind:
        rows += [{"val/step": 1400, "val/loss": 3.0}] * 2
    if kind == "for a time":
        rows = [row for row in rows if row.get("val/step", 0) <= 800]
    return rows


@pytest.mark.parametrize(
    "kind",
    ["four an epoch, resumed", "finer than training, resumed", "earlier checkpoint", "earlier checkpoint, apart", "late",
     "resumed", "apart, resumed", "validation first", "for a time"],
)  # fmt: skip
def test_rows_of_validation_stand_at_their_own_steps_where_those_go_with_the_runs(kind: str, tmp_path: Path) -> None:
    rows = with_own_steps(kind)
    wanted = [row["val/step"] for row in rows if "val/step" in row]
    run = logged(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "run.jsonl")
    assert run.notes == ("rows without 'step' stand at their 'val/step'",)
    assert run.series["val/loss"].step.tolist() == wanted
    log = read(tmp_path / "run.jsonl")
    assert log.step[~np.isnan(log.loss)].tolist() == wanted


@pytest.mark.parametrize("epochs", [1, 2, 10])
@pytest.mark.parametrize("counts", ["constant", "length", "batches", "all batches", "quarters", "examples", "epochs"])
def test_numbers_that_do_not_rise_with_the_run_are_not_its_steps_and_it_is_said(
    counts: str, epochs: int, tmp_path: Path
) -> None:
    rows = list[dict[str, float]]()
    for e in range(epochs):
        rows += [train_row(200 * e + i) for i in range(10, 201, 10)]
        own = {
            "constant": [0.6 * 200 * epochs], "length": [150], "batches": range(150), "quarters": [50 * (e + 1)], "epochs": [e],
            "all batches": range(120 * e, 120 * (e + 1)), "examples": [64 * 200 * (e + 1)],
        }[counts]  # fmt: skip
        rows += [{"eval_steps": n, "eval_loss": 3.1} for n in own]
    run = logged(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "run.jsonl")
    per = sum("eval_loss" in row for row in rows) // epochs
    assert run.series["eval_loss"].step.tolist() == [200 * (e + 1) for e in range(epochs) for _ in range(per)]
    assert run.notes[0] == "'eval_steps' does not rise with 'step', and no row stands at it"
    log = read(tmp_path / "run.jsonl")
    assert np.isnan(log.step[~np.isnan(log.loss)]).all()
    assert run.notes[0] in log.notes


@pytest.mark.parametrize("kind", ["resumed", "apart", "earlier checkpoint"])
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_whether_own_steps_are_the_runs_does_not_depend_on_the_blocks(kind: str, size: int) -> None:
    rows = with_own_steps(kind)
    for wrong in (False, True):
        own = OwnSteps()
        for begin in range(0, len(rows), size):
            part = rows[begin : begin + size]
            steps, val = (np.array([row.get(name, np.nan) for row in part]) for name in ("step", "val/step"))
            block = Block(
                len(part), np.arange(len(part)), ["step", "val/step"], {"val/step": Cells(None, val / (1 + wrong))}
            )
            own.placed(block, "step", steps, Tally())
        assert own.found() == ({"val/step"} if wrong else set())


def test_the_steps_of_fairseq_are_those_of_the_run_and_of_its_validations(tmp_path: Path) -> None:
    rows = list[dict[str, float]]()
    for s in range(100, 3100, 100):
        rows += [{"num_updates": s, "lr": 0.1, "loss": 3.0}]
        rows += [{"valid_loss": 3.1, "valid_num_updates": s}] if s % 1000 == 0 else []
    for each in (rows, rows[::-1]):  # in whatever order the columns come
        run = logged(tmp_path, "\n".join(map(json.dumps, each)) + "\n", "run.jsonl")
        log = read(tmp_path / "run.jsonl")
        assert sorted(log.step[~np.isnan(log.loss)]) == sorted(run.series["valid_loss"].step) == [1000, 2000, 3000]
        assert log.columns.step == "num_updates"


@pytest.mark.parametrize("epochs", [2, 4, 10])
@pytest.mark.parametrize("begin", [0, 1])
@pytest.mark.parametrize("after", [0, 1, 9])  # the validation repeats the last step, or comes up to a row later
def test_steps_begin_anew_where_the_validation_before_carries_the_number_of_the_next_epoch(
    epochs: int, begin: int, after: int, tmp_path: Path
) -> None:
    rows = list[dict[str, float]]()
    for row in in_epochs(199 + begin, 10, epochs, 9 + begin):
        rows.append(row)
        if row["iter"] == 199 + begin:
            rows.append({"epoch": row["epoch"] + 1, "iter": row["iter"] + after, "val_loss": 3.0})
    run = logged(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "run.jsonl")
    assert (run.unit, run.notes) == ("row", ("the steps in 'iter' begin anew in each epoch, and rows are counted",))
    with pytest.raises(
        DataError, match="the steps in 'iter' begin anew in each epoch, and how many an epoch has is not sure"
    ):
        read(tmp_path / "run.jsonl")


@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize("end", ["\n", ""])
def test_each_row_of_validation_stands_at_a_step_of_its_own(between: bool, end: str, tmp_path: Path) -> None:
    rows = [{"train/step": s, "train/lr": 0.1, "train/loss": 3.0} for s in range(10, 1010, 10)]
    val = [{"val/step": s, "val/loss": 3.1} for s in range(200, 1200, 200)]
    for row in reversed(val):
        rows.insert(int(row["val/step"] // 10) if between else 100, row)
    run = logged(tmp_path, "\n".join(map(json.dumps, rows)) + end, "run.jsonl")
    assert run.series["val/loss"].step.tolist() == [200, 400, 600, 800, 1000]
    assert run.notes == ("rows without 'train/step' stand at their 'val/step'",)
    log = read(tmp_path / "run.jsonl")
    assert log.step[~np.isnan(log.loss)].tolist() == [200, 400, 600, 800, 1000]


def test_a_table_beside_a_trainers_state_is_passed_over_and_said(tmp_path: Path) -> None:
    state = {"log_history": [{"step": s, "loss": 3.0} for s in (10, 20, 30)]}
    run = logged(tmp_path, json.dumps(state), "trainer_state.json")
    (tmp_path / "processor_config.json").write_text("{}")
    (tmp_path / "train.csv").write_text("step,loss\n1,3\n")
    assert (run.notes, history(tmp_path).notes) == (
        (),
        ("of the logs in the folder trainer_state.json was read, not train.csv",),
    )
