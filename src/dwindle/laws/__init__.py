"""Laws of loss curves: what a training that was not run would have lost, how sure that is, and which schedule is best.

>>> import numpy as np
>>> from dwindle.laws import Run, fit
>>> steps = np.arange(1, 41) * 250
>>> fitted = fit(Run(lr=np.full(10_000, 1e-3), step=steps, loss=2.0 + (steps / 1000.0) ** -0.5))
>>> forecast = fitted.predict(np.full(20_000, 1e-3), at=[20_000])
>>> abs(float(forecast.loss[0]) - (2.0 + 20**-0.5)) < 0.01
True
"""

from dwindle.laws.average import Shares, shares
from dwindle.laws.best_decay import BestDecay, best_decay
from dwindle.laws.carry import Carried, carry
from dwindle.laws.course import Course, course
from dwindle.laws.decay_curves import decay_curves
from dwindle.laws.equilibrium import Norms, equilibrium
from dwindle.laws.fit import LAWS, Fitted, fit
from dwindle.laws.forecast import Forecast
from dwindle.laws.last_iterate import Cooldown, best_cooldown, best_factors, best_peak, bound, bounds
from dwindle.laws.law import Law, Parameter
from dwindle.laws.optimize import Candidate, Optimum, optimize
from dwindle.laws.refine import refine
from dwindle.laws.rules import RULES
from dwindle.laws.runs import Run

__all__ = [
    "LAWS",
    "RULES",
    "BestDecay",
    "Candidate",
    "Carried",
    "Cooldown",
    "Course",
    "Fitted",
    "Forecast",
    "Law",
    "Norms",
    "Optimum",
    "Parameter",
    "Run",
    "Shares",
    "best_cooldown",
    "best_decay",
    "best_factors",
    "best_peak",
    "bound",
    "bounds",
    "carry",
    "course",
    "decay_curves",
    "equilibrium",
    "fit",
    "optimize",
    "refine",
    "shares",
]
