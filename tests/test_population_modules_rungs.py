"""Modules let go at rungs, and rungs over an interruption."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from dwindle.errors import InvalidValueError, ResumeError
from dwindle.population import SGD, Adam, Rates, StoppedError, legs
from dwindle.population.modules import chunk
from test_population_modules import (
    CLASSES,
    MODULES,
    assert_same,
    diverging,
    examples,
    one_thread,  # noqa: F401  # a fixture of every test here as well
    rates,
    stopped_after,
    trained,
)
from test_population_rungs import Judge

STEPS = 40


def judged(gone: dict[int, list[int]], name: str = "pools", optimiser=SGD(0.9), **given):  # noqa: B008
    """Return (the result with a judge, without one, the judge) of eight members, in one chunk if not told otherwise."""
    make, shape = MODULES[name]
    judge, table = Judge(gone, 8), rates(8, STEPS, top=0.02)
    given = {"evaluate_every": 5, "validation": examples(shape, 30, 1), "test": examples(shape, 9, 2)} | given
    given["metrics"] = {"accuracy": lambda output, y: (output.argmax(1) == y).float().mean()}
    pair = examples(shape)
    whole = trained(make, pair, table, optimiser, **given)
    return trained(make, pair, table, optimiser, judge=judge, judge_at=[*gone], **given), whole, judge


@pytest.mark.parametrize("optimiser", [SGD(0.9), Adam()], ids=str)
@pytest.mark.parametrize("own_order", [False, True])
def test_of_a_chunk_that_stays_whole_those_who_stay_are_bitwise_the_same(optimiser, own_order):
    result, whole, judge = judged({20: [5], 10: []}, optimiser=optimiser, own_order=own_order)
    assert result.stopped_at.tolist() == [20 if k == 5 else STEPS for k in range(8)]
    assert not result.diverged.any()
    rest = [k for k in range(8) if k != 5]
    curves = ["train_loss", "validation_loss", "squared_norm"]
    pairs = [(getattr(result, name), getattr(whole, name)) for name in curves]
    pairs += [(getattr(result, f"{part}_metrics")["accuracy"], getattr(whole, f"{part}_metrics")["accuracy"])
              for part in ("train", "validation")]  # fmt: skip
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours[rest], theirs[rest])
        np.testing.assert_array_equal(ours[5, :5], theirs[5, :5])
        assert np.isnan(ours[5, 5:]).all()
    for ours, theirs in (
        (result.test_loss, whole.test_loss),
        (result.test_metrics["accuracy"], whole.test_metrics["accuracy"]),
    ):
        np.testing.assert_array_equal(ours[rest], theirs[rest])
        assert np.isnan(ours[5])
    table = rates(8, STEPS, top=0.02)
    short = Rates(*(t[:, :20] for t in (table.lr, table.shrink, table.l2)))
    make, shape = MODULES["pools"]
    until = trained(make, examples(shape), short, optimiser, own_order=own_order, evaluate_every=5)
    for name, tensor in whole.weights.items():
        assert torch.equal(result.weights[name][rest], tensor[rest])
        assert torch.equal(result.weights[name][5], until.weights[name][5])
    assert [int(seen.step[-1]) for seen in judge.seen] == [10, 20]
    for seen in judge.seen:
        assert seen.running.all()
        np.testing.assert_array_equal(seen.train_loss, whole.train_loss[:, : len(seen.step)])
        np.testing.assert_array_equal(seen.validation_loss, whole.validation_loss[:, : len(seen.step)])


@pytest.mark.parametrize("workers", [1, 2])
def test_where_many_go_those_who_stay_are_the_same_to_rounding(workers):
    result, whole, judge = judged({10: [0, 1, 2, 3, 4], 25: [6]}, workers=workers)
    assert result.stopped_at.tolist() == [10] * 5 + [STEPS, 25, STEPS]
    for name in ("train_loss", "validation_loss", "test_loss"):
        np.testing.assert_allclose(getattr(result, name)[[5, 7]], getattr(whole, name)[[5, 7]], rtol=1e-5)
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(result.weights[name][[5, 7]], tensor[[5, 7]], rtol=0, atol=1e-5)
    assert judge.seen[1].running.tolist() == [False] * 5 + [True] * 3
    assert np.isnan(judge.seen[1].train_loss[:5, 3:]).all()
    np.testing.assert_array_equal(judge.seen[1].train_loss[:5, :3], whole.train_loss[:5, :3])


def test_those_let_go_stop_costing(monkeypatch):
    widths, descend, heard = [], chunk.descend, []
    monkeypatch.setattr(chunk, "descend", lambda *given: (widths.append(len(given[1][0])), descend(*given)))
    make, shape = MODULES["dense"]
    call = {"judge": Judge({10: [0, 1], 20: [2, 3, 4, 5, 6, 7]}, 8), "judge_at": [10, 20], "evaluate_every": 5}
    told = {"progress": lambda *given: heard.append(given)}
    trained(make, examples(shape), rates(8, STEPS), SGD(), **call, **told)
    assert widths == [8] * 10 + [6] * 10
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[-1] == (8 * STEPS, 8 * STEPS)


def test_answers_and_rungs_that_are_none_are_refused():
    make, shape = MODULES["dense"]
    for answer in (None, np.ones(3), np.ones(2, bool), [False] * 3):
        with pytest.raises(InvalidValueError, match="array of bool"):
            trained(
                make, examples(shape), rates(3, 8), evaluate_every=4, judge=lambda seen, it=answer: it, judge_at=[4]
            )
    with pytest.raises(InvalidValueError, match="evaluations at 4: choose"):
        trained(make, examples(shape), rates(3, 8), evaluate_every=4, judge=Judge({}), judge_at=[6])


# --- over an interruption


def resumable(**given):
    make, shape = MODULES["dense"]
    call = {"evaluate_every": 5, "validation": examples(shape, 30, 1), "test": examples(shape), "workers": 2}
    call |= {"judge": Judge({15: [0], 25: [2]}, 6), "judge_at": [15, 25]} | given
    return trained(make, examples(shape), diverging(), SGD(0.5), **call)


def test_stopped_again_and_again_it_ends_bit_for_bit_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("dwindle.population.threads.POLL_SECONDS", 0.004)
    whole, interruptions = resumable(), 0
    assert whole.diverged.tolist() == [False, True, False, True, True, False]
    assert whole.stopped_at.tolist()[::2] == [15, 25, 30]
    for calls in (3, 0, 1, 8, 2, 20, 4):
        try:
            resumable(folder=tmp_path, stop=stopped_after(calls), workers=1 + calls % 2)
        except StoppedError:
            interruptions += 1
    assert interruptions
    for _ in range(2):
        assert_same(resumable(folder=tmp_path), whole)


def test_from_all_that_was_ever_on_disk_it_ends_bit_for_bit_the_same(tmp_path, monkeypatch):
    whole, now, write, seen = resumable(workers=1), tmp_path / "now", legs.write, []

    def spied(*given):
        write(*given)
        seen.append(shutil.copytree(now, tmp_path / str(len(seen))))

    monkeypatch.setattr(legs, "write", spied)
    monkeypatch.setattr(legs, "SAVE_SECONDS", -1.0)
    assert_same(resumable(folder=now, workers=1), whole)
    monkeypatch.setattr(legs, "write", write)
    monkeypatch.setattr(legs, "SAVE_SECONDS", 1e9)
    assert len(seen) > 40
    for folder in seen[::6]:
        assert_same(resumable(folder=folder), whole)
    with pytest.raises(ResumeError, match="answered otherwise"):
        resumable(folder=now, judge=Judge({15: [5]}, 6))
    with pytest.raises(ResumeError, match="another training"):
        resumable(folder=now, judge_at=[15])


def test_a_frozen_tensor_in_bfloat16_is_part_of_the_training(tmp_path):
    class Scaled(nn.Module):
        def __init__(self, by: float):
            super().__init__()
            self.line = nn.Linear(6, CLASSES)
            self.register_buffer("by", torch.tensor(by, dtype=torch.bfloat16))

        def forward(self, x):
            return self.line(x) * self.by

    whole = trained(lambda: Scaled(0.5), examples((6,)), rates(2, 6))
    for _ in range(2):
        assert_same(trained(lambda: Scaled(0.5), examples((6,)), rates(2, 6), folder=tmp_path), whole)
    with pytest.raises(ResumeError, match="another training"):
        trained(lambda: Scaled(0.25), examples((6,)), rates(2, 6), folder=tmp_path)
