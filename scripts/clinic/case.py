"""A case as a value, and what makes an entry of cases.json of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dwindle as dw

from .training import Job, Trained, train
from .writers import View, write

Check = Callable[[Trained, Callable[..., Trained]], str]


@dataclass(frozen=True)
class LogCase:
    """A training, how it is logged, what must be found and what may be, and ``check``: that the log shows it."""

    name: str
    must: tuple[str, ...]
    how: str
    job: Job
    check: Check
    view: View = field(default_factory=View)
    may: tuple[str, ...] = ()
    plan: str | None = None
    horizon: int | None = None


@dataclass(frozen=True)
class Said:
    """A plan, a config (its text, and the name of its file) or a live set-up (the name of its function)."""

    name: str
    kind: str
    must: tuple[str, ...]
    how: str
    text: str
    may: tuple[str, ...] = ()
    file: str = ""
    plan: str | None = None
    horizon: int | None = None


def lrs(text: str, steps: int) -> list[float]:
    """Return the learning rates of a plan in text."""
    return list(dw.parse(text).lrs(steps))


def make(case: LogCase | Said, folder: Path) -> dict[str, Any]:
    """Make the files of a case in ``folder`` and return its entry; raise AssertionError where it does not show what it says."""
    entry: dict[str, Any] = {"name": case.name}
    if isinstance(case, Said):
        entry["kind"] = case.kind
        if case.kind == "config":
            file = case.file + (".txt" if case.file.endswith(".py") else "")  # no test runner may import it
            path = folder / case.name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(case.text)
            entry["file"] = str(path.relative_to(folder))
        else:
            entry["plan" if case.kind == "plan" else "function"] = case.text
        if case.plan is not None:
            entry["plan"] = case.plan
    else:
        run = train(case.job)
        measured = case.check(run, lambda **changes: train(replace(case.job, **changes)))
        entry |= {"kind": "log", "file": write(run, case.view, folder, case.name), "tool": case.view.tool}
        entry |= {"plan": case.plan} if case.plan is not None else {}
        entry["measured"] = measured
    if case.horizon is not None:
        entry["horizon"] = case.horizon
    return entry | {
        "must": list(case.must),
        "may": [code for code in case.may if code not in case.must],
        "how": case.how,
    }


def make_all(cases: list[LogCase | Said], folder: Path, only: str = "") -> bool:
    """Make all cases, or those whose names begin with ``only``, and write cases.json; say whether all show what they say."""
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases have one name"
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / "cases.json"
    known = {e["name"]: e for e in json.loads(listing.read_text())} if listing.exists() else {}
    sound = True
    for case in cases:
        if not any(case.name.startswith(part) for part in only.split(",")):
            continue
        began = time.perf_counter()
        try:
            known[case.name] = make(case, folder)
            said = known[case.name].get("measured", "made")
        except AssertionError as error:
            sound, said = False, f"NOT AS IT SAYS: {error}"
        print(f"{case.name:32} {time.perf_counter() - began:5.1f} s  {said}", flush=True)
        entries = [known[name] for name in names if name in known]
        listing.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    return sound
