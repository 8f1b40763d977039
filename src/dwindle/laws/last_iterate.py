"""The convex last-iterate bound of a schedule: where it stands at every step, its best peak, its best cooldown and shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dwindle.arrays import Array, row
from dwindle.errors import InvalidValueError, count, has_members, known, real
from dwindle.schedule import Constant, Ramp, Schedule, curve, warmup, wsd
from dwindle.units import Horizon, Time, as_horizon, as_time, in_steps, number_of_steps

__all__ = ["Cooldown", "Tuned", "best_cooldown", "best_factors", "best_peak", "bound", "bounds"]

_EACH = "numbers in one row, one for each step"
_LEAST_NORM = 1e-150  # the bound takes squares
_LONGEST = 10**6  # steps of a search, worked out one by one; the shape has long settled by then
_COARSE, _FINE = 48, 12  # cooldowns tried over the whole run, and each time between the neighbours of the best
SHAPES = ("linear", "sqrt", "1-sqrt", "square", "1-square", "cosine", "exponential")


class Tuned(NamedTuple):
    """The peak at which a schedule's bound is lowest, and that bound."""

    peak: float
    bound: float


def bound(lrs: Any, *, distance: float = 1.0, gradient_norm: Any = 1.0) -> float:
    """Return what E f(x_T) - f* cannot exceed, x_T the weights from which the last of T gradients is taken::

        B = 1/2·[ D²/S_1 + Σ_{t<T} η_t²·G_t²/S_{t+1} + η_T·G_T² ]            S_t = η_t + ... + η_T

    η: ``lrs``, float [T], zero or more. D: ``distance``, ‖x_1 - x*‖. G_t: ``gradient_norm``, one number or float [T], with
    E‖g_t‖² ≤ G_t². For a convex f and SGD, x_{t+1} = x_t - η_t·g_t, without momentum or decay; B is in units of D·G.
    A guide to the shape of a training's loss and not to its height: other optimisers and networks are an analogy.

    Where the last rates are 0 the weights have stopped, and the rate at which the last gradient is taken is free: it is set
    to the last one above 0. A bound without any rate above 0 is infinite. O(T); all terms positive, nothing cancels.

    >>> bound([0.5, 0.5, 0.5, 0.5])  # constant: D²/(2·T·η) + η·G²/2·(1 + 1 + 1/2 + 1/3)
    0.958333...

    Source: Defazio, Cutkosky, Mehta & Mishchenko 2023, arXiv 2310.07831, Theorem 10, which is Theorem 1 of Schaipp, Hägele,
    Taylor, Simsekli & Bach 2025, arXiv 2501.18965. Derived: their double sum telescopes to the one above, since
    η_k/(S_k·S_{k+1}) = 1/S_{k+1} - 1/S_k.
    """
    rates = _rates("lrs", lrs)
    return _bound(rates, _norms(gradient_norm, len(rates)), real("distance", distance, above=0.0))


def bounds(lrs: Any, at: Any = None, *, distance: float = 1.0, gradient_norm: Any = 1.0) -> Array:
    """Return the bound at each step of ``at`` as if the run ended there: of lrs[: step + 1], float64, one for each.

    ``at``: whole numbers in [0, T), by default every step; step s is the weights after s updates, as a log counts.
    O(T) for each: 300 of them in a run of 50,000 steps take a fraction of a second, all of them some seconds. See `bound`.

    >>> bounds([0.5, 0.5, 0.5, 0.5], at=[0, 3])
    array([1.25      , 0.95833333])
    """
    rates = _rates("lrs", lrs)
    norms, distance = _norms(gradient_norm, len(rates)), real("distance", distance, above=0.0)
    ends = range(len(rates)) if at is None else _steps(at, len(rates))
    return np.array([_bound(rates[: s + 1], norms[: s + 1], distance) for s in ends], dtype=np.float64)


def best_peak(factors: Any, *, distance: float = 1.0, gradient_norm: Any = 1.0) -> Tuned:
    """Return the peak γ at which the bound of γ·factors is lowest, and that bound, in closed form::

        B(γ) = a/γ + b·γ            γ* = √(a/b)            B(γ*) = 2·√(a·b)

    Raises InvalidValueError where every factor is 0. Arguments as of `bound`.

    >>> best_peak([1.0, 0.75, 0.5, 0.25])
    Tuned(peak=0.38729..., bound=1.03279...)

    Source: Schaipp et al. 2025, arXiv 2501.18965.
    """
    rates = _rates("factors", factors)
    distance = real("distance", distance, above=0.0)
    return _best_peak(rates, _norms(gradient_norm, len(rates)), distance)


def best_factors(steps: int, *, gradient_norm: Any = 1.0) -> Array:
    """Return the shape of ``steps`` updates after which the bound, at its best peak, is lowest: float64 [steps], at most 1::

        u_t = v_{t+1}/G_t²        r_t = √(1 + u_t) - 1        η_t = S_{t+1}·r_t        v_t = 2·G_t²·r_t        v_T = G_T²

    The lowest bound is D·√v_1. T is steps + 1 and G_T the last norm once more: x_T is what all the updates lead to, and η_T,
    which moves it no more, is left out. Constant norms give linear decay that ends a few steps late, and about 2·D·G/√T.
    O(T). ``gradient_norm`` as of `bound`; the norms of a real run change with its schedule.

    >>> best_factors(5).round(2)
    array([1.  , 0.88, 0.77, 0.65, 0.54])
    >>> best_factors(1000)[[0, 250, 500, 750]].round(2)
    array([1.  , 0.75, 0.5 , 0.25])

    Source: derived; the bound is a chain in S_T, ..., S_1 in which each link has one minimum. Defazio et al. 2023,
    arXiv 2310.07831, find it numerically.
    """
    norms = _norms(gradient_norm, _short_enough(count("steps", steps)))
    factors: Array = _lowest(np.append(norms, norms[-1]))[0][:-1]
    factors /= factors.max()
    return factors


def _lowest(norms: Array) -> tuple[Array, float]:
    """Return the rates of the lowest bound up to a factor, the free last one with them, and √v_1."""
    largest = float(norms.max())
    squares = np.square(norms / largest)
    if np.any(squares < 1e-290):
        raise InvalidValueError(f"gradient_norm must stay within a factor 10^145; got {norms.min():g} to {largest:g}.")
    growth = np.ones(len(norms))  # r, and 1 for η_T/S_T
    value = float(squares[-1])
    for t in range(len(norms) - 2, -1, -1):
        share = value / float(squares[t])
        growth[t] = share / (1.0 + math.sqrt(1.0 + share))
        value = 2.0 * float(squares[t] * growth[t])
    # S_{t+1}/S_T = Π (1 + r), by logarithms: it would overflow where the norms vary much
    sums = np.zeros(len(norms))
    sums[:-2] = np.cumsum(np.log1p(growth[-2:0:-1]))[::-1]
    logs = sums + np.log(growth)
    return np.exp(logs - logs.max()), largest * math.sqrt(value)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """The cooldown `best_cooldown` found: ``steps`` long, ``fraction`` of the run, in ``schedule``, ready for a Plan.

    ``peak`` and ``bound`` are the best for it; ``linear`` and ``constant`` are the bounds, each at its own best peak, of the
    same warmup followed by linear decay and by no decay; no schedule at all has a bound below ``lowest``.
    """

    schedule: Schedule
    steps: int
    fraction: float
    peak: float
    bound: float
    linear: float
    constant: float
    lowest: float

    @property
    def gain_over_linear(self) -> float:
        """The share by which the bound is below that of linear decay; negative if it is above."""
        return 1.0 - self.bound / self.linear

    @property
    def gain_over_constant(self) -> float:
        """The share by which the bound is below that of a constant rate."""
        return 1.0 - self.bound / self.constant


def best_cooldown(
    run: Horizon | int,
    warmup: Time | int | str = 0,
    shape: str = "linear",
    *,
    distance: float = 1.0,
    gradient_norm: Any = 1.0,
) -> Cooldown:
    """Return the cooldown of a warmup-stable-decay run that makes its bound lowest, each at its own best peak.

    The cooldown goes to 0 over the last c of T steps; ``shape`` is any of a Ramp's that reach 0: linear, 1-sqrt, cosine, … .
    c is tried in 48 places between 0 and all that the warmup leaves and then ever closer around the best, to one step: the
    best of all where the bound has one valley, as for constant norms it has. With constant norms the best linear cooldown is
    the whole run, linear decay; what speaks for a shorter one (its length may be settled late) is not in the bound.
    ``run`` up to 10^6 steps. Raises InvalidValueError where the warmup leaves no step. Arguments as of `bound`.

    >>> best = best_cooldown(1000, "2%", shape="cosine")
    >>> best.fraction, round(best.gain_over_linear, 3), round(best.gain_over_constant, 3)
    (0.784, -0.025, 0.294)
    >>> print(best.schedule)
    warmup 20st, constant for 196st, cosine to 0% over 784st

    Source: Schaipp et al. 2025, arXiv 2501.18965, who choose a cooldown so; the search is here.
    """
    steps = _short_enough(as_horizon(run).steps)
    shape = known("shape", shape, SHAPES)
    rise = _warmup_steps(warmup, steps)
    norms, distance = _norms(gradient_norm, steps), real("distance", distance, above=0.0)
    flat = curve(_cooled(rise, 0, steps, shape), steps)
    tried: dict[int, Tuned] = {}

    def tuned(length: int, by: str = shape) -> Tuned:
        factors = flat.copy()
        if length:
            factors[steps - length :] = curve(Ramp(steps=length, shape=by), length)
        return _best_peak(factors, norms, distance)

    low, high, places = 0, steps - rise, _COARSE
    while True:
        grid = sorted({round(low + (high - low) * i / places) for i in range(places + 1)})
        tried.update({length: tuned(length) for length in grid if length not in tried})
        best = min(tried, key=lambda length: tried[length].bound)
        lengths = sorted(tried)
        i = lengths.index(best)
        low, high, places = lengths[max(i - 1, 0)], lengths[min(i + 1, len(lengths) - 1)], _FINE
        if high - low <= (low != best) + (high != best):
            break
    return Cooldown(
        _cooled(rise, best, steps, shape),
        best,
        best / steps,
        *tried[best],
        tuned(steps - rise, "linear").bound,
        tried[0].bound,
        distance * _lowest(norms)[1],
    )


def _cooled(rise: int, length: int, steps: int, shape: str) -> Schedule:
    """Return a warmup of ``rise`` steps, the peak, and a cooldown over the last ``length``."""
    if rise and length:
        return (
            wsd(rise, length, shape=shape).resolve(Horizon(steps))
            if rise + length < steps
            else (warmup(rise).then(Ramp(steps=length, shape=shape)))
        )
    if rise:
        return warmup(rise).then(Constant())
    if length == steps:
        return Ramp(steps=length, shape=shape)
    return Constant().then(Ramp(steps=length, shape=shape), after=steps - length) if length else Constant()


def _warmup_steps(time: Any, steps: int) -> int:
    asked = as_time("warmup", time, low=0)
    if asked is None:
        raise InvalidValueError("warmup must be a time such as 200 or '2%'; got None. For none of it give 0.")
    rise = count("warmup", number_of_steps(in_steps(asked, Horizon(steps))), low=0)
    if rise >= steps:
        raise InvalidValueError(f"a warmup of {rise} steps leaves nothing of {steps} to cool down in; shorten it.")
    return rise


def _bound(rates: Array, norms: Array, distance: float) -> float:
    distances, noise = _halves(rates, norms, distance)
    return distances + noise


def _best_peak(factors: Array, norms: Array, distance: float) -> Tuned:
    distances, noise = _halves(factors, norms, distance)
    if not math.isfinite(distances):
        raise InvalidValueError(
            "every factor is 0, so no peak makes the weights move; give a schedule that is above 0."
        )
    return Tuned(math.sqrt(distances / noise), 2.0 * math.sqrt(distances * noise))


def _halves(rates: Array, norms: Array, distance: float) -> tuple[float, float]:
    """Return the two parts of the bound: what falls as 1/γ with the rates, and what grows as γ."""
    if rates[-1] == 0.0:
        above = np.flatnonzero(rates)
        if not len(above):
            return math.inf, 0.0
        last = int(above[-1])
        rates, norms = np.concatenate((rates[: last + 1], rates[last : last + 1])), norms[: last + 2]
    after = np.cumsum(rates[::-1])[::-1]
    noise = np.dot(rates[:-1] / after[1:] * norms[:-1], rates[:-1] * norms[:-1]) + rates[-1] * norms[-1] * norms[-1]
    return 0.5 * distance * distance / float(after[0]), 0.5 * float(noise)


def _rates(name: str, values: Any) -> Array:
    """Return ``values`` as float64 [T]; raise unless they are finite and zero or more."""
    rates = row(name, values, _EACH)
    if not len(rates):
        raise InvalidValueError(
            f"{name} must not be empty; give the learning rate of every step, as Plan.lrs(run) does."
        )
    wrong = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0.0)))
    if len(wrong):
        raise InvalidValueError(f"{name} must be finite and zero or more; got {rates[wrong[0]]} at step {wrong[0]}.")
    return rates


def _norms(values: Any, steps: int) -> Array:
    """Return the gradient norms as float64 [steps]; raise unless they are finite and above 0."""
    if not has_members(values):
        return np.full(steps, real("gradient_norm", values, low=_LEAST_NORM, high=1.0 / _LEAST_NORM))
    norms = row("gradient_norm", values, _EACH)
    if len(norms) != steps:
        raise InvalidValueError(f"gradient_norm must be one number or one for each of {steps} steps; got {len(norms)}.")
    wrong = np.flatnonzero(~((norms >= _LEAST_NORM) & (norms <= 1.0 / _LEAST_NORM)))
    if len(wrong):
        raise InvalidValueError(
            f"gradient_norm must be between 1e-150 and 1e150; got {norms[wrong[0]]} at step {wrong[0]}."
        )
    return norms


def _steps(at: Any, steps: int) -> list[int]:
    ends = [count("at", s, low=0) for s in row("at", at, _EACH).tolist()]
    beyond = [s for s in ends if s >= steps]
    if beyond:
        raise InvalidValueError(f"at must be below the {steps} steps that have a rate; got {beyond[0]}.")
    return ends


def _short_enough(steps: int) -> int:
    if steps > _LONGEST:
        raise InvalidValueError(
            f"at most {_LONGEST} steps are worked out one by one; got {steps}. Ask for a shorter run: the shape is the same."
        )
    return steps
