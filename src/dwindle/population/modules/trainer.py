"""``train_modules``: K modules at once, each as it would be if trained alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from dwindle.errors import DataError, InvalidValueError, count, flag, shown
from dwindle.mask import Mask
from dwindle.population import SGD, Adam, Optimiser, Rates
from dwindle.population.checkpoint import agreed, fingerprint
from dwindle.population.legs import Place, State, train_in_legs
from dwindle.population.modules.chunk import (
    Form,
    Function,
    Job,
    Part,
    Record,
    gradients,
    refuse_mixed,
    scalar,
    train_chunk,
)
from dwindle.population.modules.graph import drawing_nothing, recorded
from dwindle.population.modules.kept import explained_as_kept, given_back, refuse_another
from dwindle.population.modules.layers import Layers
from dwindle.population.modules.members import Members, made
from dwindle.population.modules.result import ModuleResult
from dwindle.population.rungs import Judge, Rungs, rungs_of
from dwindle.population.threads import cores
from dwindle.population.values import seeds_of

__all__ = ["check_together", "device_of", "train_modules"]

Pair: TypeAlias = tuple[Any, Any]

# Measured: of one member alone the channels are too few for the convolutions; beyond this many bytes the cache is left.
_CHUNK_BYTES, _CHUNK_LEAST, _CHUNK_MOST = 24 * 2**20, 2, 32
_DEVICE_SHARE = 0.25  # of the device's free memory for the activations of one chunk


def train_modules(
    make: Callable[[], nn.Module],
    loss: Callable[[Any, torch.Tensor], torch.Tensor],
    rates: Rates,
    data: Pair,
    *,
    optimiser: Optimiser,
    seeds: Sequence[int],
    batch_size: int,
    evaluate_every: int,
    validation: Pair | None = None,
    test: Pair | None = None,
    metrics: Mapping[str, Callable[[Any, torch.Tensor], torch.Tensor]] | None = None,
    mask: Mask | None = None,
    own_order: bool = False,
    order_seed: int = 0,
    device: str = "cpu",
    workers: int | None = None,
    judge: Judge | None = None,
    judge_at: Sequence[int] = (),
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> ModuleResult:
    """Train one copy of a module per row of ``rates``, all at once, and return what each did.

    Step t = 0, 1, ... of member k takes the gradient g of ``loss`` over the next mini-batch, and
    w ← shrink[k, t]·w - lr[k, t]·direction(g + l2[k, t]·w) for the parameters that decay under ``mask``, the others with
    shrink = 1 and l2 = 0.

    - ``make()``: returns the module, any whose forward keeps no state between examples: dense layers, convolutions, layer
      and group norms, embeddings, attention, recurrent layers (not of packed sequences), dropout. It is called once for each
      seed with torch's generators at that seed. Parameters with ``requires_grad=False`` stay as they are.
    - ``loss(output, y)``: a scalar tensor, as a rule the mean over the examples. The gradient is that of each mini-batch; what
      is told is the loss of all examples of a part at once, so that class weights mean what they say.
    - ``metrics``: further functions of (output, y) by name, of any kind (F1, R²): asked of one member and a whole part.
    - ``data``, ``validation``, ``test``: pairs (x, y) of tensors or arrays, an example a row; real numbers are taken in
      the type of the parameters.
    - ``batch_size``, ``evaluate_every``, ``own_order``, ``order_seed``, ``progress``, ``stop``, ``judge``, ``judge_at``: as
      `dwindle.population.train`. A member let go is still computed beside the others until it pays to leave it out, when no
      more than three quarters of its chunk are left; the chunk is then traced anew, which may round otherwise.
    - ``mask``: which parameters decay, a Plan's ``mask``; None: the default, matrices and filters outside of norms.
    - ``workers``: threads on the CPU, each with chunks of members of its own; None: one a core.
    - ``folder``: where each chunk keeps what it reached (about every 20 seconds, and when ``stop()`` says so). Called again
      with the same arguments the training goes on from there, and ends as if it had never been interrupted, bit for bit.

    The step is traced once for each size of a chunk and of a batch, some tenths of a second each; below about four members
    a plain loop is as fast. For plain dense networks `dwindle.population.train` is faster.

    **Law.** Member k is what its module is if trained alone with these rates, to rounding: within 1e-5 of the largest
    weight after 100 steps in float32, 1e-10 in float64, where the training itself does not magnify rounding; there two
    runs of torch in other precisions part as far. Dropout draws from the member's seed, the step and the place alone, so
    the law holds for a member alone in this function; torch's own draws are others.

    Raises InvalidValueError or DataError for arguments that do not fit together, for modules with BatchNorm or other state,
    for those that drop when they are evaluated, and for those that, or whose loss, decide by a tensor's values, such as by a
    mask that picks entries; StoppedError when ``stop()`` said so; ResumeError when ``folder`` is of another training;
    MissingExtraError if ``folder`` is given and safetensors is not installed.

    >>> from torch import nn
    >>> from dwindle.population import SGD, Rates
    >>> x = torch.linspace(-1.0, 1.0, 32)[:, None]; y = (x[:, 0] > 0).long()
    >>> rates = Rates(lr=np.array([[0.5], [0.1]]) * np.ones(40))
    >>> result = train_modules(
    ...     lambda: nn.Sequential(nn.Linear(1, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2)), nn.functional.cross_entropy,
    ...     rates, (x, y), optimiser=SGD(0.9), seeds=[1, 1], batch_size=8, evaluate_every=20)
    >>> result.step, bool((result.train_loss[:, -1] < result.train_loss[:, 0]).all())
    (array([ 0, 20, 40]), True)
    >>> sorted(result.state_dict(0))[:2]
    ['0.bias', '0.weight']

    Source of the transforms: Bradbury et al. 2018 (vmap, grad), as torch.func has them.
    """
    where = device_of(device)
    members = _members(make, rates, seeds, mask, where)
    dtype = members.parameters[0].dtype
    given = {"train": data, "validation": validation, "test": test}
    parts = {name: _part(name, pair, dtype, where) for name, pair in given.items() if pair is not None}
    batch_size, every = count("batch_size", batch_size), count("evaluate_every", evaluate_every)
    if batch_size > len(parts["train"].y):
        rows = len(parts["train"].y)
        raise DataError(f"batch_size {batch_size} is more than the {rows} training examples. Use at most that many.")
    if not isinstance(optimiser, SGD | Adam):
        raise InvalidValueError(f"optimiser is {shown(optimiser)}; it must be SGD() or Adam().")
    for name, function in {"loss": loss, **(metrics or {})}.items():
        if not callable(function):
            raise InvalidValueError(f"{name} must be a function of (output, y); got {shown(function)}.")
    evaluations = np.append(np.arange(0, rates.steps, every), rates.steps)
    rungs = rungs_of(judge, judge_at, evaluations)
    form = _form(members.module, parts["train"].x)
    numbers = [int(seed) for seed in seeds]
    own_order, order_seed = flag("own_order", own_order), count("order_seed", order_seed, low=0)
    job = Job(
        members, form, loss, dict(metrics or {}), optimiser, rates, parts, numbers, batch_size, evaluations, own_order, order_seed
    )  # fmt: skip
    threads = (cores() if workers is None else count("workers", workers)) if where.type == "cpu" else 1
    record, chunks, place = Record(job), _chunks(len(numbers), _width(job, where), threads), None
    if folder is not None:
        place = Place(Path(folder), _fingerprint(job, rungs))
        _, chunks = agreed(*place, threads, chunks)  # the rounding depends on their size
    before = torch.get_num_threads()
    torch.set_num_threads(1 if where.type == "cpu" else before)
    try:
        train = partial(train_chunk, job, record)
        train_in_legs(train, chunks, _without, rungs, record, place, threads, progress, stop)
    finally:
        torch.set_num_threads(before)
    return _result(job, record)


def _without(states: list[State], stays: NDArray[np.bool_]) -> list[State]:
    """The same chunks: the rounding of a member depends on their size."""
    return [state._replace(members=state.members[stays[state.members]]) for state in states]


def _fingerprint(job: Job, rungs: Rungs) -> str:
    """A digest of all that `train_modules` was given, but functions, whose names alone can be told."""
    members = job.members
    said: list[Any] = [
        "modules", job.rates.lr, job.rates.shrink, job.rates.l2, job.optimiser, job.seeds, job.batch_size, job.evaluations,
        job.own_order, job.order_seed, rungs.steps, str(members.parameters[0].device), members.names, members.decaying,
        sorted(job.metrics), [*members.shared], [*members.own], [*job.parts],
    ]  # fmt: skip
    tensors = [*members.parameters, *members.shared.values(), *members.own.values()]
    for tensor in (*tensors, *(t for part in job.parts.values() for t in part)):
        plain = tensor.detach().cpu().contiguous()
        # As bytes: NumPy has no bfloat16.
        said += [str(plain.dtype), tuple(plain.shape), plain.reshape(-1).view(torch.uint8).numpy()]
    return fingerprint(said)


def _members(
    make: Callable[[], nn.Module], rates: Rates, seeds: Sequence[int], mask: Mask | None, device: torch.device
) -> Members:
    if not isinstance(rates, Rates):
        raise InvalidValueError(
            f"rates is {shown(rates)}; it must be Rates(lr, shrink, l2). A Plan gives them by table()."
        )
    numbers = seeds_of(seeds, rates)
    if not callable(make):
        raise InvalidValueError(
            f"make must be a function that returns a module; got {shown(make)}. Use lambda: module."
        )
    if not isinstance(mask, Mask | None):
        raise InvalidValueError(f"mask is {shown(mask)}; it must be a Mask.")
    return made(make, numbers, Mask() if mask is None else mask, device)


def check_together(
    make: Callable[[], nn.Module], loss: Callable[[Any, torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> None:
    """Raise InvalidValueError unless many members can be trained together, tried by one gradient of two on these examples."""
    members = made(make, [0, 0], Mask(), torch.device("cpu"))
    _form(members.module, x)
    given = [*members.parameters, *members.own.values(), torch.zeros(2, dtype=torch.int64), x, y]
    members.module.train()
    with torch.random.fork_rng(), drawing_nothing(), given_back(members.module, loss):
        recorded(lambda *given: gradients(members, loss, given, None), given)
    # another module: that one may keep tensors of the trace in a list
    module = made(make, [0], Mask(), torch.device("cpu")).module
    try:
        refuse_another(_loss_of(module, loss, x, y), lambda: _loss_of(module, loss, x, y), module, loss)
    except RuntimeError as error:
        raise explained_as_kept(error) from None


def device_of(name: str) -> torch.device:
    """Return the device of that name; raise InvalidValueError if this machine has none."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InvalidValueError(
            f"device {shown(name)} cannot be used: {str(error).splitlines()[0]} Use 'cpu' or 'cuda'."
        ) from error
    return device


def _part(name: str, pair: Any, dtype: torch.dtype, device: torch.device) -> Part:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(f"{name} must be a pair (x, y); got {shown(type(pair).__name__)}. Give tensors or arrays.")
    found = []
    for what, value in zip("xy", pair, strict=True):
        if np.ma.is_masked(value):
            raise DataError(f"a part of {what} of {name} is masked; leave it out or fill it in.")
        try:
            tensor = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"{what} of {name} is not a tensor: {error}. Give numbers, an example a row.") from error
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
            if not bool(tensor.isfinite().all()):
                raise DataError(f"{what} of {name} has numbers that are not finite. Remove those rows or fill them in.")
        if not tensor.ndim or not len(tensor):
            raise DataError(f"{what} of {name} has shape {tuple(tensor.shape)}; it needs an example a row.")
        found.append(tensor.detach().to(device).contiguous())
    if len(found[0]) != len(found[1]):
        raise DataError(f"{name} has {len(found[0])} rows of x and {len(found[1])} of y. Give one y a row.")
    return Part(*found)


def _form(module: nn.Module, x: torch.Tensor) -> Form:
    """What the module gives, tried on two examples; refuses what cannot be joined with that for others."""
    with torch.random.fork_rng(), torch.no_grad(), Layers(None):
        output = module.eval()(x[:2])
    refuse_mixed(output, len(x[:2]))
    leaves, outline = tree_flatten(output)
    return Form(outline, max(sum(leaf[0].numel() * leaf.element_size() for leaf in leaves), 1))


def _width(job: Job, device: torch.device) -> int:
    """How many members go through one step together: as many as the cache holds, or a share of the device's memory."""
    each = _bytes_of_a_step(job)
    if device.type == "cpu":
        return min(max(_CHUNK_BYTES // each, _CHUNK_LEAST), _CHUNK_MOST)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**30
    return max(int(_DEVICE_SHARE * free) // each, 1)


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the size of every tensor that is made while it is entered."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        schema = func._schema
        if not any(result.alias_info for result in schema.returns):
            for tensor in made if isinstance(made, tuple | list) else (made,):
                if isinstance(tensor, torch.Tensor):
                    self.total += tensor.numel() * tensor.element_size()
        return made


def _bytes_of_a_step(job: Job) -> int:
    """The activations of one member's forward pass over a mini-batch, and its parameters; refuses a loss that is none."""
    module, (x, y) = job.members.module, (t[: job.batch_size] for t in job.parts["train"])
    counted = _Bytes()  # type: ignore[no-untyped-call]
    with counted:
        first = _loss_of(module, job.loss, x, y)
    refuse_another(first, lambda: _loss_of(module, job.loss, x, y), module, job.loss)
    parameters = sum(p[0].numel() * p.element_size() for p in job.members.parameters)
    return max(int(counted.total) + parameters, 1)


def _loss_of(module: nn.Module, loss: Function, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss of one member in training; what torch's own generators draw for it is the same at every call."""
    with torch.random.fork_rng(), torch.no_grad(), drawing_nothing():
        return scalar("loss", loss(module.train()(x), y))


def _chunks(members: int, most: int, threads: int) -> list[NDArray[np.intp]]:
    """The members in chunks of like size, a whole number of chunks per thread."""
    wanted = threads * -(-members // (threads * most))
    return np.array_split(np.arange(members), min(wanted, members))


def _result(job: Job, record: Record) -> ModuleResult:
    curves = record.curves
    none = np.full((len(job.seeds), len(job.evaluations)), np.nan)

    def of(part: str) -> dict[str, NDArray[np.float64]]:
        return {name: curves.get(f"{part}.metric.{name}", none) for name in job.metrics}

    return ModuleResult(
        job.evaluations,
        curves["train.loss"],
        curves.get("validation.loss", none),
        curves["squared_norm"],
        curves.get("test.loss", none)[:, -1],
        of("train"),
        of("validation"),
        {name: curve[:, -1] for name, curve in of("test").items()},
        record.diverged,
        record.stopped_at,
        {name: t.clone() for name, t in job.members.state(record.weights).items()},
    )
