"""Weight decay: the four conventions, their constructors from every framework's number, and the cost itself.

A decay says two numbers for a step, given the learning rate lr = peak·lr_scale·f and the factor f: the share x that leaves
each weight (w ← (1 - x)·w) and the coefficient c added to the gradient (g ← g + c·w). Which is which is the convention.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from dwindle.arrays import float64
from dwindle.errors import InvalidValueError, NoExactMapError, count, flag, known, real, shown
from dwindle.schedule import Schedule
from dwindle.units import Horizon, short

__all__ = [
    "L2",
    "Corrected",
    "Decay",
    "Decoupled",
    "Independent",
    "Penalty",
    "convert",
    "half_life",
    "penalty",
    "timescale",
]

_ADAPTIVE = ("adam", "adagrad", "rmsprop", "adadelta", "adamax", "nadam", "radam", "lion")


@dataclass(frozen=True, slots=True)
class Decay(ABC):
    """A weight decay λ, a number or a schedule of λ itself, under one named convention.

    ``cautious`` decays only where update and weight do not disagree in sign (u·w ≥ 0). ``allow_overshoot`` permits a
    decay that would flip the sign of a weight and grow it (x >= 2).
    """

    weight_decay: float | Schedule
    cautious: bool = False
    allow_overshoot: bool = False

    convention: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.weight_decay, Schedule):
            real("weight_decay", self.weight_decay, remedy="Give a number such as 0.1, or a schedule.")
            lam = real(
                "weight_decay", self.weight_decay, low=0.0, remedy="Decay shrinks weights; a negative one grows them."
            )
            object.__setattr__(self, "weight_decay", lam)
        flag("cautious", self.cautious)
        flag("allow_overshoot", self.allow_overshoot)

    def at(self, step: Any) -> Any:
        """Return λ at ``step``."""
        return self.weight_decay(step) if isinstance(self.weight_decay, Schedule) else self.weight_decay

    def resolve(self, horizon: Horizon) -> Self:
        """Return this decay with the times of its λ schedule, if it has one, in steps."""
        if isinstance(self.weight_decay, Schedule):
            return replace(self, weight_decay=self.weight_decay.resolve(horizon))
        return self

    def __str__(self) -> str:
        lam = self.weight_decay
        number = f"({lam})" if isinstance(lam, Schedule) else short(lam)
        flags = f"{' cautious' if self.cautious else ''}{' overshoot' if self.allow_overshoot else ''}"
        return f"{self.convention} {number}{flags}"

    @abstractmethod
    def share(self, step: Any, lr: Any, factor: Any) -> Any:
        """Return x, the share that leaves each weight in this step beyond the gradient's update."""

    def coupling(self, step: Any) -> Any:
        """Return c, the coefficient of w in the gradient; 0 for every decoupled convention."""
        return 0.0


@dataclass(frozen=True, slots=True)
class L2(Decay):
    """The textbook's L2 regularisation: g ← g + λ·w before momentum or Adam sees it; the cost λ/2·Σw².

    With plain SGD this is w ← (1 - lr·λ)w - lr·g. Source: Nielsen 2015, Neural Networks and Deep Learning, ch. 3, eqs.
    (85)-(93), λ_here = λ/n; torch's ``weight_decay`` of SGD and Adam.

    >>> L2.from_cost(lam=5.0, n=50_000).weight_decay
    0.0001
    """

    convention: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        Decay.__post_init__(self)
        if self.cautious:
            raise InvalidValueError(
                "cautious compares the update with the weight, and l2 is part of the update; use decoupled."
            )

    def share(self, step: Any, lr: Any, factor: Any) -> Any:
        return 0.0

    def coupling(self, step: Any) -> Any:
        return self.at(step)

    @classmethod
    def from_cost(cls, lam: float, n: int) -> L2:
        """Return the decay of the cost C = C0 + (lam/2n)·Σw² over n training examples: λ = lam/n, whatever the momentum."""
        return cls(_per_example(lam, n))

    @classmethod
    def from_torch(cls, weight_decay: float) -> L2:
        """Return torch's ``weight_decay`` of SGD, Adam and all whose decay is in the gradient: the same number.

        Not of AdamW, Muon and Adafactor, nor of Adam, NAdam and RAdam with ``decoupled_weight_decay``.

        >>> L2.from_torch(5e-4).weight_decay
        0.0005
        """
        return cls(weight_decay)

    @classmethod
    def from_keras(cls, l2: float) -> L2:
        """Return Keras' ``regularizers.L2(l2)``, whose cost l2·Σw² has no ½: λ = 2·l2.

        >>> L2.from_keras(0.01).weight_decay
        0.02
        """
        return cls(2.0 * real("l2", l2, low=0.0))

    @classmethod
    def from_sklearn(cls, alpha: float, *, estimator: str, batch_size: int | None = None) -> L2:
        """Return scikit-learn's ``alpha``: ``estimator`` "sgd" (SGDClassifier, SGDRegressor): λ = alpha; "mlp": alpha/batch_size.

        MLPClassifier divides the penalty by the batch, so its λ changes with ``batch_size`` (with lbfgs the batch is n).

        >>> L2.from_sklearn(1e-4, estimator="mlp", batch_size=200).weight_decay
        5e-07
        """
        alpha = real("alpha", alpha, low=0.0)
        batch = None if batch_size is None else count("batch_size", batch_size)
        if known("estimator", estimator, ["sgd", "mlp"]) == "sgd":
            return cls(alpha)
        if batch is None:
            raise InvalidValueError("the alpha of scikit-learn's MLP is divided by the batch; give batch_size.")
        return cls(alpha / batch)


@dataclass(frozen=True, slots=True)
class Decoupled(Decay):
    """Decoupled decay that follows the learning rate: w ← (1 - lr·λ)·w beside the optimiser's update.

    torch AdamW and Muon, optax ``adamw``, Keras ``weight_decay``.

    >>> Decoupled(0.1).share(0, lr=3e-4, factor=1.0)
    2.9999999999999997e-05
    """

    convention: ClassVar[str] = "decoupled"

    def share(self, step: Any, lr: Any, factor: Any) -> Any:
        return lr * self.at(step)

    @classmethod
    def from_cost(cls, lam: float, n: int, *, momentum: float = 0.0) -> Decoupled:
        """Return the decay with the stationary point of C0 + (lam/2n)·Σw² under SGD: λ = lam/(n·(1 - momentum)).

        The gradient moves w by lr/(1 - momentum) in the long run, a decoupled decay only by lr·λ (derived).

        >>> Decoupled.from_cost(5.0, 50_000, momentum=0.5).weight_decay
        0.0002
        """
        return cls(_per_example(lam, n) / _kept(momentum))

    @classmethod
    def from_torch(cls, weight_decay: float) -> Decoupled:
        """Return ``weight_decay`` of torch's AdamW, Muon, Adafactor, or Adam with ``decoupled_weight_decay``: the same number.

        >>> Decoupled.from_torch(0.01).weight_decay
        0.01
        """
        return cls(weight_decay)

    from_keras = from_torch
    from_optax = from_torch


@dataclass(frozen=True, slots=True)
class Independent(Decay):
    """Decay that follows the factor but not the peak: w ← (1 - f·λ)·w.

    Source: Loshchilov & Hutter 2019, arXiv 1711.05101, alg. 2 line 12 (η_t λ); Composer's DecoupledAdamW.

    >>> Independent(1e-4).share(0, lr=3e-4, factor=0.5)
    5e-05
    """

    convention: ClassVar[str] = "independent"

    def share(self, step: Any, lr: Any, factor: Any) -> Any:
        return factor * self.at(step)

    @classmethod
    def from_cost(cls, lam: float, n: int, *, peak: float, momentum: float = 0.0) -> Independent:
        """Return the decay with the stationary point of C0 + (lam/2n)·Σw²: λ = peak·lam/(n·(1 - momentum)).

        >>> Independent.from_cost(5.0, 50_000, peak=0.1).weight_decay
        1e-05
        """
        return cls(real("peak", peak, low=0.0) * _per_example(lam, n) / _kept(momentum))

    @classmethod
    def from_composer(cls, weight_decay: float) -> Independent:
        """Return Composer's ``weight_decay``: w ← (1 - lr/lr0·λ)·w, the same number.

        >>> Independent.from_composer(1e-5).weight_decay
        1e-05
        """
        return cls(weight_decay)

    @classmethod
    def from_tfa(cls, weight_decay: float, *, scheduled: bool) -> Independent:
        """Return TensorFlow Addons' ``weight_decay``, w ← w - λ·w, if the user scheduled it like the learning rate.

        Unscheduled it stays the same while the learning rate falls, which no constant λ of ours does: NoExactMapError.

        >>> Independent.from_tfa(1e-5, scheduled=True).weight_decay
        1e-05
        """
        if not flag("scheduled", scheduled):
            raise NoExactMapError(
                "TensorFlow Addons' unscheduled weight_decay ignores the learning rate; no constant decay here does. "
                "With a constant schedule it is independent(weight_decay); otherwise give its λ as a schedule, λ/f."
            )
        return cls(weight_decay)


@dataclass(frozen=True, slots=True)
class Corrected(Decay):
    """Decay for layers followed by a normalisation: w ← (1 - lr·f·λ)·w, that is peak·f²·λ.

    Keeps the gradient-to-weight ratio constant along the schedule. Source: Defazio 2025, arXiv 2506.02285 (AdamC).

    >>> Corrected(0.1).share(0, lr=5e-4, factor=0.5)
    2.5e-05
    """

    convention: ClassVar[str] = "corrected"

    def share(self, step: Any, lr: Any, factor: Any) -> Any:
        return lr * factor * self.at(step)

    @classmethod
    def from_timm(cls, weight_decay: float) -> Corrected:
        """Return timm's ``weight_decay`` with ``corrected_weight_decay=True``: the same number.

        >>> Corrected.from_timm(0.05).weight_decay
        0.05
        """
        return cls(weight_decay)


CONVENTIONS = {kind.convention: kind for kind in (L2, Decoupled, Independent, Corrected)}


def convert(
    decay: Decay, to: str, *, peak: float, optimiser: str = "sgd", momentum: float = 0.0, dampening: float = 0.0
) -> Decay:
    """Return the decay of convention ``to`` with the same stationary point as ``decay`` at the peak, where a constant does it.

    Between l2 and the others the factor is the optimiser's long-run gain: of SGD 1, with momentum (1 - dampening)/(1 - momentum).
    Raises NoExactMapError between l2 and the others for Adam and its kin: there the coupled decay is divided by √v,
    which changes from weight to weight and from step to step. So it does from a cautious decay to l2.

    >>> convert(L2(1e-4), "decoupled", peak=0.1, momentum=0.5).weight_decay
    0.0002
    >>> convert(Decoupled(0.1), "independent", peak=3e-4).weight_decay
    2.9999999999999997e-05
    """
    kind = CONVENTIONS[known("convention", to, CONVENTIONS)]
    if not isinstance(decay, Decay):
        raise InvalidValueError(f"decay must name its convention, such as l2(x) or decoupled(x); got {shown(decay)}.")
    if isinstance(decay, kind):
        return decay
    peak = real("peak", peak, above=0.0)
    if L2 in (kind, type(decay)) and str(optimiser).lower() != "sgd":
        known("optimiser", str(optimiser).lower(), ["sgd", *_ADAPTIVE])
        raise NoExactMapError(
            f"with {optimiser} no constant carries {decay.convention} into {to}: l2 is divided by the gradient's running "
            f"size, {decay.convention if to == 'l2' else to} decay is not. Keep the convention, or search λ anew."
        )
    if decay.cautious and kind is L2:
        raise NoExactMapError(
            "no constant carries a cautious decay into l2: it acts only where the update does not move a weight away from 0, "
            "and a gradient cannot know. Leave out cautious, or keep the convention."
        )
    damped, kept = real("dampening", dampening, low=0.0, below=1.0), _kept(momentum)
    gain = (1.0 - damped) / kept if momentum else 1.0  # without momentum torch's dampening is idle
    to_decoupled = {L2: gain, Decoupled: 1.0, Independent: 1.0 / peak, Corrected: 1.0}
    ratio = to_decoupled[type(decay)] / to_decoupled[kind]
    return kind(decay.weight_decay * ratio, cautious=decay.cautious, allow_overshoot=decay.allow_overshoot)


class Penalty(NamedTuple):
    """The regularisation cost λ/2·Σw², whole and by group; C = C0 + ``total``."""

    total: float
    groups: dict[str, float]


def penalty(coefficient: float, groups: Mapping[str, Iterable[Any]]) -> Penalty:
    """Return (c/2)·Σw² for each group of weight arrays (float64 sums); c = λ/n for the textbook's (λ/2n)·Σw².

    Biases are not penalised: leave them out. Source: Nielsen 2015, ch. 3, eq. (87).

    >>> penalty(0.1, {"hidden": [[[3.0, 4.0]]], "output": [[[1.0]]]})
    Penalty(total=1.3, groups={'hidden': 1.25, 'output': 0.05})
    """
    c = real("coefficient", coefficient, low=0.0)
    if not isinstance(groups, Mapping):
        raise InvalidValueError(f"groups must map a name to its weight arrays; got {shown(groups)}.")
    try:
        costs = {
            name: 0.5 * c * sum(float(np.sum(np.square(float64(f"the weights of {shown(name)}", w)))) for w in weights)
            for name, weights in groups.items()
        }
    except TypeError as error:
        raise InvalidValueError(f"groups must map a name to arrays of numbers: {error}.") from error
    return Penalty(math.fsum(costs.values()), costs)


def peak_share(decay: Decay, lr: float) -> float:
    """Return the share that leaves each weight in the first step where the factor is 1; l2 as under plain SGD."""
    return float(decay.share(0, lr, 1.0) + lr * decay.coupling(0))


def log_kept(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return log |1 - x| of shares x, -inf where nothing is left; beyond 1 a step turns the sign, which this does not tell."""
    with np.errstate(divide="ignore"):
        logs: npt.NDArray[np.float64] = np.log1p(-np.minimum(shares, 2.0 - shares))
    return logs


def timescale(share: float) -> float:
    """Return τ = 1/x in steps for a share x = lr·λ a step; infinite without decay.

    AdamW is an exponential average of its updates over the last τ steps: Wang & Aitchison 2024, arXiv 2405.13698.

    >>> round(timescale(3e-4 * 0.1))
    33333
    """
    share = real("share", share, low=0.0)
    return 1.0 / share if share else math.inf


def half_life(share: float) -> float:
    """Return the steps in which decay alone halves a weight: ln 2 / -ln(1 - x).

    >>> half_life(0.5)
    1.0
    """
    share = real("share", share, low=0.0, below=1.0)
    return math.log(2.0) / -math.log1p(-share) if share else math.inf


def _per_example(lam: float, n: int) -> float:
    lam = real("lam", lam, low=0.0, remedy="λ is the strength of the penalty (λ/2n)·Σw².")
    return lam / count("n", n, remedy="n is the number of training examples.")


def _kept(momentum: float) -> float:
    return 1.0 - real("momentum", momentum, low=0.0, below=1.0)
