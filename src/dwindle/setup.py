"""What a model is set up to train with, as a frozen value: its weights, the groups that update them, the rates to come."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dwindle.arrays import float64
from dwindle.decay import L2, Decay
from dwindle.errors import count, known, known_keys
from dwindle.mask import Param
from dwindle.plan import Plan
from dwindle.schedule import Interpolate, Join, Mirror, Ramp, Scaled, Schedule, Shift, Tanh
from dwindle.units import Horizon, number_of_steps, sampled

__all__ = [
    "Course",
    "Group",
    "Pace",
    "Scheduler",
    "Setup",
    "Weight",
    "ends_within",
    "epochs_of",
    "is_near",
    "is_strong",
    "sampled",
    "setup_of_plan",
]

Array = npt.NDArray[np.float64]

_DTYPES = {
    "bf16": "bfloat16", "bfloat16": "bfloat16", "fp16": "float16", "float16": "float16", "fp32": "float32",
    "float32": "float32", "fp64": "float64", "float64": "float64",
}  # fmt: skip
_BIAS = re.compile(r"(^|[./_])bias(es)?($|_[a-z]{2}_l\d+)")
_B = re.compile(r"(^|[./])b$")
_GAIN = re.compile(r"(^|[./])(scale|gamma|beta|offset|weight|bias)$")
_NORM = re.compile(r"(norm|(^|[./_])(ln|bn)(_?\w{0,2})?[./_])", re.IGNORECASE)
_TABLE = re.compile(
    r"(^|[./_])(w[tp]e|embed\w*|\w*embeddings?|pos_emb\w*|cls_token|dist_token|relative_position_bias_table)([./_]|$)",
    re.IGNORECASE,
)
_MIXES = re.compile(r"linear|conv|dense|attention|einsum|proj", re.IGNORECASE)
_ATTENDS = re.compile(r"attn|attention|transformer|bert|gpt|llama|(^|\.)vit", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor: what it is, which groups update it, and what can be told of its gradient. Unknown is None.

    ``groups`` has the index of a group for each time a group holds it; empty where none does. ``tied`` are further names of
    the same tensor, ``shares`` the names of other tensors in the same memory. ``followed_by`` names the normalisation right
    after it. ``kept`` says that decay below its rounding is not lost: it is kept beside it, or added to it together with a larger
    update. ``zero``: its gradient is 0 in every number.

    >>> Weight("ln.weight", (8,), "LayerNorm").role, Weight("fc.weight", (8, 4), "Linear").role
    ('norm', 'weight')
    """

    name: str
    shape: tuple[int, ...] = ()
    kind: str = ""
    dtype: str = "float32"
    groups: tuple[int, ...] = ()
    trainable: bool = True
    gradient: bool | None = None
    tied: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    followed_by: str = ""
    kept: bool = False
    zero: bool = False

    @property
    def role(self) -> str:
        """Return "norm" (also any other gain), "bias", "embedding" or "weight"."""
        kind, flat = self.kind.lower(), len(self.shape) <= 1
        if "norm" in kind and not _MIXES.search(kind):
            return "norm"
        if _BIAS.search(self.name) and (flat or not kind):  # a JAX bias may be a stack, or have a side for each head
            return "bias"
        if flat and _B.search(self.name):
            return "bias"
        if flat:
            return "norm"
        if "embed" in kind and not re.search("patch", kind):
            return "embedding"
        if not _MIXES.search(kind) and _TABLE.search(self.name) and "patch" not in self.name:
            return "embedding"
        return "norm" if not kind and _NORM.search(self.name) and _GAIN.search(self.name) else "weight"


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters with one learning rate and one decay: ``lr`` now, ``peak`` where the decay's factor is 1.

    ``momentum`` is SGD's, 0 where the optimiser divides by the gradient's size. ``initial`` is the rate it was built with,
    ``growth`` the share by which weights grow in a step without a gradient, where a decay has the wrong sign.
    """

    name: str
    lr: float
    decay: Decay | None = None
    peak: float | None = None
    momentum: float = 0.0
    initial: float | None = None
    growth: float = 0.0

    @property
    def top(self) -> float:
        """Return the rate at which the decay's factor is 1."""
        return self.peak if self.peak else self.lr


@dataclass(frozen=True, slots=True, eq=False)
class Scheduler:
    """What sets the learning rates: ``lr`` [groups, n] at its own counts ``at`` [n], and where it stands.

    ``done`` counts were made; it ends after ``length`` (``said`` in words). ``per_update`` are the counts of one optimiser
    update where that is known for sure, ``why`` says from what. ``bases`` and ``last`` are what it holds for the groups'
    initial and present rates. ``by_design``: it rises again on purpose; ``by_update``: it is made to count updates;
    ``answers``: a metric moves it. ``fresh``: the optimiser has made no step since it was built. ``elsewhere``: it was
    built for another optimiser.
    """

    name: str
    at: Any
    lr: Any
    done: int | None = None
    length: int | None = None
    said: str = ""
    per_update: float | None = None
    why: str = ""
    bases: tuple[float, ...] = ()
    last: tuple[float, ...] = ()
    by_design: bool = False
    by_update: bool = False
    answers: bool = False
    fresh: bool | None = None
    elsewhere: bool = False

    def __post_init__(self) -> None:
        for name in ("at", "lr"):
            array = float64(name, getattr(self, name))
            array.flags.writeable = False
            object.__setattr__(self, name, array)


class Pace(NamedTuple):
    """How many counts of the scheduler one update of the optimiser makes, and from what that is known ("" is assumed)."""

    per_update: float
    why: str


class Course(NamedTuple):
    """Learning rates ``lr`` [groups, n] of the updates ``at`` [n]; ``whole``: they reach to the end of the run."""

    at: Array
    lr: Array
    whole: bool


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """A model and its optimiser before, or in, a run; read by the adapters, looked at by ``dwindle.findings``.

    ``framework``: torch, keras, jax, plan or config. ``adaptive``: whether the update is divided by the gradient's size.
    ``updates`` are those the optimiser has done, ``plan`` the one that it follows or was given as. ``updates``,
    ``horizon`` and whatever else is None is not known, and ``unread`` says so in words.

    >>> setup_of_plan(Plan(0.1), Horizon(steps=3)).course().lr[0].tolist()
    [0.1, 0.1, 0.1]
    """

    framework: str
    optimizer: str = ""
    adaptive: bool | None = None
    groups: tuple[Group, ...] = ()
    weights: tuple[Weight, ...] = ()
    scheduler: Scheduler | None = None
    updates: int | None = None
    horizon: Horizon | None = None
    processes: int = 1
    accumulation: int = 1
    plan: Plan | None = None
    followed: bool = False
    schedule_known: bool = True
    attends: bool | None = None
    unread: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known("framework", self.framework, ("torch", "keras", "jax", "plan", "config"))
        count("processes", self.processes, remedy="It is the number of processes that train together.")
        count("accumulation", self.accumulation, remedy="It is the number of micro-batches of an update.")

    def decays(self, weight: Weight) -> bool:
        """Return whether a group that decays holds ``weight``."""
        return any(is_strong(self.groups[i].decay) for i in weight.groups)

    @property
    def transformer(self) -> bool | None:
        """Whether the model attends, by the names of its layers; None where they are not known."""
        if self.attends is not None or not self.weights or self.framework == "plan":
            return self.attends
        return any(_ATTENDS.search(f"{w.name} {w.kind}") for w in self.weights)

    def pace(self) -> Pace:
        """Return how many counts of its scheduler an update makes: known, seen in the run, guessed by its length, or 1."""
        s, run = self.scheduler, self.horizon
        if s is None:
            return Pace(1.0, "")
        if s.per_update is not None:
            return Pace(s.per_update, s.why)
        epoch = None if run is None else run.steps_per_epoch
        if s.done and self.updates:
            return Pace(_snapped(s.done / self.updates, self.ratios()), f"{s.done} counts in {self.updates} updates")
        if s.length and run is not None and epoch and not s.by_update and is_near(s.length, run.steps / epoch):
            return Pace(1.0 / epoch, "its length, that of the epochs")
        return Pace(1.0, "")

    def ratios(self) -> dict[str, float]:
        """Return what a count may be instead of an update, as counts per update, where it differs from 1."""
        both, epoch = self.processes * self.accumulation, None if self.horizon is None else self.horizon.steps_per_epoch
        found = {"per process": float(self.processes), "per micro-batch": float(self.accumulation)}
        if self.processes > 1 and self.accumulation > 1:
            found["per process and micro-batch"] = float(both)
        if epoch is not None and epoch > 1:
            found["per epoch"] = 1.0 / epoch
        return {name: ratio for name, ratio in found.items() if ratio != 1.0}

    def course(self) -> Course:
        """Return the learning rates of the updates to come, as far as they are known; one point where only the present is."""
        steps = None if self.horizon is None else self.horizon.steps
        s, start = self.scheduler, self.updates or 0
        if s is None or s.answers or not s.lr.size:
            now = np.array([[group.lr] for group in self.groups]).reshape(len(self.groups), 1)
            ends = [start] if steps is None or steps - start < 2 or s is not None else [start, steps - 1]
            return Course(np.array(ends, dtype=np.float64), np.repeat(now, len(ends), axis=1), s is None)
        pace = self.pace().per_update
        last = s.at[-1] / pace
        if steps is None:
            return Course(s.at / pace, s.lr, True)
        if pace == 1.0:
            inside = s.at < steps
            return Course(s.at[inside], s.lr[:, inside], bool(last >= steps - 1 or self._has_settled()))
        first = s.at[0] / pace
        at = first + sampled(max(1, math.ceil(min(steps, last + 1.0 / min(pace, 1.0)) - first)))
        place = np.searchsorted(s.at, at * pace + 1e-9, side="right") - 1
        return Course(at, s.lr[:, np.maximum(place, 0)], bool(last >= steps - max(1.0, 1.0 / pace)))

    def _has_settled(self) -> bool:
        s = self.scheduler
        return s is not None and s.length is not None and s.at[-1] > s.length

    def shares(self, group: int, course: Course | None = None) -> Array:
        """Return the share that decay takes of a weight of ``group`` at each point of the course; l2 as under plain SGD."""
        at, lr, _ = self.course() if course is None else course
        decay, top = self.groups[group].decay, self.groups[group].top
        if decay is None:
            return np.zeros(len(at))
        factor = lr[group] / top if top else np.zeros(len(at))
        steps = at.astype(np.int64)
        return np.broadcast_to(decay.share(steps, lr[group], factor) + lr[group] * decay.coupling(steps), at.shape)

    def gain(self, group: int) -> float:
        """Return how much longer-lived momentum makes the decay of ``group``: 1/(1 - μ) for l2, else 1."""
        g = self.groups[group]
        return 1.0 / (1.0 - g.momentum) if isinstance(g.decay, L2) and 0.0 < g.momentum < 1.0 else 1.0


def is_strong(decay: Decay | None) -> bool:
    """Return whether ``decay`` takes anything.

    >>> from dwindle.decay import Decoupled
    >>> is_strong(Decoupled(0.1)), is_strong(Decoupled(0.0)), is_strong(None)
    (True, False, False)
    """
    return decay is not None and decay.weight_decay != 0.0


def is_near(a: float, b: float, within: float = 0.01) -> bool:
    """Return whether two lengths are the same, but for a step or ``within`` that share.

    >>> is_near(1000, 1009), is_near(1000, 1020)
    (True, False)
    """
    return abs(a - b) <= 1 or abs(a - b) / max(abs(a), abs(b)) <= within  # a ratio: whole numbers may be beyond floats


def dtype_named(name: str, value: Any) -> str:
    """Return the full name of the type of weights that ``value`` names or is, such as bf16 or torch.bfloat16.

    >>> dtype_named("dtype", "bf16")
    'bfloat16'
    """
    said = getattr(value, "__name__", None) or str(value).removeprefix("torch.")
    return _DTYPES[known(name, said, _DTYPES)]


def epochs_of(run: Horizon | None) -> int | None:
    """Return how many epochs a run begins; None where the steps of one are not known.

    >>> epochs_of(Horizon(steps=11, steps_per_epoch=5)), epochs_of(Horizon(steps=11))
    (3, None)
    """
    return None if run is None or run.steps_per_epoch is None else -(-run.steps // run.steps_per_epoch)


def ends_within(has_value: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first count without a value, where ``low`` has one and ``high`` has none.

    >>> ends_within(lambda count: count < 7, 0, 100)
    7
    """
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if has_value(middle) else (low, middle)
    return high


def _snapped(ratio: float, known_ratios: dict[str, float]) -> float:
    near = [r for r in (1.0, *known_ratios.values()) if abs(ratio / r - 1.0) <= 0.05]
    return min(near, key=lambda r: abs(ratio / r - 1.0)) if near else ratio


def _end(schedule: Schedule) -> int | None:
    """Return the step at which a resolved schedule comes to the end of its last ramp; None where it has none."""
    if isinstance(schedule, Join):
        last = _end(schedule.pieces[-1])
        before = [
            number_of_steps(length or piece.duration)
            for piece, length in zip(schedule.pieces, schedule.lengths, strict=True)
        ]
        known_before = [n for n in before[:-1] if n is not None]
        return None if last is None or len(known_before) < len(before) - 1 else last + round(sum(known_before))
    if isinstance(schedule, Scaled):
        return _end(schedule.schedule)
    if isinstance(schedule, Shift):
        last, by = _end(schedule.schedule), number_of_steps(schedule.steps)
        return None if last is None or by is None else max(0, last + round(by))
    if isinstance(schedule, Interpolate):
        last_point = number_of_steps(schedule.at[-1])
        return None if last_point is None or _holds(schedule.factors) else round(last_point) + 1
    if isinstance(schedule, Tanh):
        steps_down = number_of_steps(schedule.steps)
        return None if steps_down is None or schedule.end >= 1.0 else round(steps_down)
    steps = schedule.steps if isinstance(schedule, Ramp) else schedule.every if isinstance(schedule, Mirror) else None
    found = number_of_steps(steps)
    return None if found is None or (isinstance(schedule, Ramp) and schedule.end >= schedule.start) else round(found)


def _holds(factors: tuple[float, ...]) -> bool:
    """Return whether the last of the points comes by no fall, or is a stair above 0: what is held may be the training itself."""
    stairs = factors[-1] > 0.0 and any(a > b == c for a, b, c in zip(factors, factors[1:], factors[2:], strict=False))
    return len(factors) < 2 or factors[-1] >= factors[-2] or factors[-1] > 0.5 * max(factors) or stairs


# What a plan says of any model: one parameter of each kind.
_ANY = (
    Param("any.weight", (8, 8), "Linear"),
    Param("any.bias", (8,), "Linear"),
    Param("norm.weight", (8,), "LayerNorm"),
    Param("embedding.weight", (8, 8), "Embedding"),
)


def setup_of_plan(plan: Plan, horizon: Horizon | None = None, **known_too: Any) -> Setup:
    """Return what ``plan`` sets up, for one parameter of each kind; ``known_too`` are further fields of `Setup`.

    >>> from dwindle.mask import Mask
    >>> setup_of_plan(Plan(0.1, mask=Mask.everything())).weights[1].groups
    (0,)
    """
    known_keys("set-up", known_too, ["dtype", *(field.name for field in fields(Setup))])
    dtype = dtype_named("dtype", known_too.pop("dtype", "float32"))
    placed = [(p, next((rule.decays for rule in plan.mask.rules if rule.matches(p)), False)) for p in _ANY]
    weights = tuple(Weight(p.name, p.shape, p.kind, dtype, (0,) if decays else (1,)) for p, decays in placed)
    scheduler, decay = None, plan.decay
    if horizon is not None:
        resolved = plan.resolve(horizon)
        decay, at = resolved.decay, sampled(horizon.steps)
        lr = plan.peak * np.broadcast_to(np.asarray(resolved.schedule(at.astype(np.int64)), dtype=np.float64), at.shape)
        length = _end(resolved.schedule)
        scheduler = Scheduler(
            "the plan", at, np.stack([lr, lr]), length=length, said="" if length is None else f"{length} steps",
            per_update=1.0, why="a plan counts updates", by_update=True,
        )  # fmt: skip
    groups = Group("decaying", plan.peak, decay, plan.peak), Group("not decaying", plan.peak, None, plan.peak)
    said = {"framework": "plan", "plan": plan, "schedule_known": horizon is not None, **known_too}
    return Setup(**{"groups": groups, "weights": weights, "scheduler": scheduler, "horizon": horizon, **said})
