"""Any schedule as one formula of the step."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dwindle.errors import NoExactMapError, UnresolvedTimeError
from dwindle.schedule import (
    Clip,
    Constant,
    Custom,
    Exponential,
    Extend,
    Formula,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    PowerLaw,
    Product,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Shift,
    Stretch,
    Sum,
    Table,
    Tanh,
)
from dwindle.units import exactly, number_of_steps

__all__ = ["expression", "formula_or_table"]

_FOREVER = 10**18
_LONG = 5_000  # letters of a formula that still can be read, also by `read_source`


def expression(schedule: Schedule, steps: int = _FOREVER) -> str:
    """Return the formula of a resolved schedule: a Python expression of ``step`` (0-based), exact for steps 0 .. ``steps``.

    A half cosine is written sin²(π/2·(1 - x)), where its usual form (1 + cos πx)/2 loses digits near its foot.
    Raises UnresolvedTimeError for a time that is not in steps, NoExactMapError for a function of the user's own.

    >>> from dwindle.schedule import cosine, warmup
    >>> expression(warmup(10).then(cosine(90, end=0.1)))
    'step / 10 if step < 10 else 0.1 + 0.9 * sin(pi * (90 - min(step - 10, 90)) / 180) ** 2'
    """
    return ast.unparse(ast.parse(_of(schedule, Clock("step", 0, steps)), mode="eval"))


def formula_or_table(schedule: Schedule, steps: int) -> str:
    """Return `expression`, or a list of the factors of all ``steps`` steps where it is long and the list is shorter.

    Cycles within cycles, each written out, multiply: such a formula is longer than the run it describes.

    >>> from dwindle.schedule import table
    >>> formula_or_table(table([1.0, 0.5], every=2), 4)
    '[1, 0.5][min(step // 2, 1)]'
    """
    formula = expression(schedule, steps)
    if len(formula) <= _LONG or steps >= len(formula):  # a factor and its comma take more than one letter
        return formula
    factors = [_n(float(factor)) for factor in schedule(np.arange(steps + 1))]
    table = f"[{', '.join(factors)}][min(step, {steps})]"
    return table if len(table) < len(formula) else formula


@dataclass(frozen=True, slots=True)
class Clock:
    """The step as a schedule sees it: its ``text``, and the ``first`` and ``last`` value that it takes."""

    text: str
    first: float
    last: float

    def moved(self, steps: float) -> Clock:
        """Return the clock that reads 0 when this one reads ``steps``."""
        if steps == 0:
            return self
        return Clock(
            f"({self.text} {'-' if steps > 0 else '+'} {_n(abs(steps))})", self.first - steps, self.last - steps
        )

    def begun(self) -> Clock:
        """Return the clock that stands at 0 until this one comes to it."""
        return self if self.first >= 0 else Clock(self.held(), 0, max(self.last, 0))

    @property
    def is_whole(self) -> bool:
        """Whether it counts whole steps: no division and no fraction stands in its text."""
        return "." not in self.text and "/" not in self.text.replace("//", "")

    def held(self, last: float | None = None) -> str:
        """Return the text of this clock, held at 0 below and at ``last`` above where it would leave them."""
        text = f"max({self.text}, 0)" if self.first < 0 else self.text
        return text if last is None or self.last <= last else f"min({text}, {_n(last)})"


def _of(schedule: Schedule, clock: Clock) -> str:
    match schedule:
        case Constant(factor=factor):
            return _n(factor)
        case Ramp():
            return _ramp(schedule, clock)
        case Tanh():
            return _tanh(schedule, clock)
        case Exponential(decay_rate=rate, every=every, staircase=staircase):
            return f"({_n(rate)} ** ({clock.held()} {'//' if staircase else '/'} {_n(_steps(every))}))"
        case PowerLaw(exponent=exponent, every=every, rate=rate, staircase=staircase):
            x = f"{clock.held()} {'//' if staircase else '/'} {_n(_steps(every))}"
            return f"(1 / (1 + {_n(rate)} * ({x})) ** {_n(exponent)})"
        case Piecewise(boundaries=boundaries, factors=factors):
            return _chosen([_n(f) for f in factors], [_steps(b) for b in boundaries], clock)
        case Interpolate():
            return _through(schedule, clock)
        case Table(factors=factors, every=every):
            index = f"{clock.held()} // {every}" if every > 1 else clock.held()
            index = index if clock.is_whole else f"floor({index})"
            return f"[{', '.join(_n(f) for f in factors)}][min({index}, {len(factors) - 1})]"
        case Formula(text=text):
            return _substituted(text, clock)
    return _combined(schedule, clock)


def _combined(schedule: Schedule, clock: Clock) -> str:
    match schedule:
        case Join(pieces=pieces):
            return _joined(pieces, _edges(schedule), clock)
        case Product(factors=parts):
            return " * ".join(f"({_of(part, clock)})" for part in parts)
        case Sum(terms=parts):
            return " + ".join(f"({_of(part, clock)})" for part in parts)
        case Scaled(schedule=inner, factor=factor):
            return f"{_n(factor)} * ({_of(inner, clock)})"
        case Shift(schedule=inner, steps=steps):
            by = _steps(steps)
            return _of(inner, (clock.begun() if by < 0 else clock).moved(by))
        case Stretch(schedule=inner, by=by):
            return _of(inner, Clock(f"({clock.text} / {_n(by)})", clock.first / by, clock.last / by))
        case Clip(schedule=inner, low=low, high=high):
            text = _of(inner, clock) if low == 0.0 else f"max({_of(inner, clock)}, {_n(low)})"
            return text if high is None else f"min({text}, {_n(high)})"
        case Repeat():
            return _repeated(schedule, clock)
        case Mirror(schedule=inner, every=every):
            span = _steps(every)
            if clock.last <= span:
                return _of(inner, clock)
            return _of(inner, Clock(f"({_n(span)} - abs({clock.held()} % {_n(2 * span)} - {_n(span)}))", 0, span))
        case Extend(schedule=inner, every=every):
            span = _steps(every)
            if clock.last <= span:
                return _of(inner, clock)
            held = clock.held()
            return _of(inner, Clock(f"({held} / max(-(-{held} // {_n(span)}), 1))", 0, span))
        case Custom():
            raise NoExactMapError(
                "a custom function has no source to write; give it as formula text (Formula) or its values as a table."
            )
    raise NoExactMapError(f"{type(schedule).__name__} has no formula; give its values as a table.")


def _ramp(ramp: Ramp, clock: Clock) -> str:
    steps = _steps(ramp.steps)
    step = clock.held(steps)
    if ramp.warp != 1.0:
        step = f"({step} / {_n(steps)}) ** {_n(ramp.warp)} * {_n(steps)}"
    if ramp.shape == "geometric":
        return f"({_n(ramp.start)} * {_n(ramp.end / ramp.start)} ** ({step} / {_n(steps)}))"
    low, high = sorted((ramp.start, ramp.end))
    fallen = _fallen(ramp, step, steps, rising=ramp.end > ramp.start)
    if ramp.power != 1.0:
        fallen = f"({fallen}) ** {_n(ramp.power)}"
    text = f"({_between(low, high, fallen)})"
    if ramp.warp == 1.0 and ramp.shape != "exponential":
        return text
    return _chosen([text, _n(ramp.end)], [steps], clock)  # these do not come to their end exactly


def _between(low: float, high: float, share: str) -> str:
    if low == 0.0:
        return share if high == 1.0 else f"{_n(high)} * ({share})"
    return f"{_n(low)} + {_n(_span(low, high))} * ({share})"


def _span(low: float, high: float) -> float:
    """Return high - low in the fewest digits with which low + span is high: 0.9, not 0.09999999999999998."""
    rough = round(high - low, 15)
    return rough if low + rough == high else high - low


def _fallen(ramp: Ramp, step: str, steps: float, *, rising: bool) -> str:
    """Return g(x), falling from 1 to 0, of x = step/steps; g(1 - x) where the ramp rises."""
    whole = _n(steps)
    done, left = (f"({whole} - ({step}))", step) if rising else (step, f"({whole} - {step})")
    if ramp.shape == "cosine":
        return f"sin(pi * {left if not rising else f'({left})'} / {_n(2 * steps)}) ** 2"
    share = f"({left}) / {whole}"
    if ramp.shape == "sqrt":
        return f"({share}) / (1 + sqrt({done} / {whole}))"
    if ramp.shape == "square":
        return f"({share}) * (({whole} + {done}) / {whole})"
    if ramp.shape == "exponential":
        # r^x - r = tanh((1-x) ln(1/r)/2) (r^x + r), which does not cancel as x comes to 1
        ratio, pull = _n(ramp.ratio), _n(-0.5 * math.log(ramp.ratio))
        return f"tanh({share} * {pull}) * ({ratio} ** ({done} / {whole}) + {ratio}) / {_n(1.0 - ramp.ratio)}"
    return share


def _tanh(tanh: Tanh, clock: Clock) -> str:
    steps = _steps(tanh.steps)
    x = f"{clock.held(steps)} / {_n(steps)}"
    if tanh.warp != 1.0:
        x = f"({x}) ** {_n(tanh.warp)}"
    share = f"1 / (1 + exp(2 * ({_n(tanh.lower)} + {_n(tanh.upper - tanh.lower)} * ({x}))))"
    return f"({_between(tanh.end, 1.0, share)})"


def _through(points: Interpolate, clock: Clock) -> str:
    clock = clock.begun()
    at, values = [_steps(a) for a in points.at], points.factors
    parts = [_n(values[0])]
    for (left, right), (start, end) in zip(pairwise(at), pairwise(values), strict=True):
        ramp = Ramp(start=start, end=end, steps=exactly(right - left), shape=points.shape)
        inside = Clock(clock.text, max(clock.first, left), min(clock.last, right)).moved(left)
        parts.append(_n(start) if start == end else _ramp(ramp, replace(inside, first=0, last=_FOREVER)))
    return _chosen([*parts, _n(values[-1])], at, clock)


def _joined(pieces: Sequence[Schedule], edges: Sequence[float], clock: Clock) -> str:
    parts = []
    for i, piece in enumerate(pieces):
        start = edges[i - 1] if i else 0
        if i and start > clock.last:
            break
        last = edges[i] if i < len(edges) else clock.last
        inside = replace(clock, first=clock.first if i == 0 else start, last=min(clock.last, last))
        parts.append(_of(piece, inside.moved(start)))
    return _chosen(parts, edges, clock)


def _chosen(parts: Sequence[str], edges: Sequence[float], clock: Clock) -> str:
    """Return parts[i] where i edges are at or below the clock; many are chosen by halves, so that none nests deep."""
    kept = [i for i, edge in enumerate(edges) if edge <= clock.last and i + 1 < len(parts)]
    parts, edges = [parts[0], *(parts[i + 1] for i in kept)], [edges[i] for i in kept]
    passed = sum(edge <= clock.first for edge in edges)
    return _halved(parts[passed:], edges[passed:], clock.text)


def _halved(parts: Sequence[str], edges: Sequence[float], step: str) -> str:
    if not edges:
        return parts[0]
    middle = 0 if len(edges) <= 8 else len(edges) // 2
    before = _halved(parts[: middle + 1], edges[:middle], step)
    after = _halved(parts[middle + 1 :], edges[middle + 1 :], step)
    return f"({before} if {step} < {_n(edges[middle])} else {after})"


def _repeated(repeat: Repeat, clock: Clock) -> str:
    every, cycles = _steps(repeat.every), repeat.cycles
    if repeat.growth == 1:
        if clock.last < every:
            return _of(repeat.schedule, clock)
        held = clock.held()
        turn, rest = f"{held} // {_n(every)}", f"{held} % {_n(every)}"
        cycle = f"({turn})" if cycles is None else f"min({turn}, {cycles - 1})"
        if cycles is None:
            local = f"({rest})"
        elif float(every).is_integer():
            local = f"({held} - {cycle} * {_n(every)})"
        else:  # where that product would be rounded
            local = f"({rest} if {turn} < {cycles} else {held} - {_n((cycles - 1) * every)})"
        inside = _of(repeat.schedule, Clock(local, 0, every if cycles is None else clock.last))
        return inside if repeat.decay == 1 else f"({inside}) * {_n(repeat.decay)} ** {cycle}"
    return _growing(repeat, every, clock)


def _growing(repeat: Repeat, every: float, clock: Clock) -> str:
    """Return cycles of growing length, those that begin within the clock spelled out."""
    clock, parts = clock.begun(), []
    starts = [start for start in repeat._starts or (0.0,) if start <= clock.last]
    for i, start in enumerate(starts):
        begun, span = clock.moved(start), repeat.growth**i
        local = Clock(begun.text if i == 0 else f"({begun.text} / {_n(span)})", 0, every)
        if i == len(starts) - 1:
            local = replace(local, last=(clock.last - start) / span)
        wave = _of(repeat.schedule, local)
        parts.append(wave if repeat.decay == 1 or i == 0 else f"({wave}) * {_n(repeat.decay**i)}")
    return _chosen(parts, starts[1:], clock)


def _edges(join: Join) -> Sequence[float]:
    if join._edges is None:
        raise _unresolved(join)
    return join._edges


def _steps(time: Any) -> float:
    steps = number_of_steps(time)
    if steps is None:
        raise UnresolvedTimeError(f"{time or 'a time left open'} is not in steps; give the run, a Horizon.")
    return steps


def _unresolved(schedule: Schedule) -> UnresolvedTimeError:
    return UnresolvedTimeError(f"'{schedule}' has times that are not in steps; give the run, a Horizon.")


def _whole(value: float) -> Any:
    return int(value) if value == int(value) else value


def _n(value: float) -> str:
    """Return a number as Python source, whole numbers without their point."""
    return repr(_whole(value)) if abs(value) < 1e15 else repr(value)


def _substituted(text: str, clock: Clock) -> str:
    """Return a formula of ``step`` with the clock's text in its place; what looks up a list must stay whole."""
    local = ast.parse(clock.held(), mode="eval").body

    class Local(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return local if node.id == "step" else node

        def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
            self.generic_visit(node)
            if not clock.is_whole:
                node.slice = ast.Call(ast.Name("floor"), [node.slice], [])
            return node

    return f"({ast.unparse(Local().visit(ast.parse(text, mode='eval')))})"
