"""``train``: K networks at once, each exactly as if it were trained alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import DataError, InvalidValueError, MissingExtraError, a_kind, count, flag, known, shown
from dwindle.population.blas import single_threaded
from dwindle.population.checkpoint import agreed, fingerprint
from dwindle.population.data import Data, prepare
from dwindle.population.engine import Job, Record, train_chunk
from dwindle.population.legs import Leg, Place, State, evenly, train_in_legs
from dwindle.population.rungs import Judge, Rungs, rungs_of
from dwindle.population.tables import tabulate
from dwindle.population.threads import cores
from dwindle.population.values import MLP, SGD, Adam, Optimiser, Rates, seeds_of

__all__ = ["Result", "engine_for", "steps_per_epoch", "train"]

Curve: TypeAlias = NDArray[np.float64]

# Measured on 2 cores: 32 members of a 784-30-10 together take a third of the time per step of chunks of 4; of a 784-128-10
# chunks of 4 or 8 are the best, and larger ones leave the cache.
_CHUNK_BYTES, _CHUNK_MOST = 4 * 2**20, 32
_NATIVE_MOST = 16  # they share the order of the examples, and no more
# Numbers that neither a batch's inputs nor a layer's weights stay below: then BLAS, which copies both into the order it
# wants, is up to 1.4 times as fast as our kernels; everywhere else these are 1.1 to 40 times as fast.
_LARGE = 2**18

_TrainChunk: TypeAlias = Callable[[Record, Leg, State | None], State]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What K members did. Curves are (K, evaluations), finals (K,), NaN where there is nothing to say.

    ``step``: the steps done at each evaluation, 0 first and T last. Losses are C0: the mean over the examples, without
    a penalty; with ``squared_norm`` = Σw² over the weight matrices the textbook's cost is C0 + (λ/2n)·Σw².
    ``diverged``: loss or weights were not finite at an evaluation. The member was let go there: its curves are NaN from
    that evaluation on, its finals too, and its last weights are those found then.
    ``stopped_at``: the steps a member has done: T, or those up to the evaluation at which it diverged, or up to the rung at
    which the judge let it go. Of such a member the curves are NaN after the rung, its finals too, and its last weights are
    those of the rung; it has not ``diverged``.
    ``weights``, ``biases``: the last ones, one array (K, fan_in, fan_out) and (K, fan_out) a layer.
    ``engine``: what computed them, ``native`` or ``numpy``.
    """

    step: NDArray[np.int64]
    train_loss: Curve
    train_accuracy: Curve
    validation_loss: Curve
    validation_accuracy: Curve
    squared_norm: Curve
    test_loss: Curve
    test_accuracy: Curve
    diverged: NDArray[np.bool_]
    stopped_at: NDArray[np.int64]
    weights: tuple[NDArray[Any], ...]
    biases: tuple[NDArray[Any], ...]
    engine: str = "numpy"


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Return ⌈rows/batch_size⌉: the last batch of an epoch is used though it be smaller.

    >>> steps_per_epoch(2050, 100)
    21
    """
    return -(-count("rows", rows) // count("batch_size", batch_size))


def train(
    mlp: MLP,
    optimiser: Optimiser,
    rates: Rates,
    data: Data,
    *,
    seeds: Sequence[int],
    batch_size: int,
    evaluate_every: int,
    own_order: bool = False,
    order_seed: int = 0,
    dtype: str = "float32",
    workers: int | None = None,
    engine: str = "auto",
    judge: Judge | None = None,
    judge_at: Sequence[int] = (),
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """Train one network per row of ``rates``, all at once, and return what each did.

    Step t = 0, 1, ... of member k takes the mean gradient g of C0 over the next mini-batch, and
    w ← shrink[k, t]·w - lr[k, t]·direction(g + l2[k, t]·w) for weights, b ← b - lr[k, t]·direction(g) for biases.

    - ``seeds``: one whole number a member; `initial_weights` says what is drawn from it.
    - ``batch_size``: where it does not divide the examples the last batch of an epoch is smaller, its gradient the mean
      over what there is.
    - ``evaluate_every``: steps between evaluations; there is always one at step 0 and one at the end.
    - ``own_order``: False: all members see the same batches, in the `epoch_order` of ``order_seed``; True: each member
      in that of its own seed.
    - ``dtype``: ``float32``, or ``float64`` to check something to the last digit at half the speed.
    - ``workers``: threads to compute with; None: one a core.
    - ``engine``: ``native``, kernels compiled for this processor, which need ``dwindle[fast]``; ``numpy``; ``auto``: native
      where it can be had and no layer is so large that NumPy is faster. The two agree to rounding.
    - ``judge``, ``judge_at``: at the steps ``judge_at``, which are evaluations between the first step and the end, all members
      wait while ``judge(seen)`` says in the caller's own thread, from the curves so far (`Seen`), which of them to let go: a
      bool for each, True = let go here. Those cost nothing from there on. It is not asked when nobody is running any more.
    - ``folder``: where each chunk of members keeps what it reached (about every 20 seconds, and when ``stop()`` says so).
      Called again with the same arguments, ``workers`` apart, the training goes on from there, and ends as if it had never
      been interrupted, bit for bit. The judge is asked again then: its answer must follow from what it sees alone.
    - ``progress(done, total)`` hears of the member-steps done (of those let go: all of theirs), ``stop()`` is asked whether
      to leave; both are called about ten times a second from the caller's own thread, which also hears Ctrl-C.

    **Law.** Member k is the same, bit for bit, in any company: trained alone, in another chunk, with other ``workers``, and
    up to where it is let go with any judge or none.
    ``numpy`` needs a NumPy that stands on OpenBLAS for it, as its wheels do (macOS on ARM apart). Elsewhere it uses one
    thread, and the law holds as far as that BLAS rounds alike from call to call. While it trains, the process's BLAS has
    one thread.

    Raises InvalidValueError or DataError for arguments that do not fit together or a judge's answer that is none,
    StoppedError when ``stop()`` said so, ResumeError when ``folder`` is of another training or damaged, MissingExtraError if
    ``folder`` is given and safetensors is not installed.

    >>> from dwindle.population import MLP, SGD, Data, Examples, Rates
    >>> draw = np.random.default_rng(0)
    >>> x = draw.standard_normal((64, 5)); part = Examples(x, (x[:, 0] > 0).astype(int))
    >>> rates = Rates(lr=np.full((2, 40), 0.5), shrink=np.array([[1.0] * 40, [0.9] * 40]))
    >>> result = train(MLP((5, 8, 2)), SGD(), rates, Data(part, part), seeds=[1, 1], batch_size=16, evaluate_every=20)
    >>> result.step, bool((result.train_loss[:, -1] < result.train_loss[:, 0]).all())
    (array([ 0, 20, 40]), True)
    >>> bool(result.squared_norm[1, -1] < result.squared_norm[0, -1])  # the second member's weights decay
    True
    >>> result = train(
    ...     MLP((5, 8, 2)), SGD(), rates, Data(part, part), seeds=[1, 1], batch_size=16, evaluate_every=10, judge_at=[20],
    ...     judge=lambda seen: seen.validation_loss[:, -1] > seen.validation_loss[:, -1].min())  # the best goes on
    >>> sorted(result.stopped_at.tolist())
    [20, 40]

    Source of the rungs: Jamieson & Talwalkar 2016 (successive halving).
    """
    job = _checked(mlp, optimiser, rates, data, seeds, batch_size, evaluate_every, own_order, order_seed, dtype)
    rungs = rungs_of(judge, judge_at, job.evaluations)
    threads = cores() if workers is None else count("workers", workers)
    engine, record = engine_for(mlp, job.batch_size, engine), Record(job)
    place = _place(folder, job, rates, engine, rungs)
    if engine == "native":
        from dwindle.population.native import Native

        _run(job, Native(job).train_chunk, _NATIVE_MOST, rungs, record, place, threads, progress, stop)
    else:
        with single_threaded() as held:
            # Where BLAS keeps its own threads, ours would only get in their way.
            threads = threads if held or workers is not None else 1
            _run(job, partial(train_chunk, job), _CHUNK_MOST, rungs, record, place, threads, progress, stop)
    return Result(
        job.evaluations,
        **record.curves,
        **record.finals,
        diverged=record.diverged,
        stopped_at=record.stopped_at,
        weights=tuple(record.weights),
        biases=tuple(record.biases),
        engine=engine,
    )


def engine_for(mlp: MLP, batch_size: int, engine: str = "auto") -> str:
    """Return which engine, ``native`` or ``numpy``, `train` computes with when asked for ``engine``.

    >>> engine_for(MLP((784, 30, 10)), 10, "numpy")
    'numpy'
    """
    a_kind("mlp", mlp, MLP)
    if known("engine", engine, ("auto", "native", "numpy")) == "numpy":
        return "numpy"
    if find_spec("numba") is None:
        if engine == "native":
            raise MissingExtraError.of("numba", "fast")
        return "numpy"
    batch_size = count("batch_size", batch_size)
    large = max(min(batch_size, fan_out) * fan_in for fan_in, fan_out in mlp.shapes) >= _LARGE
    return "numpy" if large and engine == "auto" else "native"


def _place(folder: str | os.PathLike[str] | None, job: Job, rates: Rates, engine: str, rungs: Rungs) -> Place | None:
    if folder is None:
        return None
    parts = [(name, *part) for name, part in job.parts.items()]
    said = [
        engine, job.mlp, job.optimiser, rates.lr, rates.shrink, rates.l2, job.seeds, job.batch_size, job.evaluations,
        job.own_order, job.order_seed, job.dtype, rungs.steps, *(value for part in parts for value in part),
    ]  # fmt: skip
    return Place(Path(folder), fingerprint(said))


def _run(
    job: Job,
    train_chunk: _TrainChunk,
    most: int,
    rungs: Rungs,
    record: Record,
    place: Place | None,
    threads: int,
    progress: Callable[[int, int], None] | None,
    stop: Callable[[], bool] | None,
) -> None:
    noted, chunks = threads, _chunks(job, len(job.seeds), threads, most)
    if place is not None:
        noted, chunks = agreed(*place, threads, chunks)

    def split(members: int) -> list[NDArray[np.intp]]:
        return _chunks(job, members, noted, most)

    train = partial(train_chunk, record)
    train_in_legs(train, chunks, partial(evenly, split), rungs, record, place, threads, progress, stop)


def _chunks(job: Job, members: int, threads: int, most: int) -> list[NDArray[np.intp]]:
    """So many members in chunks of like size, a whole number of chunks per thread."""
    fits = _CHUNK_BYTES // (job.mlp.parameters * job.dtype.itemsize)
    most = min(max(fits, 1), most)
    wanted = threads * -(-members // (threads * most))
    return np.array_split(np.arange(members), min(wanted, members))


def _checked(
    mlp: MLP,
    optimiser: Optimiser,
    rates: Rates,
    data: Data,
    seeds: Sequence[int],
    batch_size: int,
    evaluate_every: int,
    own_order: bool,
    order_seed: int,
    dtype: str,
) -> Job:
    for name, value, kinds in (
        ("mlp", mlp, MLP),
        ("optimiser", optimiser, (SGD, Adam)),
        ("rates", rates, Rates),
        ("data", data, Data),
    ):
        if not isinstance(value, kinds):
            raise InvalidValueError(f"{name} is {shown(value)}, which is not what train takes there. Build it first.")
    number = np.dtype(known("dtype", dtype, ("float32", "float64")))
    seeds = seeds_of(seeds, rates)
    batch_size, every = count("batch_size", batch_size), count("evaluate_every", evaluate_every)
    if batch_size > data.train.rows:
        raise DataError(
            f"batch_size {batch_size} is more than the {data.train.rows} training examples. Use at most that many."
        )
    given = {"train": data.train, "validation": data.validation, "test": data.test}
    parts = {name: prepare(part, mlp, name, number) for name, part in given.items() if part is not None}
    evaluations = np.append(np.arange(0, rates.steps, every), rates.steps)
    return Job(
        mlp,
        optimiser,
        tabulate(rates, optimiser, number),
        parts,
        seeds,
        batch_size,
        evaluations,
        flag("own_order", own_order),
        count("order_seed", order_seed, low=0),
        number,
    )
