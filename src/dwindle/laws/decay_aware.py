"""A law that knows weight decay: what decay takes from the weights it takes from progress, from their start and from noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dwindle.errors import DataError, InvalidValueError
from dwindle.laws.average import doses
from dwindle.laws.features import Features
from dwindle.laws.law import Law, Parameter
from dwindle.laws.noise_floor import NOISE_FLOOR
from dwindle.laws.runs import Run
from dwindle.laws.solve import Curve, Frame, solved, usable
from dwindle.plan import Plan, as_plan
from dwindle.units import Horizon, as_horizon

__all__ = ["DECAY_AWARE", "Decayed", "FittedDecay", "fit_decayed", "left_of"]

_PIECES = 64  # of a run, in each of which the rate and what decay takes keep their ratio
_APART = 1.5  # times: how far the least and the most decay of the runs must be apart
_FORGOTTEN = 50.0  # log of what is left: less is nothing


@dataclass(frozen=True, eq=False)
class Decayed:
    """A ``run``, and the ``share`` a, float64 of shape [T], that decay takes of each weight in each of its steps.

    Of decoupled decay a = lr·λ, of independent decay f·λ; 0 is no decay. Of l2 under Adam there is no such share.

    Raises InvalidValueError unless there is one share for each step of the run, 0 ≤ a < 1.

    >>> lr = np.full(1000, 3e-4)
    >>> run = Run(lr, step=[200, 400, 800, 1000], loss=[4.0, 3.5, 3.3, 3.2])
    >>> round(Decayed(run, 0.1 * lr).pace, 12)
    0.1
    """

    run: Run
    share: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", _shares(self.share, len(self.run.lr), self.run.name))

    @classmethod
    def of(cls, plan: Plan, horizon: Horizon | int, step: Any, loss: Any, *, name: str = "run") -> Decayed:
        """Return the run of a ``plan`` over ``horizon`` that logged ``loss`` after ``step`` steps.

        >>> from dwindle.decay import Decoupled
        >>> Decayed.of(Plan(0.5, decay=Decoupled(0.1)), 8, [2, 4, 6, 8], [4.0, 3.5, 3.3, 3.2]).share[:2]
        array([0.05, 0.05])
        """
        plan = as_plan(plan)
        if plan.decay is not None and plan.decay.cautious:
            raise InvalidValueError(f"{name}: cautious decay takes no one share of all weights; the law needs one.")
        lr, share = doses(plan, as_horizon(horizon), None)
        return cls(Run(lr, step, loss, name), share)

    @property
    def pace(self) -> float:
        """Σ share / Σ lr: the λ of decoupled decay that takes as much."""
        return float(self.share.sum() / self.run.lr.sum())


class _Taken(NamedTuple):
    """What decay took of a run, seen from n points: K = -Σ log(1 - a), so that e^-K of the first weights is left.

    ``all`` [n]: K up to each point; ``since`` [n, k]: from each of the k changes of the rate to the point, 0 before it. Of m
    pieces of the run: ``travelled`` [m], Σ lr; ``within`` [m], K; ``steps`` [m]; ``after`` [n, m], K from the end of the piece
    to the point; ``done`` [n, m]: 1 where the piece lies before the point, else 0.
    """

    all: Any
    since: Any
    travelled: Any
    within: Any
    steps: Any
    after: Any
    done: Any


def left_of(seen: Features, strength: float) -> Any:
    """Return T_ω [n] = Σ_i r_i Π_{j>i} (1 - a_j)^ω, the distance travelled that decay of ``strength`` ω has left at each point.

    r is the rate over its peak, in the units of ``seen``, and a what decay takes. Exact where r/a is constant, as it is for
    decoupled decay; else to the second order of its change within 1/64 of the run. ω = 0 leaves all.
    """
    taken: _Taken = seen.extra
    each = taken.travelled * _mean(strength * taken.within) / _mean(strength * taken.within / taken.steps)
    return (np.exp(-strength * taken.after) * taken.done) @ each


def _mean(x: Any) -> Any:
    """Return (1 - e^-x)/x, the mean of e^-x from 0 to x."""
    small = x < 1e-8
    return np.where(small, 1.0, -np.expm1(-x) / np.where(small, 1.0, x))


def _loss(values: Any, seen: Features) -> Any:
    alpha, offset, speed, kappa = (values[i] for i in (2, 3, 6, 8))
    start, strength = values[10:]
    taken: _Taken = seen.extra
    # G = 1 - e^-ωK/(1 + x) is x'/(1 + x') of x' = (1 + x)·e^ωK - 1, the effect of a longer way
    lost = np.expm1(np.minimum(strength * taken.since, _FORGOTTEN))
    since = seen.since + (seen.since + 1.0 / speed) * lost
    pulled = NOISE_FLOOR.loss(values[:10], seen._replace(travelled=left_of(seen, strength), since=since))
    undone = (seen.peak**kappa * (seen.travelled + offset).clip(1e-4)) ** -alpha
    return pulled + start * undone * np.exp(-2.0 * strength * taken.all)


DECAY_AWARE = Law(
    "decay-aware",
    (
        *NOISE_FLOOR.parameters,
        Parameter("start", 0.1, 1.5, kind="amount"),
        Parameter("strength", 1.0, 1.5),
    ),
    _loss,
)
"""L(t) = L∞ + A·(p^κ·(T_ω + T₀))^-α + S·(p^κ·(T + T₀))^-α·P^2ω + B·p^ψ·(1 - Σ_k (r_{k-1}^ρ - r_k^ρ)·G_k·(T_k + 0.05)^-φ)

    T_ω = Σ_i r_i Π_{j>i} (1 - a_j)^ω      P = Π_j (1 - a_j)      G_k = 1 - P_k^ω/(1 + c·(T - T_k))

with a what decay takes of the weights in a step, P what it leaves up to t, P_k from the change k to t, and all else as in
`NOISE_FLOOR`; S start, ω strength. What was learned is A and S together. Without decay, or with ω = 0, the law is
`NOISE_FLOOR` with the progress A + S. Decay forgets old updates, so that the distance that is left stops growing at the
time scale 1/a, and a bias (ω·λ)^α remains (A); it forgets the first weights, which training alone must undo (S, of which the
loss has the square); and it forgets the noise of a higher rate sooner (G). The first alone makes the loss worse with λ, the
second better, and so there is a best λ, lower at a higher rate and over a longer run.

Derived, for what a term looks like, from gradient descent on a quadratic whose curvatures h and squares of w* follow powers: a
direction keeps ((λ + h·e^-(h+λ)T)/(h + λ))² of its signal, the A term, and e^-2(h+λ)T of its start, the S term. Measured on the
shipped curves (`benchmarks/decay_curves.py`): a network of 10,000 weights, decoupled decay under AdamW, where ω is found near
1, the value that counts decay as it is; an assumption elsewhere.
"""


@dataclass(frozen=True, eq=False)
class FittedDecay:
    """`DECAY_AWARE` with the parameters that some runs have given it; ``notes`` say what was left out of them."""

    runs: tuple[Decayed, ...]
    notes: tuple[str, ...]
    _frame: Frame
    _values: Any

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters of the law by name, where losses are in the runs' own unit."""
        found = zip(DECAY_AWARE.parameters, self._values, strict=True)
        return {p.name: float(self._frame.own(value, p.kind)) for p, value in found}

    def loss(self, lr: Any, share: Any, at: Any) -> Any:
        """Return the loss [n] under the rates ``lr`` [T] and what decay takes, ``share`` [T], after ``at`` [n] steps."""
        rates = np.asarray(lr, dtype=np.float64)
        seen = _seen(self._frame, rates, _shares(share, len(rates), "share"), np.asarray(at))
        return self._frame.nats(DECAY_AWARE.loss(self._values, seen))

    def predict(self, plan: Plan, horizon: Horizon | int, at: Any) -> Any:
        """Return the loss [n] of a ``plan``, its decay included, over ``horizon`` after ``at`` [n] steps."""
        return self.loss(*doses(as_plan(plan), as_horizon(horizon), None), at)


def fit_decayed(runs: Iterable[Decayed]) -> FittedDecay:
    """Fit `DECAY_AWARE` to runs of at least two strengths of decay, as `fit` fits other laws to runs.

    Raises DataError if there is no run, if runs have nothing to do with each other, or if all decay about alike: the law
    then finds some strength that fits, and forecasts at another λ are worse than without it.

    >>> step, lr = np.arange(1, 41) * 25, np.full(1000, 1e-3)
    >>> runs = [Decayed(Run(lr, step, 2.0 + 0.1 * lam + (step / 100.0) ** -0.5), lam * lr) for lam in (0.0, 0.5, 1.0)]
    >>> fitted = fit_decayed(runs)
    >>> losses = [float(fitted.loss(lr, lam * lr, [1000])[0]) for lam in (0.0, 0.5, 1.0)]
    >>> losses == sorted(losses)
    True
    """
    given = list(runs)
    if given:
        _refuse_alike(given)
    # the names of runs need not differ, but tell here which share belongs to which
    named = {f"{place}: {decayed.run.name}": decayed for place, decayed in enumerate(given, 1)}
    kept, notes = usable([Run(d.run.lr, d.run.step, d.run.loss, name) for name, d in named.items()])
    frame = Frame(kept, DECAY_AWARE)
    data = [Curve(run, frame, _seen(frame, run.lr, named[run.name].share, run.step)) for run in kept]
    values, _ = solved(DECAY_AWARE, data)
    return FittedDecay(tuple(Decayed(run, named[run.name].share) for run in kept), tuple(notes), frame, values)


def _seen(frame: Frame, lr: Any, share: Any, step: Any) -> Features:
    """Return the features of a schedule, with what decay took beside them."""
    seen = frame.features(lr, step)
    taken = np.concatenate(([0.0], np.cumsum(-np.log1p(-share))))
    sums = np.concatenate(([0.0], np.cumsum(lr / lr.max()))) / frame.unit
    ends = np.union1d(step, np.linspace(0, len(lr), _PIECES + 1).astype(np.int64))
    ends = ends[ends > 0]
    begins = np.concatenate(([0], ends[:-1]))
    return seen._replace(
        extra=_Taken(
            taken[step],
            np.maximum(taken[step][:, None] - np.interp(seen.at, sums, taken), 0.0),
            sums[ends] - sums[begins],
            taken[ends] - taken[begins],
            ends - begins,
            np.maximum(taken[step][:, None] - taken[ends], 0.0),
            (ends <= step[:, None]).astype(np.float64),
        )
    )


def _shares(share: Any, steps: int, name: str) -> Any:
    found = np.array(share, dtype=np.float64)
    if found.shape != (steps,):
        raise InvalidValueError(
            f"{name}: share has the shape {found.shape}; give what decay takes in each of {steps} steps."
        )
    wrong = ~((found >= 0.0) & (found < 1.0))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InvalidValueError(
            f"{name}: decay takes the share {found[at]} in step {at}; the law knows shares from 0 to below 1. Lower lr·λ."
        )
    found.flags.writeable = False
    return found


def _refuse_alike(runs: list[Decayed]) -> None:
    paces = [decayed.pace for decayed in runs]
    low, high = min(paces), max(paces)
    if high < _APART * low or high == 0.0:
        raise DataError(
            f"the runs decay by λ = {low:.3g} to {high:.3g}, too much alike to tell what another λ does; add a run whose λ is "
            f"at least {_APART:g} times as far, or without decay."
        )
