"""Members let go at rungs: who stays does not notice, who goes costs nothing, and the judge sees what was so far."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle import population
from dwindle.errors import InvalidValueError
from dwindle.population import MLP, SGD, Adam, Data, Rates, Seen, legs, trainer
from test_population import examples, member_steps, rates

ENGINES = ("native", "numpy")
OPTIMISERS = [SGD(), SGD(0.9), SGD(0.9, nesterov=True), Adam()]
CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "squared_norm")
FINALS = ("test_loss", "test_accuracy")
NET = MLP((6, 5, 3), "tanh")
SEEDS = [3, 1, 4, 1, 5, 9, 2]


def data(mlp: MLP = NET) -> Data:
    return Data(examples(31, mlp), examples(9, mlp, 1), examples(8, mlp, 2))


def train(engine, optimiser=SGD(0.9), *, mlp=NET, table=None, **given):  # noqa: B008
    table = rates(7, 24) if table is None else table
    given = {"seeds": SEEDS[: table.members], "batch_size": 7, "evaluate_every": 4} | given
    return population.train(mlp, optimiser, table, data(mlp), engine=engine, **given)


def weights(result):
    return [*result.weights, *result.biases]


def cut(table: Rates, steps: int) -> Rates:
    return Rates(table.lr[:, :steps], table.shrink[:, :steps], table.l2[:, :steps])


class Judge:
    """Lets go whom ``gone`` says, by the step, and keeps all it saw."""

    def __init__(self, gone: dict[int, list[int]], members: int = 7) -> None:
        self.gone, self.members, self.seen, self.threads = gone, members, [], []

    def __call__(self, seen: Seen) -> np.ndarray:
        self.seen.append(seen)
        self.threads.append(threading.current_thread())
        return np.isin(np.arange(self.members), self.gone.get(int(seen.step[-1]), []))


# --- staying and going


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=40, deadline=None)
@given(
    optimiser=st.sampled_from(OPTIMISERS),
    dropout=st.sampled_from([0.0, 0.4]),
    own_order=st.booleans(),
    workers=st.integers(1, 3),
    most=st.integers(1, 4),
    gone=st.dictionaries(st.sampled_from([4, 8, 12, 20]), st.lists(st.integers(0, 6), max_size=4), max_size=3),
)
def test_who_stays_is_bitwise_the_same_and_who_goes_is_cut_off(
    engine, optimiser, dropout, own_order, workers, most, gone
):
    mlp = MLP((6, 5, 3), "tanh", dropout=dropout)
    call = partial(train, engine, optimiser, mlp=mlp, own_order=own_order)
    whole, judge = call(), Judge(gone)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_CHUNK_MOST", "_NATIVE_MOST"):
            patch.setattr(trainer, name, most)
        result = call(judge=judge, judge_at=list(gone), workers=workers)
    assert result.engine == engine
    first = {k: min(step for step, those in gone.items() if k in those) for those in gone.values() for k in those}
    assert result.stopped_at.tolist() == [first.get(k, 24) for k in range(7)]
    assert not result.diverged.any()
    for k in range(7):
        until = int(result.stopped_at[k])
        seen = until // 4 + 1
        for name in CURVES:
            ours, theirs = getattr(result, name)[k], getattr(whole, name)[k]
            np.testing.assert_array_equal(ours[:seen], theirs[:seen])
            assert np.isnan(ours[seen:]).all()
        for name in FINALS:
            wanted = np.nan if k in first else getattr(whole, name)[k]
            np.testing.assert_array_equal(getattr(result, name)[k], wanted)
    # The weights of those that went are those of a training that ends there.
    for until in {*result.stopped_at.tolist()}:
        short = whole if until == 24 else call(table=cut(rates(7, 24), until))
        those = result.stopped_at == until
        for ours, theirs in zip(weights(result), weights(short), strict=True):
            np.testing.assert_array_equal(ours[those], theirs[those])
    # The judge saw the curves of the unjudged run, but of those that had gone.
    asked = [step for step in sorted(gone) if any(first.get(k, 24) >= step for k in range(7))]
    assert [int(seen.step[-1]) for seen in judge.seen] == asked
    for seen in judge.seen:
        columns = len(seen.step)
        np.testing.assert_array_equal(seen.step, whole.step[:columns])
        np.testing.assert_array_equal(seen.running, [first.get(k, 24) >= seen.step[-1] for k in range(7)])
        for name in ("train_loss", "validation_loss"):
            wanted = getattr(whole, name)[:, :columns].copy()
            for k, step in first.items():
                wanted[k, step // 4 + 1 :] = np.nan
            np.testing.assert_array_equal(getattr(seen, name), wanted)
    assert set(judge.threads) <= {threading.current_thread()}


@pytest.mark.parametrize("engine", ENGINES)
def test_at_a_rung_all_have_arrived_and_those_let_go_stop_costing(engine, monkeypatch):
    done, arrived = member_steps(monkeypatch), []
    judge = Judge({8: [0, 1, 2, 6], 16: [4]})
    train(
        engine, judge=lambda seen: (arrived.append(sum(done)), judge(seen))[1], judge_at=[16, 8, 16], workers=2
    )  # fmt: skip
    assert arrived == [7 * 8, 7 * 8 + 3 * 8]
    assert sum(done) == 7 * 8 + 3 * 8 + 2 * 8


def test_after_a_rung_native_members_are_spread_evenly_again(monkeypatch):
    sizes, in_threads = [], legs.in_threads

    def spied(chunks, *rest):
        sizes.append([len(chunk.func.__self__.members) for chunk in chunks])
        return in_threads(chunks, *rest)

    monkeypatch.setattr(legs, "in_threads", spied)
    for engine in ENGINES:
        train(engine, judge=Judge({8: [0, 1, 2]}), judge_at=[8], workers=2)
    assert sizes == [[4, 3], [2, 2]] * 2
    sizes.clear()
    train("native", workers=2)
    assert sizes == [[4, 3]]  # without rungs nobody waits for anybody


@pytest.mark.parametrize("engine", ENGINES)
def test_diverged_members_are_not_running_and_not_let_go(engine):
    table = rates(7, 24)
    lr = table.lr.copy()
    lr[2, 5:], lr[4, 17:] = 1e30, 1e30
    table, judge = Rates(lr, table.shrink, table.l2), Judge({12: [2, 3]})
    result = train(engine, mlp=MLP((6, 5, 3)), table=table, judge=judge, judge_at=[4, 12, 20])
    assert result.diverged.tolist() == [False, False, True, False, True, False, False]
    assert result.stopped_at.tolist() == [24, 24, 8, 12, 20, 24, 24]
    assert [seen.running.sum() for seen in judge.seen] == [7, 6, 4]
    assert np.isnan(judge.seen[1].train_loss[2, -1])
    assert not judge.seen[1].running[2]


@pytest.mark.parametrize("engine", ENGINES)
def test_when_all_are_let_go_training_ends_and_nobody_is_asked_again(engine, monkeypatch):
    done, heard, judge = member_steps(monkeypatch), [], Judge({4: [0, 1, 2], 8: [3, 4, 5, 6]})
    result = train(engine, judge=judge, judge_at=[4, 8, 12], progress=lambda *told: heard.append(told), workers=2)
    assert [int(seen.step[-1]) for seen in judge.seen] == [4, 8]
    assert result.stopped_at.tolist() == [4] * 3 + [8] * 4
    assert sum(done) == 7 * 4 + 4 * 4
    assert [first for first, _ in heard] == sorted(first for first, _ in heard)
    assert heard[-1] == (7 * 24, 7 * 24)
    wild, never = Rates(np.full((7, 24), 1e30)), Judge({})
    assert train(engine, mlp=MLP((6, 5, 3)), table=wild, judge=never, judge_at=[12]).diverged.all()
    assert not never.seen


def test_what_a_judge_does_to_the_curves_stays_with_it():
    def spoil(seen: Seen) -> np.ndarray:
        for array in seen:
            array[:] = 0
        return np.zeros(7, bool)

    whole, result = train("numpy"), train("numpy", judge=spoil, judge_at=[8])
    np.testing.assert_array_equal(result.train_loss, whole.train_loss)
    np.testing.assert_array_equal(result.step, whole.step)


def test_without_validation_examples_that_loss_is_nan():
    judge = Judge({})
    part = Data(examples(31, NET))
    population.train(
        NET, SGD(), rates(7, 24), part, seeds=SEEDS, batch_size=7, evaluate_every=4, judge=judge, judge_at=[4]
    )
    assert np.isnan(judge.seen[0].validation_loss).all()
    assert judge.seen[0].validation_loss.shape == judge.seen[0].train_loss.shape == (7, 2)


# --- what is refused


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "it gave None"),
        ([True] * 7, "it gave \\[True"),
        (np.ones(7), "float64 of shape"),
        (np.ones(6, bool), r"bool of shape \(6,\)"),
        (np.ones((7, 1), bool), r"bool of shape \(7, 1\)"),
        (np.True_, "True"),
    ],
)
def test_an_answer_that_is_none_is_refused(engine, answer, says):
    with pytest.raises(InvalidValueError, match=says):
        train(engine, judge=lambda seen: answer, judge_at=[8])


@pytest.mark.parametrize(
    ("judge_at", "says"),
    [
        ([6], "evaluations at 4, 8, 12, 16, 20: choose"),
        ([0], "evaluations at 4, 8"),
        ([24], "evaluations at 4, 8"),
        ([8, 28], "step 28.*evaluations at 4, 8"),
        ([-4], "positive.*evaluations at 4, 8"),
        ([4.5], "whole number.*evaluations at 4, 8"),
        (8, r"Write \[8\]"),
    ],
)
def test_rungs_that_are_no_evaluations_are_refused(judge_at, says):
    with pytest.raises(InvalidValueError, match=says):
        train("numpy", judge=Judge({}), judge_at=judge_at)


def test_a_judge_that_is_none_and_rungs_without_one_are_refused():
    with pytest.raises(InvalidValueError, match="must be a function"):
        train("numpy", judge="best", judge_at=[8])
    with pytest.raises(InvalidValueError, match="no judge"):
        train("numpy", judge_at=[8])
    with pytest.raises(InvalidValueError, match="evaluate more often"):
        train("numpy", judge=Judge({}), judge_at=[8], evaluate_every=24)


def test_an_error_of_the_judge_reaches_the_caller():
    def judge(seen):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train("native", judge=judge, judge_at=[8])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dwindle")]
