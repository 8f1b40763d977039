"""What a study hands to its report: the format ``dwindle-evidence/1``, as frozen values that check themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from dwindle.errors import InvalidValueError, known, real, shown
from dwindle.finding import Finding

__all__ = [
    "DECAYS", "FORMAT", "ROLES", "Advice", "Chosen", "Comparison", "Contender", "ContenderCurves", "Curve", "Data", "Evidence",
    "Final", "Setting", "Trial", "Tried", "Winner",
]  # fmt: skip

FORMAT = "dwindle-evidence/1"
Role: TypeAlias = Literal[
    "winner", "no weight decay", "weight decay", "constant lr", "falling lr", "neither", "winner without weight decay",
    "winner at constant lr",
]  # fmt: skip
ROLES: tuple[Role, ...] = get_args(Role)
"""The winner; the best plan without a decay where the winner has it, with it where the winner has none, and without both; the
winner itself with one decay taken away."""


class Shows(NamedTuple):
    """Who shows what a decay does: the best plan without it and the winner stripped of it, or the best plan with it."""

    without: Role
    having: Role
    stripped: Role


DECAYS = {
    "weight decay": Shows("no weight decay", "weight decay", "winner without weight decay"),
    "learning-rate decay": Shows("constant lr", "falling lr", "winner at constant lr"),
}
"""By the name that the advice gives a decay."""

Params: TypeAlias = dict[str, float | int | str]  # coordinates in the space that was searched, by name
Series: TypeAlias = tuple[float | None, ...]  # None where a run had diverged or the value was not recorded


_OWN = ("test_loss", "test_accuracy", "gap", "validation_loss", "train_loss")  # series of every contender


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the evidence: frozen, and a mistyped key is refused."""


class Data(Part, frozen=True):
    """The data: its name, where it comes from, and how many examples each part holds."""

    name: str
    provenance: tuple[str, ...]
    train: int
    validation: int
    test: int
    classes: int | None
    task: Literal["classification", "regression", "custom"]  # custom: a loss of one's own, metrics by name


class Final(Part, frozen=True):
    """The last values of one trial; None where it diverged, or where the task has no accuracy."""

    train_loss: float | None = None
    train_accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None

    def __post_init__(self) -> None:
        _fractions("train_accuracy", (self.train_accuracy,))
        _fractions("validation_accuracy", (self.validation_accuracy,))

    @property
    def gap(self) -> float | None:
        """Validation loss - train loss, the generalisation gap."""
        if self.validation_loss is None or self.train_loss is None:
            return None
        return self.validation_loss - self.train_loss


class Curve(Part, frozen=True):
    """What one trial did, per epoch. A series is as long as ``epoch``, or empty where it was not recorded."""

    epoch: tuple[float, ...] = ()
    train_loss: Series = ()
    validation_loss: Series = ()
    validation_accuracy: Series = ()
    penalty: Series = ()

    def __post_init__(self) -> None:
        _same_length(self)


class Trial(Part, frozen=True):
    """One run of the search: λ, the peak learning rate, the schedule, and what came of it.

    ``stopped_at``: the epoch at which it was let go, as it was behind; then nothing of it is a result at the end of training.
    """

    id: int
    lam: float
    peak: float
    schedule: str
    plan: str
    seed: int
    diverged: bool
    final: Final
    curve: Curve
    params: Params = {}
    batch_size: int | None = None
    stopped_at: float | None = None

    def __post_init__(self) -> None:
        _rates(self)

    @property
    def score(self) -> float | None:
        """The validation loss the search ranked this trial by; None where it diverged or was let go."""
        return None if self.diverged or self.let_go else self.final.validation_loss

    @property
    def let_go(self) -> bool:
        """Whether it was let go before the end."""
        return self.stopped_at is not None

    @property
    def state(self) -> str:
        """What became of it, in a word or two."""
        if self.stopped_at is not None:
            return f"let go at epoch {self.stopped_at:g}"
        return "diverged" if self.diverged else "finished"


class Winner(Part, frozen=True):
    """The plan chosen, in its one-line form, as TOML, and as source code by framework; the batch size if that was searched."""

    plan: str
    toml: str
    lam: float
    peak: float
    schedule: str
    code: dict[str, str] = {}
    batch_size: int | None = None
    params: Params = {}

    def __post_init__(self) -> None:
        _rates(self)


class ContenderCurves(Part, frozen=True):
    """Means over the seeds of a contender, per epoch, and what its plan does to the rate and to the weights."""

    epoch: tuple[float, ...] = ()
    train_loss: Series = ()
    validation_loss: Series = ()
    lr: Series = ()
    decay_share: Series = ()  # 1 - shrink: what the decay takes of each weight a step
    share_left: Series = ()
    weight_norm: Series = ()

    def __post_init__(self) -> None:
        _same_length(self)


class Contender(Part, frozen=True):
    """A plan trained again with several seeds and measured on the test set; one value per seed."""

    role: Role
    plan: str
    lam: float
    peak: float
    schedule: str
    seeds: tuple[int, ...]
    test_loss: Series
    gap: Series
    curves: ContenderCurves
    test_accuracy: Series = ()
    validation_loss: Series = ()
    train_loss: Series = ()
    metrics: dict[str, Series] = {}  # on the test set, beside loss and accuracy
    params: Params = {}
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _rates(self)
        _fractions("test_accuracy", self.test_accuracy)
        for name in (*_OWN, *self.metrics):
            given = len(self.values(name))
            if given not in (0, len(self.seeds)):
                raise InvalidValueError(f"{name} has {given} values for {len(self.seeds)} seeds; give one per seed.")

    def values(self, metric: str) -> Series:
        """Return one value per seed of a loss, the accuracy, the gap or a metric of the task's own; () if there is none."""
        found: Series = getattr(self, metric) if metric in _OWN else self.metrics.get(metric, ())
        return found


class Chosen(Part, frozen=True):
    """A plan of the shortlist: its validation loss from each of the seeds by which the winner was chosen.

    ``by_fold``: where there are several, what it was on each fold, from the seed of the sweep and then from those of the choice.
    """

    plan: str
    lam: float
    peak: float
    schedule: str
    seeds: tuple[int, ...]
    validation_loss: Series
    params: Params = {}
    batch_size: int | None = None
    by_fold: tuple[Series, ...] = ()


class Tried(Part, frozen=True):
    """A value of a knob in the sweep: the best loss there, what it costs beside the best of all, and what noise could do."""

    value: str
    best: float | None
    costs: float | None
    limit: float
    trials: int
    diverged: int
    let_go: int
    within: bool


class Advice(Part, frozen=True):
    """What a practitioner may conclude about one knob: the verdict, a sentence to act on, the numbers it rests on."""

    knob: str
    verdict: Literal["matters", "does not matter here", "cannot be told"]
    said: str
    numbers: dict[str, float | int | None] = {}
    values: tuple[Tried, ...] = ()
    edge: Literal["largest", "smallest"] | None = None


class Comparison(Part, frozen=True):
    """The mean paired difference winner - other over the seeds, and its 95 % interval [lower, upper].

    ``together``: how many intervals of this metric hold at once with 95 %; None: each of them does, alone. ``examples``: on how
    many test examples, where the interval holds for others like them too; None: it is over seeds alone. ``variances``: of the
    difference, with these degrees of ``freedom``: over the seeds, and over the examples.
    """

    against: Role
    metric: Literal["test_loss", "test_accuracy", "gap"]
    difference: float
    lower: float
    upper: float
    seeds: int
    verdict: Literal["better", "worse", "not distinguishable"]
    together: int | None = None
    examples: int | None = None
    variances: tuple[float, ...] = ()
    freedom: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.against == "winner":
            raise InvalidValueError("the winner cannot be compared with itself; name another contender.")
        if not self.lower <= self.difference <= self.upper:
            raise InvalidValueError(
                f"the interval [{self.lower:g}, {self.upper:g}] does not hold the difference {self.difference:g}."
            )


class Setting(Part, frozen=True):
    """One condition of the data, such as clean labels, and everything that was tried under it."""

    name: str
    trials: tuple[Trial, ...]
    winner: Winner
    contenders: tuple[Contender, ...]
    comparisons: tuple[Comparison, ...]
    facts: tuple[str, ...] = ()
    folds: int = 1
    test_examples: int | None = None  # None in evidence of before it was said
    refined: tuple[Trial, ...] = ()  # around the best trials, once these were there
    choice: tuple[Chosen, ...] = ()
    advice: tuple[Advice, ...] = ()
    fit: dict[str, Any] = {}  # of the last training, whose weights were kept
    trained: str = ""  # model, optimiser and length, where they are not those of the first setting

    def __post_init__(self) -> None:
        if not self.trials:
            raise InvalidValueError("a setting needs at least one trial.")
        roles = [contender.role for contender in self.contenders]
        if len(set(roles)) != len(roles):
            raise InvalidValueError(f"every role may be given once; got {shown(roles)}.")
        for comparison in self.comparisons:
            known("comparison against", comparison.against, roles)

    @property
    def everything(self) -> tuple[Trial, ...]:
        """All that was tried: the sweep, and the plans around its best."""
        return self.trials + self.refined

    @property
    def plans(self) -> list[tuple[Contender, ...]]:
        """The contenders in the order of their roles, those that are one plan together: it was trained once."""
        found: dict[tuple[Any, ...], list[Contender]] = {}
        for contender in sorted(self.contenders, key=lambda c: ROLES.index(c.role)):
            found.setdefault((contender.plan, contender.seeds, contender.test_loss), []).append(contender)
        return [tuple(alike) for alike in found.values()]

    def contender(self, role: str) -> Contender | None:
        """Return the contender with this role, or None if the study had none."""
        return next((contender for contender in self.contenders if contender.role == role), None)

    @property
    def metrics(self) -> list[str]:
        """The names of the task's own metrics, as far as they have a value."""
        return list(
            dict.fromkeys(n for c in self.contenders for n, v in c.metrics.items() if any(x is not None for x in v))
        )

    def comparison(self, against: str, metric: str) -> Comparison | None:
        """Return the comparison of the winner with ``against`` in ``metric``, or None if there is none."""
        return next((c for c in self.comparisons if c.against == against and c.metric == metric), None)


class Evidence(Part, frozen=True):
    """The whole result of a study, in the format ``dwindle-evidence/1``.

    ``looked_at``: what was looked for, so that a reader knows what no finding means.
    """

    format: str
    title: str
    created: str
    seconds: float
    seed: int
    environment: dict[str, str | int | float | None]
    data: Data
    model: str
    optimiser: str
    batch_size: int
    epochs: int
    steps: int
    settings: tuple[Setting, ...]
    findings: tuple[Finding, ...] = ()
    looked_at: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.settings:
            raise InvalidValueError("the evidence needs at least one setting.")
        try:
            datetime.fromisoformat(self.created)
        except ValueError:
            raise InvalidValueError(
                f"created must be an ISO time; got {shown(self.created)}. For example 2026-11-24T10:24:00+00:00."
            ) from None


def _rates(plan: Trial | Winner | Contender) -> None:
    real("lam", plan.lam, low=0.0)
    real("peak", plan.peak, low=0.0)


def _same_length(curve: Curve | ContenderCurves) -> None:
    for name in curve.__struct_fields__:
        given = len(getattr(curve, name))
        if given not in (0, len(curve.epoch)):
            raise InvalidValueError(f"{name} has {given} values for {len(curve.epoch)} epochs; give one per epoch.")


def _fractions(name: str, values: Series) -> None:
    for value in values:
        if value is not None and not 0 <= value <= 1:
            raise InvalidValueError(f"{name} must be a fraction between 0 and 1; got {value:g}.")
