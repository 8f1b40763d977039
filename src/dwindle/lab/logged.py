"""What the lab says of a log: its curves, what was found in it, and what would come next."""

from __future__ import annotations

import base64
import binascii
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dwindle.errors import DataError, InvalidValueError
from dwindle.lab.ahead import ahead
from dwindle.lab.thinned import thinned
from dwindle.logs.history import ROLES, History, Series

__all__ = ["log_given", "log_sent"]

_MOST_SERIES = 100
_LONGEST_NAME = 100


def log_given(path: str | None) -> dict[str, Any]:
    """Return what is to be said of the log that the lab was started with; of none, that it has no series."""
    if path is None:
        why = "the lab was started without a log; start it with --log FILE, or choose a file in the page."
        return {
            "name": "", "series": {}, "roles": {}, "unit": "step", "notes": [], "findings": [], "forecast": None,
            "forecast_why": why,
        }  # fmt: skip
    return _told(Path(path), Path(path).name)


def log_sent(name: str, data: str) -> dict[str, Any]:
    """Return what is to be said of a file that was sent, its bytes in base64.

    It is written under a name of ours, of whose parts only letters, digits, ``.``, ``_`` and ``-`` are the sender's, in a folder
    that goes away with the answer.

    >>> log_sent("x.csv", "!")
    Traceback (most recent call last):
    ...
    dwindle.errors.InvalidValueError: data is not base64.
    """
    if not name:
        raise InvalidValueError("name is empty; it is the file's, such as run1.csv.")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValueError("data is not base64.") from error
    del data
    with TemporaryDirectory(prefix="dwindle-lab-") as folder:
        path = Path(folder) / harmless(name)
        path.write_bytes(content)
        del content
        return _told(path, path.name)


def harmless(name: str) -> str:
    r"""Return the last part of a path as a file's name that means nothing to any system.

    >>> [harmless(name) for name in ("run 1.csv", "../../etc/passwd", "C:\\con", "..", "events.out.tfevents.17.host")]
    ['run_1.csv', 'passwd', 'log-con', 'log', 'events.out.tfevents.17.host']
    """
    last = re.split(r"[/\\\\]", name)[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", last).strip("._- ")[-_LONGEST_NAME:].lstrip("._-")
    device = plain.partition(".")[0].lower()
    if re.fullmatch(r"con|prn|aux|nul|com[0-9]|lpt[0-9]", device):
        return f"log-{plain}"
    return plain or "log"


def _told(path: Path, name: str) -> dict[str, Any]:
    from dwindle import findings, logs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arrays with NaN in them; what matters is in the notes
        try:
            run: History = logs.history(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), name)) from error
        found = [finding.as_dict() for finding in findings.of_history(run)]
        forecast, why = ahead(run)
    chosen = _chosen(run.series, run.roles)
    notes = [note.replace(str(path), name) for note in run.notes]
    if len(chosen) < len(run.series):
        notes.append(f"{len(run.series)} columns are in the log; {len(chosen)} of them are shown")
    return {
        "name": name, "series": {each: _points(run.series[each]) for each in chosen},
        "roles": {role: each for role, each in run.roles.items() if each in chosen}, "unit": run.unit, "notes": notes,
        "findings": found, "forecast": forecast, "forecast_why": why,
    }  # fmt: skip


def _chosen(series: Mapping[str, Series], roles: Mapping[str, str]) -> list[str]:
    """Return the names of the series that are shown: those with a role first, and then as many as there is room for."""
    with_role = [roles[role] for role in ROLES if role in roles]
    return list(dict.fromkeys([*with_role, *series]))[:_MOST_SERIES]


def _points(series: Series) -> dict[str, Any]:
    at = thinned(series.value)
    return {"step": series.step[at], "value": series.value[at]}
