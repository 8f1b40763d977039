"""From what a file holds to a Dataset: labels numbered, rows held out, features scaled by the training rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import DataError, InvalidValueError, known, real, shown
from dwindle.studies.data_draws import hold_out
from dwindle.studies.dataset import FROM_FILES, PARTS, Dataset, Provenance

__all__ = ["Raw", "prepare"]

FEW_VALUES = 20  # whole-number targets with at most so many values are taken for class labels
MOST_CATEGORIES = 100  # a text column with more is a name or a key, not a category
MOST_DIFFERENT = 0.9  # of the rows; where nearly each has a text of its own, that is no category either
FEWEST_ROWS = 10
SHARE = 0.2  # of the rows, for validation and for test, where the source sets none apart

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Raw:
    """What a reader found: ``numbers`` (rows, ...), one ``target`` a row, categorical ``texts`` by column name.

    ``numbers`` of type uint8 with three axes or more are images. ``own`` holds the rows of the parts that the source
    sets apart itself: nothing, train and test, train and validation, or all three. ``names`` name the columns of a
    table, ``classes`` the labels 0, 1, 2 ... of a source that says what they mean.
    """

    name: str
    numbers: NDArray[Any]
    target: NDArray[Any]
    provenance: Provenance
    texts: tuple[tuple[str, NDArray[Any]], ...] = ()
    names: tuple[str, ...] = ()
    own: Mapping[str, Rows] = field(default_factory=dict)
    task: str | None = None
    classes: tuple[str, ...] = ()


def prepare(raw: Raw, *, task: str | None, validation: float | None, test: float | None, seed: int) -> Dataset:
    """Return the Dataset of ``raw``: see ``dwindle.studies.data.load`` for the rules.

    Raises DataError naming the source for data that cannot be used, InvalidValueError for shares that cannot be held.
    """
    source = raw.provenance.source
    if len(raw.target) < FEWEST_ROWS:
        raise DataError(f"{source}: {len(raw.target)} rows; training, validation and test need {FEWEST_ROWS} or more.")
    chosen, y, classes, reason = _target(raw, task)
    parts, split = _parts(raw, y, classes, validation, test, seed)
    x, scaling = _features(raw, parts)
    mean, scale = 0.0, 1.0
    if chosen == "regression":
        mean, scale = _target_scale(source, y[parts["train"]])
        y = (y - mean) / scale
        scaling.append(f"target standardised: mean {mean:.6g}, scale {scale:.6g}")
    arrays = {f"{part}_x": x[part] for part in PARTS} | {f"{part}_y": y[parts[part]] for part in PARTS}
    return Dataset(
        **arrays,
        name=raw.name,
        task=chosen,
        classes=classes,
        provenance=raw.provenance.then(reason, split, *scaling),
        input_shape=() if raw.texts else raw.numbers.shape[1:],
        target_mean=mean,
        target_scale=scale,
    )


def _target(raw: Raw, task: str | None) -> tuple[str, NDArray[Any], tuple[str, ...], str]:
    """Return task, targets, class names, and the sentence that says why this task."""
    if task is not None:
        known("task", task, FROM_FILES)
    source, values = raw.provenance.source, raw.target
    text = values.dtype.kind in "OUS"
    whole = not text and bool(np.all(values == np.floor(values)))
    distinct, codes = np.unique(values, return_inverse=True)
    if task is None:
        task = raw.task or ("classification" if text or (whole and len(distinct) <= FEW_VALUES) else "regression")
        kind = "texts" if text else "whole numbers" if whole else "numbers"
        reason = f"{task}: the target holds {len(distinct)} different {kind}"
    else:
        reason = f"{task}: as asked"
    if task == "regression":
        if text:
            raise DataError(
                f"{source}: the target holds text such as {shown(distinct.tolist()[0])}, which no regression can predict. "
                "Name a numeric target, or leave task out."
            )
        return task, values.astype(np.float64), (), reason
    if not text and not whole:
        raise DataError(
            f"{source}: the target holds fractions, which are no class labels. Set task='regression', or number them."
        )
    if len(distinct) < 2:
        raise DataError(
            f"{source}: every row has the target {shown(distinct.tolist()[0])}; there must be two classes or more. "
            "Name another target column, or add the other classes."
        )
    if raw.classes:
        return task, values.astype(np.int64), raw.classes, reason
    boolean = values.dtype.kind == "b"
    names = tuple(str(each) if text or boolean else str(int(each)) for each in distinct.tolist())
    return task, codes.reshape(-1).astype(np.int64), names, reason


def _parts(
    raw: Raw, y: NDArray[Any], classes: tuple[str, ...], validation: float | None, test: float | None, seed: int
) -> tuple[dict[str, Rows], str]:
    """Return the rows of each part, and the sentence that says how they were chosen."""
    shares = {}
    for part, share in (("validation", validation), ("test", test)):
        if part in raw.own and share is not None:
            raise InvalidValueError(
                f"{part}={share!r} cannot be held out of {raw.provenance.source}: it has its own {part} part. Leave it."
            )
        if part not in raw.own:
            shares[part] = SHARE if share is None else real(part, share, above=0.0, below=1.0)
    if not shares:
        return dict(raw.own), f"split as in the source: {_sizes(raw.own)}"
    if sum(shares.values()) >= 1.0:
        raise InvalidValueError(
            f"validation and test shares add up to {sum(shares.values()):g}, which leaves nothing to train on. "
            "Make them add up to less than 1."
        )
    rows = raw.own.get("train", np.arange(len(y)))
    strata = y[rows] if classes else np.zeros(len(rows), np.int64)
    try:
        kept = hold_out(strata, tuple(shares.values()), seed, classes)
    except DataError as error:
        raise DataError(f"{raw.provenance.source}: {error}") from None
    parts = {**raw.own, "train": rows[kept[0]]}
    parts.update((part, rows[out]) for part, out in zip(shares, kept[1:], strict=True))
    held = " and ".join(f"{part} {share:g}" for part, share in shares.items())
    return parts, f"held out {held}{' of each class' if classes else ''} (seed {seed}): {_sizes(parts)}"


def _features(raw: Raw, parts: Mapping[str, Rows]) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Return the features of each part, and the sentences that say how they were scaled."""
    flat = raw.numbers.reshape(len(raw.numbers), -1)
    train = flat[parts["train"]]
    steps = []
    if flat.dtype == np.uint8 and raw.numbers.ndim > 2:
        top = np.float32(max(1, train.max()))
        # Sums of whole numbers are exact, so the mean is the same on every machine.
        mean = (train.mean(axis=0, dtype=np.float64) / top).astype(np.float32)
        x = {part: flat[rows] / top - mean for part, rows in parts.items()}
        steps.append(f"pixels divided by {top:g}, less the mean of each over the training rows")
    else:
        mean, scale = _moments(raw, train.astype(np.float64))
        live = scale > 0
        with np.errstate(over="ignore"):  # a held-out row may lie beyond float32: the Dataset refuses it by place
            x = {p: _standardised(flat[rows], mean, scale, live) for p, rows in parts.items()}
        if flat.shape[1]:
            steps.append(f"{int(live.sum())} numeric columns standardised by the training rows")
        if not live.all():
            steps.append(f"{int((~live).sum())} columns that do not vary in training set to 0")
    for name, values in raw.texts:
        encoded, step = _one_hot(raw.provenance.source, name, values, parts)
        x = {part: np.concatenate([x[part], encoded[part]], axis=1) for part in parts}
        steps.append(step)
    return x, steps


def _moments(raw: Raw, train: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = train.mean(axis=0), train.std(axis=0)
    # Rounding gives a constant column a scale of 1e-17 or so: compare the values themselves.
    varies = train.min(axis=0) != train.max(axis=0)
    wild = np.flatnonzero(~np.isfinite(scale) | (varies & (scale == 0.0)))
    if wild.size:
        label = raw.names[wild[0]] if raw.names else str(wild[0])
        size = "small" if scale[wild[0]] == 0.0 else "large"
        raise DataError(
            f"{raw.provenance.source}: column {label!r} holds values too {size} to standardise. Rescale or drop it."
        )
    return mean, np.where(varies, scale, 0.0)


def _standardised(
    x: NDArray[Any], mean: NDArray[np.float64], scale: NDArray[np.float64], live: NDArray[np.bool_]
) -> NDArray[np.float32]:
    out = np.zeros(x.shape, np.float32)
    out[:, live] = (x[:, live] - mean[live]) / scale[live]
    return out


def _one_hot(
    source: str, name: str, values: NDArray[Any], parts: Mapping[str, Rows]
) -> tuple[dict[str, NDArray[np.float32]], str]:
    categories = sorted(set(values[parts["train"]].tolist()))
    if len(categories) > MOST_CATEGORIES:
        raise DataError(
            f"{source}: column {name!r} holds {len(categories)} different texts in {len(parts['train'])} training "
            f"rows; at most {MOST_CATEGORIES} can be one-hot encoded. Drop it (drop=[{name!r}]), or encode it."
        )
    if len(categories) > MOST_DIFFERENT * len(parts["train"]):
        raise DataError(
            f"{source}: column {name!r} holds {len(categories)} different texts in {len(parts['train'])} training rows, such as "
            f"{shown(categories[0])}: a name or a key, not a category. Drop it (drop=[{name!r}]), or write it as numbers."
        )
    position = {category: i for i, category in enumerate(categories)}
    codes = np.array([position.get(value, -1) for value in values.tolist()])
    rows = codes[:, None] == np.arange(len(categories))
    unseen = int((codes < 0).sum())
    step = f"column {name!r} one-hot in {len(categories)}" + (f", {unseen} rows unseen in training" if unseen else "")
    return {part: rows[at].astype(np.float32) for part, at in parts.items()}, step


def _target_scale(source: str, train: NDArray[np.float64]) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(train.mean()), float(train.std())
    alike = train.min() == train.max()
    if alike or scale == 0.0 or not np.isfinite(scale):
        size = "small" if scale == 0.0 else "large"
        cause = "does not vary over the training rows" if alike else f"is too {size} to standardise"
        raise DataError(f"{source}: the target {cause}. Name another target column, or rescale it.")
    return mean, scale


def _sizes(parts: Mapping[str, Rows]) -> str:
    return ", ".join(f"{len(parts[part])} {part}" for part in PARTS)
