"""Populations: K networks, each with its own rates and seed, trained at once on one machine.

>>> import numpy as np
>>> from dwindle.population import MLP, SGD, Rates
>>> MLP((784, 128, 10)).parameters, Rates(np.full((3, 600), 0.1)).members
(101770, 3)
"""

from dwindle.population.data import Data, Examples, epoch_order
from dwindle.population.rungs import Seen
from dwindle.population.threads import StoppedError
from dwindle.population.trainer import Result, engine_for, steps_per_epoch, train
from dwindle.population.values import MLP, SGD, Adam, Optimiser, Rates, initial_weights

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "Data",
    "Examples",
    "Optimiser",
    "Rates",
    "Result",
    "Seen",
    "StoppedError",
    "engine_for",
    "epoch_order",
    "initial_weights",
    "steps_per_epoch",
    "train",
]
