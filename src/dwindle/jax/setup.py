"""A tree of JAX parameters and an optax transformation read as a Setup: what it does is measured on stand-ins of a few numbers.

Optax transformations are closed functions, so what they do is asked of them: an update with zero gradients is the decay,
one with gradients of 1, less that, is the learning rate's, and the counts of schedules in the state say of which step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dwindle.decay import L2, Corrected, Decay, Decoupled
from dwindle.errors import InvalidValueError, shown
from dwindle.setup import Group, Scheduler, Setup, Weight, sampled
from dwindle.units import Horizon

__all__ = ["is_transformation", "read"]

_SAMPLES = 1025
_LATER = np.unique(
    np.concatenate(([0], np.geomspace(1, 10**6, 512).astype(np.int64)))
)  # where a warm-up may have begun
_MOST_CALLS = 2**14
_VALUES = np.array([1.0, -0.5, 0.25, -2.0])
_CLOCK = {
    "count",
    "step",
    "hyperparams",
    "hyperparams_states",
    "inner_state",
    "inner",
}  # fields of a state that counts only
_UNIT = ("ScaleByAdamState", "ScaleByLionState", "TraceState", "EmptyState", "ScaleByScheduleState", "PlanState")


class _Seen(NamedTuple):
    """At each count and leaf, [n, leaves]: the share that decay takes, its spread, and what a gradient moves beside it."""

    share: Any
    spread: Any
    moved: Any


def is_transformation(value: Any) -> bool:
    """Return whether ``value`` is an optax transformation, or a pair (transformation, state)."""
    first = value[0] if isinstance(value, tuple) and not hasattr(value, "update") and value else value
    return hasattr(first, "init") and hasattr(first, "update")


def read(
    params: Any,
    optimizer: Any,
    scheduler: Any = None,
    *,
    horizon: Horizon | None = None,
    processes: int = 1,
    accumulation: int = 1,
) -> Setup:
    """Return what ``optimizer``, an optax transformation or (transformation, state), does to the tree ``params``.

    Decay, masks, learning rates and schedules are measured, at up to 1,025 steps of the run; without ``horizon`` at the
    first, or where that moves nothing (a warm-up from 0) at the largest rate of the counts up to a million. An update of
    optax.MultiSteps is as many calls as its state counts for one. λ is the share of a step over what a gradient of 1 moves
    in the first one, less Nesterov's part of it: the learning rate for SGD, Adam and Lion; only lr·λ is exact for others.

    Raises InvalidValueError for what is no transformation, does not take these parameters, or moves none of them.

    >>> params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    >>> setup = read(params, optax.adamw(0.1, weight_decay=0.5, mask={"kernel": True, "bias": False}))
    >>> [(w.name, str(setup.groups[w.groups[0]].decay)) for w in setup.weights]
    [('bias', 'None'), ('kernel', 'decoupled 0.5')]
    """
    if not is_transformation(optimizer):
        raise InvalidValueError(
            f"optimizer must be an optax transformation or (transformation, state); got {shown(optimizer)}."
        )
    tx, given = (optimizer if isinstance(optimizer, tuple) and not hasattr(optimizer, "update") else (optimizer, None))[
        :2
    ]
    named, shape = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in named]
    leaves = [leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf) for _, leaf in named]
    small = jax.tree.unflatten(shape, [_stand_in(leaf) for leaf in leaves])
    try:
        state = tx.init(small)
        probe = _Probe(tx, state, small, _calls(tx, state, small))
        first = probe.seen(np.array([0]))
    except Exception as error:
        raise InvalidValueError(f"the transformation does not take these parameters: {shown(str(error))}.") from error
    counts = _counts(given)
    done = max((n for name, n in counts if name in ("schedule", "plan")), default=None)
    updates = max((n for name, n in counts if name != "schedule"), default=done)
    unread = ["gradients, frozen parameters: a tree of parameters does not tell", "the kinds of layers: names only"]
    moving = [bool(leaf.size) and jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    steps = 1 if horizon is None else horizon.steps
    at = sampled(steps)
    at = at[np.unique(np.linspace(0, len(at) - 1, min(len(at), _SAMPLES)).astype(int))]
    seen = probe.seen(at) if steps > 1 else first
    later = horizon is None and not _moves(first)
    if later:
        at, seen = _LATER, probe.seen(_LATER)
    if not _moves(seen):
        raise InvalidValueError(
            f"a gradient of 1 moves no parameter at the counts {at[0]} to {at[-1]}: the rate is 0 there, everything is "
            "frozen, or constant gradients are taken away (optax.centralize); give the transformation without that part."
        )
    top = int(np.argmax(np.max(seen.moved, axis=1)))
    count = int(at[top])
    if probe.find_momentum(count):
        seen = probe.seen(at)
    by_hundred = probe.seen(np.array([count]), 100.0).moved[0]
    adaptive = bool(np.any((seen.moved[top] > 0.0) & (by_hundred <= 10.0 * seen.moved[top])))
    begun = top if later else 0
    started = seen.moved[begun] if done is None or steps == 1 else probe.seen(np.array([done])).moved[0]
    place: dict[tuple[float, ...], int] = {}
    groups: list[Group] = []
    rates: list[Any] = []
    weights = []
    for i, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
        dtype, sides = str(leaf.dtype), tuple(leaf.shape)
        marks = np.concatenate([part[[0, top, -1], i] for part in seen])
        alike = tuple(float(f"{mark:.4g}") for mark in marks)
        if not moving[i] or not (np.max(seen.moved[:, i]) > 0.0 or np.max(np.abs(seen.share[:, i])) > 0.0):
            weights.append(Weight(name, sides, "", dtype, (), trainable=False))
            continue
        if alike not in place:
            place[alike] = len(groups)
            decay, momentum = _decay(probe, seen, top, count, i, adaptive)
            peak = float(np.max(seen.moved[:, i]))
            grows = _growth(probe, seen, top, count, i)
            groups.append(Group(f"group {len(groups)}", float(started[i]), decay, peak, momentum, growth=grows))
            rates.append(seen.moved[:, i])
        with_update = dtype == "float32"  # its decay is one sum with the rest of the update, which is larger by far
        weights.append(Weight(name, sides, "", dtype, (place[alike],), kept=with_update))
    read_on = None
    if rates and (steps > 1 or done is not None):
        length, said = _settled(probe, steps, max(processes, accumulation)) if steps > 1 else (None, "")
        inside = at >= (done or 0) if steps > 1 else at == at[begun]
        read_on = Scheduler(
            "the schedule", at[inside], np.stack(rates)[:, inside], done=done, length=length, said=said,
            per_update=1.0, why="optax counts updates", by_update=True,
        )  # fmt: skip
    if not _known_direction(state):
        unread.append("the learning rate itself: what a gradient of 1 moves stands for it; lr·λ is exact")
    return Setup(
        "jax", _name(state), adaptive, tuple(groups), tuple(weights), read_on, updates, horizon, processes, accumulation,
        unread=tuple(unread), schedule_known=steps > 1,
    )  # fmt: skip


def _calls(tx: Any, state: Any, params: Any) -> int:
    """Return how many calls make an update: one, or those that optax.MultiSteps gathers, as its own state counts them."""
    gathering, zeros = _gathered(state), jax.tree.map(jnp.zeros_like, params)
    call, calls = jax.jit(lambda state: tx.update(zeros, state, params)[1]), 1
    while gathering and calls < _MOST_CALLS:
        state = call(state)
        if min(_gathered(state)):
            return calls
        calls += 1
    return 1


def _gathered(state: Any) -> list[int]:
    """Return the updates made by each optax.MultiSteps in ``state``."""
    own = [int(state.gradient_step)] if type(state).__name__ == "MultiStepsState" else []
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, tuple | list) else ()
    return own + [number for part in parts for number in _gathered(part)]


def _moves(seen: _Seen) -> bool:
    return bool(np.max(seen.moved) > 0.0 or np.max(np.abs(seen.share)) > 0.0)


def _stand_in(leaf: Any) -> Any:
    """Return a leaf of as many sides, at most two numbers each; of the precision that the session has."""
    sides = tuple(min(int(side), 2) for side in jnp.shape(leaf))
    values = np.resize(_VALUES, math.prod(sides)).reshape(sides)
    dtype = jnp.result_type(leaf)
    return jnp.asarray(values, jnp.result_type(float) if jnp.issubdtype(dtype, jnp.floating) else dtype)


def _at(state: Any, count: Any) -> Any:
    """Return ``state`` with the counts of its schedules at ``count``; those of Adam and its kin stay."""
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        held = {name: _at(getattr(state, name), count) for name in state._fields}
        for name in ("count", "step"):
            if name in held and set(state._fields) <= _CLOCK:
                held[name] = jnp.asarray(count, jnp.asarray(held[name]).dtype)
        return type(state)(**held)
    if isinstance(state, dict):
        return {key: _at(value, count) for key, value in state.items()}
    if isinstance(state, tuple | list):
        return type(state)(_at(value, count) for value in state)
    return state


class _Probe:
    """A transformation asked what it does to stand-ins ``params`` with gradients a + b·w; ``times`` calls make an update.

    It is compiled once, for one number of questions: a graph of all leaves takes its time. ``momentum`` has SGD's of each
    leaf, once `find_momentum` has looked, and ``push`` the factor that Nesterov's puts on a first step.
    """

    def __init__(self, tx: Any, state: Any, params: Any, times: int) -> None:
        self._tx, self._state, self._params, self._times = tx, state, params, times
        self._w = np.stack([_four(np.asarray(w), np) for w in jax.tree.leaves(params)]).astype(np.float64)
        self.momentum, self.push = np.zeros(len(self._w)), np.ones(len(self._w))

        def one(question: Any) -> Any:
            count, a, b = question
            grads = jax.tree.map(lambda w: _gradient(w, a, b), params)
            update, _ = self._update(_at(state, count), params, grads)
            return jnp.stack([_four(u, jnp).astype(jnp.result_type(float)) for u in jax.tree.leaves(update)])

        self._run = jax.jit(lambda *questions: jax.lax.map(one, questions))
        self._step = jax.jit(lambda count, state, *given: self._update(_at(state, count), *given))

    def moves(self, counts: Any, a: Any, b: Any) -> Any:
        """Return the updates [n, leaves, 4] at these counts under these gradients, each [n] with n at most 1,025."""
        n = len(counts)
        asked = [np.resize(np.asarray(v), _SAMPLES) for v in (np.minimum(counts, 2**31 - 2), a, b)]
        found = self._run(asked[0].astype(np.int32), *(jnp.asarray(v, jnp.result_type(float)) for v in asked[1:]))
        return np.asarray(found, dtype=np.float64)[:n]

    def seen(self, counts: Any, gradient: float = 1.0) -> _Seen:
        """Return what decay and ``gradient`` do at these counts."""
        zero = np.zeros(len(counts))
        still, moved = self.moves(counts, zero, zero), self.moves(counts, zero + gradient, zero)
        x = -still / self._w
        spread = x.max(axis=2) - x.min(axis=2)
        # l2 that is divided moves a weight by the whole rate, and there is nothing to take off
        apart = (spread > 1e-3 * np.abs(x.mean(axis=2)))[:, :, None]
        by_gradient = np.abs(moved - np.where(apart, 0.0, still)).max(axis=2)
        return _Seen(x.mean(axis=2), spread, by_gradient / self.push)

    def find_momentum(self, count: int) -> bool:
        """Note the momentum μ of each leaf, and whether it is Nesterov's; return whether one is.

        After a gradient of 1 and then 0 SGD moves by 1, μ, μ² in turn; Nesterov's by 1 + μ, μ², μ³.
        """
        if "TraceState" not in _types(self._state):
            return False
        first, second, third = (
            with_it - without
            for with_it, without in zip(self._coasts(count, 1.0), self._coasts(count, 0.0), strict=True)
        )
        first, second, third = (np.abs(u).max(axis=1) for u in (first, second, third))
        moving = (first > 0.0) & (second > 0.0)
        mu = np.where(moving, third / np.where(moving, second, 1.0), 0.0)
        falls = np.where(moving, second / np.where(moving, first, 1.0), 0.0)
        plain, nesterov = (np.isclose(falls, fall, rtol=1e-3) & (mu > 0.0) for fall in (mu, mu**2 / (1.0 + mu)))
        self.momentum = np.where(plain | nesterov, mu, 0.0)
        self.push = np.where(nesterov, 1.0 + mu, 1.0)
        return bool(nesterov.any())

    def _coasts(self, count: int, gradient: float) -> list[Any]:
        """Return three updates in a row, each [leaves, 4], of gradients ``gradient``, 0 and 0, the weights held."""
        state, updates = self._state, []
        for a in (gradient, 0.0, 0.0):
            grads = jax.tree.map(lambda w, a=a: _gradient(w, a, 0.0), self._params)
            update, state = self._step(count, state, self._params, grads)
            updates.append(np.stack([_four(np.asarray(u, np.float64), np) for u in jax.tree.leaves(update)]))
        return updates

    def growth(self, count: int, leaf: int) -> float:
        """Return by how much more decay takes in a second step than in the first: SGD's momentum under l2."""
        zeros = jax.tree.map(jnp.zeros_like, self._params)
        still, after = self._step(count, self._state, self._params, zeros)
        moved = optax.apply_updates(self._params, still)
        again, _ = self._step(count, after, moved, zeros)
        first, second, w, v = (
            np.asarray(jax.tree.leaves(t)[leaf], np.float64) for t in (still, again, self._params, moved)
        )
        return float(np.mean(second / v) / np.mean(first / w) - 1.0)

    def coupling(self, count: int, leaf: int) -> float:
        """Return the c of g + c·w: a gradient of -c·w moves nothing, one of less lets the weights fall, one of more grow."""
        low, high = -13.0, 3.0
        for _ in range(3):
            c = np.logspace(low, high, _SAMPLES)
            moves = self.moves(np.full(_SAMPLES, count), np.zeros(_SAMPLES), -c)[:, leaf]
            falls = np.mean(-moves * np.sign(self._w[leaf]), axis=1) > 0.0
            place = min(max(int(np.argmin(falls)), 1), _SAMPLES - 1)
            low, high = math.log10(c[place - 1]), math.log10(c[place])
        return _rounded(10.0 ** (0.5 * (low + high)))

    def _update(self, state: Any, params: Any, grads: Any) -> tuple[Any, Any]:
        if self._times == 1:
            found: tuple[Any, Any] = self._tx.update(grads, state, params)
            return found

        def add(carry: tuple[Any, Any], _: Any) -> tuple[tuple[Any, Any], None]:
            update, after = self._tx.update(grads, carry[1], params)
            return (jax.tree.map(jnp.add, carry[0], update), after), None

        (total, state), _ = jax.lax.scan(add, (jax.tree.map(jnp.zeros_like, params), state), length=self._times)
        return total, state


def _gradient(w: Any, a: Any, b: Any) -> Any:
    return (a + b * w).astype(w.dtype) if jnp.issubdtype(w.dtype, jnp.floating) else jnp.zeros_like(w)


def _four(leaf: Any, xp: Any) -> Any:
    """Return four numbers of a leaf, its own again and again; 1 for one that has none, or no floats."""
    if not leaf.size or not jnp.issubdtype(leaf.dtype, jnp.floating):
        return xp.ones(4)
    return xp.resize(leaf, (4,))


def _decay(probe: _Probe, seen: _Seen, top: int, count: int, leaf: int, adaptive: bool) -> tuple[Decay | None, float]:
    """Return the decay of a leaf, and SGD's momentum if the second step shows one; ``top`` is the row of ``count``."""
    x, lr = float(seen.share[top, leaf]), float(seen.moved[top, leaf])
    if x == 0.0 or not lr:
        return None, 0.0
    if adaptive and abs(float(seen.spread[top, leaf])) > 1e-3 * abs(x):  # as far for small weights as for large ones
        return L2(probe.coupling(count, leaf)), 0.0
    if not adaptive:
        grows = probe.growth(count, leaf)
        if grows <= 1e-3:
            return L2(max(_rounded(x / lr), 0.0)), 0.0
        momentum = _rounded(float(probe.momentum[leaf])) or min(round(grows, 4), 0.9999)
        return L2(max(_rounded(x / lr / float(probe.push[leaf])), 0.0)), momentum
    shares, rates = seen.share[:, leaf], seen.moved[:, leaf]
    low = int(np.argmin(np.abs(rates - 0.5 * lr)))
    power = (
        math.log(shares[low] / x) / math.log(rates[low] / lr)
        if 0.0 < rates[low] < 0.9 * lr and shares[low] > 0.0
        else 1.0
    )
    return (Corrected if power > 1.5 else Decoupled)(max(_rounded(x / lr), 0.0)), 0.0


def _growth(probe: _Probe, seen: _Seen, top: int, count: int, leaf: int) -> float:
    """Return the share by which a leaf grows without a gradient, large and small weights alike, and in each step anew."""
    x = float(seen.share[top, leaf])
    alike = x < 0.0 and float(seen.spread[top, leaf]) <= 1e-3 * -x
    return -x if alike and probe.growth(count, leaf) > -0.5 else 0.0


def _rounded(value: float) -> float:
    """Return ``value`` without what float32 adds to it."""
    return float(f"{value:.5g}")


def _settled(probe: _Probe, steps: int, most: int) -> tuple[int | None, str]:
    """Return the count from which the rate is (nearly) 0 for good, looked for up to eight times the run."""
    low, high = 0, 8 * max(most, 1) * steps
    end = 0.0
    for first in (True, False, False):
        grid = np.unique(np.linspace(low, high, _SAMPLES).astype(np.int64))
        moved = np.max(probe.seen(grid).moved, axis=1)
        if first:
            peak, end = float(np.max(moved)), float(moved[-1])
            if not peak > 0.0 or end > 1e-3 * peak:
                return None, ""
        moving = np.flatnonzero(np.abs(moved - end) > 1e-6 * peak)
        if not len(moving) or moving[-1] + 1 >= len(grid) or (first and moving[-1] > 0.98 * len(grid)):
            return None, ""
        low, high = int(grid[moving[-1]]), int(grid[moving[-1] + 1])
    return high, f"its rate is {end:.3g} from count {high} on"


def _types(state: Any) -> str:
    """Return the names of the states in ``state``."""
    if isinstance(state, dict):
        return " ".join(_types(v) for v in state.values())
    if not isinstance(state, tuple | list):
        return ""
    return " ".join([type(state).__name__, *(_types(v) for v in state)])


def _known_direction(state: Any) -> bool:
    kinds = [name for name in _types(state).split() if name.startswith(("ScaleBy", "Trace"))]
    return all(name in _UNIT for name in kinds)


def _name(state: Any) -> str:
    """Return what the optimiser is called by its states: adam, lion, sgd."""
    found = next((n for n in _types(state).split() if n.startswith("ScaleBy") and n != "ScaleByScheduleState"), "")
    if "FactoredState" in _types(state):
        return "Adafactor"
    return found.removeprefix("ScaleBy").removesuffix("State") or "SGD"


def _counts(state: Any) -> list[tuple[str, int]]:
    """Return the counts in a state, and of what: a schedule, a plan, or an optimiser's own."""
    if isinstance(state, dict):
        return [pair for value in state.values() for pair in _counts(value)]
    if not isinstance(state, tuple | list):
        return []
    fields = getattr(state, "_fields", ())
    found = []
    for name in ("count", "step"):
        value = getattr(state, name, None) if name in fields else None
        if value is not None and jnp.ndim(value) == 0:
            kind = "plan" if "inner" in fields else "schedule" if set(fields) <= _CLOCK else "optimiser"
            found.append((kind, int(value)))
    return found + [pair for value in state for pair in _counts(value)]
