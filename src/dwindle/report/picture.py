"""A plan as a terminal sees it: its learning rate, what multiplies the weights, what is left of w(0)."""

from __future__ import annotations

import textwrap

import numpy as np

from dwindle.errors import count
from dwindle.plan import Plan, integrated_decay
from dwindle.report.cells import sparkline
from dwindle.schedule import Schedule
from dwindle.units import Horizon

__all__ = ["plan_picture"]

_WIDTH = 60
_LINES = 4  # of a plan's text


def plan_picture(plan: Plan, horizon: Horizon, rows: int = 11) -> str:
    """Return a curve of the learning rate and a table of ``rows`` steps, in at most 80 columns.

    >>> from dwindle.decay import Decoupled
    >>> print(plan_picture(Plan(0.1, decay=Decoupled(1.0)), Horizon(steps=2), rows=3))
    peak 0.1 | constant | decoupled 1
    lr  ██  0 to 0.1
    <BLANKLINE>
          step            lr  1 - shrink           l2  left of w(0)
             0           0.1         0.1            0             1
             1           0.1         0.1            0           0.9
             2                                                 0.81
    <BLANKLINE>
    timescale τ = 1/x at the peak: 10 steps
    the decay's whole dose: Σx = 0.2
    """
    rows = min(count("rows", rows, low=2), horizon.steps + 1)
    table, shares, left = plan.table(horizon), plan.decay_shares(horizon), plan.shares_left(horizon)
    top = float(table.lr.max())
    blocks = [float(part.mean()) for part in np.array_split(table.lr, min(_WIDTH, horizon.steps))]
    lines = [*_said(str(plan)), f"lr  {sparkline(blocks, 0.0, top, _WIDTH)}  0 to {top:.4g}", ""]
    lines.append(f"{'step':>10}{'lr':>14}{'1 - shrink':>12}{'l2':>13}{'left of w(0)':>14}")
    for step in np.unique(np.linspace(0, horizon.steps, rows).round().astype(int)):
        rates = f"{'':>39}"
        if step < horizon.steps:
            rates = f"{table.lr[step]:>14.6g}{shares[step]:>12.4g}{table.l2[step]:>13.4g}"
        lines.append(f"{step:>10}{rates}{left[step]:>14.6g}")
    return "\n".join([*lines, "", _timescale(plan, horizon)])


def _said(plan: str) -> list[str]:
    """Return the plan's text in lines of 80 columns, the first few where it has hundreds of points."""
    lines = textwrap.wrap(plan, 80, break_long_words=False, break_on_hyphens=False)
    left = len(lines) - _LINES
    return lines if left <= 0 else [*lines[:_LINES], f"… and {left} more lines; --json prints the whole plan"]


def _timescale(plan: Plan, horizon: Horizon) -> str:
    dose = integrated_decay(plan, horizon)
    if dose == 0.0:
        return "no weight decay: the weights keep what the gradients leave"
    where = "where x is largest" if plan.decay and isinstance(plan.decay.weight_decay, Schedule) else "at the peak"
    said = [
        f"{amount:.4g} {unit}"
        for amount, unit in zip(plan.timescale(horizon), ("steps", "epochs", "tokens"), strict=True)
        if amount is not None
    ]
    return f"timescale τ = 1/x {where}: {', '.join(said)}\nthe decay's whole dose: Σx = {dose:.4g}"
