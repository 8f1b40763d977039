"""What a caller says: the network, the optimiser, and the rates of every member."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dwindle.arrays import as_given
from dwindle.errors import InvalidValueError, a_kind, count, flag, has_members, known, real, shown

__all__ = ["ACTIVATIONS", "LOSSES", "MLP", "SGD", "Adam", "Optimiser", "Rates", "initial_weights"]

ACTIVATIONS = ("relu", "sigmoid", "tanh", "gelu")
LOSSES = ("softmax", "sigmoid", "squared")


@dataclass(frozen=True, slots=True)
class MLP:
    """A fully connected network: a ← act(a·W + b) in every hidden layer, z = a·W + b at the output.

    ``sizes`` counts the units from input to output; W of a layer is (fan_in, fan_out), a row of ``a`` is one example.
    ``activation`` of the hidden layers: ``relu``, ``sigmoid``, ``tanh``, or ``gelu``: z·Φ(z), Φ(z) = ½·(1 + erf(z/√2)), the
    exact form (Hendrycks & Gimpel 2016). ``loss`` of one example with target t:

    - ``softmax``: C_x = -Σ t·ln softmax(z); the model's output is softmax(z).
    - ``sigmoid``: C_x = -Σ t·ln σ(z) + (1-t)·ln σ(-z); the output is σ(z).
    - ``squared``: C_x = ½·Σ (z - t)²; the output is z.

    For all three dC_x/dz = output - t.

    ``dropout``: the share of the hidden units, p in [0, 1), that a training step leaves out at random, each unit for each
    example by itself; the others are divided by 1 - p (Srivastava et al. 2014, inverted). The draws follow from the
    member's seed and the step alone. Evaluations, also those of the training examples, leave out nothing.

    Raises InvalidValueError for sizes that make no network or a ``dropout`` out of range, UnknownNameError for an unknown
    activation or loss.

    >>> MLP((784, 30, 10), activation="sigmoid", loss="sigmoid").parameters
    23860
    """

    sizes: tuple[int, ...] = (784, 128, 10)
    activation: str = "relu"
    loss: str = "softmax"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not has_members(self.sizes):
            raise InvalidValueError(f"sizes must be layer sizes from input to output; got {shown(self.sizes)}.")
        sizes = tuple(count("a layer size", size, high=10**7) for size in self.sizes)
        if len(sizes) < 2:
            raise InvalidValueError(f"sizes must name an input and an output layer; got {shown(self.sizes)}.")
        known("activation", self.activation, ACTIVATIONS)
        known("loss", self.loss, LOSSES)
        if self.loss == "softmax" and sizes[-1] == 1:
            raise InvalidValueError(
                f"softmax over one output is always 1; got sizes {sizes}. Use loss='sigmoid', or two outputs."
            )
        object.__setattr__(self, "sizes", sizes)
        dropout = real("dropout", self.dropout, low=0.0, below=1.0, remedy="It is a share of the hidden units.")
        if dropout and len(sizes) == 2:
            raise InvalidValueError(f"dropout leaves out hidden units, and sizes {sizes} have none. Use dropout=0.")
        object.__setattr__(self, "dropout", dropout)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The shape (fan_in, fan_out) of every weight matrix, from input to output."""
        return tuple(pairwise(self.sizes))

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes)


def initial_weights(mlp: MLP, seed: int) -> list[NDArray[np.float64]]:
    """Return the first weight matrices of the member with this ``seed``; its biases start at 0.

    W ~ N(0, g²/fan_in) with g² = 2 for a layer followed by a relu (He et al. 2015) or gelu, and g² = 1 for all others:
    sigmoid and tanh layers and the output (LeCun et al. 1998; Nielsen, ch. 3). Drawn layer by layer from
    ``numpy.random.default_rng([seed, 0])``.

    >>> [w.shape for w in initial_weights(MLP((4, 3, 2)), seed=7)]
    [(4, 3), (3, 2)]
    """
    a_kind("mlp", mlp, MLP)
    draw = np.random.default_rng([count("seed", seed, low=0), 0])
    last = len(mlp.shapes) - 1
    return [
        draw.standard_normal(shape)
        * np.sqrt((2.0 if mlp.activation in ("relu", "gelu") and layer < last else 1.0) / shape[0])
        for layer, shape in enumerate(mlp.shapes)
    ]


@dataclass(frozen=True, slots=True)
class SGD:
    """Gradient descent with momentum: h = g + l2·w, v ← μ·v + h, w ← shrink·w - lr·u.

    u = v, or h + μ·v with ``nesterov``; μ is ``momentum`` in [0, 1); v starts at 0. The rate stands outside the buffer,
    as in PyTorch and optax.
    Biases take the same step with l2 = 0, shrink = 1.

    Raises InvalidValueError for a momentum out of range, or for ``nesterov`` without momentum, which does nothing.

    >>> SGD(momentum=0.9, nesterov=True)
    SGD(momentum=0.9, nesterov=True)

    Source: Sutskever et al. 2013 in PyTorch's form.
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "momentum", real("momentum", self.momentum, low=0.0, below=1.0))
        if flag("nesterov", self.nesterov) and not self.momentum:
            raise InvalidValueError("nesterov looks ahead along the momentum, and momentum is 0. Give a momentum.")


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam, and with ``shrink`` AdamW: h = g + l2·w, w ← shrink·w - lr·m̂/(√v̂ + ε).

    m ← β1·m + (1-β1)·h and v ← β2·v + (1-β2)·h² from zero; in step t, counted from 1, m̂ = m/(1-β1^t), v̂ = v/(1-β2^t).
    Biases take the same step with l2 = 0, shrink = 1.

    Raises InvalidValueError unless 0 ≤ β < 1 and ε ≥ 1e-30, below which float32 would divide 0 by 0.

    >>> Adam(beta2=0.99)
    Adam(beta1=0.9, beta2=0.99, eps=1e-08)

    Source: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta1", real("beta1", self.beta1, low=0.0, below=1.0))
        object.__setattr__(self, "beta2", real("beta2", self.beta2, low=0.0, below=1.0))
        object.__setattr__(self, "eps", real("eps", self.eps, low=1e-30, remedy="In float32 less would be 0."))


Optimiser: TypeAlias = SGD | Adam


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """What every member does in every step: arrays (members, steps) of float64.

    ``lr`` ≥ 0 multiplies the update, biases included. ``shrink`` multiplies the weight matrices beside it (left out:
    1), and ``l2`` ≥ 0 is added to their gradient as l2·w (left out: 0). A shrink below 0, from lr·λ > 1, is applied as
    it stands.

    Raises InvalidValueError for arrays that are not (members, steps), differ in shape, or hold a value out of range.

    >>> import numpy as np
    >>> rates = Rates(lr=np.full((8, 600), 0.1), shrink=np.full((8, 600), 0.9999))
    >>> rates.members, rates.steps
    (8, 600)
    """

    lr: NDArray[np.float64]
    shrink: NDArray[np.float64] | None = None
    l2: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        lr = _table("lr", self.lr)
        object.__setattr__(self, "lr", lr)
        for name, idle in (("shrink", 1.0), ("l2", 0.0)):
            given = getattr(self, name)
            table = np.full(lr.shape, idle) if given is None else _table(name, given)
            if table.shape != lr.shape:
                raise InvalidValueError(
                    f"{name} has shape {table.shape} but lr has {lr.shape}; broadcasting hides errors. "
                    "Give one number per member and step."
                )
            object.__setattr__(self, name, table)
        for name in ("lr", "l2"):
            _not_negative(name, getattr(self, name))

    @property
    def members(self) -> int:
        """The number of members, K."""
        return int(self.lr.shape[0])

    @property
    def steps(self) -> int:
        """The number of optimiser steps, T."""
        return int(self.lr.shape[1])


def seeds_of(seeds: Any, rates: Rates) -> list[int]:
    """Return the seeds as whole numbers; raise InvalidValueError unless there is one for each row of ``rates``."""
    if not has_members(seeds):
        raise InvalidValueError(f"seeds must be whole numbers, one a member; got {shown(seeds)}. Use range(members).")
    numbers = [count("a seed", seed, low=0) for seed in seeds]
    if len(numbers) != rates.members:
        raise InvalidValueError(f"{len(numbers)} seeds for {rates.members} rows of rates; give one seed per member.")
    return numbers


def _table(name: str, value: ArrayLike) -> NDArray[np.float64]:
    try:
        given: NDArray[Any] = as_given(value)
    except ValueError as error:  # rows of unequal length
        raise InvalidValueError(f"{name} is not an array: {error}. Give every member the same steps.") from None
    except TypeError as error:
        raise InvalidValueError(f"{name} cannot be taken: {error}.") from None
    if given.dtype.kind not in "iuf" or given.ndim != 2 or not given.size:
        raise InvalidValueError(
            f"{name} must be real numbers of shape (members, steps), at least one of each; "
            f"got shape {given.shape} of {given.dtype}."
        )
    table = given.astype(np.float64)
    wrong = np.argwhere(~np.isfinite(table))
    if wrong.size:
        member, step = (int(i) for i in wrong[0])
        raise InvalidValueError(
            f"{name} of member {member} at step {step} is {table[member, step]}; rates must be finite. Repair the plan."
        )
    table.flags.writeable = False
    return table


def _not_negative(name: str, table: NDArray[np.float64]) -> None:
    wrong = np.argwhere(table < 0.0)
    if wrong.size:
        member, step = (int(i) for i in wrong[0])
        raise InvalidValueError(
            f"{name} of member {member} at step {step} is {table[member, step]:g}; it must be zero or more."
        )
