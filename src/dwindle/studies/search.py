"""What a study tries: the candidates of its space, or the points that a sampler asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dwindle.errors import count
from dwindle.studies.records import Record
from dwindle.studies.samplers import Listed, Sampler
from dwindle.studies.samplers import sampler as sampler_of
from dwindle.studies.space import Candidate, Space
from dwindle.studies.store import Store
from dwindle.studies.trainings import BATCH, last_loss, loss
from dwindle.studies.trials import Result, Trials

__all__ = ["Search"]

_TRIALS = 60  # of a sampler, unless said: of the points that a grid would have, the more useful ones

Train = Callable[[Sequence[Candidate]], list[Record]]


@dataclass(frozen=True, slots=True)
class Search:
    """The candidates of ``space``, or with a ``sampler`` as many as ``trials`` of those that it asks for: ``most`` of them.

    ``where``: the Optuna study of the trials, None for none.
    """

    space: Space
    trials: int | None
    sampler: str | None
    where: str | Path | None
    seed: int
    most: int = field(init=False)

    def __post_init__(self) -> None:
        asks = self.asks()  # refused here, not in the middle of the study
        asked = _TRIALS if self.trials is None else self.trials
        most = len(asks.points) if isinstance(asks, Listed) else count("trials", asked)
        object.__setattr__(self, "most", most)

    def asks(self) -> Sampler:
        """Return a new sampler."""
        if self.sampler is None:
            return Listed(self.space, self.seed, points=self.space.candidates(self.trials, self.seed))
        return sampler_of(self.sampler, self.space, self.seed)

    def run(
        self, train: Train, store: Store, name: str, fingerprint: str, width: int = 1
    ) -> list[tuple[Candidate, Record]]:
        """Return every point tried, with the record that ``train`` gave of it.

        ``width`` batches are asked for at once where that does not change the points.
        """
        asks = self.asks()
        size = BATCH if asks.learns else BATCH * width
        trials = Trials.open(self.where, self.space, asks, store=store, name=name, fingerprint=fingerprint)
        try:
            found = [pair for batch in trials.batches() for pair in zip(batch, train(batch), strict=True)]
            while trials.told < self.most:
                asked = trials.ask(min(size, self.most - trials.told))
                if not asked:
                    break  # a grid has no more
                candidates = [point.candidate for point in asked]
                records = train(candidates)
                ends = [loss(record) for record in records if record["stopped_at"] is None]
                worst = max((value for value in ends if math.isfinite(value)), default=0.0)
                trials.tell(_result(point.id, record, worst) for point, record in zip(asked, records, strict=True))
                found += zip(candidates, records, strict=True)
        finally:
            trials.close()
        return found


def _result(id_: int, record: Record, worst: float) -> Result:
    """Return what a sampler hears: of a training let go that it is no better than the ``worst`` that went on beside it."""
    curve, at = record["curve"], record["stopped_at"]
    points = zip(curve["epoch"], curve["validation_loss"], strict=True)
    course = {round(epoch): value for epoch, value in points if at is None or epoch <= at}
    value = record["final"]["validation_loss"] if at is None else max(last_loss(record), worst)
    return Result(id_, value, course, record["key"], record["seed"], None if at is None else round(at))
