"""Corners of the rules that read a metric: messages, limits, defaults, moves by hand, and the verdict from its formulas."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from dwindle.errors import DwindleError, InvalidValueError, ResumeError, UnknownNameError
from dwindle.schedule.feedback import FeedbackRule
from dwindle.schedule.greedy import Greedy, GreedyState, observe_together
from dwindle.schedule.plateau import Plateau, PlateauState
from dwindle.schedule.stagnation import (
    Verdict,
    _difference_signs,
    _effective_size,
    _lag_one,
    _p_cycle,
    _residual,
    _trend,
    verdict,
)
from dwindle.schedule.stall import Stall, StallState

Array = npt.NDArray[np.float64]

# --- what is refused, in which words ----------------------------------------------------------------------------------

Refusal = tuple[Callable[..., Any], dict[str, Any], str]
CUT = " A cut multiplies the rate by it."
PEAK = " It is the rate at factor 1."
SHORT = " A verdict needs that many metrics."
MEANT = "a relative threshold of 1 asks a positive metric to fall by all of itself, which it cannot; give a threshold below 1, "

EVERY_RULE: list[tuple[dict[str, Any], str]] = [
    ({"factor": 0.0}, f"factor must be positive; got 0.0.{CUT}"),
    ({"factor": 1.0}, f"factor must be below 1; got 1.0.{CUT}"),
    ({"peak": 0.0}, f"peak must be positive; got 0.0.{PEAK}"),
    ({"min_lr": -1e-9}, "min_lr must be zero or more; got -1e-09."),
    ({"eps": -1e-9}, "eps must be zero or more; got -1e-09."),
    ({"mode": "lowest"}, "mode 'lowest' is not known; it must be one of max, min."),
]
PATIENT_RULES: list[tuple[dict[str, Any], str]] = [
    ({"nan": "skip"}, "nan 'skip' is not known; it must be one of ignore, raise, worse."),
    ({"patience": -1}, "patience must be at least 0; got -1."),
    ({"patience": 1.5}, "patience must be a whole number; got 1.5."),
    ({"cooldown": -1}, "cooldown must be at least 0; got -1."),
    ({"threshold": -1e-9}, "threshold must be zero or more; got -1e-09."),
    ({"threshold_mode": "x"}, "threshold_mode 'x' is not known; it must be one of abs, rel."),
    ({"threshold": 1, "threshold_mode": "rel"}, MEANT + "or threshold_mode='abs'."),
]
PARAMETERS: list[Refusal] = [
    *[(rule, fields, words) for rule in (Plateau, Greedy, Stall) for fields, words in EVERY_RULE],
    *[(rule, fields, words) for rule in (Plateau, Greedy) for fields, words in PATIENT_RULES],
    (Plateau, {"warmup_steps": -1}, "warmup_steps must be at least 0; got -1."),
    (Plateau, {"warmup_lr": -1e-9}, "warmup_lr must be zero or more; got -1e-09."),
    (Plateau, {"observes_first": 1}, "observes_first must be True or False; got 1."),
    (Greedy, {"warmup": -1}, "warmup must be at least 0; got -1."),
    (Greedy, {"window": 0}, "window must be positive; got 0."),
    (Greedy, {"reset_after": 0}, "reset_after must be positive; got 0."),
    (Greedy, {"max_lr": 0.0}, "max_lr must be positive; got 0.0."),
    (Greedy, {"max_lr": -1.0}, "max_lr must be positive; got -1.0."),
    (Greedy, {"max_lr": "high"}, "max_lr must be a real number; got 'high'."),
    (Greedy, {"min_lr": 0.5, "max_lr": 0.4}, "max_lr=0.4 is below min_lr=0.5; swap them."),
    (Stall, {"nan": "worse"}, "nan 'worse' is not known; "),
    (Stall, {"nan": "x"}, "nan 'x' is not known; it must be one of ignore, raise."),
    (Stall, {"window": 9}, f"window must be at least 10; got 9.{SHORT}"),
    (Stall, {"rest": 9}, f"rest must be at least 10; got 9.{SHORT}"),
    (Stall, {"every": 0}, "every must be positive; got 0."),
    (Stall, {"level": 0.0}, "level must be at least 1e-12; got 0.0."),
    (Stall, {"level": 0.5}, "level must be below 0.5; got 0.5."),
    (Stall, {"margin": 0.0}, "margin must be positive; got 0.0."),
    (Stall, {"cut_on": ()}, "cut_on must name verdicts, such as ('oscillating',); got ()."),
    (Stall, {"cut_on": "flat"}, "cut_on must name verdicts, such as ('oscillating',); got 'flat'."),
    (Stall, {"cut_on": ("x",)}, "cut_on 'x' is not known; it must be one of flat, noisy, oscillating, rising."),
    (Stall, {"cut_on": ("falling",)}, "cut_on 'falling' is not known; "),
    (Stall, {"cut_on": ("too short",)}, "cut_on 'too short' is not known; "),
]  # fmt: skip

AT = {"step": 1, "lr": 1.0}
STATES: list[Refusal] = [
    *[
        (kind, {**AT, name: -1}, f"{name} must be at least 0; got -1.")
        for kind, names in [
            (PlateauState, "step bad cooldown_left"),
            (GreedyState, "step good bad cooldown_left warmup_left floor_cuts"),
            (StallState, "step since_cut cuts"),
        ]
        for name in names.split()
    ],
    *[(k, {"step": 1, "lr": -1e-9}, "lr must be zero or more; got -1e-09.") for k in (PlateauState, GreedyState, StallState)],
    *[(kind, {**AT, "best": "low"}, "best must be a real number; got 'low'.") for kind in (PlateauState, GreedyState)],
    *[(kind, {**AT, "best": math.inf}, "best must be finite; got inf.") for kind in (PlateauState, GreedyState)],
    (GreedyState, {**AT, "window": 3.0}, "window must be a list of numbers; got 3.0."),
    (GreedyState, {**AT, "window": [math.inf]}, "window must be finite; got inf."),
    (GreedyState, {**AT, "total": None}, "total must be a real number; got None."),
    (StallState, {**AT, "recent": "12"}, "recent must be a list of numbers; got '12'."),
    (StallState, {**AT, "recent": ["1"]}, "recent must be a real number; got '1'."),
    (StallState, {**AT, "kind": "x"},
     "kind 'x' is not known; it must be one of falling, flat, noisy, oscillating, rising, too short."),
]  # fmt: skip

OWN = "this rule's floors are absolute rates for peak=0.1, so peak={} does not fit; build the rule for that peak with "
DIVERGED = "the metric is {}, which says that the run diverged and not that it stands still; stop the run, or choose what to do: "
CALLS: list[Refusal] = [
    (Plateau().lrs, {"metrics": 3}, "metrics must be a sequence; got 3."),
    (Plateau().lrs, {"metrics": [], "peak": 0.0}, "peak must be positive; got 0.0."),
    (Plateau().rate, {"state": Plateau().init(), "peak": -1.0}, "peak must be positive; got -1.0."),
    (Plateau(peak=0.1).lrs, {"metrics": [], "peak": 0.2}, OWN.format("0.2") + "dataclasses.replace(rule, peak=...)."),
    (Stall(peak=0.1).rate, {"state": Stall().init(), "peak": 1.0}, OWN.format("1.0") + "dataclasses.replace(rule, peak=...)."),
    *[
        (Plateau().observe, {"state": Plateau().init(), "metric": bad}, f"a metric must be a real number; got {bad!r}.")
        for bad in ("0.3", b"0.3", True, None)
    ],
    *[
        (rule.observe, {"state": rule.init(), "metric": bad},
         DIVERGED.format(bad) + "nan='ignore' skips it, nan='worse' (Plateau, Greedy) counts it as no improvement.")
        for rule in (Plateau(), Greedy(), Stall()) for bad in (math.nan, math.inf)
    ],
    *[
        (rule.observe, {"state": other.init(), "metric": 1.0},
         f"this rule goes on from a {type(rule).__name__}State; got a {type(other).__name__}State. "
         f"Begin with rule.init(), or restore {type(rule).__name__}State(**saved).")
        for rule in (Plateau(), Greedy(), Stall()) for other in (Plateau(), Greedy(), Stall()) if type(rule) is not type(other)
    ],
    (verdict, {"metrics": [1.0] * 12, "level": 0.0}, "level must be at least 1e-12; got 0.0."),
    (verdict, {"metrics": [1.0] * 12, "level": 0.5}, "level must be below 0.5; got 0.5."),
    (verdict, {"metrics": [1.0] * 12, "margin": 0.0}, "margin must be positive; got 0.0."),
    (verdict, {"metrics": ["a", "b"]}, "metrics must be a row of numbers; got ('a', 'b')."),
    (verdict, {"metrics": 3}, "metrics must be a sequence; got 3."),
    (verdict, {"metrics": [[1.0] * 3] * 2}, "metrics must be a row of numbers; got shape (2, 3)."),
    (verdict, {"metrics": np.ones((1, 9))}, "metrics must be a row of numbers; got shape (1, 9)."),
    (verdict, {"metrics": np.array(3.0)}, "metrics must be a row of numbers; got shape ()."),
    (verdict, {"metrics": [1.0, 2.0, math.inf, math.nan]},
     "metric 2 is inf; a verdict needs finite metrics, leave that part out."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "fields", "words"), [*PARAMETERS, *STATES, *CALLS])
def test_what_is_refused_says_which_why_and_what_to_do(
    call: Callable[..., Any], fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(DwindleError) as caught:
        call(**fields)
    kind = (
        UnknownNameError if "is not known" in words else ResumeError if "goes on from" in words else InvalidValueError
    )
    assert type(caught.value) is kind
    assert str(caught.value) == words if words.endswith(".") else str(caught.value).startswith(words)


ACCEPTED: list[tuple[type, dict[str, Any], dict[str, Any]]] = [
    (Plateau, {"patience": 3.0, "cooldown": 2.0, "warmup_steps": 4.0, "min_lr": 0, "eps": 0, "peak": 2, "warmup_lr": 0},
     {"patience": 3, "cooldown": 2, "warmup_steps": 4, "min_lr": 0.0, "eps": 0.0, "peak": 2.0, "warmup_lr": 0.0}),
    (Plateau, {"threshold": 1, "threshold_mode": "abs"}, {"threshold": 1.0}),
    (Plateau, {"threshold": 2, "mode": "max"}, {"threshold": 2.0}),
    (Plateau, {"threshold": np.float32(0.5)}, {"threshold": 0.5}),
    (Plateau, {"threshold": math.nextafter(1, 0)}, {"threshold": 1 - 2**-53}),
    (Plateau, {"factor": np.float32(0.5)}, {"factor": 0.5}),
    (Greedy, {"warmup": 2.0, "window": 1.0, "reset_after": 1.0, "max_lr": 1, "min_lr": 1},
     {"warmup": 2, "window": 1, "reset_after": 1, "max_lr": 1.0, "min_lr": 1.0}),
    (Greedy, {"window": None, "reset_after": None, "max_lr": None, "patience": 0},
     {"window": None, "reset_after": None, "max_lr": None, "patience": 0}),
    (Stall, {"window": 10.0, "rest": 10.0, "every": 1.0, "cut_on": ["rising", "noisy"], "level": np.float32(0.25), "margin": 1},
     {"window": 10, "rest": 10, "every": 1, "cut_on": ("rising", "noisy"), "level": 0.25, "margin": 1.0}),
    (PlateauState, {"step": 3.0, "lr": 1, "best": 2, "bad": 1.0, "cooldown_left": 2.0},
     {"step": 3, "lr": 1.0, "best": 2.0, "bad": 1, "cooldown_left": 2}),
    (GreedyState, {"step": 3.0, "lr": 1, "good": 1.0, "warmup_left": 2.0, "floor_cuts": 3.0, "window": [1, 2], "total": 3},
     {"step": 3, "lr": 1.0, "good": 1, "warmup_left": 2, "floor_cuts": 3, "window": (1.0, 2.0), "total": 3.0}),
    (StallState, {"step": 3.0, "lr": 0, "recent": [1, 2], "since_cut": 1.0, "cuts": 2.0},
     {"step": 3, "lr": 0.0, "recent": (1.0, 2.0), "since_cut": 1, "cuts": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "kept"), ACCEPTED)
def test_what_is_accepted_is_kept_in_its_plain_type(kind: type, given: dict[str, Any], kept: dict[str, Any]) -> None:
    built = kind(**given)
    for name, wanted in kept.items():
        found = getattr(built, name)
        assert (found, type(found)) == (wanted, type(wanted)), name


def test_the_defaults_are_those_of_the_sources() -> None:
    assert Plateau() == Plateau(
        0.1, 10, 1e-4, "rel", "min", 0, 0.0, 0.0, 0, 0.0, "raise", 1.0, False
    )  # torch's, but for eps
    assert Greedy() == Greedy(0.95, 10, 1e-6, "abs", "min", 0, 0, 0.0, None, 0.0, None, 500, "raise", 1.0)
    assert Stall() == Stall(0.5, 40, 0.05, 1.0, ("oscillating", "flat"), None, None, "min", 0.0, 0.0, "raise", 1.0)
    assert PlateauState(3, 0.5) == PlateauState(3, 0.5, None, 0, 0)
    assert GreedyState(3, 0.5) == GreedyState(3, 0.5, None, 0, 0, 0, 0, 0, (), 0.0)
    assert StallState(3, 0.5) == StallState(3, 0.5, (), 0, 0, "too short")
    said = inspect.signature(verdict).parameters.values()
    assert {p.name: p.default for p in said if p.kind is p.KEYWORD_ONLY} == {"level": 0.05, "margin": 1.0}
    assert (
        [rule().observes_first for rule in (Plateau, Greedy, Stall)] == [FeedbackRule.observes_first] * 3 == [False] * 3
    )
    for rule in (Plateau(peak=0.3), Greedy(peak=0.3), Stall(peak=0.3)):
        assert rule.init() == type(rule.init())(0, 0.3)
    assert Plateau(warmup_steps=1, warmup_lr=0.2, peak=0.3).init() == PlateauState(0, 0.2)


# --- moves by hand ----------------------------------------------------------------------------------------------------

RATTLED = StallState(9, 0.5, (*(1.0, 0.0) * 4, 1.0), 9, 2)
PATIENT = Greedy(0.5, patience=1, cooldown=3, warmup=2, max_lr=3.0, min_lr=0.5, threshold=0.0, reset_after=3)
WINDOW = Greedy(0.5, patience=9, window=2)
MOVES: list[tuple[FeedbackRule[Any], Any, float, Any]] = [
    # Plateau: better by more than the threshold only, in both modes and both ways to measure it
    *[
        (Plateau(0.5, 5, 0.25, way, mode), PlateauState(4, 1.0, 2.0, 3), metric, PlateauState(5, 1.0, best, bad))
        for way, mode, metric, best, bad in [
            ("rel", "min", 1.5, 2.0, 4), ("rel", "min", 1.4375, 1.4375, 0), ("rel", "max", 2.5, 2.0, 4),
            ("rel", "max", 2.625, 2.625, 0), ("abs", "min", 1.75, 2.0, 4), ("abs", "min", 1.625, 1.625, 0),
            ("abs", "max", 2.25, 2.0, 4), ("abs", "max", 2.375, 2.375, 0),
        ]
    ],
    (Plateau(0.5, 2), PlateauState(4, 1.0, 2.0, 1), 2.0, PlateauState(5, 1.0, 2.0, 2)),
    (Plateau(0.5, 2, cooldown=3), PlateauState(4, 1.0, 2.0, 2), 2.0, PlateauState(5, 0.5, 2.0, 0, 3)),
    (Plateau(0.5, 2, cooldown=3), PlateauState(4, 1.0, 2.0, 2, 1), 1.0, PlateauState(5, 1.0, 1.0, 0, 0)),
    (Plateau(0.5, 0, eps=0.25), PlateauState(4, 0.5, 2.0), 2.0, PlateauState(5, 0.5, 2.0)),
    (Plateau(0.5, 0, eps=0.24), PlateauState(4, 0.5, 2.0), 2.0, PlateauState(5, 0.25, 2.0)),
    (Plateau(0.5, 0, min_lr=0.4), PlateauState(4, 0.5, 2.0), 2.0, PlateauState(5, 0.4, 2.0)),
    (Plateau(0.5, 0, min_lr=0.4), PlateauState(4, 0.3, 2.0), 2.0, PlateauState(5, 0.3, 2.0)),
    (Plateau(0.5, 3, nan="ignore"), PlateauState(4, 0.3, 2.0, 2, 1), math.nan, PlateauState(5, 0.3, 2.0, 2, 1)),
    (Plateau(0.5, 3, nan="worse"), PlateauState(4, 0.3, 2.0, 2), math.inf, PlateauState(5, 0.3, 2.0, 3)),
    (Plateau(0.5, 3, nan="worse"), PlateauState(4, 0.3), math.nan, PlateauState(5, 0.3, None, 1)),
    (Plateau(0.5, 3), PlateauState(4, 0.3), 7, PlateauState(5, 0.3, 7.0)),
    (Plateau(0.5, 0, warmup_steps=4, warmup_lr=0.5, peak=2.5), PlateauState(2, 9.0, 1.0), 5.0, PlateauState(3, 2.0, 1.0)),
    (Plateau(0.5, 0, warmup_steps=4, warmup_lr=0.5, peak=2.5), PlateauState(3, 2.0, 1.0), 5.0, PlateauState(4, 2.5, 1.0)),
    (Plateau(0.5, 0, warmup_steps=4, warmup_lr=0.5, peak=2.5), PlateauState(4, 2.5, 1.0), 5.0, PlateauState(5, 1.25, 1.0)),
    # Greedy: passed over while cooling down or warming up, and the counts begin anew
    (PATIENT, GreedyState(4, 1.0, 2.0, 1, 1, 2, 2, 1), 1.0, GreedyState(5, 1.0, 2.0, 0, 0, 1, 2, 1)),
    (PATIENT, GreedyState(4, 1.0, 2.0, 1, 1, 0, 2, 1), 1.0, GreedyState(5, 1.0, 2.0, 0, 0, 0, 1, 1)),
    (PATIENT, GreedyState(4, 1.0, 2.0, 0, 1), 1.0, GreedyState(5, 1.0, 1.0, 1, 0)),
    (PATIENT, GreedyState(4, 1.0, 2.0, 1, 0), 2.0, GreedyState(5, 1.0, 2.0, 0, 1)),
    (PATIENT, GreedyState(4, 1.0, 2.0, 1, 0, 0, 0, 2), 1.0, GreedyState(5, 2.0, 1.0, 0, 0, 0, 2, 0)),
    (PATIENT, GreedyState(4, 2.0, 2.0, 1), 1.0, GreedyState(5, 3.0, 1.0, warmup_left=2)),
    (PATIENT, GreedyState(4, 4.0, 2.0, 1), 1.0, GreedyState(5, 4.0, 1.0, warmup_left=2)),
    (PATIENT, GreedyState(4, 2.0, 2.0, 0, 1, 0, 0, 1), 3.0, GreedyState(5, 1.0, 2.0, 0, 0, 3, 0, 1)),
    (PATIENT, GreedyState(4, 1.0, 2.0, 0, 1), 3.0, GreedyState(5, 0.5, 2.0, 0, 0, 3, 0, 1)),
    (PATIENT, GreedyState(4, 0.4, 2.0, 0, 1, 0, 0, 1), 3.0, GreedyState(5, 0.4, 2.0, 0, 0, 3, 0, 2)),
    (PATIENT, GreedyState(4, 0.5, 2.0, 0, 1, 0, 0, 2), 3.0, GreedyState(5, 1.0, cooldown_left=3)),
    (dataclasses.replace(PATIENT, reset_after=None), GreedyState(4, 0.5, 2.0, 0, 1, 0, 0, 9), 3.0,
     GreedyState(5, 0.5, 2.0, 0, 0, 3, 0, 10)),
    # to stand at the floor is no cut: only a cut that leaves the rate there is counted
    (PATIENT, GreedyState(4, 0.5, 2.0, 0, 1, 1, 0, 1), 3.0, GreedyState(5, 0.5, 2.0, 0, 0, 0, 0, 1)),
    (PATIENT, GreedyState(4, 0.5, 2.0, 0, 1, 0, 1, 1), 3.0, GreedyState(5, 0.5, 2.0, 0, 0, 0, 0, 1)),
    (PATIENT, GreedyState(4, 0.5, 2.0, 0, 0, 0, 0, 1), 3.0, GreedyState(5, 0.5, 2.0, 0, 1, 0, 0, 1)),
    (Greedy(0.5, 0, min_lr=0.5, max_lr=0.5), GreedyState(4, 0.25, 2.0, floor_cuts=1), 1.0, GreedyState(5, 0.5, 1.0)),
    (Greedy(0.5, 0, min_lr=0.5, nan="ignore"), GreedyState(4, 0.5, 2.0, floor_cuts=1), math.nan,
     GreedyState(5, 0.5, 2.0, floor_cuts=1)),
    (Greedy(0.5, 0, eps=0.5), GreedyState(4, 0.5, 2.0), 1.0, GreedyState(5, 0.5, 1.0)),
    (Greedy(0.5, 0, eps=0.49), GreedyState(4, 0.5, 2.0), 1.0, GreedyState(5, 1.0, 1.0)),
    (Greedy(0.5, 0, peak=2.0), GreedyState(4, 1.5, 2.0), 1.0, GreedyState(5, 2.0, 1.0)),  # no higher than the peak
    (Greedy(0.5, 0, peak=2.0, max_lr=1.75), GreedyState(4, 1.5, 2.0), 1.0, GreedyState(5, 1.75, 1.0)),
    (Greedy(nan="ignore"), GreedyState(4, 0.5, 2.0, 1, 0, 2, 3), -math.inf, GreedyState(5, 0.5, 2.0, 1, 0, 2, 3)),
    (WINDOW, GreedyState(0, 1.0), 3.0, GreedyState(1, 1.0, 3.0, 1, window=(3.0,), total=3.0)),
    (WINDOW, GreedyState(1, 1.0, 3.0, window=(3.0,), total=3.0), 4.0,
     GreedyState(2, 1.0, 3.0, bad=1, window=(3.0, 4.0), total=7.0)),
    (WINDOW, GreedyState(2, 1.0, 3.0, window=(3.0, 4.0), total=7.0), 1.0,
     GreedyState(3, 1.0, 2.5, 1, window=(4.0, 1.0), total=5.0)),
    (WINDOW, GreedyState(2, 1.0, 3.0, cooldown_left=1, window=(3.0,), total=3.0), 1.0,
     GreedyState(3, 1.0, 3.0, window=(3.0, 1.0), total=4.0)),
    (dataclasses.replace(WINDOW, nan="worse"), GreedyState(2, 1.0, 3.0, window=(3.0, 4.0), total=7.0), math.nan,
     GreedyState(3, 1.0, 3.0, bad=1, window=(3.0, 4.0), total=7.0)),
    # Stall: (1, 0) again and again rattles; before ten metrics and between its looks it says nothing new
    (Stall(), StallState(4, 0.5, (1.0,), 1, 2, "flat"), 0.0, StallState(5, 0.5, (1.0, 0.0), 2, 2, "flat")),
    (Stall(mode="max"), StallState(4, 0.5, (1.0,), 1, 2), 3.0, StallState(5, 0.5, (1.0, -3.0), 2, 2)),
    (Stall(nan="ignore"), StallState(4, 0.5, (1.0,), 1, 2, "flat"), math.nan, StallState(5, 0.5, (1.0,), 1, 2, "flat")),
    (Stall(peak=4.0), StallState(4, 2.0), 1.0, StallState(5, 2.0, (1.0,), 1)),
    (Stall(peak=4.0, nan="ignore"), StallState(4, 2.0), math.inf, StallState(5, 2.0)),
    (Stall(window=10, peak=0.5), RATTLED, 0.0, StallState(10, 0.25, (), 0, 3, "oscillating")),
    (Stall(window=10), RATTLED, 0.0, StallState(10, 0.25, (), 0, 3, "oscillating")),
    (Stall(window=10, eps=0.25), RATTLED, 0.0, StallState(10, 0.5, (), 0, 3, "oscillating")),
    (Stall(window=10, min_lr=0.4), RATTLED, 0.0, StallState(10, 0.4, (), 0, 3, "oscillating")),
    (Stall(window=10, cut_on=("flat",)), RATTLED, 0.0,
     StallState(10, 0.5, (1.0, 0.0) * 5, 10, 2, "oscillating")),
    (Stall(window=10), StallState(9, 0.5, (0.0, 1.0) * 5, 10, 2, "noisy"), 0.0,
     StallState(10, 0.5, (1.0, 0.0) * 5, 11, 2, "noisy")),
    (Stall(window=10), StallState(9, 0.5, (0.0, 1.0) * 5, 12, 2), 0.0, StallState(10, 0.25, (), 0, 3, "oscillating")),
    (Stall(window=10, rest=12), StallState(9, 0.5, (0.0, 1.0) * 5, 11, 2), 0.0, StallState(10, 0.25, (), 0, 3, "oscillating")),
    (Stall(window=20, rest=10), dataclasses.replace(RATTLED, cuts=0), 0.0, StallState(10, 0.25, (), 0, 1, "oscillating")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "state", "metric", "wanted"), MOVES)
def test_one_metric_moves_the_state_so(rule: FeedbackRule[Any], state: Any, metric: float, wanted: Any) -> None:
    assert rule.observe(state, metric) == (wanted.lr / rule.peak, wanted)


@pytest.mark.parametrize(
    ("rule", "looks"),
    [
        (Stall(window=10), [10, 13, 16, 19]),
        (Stall(window=12), [12, 15, 18]),
        (Stall(window=13), [13, 17]),
        (Stall(window=13, every=1), [13, 14, 15, 16, 17, 18, 19, 20]),
        (Stall(window=10, rest=15, every=2), [15, 17, 19]),
    ],
)
def test_it_looks_after_its_rest_and_then_ever_so_often(rule: Stall, looks: list[int]) -> None:
    """A falling line is never cut, so that the only trace of a look is the verdict."""
    found = []
    for seen in range(20):
        before = StallState(seen, 1.0, tuple(float(-t) for t in range(seen))[-rule.window :], seen, kind="noisy")
        _, after = rule.observe(before, -seen)
        assert after.recent == tuple(float(-t) for t in range(seen + 1))[-rule.window :]
        found += [after.since_cut] if after.kind == "falling" else []
    assert found == looks


def test_it_asks_with_its_own_level_and_margin() -> None:
    falling, still = line(20, -2.0) + drawn(21, 20), drawn(30, 30)
    p = verdict(falling).p_values["trend"]
    low, noise = verdict(still).slope_interval[0], verdict(still).noise
    for y, rule, kind in (
        (falling, Stall(window=20, level=1.01 * p), "falling"),
        (falling, Stall(window=20, level=0.99 * p), "noisy"),
        (still, Stall(window=30, margin=-29 * low / noise * 1.01), "flat"),
        (still, Stall(window=30, margin=-29 * low / noise * 0.99), "noisy"),
    ):
        before = StallState(len(y) - 1, 1.0, tuple(y[:-1].tolist()), len(y) - 1)
        assert rule.observe(before, y[-1])[1].kind == kind


@pytest.mark.parametrize("kind", [Plateau, Greedy, Stall, PlateauState, GreedyState, StallState, Verdict])
def test_rules_states_and_verdicts_are_frozen_and_slim(kind: type) -> None:
    value = (
        kind(0, 1.0) if kind in (PlateauState, GreedyState, StallState) else kind("flat") if kind is Verdict else kind()
    )
    assert not hasattr(value, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, 2)


def test_a_rate_in_use_is_scaled_or_is_absolute() -> None:
    plain, own = Plateau(0.5, 0), Plateau(0.5, 0, peak=0.25)
    assert plain.rate(PlateauState(4, 0.5), 0.25) == 0.125
    assert own.rate(PlateauState(4, 0.125), 0.25) == 0.125
    metrics = [1.0, 1.0, 1.0]
    for rates in (own.lrs(metrics), own.lrs(metrics, 0.25), plain.lrs(metrics, 0.25)):
        assert rates.tolist() == [0.25, 0.25, 0.125]
    assert own.factors(metrics).tolist() == plain.lrs(metrics, 1.0).tolist() == [1.0, 1.0, 0.5]
    first = dataclasses.replace(plain, observes_first=True)  # the metric of index 0, before the run, is not observed
    assert first.factors([0.0, 1.0, 1.0, 0.5, 1.0]).tolist() == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert plain.lrs([]).tolist() == []


def test_rules_together_are_as_many_as_their_states() -> None:
    rules = [Greedy(0.5, 0, peak=0.8), Greedy(0.5, 0, peak=0.4)]
    with pytest.raises(ValueError, match="zip"):
        observe_together(rules, [rules[0].init()], 1.0)
    factors, states = observe_together(rules, [GreedyState(4, 0.8, 1.0), GreedyState(4, 0.2, 1.0)], 2.0)
    assert (factors, states) == ((0.5, 0.25), (GreedyState(5, 0.4, 1.0), GreedyState(5, 0.1, 1.0)))


def test_a_floor_of_one_group_counts_for_none() -> None:
    rules = [Greedy(0.5, 0, min_lr=floor, reset_after=5) for floor in (0.5, 0.25)]
    apart = observe_together(rules, [GreedyState(4, 1.0, 1.0, floor_cuts=1)] * 2, 2.0)[1]
    assert [(state.lr, state.floor_cuts) for state in apart] == [(0.5, 1), (0.5, 1)]
    both = observe_together(rules, apart, 2.0)[1]
    assert [(state.lr, state.floor_cuts) for state in both] == [(0.5, 2), (0.25, 2)]
    risen = observe_together(rules, both, 0.0)[1]
    assert [(state.lr, state.floor_cuts) for state in risen] == [(1.0, 0), (0.5, 0)]
    patient = [dataclasses.replace(rule, patience=1) for rule in rules]
    waiting = observe_together(patient, both, 2.0)[1]
    assert [(state.lr, state.floor_cuts) for state in waiting] == [(0.5, 2), (0.25, 2)]


# --- the verdict, worked out anew -------------------------------------------------------------------------------------


def off_parabola(y: Array, rounds: int = 4) -> Array:
    """Residuals about a parabola, after so many rounds in which what is beyond 2.5 deviations is cut from y."""
    x = np.linspace(-1, 1, len(y))
    rest: Array = y - np.polyval(np.polyfit(x, y, 2), x)
    for _ in range(rounds):
        bound = 2.5 * 1.4826 * np.median(np.abs(rest))
        y = y - np.where(np.abs(rest) > bound, rest - np.sign(rest) * bound, 0.0)
        rest = y - np.polyval(np.polyfit(x, y, 2), x)
    return rest


def autocorrelation(rest: Array) -> float:
    """The root r of r̂ = r - (3 + 5r)/n."""
    n, found = len(rest), rest[1:] @ rest[:-1] / (rest @ rest)
    return float((found + 3 / n) / (1 - 5 / n))


def trend(y: Array, level: float) -> tuple[float, tuple[float, float], float, float, float]:
    """Slope, interval, direction, p_S and p_sign, as the docstring of verdict has them."""
    block = math.ceil(len(y) / 512)
    y = np.array([y[len(y) - block * (k + 1) : len(y) - block * k].mean() for k in reversed(range(len(y) // block))])
    n = len(y)
    upper = np.triu_indices(n, 1)
    differences = (y[None, :] - y[:, None])[upper]
    slopes = np.sort(differences / (np.arange(n)[None, :] - np.arange(n)[:, None])[upper])
    score = int(np.sign(differences).sum())
    ties = np.unique(y, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - sum(int(u) * (int(u) - 1) * (2 * int(u) + 5) for u in ties)) / 18
    r = float(np.clip(autocorrelation(off_parabola(y)), 0, 0.95))
    effective = n * (1 - r) / (1 + r)
    spread = math.sqrt(variance * n / effective)
    t = stats.t(max(effective - 2, 1))
    p_score = 2 * t.sf(max(abs(score) - 1, 0) / spread)
    reach = t.isf(0.9 * level / 2) * spread + 1
    low = max(math.floor((len(slopes) - reach) / 2), 0)
    interval = float(slopes[low]), float(slopes[::-1][low])
    steps = np.sort(np.diff(y))
    falls, rises = int((steps < 0).sum()), int((steps > 0).sum())
    p_sign = stats.binomtest(falls, falls + rises).pvalue
    if p_score > 0.9 * level and p_sign <= 0.1 * level:
        depth = max(d for d in range(n // 2) if 2 * stats.binom.cdf(d, n - 1, 0.5) <= 0.1 * level)
        interval, score = (float(steps[depth]), float(steps[::-1][depth])), rises - falls
    return float(np.median(slopes)) / block, (interval[0] / block, interval[1] / block), score, p_score, p_sign


def alternation(rest: Array) -> float:
    """P(r <= the one found) for white noise: the two matrices of the docstring, whole."""
    n = len(rest)
    q = np.linalg.qr(np.vander(np.arange(n) / n, 3))[0]
    m, b = np.eye(n) - q @ q.T, (np.eye(n, k=1) + np.eye(n, k=-1)) / 2
    v, first, second = n - 3, np.trace(m @ b), np.trace(m @ b @ m @ b)
    mean, variance = (1 + first / v) / 2, 2 * (v * second - first**2) / (v**2 * (v + 2)) / 4
    both = mean * (1 - mean) / variance - 1
    return float(stats.beta(mean * both, (1 - mean) * both).cdf((1 + rest @ b @ rest / (rest @ rest)) / 2))


def cycle(rest: Array) -> float:
    """Fisher's p for three cycles or more below the Nyquist frequency, the transform as a sum."""
    n, r = len(rest), float(np.clip(autocorrelation(rest), 0, 0.98))
    white = rest[1:] - r * rest[:-1]
    ks = [k for k in range(2, n) if 2 * k < n - 1]
    power = np.abs(np.exp(-2j * np.pi * np.outer(ks, np.arange(n - 1)) / (n - 1)) @ white) ** 2
    top = ks[np.argmax(power)]
    crossings = np.sum(rest[1:] * rest[:-1] < 0)
    if ks[-1] < 5 or top == 2 or crossings < 4 * top / 3:
        return 1.0
    m = len(ks) - 1
    return float(min(1.0, m * (1 - power.max() / power[1:].sum()) ** (m - 1)))


def deviation(rest: Array, fitted: int) -> float:
    return float(min(np.sqrt(np.sum(rest**2) / (len(rest) - fitted)), 1.4826 * np.median(np.abs(rest))))


def rhythm(rest: Array) -> tuple[float, float, float]:
    n, x = len(rest), np.linspace(-1, 1, len(rest))
    grid = np.arange(48, 8 * n + 1) / (16 * n)
    best = grid[np.argmax(np.abs(np.exp(-2j * np.pi * np.outer(grid, np.arange(n))) @ rest))]
    waves = [np.cos(2 * np.pi * best * np.arange(n)), np.sin(2 * np.pi * best * np.arange(n))][
        : 1 if best == 0.5 else 2
    ]
    basis = np.array([*waves, x**0, x, x**2]).T
    parts = np.linalg.pinv(basis) @ rest
    return 1 / best, math.hypot(*parts[: len(waves)]), deviation(rest - basis @ parts, len(parts))


def worked_out(y: Array, level: float, margin: float) -> tuple[str, list[float], list[float], dict[str, float]]:
    """(kind, [slope, low, high, noise], [period, amplitude] or [], p_values)."""
    slope, interval, sign, p_score, p_sign = trend(y, level)
    rest = off_parabola(y)
    p = {
        "trend": min(1.0, p_score / 0.9, p_sign / 0.1),
        "oscillation": min(1.0, 2 * min(alternation(rest), cycle(rest))),
    }
    noise, swing = deviation(rest, 3), list[float]()
    if p["trend"] <= level and sign < 0:
        kind = "falling"
    elif p["oscillation"] <= level / 10:
        kind, (*swing, noise) = "oscillating", rhythm(rest)
    elif p["trend"] <= level:
        kind = "rising"
    else:
        kind = "flat" if interval[0] * (len(y) - 1) >= -margin * noise else "noisy"
    return kind, [slope, *interval, noise], swing, p


def drawn(seed: int, n: int) -> Array:
    return np.random.default_rng(seed).standard_normal(n)


def walk(seed: int, n: int, r: float) -> Array:
    y, steps = np.zeros(n), drawn(seed, n)
    for t in range(n):
        y[t] = r * y[t - 1] * (t > 0) + steps[t]
    return y


def line(n: int, rise: float = 1.0) -> Array:
    return np.linspace(0, rise, n)


def wave(n: int, period: float, phase: float = 0.3) -> Array:
    made: Array = np.sin(2 * np.pi * np.arange(n) / period + phase)
    return made


SERIES: dict[str, Array] = {
    **{f"white {n}": drawn(n, n) for n in (10, 11, 12, 13, 20, 31, 40)},
    **{f"correlated {n}": walk(n, n, 0.6) for n in (12, 25, 40)},
    **{f"a random walk {n}": walk(n, n, 1.0) for n in (12, 30, 60)},
    **{f"{rise:g} over {n}": line(n, rise) + drawn(n + 1, n) for rise in (-4.0, -1.0, 3.0) for n in (15, 40)},
    **{f"ties {n}": np.round(2 * drawn(n, n) + line(n, 2.0)) for n in (12, 24, 33)},
    **{f"exponential {n}": np.exp(-3 * line(n)) + 1e-3 * drawn(n, n) for n in (11, 40)},
    **{f"smooth {n}": sign * np.exp(-3 * line(n)) for n, sign in ((12, 1.0), (40, 1.0), (41, -1.0))},
    "a smooth bump": (line(30) - 0.5) ** 2 + 0.1 * line(30) ** 3,
    **{f"period {p:g} over {n}": wave(n, p) + 0.3 * drawn(n, n)
       for p, n in ((2, 12), (2.3, 21), (3, 24), (4, 12), (4, 11), (8, 40), (9.7, 61), (13, 39))},
    "a rattle": np.tile([0.5, 0.42], 8) + 1e-3 * drawn(1, 16),
    "a rattle that rises": np.tile([0.5, 0.42], 10) + line(20, 0.5) + 0.02 * drawn(2, 20),
    "a rattle that falls": np.tile([0.5, 0.42], 10) - line(20, 0.5) + 0.02 * drawn(2, 20),
    "two cycles": wave(40, 20) + 0.1 * drawn(3, 40),
    "spikes": drawn(4, 40) + 30.0 * (np.arange(40) % 11 == 5),
    "a small rattle and a spike": np.tile([0.01, -0.01], 20) + 1e-3 * drawn(10, 40) + (np.arange(40) == 17),
    "mostly still": np.where(np.arange(30) % 3 == 0, drawn(5, 30), 0.05 * drawn(6, 30)),
    "far from zero": 1e4 + drawn(7, 25),
    "below zero": -5.0 + 0.1 * drawn(8, 25) - line(25, 0.2),
    "a long wave": wave(150, 25) + drawn(9, 150),
    **{f"long {n}": drawn(n, n) - line(n, 0.3) for n in (512, 513)},
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
def test_the_verdict_is_what_its_formulas_say(name: str) -> None:
    y = SERIES[name]
    for level, margin in ((0.05, 1.0), (0.3, 0.4), (0.002, 3.0)) if len(y) < 100 else ((0.05, 1.0),):
        found = verdict(y) if (level, margin) == (0.05, 1.0) else verdict(y, level=level, margin=margin)
        kind, numbers, swing, p_values = worked_out(y, level, margin)
        assert found.kind == kind
        np.testing.assert_allclose([found.slope, *found.slope_interval, found.noise], numbers, rtol=1e-8, atol=1e-11)
        assert [found.period, found.amplitude] == (pytest.approx(swing, rel=1e-8) if swing else [None, None])
        assert found.p_values == pytest.approx(p_values, rel=1e-6, abs=1e-15)


def test_the_series_call_for_every_verdict() -> None:
    assert {verdict(y).kind for y in SERIES.values()} == {"falling", "flat", "noisy", "oscillating", "rising"}


def test_a_verdict_that_rests_on_nothing_says_so() -> None:
    short = Verdict("too short")
    for found in (short, verdict([1.0, 2.0] * 4 + [3.0])):
        assert repr(found) == (
            "Verdict(kind='too short', slope=nan, slope_interval=(-inf, inf), period=None, amplitude=None, "
            "noise=nan, p_values={})"
        )
    assert Verdict("flat").p_values is not short.p_values
    for still in ([0.3] * 10, [0.0] * 10, [-7.0] * 12):
        found = verdict(still)
        assert found == Verdict("flat", 0.0, (0.0, 0.0), None, None, 0.0, {"trend": 1.0, "oscillation": 1.0})
        assert hash(found) == hash(dataclasses.replace(found, p_values={}))


def test_metrics_of_any_kind_count_as_float64() -> None:
    single = drawn(3, 20).astype(np.float32)
    assert verdict(single) == verdict([float(x) for x in single]) == verdict(float(x) for x in single)
    assert verdict(single.tolist()) == verdict(tuple(single))
    whole = (100 * drawn(3, 20)).astype(np.int8)
    assert verdict(whole) == verdict(whole.astype(np.float64))


@pytest.mark.parametrize(
    ("gap", "still", "rattles"), [(1, 1, 0), (8, 1, 0), (9, 0, 0), (12, 0, 0), (18, 0, 1), (40, 0, 1)]
)
def test_a_swing_of_rounding_is_still_and_one_of_twice_that_rattles(gap: int, still: bool, rattles: bool) -> None:
    """Rounding is up to 8 epsilon of the largest metric, in the swing and in a residual, which is half of it."""
    for top in (1.0, -4.0):
        found = verdict([top * (1.0 - gap * 2.0**-52 * (t % 2)) for t in range(40)])
        assert found.kind == ("oscillating" if rattles else "flat")
        assert (found.p_values["trend"] == 1.0) == still
        assert (found.p_values["oscillation"] == 1.0) == (not rattles)


def test_the_tests_share_the_level_as_nine_to_one() -> None:
    y = 1 / (1 + 5 * line(20)) + 0.02 * drawn(0, 20)  # p_S = 0.36, p_sign = 0.0044
    *_, p_score, p_sign = trend(y, 0.05)
    found = set()
    for edge in (p_score / 0.9, p_sign / 0.1):
        for level in (edge * (1 - 1e-6), edge * (1 + 1e-6)):
            slope, interval, sign, *_ = trend(y, level)
            part = _trend(y, level)
            assert [part.slope, *part.interval, part.sign] == pytest.approx([slope, *interval, sign], rel=1e-9)
            assert part.p == pytest.approx(p_sign / 0.1, rel=1e-9)
            found.add((part.interval, part.sign))
    assert len(found) == 4  # of either test, on either side of each edge


def hits(product: float, factor: float) -> float:
    """A number x with x * factor == product, to the bit."""
    near = [product / factor]
    for _ in range(4):
        near = [math.nextafter(near[0], 0.0), *near, math.nextafter(near[-1], math.inf)]
    return next(x for x in near if x * factor == product)


def test_a_p_value_at_its_level_is_enough() -> None:
    for fall, kind in ((-1.0, "falling"), (1.0, "rising")):
        y = line(20, 2.0 * fall) + drawn(21, 20)
        p = verdict(y).p_values["trend"]
        assert 1e-6 < p < 0.5
        assert verdict(y, level=p).kind == kind
        assert verdict(y, level=math.nextafter(p, 0.0)).kind in ("flat", "noisy")
    y = wave(24, 3) + 0.6 * drawn(20, 24)
    p = verdict(y).p_values["oscillation"]
    level = hits(p, 0.1)
    assert 1e-6 < level < verdict(y).p_values["trend"]
    assert verdict(y, level=level).kind == "oscillating"
    assert verdict(y, level=math.nextafter(level, 0.0)).kind in ("flat", "noisy")


def test_a_fall_of_just_the_margin_is_flat() -> None:
    y = drawn(30, 30)
    y = (y - y.min()) / np.ptp(y)  # its largest and its swing are 1: the numbers of the verdict are those it compares
    found = verdict(y)
    margin = hits(-found.slope_interval[0] * 29, found.noise)
    assert 0.1 < margin < 10
    assert verdict(y, margin=margin).kind == "flat"
    assert verdict(y, margin=math.nextafter(margin, 0.0)).kind == "noisy"


# --- its parts, where no series leads to their edge -------------------------------------------------------------------


def test_the_number_of_falls_is_binomial() -> None:
    for falls, rises, still in (
        (3, 9, 0),
        (0, 7, 0),
        (9, 3, 2),
        (5, 5, 0),
        (6, 5, 1),
        (0, 1, 11),
        (0, 0, 9),
        (1, 20, 0),
    ):
        steps = np.array([-1.0] * falls + [0.0] * still + [0.5] * rises)
        n = len(steps)
        for level in (0.5, 0.05, 2.0**-6, 2.0 * 22 / 2**21, 1e-9):
            p, depth = _difference_signs(steps, level)
            assert p == pytest.approx(stats.binomtest(falls, falls + rises).pvalue if falls + rises else 1.0, rel=1e-12)
            assert depth == sum(2 * stats.binom.cdf(d, n, 0.5) <= level for d in range(n // 2 + 1)) - 1


def test_the_interval_is_that_of_the_test_which_rejects() -> None:
    y = 1 / (1 + 5 * line(30)) + 0.01 * drawn(6, 30)
    steps = np.sort(np.diff(y))
    p, depth = _difference_signs(steps, 0.1)
    assert p == pytest.approx(stats.binomtest(5, 29).pvalue, rel=1e-12)  # 24 falls, 5 rises
    level = hits(p, 0.1)
    found, below = _trend(y, level), _trend(y, math.nextafter(level, 0.0))
    assert (found.interval, found.sign) == ((steps[5], steps[-6]), -19.0)
    assert below.sign < -400
    assert below.p == found.p == pytest.approx(10 * p, rel=1e-12)
    assert depth == max(d for d in range(15) if stats.binom.cdf(d, 29, 0.5) <= 0.05)


def test_cuts_and_their_limits() -> None:
    """Without a basis the residual is the series itself."""
    none = np.zeros((9, 3))
    small = np.array([1e-13, *[0.0] * 8])
    assert not _residual(small, none, 0.0).any()
    assert _residual(2 * small, none, 0.0).tolist() == (2 * small).tolist()
    assert not _residual(2 * small, none, 1e-13).any()
    assert not _residual(small + 0.5, none, 0.5).any()
    assert _residual(small + 0.5, none, 0.499).tolist() == (small + 0.5).tolist()
    spike = np.array([*[0.0] * 8, 1.0])
    assert _residual(spike, none, 0.0).tolist() == spike.tolist()  # half of it is 0: there is no deviation to cut to
    ones = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 9.0, -9.0])
    assert _residual(ones, none, 0.0)[-2:].tolist() == pytest.approx([2.5 * 1.4826, -2.5 * 1.4826])


def test_autocorrelation_and_what_it_leaves_of_the_size() -> None:
    rest = np.array([2.0, 1.0, -1.0, -3.0, 1.0, 2.0, -2.0])  # products 2 - 1 + 3 - 3 + 2 - 4 = -1, squares 24
    assert _lag_one(rest) == pytest.approx((7 * -1 / 24 + 3) / 2, rel=1e-15)
    assert _effective_size(line(12) ** 2) == 12.0  # nothing is left
    assert _effective_size(np.tile([1.0, -1.0], 6)) == 12.0  # a negative r is none
    assert _effective_size(line(40) ** 3) == pytest.approx(40 * 0.05 / 1.95, rel=1e-12)  # and r is at most 0.95


def test_a_cycle_must_cross_zero() -> None:
    """Four crossings are enough for three cycles, eight for six: two in three of a sinusoid's."""
    t = np.arange(36)
    for cycles, shift, crossings in ((3, 0.3, 4), (3, 0.4, 2), (6, 0.2, 8), (6, 0.3, 6)):
        rest = np.exp(-t / 10) * np.cos(2 * np.pi * cycles * (t + 0.5) / 36) + shift / 2
        assert int((rest[1:] * rest[:-1] < 0).sum()) == crossings
        assert (_p_cycle(rest) < 0.01) == (3 * crossings >= 4 * cycles)
        assert _p_cycle(rest) == pytest.approx(cycle(rest), rel=1e-6)
    rest[20] = rest[30] = 0.0  # to touch it is not to cross it
    assert _p_cycle(rest) == 1.0
    for n in (20, 31, 40):
        noise = off_parabola(drawn(n, n))
        assert _p_cycle(noise) == pytest.approx(cycle(noise), rel=1e-6)
    assert (
        max(_p_cycle(off_parabola(drawn(seed, 40))) for seed in range(40)) == 1.0
    )  # a share below 1/m is no more than chance
