"""What runs of a like model, a smaller one of the same kind, tell of a law's parameters before its own runs are fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dwindle.errors import InvalidValueError
from dwindle.laws.forecast import SAME
from dwindle.laws.law import Law, Tie
from dwindle.laws.runs import Run
from dwindle.laws.solve import Curve, Frame, solved, usable

__all__ = ["alike", "expecting"]

_CARRIED = ("alpha", "offset", "rho", "speed", "fade")  # what one peak tells of
_DIFFER = 0.25  # of a parameter's spread: how far it lies between models
_RATIO_DIFFERS = 0.3  # the same of log noise - log progress


def expecting(law: Law, groups: Sequence[Sequence[Run]], unit: float) -> Law:
    """Return ``law`` with its parameters expected where runs of like models have them, each group of runs fitted alone.

    Of a parameter with the variance v_j after the fit to group j, and Δ what it differs by between models, the mean is weighted
    by 1/(v_j + Δ²) and the spread is √(1/Σ 1/(v_j + Δ²)), of several groups with Δ² once more beneath the root. So are the
    exponents and the speed of the law, and log noise - log progress; levels and amounts are a model's own.
    """
    fits = []
    for group in groups:
        runs, _ = usable(list(group))
        frame = Frame(runs, law, unit)
        fits.append(solved(law, [Curve(run, frame) for run in runs]))
    names = [p.name for p in law.parameters]
    changed = []
    for i, parameter in enumerate(law.parameters):
        if parameter.name not in _CARRIED:
            changed.append(parameter)
            continue
        found = [(np.log(v[i]), c[i, i] / v[i] ** 2) if parameter.positive else (v[i], c[i, i]) for v, c in fits]
        mean, spread = _pooled(found, _DIFFER * parameter.spread)
        changed.append(parameter._replace(expected=float(np.exp(mean)) if parameter.positive else mean, spread=spread))
    noise, progress = names.index("noise"), names.index("progress")
    ratios = []
    for values, covariance in fits:
        by = np.zeros(len(names))
        by[noise], by[progress] = 1.0 / values[noise], -1.0 / values[progress]
        ratios.append((float(np.log(values[noise] / values[progress])), float(by @ covariance @ by)))
    return replace(law, parameters=tuple(changed), tie=Tie("noise", "progress", *_pooled(ratios, _RATIO_DIFFERS)))


def alike(runs: Sequence[Run], groups: Sequence[Sequence[Run]]) -> list[Run]:
    """Return all these runs, of which a fit takes its unit; raise InvalidValueError unless they are of one peak and one decay."""
    every = [*runs, *(run for group in groups for run in group)]
    peaks = [run.peak for run in every]
    if max(peaks) > SAME * min(peaks):
        raise InvalidValueError(
            f"runs of a like model need the same peak; got {min(peaks):g} to {max(peaks):g}. What they tell does not carry over: "
            "leave those of another peak out."
        )
    paces = [run.pace for run in every if run.pace is not None]
    if paces and max(paces) > SAME * min(paces):
        raise InvalidValueError(
            f"runs of a like model need the same weight decay; got λ = {min(paces):.3g} to {max(paces):.3g}. Leave the others "
            "out."
        )
    return every


def _pooled(found: Sequence[tuple[float, float]], differ: float) -> tuple[float, float]:
    """Return the mean and the spread of what (mean, variance) of several models tell of another."""
    weights = np.array([1.0 / (variance + differ**2) for _, variance in found])
    mean = float(np.array([value for value, _ in found]) @ weights / weights.sum())
    again = differ**2 if len(found) > 1 else 0.0
    return mean, float(np.sqrt(1.0 / weights.sum() + again))
