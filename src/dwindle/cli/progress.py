"""How far a study is, on stderr: one live table on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dwindle.inert import inert

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from dwindle.studies import Progress

__all__ = ["Bars", "Pace", "progress"]

_RECENT = 20.0  # seconds that a rate looks back
_FEWEST = 4  # changes that it looks back at least, so that rare ones give a rate too
_APART = 0.25  # seconds between the points that it keeps
_SETTLED = 0.3  # seconds from the start of a stage in which what is counted was found, not trained
_EVERY = 10.0  # seconds between plain lines
_WIDE = 76  # columns from which a bar has room


def progress(names: Sequence[str]) -> Bars | Lines:
    """Return what shows the progress of the tasks of these names: use it in ``with`` and call it with each Progress."""
    from rich.console import Console

    console = Console(stderr=True)
    live = sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal
    return Bars(names, console) if live else Lines()


class Pace:
    """Trainings a second of one task over the recent past, and the time left at that rate.

    What a study finds done when a stage begins is not counted as work.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: str | None = None
        self._begun = 0.0
        self._seen: tuple[tuple[float, float], ...] = ()  # (time, done); whole, for another thread reads it

    def see(self, stage: str, done: float) -> None:
        """Take note that ``done`` trainings are done in ``stage``."""
        now, seen = self._clock(), self._seen
        if stage != self._stage:
            self._stage, self._begun = stage, now
        if now - self._begun <= _SETTLED:
            self._seen = ((now, done),)
        elif done != seen[-1][1]:
            if len(seen) > 1 and now - seen[-2][0] < _APART:
                seen = seen[:-1]
            seen = (*seen, (now, done))
            late = sum(at >= now - _RECENT for at, _ in seen)
            self._seen = seen[-max(late + 1, _FEWEST) :]

    @property
    def rate(self) -> float | None:
        """Trainings a second; None before there are two points to tell from. It falls when news stays away."""
        seen = self._seen
        if len(seen) < 2:
            return None
        times = [at for at, _ in seen]
        longest = max(late - early for early, late in pairwise(times))
        end = max(times[-1], self._clock() - longest)
        took, did = end - times[0], seen[-1][1] - seen[0][1]
        return did / took if took > 0 and did > 0 else None

    def left(self, todo: float) -> float | None:
        """Return the seconds that ``todo`` more trainings take."""
        return None if self.rate is None else todo / self.rate


class _Row:
    """A task: what it told last, and its pace."""

    def __init__(self) -> None:
        self.at: Progress | None = None
        self.pace = Pace()

    def see(self, at: Progress) -> bool:
        """Take the news; return whether a stage has begun, or the last one ended."""
        stage, was_done = self.at and self.at.stage, self.is_done
        self.at = at
        self.pace.see(at.stage, at.done)
        return at.stage != stage or self.is_done != was_done

    @property
    def is_done(self) -> bool:
        return self.at is not None and self.at.stage == "fit" and self.at.done >= self.at.total

    @property
    def rate(self) -> float | None:
        return None if self.is_done else self.pace.rate

    @property
    def left(self) -> float | None:
        return None if self.at is None or self.is_done else self.pace.left(self.at.total - self.at.done)


class Bars:
    """One table, a row a task, and the best plan so far below it; it stays on the screen as it was at the end."""

    def __init__(self, names: Sequence[str], console: Console) -> None:
        from rich.live import Live

        self._rows = {name: _Row() for name in names}
        self._console = console
        # what is written to stdout goes above the table where both share the screen, and else where it was sent
        shared = sys.stdout.isatty()
        self._live = Live(console=console, get_renderable=self._drawn, redirect_stdout=shared)

    def __enter__(self) -> Bars:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, at: Progress) -> None:
        self._rows.setdefault(at.setting, _Row()).see(at)

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        shown = self._rows.copy()  # the drawing thread is another than the one that trains
        rows = {inert(name): row for name, row in shown.items()}
        wide = self._console.width >= _WIDE
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=True, header_style="dim")
        table.add_column("task", ratio=None if wide else 1, no_wrap=True, overflow="ellipsis", max_width=18)
        table.add_column("stage", no_wrap=True, min_width=6)
        if wide:
            table.add_column("", ratio=1)  # the bar
        heads = {"done": 7, "/s": 4, "left": 5, "best loss" if wide else "loss": 6, "failed": 6, "let go": 6}
        for head, least in heads.items():
            table.add_column(head, justify="right", no_wrap=True, min_width=least)
        for name, row in rows.items():
            table.add_row(*_cells(name, row, bar=wide))
        plans = {name: row.at.plan for name, row in rows.items() if row.at is not None and row.at.plan is not None}
        lines = [f"best {'so far' if len(rows) == 1 else f'of {name}'}  {inert(plan)}" for name, plan in plans.items()]
        empty = Text("")  # the cursor stands here, and the ^C that a terminal shows
        return Group(table, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines), empty)


def _cells(name: str, row: _Row, *, bar: bool) -> list[Any]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    at = row.at
    if at is None:
        return [Text(name, style="dim"), Text("waits", style="dim")]
    lost = Text(str(at.diverged), style="red" if at.diverged else "")
    cells: list[Any] = [Text(name), "done" if row.is_done else at.stage]
    cells += [ProgressBar(total=max(at.total, 1), completed=min(at.done, at.total))] if bar else []
    return [
        *cells,
        f"{int(at.done)}/{at.total}",
        _rate(row.rate),
        _clock(row.left),
        _loss(at.best),
        lost,
        str(at.stopped),
    ]


class Lines:
    """A plain line when a stage begins, and at most every ten seconds; nothing that only a terminal understands."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._said_at = -math.inf
        self._unsaid: str | None = None

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        if self._unsaid is not None:
            self._say(self._unsaid)

    def __call__(self, at: Progress) -> None:
        row = self._rows.setdefault(at.setting, _Row())
        if row.see(at) or self._clock() - self._said_at >= _EVERY:
            self._say(at.setting)
        else:
            self._unsaid = at.setting

    def _say(self, name: str) -> None:
        row = self._rows[name]
        at, self._unsaid, self._said_at = row.at, None, self._clock()
        assert at is not None
        said = [f"{inert(name)}: {at.stage}, {int(at.done)} of {at.total} trainings"]
        said += [f"{_rate(row.rate)}/s"] if row.rate else []
        said += [f"{_clock(row.left)} left"] if row.left is not None else []
        said += [f"best validation loss {_loss(at.best)}"] if at.best is not None else []
        said += [f"{at.diverged} diverged"] if at.diverged else []
        said += [f"{at.stopped} let go"] if at.stopped else []
        print(", ".join(said), file=sys.stderr, flush=True)


def _loss(loss: float | None) -> str:
    return "" if loss is None or not math.isfinite(loss) else f"{loss:.4f}" if loss < 100 else f"{loss:.4g}"


def _rate(rate: float | None) -> str:
    if rate is None:
        return ""
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def _clock(seconds: float | None) -> str:
    """Return a duration as people read it.

    >>> [_clock(t) for t in (5, 65, 3_700, 200_000)]
    ['0:05', '1:05', '1h 01', '2d 07']
    """
    if seconds is None:
        return ""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86_400
    if minutes < 60:
        return f"{int(minutes)}:{int(seconds) % 60:02}"
    if hours < 48:
        return f"{int(hours)}h {int(minutes) % 60:02}"
    return f"{int(days)}d {int(hours) % 24:02}" if days < 99 else "months"
