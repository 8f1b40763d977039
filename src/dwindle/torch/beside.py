"""What an optimiser does beside its rule, in the same passes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Beside"]


class Beside(NamedTuple):
    """Clip the gradients, average the weights, zero the gradients, measure the norms."""

    clip: float | None
    keep: float | None  # of the averages
    zero: bool
    norms: bool

    @property
    def measured(self) -> bool:
        """Whether Σg² is wanted."""
        return self.clip is not None or self.norms

    def scale(self, square: float) -> float:
        """Return what gradients of this Σg² are multiplied by."""
        norm = square**0.5 + 1e-6
        return 1.0 if self.clip is None or norm <= self.clip else self.clip / norm
