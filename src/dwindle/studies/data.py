"""Data for a study: the shipped images, a file, or a function that returns a Dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dwindle.errors import DataError, InvalidValueError, a_kind, a_path, all_of, count, known, real, shown, suggestion
from dwindle.studies.data_arrays import labels_beside, read_idx, read_npz
from dwindle.studies.data_draws import with_label_noise
from dwindle.studies.data_fashion import full, mnist_folder, shipped
from dwindle.studies.data_function import is_function, returned
from dwindle.studies.data_prepare import Raw, prepare
from dwindle.studies.data_table import read_csv, read_parquet
from dwindle.studies.dataset import FROM_FILES, Dataset, Provenance

__all__ = ["Dataset", "Provenance", "load", "with_label_noise"]

Source = str | os.PathLike[str] | tuple[str | os.PathLike[str], str | os.PathLike[str]]

_SETS = ("fashion", "fashion-mnist")
_TABLES = (".csv", ".tsv", ".tab", ".parquet", ".pq")


def load(
    source: Source = "fashion",
    *,
    target: str | None = None,
    task: str | None = None,
    drop: Sequence[str] = (),
    label_noise: float = 0.0,
    validation: float | None = None,
    test: float | None = None,
    seed: int = 0,
) -> Dataset:
    """Return the data of ``source``, split into training, validation and test, ready for a model.

    ``source``: ``fashion`` (2,000 + 1,000 + 1,000 images shipped), ``fashion-mnist`` (all 70,000, where installed),
    a path to CSV, TSV, NPZ, Parquet or IDX, (images, labels) as a pair of IDX files, a folder with the four files of
    an MNIST-like set, or ``module:function`` or ``path/to/file.py:function`` that returns a Dataset.

    ``target`` names the column of a table to predict (default: the last), ``drop`` columns to leave out.
    ``task`` is classification for text and for at most 20 different whole numbers, else regression; given, it rules.
    ``validation`` and ``test`` are shares in (0, 1) of the rows held out, 0.2 each by default, class by class; a source
    with such a part of its own keeps it. ``label_noise`` of the training labels are drawn again; ``seed`` decides both.

    Images (uint8, three axes or more) become x/largest less the mean of each pixel; other numbers
    (x - mean)/std, and columns that do not vary 0; text is one-hot. Largest, mean, std and the categories are those of
    the training rows. A regression's target is standardised, ``target_mean`` and ``target_scale`` kept.
    ``provenance`` says all of it.

    Raises DataError with file, place, cause and remedy; InvalidValueError for settings that do not fit the source.

    >>> data = load("fashion", label_noise=0.2)
    >>> data.train_x.shape, data.validation_x.shape, data.test_x.shape, data.outputs
    ((2000, 784), (1000, 784), (1000, 784), 10)
    >>> data.provenance.steps[-1]
    'label noise 0.2: 400 of 2000 training labels drawn again, 361 now differ (seed 0)'
    """
    real("label_noise", label_noise, low=0.0, high=1.0)
    seed = count("seed", seed, low=0)
    if target is not None:
        a_kind("target", target, str)
    if task is not None:
        known("task", task, FROM_FILES)
    drop = dropped(drop)
    options = {"target": target, "drop": drop or None}
    if isinstance(source, str) and is_function(source):
        _refuse(source, options | {"task": task, "validation": validation, "test": test})
        return with_label_noise(_from_function(source), label_noise, seed)
    raw = _read(source, target, drop, options)
    dataset = prepare(raw, task=task, validation=validation, test=test, seed=seed)
    return with_label_noise(dataset, label_noise, seed)


def dropped(drop: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns to leave out; raise InvalidValueError for what is no list of them."""
    if isinstance(drop, str):
        raise InvalidValueError(f"drop must be a list of column names; got {shown(drop)}. Write drop=[{shown(drop)}].")
    return all_of("drop", drop, str)


def _read(source: Source, target: str | None, drop: Sequence[str], options: Mapping[str, object]) -> Raw:
    pair = isinstance(source, tuple)
    if isinstance(source, tuple) and len(source) != 2:
        raise InvalidValueError(f"a pair of IDX files is (images, labels); got {len(source)} paths.")
    path = a_path("source", source[0] if isinstance(source, tuple) else source, "a text, a path or a pair of paths")
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if pair or suffix not in _TABLES:
        _refuse(source, options)
    if isinstance(source, tuple):
        return read_idx(path, a_path("source", source[1], "a pair of paths"))
    if source == "fashion":
        return shipped()
    if source == "fashion-mnist":
        return full()
    if not os.path.exists(path):  # False also for names the system cannot hold
        raise DataError(
            f"{path}: no such file. Give the path of one, module:function, or a set by its name: "
            f"{suggestion(str(path), _SETS)}"
        )
    if path.is_dir():
        return mnist_folder(path)
    return _read_file(path, suffix, target, drop)


def _read_file(path: Path, suffix: str, target: str | None, drop: Sequence[str]) -> Raw:
    if suffix in (".csv", ".tsv", ".tab"):
        return read_csv(path, target=target, drop=drop)
    if suffix in (".parquet", ".pq"):
        return read_parquet(path, target=target, drop=drop)
    if suffix == ".npz":
        return read_npz(path)
    if "ubyte" in path.name or suffix.startswith(".idx"):
        return read_idx(path, labels_beside(path))
    raise DataError(
        f"{path}: {suffix or 'a name without ending'} is no format read here. "
        "Save it as .csv, .tsv, .npz, .parquet or .idx (each but Parquet may be .gz), or write a module:function."
    )


def _from_function(source: str) -> Dataset:
    """Return the Dataset that the function named by ``source`` gives; raise DataError if it gives something else."""
    dataset = returned(source)
    if not isinstance(dataset, Dataset):
        of = type(dataset).__name__
        remedy = "tasks_of(source) takes a task." if of == "Task" else "Build one."
        raise DataError(f"{source}: returned {of}; load wants a dwindle.studies.Dataset. {remedy}")
    return dataset


def _refuse(source: object, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise InvalidValueError(
                f"{name}={value!r} has no meaning for {source}: it is for "
                f"{'tables' if name in ('target', 'drop') else 'files'}. Leave it out."
            )
