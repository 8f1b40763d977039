"""The PyTorch adapter: `attach` makes any ``torch.optim`` optimiser follow a Plan, with nothing else to call.

`lightning` and `trainer` (Hugging Face) put it into their training loops; each is imported when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dwindle.errors import MissingExtraError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError.of("torch", "torch") from error

from dwindle.torch.attach import Controller, attach
from dwindle.torch.names import params
from dwindle.torch.optimizers import SGD, AdamW

__all__ = ["SGD", "AdamW", "Controller", "attach", "params"]

_ADAPTERS = ("lightning", "trainer")


def __getattr__(name: str) -> Any:
    if name in _ADAPTERS:
        return import_module(f"dwindle.torch.{name}")
    raise AttributeError(f"module 'dwindle.torch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ADAPTERS])
