"""Where in the user's own code an operation stands, for the words of a refusal."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["calls_in", "line_here", "line_of"]

_TORCH, _OURS = str(Path(torch.__file__).parent), str(Path(__file__).parent)
_ENTRIES = [str(Path(_OURS, name)) for name in ("chunk.py", "trainer.py")]  # these call the module and the loss


def line_here() -> str:
    """Return the line of the module or the loss that is being computed, in words: "`code` (line 3 of file)", or "" if none is."""
    return line_of(traceback.extract_stack())


def line_of(stack: traceback.StackSummary) -> str:
    """Return the last line of ``stack`` that is of the module or the loss, as `line_here`."""
    for frame in reversed(stack):
        if frame.filename in _ENTRIES:
            break
        if not frame.filename.startswith((_TORCH, _OURS)):
            place = f"line {frame.lineno} of {Path(frame.filename).name}"
            return f"`{frame.line}` ({place})" if frame.line else place
    return ""


def calls_in(step: Callable[..., Any], given: Sequence[torch.Tensor], target: Any) -> list[str]:
    """Return the lines, one a call and "" for one of torch's own, at which ``step(*given)`` calls the operation ``target``."""
    found: list[str] = []

    class Listening(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is target:
                found.append(line_here())
            return func(*args, **(kwargs or {}))

    with Listening():  # type: ignore[no-untyped-call]
        step(*given)
    return found
