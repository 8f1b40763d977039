"""Trainings that leave in a folder what they reached: interrupted anywhere they end as if they never had been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dwindle import population
from dwindle.errors import InvalidValueError, MissingExtraError, ResumeError
from dwindle.population import MLP, SGD, Adam, Data, Examples, Rates, StoppedError, checkpoint, kernels, legs, native
from dwindle.population import engine as numpy_engine
from test_population import examples, member_steps, rates
from test_population_rungs import ENGINES, NET, OPTIMISERS, Judge, train

RUNGS = [{}, {"judge": Judge({8: [0, 1, 5], 16: [3]}), "judge_at": [8, 16]}]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("dwindle.population.threads.POLL_SECONDS", 0.002)


def diverging() -> Rates:
    table = rates(7, 24)
    lr = table.lr.copy()
    lr[2, 5:], lr[6, 17:] = 1e30, 1e30
    return replace(table, lr=lr)


def assert_same(result, whole):
    for name in whole.__dataclass_fields__:
        if name in ("weights", "biases"):
            for ours, theirs in zip(getattr(result, name), getattr(whole, name), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        else:
            np.testing.assert_array_equal(getattr(result, name), getattr(whole, name), err_msg=name)


def interrupted_after(monkeypatch, calls: int):
    """Make the engines' inner functions say, from that call on, that it is time to stop; return what ``stop`` takes."""
    left = [calls]
    gradient, run = numpy_engine.gradient, kernels.run

    def counted(inner, *given):
        left[0] -= 1
        inner(*given)
        if left[0] <= 0:
            time.sleep(0.02)  # until the caller's thread has asked

    monkeypatch.setattr(numpy_engine, "gradient", lambda *given: counted(gradient, *given))
    monkeypatch.setattr(kernels, "run", lambda *given: counted(run, *given))
    return lambda: left[0] <= 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=str)
@pytest.mark.parametrize("rungs", RUNGS, ids=["", "rungs"])
@pytest.mark.parametrize("own_order", [False, True])
def test_stopped_again_and_again_it_ends_bit_for_bit_the_same(
    tmp_path, monkeypatch, engine, optimiser, rungs, own_order
):
    monkeypatch.setattr(native, "_CALL_FLOPS", 1.6e5)  # three steps a call
    mlp = MLP((6, 5, 3), dropout=0.3 if own_order else 0.0)
    call = {"mlp": mlp, "table": diverging(), "own_order": own_order, **rungs}
    whole = train(engine, optimiser, **call)
    assert whole.diverged.any()
    draw, interruptions = np.random.default_rng(0), 0
    for _ in range(50):
        with monkeypatch.context() as patch:
            stop = interrupted_after(patch, int(draw.integers(1, 12)))
            workers = int(draw.integers(1, 4))
            try:
                result = train(engine, optimiser, **call, folder=tmp_path, stop=stop, workers=workers)
                break
            except StoppedError as error:
                interruptions += "call again to go on" in str(error)
    assert interruptions >= 3
    assert_same(result, whole)
    done = member_steps(monkeypatch)
    assert_same(train(engine, optimiser, **call, folder=tmp_path), whole)
    assert not done  # all was on disk


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimiser", [SGD(), Adam()], ids=str)
@pytest.mark.parametrize("rungs", RUNGS, ids=["", "rungs"])
def test_from_all_that_was_ever_on_disk_it_ends_bit_for_bit_the_same(tmp_path, monkeypatch, engine, optimiser, rungs):
    monkeypatch.setattr(native, "_CALL_FLOPS", 1.6e5)
    call = {"mlp": MLP((6, 5, 3), dropout=0.3), "table": diverging(), **rungs}
    whole = train(engine, optimiser, **call)
    now, write, seen = tmp_path / "now", legs.write, []

    def spied(*given):  # one worker: nobody else is writing
        write(*given)
        seen.append(shutil.copytree(now, tmp_path / str(len(seen))))

    monkeypatch.setattr(legs, "write", spied)
    monkeypatch.setattr(legs, "SAVE_SECONDS", -1.0)
    assert_same(train(engine, optimiser, **call, folder=now, workers=1), whole)
    monkeypatch.setattr(legs, "write", write)
    monkeypatch.setattr(legs, "SAVE_SECONDS", 1e9)
    assert len(seen) > (8 if engine == "native" else 24)
    for folder in seen:
        assert_same(train(engine, optimiser, **call, folder=folder, workers=2), whole)


def test_a_member_ahead_of_the_others_waits_whatever_a_round_is_then(tmp_path, monkeypatch):
    whole = train("native", Adam())
    monkeypatch.setattr(native, "_CALL_FLOPS", 1.6e5)
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        train("native", Adam(), folder=tmp_path, stop=interrupted_after(patch, 2), workers=1)
    kept = checkpoint.read(
        tmp_path / "chunk-0.safetensors", checkpoint.json.loads((tmp_path / "training.json").read_text())["training"]
    )
    assert kept.arrays["now.step"].tolist() == [3, 3, 0, 0, 0, 0, 0]
    for flops in (1e9, 1.1e5, 5e4):  # of many steps, of two, of one
        copy = shutil.copytree(tmp_path, tmp_path / f"{flops:g}")
        monkeypatch.setattr(native, "_CALL_FLOPS", flops)
        assert_same(train("native", Adam(), folder=copy), whole)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_interruption_a_folder_changes_nothing(tmp_path, engine, dtype):
    assert_same(train(engine, dtype=dtype, folder=tmp_path / "a" / "b"), train(engine, dtype=dtype))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_on_the_way_loses_only_what_came_after_the_last_save(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(legs, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(native, "_CALL_FLOPS", 5e4)
    whole, left = train(engine), [60 if engine == "native" else 15]

    def failing(inner, *given):
        left[0] -= 1
        if not left[0]:
            raise ZeroDivisionError
        inner(*given)

    with monkeypatch.context() as patch:
        gradient, run = numpy_engine.gradient, kernels.run
        patch.setattr(numpy_engine, "gradient", lambda *given: failing(gradient, *given))
        patch.setattr(kernels, "run", lambda *given: failing(run, *given))
        with pytest.raises(ZeroDivisionError):
            train(engine, folder=tmp_path, workers=1)
    done = member_steps(monkeypatch)
    assert_same(train(engine, folder=tmp_path), whole)
    assert 0 < sum(done) < 7 * 24 * 0.75


# --- what is refused


@pytest.mark.parametrize("engine", ENGINES)
def test_a_folder_of_another_training_is_refused(tmp_path, engine):
    train(engine, folder=tmp_path)
    other = "numpy" if engine == "native" else "native"
    table = rates(7, 24)
    for changed in (
        lambda: train(other, folder=tmp_path),
        lambda: train(engine, Adam(), folder=tmp_path),
        lambda: train(engine, SGD(0.8), folder=tmp_path),
        lambda: train(engine, mlp=MLP((6, 5, 3)), folder=tmp_path),
        lambda: train(engine, table=replace(table, lr=table.lr * 0.5), folder=tmp_path),
        lambda: train(engine, table=replace(table, shrink=table.shrink * 0.5), folder=tmp_path),
        lambda: train(engine, table=replace(table, l2=table.l2 * 0.5), folder=tmp_path),
        lambda: train(engine, seeds=range(7), folder=tmp_path),
        lambda: train(engine, batch_size=6, folder=tmp_path),
        lambda: train(engine, evaluate_every=6, folder=tmp_path),
        lambda: train(engine, own_order=True, folder=tmp_path),
        lambda: train(engine, order_seed=1, folder=tmp_path),
        lambda: train(engine, dtype="float64", folder=tmp_path),
        lambda: train(engine, judge=Judge({}), judge_at=[8], folder=tmp_path),
    ):
        with pytest.raises(ResumeError, match="another training"):
            changed()
    given = {"seeds": [1], "batch_size": 7, "evaluate_every": 4, "engine": engine, "folder": tmp_path / "data"}
    part = examples(31, NET)
    population.train(NET, SGD(), rates(1, 8), Data(part), **given)
    moved, renamed = part.x.copy(), part.y.copy()
    moved[30, 5] = np.nextafter(moved[30, 5], 9.0)
    renamed[0] = (renamed[0] + 1) % 3
    for data in (
        Data(Examples(moved, part.y)),
        Data(Examples(part.x, renamed)),
        Data(part, part),
        Data(part, test=part),
    ):
        with pytest.raises(ResumeError, match="another training"):
            population.train(NET, SGD(), rates(1, 8), data, **given)


def test_a_damaged_file_is_named_and_without_it_the_training_ends_the_same(tmp_path):
    call = {"judge": Judge({8: [0, 1]}), "judge_at": [8], "workers": 2}
    whole = train("native", **call, folder=tmp_path)
    for name in ("chunk-0.safetensors", "chunk-1-after-8.safetensors"):
        file = tmp_path / name
        good = file.read_bytes()
        flipped = bytearray(good)
        flipped[-9] ^= 4
        for bad in (good[:-3], b"", b"\x07" * 40, bytes(flipped)):
            file.write_bytes(bad)
            with pytest.raises(ResumeError, match=f"{name} cannot be read.*Remove it"):
                train("native", **call, folder=tmp_path)
        file.unlink()
        assert_same(train("native", **call, folder=tmp_path), whole)
        assert file.exists()
    noted = tmp_path / "training.json"
    for bad in (b"{", b"[]", b"{}", noted.read_bytes().replace(b"[0,", b"[1,")):
        noted.write_bytes(bad)
        with pytest.raises(ResumeError, match=r"training\.json cannot be read"):
            train("native", **call, folder=tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_another_judge_is_refused_where_it_answers_otherwise(tmp_path, engine):
    train(engine, judge=Judge({8: [0]}), judge_at=[8], folder=tmp_path)
    with pytest.raises(ResumeError, match="the judge has answered otherwise"):
        train(engine, judge=Judge({8: [1]}), judge_at=[8], folder=tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidValueError, match="cannot be made"):
        train("numpy", folder=tmp_path / "file")


def test_safetensors_is_asked_for_with_a_folder_only(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    train("numpy")
    with pytest.raises(MissingExtraError, match=r"dwindle\[fast\]"):
        train("numpy", folder=tmp_path)


# --- killed

STEPS, KEEP = 3000, {"judge": Judge({1000: [0, 3]}), "judge_at": [1000]}
KILLED = """
import sys
import test_population_resume as t
t.legs.SAVE_SECONDS = 0.02
t.native._CALL_FLOPS = 1e6
print("begun", flush=True)
t.long(sys.argv[1], folder=sys.argv[2], workers=2)
print("done", flush=True)
"""


def long(engine: str, **given):
    return train(engine, Adam(), table=rates(7, STEPS, top=0.01), evaluate_every=100, **KEEP, **given)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_killed_at_any_time_it_goes_on_bit_for_bit(tmp_path, engine):
    whole, here, kills = long(engine), Path(__file__).parent, 0
    for wait in (0.05, 0.3, 0.1, 0.5):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, engine, str(tmp_path)], cwd=here, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "begun\n"
        deadline = time.monotonic() + 60.0
        while not list(tmp_path.glob("chunk-*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert kills or os.name == "nt"
    assert_same(long(engine, folder=tmp_path, workers=1), whole)
