"""Recipes of other frameworks and of the textbook, read as plans: pure data, no framework is imported.

``read`` reads a schedule, ``read_optimizer`` an optimiser with its weight decay: torch, optax, Keras, timm, Hugging Face,
Composer, scikit-learn and Nielsen's book.
"""

from dwindle.foreign.optimizers import OPTIMIZERS, read_optimizer
from dwindle.foreign.peers import PEERS, read

__all__ = ["OPTIMIZERS", "PEERS", "read", "read_optimizer"]
