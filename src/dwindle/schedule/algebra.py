"""What a schedule is, and the algebra on schedules: join, product, sum, scale, shift, stretch, clip, repeat, mirror.

A schedule is a frozen value that maps a step to a dimensionless factor, f = 1 at the peak. Its times may still carry units;
``resolve(horizon)`` turns them into steps once, and only a resolved schedule can be called.

One long file on purpose: every combinator is a Schedule, and a method of Schedule makes it.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.elementary import power, power_parts
from dwindle.errors import InvalidValueError, UnresolvedTimeError, count, real, sequence, shown
from dwindle.namespace import NUMPY, namespace
from dwindle.units import Horizon, Time, as_time, exactly, in_steps, number_of_steps, percent, short, time_text, words

__all__ = ["Clip", "Join", "Mirror", "Product", "Repeat", "Scaled", "Schedule", "Shift", "Stretch", "Sum", "curve"]

_BLOCK = 8192  # elements evaluated at once: the intermediate arrays then stay in the second-level cache
_LAST_STEP = 2**62
_LONGEST = 10**9  # steps of a curve, 8 GB


class Schedule(ABC):
    """A factor as a function of the step: frozen, total and finite for every step; negative steps count as step 0.

    >>> from dwindle.schedule import Schedule, linear, warmup
    >>> schedule = warmup(2).then(linear(4))
    >>> isinstance(schedule, Schedule), [schedule(step) for step in range(7)]
    (True, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0])
    """

    __slots__ = ()

    @abstractmethod
    def __call__(self, step: Any) -> Any:
        """Return the factor at ``step``: a number, or an array of numpy, torch or jax."""

    @abstractmethod
    def resolve(self, horizon: Horizon, room: float | None = None) -> Schedule:
        """Return this schedule with every time in steps; ``room`` is what a time that was left open fills."""

    @property
    def duration(self) -> Time | int | None:
        """How long this schedule changes; None if it has no end of its own, or takes the rest of the run."""
        return None

    def then(self, other: Schedule, after: Any = None) -> Join:
        """Return this schedule followed by ``other``, which counts from its own boundary.

        ``after`` says how long this one lasts; by default its own duration, or what the others leave of the run.
        """
        return Join((self, other), (as_time("after", after), None))

    def __mul__(self, other: Any) -> Schedule:
        if isinstance(other, Schedule):
            return Product((self, other))
        return self if _is(other, 1) else Scaled(self, other)

    __rmul__ = __mul__

    def __add__(self, other: Schedule) -> Sum:
        return Sum((self, other))

    def shift(self, steps: Any) -> Schedule:
        """Return this schedule delayed by ``steps`` (negative: begun earlier): f(step - steps)."""
        return self if _is(steps, 0) else Shift(self, steps)

    def stretch(self, by: float) -> Schedule:
        """Return this schedule slowed down ``by`` times: f(step / by)."""
        return self if _is(by, 1) else Stretch(self, by)

    def clip(self, low: float = 0.0, high: float | None = None) -> Schedule:
        """Return this schedule held inside [low, high]."""
        return Clip(self, low, high)

    def repeat(
        self, every: Any = None, *, growth: float = 1.0, decay: float = 1.0, cycles: int | None = None
    ) -> Repeat:
        """Return this schedule begun anew ``every`` so many steps; see Repeat."""
        return Repeat(self, every, growth, decay, cycles)

    def mirror(self, every: Any = None) -> Mirror:
        """Return this schedule played forth and back, ``every`` so many steps each way."""
        return Mirror(self, every)


def curve(schedule: Schedule, steps: int, start: int = 0) -> npt.NDArray[np.float64]:
    """Return the factors of steps start .. start+steps-1 as float64, the same bits as one call a step.

    >>> from dwindle.schedule import Ramp
    >>> curve(Ramp(steps=4), 5)
    array([1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    _one(schedule)
    steps, start = count("steps", steps, low=0), count("start", start, low=-_LAST_STEP, high=_LAST_STEP)
    if steps > _LONGEST:
        raise InvalidValueError(
            f"a curve of {steps} steps does not fit in memory; at most {_LONGEST:.0e} are drawn. Ask plan.lr(step) for one."
        )
    out = np.empty(steps, dtype=np.float64)
    for low in range(0, steps, _BLOCK):
        high = min(low + _BLOCK, steps)
        out[low:high] = schedule(np.arange(start + low, start + high, dtype=np.int64))
    return out


@dataclass(frozen=True, slots=True)
class Join(Schedule):
    """One schedule after another, each counting from its own boundary.

    ``lengths[i]`` is how long piece i lasts: None takes the piece's own duration, and for at most one piece without a
    duration the rest of the run. The last piece goes on for ever. Joins nest flat, so joining is associative.

    >>> from dwindle.schedule import warmup, cosine
    >>> s = warmup(10).then(cosine(90))
    >>> s(5), s(10), s(100)
    (0.5, 1.0, 0.0)
    """

    pieces: tuple[Schedule, ...]
    lengths: tuple[Time | int | None, ...] = ()
    _edges: tuple[float, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = sequence("pieces", self.pieces)
        lengths = tuple(as_time("length", each) for each in sequence("lengths", self.lengths)) or (None,) * len(given)
        if not given or len(lengths) != len(given):
            raise InvalidValueError(f"a join needs as many lengths as pieces; got {len(lengths)} for {len(given)}.")
        pieces: list[Schedule] = []
        flat: list[Time | int | None] = []
        for piece, length in zip(given, lengths, strict=True):
            _one(piece, "each of the pieces")
            if isinstance(piece, Join) and (length is None or length == piece.duration):
                pieces += piece.pieces
                flat += piece.lengths
            else:
                pieces.append(piece)
                flat.append(length)
        # a piece's own duration need not be said twice: one value then has one spelling
        said = [None if length == piece.duration else length for piece, length in zip(pieces, flat, strict=True)]
        object.__setattr__(self, "pieces", tuple(pieces))
        object.__setattr__(self, "lengths", tuple(said))
        object.__setattr__(self, "_edges", _edges(self.spans[:-1]))

    @property
    def spans(self) -> tuple[Time | int | None, ...]:
        """The length of each piece, its own duration filled in."""
        return tuple(
            piece.duration if length is None else length
            for piece, length in zip(self.pieces, self.lengths, strict=True)
        )

    @property
    def duration(self) -> Time | int | None:
        edges = _edges(self.spans)
        return exactly(edges[-1]) if edges else None

    def resolve(self, horizon: Horizon, room: float | None = None) -> Join:
        spans = [None if s is None else in_steps(s, horizon) for s in self.spans]
        open_pieces = [i for i, span in enumerate(spans) if span is None]
        if len(open_pieces) > 1:
            names = " and ".join(f"piece {i + 1}" for i in open_pieces)
            raise InvalidValueError(
                f"only one piece may take the rest of the run, but {names} have no length; say how long."
            )
        taken = sum(number_of_steps(s) or 0 for s in spans)
        room = horizon.steps if room is None else room
        rest = room - taken
        if open_pieces and rest <= 0 and open_pieces[0] < len(spans) - 1:
            raise InvalidValueError(
                f"the pieces of the schedule need {taken:g} steps and leave none of {room:g} for the open one; "
                "shorten them or lengthen the run."
            )
        pieces: list[Schedule] = []
        lengths: list[Time | int | None] = []
        for i, (piece, span) in enumerate(zip(self.pieces, spans, strict=True)):
            last = i == len(spans) - 1
            inside = rest if span is None else number_of_steps(span) or 0
            # the last piece goes on, whatever its own duration: alone it has all the room, so a join of one is that one
            left = rest + inside if last and span is not None and self.lengths[i] is None else inside
            pieces.append(piece.resolve(horizon, max(1, left)))
            lengths.append(None if span is None and last else exactly(inside))
        return Join(tuple(pieces), tuple(lengths))

    def __str__(self) -> str:
        if self.lengths == (None,):
            return f"join {_inner(self.pieces[0])}"
        return ", ".join(
            f"{_inner(piece) if isinstance(piece, Join) else piece}{'' if length is None else f' for {time_text(length)}'}"
            for piece, length in zip(self.pieces, self.lengths, strict=True)
        )

    def __call__(self, step: Any) -> Any:
        edges = self._edges
        if edges is None:
            raise _unresolved(self)
        if type(step) is int or type(step) is float:
            i = bisect_right(edges, step)
            return self.pieces[i](step - edges[i - 1]) if i else self.pieces[0](step)
        xp = namespace(step)
        if xp is NUMPY:
            return self._by_blocks(np.asarray(step), edges)
        value = self.pieces[0](step)
        for edge, piece in zip(edges, self.pieces[1:], strict=True):
            here, edge = _wide(step, edge)
            value = xp.where(here >= edge, piece(here - edge), value)
        return value

    def _by_blocks(self, step: npt.NDArray[Any], edges: tuple[float, ...]) -> Any:
        """Evaluate a piece only where some step falls into it."""
        index = np.searchsorted(edges, step, side="right")
        low, high = int(index.min(initial=len(edges))), int(index.max(initial=0))
        offsets = (0, *edges)
        value = self.pieces[low](step - offsets[low])
        for i in range(low + 1, high + 1):
            value = np.where(index >= i, self.pieces[i](step - offsets[i]), value)
        return value


@dataclass(frozen=True, slots=True)
class Product(Schedule):
    """The product of schedules on the same clock: f(step) = Π f_i(step).

    >>> from dwindle.schedule import Product, linear, step
    >>> Product((linear(4), step(2)))(2)  # 0.5 · 0.5
    0.25
    """

    factors: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", _flat(Product, "factors", self.factors))

    @property
    def duration(self) -> Time | int | None:
        return _longest(self.factors)

    def resolve(self, horizon: Horizon, room: float | None = None) -> Product:
        return Product(tuple(f.resolve(horizon, room) for f in self.factors))

    def __str__(self) -> str:
        alone = "product " if len(self.factors) == 1 else ""
        return alone + " * ".join(_inner(f) for f in self.factors)

    def __call__(self, step: Any) -> Any:
        value = self.factors[0](step)
        for factor in self.factors[1:]:
            value = value * factor(step)
        return value


@dataclass(frozen=True, slots=True)
class Sum(Schedule):
    """The sum of schedules on the same clock: f(step) = Σ f_i(step).

    >>> from dwindle.schedule import Sum, constant, linear
    >>> Sum((constant(0.25), linear(4)))(2)
    0.75
    """

    terms: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _flat(Sum, "terms", self.terms))

    @property
    def duration(self) -> Time | int | None:
        return _longest(self.terms)

    def resolve(self, horizon: Horizon, room: float | None = None) -> Sum:
        return Sum(tuple(t.resolve(horizon, room) for t in self.terms))

    def __str__(self) -> str:
        alone = "sum " if len(self.terms) == 1 else ""
        return alone + " + ".join(_inner(t) for t in self.terms)

    def __call__(self, step: Any) -> Any:
        value = self.terms[0](step)
        for term in self.terms[1:]:
            value = value + term(step)
        return value


@dataclass(frozen=True, slots=True)
class Scaled(Schedule):
    """A schedule times a number: f(step) = factor · schedule(step).

    >>> from dwindle.schedule import linear
    >>> Scaled(linear(4), 0.5)(2)
    0.25
    """

    schedule: Schedule
    factor: float

    def __post_init__(self) -> None:
        _one(self.schedule)
        object.__setattr__(self, "factor", real("factor", self.factor, low=0.0))

    @property
    def duration(self) -> Time | int | None:
        return self.schedule.duration

    def resolve(self, horizon: Horizon, room: float | None = None) -> Scaled:
        return replace(self, schedule=self.schedule.resolve(horizon, room))

    def __str__(self) -> str:
        return f"{short(self.factor)} * {_inner(self.schedule)}"

    def __call__(self, step: Any) -> Any:
        return self.factor * self.schedule(step)


@dataclass(frozen=True, slots=True)
class Shift(Schedule):
    """A schedule delayed: f(step) = schedule(step - steps); before its start it holds its first value.

    >>> from dwindle.schedule import linear
    >>> [Shift(linear(4), 10)(step) for step in (0, 10, 12)]
    [1.0, 1.0, 0.5]
    """

    schedule: Schedule
    steps: Time | int

    def __post_init__(self) -> None:
        _one(self.schedule)
        if self.steps is None:
            raise InvalidValueError("steps must say how far to shift; got None.")
        object.__setattr__(self, "steps", as_time("steps", self.steps, low=None))

    def resolve(self, horizon: Horizon, room: float | None = None) -> Shift:
        steps = in_steps(self.steps, horizon)
        room = horizon.steps if room is None else room
        return Shift(self.schedule.resolve(horizon, max(1, room - (number_of_steps(steps) or 0))), steps)

    def __str__(self) -> str:
        return f"{_inner(self.schedule)} shift {time_text(self.steps)}"

    def __call__(self, step: Any) -> Any:
        steps = number_of_steps(self.steps)
        if steps is None:
            raise _unresolved(self)
        step, steps = _wide(step, steps)
        # a negative step is step 0 of the whole, not of what was shifted; a whole sum stays within its type
        if steps < 0:
            xp = namespace(step)
            last = xp.most(step) + steps if isinstance(steps, int) else _LAST_STEP
            step = xp.clip(step, 0, min(_LAST_STEP, last))
        return self.schedule(step - steps)


@dataclass(frozen=True, slots=True)
class Stretch(Schedule):
    """A schedule slowed down ``by`` times: f(step) = schedule(step / by). Stretching twice multiplies.

    >>> from dwindle.schedule import linear
    >>> Stretch(linear(4), 2.0)(4), Stretch(Stretch(linear(4), 2.0), 3.0).by
    (0.5, 6.0)
    """

    schedule: Schedule
    by: float

    def __post_init__(self) -> None:
        _one(self.schedule)
        object.__setattr__(self, "by", real("by", self.by, above=0.0))
        if isinstance(self.schedule, Stretch):
            object.__setattr__(self, "by", self.by * self.schedule.by)
            object.__setattr__(self, "schedule", self.schedule.schedule)

    def resolve(self, horizon: Horizon, room: float | None = None) -> Stretch:
        room = horizon.steps if room is None else room
        return replace(self, schedule=self.schedule.resolve(horizon, room / self.by))

    def __str__(self) -> str:
        return f"{_inner(self.schedule)} stretch {short(self.by)}"

    def __call__(self, step: Any) -> Any:
        xp = namespace(step)
        return self.schedule(xp.divide(xp.as_float(step), self.by))


@dataclass(frozen=True, slots=True)
class Clip(Schedule):
    """A schedule held inside [low, high]; ``high`` None leaves it open upwards.

    >>> from dwindle.schedule import linear
    >>> [Clip(linear(4), low=0.3)(step) for step in (0, 2, 4)]
    [1.0, 0.5, 0.3]
    """

    schedule: Schedule
    low: float = 0.0
    high: float | None = None

    def __post_init__(self) -> None:
        _one(self.schedule)
        object.__setattr__(self, "low", real("low", self.low, low=0.0))
        if self.high is not None:
            object.__setattr__(self, "high", real("high", self.high, low=self.low))

    @property
    def duration(self) -> Time | int | None:
        return self.schedule.duration

    def resolve(self, horizon: Horizon, room: float | None = None) -> Clip:
        return replace(self, schedule=self.schedule.resolve(horizon, room))

    def __str__(self) -> str:
        return f"{_inner(self.schedule)} clip {percent(self.low)}{'' if self.high is None else f' to {percent(self.high)}'}"

    def __call__(self, step: Any) -> Any:
        value = self.schedule(step)
        return namespace(value).clip(value, self.low, float("inf") if self.high is None else self.high)


@dataclass(frozen=True, slots=True)
class Repeat(Schedule):
    """A schedule begun anew each cycle: warm restarts.

    Cycle i starts at S_i = every·(growth^i - 1)/(growth - 1), or every·i for growth 1, and plays
    f(step) = decay^i · schedule((step - S_i) / growth^i). After the last of ``cycles`` it plays on: a ramp
    holds its end. With ``every`` left open the cycles fill the run.
    Source: Loshchilov & Hutter 2017, SGDR, arXiv 1608.03983, eq. 5.

    >>> from dwindle.schedule import cosine
    >>> s = cosine().repeat(10, growth=2, decay=0.5)
    >>> [s.resolve(Horizon(steps=70))(t) for t in (0, 10, 30)]
    [1.0, 0.5, 0.25]
    """

    schedule: Schedule
    every: Time | int | None = None
    growth: float = 1.0
    decay: float = 1.0
    cycles: int | None = None
    _starts: tuple[float, ...] | None = field(init=False, repr=False, compare=False)
    _spans: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _one(self.schedule)
        object.__setattr__(self, "every", as_time("every", self.every))
        growth = real("growth", self.growth, low=1.0, remedy="Cycles that shrink would never end.")
        object.__setattr__(self, "growth", int(growth) if growth.is_integer() else growth)
        if 1.0 < growth < 1.001:
            raise InvalidValueError(f"growth must be 1 or at least 1.001; got {growth!r}. For equal cycles use 1.")
        object.__setattr__(self, "decay", real("decay", self.decay, above=0.0, high=1.0))
        if self.cycles is not None:
            object.__setattr__(self, "cycles", count("cycles", self.cycles))
            if self.cycles * math.log2(growth) > 1000:
                raise InvalidValueError(
                    f"{self.cycles} cycles that grow by {growth:g} are more than any run; give fewer, or leave cycles out."
                )
        elif self.every is None:
            raise InvalidValueError(
                "repeat needs every=, the length of the first cycle, or cycles=, how many fill the run."
            )
        every = number_of_steps(self.every)
        starts = None if every is None else _cycle_starts(every, self.growth, self.cycles)
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "_spans", tuple(float(self.growth) ** i for i in range(len(starts or ()))))

    def resolve(self, horizon: Horizon, room: float | None = None) -> Repeat:
        cycles = self.cycles or 1
        if self.every is None:  # the cycles fill the room
            units = cycles if self.growth == 1 else (self.growth**cycles - 1) / (self.growth - 1)
            room = (horizon.steps if room is None else room) / units
        every = in_steps(self.every, horizon, room)
        return replace(self, schedule=self.schedule.resolve(horizon, number_of_steps(every)), every=every)

    def __str__(self) -> str:
        return words(
            (_inner(self.schedule), "repeat"),
            ("every", None if self.every is None else time_text(self.every)),
            ("growth", None if self.growth == 1 else short(self.growth)),
            ("decay", None if self.decay == 1 else short(self.decay)),
            ("cycles", None if self.cycles is None else str(self.cycles)),
        )

    def __call__(self, step: Any) -> Any:
        if self._starts is None:
            raise _unresolved(self)
        xp = namespace(step)
        step = xp.clip(step, 0, _LAST_STEP)
        if self.growth == 1:
            every = number_of_steps(self.every) or 0
            step, every = _whole(step, every)
            cycle, local = step // every, step % every  # step - cycle * every is rounded as a compiler likes
            if self.cycles is not None:
                last, begun = xp.clip(cycle, 0, self.cycles - 1), min((self.cycles - 1) * every, xp.most(step))
                cycle, local = last, xp.where(cycle > last, step - begun, local)
        else:
            cycle = xp.clip(xp.bucket(self._starts, step) - 1, 0, len(self._starts) - 1)
            local = xp.as_float(step - xp.table(self._starts, cycle)) / xp.table(self._spans, cycle)
        value = self.schedule(local)
        if self.decay != 1:
            value = value * power(power_parts(self.decay), xp.as_float(cycle), xp)
        return value


@dataclass(frozen=True, slots=True)
class Mirror(Schedule):
    """A schedule played forth and back without end.

    f(step) = schedule(p) with p = step mod 2·every, and schedule(2·every - p) in the second half of each round.

    >>> from dwindle.schedule import linear
    >>> [Mirror(linear(2), 2)(step) for step in range(5)]
    [1.0, 0.5, 0.0, 0.5, 1.0]
    """

    schedule: Schedule
    every: Time | int | None = None

    def __post_init__(self) -> None:
        _one(self.schedule)
        object.__setattr__(self, "every", as_time("every", self.every))

    def resolve(self, horizon: Horizon, room: float | None = None) -> Mirror:
        every = in_steps(self.every, horizon, room)
        return Mirror(self.schedule.resolve(horizon, number_of_steps(every)), every)

    def __str__(self) -> str:
        every = "" if self.every is None else f" every {time_text(self.every)}"
        return f"{_inner(self.schedule)} mirror{every}"

    def __call__(self, step: Any) -> Any:
        every = number_of_steps(self.every)
        if every is None:
            raise _unresolved(self)
        xp = namespace(step)
        step, both = _whole(xp.clip(step, 0, _LAST_STEP), 2 * every)
        _, every = _whole(step, every)
        phase = step % both
        return self.schedule(xp.where(phase <= every, phase, every - (phase - every)))


def _wide(step: Any, number: Any) -> tuple[Any, Any]:
    """Return ``step`` and the ``number`` to take from it: as floats if it has a fraction, or the type of steps cannot hold it."""
    xp = namespace(step)
    step = xp.long(step)
    most = xp.most(step)
    held = min(most, _LAST_STEP // 2)
    if isinstance(number, int) and most < math.inf and -held // 2 <= number <= held:
        return step, number
    return xp.as_float(step), float(number)


def _whole(step: Any, number: Any) -> tuple[Any, Any]:
    """Return ``step`` and the ``number`` to divide it by: as floats if it has a fraction, else no more than steps can reach."""
    if not isinstance(number, int):
        return namespace(step).as_float(step), number
    if type(step) is int:
        return step, number
    xp = namespace(step)
    step = xp.long(step)
    most = xp.most(step)
    return step, float(number) if most == math.inf else min(number, most)


def _inner(schedule: Schedule) -> str:
    return f"({schedule})"


def _edges(spans: tuple[Time | int | None, ...]) -> tuple[float, ...] | None:
    """Return the running sums of ``spans``, or None while one of them is not in steps."""
    steps = [number_of_steps(span) for span in spans]
    known = [s for s in steps if s is not None]
    return tuple(accumulate(known)) if len(known) == len(steps) else None


def _cycle_starts(every: float, growth: float, cycles: int | None) -> tuple[float, ...]:
    if growth == 1:
        return (0,)
    starts: list[float] = []
    start, span = 0.0 if isinstance(growth, float) else 0, every
    while start <= _LAST_STEP and (cycles is None or len(starts) < cycles):
        starts.append(start)
        start = start + span
        span = span * growth
    return tuple(starts)


def _flat(kind: type[Any], name: str, children: Any) -> tuple[Schedule, ...]:
    flat: list[Schedule] = []
    for child in sequence(name, children):
        _one(child, f"each of the {name}")
        flat += getattr(child, name) if isinstance(child, kind) else (child,)
    if not flat:
        raise InvalidValueError(f"{name} must not be empty.")
    return tuple(flat)


def _is(value: Any, number: int) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == number


def _one(schedule: Any, name: str = "schedule") -> None:
    if not isinstance(schedule, Schedule):
        hint = f" For a number use constant({shown(schedule)})." if isinstance(schedule, numbers.Real) else ""
        raise InvalidValueError(f"{name} must be a Schedule; got {shown(schedule)}.{hint}")


def _longest(children: tuple[Schedule, ...]) -> Time | int | None:
    """Return the duration shared by all children that have one, if they agree."""
    known = {child.duration for child in children} - {None}
    return known.pop() if len(known) == 1 else None


def _unresolved(schedule: Schedule) -> UnresolvedTimeError:
    return UnresolvedTimeError(
        f"{type(schedule).__name__} still has times that are not steps; call .resolve(Horizon(...)) or use Plan.lrs(horizon)."
    )
