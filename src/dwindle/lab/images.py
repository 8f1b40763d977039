"""The images that the lab's network learns from: some of the shipped ones, halved in size, as text."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from dwindle.studies.data_fashion import CLASSES, shipped

__all__ = ["images"]

_SIDE = 14
_SIZES = {"train": 600, "validation": 300}


def images() -> dict[str, Any]:
    """Return ``classes`` and the first images of ``train`` and of ``validation``: ``pixels`` in base64, ``labels``, ``side``.

    A pixel is a byte, the mean of 2 × 2 of the shipped image to the nearest whole number, halves to even.

    >>> sorted(images()), len(images()["train"]["labels"]), images()["train"]["side"]
    (['classes', 'train', 'validation'], 600, 14)
    """
    raw = shipped()
    parts = {name: _part(raw, np.sort(raw.own[name])[:size]) for name, size in _SIZES.items()}
    return {"classes": list(CLASSES), **parts}


def _part(raw: Any, rows: Any) -> dict[str, Any]:
    blocks = raw.numbers[rows].reshape(len(rows), _SIDE, 2, _SIDE, 2)
    pixels = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    return {"pixels": base64.b64encode(pixels.tobytes()).decode(), "labels": raw.target[rows].tolist(), "side": _SIDE}
