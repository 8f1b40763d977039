"""What a chunk keeps on disk: one safetensors file, written whole, that says which training it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dwindle.durable import write_whole
from dwindle.errors import MissingExtraError, ResumeError

__all__ = ["Saved", "fingerprint", "read", "write"]

FORMAT = "dwindle modules 1"


class Saved(NamedTuple):
    """The step that comes next, and the tensors by name."""

    step: int
    tensors: Mapping[str, torch.Tensor]


def fingerprint(said: Iterable[Any]) -> str:
    """Return a digest of values: text of plain ones, and every byte of arrays and tensors.

    >>> fingerprint([1, np.zeros(2)]) == fingerprint([1, np.zeros(2)]) != fingerprint([1, np.zeros(3)])
    True
    """
    digest = hashlib.sha256()
    for value in said:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().contiguous().numpy()
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype} {value.shape};".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(f"{value!r};".encode())
    return digest.hexdigest()


def write(file: Path, whose: str, step: int, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put ``tensors`` into ``file``, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(file, _safetensors().save(plain, {"format": FORMAT, "training": whose, "step": str(step)}))


def read(file: Path, whose: str) -> Saved | None:
    """Return what `write` left in ``file``, None if there is none; raise ResumeError if it is another training's."""
    if not file.exists():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as found:
            said = found.metadata() or {}
            if said.get("format") != FORMAT or said.get("training") != whose:
                raise ResumeError(
                    f"{file} is of another training: other data, rates, seeds, modules or settings. "
                    "Give the arguments it was begun with, or another folder."
                )
            return Saved(int(said["step"]), {name: found.get_tensor(name) for name in found.keys()})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ResumeError(f"{file} cannot be read: {error}. Remove it; its members begin again.") from error


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise MissingExtraError.of("safetensors", "torch") from error
    return safetensors.torch
