"""lr·λ so large that decay, not the data, says what the weights are: they forget within τ = 1/(lr·λ) steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dwindle.decay import Independent
from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import fall, noise_of, smooth
from dwindle.schedule import Schedule

__all__ = ["lr_lambda_large"]

_OF_RUN = 0.15  # a shorter τ lets the weights forget most of the run
_SURELY = 100.0  # steps: a τ below it, with decay for many times as long, is never meant
_EPOCH = 0.3  # of an epoch: likewise
_SHRUNK = 0.8  # of what it was: a norm that decay has won over
_UNDER = 0.35  # of the first loss: a training loss that ends above it has not been fitted


def lr_lambda_large(record: Record) -> list[Finding]:
    """Return the finding if τ is short against the run and the log shows what it does: the weights shrink, the loss stays high.

    τ = 1/x, x the share that decay takes of each weight in a step, in the mean over the run
    (l2 as under plain SGD).
    """
    share = _share(record)
    if share is None or not 0.0 < record.length * share < math.inf:
        return []
    tau = 1.0 / share
    epoch = record.steps_per_epoch
    if record.history.unit != "step":  # how many steps an epoch has is not known, only that the run has more than a few
        return [_finding(record, share, "decay outweighs what is learned")] if tau < _SURELY / 2.0 else []
    if tau > _OF_RUN * record.length:
        return []
    shrunk, under, rose = _shrunk(record), _underfits(record), _rose(record)
    surely = tau < 0.05 * record.length and (
        tau < _SURELY / 2.0 or (epoch is not None and tau < _EPOCH * epoch and tau < 2 * _SURELY)
    )
    if not (
        surely
        or rose
        or (shrunk is not None and shrunk < _SHRUNK and under)
        or (shrunk is None and under and tau < _SURELY)
    ):
        return []
    what = "decay outweighs what is learned"
    if shrunk is not None:
        what = f"the weights are at {shrunk:.2g} of their first norm"
    seen = {"weight norm over first": shrunk, "training loss rose": rose, "underfits": under}
    return [_finding(record, share, what, **seen)]


def _finding(record: Record, share: float, what: str, **seen: Any) -> Finding:
    tau, epoch, steps = 1.0 / share, record.steps_per_epoch, record.history.unit == "step"
    evidence: dict[str, Any] = {
        "tau": tau, "tau in epochs": None if epoch is None else tau / epoch, "share": share, "run": record.length, **seen,
        "weight decay": _lam(record), "lr": None if record.lr is None else float(record.lr.value.max()),
    }  # fmt: skip
    run = f" of {record.length:,.0f}" if steps else ""
    said = f"lr·λ is {share:.2g} in the mean: the weights forget within τ = {tau:,.0f}{run} steps, and {what}."
    factor = max(0.3 * record.length * share, 3.0)
    says = f"divide λ by about {factor:.2g}, so that τ is a third of the run" if steps else "divide λ by 10 or more"
    change = {}
    decay = None if record.given is None else record.given.decay
    if steps and decay is not None and not isinstance(decay.weight_decay, Schedule):
        weaker = replace(decay, weight_decay=float(f"{decay.weight_decay / factor:.2g}"))
        change = record.diff("decay", str(weaker))
    source = "Wang and Aitchison 2024, arXiv 2405.13698 (τ); thresholds measured"
    return Finding("lr-lambda-large", "fault", said, evidence, Remedy(says + ".", change), source)


def _lam(record: Record) -> float | None:
    if record.plan is not None and record.plan.decay is not None:
        return float(record.plan.decay.at(0))
    logged = record.history.get("weight decay")
    known = None if logged is None else logged.value[np.isfinite(logged.value)]
    return None if known is None or not len(known) else float(np.median(known))


def _share(record: Record) -> float | None:
    """Return the share of each weight that decay takes in a step, in the mean over the run."""
    lr = record.lr
    if lr is None:
        return None
    logged = record.history.get("weight decay")
    if logged is not None and np.isfinite(logged.value).any():
        known = np.isfinite(logged.value)
        lam = np.interp(lr.step, logged.step[known], logged.value[known])
        if record.plan is not None and isinstance(record.plan.decay, Independent):
            return float(np.mean(lam * lr.value / max(float(lr.value.max()), 1e-300)))
        return float(np.mean(lam * lr.value))
    plan = record.plan
    if plan is None or plan.decay is None:
        return None
    steps = np.maximum(lr.step, 0).astype(np.int64)
    factor = lr.value / plan.peak if plan.peak else np.zeros_like(lr.value)
    took = plan.decay.share(steps, lr.value, factor) + lr.value * plan.decay.coupling(steps)
    return float(np.mean(took))


def _shrunk(record: Record) -> float | None:
    """Return the norm of the weights at the end over its first value; None if it was not logged."""
    norm = record.weights
    if norm is None or norm.size < 4 or norm.value[0] <= 0.0:
        return None
    return float(np.median(norm.value[-max(2, norm.size // 10) :]) / norm.value[0])


def _underfits(record: Record) -> bool:
    """Whether the training loss ends high against its beginning, and no longer falls."""
    loss = record.training
    if loss is None or loss.size < 10:
        return False
    late = fall(loss.between(record.begin + 0.5 * record.length, record.end))
    first, end = float(loss.value[0]), float(np.median(loss.value[-max(3, loss.size // 5) :]))
    stands = late is None or late.drop <= 0.05 * abs(first)
    return stands and first > 0.0 and end >= _UNDER * first


def _rose(record: Record) -> bool:
    """Whether the training loss has risen from its best, beyond its noise, while the norm of the weights fell."""
    loss, norm = record.training, record.weights
    if loss is None or norm is None or loss.size < 10 or norm.size < 4:
        return False
    near = smooth(loss.value, max(3, loss.size // 15))
    best = int(np.argmin(near))
    excess = float(np.median(near[-max(3, loss.size // 10) :]) - near[best])
    fell = float(np.interp(loss.step[best], norm.step, norm.value)) > 1.02 * float(norm.value[-1])
    return (
        fell
        and math.isfinite(excess)
        and excess > max(4.0 * noise_of(loss.value) / math.sqrt(3.0), 0.05 * abs(float(near[best])))
    )
