"""The doctor for logs, measured: how often a healthy run is called ill, and how often a clear fault is found.

``python tests/test_findings_logs_rates.py 200`` prints the table for 200 runs of each kind. The runs are of a quadratic loss with
a power-law spectrum under SGD, whose expectation has a closed recursion in the rate, so that a cut, a floor or a wrong pace does
to the loss what it does in theory; the logged noise hangs together from point to point.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import dwindle as dw
from dwindle.findings import Finding, of_history
from dwindle.logs import History, Series

Array = Any


class Case(NamedTuple):
    history: History
    plan: dw.Plan | None = None
    horizon: dw.Horizon | None = None


def expected_loss(lr: Array, rng: np.random.Generator, *, noise: float = 0.02, floor: float = 0.3) -> Array:
    """Return the loss after each step: floor + ½ Σ k·s, s ← (1 - η k)² s + η² k σ², curvatures k ~ i^-1.5."""
    modes = np.arange(1, 201)
    curvature = modes**-1.5
    power = rng.uniform(1.1, 1.5)
    s = 2.0 * modes**-power / curvature / (modes**-power).sum()
    out = np.empty(len(lr) + 1)
    for t, rate in enumerate(lr):
        out[t] = 0.5 * curvature @ s
        s = (1.0 - rate * curvature) ** 2 * s + rate**2 * curvature * noise
    out[-1] = 0.5 * curvature @ s
    return floor + out


def autocorrelated(n: int, rng: np.random.Generator, phi: float) -> Array:
    e = rng.standard_normal(n)
    for i in range(1, n):
        e[i] = phi * e[i - 1] + np.sqrt(1 - phi**2) * e[i]
    return e


def logged(
    lr: Array, rng: np.random.Generator, *, loss: Array = None, val: Callable[[Array, Array], Array] | None = None,
    extra: dict[str, tuple[str, Array]] | None = None, noise: float = 0.02, epoch: int | None = None, points: int | None = None,
    rel: float | None = None,
) -> History:  # fmt: skip
    """Return the log of a run: points evenly over it, the rate that the next step takes, losses with their noise."""
    steps = len(lr)
    n = points or int(rng.integers(60, 301))
    at = np.unique(np.linspace(0, steps, n).astype(int))
    every = expected_loss(lr, rng, noise=noise) if loss is None else loss
    own, phi = rng.uniform(0.005, 0.05), rng.choice([0.0, 0.3, 0.6])
    rel = own if rel is None else rel
    train = every[at] * (1 + rel * autocorrelated(len(at), rng, phi))
    rates = np.append(lr, lr[-1])[at]
    series = {"lr": Series("lr", at, rates), "loss": Series("loss", at, train)}
    roles = {"lr": "lr", "training loss": "loss"}
    held = at[:: max(1, len(at) // 30)]
    base = every[held] * 1.05 + 0.05 if val is None else val(held, every[held])
    series["val"] = Series("val", held, base * (1 + rng.uniform(0.003, 0.015) * autocorrelated(len(held), rng, 0.3)))
    roles["validation loss"] = "val"
    if epoch:
        series["epoch"], roles["epoch"] = Series("epoch", at, at / epoch), "epoch"
    for role, (name, value) in (extra or {}).items():
        series[name], roles[role] = Series(name, at, value[at]), name
    return History("run", series, roles)


def length(rng: np.random.Generator) -> int:
    return int(rng.integers(800, 2500))


def rates(text: str, steps: int) -> Array:
    return dw.parse(f"peak 0.3 | {text}").lrs(steps)


HEALTHY: dict[str, Any] = {
    "constant": lambda T, rng: np.full(T, 0.3),
    "cosine": lambda T, rng: rates(f"warmup {rng.choice([0, 2, 5, 10]) or 1}%, cosine to {rng.choice([0, 1, 10])}%", T),
    "linear": lambda T, rng: rates(f"warmup 3%, linear to {rng.choice([0, 5, 10])}%", T),
    "step": lambda T, rng: rates("piecewise at [50% 75%] factors [1 0.1 0.01]", T),
    "wsd": lambda T, rng: rates(f"warmup 2%, constant, linear to 0% over {rng.choice([10, 20, 30])}%", T),
    "exponential": lambda T, rng: 0.3 * np.exp(-np.arange(T) / T * rng.uniform(1.0, 4.5)),
    "one-cycle": lambda T, rng: rates(f"warmup {rng.choice([20, 30, 40])}% from 4% shape cosine, cosine to 0.0004%", T),
    "plateau-driven": lambda T, rng: 0.3 * 0.3 ** np.searchsorted(np.sort(rng.uniform(0.45, 0.95, 3)) * T, np.arange(T)),
    "inverse-sqrt": lambda T, rng: 0.3 / np.sqrt(1 + np.arange(T) / (0.1 * T)),
    "restarts": lambda T, rng: 0.3 * 0.5 * (1 + np.cos(np.pi * (np.arange(T) % (T // 3)) / (T // 3))),
    "epoch cosine": lambda T, rng: 0.15 * (1 + np.cos(np.pi * (np.arange(T) // (T // 20)) / 20)),
    "thirds": lambda T, rng: 0.3 * 0.1 ** np.searchsorted(np.array([0.33, 0.67, 0.9]) * T, np.arange(T), side="right"),
}  # fmt: skip


def cut_in_time(rng: np.random.Generator) -> Case:
    """Cut at a fifth of the run, when the loss has come to its floor."""
    steps = int(rng.integers(3500, 5000))
    lr = np.where(np.arange(steps) < rng.uniform(0.15, 0.27) * steps, 0.8, 0.08)
    return Case(logged(lr, rng, loss=of_few_modes(lr, rng.uniform(0.4, 0.8), 0.1)))


def of_few_modes(lr: Array, exponent: float, noise: float) -> Array:
    """Return the loss after each step where 30 modes, of curvatures i^-exponent, soon come to the floor of their noise."""
    curvature = np.arange(1, 31) ** -exponent
    s, out = 2.0 / np.arange(1, 31) / curvature, []
    for rate in np.append(lr, lr[-1]):
        out.append(0.3 + 0.5 * curvature @ s)
        s = (1 - rate * curvature) ** 2 * s + rate**2 * curvature * noise
    return np.array(out)


def healthy(kind: str, rng: np.random.Generator) -> Case:
    steps = length(rng)
    # a constant rate that has not come to its floor yet: little noise
    noise = 0.0005 if kind == "constant" else 0.02 if rng.random() < 0.7 else 0.1
    return Case(logged(HEALTHY[kind](steps, rng), rng, noise=noise, epoch=steps // 10))


def overfitting(rng: np.random.Generator) -> Case:
    steps = length(rng)
    turn, rise = rng.uniform(0.25, 0.6), rng.uniform(0.15, 1.0)
    lr = HEALTHY["cosine"](steps, rng)

    def val(at: Array, loss: Array) -> Array:
        return loss * 1.05 + 0.4 * rise * np.maximum(at / steps - turn, 0.0) / (1 - turn)

    return Case(logged(lr, rng, val=val))


def oscillation(rng: np.random.Generator) -> Case:
    steps, lr = length(rng), None
    lr = np.full(steps, 0.3)
    n = int(rng.integers(80, 250))
    at = np.unique(np.linspace(0, steps, n).astype(int))
    period = rng.choice([2.0, rng.uniform(3.0, 9.0)])
    base = 0.5 + 1.5 * np.exp(-at / steps * 25)
    wave = rng.uniform(0.06, 0.3) * np.cos(2 * np.pi * np.arange(len(at)) / period + 1.0)
    noise = 0.5 * np.abs(wave).max() * rng.standard_normal(len(at))
    series = {
        "lr": Series("lr", at, lr[0] + 0 * at),
        "loss": Series("loss", at, base + wave * (at > 0.1 * steps) + 0.4 * noise),
    }
    return Case(History("run", series, {"lr": "lr", "training loss": "loss"}))


def noise_floor(rng: np.random.Generator) -> Case:
    lr = np.full(int(rng.integers(2500, 4000)), rng.uniform(0.5, 1.0))
    return Case(logged(lr, rng, loss=of_few_modes(lr, 0.8, 0.05)))


def plateau_dead(rng: np.random.Generator) -> Case:
    steps = length(rng)
    lr = HEALTHY[rng.choice(["constant", "cosine", "step"])](steps, rng)
    return Case(
        logged(
            lr,
            rng,
            loss=np.full(steps + 1, np.log(10.0)),
            rel=rng.uniform(1e-5, 0.01),
            points=int(rng.integers(60, 200)),
        )
    )


def plateau_early(rng: np.random.Generator) -> Case:
    steps = length(rng)
    lr = 0.3 * np.exp(-np.arange(steps) / steps * rng.uniform(25, 80))
    return Case(logged(lr, rng))


def divergence_nan(rng: np.random.Generator) -> Case:
    steps = length(rng)
    lr = np.full(steps, 0.3)
    loss = expected_loss(lr, rng)
    loss[int(rng.uniform(0.2, 0.95) * steps) :] = np.nan
    return Case(logged(lr, rng, loss=loss))


def divergence_blown(rng: np.random.Generator) -> Case:
    steps = length(rng)
    lr = HEALTHY[rng.choice(["constant", "cosine", "wsd"])](steps, rng)
    loss = expected_loss(lr, rng, noise=0.002)
    at = int(rng.uniform(0.2, 0.8) * steps)
    top = rng.uniform(0.8, 6.0) * (loss[0] - loss[at])
    loss[at:] += top * (1 - np.exp(-np.arange(steps + 1 - at) / (rng.uniform(0.001, 0.15) * steps)))
    return Case(logged(lr, rng, loss=loss))


def warmup_missing(rng: np.random.Generator) -> Case:
    steps = length(rng)
    lr = HEALTHY[rng.choice(["constant", "exponential", "step"])](steps, rng)
    loss = expected_loss(lr, rng, noise=0.0005)
    t = np.arange(steps + 1)
    width = rng.uniform(0.01, 0.03) * steps
    loss += rng.uniform(0.8, 5.0) * loss[0] * t / width * np.exp(1 - t / width)
    return Case(logged(lr, rng, loss=loss, points=int(rng.integers(150, 300))))


def warmup_long(rng: np.random.Generator) -> Case:
    steps = length(rng)
    return Case(
        logged(
            rates(f"warmup {rng.integers(35, 71)}%, {rng.choice(['cosine', 'linear', 'constant'])}", steps),
            rng,
            noise=0.002,
        )
    )


def schedule_short(rng: np.random.Generator) -> Case:
    steps = length(rng)
    part = int(rng.uniform(0.25, 0.65) * steps)
    lr = rates(f"{rng.choice(['cosine', 'linear', 'warmup 5%, cosine'])}", part)
    return Case(logged(np.concatenate([lr, np.zeros(steps - part)]), rng))


def schedule_long(rng: np.random.Generator) -> Case:
    steps = length(rng)
    lr = rates(f"{rng.choice(['cosine', 'linear', 'warmup 2%, cosine'])}", int(steps * rng.uniform(1.6, 8.0)))
    return Case(logged(lr[:steps], rng, noise=0.002))


def cut_early(rng: np.random.Generator) -> Case:
    steps = int(rng.integers(3000, 5000))
    at = rng.uniform(0.015, 0.04) * steps  # the loss is still falling steeply
    lr = np.where(np.arange(steps) < at, 0.3, 0.3 * rng.choice([0.01, 0.03]))
    return Case(logged(lr, rng, noise=0.0005, points=int(rng.integers(300, 500))))


def cut_late(rng: np.random.Generator) -> Case:
    steps = int(rng.integers(3500, 5000))
    lr = np.where(np.arange(steps) < rng.uniform(0.8, 0.92) * steps, 0.8, 0.08)
    return Case(logged(lr, rng, loss=of_few_modes(lr, 0.6, 0.1)))


def lr_rise(rng: np.random.Generator) -> Case:
    steps = length(rng)
    whole = steps * rng.uniform(0.2, 0.85)
    return Case(logged(0.15 * (1 + np.cos(np.pi * np.arange(steps) / whole)), rng))


def lr_lambda_large(rng: np.random.Generator) -> Case:
    steps = length(rng)
    lr = HEALTHY[rng.choice(["constant", "cosine"])](steps, rng)
    lam = rng.uniform(0.02, 0.3) / lr.max()
    t = np.arange(steps + 1)
    loss = 1.6 + 0.7 * np.exp(-t / 15) + 0.1 * (1 - np.exp(-t / 100))
    norm = 20 * np.exp(-t * lam * lr.max() / 2) + 3.0
    extra = {"weight decay": ("wd", np.full(steps + 1, lam)), "weight norm": ("norm", norm)}
    return Case(logged(lr, rng, loss=loss, extra=extra))


def stepping_fast(rng: np.random.Generator) -> Case:
    steps, times = length(rng), int(rng.choice([2, 3, 4, 8]))
    plan = dw.parse(
        f"peak 0.3 | {rng.choice(['cosine', 'linear', 'warmup 5%, cosine', 'warmup 2%, constant, linear to 0% over 20%'])}"
    )
    at = np.arange(steps) * times
    whole = plan.lrs(steps)
    lr = np.where(at < steps, whole[np.minimum(at, steps - 1)], plan.resolve(dw.Horizon(steps=steps)).lr(steps))
    return Case(logged(lr, rng), plan, dw.Horizon(steps=steps))


def stepping_epoch(rng: np.random.Generator) -> Case:
    epoch = int(rng.integers(40, 100))
    steps = epoch * int(rng.integers(15, 30))
    plan = dw.parse(f"peak 0.3 | {rng.choice(['cosine', 'linear', 'warmup 5%, cosine'])}")
    lr = plan.lrs(steps)[np.arange(steps) // epoch]
    return Case(
        logged(lr, rng, noise=0.002, epoch=epoch), plan, dw.Horizon(epochs=steps // epoch, steps_per_epoch=epoch)
    )


def resume_peak(rng: np.random.Generator) -> Case:
    steps = length(rng)
    at = int(rng.uniform(0.3, 0.7) * steps)
    whole = rates(rng.choice(["cosine", "linear", "warmup 5%, cosine"]), steps)
    return Case(logged(np.concatenate([whole[:at], whole[: steps - at]]), rng))


def resume_back(rng: np.random.Generator) -> Case:
    """Go back a little, with the weights of another time: the loss jumps."""
    case = Case(logged(HEALTHY["cosine"](length(rng), rng), rng, points=200))
    h = case.history
    at = int(rng.uniform(0.4, 0.8) * 200)
    series = {}
    for name, s in h.series.items():
        cut = int(len(s) * at / 200)
        back = max(cut - max(len(s) // 20, 1), 0)
        value = s.value[back:].copy()
        if name in ("loss", "val"):
            value += (s.value[0] - s.value[back]) * 0.6 * np.exp(-np.arange(len(value)) / (0.2 * len(value)))
        series[name] = Series(
            name, np.concatenate([s.step[:cut], s.step[back:]]), np.concatenate([s.value[:cut], value])
        )
    return Case(History("run", series, h.roles))


FAULTS: dict[str, tuple[str, Callable[[np.random.Generator], Case]]] = {
    "overfitting": ("overfitting", overfitting), "oscillation": ("oscillation", oscillation),
    "noise-floor": ("noise-floor", noise_floor), "plateau, dead": ("plateau", plateau_dead),
    "plateau, lr to 0": ("plateau", plateau_early), "divergence, nan": ("divergence", divergence_nan),
    "divergence, blown up": ("divergence", divergence_blown), "warmup-missing": ("warmup-missing", warmup_missing),
    "warmup-long": ("warmup-long", warmup_long), "schedule-short": ("schedule-short", schedule_short),
    "schedule-long": ("schedule-long", schedule_long), "cut-early": ("cut-early", cut_early), "cut-late": ("cut-late", cut_late),
    "lr-rise": ("lr-rise", lr_rise), "lr-lambda-large": ("lr-lambda-large", lr_lambda_large),
    "wrong-stepping, fast": ("wrong-stepping", stepping_fast), "wrong-stepping, epoch": ("wrong-stepping", stepping_epoch),
    "wrong-resume, peak": ("wrong-resume", resume_peak), "wrong-resume, back": ("wrong-resume", resume_back),
}  # fmt: skip


# in some of these the low rate makes up for nearly all that the cut cost
_RUNS = 100
_LEAST = {"cut-early": 0.85}


def examined(case: Case) -> tuple[Finding, ...]:
    return of_history(case.history, plan=case.plan, horizon=case.horizon)


def alarms(case: Case) -> set[str]:
    return {f.code for f in examined(case) if f.severity != "note"}


def table(runs: int, only: str = "") -> Iterator[str]:
    """Yield a line for each kind of run: what share was found, and which other codes were raised."""
    for kind in HEALTHY:
        if only in kind:
            raised = [alarms(healthy(kind, np.random.default_rng([1, i]))) for i in range(runs)]
            ill = sum(map(bool, raised))
            yield f"healthy {kind:22} called ill {ill / runs:6.1%}   {_counts(raised)}"
    for kind, (code, make) in FAULTS.items():
        if only in kind:
            cases = [make(np.random.default_rng([2, i])) for i in range(runs)]
            found = [examined(case) for case in cases]
            hit = sum(any(f.code == code for f in each) for each in found)
            others = [{f.code for f in each if f.severity != "note"} - {code} for each in found]
            yield f"{kind:30} found {hit / runs:6.1%}   besides: {_counts(others)}"


def _counts(raised: list[set[str]]) -> dict[str, int]:
    return {code: sum(code in each for each in raised) for code in sorted(set().union(*raised))}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", HEALTHY)
def test_a_healthy_run_is_rarely_called_ill(kind: str) -> None:
    ill = sum(bool(alarms(healthy(kind, np.random.default_rng([7, i])))) for i in range(_RUNS))
    assert ill <= 0.05 * _RUNS


def test_a_cut_of_a_loss_that_stands_is_not_early() -> None:
    early = sum("cut-early" in alarms(cut_in_time(np.random.default_rng([9, i]))) for i in range(40))
    assert early <= 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_clear_fault_is_found(kind: str) -> None:
    code, make = FAULTS[kind]
    found = sum(any(f.code == code for f in examined(make(np.random.default_rng([8, i])))) for i in range(_RUNS))
    assert found >= _LEAST.get(kind, 0.95) * _RUNS


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 200, sys.argv[2] if len(sys.argv) > 2 else ""):
        print(line, flush=True)
