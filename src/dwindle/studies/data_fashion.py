"""Fashion-MNIST: the shipped 2,000 + 2,000 images, and the full set where it is installed.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
arXiv:1708.07747; MIT licence, Zalando SE. ``scripts/make_fashion_subset.py`` made the shipped files.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import DataError
from dwindle.studies.data_arrays import content, parse_idx, sha256
from dwindle.studies.data_prepare import Raw, Rows
from dwindle.studies.dataset import Provenance

__all__ = ["CLASSES", "FULL_SHA256", "full", "mnist_folder", "shipped", "verified"]

CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

# sha256 of the decompressed bytes: gzip headers differ between mirrors, the content does not.
FULL_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SHIPPED = Path(__file__).resolve().parent.parent / "data"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
VARIABLE = "DWINDLE_FASHION_MNIST"


def shipped(folder: Path = SHIPPED) -> Raw:
    """Return the shipped subset: 2,000 training images, and 2,000 held-out ones halved into validation and test.

    Of each class of the held-out file the 1st, 3rd, 5th ... image is for validation, the others are for test.
    Raises DataError naming a file that is missing or does not have the sha256 of the manifest.
    """
    hashes = _manifest(folder / "manifest.json")
    arrays = [_checked(folder / f"{name}.gz", name, digest) for name, digest in hashes.items()]
    held = _places(arrays[3])
    provenance = Provenance("Fashion-MNIST, 2,000 + 2,000 images shipped with dwindle", tuple(hashes.items()))
    return replace(_joined("fashion", arrays, provenance, validation=held % 2 == 0), classes=CLASSES)


def full(environment: Any = os.environ) -> Raw:
    """Return all 70,000 images: 50,000 to train, 10,000 for validation, the published 10,000 for test.

    Of each class of the training file the last 1,000 are for validation. The folder is that of the Debian package, or
    the one named by the environment variable DWINDLE_FASHION_MNIST. Raises DataError where it is not there or not it.
    """
    folder = Path(environment.get(VARIABLE) or INSTALLED)
    arrays = []
    for name, digest in FULL_SHA256.items():
        path = _present(folder, name)
        if path is None:
            raise DataError(
                f"{folder / name}.gz: no such file: the full Fashion-MNIST is not installed there. "
                f"apt-get install dataset-fashion-mnist, or let {VARIABLE} name the folder of its four files."
            )
        arrays.append(_checked(path, name, digest))
    provenance = Provenance(f"Fashion-MNIST, 70,000 images in {folder}", tuple(FULL_SHA256.items()))
    return replace(_joined("fashion-mnist", arrays, provenance, train=_places(arrays[1]) < 5000), classes=CLASSES)


def mnist_folder(folder: Path) -> Raw:
    """Return any set of four IDX files named as those of MNIST: its training part and its test part."""
    arrays, files = [], []
    for name in FULL_SHA256:
        path = _present(folder, name)
        if path is None:
            raise DataError(f"{folder}: no {name}[.gz] in it. Name a file, or a folder with the four files of MNIST.")
        data = content(path)
        arrays.append(parse_idx(path, data))
        files.append((path.name, sha256(data)))
    for x, y, part in ((arrays[0], arrays[1], "train"), (arrays[2], arrays[3], "t10k")):
        if x.ndim < 2 or y.ndim != 1 or len(x) != len(y) or x.shape[1:] != arrays[0].shape[1:]:
            raise DataError(f"{folder}: {part} images {x.shape} and labels {y.shape} do not fit. Copy them again.")
    return _joined(folder.resolve().name, arrays, Provenance(str(folder), tuple(files)))


def verified(path: Path, name: str, digest: str) -> bytes:
    """Return the decompressed bytes of ``path``; raise DataError unless their sha256 is ``digest``."""
    data = content(path)
    if sha256(data) != digest:
        raise DataError(
            f"{path}: its content has sha256 {sha256(data)[:16]}..., {name} has {digest[:16]}... "
            "The file was changed or cut; install it again."
        )
    return data


def _present(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.exists()), None)


def _checked(path: Path, name: str, digest: str) -> NDArray[Any]:
    return parse_idx(path, verified(path, name, digest))


def _manifest(path: Path) -> dict[str, str]:
    try:
        manifest = json.loads(content(path))
        hashes = {name: str(manifest["files"][name]["sha256"]) for name in FULL_SHA256}
        sound = manifest["format"] == 1
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        sound = False
    if not sound:
        raise DataError(f"{path}: not the manifest of the shipped data, format 1. Install dwindle again.")
    return hashes


def _places(labels: NDArray[Any]) -> Rows:
    """Return for each row how many rows of its class come before it."""
    places = np.empty(len(labels), np.intp)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        places[rows] = np.arange(len(rows))
    return places


def _joined(
    name: str,
    arrays: list[NDArray[Any]],
    provenance: Provenance,
    *,
    train: NDArray[np.bool_] | None = None,
    validation: NDArray[np.bool_] | None = None,
) -> Raw:
    """Join the two files; ``train`` marks the rows kept of the first, ``validation`` those given up by the second."""
    first, second = np.arange(len(arrays[1])), np.arange(len(arrays[1]), len(arrays[1]) + len(arrays[3]))
    own = {"train": first, "test": second}
    if train is not None:
        own = {"train": first[train], "validation": first[~train], "test": second}
    if validation is not None:
        own = {"train": first, "validation": second[validation], "test": second[~validation]}
    x, y = np.concatenate([arrays[0], arrays[2]]), np.concatenate([arrays[1], arrays[3]])
    return Raw(name, x, y, provenance, own=own, task="classification")
