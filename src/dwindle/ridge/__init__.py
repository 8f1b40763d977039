"""The ridge path: what weight decay does to a linear fit, at every λ at once, with exact leave-one-out errors.

>>> made = path([[0.0], [1.0], [2.0], [3.0]], [1.0, 2.0, 2.0, 4.0], lams=[0.0, 1.0, 10.0])
>>> made.coef(1.0), made.loo.round(4)
(array([0.75]), array([0.7426, 0.9246, 1.6971]))
"""

from dwindle.ridge.path import Path, Range, path
from dwindle.ridge.table import Standardised, standardised

__all__ = ["Path", "Range", "Standardised", "path", "standardised"]
