"""The JAX adapter: a Plan as an optax schedule, as the two halves of a weight decay, and as whole optimisers.

A Plan is a pytree as well: its leaves are the peak and λ, so plans of one shape stack and train under ``jax.vmap``.
"""

from __future__ import annotations

from dwindle.errors import MissingExtraError

try:
    import jax as _jax
    import optax as _optax  # noqa: F401
except ImportError as error:
    raise MissingExtraError.of("jax", "jax") from error
if not hasattr(_jax, "enable_x64"):
    raise MissingExtraError(
        f"jax {_jax.__version__} cannot work out a float64 learning rate in a float32 session; "
        "jax 0.8 and newer can. pip install -U 'dwindle[jax]'"
    )

from dwindle.jax.clock import schedule
from dwindle.jax.optimisers import adam, adamw, attach, sgd
from dwindle.jax.pieces import Pieces, PlanState, decay
from dwindle.jax.tree import register as _register

_register()

__all__ = ["Pieces", "PlanState", "adam", "adamw", "attach", "decay", "schedule", "sgd"]
