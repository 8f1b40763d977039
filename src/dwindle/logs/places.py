"""Which files a log is in: a file itself, or those of a folder as trainers leave it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dwindle.errors import DataError, shown
from dwindle.logs.names import SPLITS

__all__ = ["Place", "located"]

_MOST = 10_000  # entries of a folder that are looked at
_STEP = re.compile(r'"global_step":\s*(\d{1,18})')
_LOGS = re.compile(r".*\.(?:csv|tsv|jsonl|ndjson|json)(?:\.gz)?", re.IGNORECASE)
_USUAL = (
    "summary.csv",
    "history.csv",
    "log.csv",
    "training.csv",
    "metrics.jsonl",
    "wandb-history.jsonl",
    "history.json",
)
_NO_LOGS = frozenset((
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "added_tokens.json", "all_results.json", "train_results.json", "eval_results.json", "model.safetensors.index.json",
    "adapter_config.json", "preprocessor_config.json", "wandb-summary.json", "wandb-metadata.json",
))  # fmt: skip


class Place(NamedTuple):
    """A file of a log, and what its names are to stand under."""

    path: Path
    prefix: str = ""


def located(path: Path) -> tuple[list[Place], list[str]]:
    """Return the files of the log in their order, and what is to be said of the choice; raise DataError if it cannot be made."""
    try:
        if path.is_dir():
            return _in_folder(path, 0)
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: this is a device or a pipe. Write it to a file first; a log may be read twice.")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a NUL in the path, or a DataError
        raise (
            error if isinstance(error, DataError) else DataError(f"{str(path)!r}: cannot be read: {error}.")
        ) from error
    return [Place(path)], []


def _in_folder(folder: Path, depth: int) -> tuple[list[Place], list[str]]:
    files, folders = _entries(folder)
    names = {file.name: file for file in files}
    logs = [file for file in files if _LOGS.fullmatch(file.name) and file.name not in _NO_LOGS]
    for name in ("metrics.csv", "metrics.csv.gz"):
        if name in names:
            return [Place(names[name])], _over(names[name], [f for f in files if "tfevents" in f.name])
    states = [file for file in files if file.name == "trainer_state.json"]
    states += [each / "trainer_state.json" for each in folders if (each / "trainer_state.json").is_file()]
    if states:
        newest = max(states, key=_progress)
        notes = [f"of {len(states)} trainer states the newest was read: {newest}"] if len(states) > 1 else []
        return [Place(newest)], [*notes, *_over(newest, [file for file in logs if ".json" not in file.suffixes])]
    events = _events(folder, files, folders)
    if events:
        return events, []
    versions = [each for each in folders if re.fullmatch(r"version_\d+", each.name)]
    if versions:
        newest = max(versions, key=lambda each: int(each.name.partition("_")[2]))
        places, notes = _in_folder(newest, depth + 1)
        return places, [f"of {len(versions)} versions the newest was read: {newest.name}"] * (len(versions) > 1) + notes
    usual = [names[name] for name in _USUAL if name in names] or logs
    if len(logs) == 1 or usual is not logs:
        return [Place(usual[0])], _over(usual[0], [file for file in logs if file != usual[0]])
    runs = [each for each in folders if depth < 3 and _has_log(each, depth + 1)]
    if len(runs) == 1 and not logs:
        return _in_folder(runs[0], depth + 1)
    raise DataError(f"{folder}: {_choice(logs or runs)}")


def _choice(found: Sequence[Path]) -> str:
    if not found:
        return "no log is in this folder. Give the file itself: CSV, JSONL, trainer_state.json or TensorBoard's events."
    listed = ", ".join(shown(path.name) for path in found[:8]) + (", …" if len(found) > 8 else "")
    return f"several logs are in this folder: {listed}. Give one of them."


def _has_log(folder: Path, depth: int) -> bool:
    try:
        return bool(_in_folder(folder, depth)[0])
    except DataError as error:
        return "several logs" in str(error)
    except OSError:
        return False


def _over(chosen: Path, others: Sequence[Path]) -> list[str]:
    return [f"of the logs in the folder {chosen.name} was read, not {others[0].name}"] if others else []


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files and the folders in a folder, by their names."""
    found = []
    for entry in folder.iterdir():
        found.append(entry)
        if len(found) >= _MOST:
            break
    found.sort()
    return [entry for entry in found if entry.is_file()], [entry for entry in found if entry.is_dir()]


def _events(folder: Path, files: Sequence[Path], folders: Sequence[Path]) -> list[Place]:
    """Return the event files in the order they were begun, also those of folders for train and validation or for a tag."""
    direct = [Place(file) for file in _in_order(files)]
    below = [(each, _in_order(_entries(each)[0])) for each in folders]
    below = [(each, inner) for each, inner in below if inner]
    if direct or (below and all(SPLITS.fullmatch(each.name) for each, _ in below)):
        return direct + [Place(file, each.name) for each, inner in below for file in inner]
    return []


def _in_order(files: Sequence[Path]) -> list[Path]:
    """Return the event files among them by the second they were begun in, which is in their names."""

    def began(file: Path) -> tuple[int, str]:
        digits = file.name.partition("tfevents.")[2].partition(".")[0]
        return int(digits) if digits.isdigit() and len(digits) < 20 else 0, file.name

    return sorted((file for file in files if "tfevents" in file.name), key=began)


def _progress(state: Path) -> int:
    """Return the step that a trainer's state was saved at; -1 if it does not say."""
    with state.open("rb") as file:
        found = _STEP.search(file.read(2**16).decode("utf-8", "replace"))
    return int(found[1]) if found else -1
