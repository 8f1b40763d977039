"""Recipes of other frameworks and of the textbook, read as plans and written from them; no framework is imported.

``read`` reads a schedule, or a whole recipe from text; ``read_optimizer`` an optimiser with its weight decay;
``write`` gives a plan as source: torch, optax, Keras, timm, Hugging Face, Composer, scikit-learn and Nielsen's book;
``explain`` says what changes on the way.
"""

from dwindle.foreign.explain import explain
from dwindle.foreign.optimizers import OPTIMIZERS, read_optimizer
from dwindle.foreign.reading import read
from dwindle.foreign.schedules.peers import PEERS
from dwindle.foreign.source.program import read_source
from dwindle.foreign.write import write

__all__ = ["OPTIMIZERS", "PEERS", "explain", "read", "read_optimizer", "read_source", "write"]
