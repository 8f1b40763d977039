"""Finished trials on disk: one checked line of JSON each, appended and synced, so that a killed study loses none."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dwindle.errors import DataError, InvalidValueError, a_path, shown
from dwindle.studies.lock import claim, give_free

__all__ = ["TRIALS", "Store", "record_in"]

TRIALS = "trials.jsonl"
_FORMAT = "dwindle-trials/2"  # 1: before trainings were let go at rungs


@dataclass(slots=True)
class Store:
    """The trials of a study in ``folder``/trials.jsonl, by key; a line that does not match its checksum is left out.

    Without a folder they are kept in memory only. ``spoilt`` counts the lines left out when reading: the last line of a
    process killed while writing, damage, or another format. What they held is trained again.
    Two studies must not write into one folder at once: the second is refused.
    """

    folder: Path | None = None
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    spoilt: int = 0

    @classmethod
    def open(cls, folder: str | Path | None) -> Store:
        """Return the store in ``folder``, made if it is not there, with every finished trial in it.

        Raises DataError for a folder that cannot be made, read or written, ResumeError if another process has it.
        """
        if folder is None:
            return cls()
        place = a_path("folder", folder, "the path of a folder")
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"the folder {place} cannot be made: {error.strerror}. Choose another with --out."
            ) from error
        store = cls(place)
        claim(place)
        try:
            store._read(place / TRIALS)
        except OSError as error:
            store.close()
            raise DataError(
                f"{place / TRIALS} cannot be read and written: {error.strerror}. Choose another folder."
            ) from error
        return store

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Append finished trials, each with its ``key``, and wait until they are on disk."""
        new = list(records)
        for record in new:
            if not isinstance(record.get("key"), str):
                raise InvalidValueError(f"a record needs its key, a text; got {shown(record)}.")
        if self.folder is not None and new:
            _append(self.folder / TRIALS, "".join(_line(record) for record in new))
        self.records.update((record["key"], record) for record in new)

    def tidy(self) -> None:
        """Remove what unfinished trainings left in the folder: at the end of a study its kills have no more use for it."""
        if self.folder is not None:
            shutil.rmtree(self.folder / "unfinished", ignore_errors=True)

    def close(self) -> None:
        """Give the folder free for another study."""
        if self.folder is not None:
            give_free(self.folder)

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        with path.open("r+b") as file:  # who cannot write it is to hear of it now, not after the first trainings
            for raw in file:
                record = record_in(raw)
                if record is None:
                    self.spoilt += bool(raw.strip())
                else:
                    self.records[record["key"]] = record


def _append(path: Path, text: str) -> None:
    try:
        with path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # after a line cut short by a kill
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(
            f"trials cannot be written to {path}: {error.strerror}. Finished ones are kept; run again to go on."
        ) from error


def _line(record: dict[str, Any]) -> str:
    body = json.dumps(record, sort_keys=True, allow_nan=False)
    return json.dumps({"format": _FORMAT, "crc": zlib.crc32(body.encode()), "body": body}) + "\n"


def record_in(raw: bytes) -> dict[str, Any] | None:
    """Return the record in a line of the file of trials; None if the line is half written, damaged or of another format.

    >>> record_in(b'{"format": "dwindle-tri') is None
    True
    """
    try:
        line = json.loads(raw)
        body = line["body"]
        if line["format"] != _FORMAT or zlib.crc32(body.encode()) != line["crc"]:
            return None
        record = json.loads(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("key"), str) else None
