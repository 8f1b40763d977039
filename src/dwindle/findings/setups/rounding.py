"""Decay that rounding takes back: a weight moves by x·w, and stays where it is if that is below half a unit in its last place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dwindle.decay import L2
from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.wording import listed
from dwindle.setup import Course, Setup, Weight, is_strong

__all__ = ["DIGITS", "found"]

DIGITS = {"bfloat16": 8, "float16": 11, "float32": 24}
"""Binary digits of a weight, the leading one counted. Half a unit in the last place of w is between 2^-(p + 1) and 2^-p of w."""

_WORTH = 0.01  # of the decay: less is not spoken of
_FELT = 0.01  # of the weights: what the decay of a whole run takes


class _Loss(NamedTuple):
    steps: float
    surely: float
    at_most: float


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a finding for each type of weight whose decay is lost, x = lr·λ along the whole schedule against its rounding."""
    course = setup.course()
    for dtype, digits in DIGITS.items():
        those = [w for w in setup.weights if w.dtype == dtype and not w.kept and w.trainable and setup.decays(w)]
        worst: tuple[float, int] | None = None
        losses: dict[int, _Loss] = {}
        for i in sorted({i for w in those for i in w.groups if is_strong(setup.groups[i].decay)}):
            if isinstance(setup.groups[i].decay, L2) and (setup.adaptive or dtype == "float32"):
                continue  # there it is rounded together with the gradient
            losses[i] = _lost(setup, i, course, digits)
            if worst is None or losses[i].surely > worst[0]:
                worst = losses[i].surely, i
        if worst is not None and losses[worst[1]].at_most > _WORTH:
            yield _finding(setup, dtype, digits, [w for w in those if worst[1] in w.groups], worst[1], losses[worst[1]])


def _lost(setup: Setup, group: int, course: Course, digits: int) -> _Loss:
    """Return the share of steps, and of the decay, that no weight feels, and the share that some weights do not."""
    shares = np.abs(setup.shares(group, course))
    whole = float(np.sum(shares))
    if not whole:
        return _Loss(0.0, 0.0, 0.0)
    none, some = (shares > 0.0) & (shares < 2.0 ** -(digits + 1)), (shares > 0.0) & (shares < 2.0**-digits)
    part = float(np.mean(none[shares > 0.0]))
    return _Loss(part, float(np.sum(shares[none])) / whole, float(np.sum(shares[some])) / whole)


def _finding(setup: Setup, dtype: str, digits: int, those: list[Weight], group: int, loss: _Loss) -> Finding:
    course = setup.course()
    x = float(np.max(setup.shares(group, course)))
    coupled = isinstance(setup.groups[group].decay, L2)
    severity = "fault" if loss.surely > 0.5 and not coupled else "warning" if loss.at_most > 0.1 else "note"
    if setup.horizon is not None and float(np.mean(setup.shares(group, course))) * setup.horizon.steps < _FELT:
        # all of it together would hardly be felt: worth a word only where λ does nothing at all, or for a short type
        severity = "note" if dtype == "float32" and loss.surely <= 0.5 else "warning"
    where = "at every step" if loss.steps == 1.0 else f"in {loss.steps:.1%} of the steps"
    amount = (
        f"{loss.surely:.1%}"
        if round(loss.surely, 3) == round(loss.at_most, 3)
        else f"{loss.surely:.1%} to {loss.at_most:.1%}"
    )
    verdict = (
        f"{dtype} weights do not feel {amount} of their decay: it takes at most {x:.2g} of a weight a step, and {where} "
        f"less than 2^-{digits + 1} = {2.0 ** -(digits + 1):.2g}, which rounding puts back"
        f"{', unless a larger gradient carries it' if coupled else ''}."
    )
    if not course.whole or setup.horizon is None:
        verdict += " (At the rates known; the whole run is not.)"
    names = [w.name for w in those] if setup.framework not in ("plan", "config") else []  # these hold none of their own
    evidence = {
        "dtype": dtype, "largest_share": x, "rounds_away_below": 2.0 ** -(digits + 1), "steps_lost": loss.steps,
        "decay_lost_at_least": loss.surely, "decay_lost_at_most": loss.at_most, **({"parameters": names} if names else {}),
    }  # fmt: skip
    fix = {
        "torch": "dw.torch.attach(optimizer, plan, horizon) keeps what rounding takes beside the weight, 4 bytes each",
        "jax": "keep the weights in float32 and cast them for the forward pass",
        "keras": 'keras.mixed_precision.set_global_policy("mixed_bfloat16"), which keeps the variables in float32',
    }.get(
        setup.framework, "apply it by dw.torch.attach, which keeps what rounding takes beside the weight, 4 bytes each"
    )
    if dtype == "float32":
        fix = f"little is lost where the schedule ends; {fix}" if severity == "note" else fix
    else:
        fix += ", or keep the weights in float32" if setup.framework != "jax" else ""
    source = "derived: half a unit in the last place of w lies between 2^-(p + 1) and 2^-p of w, p binary digits"
    return Finding(
        "decay-rounds-away",
        severity,
        verdict,
        evidence,
        Remedy(fix),
        source,
        subject=listed(names) or f"{dtype} weights",
    )
