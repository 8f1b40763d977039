"""What the lab says of a plan: its curves, thinned to what a picture shows, and its source for every framework."""

from __future__ import annotations

import warnings
from typing import Any

from dwindle.errors import DwindleError, InvalidValueError
from dwindle.foreign import write
from dwindle.lab.thinned import thinned
from dwindle.plan import Plan
from dwindle.text import parse, to_toml
from dwindle.units import Horizon

__all__ = ["FRAMEWORKS", "LONGEST", "planned"]

FRAMEWORKS = ("torch", "optax", "keras", "hf", "timm", "sklearn", "composer")
LONGEST = 5_000_000
"""Steps of a run: every one of them is worked out."""


def planned(
    text: str,
    steps: int,
    steps_per_epoch: int | None = None,
    batch_size: int | None = None,
    tokens_per_step: int | None = None,
) -> dict[str, Any]:
    """Return what a plan does over a run, as the lab draws it; what is said of the run is that of `Horizon`.

    ``lr``, ``shrink`` and ``l2`` are those of each ``step``, at most 400 of them, and ``share_left`` is what decay alone
    leaves of w(0) before it. ``code`` is the source by framework, ``notes`` what is not exact in it, or why there is none;
    ``warnings`` are those of the plan.

    Raises what `parse` and `Horizon` raise, and InvalidValueError for a run that is too long to draw.

    >>> told = planned("peak 0.1 | linear to 0 | decoupled 1", 4)
    >>> told["step"], told["lr"], [round(share, 3) for share in told["share_left"]]
    ([0, 1, 2, 3], [0.1, 0.07500000000000001, 0.05, 0.025], [1.0, 0.9, 0.833, 0.791])
    """
    run = Horizon(steps=steps, steps_per_epoch=steps_per_epoch, batch_size=batch_size, tokens_per_step=tokens_per_step)
    if steps > LONGEST:
        raise InvalidValueError(
            f"the lab draws runs of up to {LONGEST:,} steps; got {steps:,}. Draw a shorter one of the same shape."
        )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        plan = parse(text)
    said = list(dict.fromkeys(str(each.message) for each in warned))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same again, of the plan and of what is tried on the way to its sources
        rates, left = plan.table(run), plan.shares_left(run)
        code, notes = _sources(plan, run)
        at = thinned(rates.lr)
        return {
            "plan": str(plan), "toml": to_toml(plan), "steps": steps, "step": at.tolist(),
            **{name: getattr(rates, name)[at].tolist() for name in ("lr", "shrink", "l2")},
            "share_left": left[at].tolist(), "share_left_at_end": float(left[-1]),
            "timescale": plan.timescale(run)._asdict(), "half_life": plan.half_life(run)._asdict(),
            "code": code, "notes": notes, "warnings": said,
        }  # fmt: skip


def _sources(plan: Plan, run: Horizon) -> tuple[dict[str, str], dict[str, list[str]]]:
    code: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    for framework in FRAMEWORKS:
        try:
            code[framework] = write(plan, framework, run)
            notes[framework] = _notes(code[framework])
        except DwindleError as error:
            notes[framework] = [str(error)]
    return code, notes


def _notes(source: str) -> list[str]:
    r"""Return the notes in the comment that opens a source, each in one line.

    >>> _notes("# Written by hand:\n# Note: not exact: x\n#   is 2.\nx = 1")
    ['not exact: x is 2.']
    """
    found: list[str] = []
    for line in source.splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("# Note: "):
            found.append(line.removeprefix("# Note: "))
        elif found and line.startswith("#   "):
            found[-1] += f" {line[1:].strip()}"
    return found
