"""The PyTorch adapter: `attach` makes any ``torch.optim`` optimiser follow a Plan, with nothing else to call."""

from __future__ import annotations

from dwindle.errors import MissingExtraError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError.of("torch", "torch") from error

from dwindle.torch.attach import Controller, attach
from dwindle.torch.names import params

__all__ = ["Controller", "attach", "params"]
