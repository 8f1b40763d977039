"""What would come after the last line of a log: its loss if the learning rate stayed, and if it fell to 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from dwindle.errors import DataError, DwindleError
from dwindle.laws import Fitted, Run, fit
from dwindle.logs.history import History, Series

__all__ = ["ahead"]

_MORE = 4  # a quarter of the steps that were logged
_LONGEST = 10_000_000  # steps of a log: the rate of every one is worked out
_MOST = 2_000  # points of the loss that are fitted
_OVER = 0.05  # of the peak: a rate that ended below it has decayed already


def ahead(run: History) -> tuple[dict[str, Any] | None, str]:
    """Return the forecast for a quarter of the steps more, and what it rests on; or None, and why there is none.

    ``options``: the rate held where it is, and falling from there to 0 on a line; each with ``step``, ``loss``, its 90 % interval
    ``lower`` to ``upper``, and whether the log can tell, ``supported``, with the reason ``why``. ``loss`` is the series that is
    foretold: the validation loss where there is one. The law is fitted as by `dwindle.laws.fit`.
    """
    role = next((role for role in ("validation loss", "training loss") if run.get(role) is not None), None)
    lr, loss = run.get("lr"), None if role is None else run.get(role)
    if run.unit != "step" or lr is None or loss is None or role is None:
        lacks = "steps of the optimiser" if run.unit != "step" else "learning rate" if lr is None else "loss"
        return None, f"a forecast needs the step, the learning rate and the loss; the log has no {lacks}."
    try:
        logged = _run(run.name, lr, loss)
        if logged.lr[-1] < _OVER * logged.peak:
            return None, (
                f"the learning rate has fallen to {logged.lr[-1]:.3g}, {logged.lr[-1] / logged.peak:.1%} of its peak: the run is "
                "at its end. dwindle forecast tells what another schedule would have given."
            )
        fitted = fit(logged)
        options = [_option(fitted, logged, *each) for each in _tails(logged)]
    except DwindleError as error:
        return None, str(error)
    told = {
        "loss": run.roles[role],
        "role": role,
        "law": fitted.law.name,
        "from": int(logged.step[-1]),
        "options": options,
    }
    return told, "; ".join(fitted.notes)


def _run(name: str, lr: Series, loss: Series) -> Run:
    """Return the run of a log whose rates and losses need not stand in the same lines."""
    last = max((float(series.step.max()) for series in (lr, loss) if len(series)), default=0.0)
    if not last <= _LONGEST:
        raise DataError(f"the steps go to {last:g}; the lab foretells runs of up to {_LONGEST:,} steps.")
    every = -(-len(loss) // _MOST) if len(loss) else 1
    step, value = loss.step[::-1][::every][::-1], loss.value[::-1][::every][::-1]  # the last is kept
    return Run.logged(
        np.concatenate((lr.step, step)),
        np.concatenate((lr.value, np.full(len(step), np.nan))),
        np.concatenate((np.full(len(lr), np.nan), value)),
        name=name,
    )


def _tails(run: Run) -> list[tuple[str, Any]]:
    steps, last = max(len(run.lr) // _MORE, 1), run.lr[-1]
    return [
        (f"{steps:,} steps more at {last:.3g}", np.full(steps, last)),
        (f"{steps:,} steps more, from {last:.3g} to 0 on a line", last * (1.0 - np.arange(steps) / steps)),
    ]


def _option(fitted: Fitted, run: Run, says: str, tail: Any) -> dict[str, Any]:
    lr = np.concatenate((run.lr, tail))
    at = np.unique(np.linspace(max(int(run.step[-1]), fitted.begins), len(lr), 50).astype(np.int64))
    told = fitted.predict(lr, at=at)
    return {
        "says": says, "step": at, "lr": lr[np.minimum(at, len(lr) - 1)], "loss": told.loss, "lower": told.lower,
        "upper": told.upper, "supported": told.supported, "why": told.why,
    }  # fmt: skip
