"""The oracle: SGD, Adam and the textbook's step in readable NumPy float64, one array at a time.

It knows no plan and no framework: each step it is handed the three numbers ``rates(step, name) = (lr, shrink, l2)``.
Everything fast is checked against it, and it is checked against recorded runs of the frameworks themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dwindle.arrays import as_given
from dwindle.errors import InvalidValueError, a_kind, count, flag, known_keys, real, shown

__all__ = ["SGD", "Adam", "AdamState", "Array", "Gradient", "Optimiser", "Rates", "SGDState", "run", "textbook_step"]

Array: TypeAlias = NDArray[np.float64]
Gradient: TypeAlias = Callable[[dict[str, Array], int], Mapping[str, ArrayLike]]
Rates: TypeAlias = Callable[[int, str], tuple[float, float, float]]
State = TypeVar("State")


class Optimiser(Protocol[State]):
    """What `run` asks of an optimiser: a first state, and a pure step from (w, grad, state) to (w, state)."""

    def init(self, w: ArrayLike) -> State:
        """Return the state before the first step."""

    def update(
        self,
        w: ArrayLike,
        grad: ArrayLike,
        state: State,
        *,
        lr: float,
        shrink: float = 1.0,
        l2: float = 0.0,
        cautious: bool = False,
    ) -> tuple[Array, State]:
        """Return the weight and the state after one step."""


@dataclass(frozen=True, slots=True, eq=False)
class SGDState:
    """``step``: updates done. ``buffer``: the momentum buffer, shaped like the weight, zero before the first step."""

    step: int
    buffer: Array


@dataclass(frozen=True, slots=True)
class SGD:
    """Gradient descent with momentum: h = g + l2·w, b ← μ·b + (1-τ)·h, w ← shrink·w - lr·u.

    μ is ``momentum`` in [0, 1), τ is ``dampening`` in [0, 1]; u = b, or h + μ·b with ``nesterov``. The first step
    sets b = h, undamped, and τ is idle when μ = 0: both as in PyTorch. w, g, b share one shape; lr ≥ 0, l2 ≥ 0.

    ``lr_in_buffer`` moves the rate into the buffer: b ← μ·b + (1-τ)·lr·h, w ← shrink·w - u, u = b or lr·h + μ·b.
    The two are one rule while lr is constant; when lr decays, this one carries the old, larger steps on for about
    1/(1-μ) steps. PyTorch and optax: False. The textbook's velocity v = -b, and Keras: True.

    Raises InvalidValueError for a value out of range, or for ``nesterov`` with dampening, which nobody defines.

    >>> sgd = SGD(momentum=0.9)
    >>> w, state = sgd.update([1.0, -2.0], [0.5, 0.5], sgd.init([1.0, -2.0]), lr=0.1, shrink=0.99)
    >>> w, state.buffer
    (array([ 0.94, -2.03]), array([0.5, 0.5]))

    Source: Sutskever et al. 2013 in PyTorch's form; Nielsen, Neural Networks and Deep Learning, ch. 3.
    """

    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    lr_in_buffer: bool = False

    def __post_init__(self) -> None:
        real("momentum", self.momentum, low=0.0, below=1.0)
        real("dampening", self.dampening, low=0.0, high=1.0)
        flag("nesterov", self.nesterov)
        flag("lr_in_buffer", self.lr_in_buffer)
        if self.nesterov and self.dampening:
            raise InvalidValueError(
                f"nesterov with dampening={shown(self.dampening)} has no agreed meaning; set dampening to 0."
            )

    def init(self, w: ArrayLike) -> SGDState:
        """Return the state before the first step: no updates, an empty buffer."""
        return SGDState(0, np.zeros_like(_array("w", w)))

    def update(
        self,
        w: ArrayLike,
        grad: ArrayLike,
        state: SGDState,
        *,
        lr: float,
        shrink: float = 1.0,
        l2: float = 0.0,
        cautious: bool = False,
    ) -> tuple[Array, SGDState]:
        """Return (w, state) after one step; the class gives the formula, `run` what the three numbers mean."""
        a_kind("state", state, SGDState, "Begin with init(w).")
        w, h = _operands(w, grad, state.buffer, lr, shrink, l2, cautious)
        if self.lr_in_buffer:
            h, lr = lr * h, 1.0
        # PyTorch's rule: the first gradient fills the buffer undamped, and without momentum there is no buffer.
        fill = state.step == 0 or self.momentum == 0.0
        buffer = h if fill else self.momentum * state.buffer + (1.0 - self.dampening) * h
        u = h + self.momentum * buffer if self.nesterov else buffer
        return _factor(w, u, shrink, cautious) * w - lr * u, SGDState(state.step + 1, buffer)


@dataclass(frozen=True, slots=True, eq=False)
class AdamState:
    """``step``: updates done. ``m``, ``v``: running mean of h and of h². ``v_max``: the largest v so far."""

    step: int
    m: Array
    v: Array
    v_max: Array


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam, and with ``shrink`` AdamW: h = g + l2·w, w ← shrink·w - lr·m̂/(√v̂ + ε).

    m ← β1·m + (1-β1)·h and v ← β2·v + (1-β2)·h² from zero; in step t, counted from 1, m̂ = m/(1-β1^t) and
    v̂ = v/(1-β2^t). ``amsgrad``: v̂ is taken from the largest v so far. ``nesterov``: the mean looks one step
    ahead, m̂ = β1·m/(1-β1^(t+1)) + (1-β1)·h/(1-β1^t), which is optax's ``nesterov=True`` and is neither torch's NAdam
    nor Keras' Nadam: those two also schedule β1. ``eps_hat``: the divisor is (√v + ε)/√(1-β2^t), the paper's ε̂, as in
    Keras and TensorFlow; PyTorch and optax: False. w, g, m, v share one shape; lr ≥ 0, l2 ≥ 0.

    Raises InvalidValueError unless 0 ≤ β < 1 and ε > 0 (ε = 0 would divide 0 by 0 where no gradient has arrived).

    >>> adam = Adam()
    >>> w, state = adam.update([1.0, -2.0], [0.5, -4.0], adam.init([1.0, -2.0]), lr=0.1, shrink=0.99)
    >>> w.round(6), state.step  # the first step moves every weight by lr, whatever the gradient's size
    (array([ 0.89, -1.88]), 1)

    Source: Kingma & Ba 2015, algorithm 1 and the end of section 2 (ε̂); Reddi et al. 2018; Loshchilov & Hutter 2019.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    amsgrad: bool = False
    nesterov: bool = False
    eps_hat: bool = False

    def __post_init__(self) -> None:
        real("beta1", self.beta1, low=0.0, below=1.0)
        real("beta2", self.beta2, low=0.0, below=1.0)
        real(
            "eps", self.eps, above=0.0, remedy="A weight without a gradient would get 0/0; use 1e-300 for almost none."
        )
        for name in ("amsgrad", "nesterov", "eps_hat"):
            flag(name, getattr(self, name))

    def init(self, w: ArrayLike) -> AdamState:
        """Return the state before the first step: no updates, both means zero."""
        zero = np.zeros_like(_array("w", w))
        return AdamState(0, zero, zero, zero)

    def update(
        self,
        w: ArrayLike,
        grad: ArrayLike,
        state: AdamState,
        *,
        lr: float,
        shrink: float = 1.0,
        l2: float = 0.0,
        cautious: bool = False,
    ) -> tuple[Array, AdamState]:
        """Return (w, state) after one step; the class gives the formula, `run` what the three numbers mean."""
        a_kind("state", state, AdamState, "Begin with init(w).")
        w, h = _operands(w, grad, state.m, lr, shrink, l2, cautious)
        t = state.step + 1
        m = self.beta1 * state.m + (1.0 - self.beta1) * h
        v = self.beta2 * state.v + (1.0 - self.beta2) * h * h
        v_max = np.maximum(state.v_max, v)
        m_hat = m / (1.0 - self.beta1**t)
        if self.nesterov:
            m_hat = self.beta1 * m / (1.0 - self.beta1 ** (t + 1)) + (1.0 - self.beta1) * h / (1.0 - self.beta1**t)
        root_correction = math.sqrt(1.0 - self.beta2**t)
        eps = self.eps / root_correction if self.eps_hat else self.eps
        u = m_hat / (np.sqrt(v_max if self.amsgrad else v) / root_correction + eps)
        return _factor(w, u, shrink, cautious) * w - lr * u, AdamState(t, m, v, v_max)


def run(
    optimiser: Optimiser[State],
    w0: Mapping[str, ArrayLike],
    gradient: Gradient,
    rates: Rates,
    steps: int,
    *,
    cautious: bool = False,
) -> dict[str, Array]:
    """Return the trajectory: for each name an array of shape (steps + 1, ...), row t being the weight after t updates.

    Step t = 0, 1, ... takes ``gradient(params, t)`` at the weights before any decay, and for each name the numbers
    (lr, shrink, l2) = ``rates(t, name)``: the gradient becomes g + l2·w before the optimiser sees it, and
    w ← shrink·w - lr·u where u is what the optimiser makes of it. Keras decays first, but with the gradient taken
    before: the same update. ``cautious``: an element is shrunk only where u·w ≥ 0, that is where the step alone does
    not move it away from zero; elsewhere its factor is 1. An element without an update decays: with zero gradients
    w(T) = w(0)·Π shrink here too. Source: Chen et al. 2025, arXiv 2510.12402, algorithm 1.

    Raises InvalidValueError if the gradient lacks a name or has another shape, UnknownNameError if it has one too many.

    >>> path = run(SGD(), {"w": [1.0], "b": [1.0]}, lambda params, step: {"w": [0.0], "b": [0.0]},
    ...            lambda step, name: (0.1, 0.5 if name == "w" else 1.0, 0.0), steps=3)
    >>> path["w"].ravel(), path["b"].ravel()
    (array([1.   , 0.5  , 0.25 , 0.125]), array([1., 1., 1., 1.]))
    """
    steps = count("steps", steps, low=0)
    if not isinstance(w0, Mapping):
        raise InvalidValueError(f"w0 must map names to weights, such as {{'w': [1.0]}}; got {shown(w0)}.")
    now = {name: _array(name, w) for name, w in w0.items()}
    states = {name: optimiser.init(w) for name, w in now.items()}
    path = {name: np.empty((steps + 1, *w.shape)) for name, w in now.items()}
    for name, w in now.items():
        path[name][0] = w
    for step in range(steps):
        # A copy: a gradient that writes to its argument must not reach the weights.
        grads = gradient({name: w.copy() for name, w in now.items()}, step)
        _same_names(grads, now, step)
        for name, w in now.items():
            lr, shrink, l2 = rates(step, name)
            now[name], states[name] = optimiser.update(
                w, grads[name], states[name], lr=lr, shrink=shrink, l2=l2, cautious=cautious
            )
            path[name][step + 1] = now[name]
    return path


def textbook_step(
    w: ArrayLike, b: ArrayLike, grad_w: ArrayLike, grad_b: ArrayLike, lr: float, lam: float, n: int
) -> tuple[Array, Array]:
    """Return (w, b) after the textbook's step: w ← (1 - ηλ/n)·w - η·∂C0/∂w, b ← b - η·∂C0/∂b.

    It lowers C = C0 + (λ/2n)·Σw² over the weights; biases are never penalised. η is ``lr`` ≥ 0, λ is ``lam`` ≥ 0,
    n the number of training examples, also when the gradient is the mean (1/m)·Σ ∂C_x over a mini-batch of m.

    Raises InvalidValueError for a value out of range or shapes that differ.

    >>> textbook_step([1.0, -2.0], [1.0], [0.0, 0.0], [0.0], lr=0.5, lam=5.0, n=50)
    (array([ 0.95, -1.9 ]), array([1.]))

    Source: Nielsen, Neural Networks and Deep Learning, ch. 3, the regularised updates, full batch and mini-batch.
    """
    w, b = _array("w", w), _array("b", b)
    grad_w, grad_b = _like("grad_w", grad_w, w), _like("grad_b", grad_b, b)
    lr, lam, n = real("lr", lr, low=0.0), real("lam", lam, low=0.0), count("n", n)
    return (1.0 - lr * lam / n) * w - lr * grad_w, b - lr * grad_b


def _factor(w: Array, u: Array, shrink: float, cautious: bool) -> Array | float:
    """What multiplies w: ``shrink``, or with ``cautious`` 1 wherever u·w ≥ 0 fails."""
    # By sign: the product of two small numbers underflows to 0.
    return np.where(np.sign(u) * np.sign(w) >= 0.0, shrink, 1.0) if cautious else shrink


def _operands(
    w: ArrayLike, grad: ArrayLike, kept: Array, lr: float, shrink: float, l2: float, cautious: bool
) -> tuple[Array, Array]:
    """Check one step's arguments; return w and h = g + l2·w."""
    w = _array("w", w)
    grad = _like("grad", grad, w)
    _like("state", kept, w)
    real("lr", lr, low=0.0)
    real("shrink", shrink)
    real("l2", l2, low=0.0)
    flag("cautious", cautious)
    return w, grad + l2 * w


def _array(name: str, value: Any) -> Array:
    try:
        array = as_given(value)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"its dtype is {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{name} must be an array of real numbers; got {shown(value)} ({error}).") from error


def _like(name: str, value: Any, w: Array) -> Array:
    array = _array(name, value)
    if array.shape != w.shape:
        raise InvalidValueError(
            f"{name} has shape {array.shape} but its weight has {w.shape}; broadcasting hides errors. Reshape it."
        )
    return array


def _same_names(grads: Mapping[str, ArrayLike], params: Mapping[str, Array], step: int) -> None:
    missing = [name for name in params if name not in grads]
    if missing:
        raise InvalidValueError(f"the gradient at step {step} lacks {', '.join(missing)}; give zeros to hold it still.")
    known_keys("gradient", grads, params)
