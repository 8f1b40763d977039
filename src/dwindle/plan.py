"""The Plan: peak, schedule, decay and mask as one frozen value, and the rates it gives at every step."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dwindle.decay import Corrected, Decay, Independent, half_life, log_kept, peak_share, timescale
from dwindle.depths import depths
from dwindle.errors import (
    InvalidValueError,
    UnknownNameError,
    a_kind,
    all_of,
    characters,
    flag,
    real,
    shown,
    suggestion,
)
from dwindle.mask import Mask, Param
from dwindle.schedule import Constant, FeedbackRule, Schedule, curve, total
from dwindle.units import Horizon, as_horizon, sampled, short

__all__ = ["Assignment", "Dose", "Group", "Plan", "Rates", "Timescale", "as_plan", "difference", "integrated_decay"]

Array = npt.NDArray[np.float64]

_SCHEDULE = "Use a function such as cosine(), or parse(text) for a whole plan."
_RULE = "A rule that answers a metric goes beside the plan: torch.attach(optimizer, plan, run, feedback=rule)."
_MASK = 'Use Mask.of(Rule("name", "*.bias", False)), or parse(text) for a whole plan.'


class Rates(NamedTuple):
    """What an adapter applies in one step: g ← g + l2·w, then the update with ``lr``, and w ← shrink·w beside it."""

    lr: Any
    shrink: Any
    l2: Any


class Dose(NamedTuple):
    """The same step by x = 1 - shrink, the share that leaves each weight: taken from shrink its last digits are lost."""

    lr: Any
    share: Any
    l2: Any


class Timescale(NamedTuple):
    """A time of the decay, in steps, epochs and tokens (None where the horizon does not know the unit)."""

    steps: float
    epochs: float | None
    tokens: float | None


class Assignment(NamedTuple):
    """Where one parameter fell: its group, the whole factor on its learning rate, whether it decays, and why."""

    name: str
    group: str | None
    lr_scale: float
    decays: bool
    rule: str
    tied_to: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters whose name matches the glob ``match``, with a learning rate ``lr_scale`` times the plan's.

    >>> Group("head", "head.*", 10.0)
    Group(name='head', match='head.*', lr_scale=10.0)
    """

    name: str
    match: str
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        for what in ("name", "match"):
            if not isinstance(getattr(self, what), str) or not getattr(self, what):
                raise InvalidValueError(f"a group's {what} must be text; got {shown(getattr(self, what))}.")
            characters(f"a group's {what}", getattr(self, what))
        object.__setattr__(self, "lr_scale", real("lr_scale", self.lr_scale, low=0.0))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does to its learning rate and its weights: lr(t) = peak·lr_scale·f(t), and the decay read from the same f.

    ``layer_decay`` multiplies the learning rate of block i of L by layer_decay^(L - i), counted from the output. Blocks are
    the members of the model's stack of them; the numbered layers of a stem lie before it, those of a head behind.

    >>> from dwindle.decay import Decoupled
    >>> from dwindle.schedule import cosine, warmup
    >>> plan = Plan(3e-4, warmup("10%").then(cosine(end=0.1)), Decoupled(0.1))
    >>> plan.lrs(100)[[0, 10, 99]]
    array([0.00000000e+00, 3.00000000e-04, 3.00822384e-05])
    >>> plan.resolve(Horizon(steps=100)).rates(10)
    Rates(lr=0.0003, shrink=0.99997, l2=0.0)
    """

    peak: float
    schedule: Schedule = field(default_factory=Constant)
    decay: Decay | None = None
    mask: Mask = field(default_factory=Mask)
    groups: tuple[Group, ...] = ()
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        real("peak", self.peak, remedy="Give a number such as 3e-4.")
        object.__setattr__(
            self, "peak", real("peak", self.peak, low=0.0, remedy="The learning rate must not be negative.")
        )
        instead = _RULE if isinstance(self.schedule, FeedbackRule) else _SCHEDULE
        for name, kind, remedy in (("schedule", Schedule, instead), ("mask", Mask, _MASK)):
            a_kind(name, getattr(self, name), kind, remedy)
        if self.decay is not None and not isinstance(self.decay, Decay):
            raise InvalidValueError(
                f"decay must name its convention; got {shown(self.decay)}. "
                "Use l2(x), decoupled(x), independent(x) or corrected(x)."
            )
        object.__setattr__(self, "groups", all_of("groups", self.groups, Group))
        if len({g.name for g in self.groups}) < len(self.groups):
            raise InvalidValueError(f"group names must differ; got {[g.name for g in self.groups]}.")
        if self.layer_decay is not None:
            object.__setattr__(self, "layer_decay", real("layer_decay", self.layer_decay, above=0.0, high=1.0))
        self._check_overshoot()

    def _check_overshoot(self) -> None:
        """Refuse a decay that would flip and grow the weights; warn of one that would flip them."""
        if self.decay is None or self.decay.allow_overshoot:
            return
        lam = self.decay.weight_decay
        if isinstance(lam, Schedule):
            if not isinstance(lam, Constant):
                return
            lam = lam.factor
        kind, share = self.decay.convention, self.decay.share(0, self.peak, 1.0)
        if share >= 2.0:
            raise InvalidValueError(
                f"{kind} decay {lam:g} takes {share:g} times each weight a step at peak {self.peak:g}: weights would change sign "
                f"and grow. Lower it below {lam / share:g}, or say allow_overshoot=True."
            )
        if share >= 1.0:
            warnings.warn(
                f"{kind} decay {lam:g} at peak {self.peak:g} multiplies weights by {1.0 - share:g}: from the first step at the "
                f"peak they {'change sign' if share > 1.0 else 'are 0'}.",
                stacklevel=4,
            )
        for group in self.groups:
            taken = self.decay.share(0, self.peak * group.lr_scale, 1.0)
            if taken >= 1.0 > share:
                warnings.warn(
                    f"{kind} decay {lam:g} at peak {self.peak:g} times {group.lr_scale:g} multiplies the weights of group "
                    f"{group.name!r} by {1.0 - taken:g}, those that decay: they "
                    f"{'are 0' if taken == 1.0 else 'change sign' if taken <= 2.0 else 'change sign and grow'}.",
                    stacklevel=4,
                )

    def resolve(self, horizon: Horizon | int) -> Plan:
        """Return this plan with every time in steps of ``horizon`` (an int counts steps)."""
        run = as_horizon(horizon)
        decay = None if self.decay is None else self.decay.resolve(run)
        return replace(self, schedule=self.schedule.resolve(run), decay=decay)

    def lr(self, step: Any, group: str | None = None) -> Any:
        """Return the learning rate at ``step`` (0-based number of updates done); the plan must be resolved."""
        if group is None:
            return self.peak * self.schedule(step)
        return self.peak * self.scale(group) * self.schedule(step)

    def rates(
        self,
        step: Any,
        group: str | None = None,
        *,
        lr_scale: float = 1.0,
        decays: bool = True,
        peak: float | None = None,
    ) -> Rates:
        """Return (lr, shrink, l2) of one step for parameters of ``group``; ``decays`` False is for biases and the like.

        ``lr_scale`` is a further factor on the learning rate, such as a layer's. The plan must be resolved.
        ``peak`` is the one in effect where a feedback rule has moved it: lr = peak·lr_scale·f(t), and what reads the factor
        reads f(t)·peak/self.peak.

        >>> from dwindle.decay import Independent
        >>> Plan(0.2, decay=Independent(0.5)).rates(7, peak=0.1)
        Rates(lr=0.1, shrink=0.75, l2=0.0)
        """
        lr, share, coupling = self.dose(step, group, lr_scale=lr_scale, decays=decays, peak=peak)
        return Rates(lr, 1.0 - share, coupling)

    def dose(
        self,
        step: Any,
        group: str | None = None,
        *,
        lr_scale: float = 1.0,
        decays: bool = True,
        peak: float | None = None,
    ) -> Dose:
        """Return (lr, share, l2) of one step, the arguments as of `rates`: w ← w - share·w beside the update.

        >>> from dwindle.decay import Decoupled
        >>> plan = Plan(1.0, decay=Decoupled(1e-17))
        >>> plan.dose(0).share, plan.rates(0).shrink
        (1e-17, 1.0)
        """
        factor = self.schedule(step)
        top = self.peak if peak is None else peak
        try:
            lr = top * (lr_scale if group is None else lr_scale * self.scale(group)) * factor
        except (TypeError, OverflowError):
            raise InvalidValueError(
                f"peak and lr_scale must be real numbers; got {shown(top)} and {shown(lr_scale)}."
            ) from None
        if self.decay is None or not decays:
            return Dose(lr, 0.0, 0.0)
        if peak is not None:
            try:
                factor = factor * (peak / self.peak)
            except ZeroDivisionError:
                if peak != 0:
                    raise InvalidValueError(
                        f"peak {peak:g} is infinitely far above the plan's peak of 0, and so is its factor. Give the plan a peak."
                    ) from None
        return Dose(lr, self.decay.share(step, lr, factor), self.decay.coupling(step))

    def scale(self, group: str) -> float:
        """Return the lr_scale of the group of that name."""
        for known_group in self.groups:
            if known_group.name == group:
                return known_group.lr_scale
        names = [known_group.name for known_group in self.groups]
        which = f"; {suggestion(group, names)}" if names else ", which has no groups."
        raise UnknownNameError(f"group {shown(group)} is not in the plan{which}")

    def factors(self, horizon: Horizon | int) -> Array:
        """Return f at every step of the run, shape [steps]."""
        run = as_horizon(horizon)
        return curve(self.schedule.resolve(run), run.steps)

    def lrs(self, horizon: Horizon | int, group: str | None = None) -> Array:
        """Return every learning rate of the run, float64, shape [steps]."""
        return self.peak * (1.0 if group is None else self.scale(group)) * self.factors(horizon)

    def table(self, horizon: Horizon | int, group: str | None = None) -> Rates:
        """Return the rates of every step of the run as three float64 arrays of shape [steps]."""
        lrs, shares, coupling = self._curves(horizon, group)
        return Rates(lrs, 1.0 - shares, coupling)

    def decay_shares(self, horizon: Horizon | int, group: str | None = None) -> Array:
        """Return x, the share that the decoupled decay takes from each weight, at every step; zero for l2."""
        return self._curves(horizon, group)[1]

    def sgd_shares(self, horizon: Horizon | int, group: str | None = None) -> Array:
        """Return the share that decay takes at every step under plain SGD, where l2 takes lr·λ like decoupled."""
        lrs, shares, coupling = self._curves(horizon, group)
        return shares + lrs * coupling

    def _curves(self, horizon: Horizon | int, group: str | None) -> tuple[Array, Array, Array]:
        """Return the learning rates, the decay's shares and the l2 coefficients of the run."""
        run = as_horizon(horizon)
        factors = self.factors(run)
        lrs = self.peak * (1.0 if group is None else self.scale(group)) * factors
        none = np.zeros_like(factors)
        if self.decay is None:
            return lrs, none, none
        decay, steps = self.decay.resolve(run), np.arange(run.steps)
        return lrs, none + decay.share(steps, lrs, factors), none + decay.coupling(steps)

    def shares_left(self, horizon: Horizon | int, group: str | None = None) -> Array:
        """Return what decay alone leaves of w(0) before each step and after the last: Π(1 - x), shape [steps + 1].

        l2 counts as under plain SGD. With zero gradients w(T) = w(0)·Π shrink.

        >>> from dwindle.decay import Decoupled
        >>> Plan(0.1, decay=Decoupled(1.0)).shares_left(2)
        array([1.  , 0.9 , 0.81])
        """
        taken = self.sgd_shares(horizon, group)
        size = np.exp(np.cumsum(log_kept(taken)))
        left = np.where(np.cumsum(taken > 1.0) % 2, -size, size)  # beyond 1 a step turns the sign
        return np.concatenate(([1.0], left))

    def timescale(self, horizon: Horizon | int) -> Timescale:
        """Return τ = 1/x at the peak of the plan, in steps, epochs and tokens; infinite without decay.

        x is the share that decay takes from each weight in a step. Where λ is a schedule it is the largest of the run.

        >>> from dwindle.decay import Decoupled
        >>> from dwindle.schedule import linear
        >>> Plan(0.5, decay=Decoupled(0.01)).timescale(100).steps, Plan(0.5, decay=Decoupled(0.01 * linear())).timescale(9).steps
        (200.0, 200.0)
        """
        return self._at_the_peak(timescale, horizon)

    def half_life(self, horizon: Horizon | int) -> Timescale:
        """Return how long decay alone takes to halve a weight at the peak, ln 2 / -ln(1 - x), in steps, epochs and tokens.

        x as of `timescale`.

        >>> from dwindle.decay import Decoupled
        >>> Plan(0.1, decay=Decoupled(5.0)).half_life(Horizon(epochs=3, steps_per_epoch=2))
        Timescale(steps=1.0, epochs=0.5, tokens=None)
        """
        return self._at_the_peak(lambda share: half_life(min(share, 1.0 - 1e-16)), horizon)

    def _at_the_peak(self, measure: Callable[[float], float], horizon: Horizon | int) -> Timescale:
        run = as_horizon(horizon)
        steps = measure(share_at_the_peak(self, run))
        return Timescale(
            steps,
            None if run.steps_per_epoch is None else steps / run.steps_per_epoch,
            None if run.tokens_per_step is None else steps * run.tokens_per_step,
        )

    def assign(self, params: Iterable[Param], *, ordered: bool = True) -> tuple[Assignment, ...]:
        """Return for each parameter its group, learning-rate scale, whether it decays and which rule decided.

        A tensor under several names is placed once, under its first. ``ordered``: whether the parameters come in the order in
        which the model uses them; what `layer_decay` needs to know is else told by their names alone.
        """
        decided = self.mask.decide(all_of("params", params, Param))
        owners = [decision.name for decision in decided if decision.tied_to is None]
        lies = {} if self.layer_decay is None else depths(owners, ordered=flag("ordered", ordered))
        deepest = max(lies.values(), default=0)
        placed: list[Assignment] = []
        for name, decays, rule, tied_to in decided:
            if tied_to is not None:
                owner = next(each for each in placed if each.name == tied_to)
                placed.append(owner._replace(name=name, tied_to=tied_to))
                continue
            group = next((g for g in self.groups if fnmatchcase(name, g.match)), None)
            scale = 1.0 if group is None else group.lr_scale
            if self.layer_decay is not None:
                scale *= self.layer_decay ** (deepest - lies[name])
            placed.append(Assignment(name, None if group is None else group.name, scale, decays, rule, None))
        unused = [g.match for g in self.groups if not any(a.group == g.name for a in placed)]
        if unused:
            raise UnknownNameError(
                f"group pattern {unused[0]!r} matches no parameter that an earlier group has not taken."
            )
        return tuple(placed)

    def __str__(self) -> str:
        """Return the one-line text; ``parse(str(plan)) == plan``."""
        parts = [f"peak {short(self.peak)}", str(self.schedule)]
        if self.decay is not None:
            parts.append(str(self.decay))
        if self.mask != Mask():
            parts.append(f"mask {self.mask}")
        parts += [f"group {json.dumps(g.name)} {json.dumps(g.match)} times {short(g.lr_scale)}" for g in self.groups]
        if self.layer_decay is not None:
            parts.append(f"layer-decay {short(self.layer_decay)}")
        return " | ".join(parts)


def as_plan(value: Any) -> Plan:
    """Return ``value`` if it is a Plan; raise InvalidValueError if not."""
    return a_kind("plan", value, Plan, "For text use parse(text).")


def difference(old: Plan, new: Plan) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two plans differ, as {field: (old, new)}; empty if they are equal.

    >>> difference(Plan(0.1), Plan(0.2))
    {'peak': (0.1, 0.2)}
    """
    old, new = as_plan(old), as_plan(new)
    pairs = ((f.name, getattr(old, f.name), getattr(new, f.name)) for f in fields(Plan))
    return {name: (a, b) for name, a, b in pairs if a != b}


def share_at_the_peak(plan: Plan, run: Horizon, lr_scale: float = 1.0) -> float:
    """Return the share that decay takes where the factor is 1, the largest of the run where λ is a schedule; l2 as of SGD."""
    resolved = plan.resolve(run)
    decay, lr = resolved.decay, plan.peak * lr_scale
    if decay is None:
        return 0.0
    if not isinstance(decay.weight_decay, Schedule):
        return peak_share(decay, lr)
    taken = resolved.dose(sampled(run.steps).astype(np.int64), lr_scale=lr_scale)
    return float(np.max(taken.share + taken.lr * taken.l2))


def integrated_decay(plan: Plan, horizon: Horizon | int) -> float:
    """Return Σ x over the run, the decay's whole dose; about exp(-Σ x) of w(0) is left. l2 counts as under plain SGD.

    In closed form for a constant λ wherever `schedule.total` has one.

    >>> from dwindle.decay import Decoupled
    >>> from dwindle.schedule import cosine
    >>> integrated_decay(Plan(0.1, cosine(), Decoupled(0.01)), 10**12)
    500000000.0005
    """
    run = as_horizon(horizon)
    if plan.decay is None:
        return 0.0
    lam = plan.decay.weight_decay
    if isinstance(lam, Schedule) or isinstance(plan.decay, Corrected):
        return math.fsum(plan.sgd_shares(run))
    dose = total(plan.schedule.resolve(run), run.steps)
    return (lam if isinstance(plan.decay, Independent) else plan.peak * lam) * dose
