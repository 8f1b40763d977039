"""The main job: sweep a space, replicate the best over seeds, choose on validation, report on test."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dwindle.errors import InvalidValueError, count, flag, has_members, shown
from dwindle.plan import Plan
from dwindle.studies.executors import Executor, Here
from dwindle.studies.fit import tails
from dwindle.studies.halving import Halving
from dwindle.studies.optional import has_optuna
from dwindle.studies.outcome import evidence
from dwindle.studies.search import Search
from dwindle.studies.space import Space
from dwindle.studies.stages import Stages
from dwindle.studies.store import TRIALS, Store
from dwindle.studies.task import Task
from dwindle.studies.trainings import Progress, Trainings

__all__ = ["Progress", "Study", "study"]

_FOLDS, _FEW_ROWS = 5, 2000


@dataclass(frozen=True, slots=True)
class Study:
    """What a study found: for each task by name the winning plan and its weights, and the evidence for it as plain data.

    ``weights`` are those of the last training, arrays by the names that the module's ``state_dict`` has; of a perceptron those
    of ``torch.nn.Sequential(Linear, activation, Linear, ...)``.
    """

    plans: dict[str, Plan]
    evidence: dict[str, Any] = field(repr=False)
    weights: dict[str, dict[str, NDArray[Any]]] = field(repr=False)

    @property
    def plan(self) -> Plan:
        """The winning plan of the first task."""
        return next(iter(self.plans.values()))

    def report(self, path: str | Path) -> Path:
        """Write the evidence as one self-contained HTML page and return its path."""
        from dwindle.report import write  # the page's template is read only when a page is wanted

        return write(self.evidence, Path(path))


def study(
    tasks: Task | Sequence[Task],
    space: Space | str | None = None,
    *,
    trials: int | None = None,
    sampler: str | None = None,
    storage: str | Path | None = None,
    seeds: int = 8,
    seed: int = 0,
    halving: bool | Halving = True,
    refine: bool | None = None,
    folds: int | None = None,
    refit: bool = False,
    folder: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    listen: Callable[[Mapping[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
    executor: Executor | None = None,
) -> Study:
    """Find the best plan of ``space`` (a Space or its text; by default that of the optimiser) for each task, and say how sure.

    1. Sweep: every candidate (or ``trials`` of them drawn at random) is trained once, all from the same seed. With a
       ``sampler``, "grid", "random", "sobol", "tpe", "gp" or "cma-es", it says what to train next, 60 points unless ``trials``.
       Those behind at a quarter and at half of the run are let go (``halving``: a Halving says otherwise, False: none are).
       With ``refine``, by default where no space is given, two rounds follow of plans around the best, between and beyond
       the points of the grid.
    2. Choice: the best few, the best without decay and the best at a constant rate are trained on 4 further seeds; the
       winner has the lowest mean validation loss at the end of training. With ``folds`` = k, sweep and choice train on k
       divisions of the training and validation rows, and the mean over them counts; by default 5 for a perceptron on up to
       2,000 such rows whose validation part `load` drew, where one part alone would say little, else 1, the data's own division.
    3. Report: the winner and those it is compared with are trained on ``seeds`` fresh seeds; their test results are
       compared seed by seed and example by example, so that the intervals hold for new seeds and new examples like these.
       Neither these seeds nor the test examples took part in choosing.
    4. Fit: the winner is trained once more for its weights; with ``refit`` on the validation rows as well.

    Finished trainings are kept in ``folder`` (without one, in memory), the weights in weights.npz there: killed at any moment
    and called again, a study goes on. ``progress`` hears how far it is, ``listen`` the record of every training, found or
    made, once; ``stop`` ends it early with StoppedError. ``executor``: where trainings are done, in this process unless
    given; what comes out does not depend on it. ``storage``: a file or URL of an Optuna study to show the
    trials of the sweep in, ``folder``/study.db unless given, where Optuna is installed.

    Raises DataError if every trial diverged, ResumeError if another process works in ``folder``, InvalidValueError before
    anything is trained where a batch is larger than what there is to train on, in a fold too.

    >>> from dwindle.studies import Task, load
    >>> task = Task(data=load("fashion"), hidden=(8,), epochs=1)
    >>> best = study(task, "lam 0 1 | peak 1e-3 1e-2 | schedule constant; cosine to 0", seeds=2)
    >>> best.plan.peak, len(best.evidence["settings"][0]["trials"])
    (0.01, 8)
    """
    listed: list[Any] = [tasks] if isinstance(tasks, Task) or not has_members(tasks) else list(tasks)
    if not listed or not all(isinstance(task, Task) for task in listed):
        raise InvalidValueError(
            f"a study needs a Task or a list of them; got {shown(tasks)}. Make one: Task(data=load(...))."
        )
    if len({task.name for task in listed}) < len(listed):
        raise InvalidValueError(f"the tasks need different names; got {[task.name for task in listed]}.")
    seeds = count("seeds", seeds, low=2, high=10**6, remedy="One seed has no spread to judge by.")
    seed = count("seed", seed, low=0)
    if not isinstance(halving, bool | Halving):
        raise InvalidValueError(f"halving must be True, False or a Halving; got {shown(halving)}.")
    flag("refit", refit)
    if folds is not None:
        folds = count("folds", folds, high=10**6)
    for name, given in (("progress", progress), ("listen", listen), ("stop", stop)):
        if given is not None and not callable(given):
            raise InvalidValueError(f"{name} must be a function, or None; got {shown(given)}.")
    if executor is not None and not hasattr(executor, "width"):
        raise InvalidValueError(f"executor must be Here(), Processes() or Ray(); got {shown(executor)}.")
    rule = Halving() if halving is True else halving or None
    if isinstance(space, str):
        space = Space.parse(space)
    if space is not None and not isinstance(space, Space):
        raise InvalidValueError(f"space must be a Space or its one line of text; got {shown(space)}.")
    where = storage if storage is not None or not has_optuna() else folder
    searches = [Search(space or Space.default(task.optimiser), trials, sampler, where, seed) for task in listed]
    begun = time.monotonic()
    store = Store.open(folder)
    hooks = (progress or (lambda _: None), listen or (lambda _: None), stop or (lambda: False))
    try:
        if store.spoilt:
            warnings.warn(
                f"lines of {Path(folder or '') / TRIALS} that cannot be read (cut short, damaged or of an older version): "
                f"{store.spoilt}. Trainings that only they held are done again.",
                stacklevel=2,
            )
        runs = [
            Stages(
                Trainings(task, store, executor or Here(), *hooks), search, seeds, rule, _folds(task, folds),
                space is None and sampler is None and trials is None if refine is None else flag("refine", refine),
            )
            for task, search in zip(listed, searches, strict=True)
        ]  # fmt: skip
        settings = [
            run.setting(refit, tail) for run, tail in zip(runs, tails(task.name for task in listed), strict=True)
        ]
        store.tidy()
    finally:
        store.close()
    plans = {run.task.name: run.winner.plan for run in runs}
    weights = {run.task.name: run.fitted.weights for run in runs}
    return Study(plans, evidence(listed, settings, seed, time.monotonic() - begun), weights)


def _folds(task: Task, asked: int | None) -> int | None:
    """Return into how many folds to divide, None for the task's own division."""
    if asked is not None:
        return None if count("folds", asked) == 1 else asked
    rows, steps = len(task.data.train_x) + len(task.data.validation_x), task.data.provenance.steps
    drawn = any(
        said.startswith("held out validation") for said in steps
    )  # else set apart for a reason: by time, by group
    noisy = any("label noise" in said for said in steps)  # the folds would be judged by noisy labels
    return _FOLDS if task.model is None and _FOLDS <= rows <= _FEW_ROWS and drawn and not noisy else None
