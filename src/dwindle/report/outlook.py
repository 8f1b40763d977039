"""What ``dwindle forecast`` and ``dwindle optimize`` hand to their pages, as frozen values: logs, a law, plans."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, cast

from dwindle.inert import inert

__all__ = ["Choice", "Law", "Logged", "Option", "Outlook", "Prospect", "Rank", "harmless"]

T = TypeVar("T")


class Logged(NamedTuple):
    """A log: its rates ``lr`` [T], the losses [n] at ``step`` [n], and the law at the steps ``fitted_step`` [m].

    ``fitted`` says of each point whether the law was fitted to it. ``error`` is the law's mean absolute error on the log, None
    where the log was left out; ``label`` names it in the figures, such as "log 1".
    """

    label: str
    name: str
    path: str
    columns: str
    notes: tuple[str, ...]
    error: float | None
    lr: Any
    step: Any
    loss: Any
    fitted: Any
    fitted_step: Any
    fitted_loss: Any


class Prospect(NamedTuple):
    """A plan over its rates ``lr`` [T], and the loss [n] it is forecast to have after ``step`` [n] steps, with its interval.

    ``final`` is (loss, lower, upper) after the last step; ``asked`` the same of the steps that were asked for.
    """

    label: str
    name: str
    plan: str
    lr: Any
    step: Any
    loss: Any
    lower: Any
    upper: Any
    final: tuple[float, float, float]
    supported: bool
    why: str
    notes: tuple[str, ...] = ()
    asked: tuple[tuple[int, float, float, float], ...] = ()

    @property
    def half(self) -> float:
        """Half the interval of the last loss."""
        return (self.final[2] - self.final[1]) / 2.0


class Law(NamedTuple):
    """The law that was fitted: its name, what it is, its parameters (name, value, unit), and notes that are of no one log."""

    name: str
    about: str
    parameters: tuple[tuple[str, float, str], ...]
    notes: tuple[str, ...]


class Outlook(NamedTuple):
    """All that both pages show; ``prospects`` are drawn in this order, ``steps`` is the length of the run asked about."""

    logs: tuple[Logged, ...]
    law: Law
    prospects: tuple[Prospect, ...]
    steps: int
    command: str
    version: str
    created: str


class Rank(NamedTuple):
    """A place in the order: which ``prospect``, and how much higher than the first it ends ± ``half``; None if not compared."""

    prospect: int
    behind: float | None
    half: float | None

    @property
    def apart(self) -> bool:
        """Whether the difference is more than nothing."""
        return self.behind is not None and self.half is not None and self.behind > self.half


class Option(NamedTuple):
    """A schedule that was looked at: its last loss, ``gain`` ± ``half`` over the rival, and how far it is behind the best."""

    name: str
    loss: float
    gain: float
    half: float
    behind: float
    tied: bool
    supported: bool


class Choice(NamedTuple):
    """The plan to take, ``taken`` and ``best`` among the ``options``, and what the gain is counted from.

    ``rival`` names the plan that the gain is over; its prospect is the outlook's last, that of the plan taken the first.
    """

    plan: str
    toml: str
    schedule: str
    peak: str
    whence: str
    notes: tuple[str, ...]
    taken: int
    best: int
    best_toml: str
    rival: str
    options: tuple[Option, ...]


def harmless(value: T) -> T:
    r"""Return the value with every text in it made inert, however deep; arrays and numbers as they are.

    >>> harmless(("run\x1b[31m", (1.0, None)))
    ('run�[31m', (1.0, None))
    """
    made: Any = value
    if isinstance(value, str):
        made = inert(value)
    elif isinstance(value, tuple):
        parts = [harmless(part) for part in value]
        made = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return cast(T, made)
