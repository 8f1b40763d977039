"""Populations of any PyTorch module: K copies, each with its own rates and first weights, trained at once.

>>> from dwindle.population.modules import train_modules
>>> train_modules.__name__
'train_modules'
"""

from dwindle.errors import MissingExtraError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError.of("torch", "torch") from error

from dwindle.population.modules.result import ModuleResult
from dwindle.population.modules.trainer import train_modules

__all__ = ["ModuleResult", "train_modules"]
