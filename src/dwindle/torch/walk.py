"""A learning-rate scheduler of torch read ahead: what it will set, from a copy that walks while the original stands still."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from dwindle.errors import InvalidValueError, shown
from dwindle.setup import Scheduler, ends_within, sampled
from dwindle.torch.probe import at_peace
from dwindle.units import Horizon

__all__ = ["scheduler_of"]

_WALK, _ROOM = 200_000, 2_000_000  # counts that are walked; times groups
_NOTHING = 1e-3  # of the highest value
_AHEAD = 8  # times the run that an unknown function is looked at, to see where it ends
_CYCLES = ("CyclicLR", "CosineAnnealingWarmRestarts")
_BY_UPDATE = ("OneCycleLR", "CyclicLR")
_ENDS = (
    "num_training_steps",
    "total_steps",
    "max_steps",
    "t_total",
    "total_iters",
    "max_iters",
    "n_steps",
    "num_steps",
)


class _Held(NamedTuple):
    """A scheduler without its wrappings, and what they say of its pace."""

    inner: Any
    per_update: float | None
    why: str


def scheduler_of(
    optimizer: torch.optim.Optimizer, given: Any, run: Horizon | None, processes: int, most: int
) -> Scheduler:
    """Return the value of ``given``: torch's, timm's, Accelerate's and Lightning's schedulers; ``most`` counts an update at most.

    Raises InvalidValueError for what has no step.
    """
    held = _unwrapped(given, run, processes)
    inner = held.inner
    if not hasattr(inner, "step") or not hasattr(inner, "optimizer"):
        raise InvalidValueError(
            f"scheduler must be a torch learning-rate scheduler; got {shown(given)}. Leave it out if there is none."
        )
    own = getattr(inner.optimizer, "optimizer", inner.optimizer)
    groups = own.param_groups
    with at_peace():
        length, said = _length(inner)
        done = getattr(inner, "last_epoch", None)
        counts = _counts(run, length, done, held.per_update or most)
        at, lr = _ahead(inner, own, done or 0, counts)
        if length is None and run is not None and _functions(inner):
            counts_of_run = run.steps * (held.per_update or 1.0)
            length, said = _settled(inner, counts_of_run, run.steps * max(held.per_update or most, 1.0))
        elif length is None:
            length, said = _dead(at, lr)
    per_update, why = held.per_update, held.why
    if per_update is None and hasattr(inner, "t_in_epochs") and not inner.t_in_epochs:
        per_update, why = 1.0, "t_in_epochs=False"
    elif per_update is None and getattr(inner, "t_in_epochs", False) and run is not None and run.steps_per_epoch:
        per_update, why = 1.0 / run.steps_per_epoch, "t_in_epochs=True"
    name = type(inner).__name__
    said_by = " ".join(_named(f) for f in _functions(inner))
    return Scheduler(
        said_by.strip() or name,
        at,
        lr,
        done=None if done is None else int(done),
        length=length,
        said=said,
        per_update=per_update,
        why=why,
        bases=_floats(getattr(inner, "base_lrs", None)),
        last=_floats(getattr(inner, "_last_lr", None)),
        by_design=any(n in _CYCLES for n in _names(inner)) or any(w in said_by for w in ("restart", "cycl", "hard")),
        by_update=any(n in _BY_UPDATE for n in _names(inner)) or "num_training_steps" in said,
        answers=name == "ReduceLROnPlateau" or not len(groups),
        fresh=not getattr(own, "_opt_called", False) if hasattr(own.step, "_wrapped_by_lr_sched") else None,
        elsewhere=own is not optimizer,
    )


def _unwrapped(given: Any, run: Horizon | None, processes: int) -> _Held:
    if isinstance(given, Sequence) and len(given) == 1:
        given = given[0]
    per_update, why = None, ""
    told = given if isinstance(given, Mapping) else vars(given) if type(given).__name__ == "LRSchedulerConfig" else None
    if told is not None:
        if "scheduler" not in told:
            raise InvalidValueError(f"a scheduler as a dict has it under 'scheduler'; got {shown(sorted(told))}.")
        given, interval, every = told["scheduler"], told.get("interval", "epoch"), told.get("frequency") or 1
        why = f"Lightning's interval {interval!r}"
        epoch = None if run is None else run.steps_per_epoch
        per_update = 1.0 / every if interval == "step" else None if epoch is None else 1.0 / (epoch * every)
    if type(given).__name__ == "AcceleratedScheduler":
        split = bool(getattr(given, "split_batches", False))
        per_update = 1.0 if split else float(processes)
        why = f"Accelerate steps it {'once' if split else f'{processes} times'} an update"
        given = given.scheduler
    return _Held(given, per_update, why if per_update is not None else "")


def _children(scheduler: Any) -> list[Any]:
    return list(getattr(scheduler, "_schedulers", ()))


def _names(scheduler: Any) -> list[str]:
    return [type(scheduler).__name__, *(name for child in _children(scheduler) for name in _names(child))]


def _functions(scheduler: Any) -> list[Any]:
    return [f for f in getattr(scheduler, "lr_lambdas", None) or () if callable(f)][:1]


def _named(function: Any) -> str:
    name = getattr(getattr(function, "func", function), "__name__", type(function).__name__)
    return str(name).removeprefix("_get_").removesuffix("_lr_lambda").replace("<lambda>", "LambdaLR")


def _floats(values: Any) -> tuple[float, ...]:
    return () if values is None else tuple(float(v) for v in values)


def _length(scheduler: Any) -> tuple[int | None, str]:
    """Return the counts after which a scheduler ends, and its own word for that; None where it has no end."""
    name, children = type(scheduler).__name__, _children(scheduler)
    if name == "SequentialLR" and children:
        last, said = _length(children[-1])
        begins = list(scheduler._milestones)
        return (None, "") if last is None or not begins else (begins[-1] + last, f"{begins[-1]} + {said}")
    if children:
        found = [(length, said) for length, said in map(_length, children) if length is not None]
        return max(found) if found else (None, "")
    for key, of in (("T_max", "CosineAnnealingLR"), ("total_steps", "OneCycleLR"), ("total_iters", "PolynomialLR")):
        if name == of:
            return int(getattr(scheduler, key)), f"{key}={getattr(scheduler, key)}"
    if name == "LinearLR" and scheduler.end_factor < scheduler.start_factor:  # else it is a warm-up
        return int(scheduler.total_iters), f"total_iters={scheduler.total_iters}"
    if hasattr(scheduler, "t_initial") and hasattr(scheduler, "_get_lr"):
        whole = int(scheduler.t_initial) + (
            int(scheduler.warmup_t) if getattr(scheduler, "warmup_prefix", False) else 0
        )
        cycles = getattr(scheduler, "cycle_limit", 1)
        return (whole, f"t_initial={scheduler.t_initial}") if cycles == 1 else (None, "")
    for function in _functions(scheduler):
        return _told(function)
    return None, ""


def _told(function: Any) -> tuple[int | None, str]:
    """Return the length among the arguments a partial holds, or among the variables that a function closes over."""
    given = dict(getattr(function, "keywords", None) or {})
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is not None and cells:
        given |= {n: c.cell_contents for n, c in zip(code.co_freevars, cells, strict=True) if _is_full(c)}
    for key in _ENDS:
        if isinstance(given.get(key), int) and not isinstance(given[key], bool) and given[key] > 0:
            return given[key], f"{key}={given[key]}"
    parts = [given.get(f"num_{part}_steps") for part in ("warmup", "stable", "decay")]
    if all(isinstance(p, int) for p in parts):
        whole = sum(p for p in parts if p is not None)
        return whole, f"num_warmup_steps + num_stable_steps + num_decay_steps = {whole}"
    return None, ""


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # an empty cell raises
    except ValueError:
        return False
    return True


def _counts(run: Horizon | None, length: int | None, done: int | None, most: float) -> int:
    """Return how many counts from the first on are of interest."""
    if run is not None:
        return math.ceil(run.steps * max(most, 1.0))
    return max(0 if length is None else length + 1, (done or 0) + 1)


def _ahead(scheduler: Any, optimizer: Any, start: int, counts: int) -> tuple[Any, Any]:
    """Return the counts from ``start`` on, and the rates of every group there."""
    groups = optimizer.param_groups
    now = np.array([[float(g["lr"])] for g in groups]).reshape(len(groups), 1)
    if not len(groups) or type(scheduler).__name__ == "ReduceLROnPlateau" or counts <= start:
        return np.array([float(start)]), now
    lambdas = getattr(scheduler, "lr_lambdas", None)
    if type(scheduler).__name__ == "LambdaLR" and lambdas and all(callable(f) for f in lambdas):
        at = start + sampled(counts - start)
        factors = {f: _values(f, at) for f in _distinct(lambdas)}
        known = min(map(len, factors.values()))
        bases = _floats(scheduler.base_lrs)
        return at[:known], np.stack([base * factors[f][:known] for base, f in zip(bases, lambdas, strict=False)])
    if hasattr(scheduler, "_get_lr") and hasattr(scheduler, "t_in_epochs"):
        twin = copy.deepcopy(scheduler, {id(scheduler.optimizer): _stub(optimizer)})
        at = sampled(counts)[:: max(1, counts // 20_000)]
        scales = [float(g.get("lr_scale", 1.0)) for g in groups]
        rows = [np.broadcast_to(np.asarray(twin._get_lr(int(t)), dtype=np.float64), len(groups)) * scales for t in at]
        return at, np.stack(rows, axis=1)
    return _walked(scheduler, optimizer, start, counts)


def _distinct(functions: Sequence[Callable[[int], Any]]) -> list[Callable[[int], Any]]:
    return list(dict.fromkeys(functions))


def _values(function: Callable[[int], Any], at: Any) -> Any:
    """Return the values of ``function`` at the counts ``at``, up to the first of them where it has none."""
    twin = copy.deepcopy(function)
    found = np.array([_asked(twin, int(t)) for t in at], dtype=np.float64)
    none = np.flatnonzero(np.isnan(found))
    return found[: none[0]] if len(none) else found


def _asked(function: Callable[[int], Any], count: int) -> float:
    """Return what a function of the user's gives at ``count``; nan where it raises, or gives no real number."""
    try:
        found = float(function(count))
    except Exception:  # whatever it does beyond the counts that it is made for
        return math.nan
    return found if math.isfinite(found) else math.nan


def _walked(scheduler: Any, optimizer: Any, start: int, counts: int) -> tuple[Any, Any]:
    stub = _stub(optimizer)
    twin = copy.deepcopy(scheduler, {id(scheduler.optimizer): stub, id(optimizer): stub})
    groups = stub.param_groups
    steps = min(counts - start, _WALK, max(2000, _ROOM // len(groups)))
    rows = [[float(g["lr"]) for g in groups]]
    for _ in range(steps - 1):
        try:
            twin.step()
            rates = [float(g["lr"]) for g in groups]
        except Exception:  # OneCycleLR refuses to go beyond its end, a function of the user's may have none there
            break
        rows.append(rates)
    return start + np.arange(len(rows), dtype=np.float64), np.array(rows).T


def _stub(optimizer: Any) -> Any:
    """Return an optimiser with the same groups and options, each with a parameter of one number."""
    stub = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.0)
    stub.param_groups = [
        {**{k: _plain(v) for k, v in group.items() if k not in ("params", "param_names")}, "params": []}
        for group in optimizer.param_groups
    ]
    stub.defaults = {**stub.defaults, **{k: _plain(v) for k, v in optimizer.defaults.items()}}
    return stub


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, torch.Tensor) and value.numel() == 1 else copy.copy(value)


def _dead(at: Any, lr: Any) -> tuple[int | None, str]:
    """Return the count from which on every rate that was read is exactly 0, None where none is or the last alone."""
    alive = np.flatnonzero(np.any(lr != 0.0, axis=0))
    if not len(alive) or alive[-1] + 2 >= len(at):
        return None, ""
    first = int(at[alive[-1] + 1])
    return first, f"its rate is 0 from count {first} on"


def _settled(scheduler: Any, counts: float, most: float) -> tuple[int | None, str]:
    """Return where a function of unknown length has come to a rate of (nearly) 0 and stays there, or has no rate any more.

    One that has none beyond the ``counts`` of the run, or ``most`` of them, is as long as that only if it has come to
    (nearly) 0 there.
    """
    function = copy.deepcopy(_functions(scheduler)[0])
    grid = np.unique(np.linspace(0, math.ceil(most) * _AHEAD, 4097).astype(np.int64))
    seen = np.array([_asked(function, int(t)) for t in grid])
    none = np.flatnonzero(np.isnan(seen))
    if len(none) and none[0]:
        stop = ends_within(lambda t: not math.isnan(_asked(function, t)), int(grid[none[0] - 1]), int(grid[none[0]]))
        if stop < counts or abs(_asked(function, stop - 1)) <= _NOTHING * np.max(np.abs(seen[: none[0]])):
            return stop, f"its function has no rate from count {stop} on"
    if len(none) or abs(seen[-1]) > _NOTHING * np.max(np.abs(seen)) or np.max(seen) <= 0.0:
        return None, ""
    last, least = float(seen[-1]), 1e-9 * float(np.max(seen))
    moving = np.flatnonzero(np.abs(seen - last) > least)
    if not len(moving) or moving[-1] + 1 > 0.98 * len(grid):
        return None, ""
    high = ends_within(
        lambda t: abs(_asked(function, t) - last) > least, int(grid[moving[-1]]), int(grid[moving[-1] + 1])
    )
    about = "" if _asked(function, high) == last else "about "
    return high, f"its rate is {about}{last:.3g} of the base from count {high} on"
