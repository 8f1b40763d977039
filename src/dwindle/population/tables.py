"""The rates of all members turned, once, into the numbers each step needs: w = s·u, and u ← fold·u - move·direction."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.population.values import SGD, Adam, Optimiser, Rates

__all__ = ["Tables", "adam_terms", "carried_scale", "tabulate"]

Array: TypeAlias = NDArray[Any]

# Beyond these s goes into the weights and starts again at 1, long before u = w/s leaves the range of float32.
_LOW, _HIGH = 2.0**-20, 2.0**20


class Tables(NamedTuple):
    """One row per step and one column per member; a bias has scale 1 and its own ``lr``.

    ``scale``: s before the step, one row more than steps. ``fold``: what u is multiplied by in it, 1 nearly always.
    ``move``: lr times the optimiser's gain, over the next s. ``lr``: the same for a bias. ``l2``: the coefficient by s.
    ``eps``: Adam's ε in its units, one a step.
    """

    scale: NDArray[np.float64]
    fold: Array
    move: Array
    lr: Array
    l2: Array
    eps: NDArray[np.float64]

    def of(self, members: NDArray[np.intp]) -> Tables:
        """Return the columns of these ``members``."""
        return self._replace(**{name: getattr(self, name)[:, members] for name in self._fields if name != "eps"})


def tabulate(rates: Rates, optimiser: Optimiser, dtype: np.dtype[Any]) -> Tables:
    """Return the tables of ``rates`` under ``optimiser``.

    For SGD without momentum l2 is a factor too: w - lr·(g + l2·w) = (1 - lr·l2)·w - lr·g, the textbook's form.
    """
    lr, shrink, l2 = (np.asarray(table).T for table in (rates.lr, rates.shrink, rates.l2))
    if isinstance(optimiser, SGD) and not optimiser.momentum:
        shrink, l2 = shrink - lr * l2, np.zeros_like(l2)
    scale, fold = carried_scale(shrink)
    gain, eps = (
        adam_terms(optimiser, rates.steps)
        if isinstance(optimiser, Adam)
        else (np.ones(rates.steps), np.zeros(rates.steps))
    )
    pace = lr * gain[:, None]
    fold, move, pace, l2 = (table.astype(dtype) for table in (fold, pace / scale[1:], pace, l2 * scale[:-1]))
    return Tables(scale, fold, move, pace, l2, eps)


def carried_scale(factor: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (scale, fold): how the products of ``factor`` (steps, members) are carried beside the weights.

    w = s·u. Step t has s ← s·factor[t] in float64, so that no decay is too small to count: 1 - 1e-9 rounds to 1 in
    float32, but its product over the steps does not. When s leaves [2^-20, 2^20], or is not positive, fold[t] = s
    multiplies u and s is 1 again. Hence scale[t]·Π fold[:t] = Π factor[:t], with scale[0] = 1.

    >>> scale, fold = carried_scale(np.array([[0.5], [0.0], [0.5]]))
    >>> scale.ravel(), fold.ravel()
    (array([1. , 0.5, 1. , 0.5]), array([1., 0., 1.]))
    """
    steps, members = factor.shape
    scale, fold = np.ones((steps + 1, members)), np.ones((steps, members))
    with np.errstate(over="ignore", invalid="ignore"):  # in columns that are done again below
        np.cumprod(factor, axis=0, out=scale[1:])
        leaves = ~((scale >= _LOW) & (scale <= _HIGH)).all(axis=0)
    scale[1:, leaves] = 1.0
    if not leaves.any():
        return scale, fold
    for step in range(steps):
        carried = scale[step, leaves] * factor[step, leaves]
        within = (carried >= _LOW) & (carried <= _HIGH)
        scale[step + 1, leaves] = np.where(within, carried, 1.0)
        fold[step, leaves] = np.where(within, 1.0, carried)
    return scale, fold


def adam_terms(adam: Adam, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (gain, eps) of every step, with which m̂/(√v̂ + ε) = gain·M/(√V + eps), M = m/(1-β1) and V = v/(1-β2).

    M and V are kept instead of m and v: two passes less in every step, as M ← β1·M + h and V ← β2·V + h².

    >>> gain, eps = adam_terms(Adam(), 1)
    >>> float(gain[0]), float(eps[0])  # the first step: M/√V is ±1 already
    (1.0, 1e-08)
    """
    t = np.arange(1, steps + 1, dtype=np.float64)
    root = np.sqrt((1.0 - adam.beta2**t) / (1.0 - adam.beta2))
    return root * (1.0 - adam.beta1) / (1.0 - adam.beta1**t), adam.eps * root
