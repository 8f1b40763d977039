"""Chunks of members from rung to rung, for all engines: who waits, who goes on, and what lies on disk of each."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import ResumeError
from dwindle.population.checkpoint import read, write
from dwindle.population.rungs import Rungs
from dwindle.population.threads import Stopped, Tell, in_threads

__all__ = ["Leg", "Place", "State", "Written", "evenly", "train_in_legs"]

Array: TypeAlias = NDArray[Any]
Members: TypeAlias = NDArray[np.intp]

SAVE_SECONDS = 20.0


class State(NamedTuple):
    """Where a chunk stands: the ``members`` that are still running, the steps they have done, and their engine's arrays.

    If there is an evaluation at ``step``, it is done.
    """

    step: int
    members: Members
    arrays: Mapping[str, Array]


class Written(Protocol):
    """What members did: ``arrays()`` are all of it by name, a row a member, to be read and written."""

    stopped_at: NDArray[np.int64]

    def arrays(self) -> Mapping[str, Array]: ...

    def losses(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...


class Place(NamedTuple):
    """The folder of a training, and its fingerprint."""

    folder: Path
    whose: str


class Leg:
    """The way of a chunk to the next rung or to the end: the steps up to ``end``, for ``members``, who all stand at its begin."""

    def __init__(
        self,
        members: Members,
        given: State | None,
        end: int,
        steps: int,
        record: Written,
        place: Place | None,
        name: str,
    ) -> None:
        self.members, self.end = members, end
        self._given, self._steps, self._record = given, steps, record
        self._file = None if place is None else place.folder / name
        self._whose = "" if place is None else place.whose
        self._saved = time.monotonic()
        self.stopped: Stopped = lambda: False
        self._tell: Tell = lambda done: None

    def run(self, train: Callable[[Leg, State | None], State], stopped: Stopped, tell: Tell) -> State:
        """Let ``train`` take it from where it stands to its end, or as far as it comes until ``stopped()``."""
        self.stopped, self._tell, self._saved = stopped, tell, time.monotonic()
        state = self._begun()
        if state is None or (state.step < self.end and len(state.members)):
            state = train(self, state)
            self.save(state)
        self.tick(state.step * len(state.members), len(state.members))
        return state

    def tick(self, done: int, running: int) -> None:
        """Say how many steps those who are ``running`` have done in sum; the others count as having done all of theirs."""
        self._tell((len(self.members) - running) * self._steps + done)

    def due(self) -> bool:
        """Return whether it is time to `save`."""
        return self._file is not None and time.monotonic() - self._saved > SAVE_SECONDS

    def save(self, state: State) -> None:
        """Leave on disk all that is needed to go on from ``state``.

        Where that cannot be written, such as on a full disk, the training goes on without, which may well end before it is
        killed; a warning says so.
        """
        if self._file is None:
            return
        arrays = {"begun": self.members, "members": state.members}
        arrays |= {f"now.{name}": array for name, array in state.arrays.items()}
        arrays |= {f"did.{name}": array[self.members] for name, array in self._record.arrays().items()}
        try:
            write(self._file, self._whose, state.step, arrays)
        except OSError as error:
            warnings.warn(
                f"what a training reached cannot be kept below {self._file.parent.parent}: {error.strerror}. It goes on; killed, "
                "it begins again where it was kept last.",
                RuntimeWarning,
                stacklevel=1,  # always this line, so that it is said once
            )
        self._saved = time.monotonic()

    def _begun(self) -> State | None:
        given, self._given = self._given, None  # not kept in memory beside what becomes of it
        found = None if self._file is None else read(self._file, self._whose)
        if found is None:
            return given
        if not np.array_equal(found.arrays["begun"], self.members):
            raise ResumeError(
                f"{self._file} is of other members than those that come so far now: the judge has answered otherwise. Give "
                "the judge it was begun with, whose answer follows from what it sees alone, or another folder."
            )
        for name, array in self._record.arrays().items():
            array[self.members] = found.arrays[f"did.{name}"]
        now = {name.removeprefix("now."): a for name, a in found.arrays.items() if name.startswith("now.")}
        return State(found.step, found.arrays["members"].astype(np.intp), now)


def train_in_legs(
    train: Callable[[Leg, State | None], State],
    chunks: Sequence[Members],
    spread: Callable[[list[State], NDArray[np.bool_]], list[State]],
    rungs: Rungs,
    record: Written,
    place: Place | None,
    threads: int,
    progress: Callable[[int, int], None] | None,
    stop: Stopped | None,
) -> None:
    """Train all chunks to the end, with a pause at each of the ``rungs``, where the judge may let some members go.

    ``spread(states, stays)``: the chunks in which those go on that stay, a bool for every member.
    """
    progress, stop = progress or (lambda done, total: None), stop or (lambda: False)
    steps, begun, kept = int(rungs.evaluations[-1]), 0, ". What was reached is in the folder; call again to go on."
    if place is None:
        kept = ". Nothing of it is kept; train these members again."
    total = len(record.stopped_at) * steps
    waiting: list[tuple[Members, State | None]] = [(chunk, None) for chunk in chunks]
    for end in (*rungs.steps, steps):
        legs = [Leg(*who, end, steps, record, place, _name(number, begun)) for number, who in enumerate(waiting)]
        waiting.clear()  # a leg lets go of the state it begins with
        done = [begun * len(leg.members) for leg in legs]
        done.append(total - steps * sum(len(leg.members) for leg in legs))
        states = in_threads([partial(leg.run, train) for leg in legs], done, total, threads, progress, stop, kept)
        if end < steps:
            gone = rungs.let_go(end, *record.losses())
            record.stopped_at[gone] = end
            waiting = [(state.members, state) for state in spread(states, ~gone) if len(state.members)]
            begun = end
            del states
            if not waiting:
                progress(total, total)
                return


def evenly(
    split: Callable[[int], list[NDArray[np.intp]]], states: list[State], stays: NDArray[np.bool_]
) -> list[State]:
    """Return those who stay in new chunks, as `split` has them; of arrays with a row a member."""
    left = [(state, stays[state.members]) for state in states if stays[state.members].any()]
    if not left:
        return []
    members = np.concatenate([state.members[rows] for state, rows in left])
    first = left[0][0]
    arrays = {name: np.concatenate([state.arrays[name][rows] for state, rows in left]) for name in first.arrays}
    cuts = [slice(int(part[0]), int(part[-1]) + 1) for part in split(len(members))]
    return [State(first.step, members[cut], {name: array[cut] for name, array in arrays.items()}) for cut in cuts]


def _name(number: int, begun: int) -> str:
    return f"chunk-{number}.safetensors" if not begun else f"chunk-{number}-after-{begun}.safetensors"
