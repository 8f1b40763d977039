"""The norm of scale-invariant weights and the angle they turn by each step, along any plan, by an O(T) recursion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dwindle.decay import L2
from dwindle.errors import InvalidValueError, NoExactMapError, known, real
from dwindle.plan import Plan, as_plan
from dwindle.units import Horizon, as_horizon

__all__ = ["Norms", "equilibrium"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Norms:
    """Norms and angles of a scale-invariant weight vector along a run; see `equilibrium`. All float64.

    ``weight_norm`` [steps + 1]: ‖w‖ before each step and after the last. ``angle`` [steps]: how far each step turns w,
    radians. ``equilibrium_norm``, ``equilibrium_angle`` [steps]: where the two would settle if the rates of that step
    lasted; the norm is inf where nothing decays, and nan where the learning rate is 0 and nothing moves or where decay is
    so strong that the norm grows without end.
    """

    weight_norm: Array
    angle: Array
    equilibrium_norm: Array
    equilibrium_angle: Array

    def transient(self, within: float = 0.05) -> int | None:
        """Return the steps until ‖w‖ first comes ``within`` that share of the equilibrium of its step; None if never.

        At constant rates ‖w‖² nears it by a factor e each 1/(2a) steps under adamw and each 1/(4a) under sgd (a/(1 - μ) in
        place of a for l2). At the end of a schedule the norm falls behind, because nothing moves any more.

        >>> from dwindle.decay import Decoupled
        >>> equilibrium(Plan(1e-3, decay=Decoupled(1.0)), 3000, start=3 * 0.0224).transient()
        2187
        """
        within = real("within", within, above=0.0)
        there = np.where(np.isfinite(self.equilibrium_norm), self.equilibrium_norm, np.nan)
        near = np.flatnonzero(np.abs(self.weight_norm[:-1] - there) <= within * there)
        return int(near[0]) if len(near) else None


def equilibrium(
    plan: Plan,
    run: Horizon | int,
    *,
    rule: str = "adamw",
    momentum: float | None = None,
    size: float | None = None,
    gradient_norm: float | None = None,
    start: float | None = None,
    group: str | None = None,
) -> Norms:
    """Return the expected norm and rotation of a scale-invariant weight vector (one followed by a normalisation)::

        w ← (1 - x)·w - lr·m      h = <w, m> of the old w and the new m, n = E‖w‖², q = E‖m‖², p = E<w, m> after the step
        adamw  m ← β·m + (1-β)·g          s = (1-β)²·C       lr/(1 - β^t) in step t for lr
        sgd    m ← μ·m + g + c·w          s = G²/n           x, c: the plan's share and its l2 coefficient
        h = μ·p + c·n    q ← μ²·q + s + c²·n + 2μc·p    n ← (1-x)²·n - 2(1-x)·lr·h + lr²·q    p ← (1-x)·h - lr·q

    ``momentum`` is β1 (0.9 unless given) or μ (0), without dampening or Nesterov. ``size`` C: adamw's number of weights
    in the vector; left at 1, norms are RMS of a weight. ``gradient_norm`` G: sgd's RMS ‖g‖ at ‖w‖ = 1; left at 1, norms
    are in units of √G. ``start`` is ‖w(0)‖, by default the equilibrium at the peak. To leading order it settles at::

        adamw          ‖w‖ = √(lr·C/(2λ))                angle √(2·lr·λ·(1-β)/(1+β))
        sgd, l2 c      ‖w‖⁴ = lr·G²/(2c(1-μ))            angle √(2·lr·c/(1+μ))
        sgd, decoupled ‖w‖⁴ = lr·G²/(2λ(1-μ)²)           angle √(2·lr·λ·(1-μ)/(1+μ))

    Assumptions: gradients are noise, independent from step to step and orthogonal to w (scale invariance), with ‖g‖ =
    G/‖w‖; vectors are long, so that E[1/n] = 1/E[n]; Adam's √v is the same for all weights and follows ‖g‖, that is,
    ‖w‖ hardly changes in 1/(1-β2) steps. A gradient with a persistent direction turns w further. Simulated norms are met
    to 2.5%; where ‖w‖ changes faster than √v, at lr·λ = 2e-3 and β2 = 0.999, to 6% (measured).

    Raises NoExactMapError for adamw with l2 (it is divided by √v); InvalidValueError for a cautious decay, a number that
    the rule does not use, no ``start`` where nothing decays, or a run that leaves the range of float64.

    >>> from dwindle.decay import Decoupled
    >>> norms = equilibrium(Plan(1e-3, decay=Decoupled(0.1)), 1000, size=768)
    >>> round(norms.weight_norm[-1], 2), round(norms.angle[-1] / math.sqrt(2e-4 * 0.1 / 1.9), 2)
    (np.float64(1.96), np.float64(1.0))

    Source: Kosson, Messmer & Jaggi 2023, arXiv 2305.17212, for the fixed points; Van Laarhoven 2017. The recursion is
    the second moments of the update, derived, and holds along any schedule.
    """
    plan, run = as_plan(plan), as_horizon(run)
    adamw = known("rule", rule, ["adamw", "sgd"]) == "adamw"
    _check(plan, adamw, size, gradient_norm)
    mu = real("momentum", (0.9 if adamw else 0.0) if momentum is None else momentum, low=0.0, below=1.0)
    c = real("size", 1.0 if size is None else size, above=0.0)
    g = real("gradient_norm", 1.0 if gradient_norm is None else gradient_norm, above=0.0)
    noise = _Noise(c * (1.0 - mu) ** 2 if adamw else g * g, not adamw, mu)
    table = plan.table(run, group)
    rates = _Rates(table.lr, plan.decay_shares(run, group), table.l2)
    at_rest, turning = _settled(rates, noise)
    first = _at_peak(plan.resolve(run), noise, group) if start is None else real("start", start, above=0.0)
    if not adamw:
        norm, angle = _followed(rates, rates.lr, noise, first)
    else:  # m starts from 0, and Adam corrects it for that
        norm, angle = _followed(rates, rates.lr / -np.expm1(_log(mu) * np.arange(1.0, run.steps + 1.0)), noise, first)
    return Norms(norm, angle, at_rest, turning)


class _Rates(NamedTuple):
    lr: Array
    share: Array
    coupling: Array


class _Noise(NamedTuple):
    """The square of what each step adds to m: ``square``, or ``square``/n where the gradient goes ``by_norm``."""

    square: float
    by_norm: bool
    momentum: float


def _check(plan: Plan, adamw: bool, size: float | None, gradient_norm: float | None) -> None:
    if adamw and isinstance(plan.decay, L2):
        raise NoExactMapError(
            "adamw with l2: Adam divides l2 by the gradient's running size, so no share of the weights describes it. "
            "Use a decoupled decay, or rule='sgd'."
        )
    if plan.decay is not None and plan.decay.cautious:
        raise InvalidValueError("cautious decay depends on the signs of update and weight; ask without cautious.")
    if adamw and gradient_norm is not None:
        raise InvalidValueError("adamw divides the gradient by its size, so gradient_norm has no effect; give size.")
    if not adamw and size is not None:
        raise InvalidValueError("sgd needs gradient_norm, the gradient's norm at ‖w‖ = 1, not size.")


def _log(x: float) -> float:
    return math.log(x) if x else -math.inf


def _settled(rates: _Rates, noise: _Noise) -> tuple[Array, Array]:
    """Return norm and angle at which the recursion stands still; with y = 1 - x and r = lr²·q/n."""
    mu, pull, y = noise.momentum, rates.lr * rates.coupling, 1.0 - rates.share
    kept = 1.0 - mu * y
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        r = (rates.share * (2.0 - rates.share) * kept + 2.0 * y * pull) / (1.0 + mu * y)
        toward = (pull - mu * r) / kept  # lr·h/n
        gone = r * (1.0 - mu * mu + 2.0 * mu * pull / kept) - pull * pull * (1.0 + mu * y) / kept
        square = rates.lr * rates.lr * noise.square / gone
        square = np.where(gone > 0.0, square, np.where(gone < 0.0, np.nan, np.inf))
        square = np.where(rates.lr > 0.0, square, np.nan)
    norm = square**0.25 if noise.by_norm else np.sqrt(square)
    return norm, np.arctan2(np.sqrt(np.maximum(r - toward * toward, 0.0)), y - toward)


def _at_peak(plan: Plan, noise: _Noise, group: str | None) -> float:
    """Return the equilibrium norm at the plan's peak, where f = 1 and λ is that of the first step."""
    lr = plan.peak * (1.0 if group is None else plan.scale(group))
    share, pull = (0.0, 0.0) if plan.decay is None else (plan.decay.share(0, lr, 1.0), plan.decay.coupling(0))
    norm = float(_settled(_Rates(*(np.array([float(v)]) for v in (lr, share, pull))), noise)[0][0])
    if not 0.0 < norm < math.inf:
        raise InvalidValueError(
            "there is no equilibrium to start from at the plan's peak; give start, the norm of w(0)."
        )
    return norm


def _followed(rates: _Rates, moves: Array, noise: _Noise, start: float) -> tuple[Array, Array]:
    """Return norms [steps + 1] and angles [steps] of the recursion from ‖w‖ = ``start`` and an empty m."""
    mu, s, by_norm = noise.momentum, noise.square, noise.by_norm
    n, p, q = start * start, 0.0, 0.0
    squares, along, across = [n], [], []
    try:
        for lr, x, c in zip(moves.tolist(), rates.share.tolist(), rates.coupling.tolist(), strict=True):
            y, h = 1.0 - x, mu * p + c * n
            q = mu * mu * q + (s / n if by_norm else s) + c * c * n + 2.0 * mu * c * p
            along.append(y - lr * h / n)
            across.append(lr * lr * (q - h * h / n) / n)
            n, p = y * y * n - 2.0 * y * lr * h + lr * lr * q, y * h - lr * q
            squares.append(n)
    except ZeroDivisionError:
        n = math.nan
    if not math.isfinite(n):
        raise InvalidValueError(
            f"the norm leaves the range of float64 at step {len(squares) - 1}; lower the learning rate or the decay."
        )
    return np.sqrt(squares), np.arctan2(np.sqrt(np.maximum(across, 0.0)), along)
