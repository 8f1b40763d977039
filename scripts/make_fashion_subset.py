"""Make the Fashion-MNIST subset that dwindle ships, from the Debian package dataset-fashion-mnist.

    python scripts/make_fashion_subset.py [--source FOLDER] [--out FOLDER]

The rule: of each of the ten classes take the 200 images of train and the 200 of t10k whose keys are smallest, where the
key of the image in row i (from 0) of a file is sha256("dwindle 0 <train or t10k> <i>"). Keep them in file order.
A hash instead of a random generator: any language makes the same choice, for ever.
The source is verified by the sha256 of its decompressed bytes, and so are the files made, when they are loaded.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwindle.studies.data_arrays import parse_idx, sha256
from dwindle.studies.data_fashion import FULL_SHA256, INSTALLED, SHIPPED, verified

SEED, PER_CLASS = 0, 200
RULE = (
    f"of each class the {PER_CLASS} rows i of a file with the smallest sha256('dwindle {SEED} <train or t10k> <i>'), "
    "in file order"
)


def chosen(labels: NDArray[Any], stem: str) -> NDArray[np.intp]:
    """Return the sorted rows the rule takes from the file whose name begins with ``stem``."""
    keys = [sha256(f"dwindle {SEED} {stem} {row}".encode()) for row in range(len(labels))]
    rows = [
        row
        for label in np.unique(labels)
        for row in sorted(np.flatnonzero(labels == label), key=keys.__getitem__)[:PER_CLASS]
    ]
    return np.sort(np.array(rows))


def idx(array: NDArray[np.uint8]) -> bytes:
    """Return ``array`` as the bytes of an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def subset(source: Path) -> dict[str, bytes]:
    """Return the four files of the subset, not compressed, by name. Raises DataError if the source is not the set."""
    made = {}
    for stem in ("train", "t10k"):
        names = f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"
        paths = [source / f"{name}.gz" for name in names]
        images, labels = (
            parse_idx(path, verified(path, name, FULL_SHA256[name])) for path, name in zip(paths, names, strict=True)
        )
        rows = chosen(labels, stem)
        made[names[0]], made[names[1]] = idx(images[rows]), idx(labels[rows])
    return made


def manifest(made: dict[str, bytes]) -> str:
    """Return the manifest: the rule, the source, and the sha256 of each file's decompressed bytes."""
    files = {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in made.items()}
    said = {
        "format": 1,
        "source": "Fashion-MNIST (MIT, Zalando SE), Debian package dataset-fashion-mnist",
        "source_sha256": FULL_SHA256,
        "rule": RULE,
        "files": files,
    }
    return json.dumps(said, indent=2) + "\n"


def main() -> None:
    """Write the four files and the manifest, each to a temporary name first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=INSTALLED, help="folder of the four .gz files")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write to")
    options = parser.parse_args()
    made = subset(options.source)
    files = {f"{name}.gz": gzip.compress(data, 9, mtime=0) for name, data in made.items()}
    files["manifest.json"] = manifest(made).encode()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = options.out / name
        path.with_suffix(".tmp").write_bytes(data)
        os.replace(path.with_suffix(".tmp"), path)
        print(f"{len(data):>9,} bytes  {path}")


if __name__ == "__main__":
    main()
