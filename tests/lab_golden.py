"""What the lab's page is held to: numbers that the library itself gives, for plans, ridge fits, valleys and a small network."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings

import dwindle as dw
from dwindle.errors import DwindleError
from dwindle.population import MLP, SGD, Data, Examples, Rates, epoch_order, initial_weights, train
from dwindle.ridge import path
from dwindle.units import Horizon
from strategies import horizons, plans

RUN = Horizon(steps=1000, steps_per_epoch=100, batch_size=32, tokens_per_step=2048)

WRITTEN = """
peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1
lr 3e-4 | decoupled 1e-1 | warmup over 2 %, cosine to 0.1
peak 0.1 | halve every 5 epochs
peak 0.1 | step by 0.5 every 5ep | l2 1e-4
peak 0.1 | exponential by 0.9998 every 5ep staircase
peak 0.1 | exponential by 0.96 every 1000st
peak 0.1 | exponential by 1.001 every 1st growing
peak 0.1 | exponential to 1% over 50%
peak 0.1 | ramp shape exponential to 10% ratio 0.01
peak 0.1 | geometric to 1%
peak 0.1 | polynomial to 0% power 0.9
peak 0.1 | 1-sqrt to 0%
peak 0.1 | 1-square to 0%
peak 0.1 | sqrt to 5% over 300
peak 0.1 | cosine to 0% warp 1.5
peak 0.1 | tanh to 0%
peak 0.1 | tanh to 1% lower -4 upper 2 warp 1.3
peak 0.1 | inverse-time every 100st rate 0.5
peak 0.1 | inverse-sqrt every 1ep staircase
peak 0.1 | power-law 0.25 every 100st
peak 0.1 | piecewise at [3ep 600st 80%] factors [1 0.5 10% 0.01]
peak 0.1 | through [0st 100st 900st] factors [0 1 20%] shape cosine
peak 0.1 | through [-50st 10st] factors [0 1]
peak 0.1 | table [1 0.5, 0.1] every 100st
peak 0.1 | warmup 1e4tok, constant, 1-sqrt to 0% over 20% | independent 1e-4
peak 0.1 | warmup 320ex from 10% shape cosine, linear to 0
peak 0.1 | warmup 29% down, linear to 0
peak 0.1 | cosine to 0 over 1.5ep exact repeat every 1.5ep exact
peak 0.1 | cosine repeat cycles 3 growth 2 decay 0.8 | independent 1e-4
peak 0.1 | cosine repeat every 10% growth 1.5 | corrected 0.1
peak 0.1 | linear mirror every 70st
peak 0.1 | linear over 90st extend
peak 0.1 | 0.5 * cosine + 0.5 * linear to 50%
peak 0.1 | (cosine to 0) * (step by 0.9 every 7st) clip 1% to 80%
peak 0.1 | join (cosine) | l2 0.01
peak 0.1 | sum (linear) shift 10ep
peak 0.1 | (cosine over 100st shift -30) stretch 2.5
peak 0.1 | constant for 100st, (warmup 50, linear to 0 over 100) for 400st, constant at 50%
peak 1e-3 | inverse-sqrt every 500st | decoupled (linear to 50%) cautious
peak 1 | decoupled 1.5 | constant
peak 1 | decoupled 2.5 overshoot
peak 0 | constant
peak 1_000e-6 | constant
peak 5e-324 | cosine
peak 0.1 | constant | mask kind "Embedding" does not, standard
peak 0.1 | constant | mask everything | group "head" "head.*" times 10 | layer-decay 0.9
peak 0.1 | formula "0.5 ** (step // 30)"
peak 0.1 | formula "min(step, 10) / 10 if step < 10 else 0.5 ** ((step - 10) // 30)"
peak 0.1 | formula "sqrt(min(step + 1, 300)) / 20 if step % 50 < 25 and not step == 3 else 1 / (1 + 0.1 * (step // 30))"
peak 0.1 | formula "[1, 0.5, 0.1][min(step // 7, 2)]"
peak 0.1 | formula "(1 + cos(pi * step / 1000)) / 2"
peak 0.1 | formula "max(0.1, 1 - step / 100) * (1 + step % 3)"
peak 0.1 | formula "2 ** -(step / 100)"
peak 0.1 | formula "-(-(step+1)) // 3 % 7 / 7"
peak 0.1 | formula "((step + 1) ** -0.5) ** 2"
peak 0.1 | formula "1e-3 if 3 < step <= 10 or (step > 20 and step < 30) else abs(sin(step)) + floor(1.5)"
peak 0.1 | formula "1 - exp(-tanh(log(step + 2)))"
peak 0.1 | formula "1 - (2 - (3 - step % 2)) / 3 * (2 / (4 * 1.5))"
"""

REFUSED = """
cosine to 0
peak
peak -1
peak 1 peak 2
peak 1 | peak 2
peak 1 ||
peak 1 |
peak 1e999
peak 1__0
peak 1 | cosin to 0
peak 1 | cosine to 10
peak 1 | cosine too 0
peak 1 | cosine to 0 to 1
peak 1 | cosine to
peak 1 | warmup 5epp, cosine
peak 1 | warmup 5 cosine
peak 1 | warmup 0.02, cosine
peak 1 | warmup 0st
peak 1 | warmup 150%
peak 1 | warmup 5st down
peak 1 | step every 5ep
peak 1 | step by 1.5 every 5ep
peak 1 | step by 0 every 5ep
peak 1 | halve
peak 1 | wsd
peak 1 | custom f
peak 1 | (cosine
peak 1 | cosine)
peak 1 | 0.5
peak 1 | geometric to 0
peak 1 | geometric to 1% power 2
peak 1 | cosine ratio 0.1
peak 1 | ramp shape round
peak 1 | table []
peak 1 | table [1 2] every 5ep
peak 1 | piecewise at [5 3] factors [1 1 1]
peak 1 | piecewise at [5] factors [1]
peak 1 | through [5] factors [1 2]
peak 1 | cosine repeat
peak 1 | cosine repeat every 5 growth 0.5
peak 1 | cosine repeat every 5 growth 1.0001
peak 1 | cosine repeat every 5 decay 0
peak 1 | cosine clip 50% to 10%
peak 1 | cosine stretch 0
peak 1 | cosine decoupled 0.1
peak 1 | cosine mask everything
peak 1 | weight-decay 0.1
peak 1 | wd 0.1
peak 1 | adamw 0.1
peak 1 | decoupled
peak 1 | decoupled -0.1
peak 1 | decoupled cosine
peak 1 | decoupled 0.1 cautious cautious
peak 1 | l2 0.1 cautious
peak 1 | decoupled 3
peak 1 | mask color "x" decays
peak 1 | mask name x decays
peak 1 | mask name "x" does
peak 1 | mask name "" decays
peak 1 | mask ndim "two" decays
peak 1 | mask name "x
peak 1 | group "a" "b" times -1
peak 1 | group "a" "b" times 1 | group "a" "c" times 1
peak 1 | layer-decay 2
peak 1 | formula "step +"
peak 1 | formula "stp"
peak 1 | formula "step < 3"
peak 1 | formula "step if step else 1"
peak 1 | formula "foo(step)"
peak 1 | formula "1 / step"
peak 1 | formula "-1"
peak 1 | formula "[1, 2][step / 2]"
peak 1 | formula "[step][0]"
peak 1 | formula "[1, 2]"
peak 1 | formula "min(1)"
peak 1 | formula ""
ключ 1
"""


def plan_row(text: str, run: Horizon = RUN) -> dict[str, Any]:
    """Return what the library says of a plan's text: its one spelling and its rates over the run, or how it refuses."""
    names = ("steps", "steps_per_epoch", "batch_size", "tokens_per_step")
    row: dict[str, Any] = {"text": text, "run": {name: getattr(run, name) for name in names}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            plan = dw.parse(text)
            rates, left = plan.table(run), plan.shares_left(run)
        except DwindleError as error:
            return row | {"error": str(error), "kind": type(error).__name__}
        at = np.unique(np.linspace(0, run.steps - 1, 50).astype(int))
        half, tau = plan.half_life(run).steps, plan.timescale(run).steps
    return row | {
        "said": str(plan), "at": at.tolist(), "left": [*left[at].tolist(), float(left[-1])],
        **{name: getattr(rates, name)[at].tolist() for name in ("lr", "shrink", "l2")},
        "tau": None if np.isinf(tau) else tau, "half": None if np.isinf(half) else half,
    }  # fmt: skip


def plan_rows(drawn: int = 200) -> list[dict[str, Any]]:
    """Return the rows of the plans written here, good and bad, and of as many ``drawn`` from all that the grammar can say."""
    rows = [plan_row(text) for text in [*WRITTEN.strip().splitlines(), *REFUSED.strip().splitlines(), ""]]

    @seed(20)
    @settings(
        max_examples=drawn,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(plans, horizons)
    def collect(plan: dw.Plan, run: Horizon) -> None:
        rows.append(plan_row(str(plan), run))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collect()
    return rows


def ridge_rows() -> list[dict[str, Any]]:
    """Return ridge fits of `dwindle.ridge.path`: rows of features, targets, and weights, bias and freedom at each λ."""
    rows = []
    for number, (rows_of, columns) in enumerate([(20, 3), (30, 12), (8, 8), (6, 12), (100, 15)]):
        draw = np.random.default_rng(number)
        x, y = draw.standard_normal((rows_of, columns)), draw.standard_normal(rows_of)
        lams = [1e-6, 1e-3, 0.1, 1.0, 30.0]
        made = path(x, y, lams=lams)
        s = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
        rows.append({
            "x": x.tolist(), "y": y.tolist(), "lams": lams, "w": [np.asarray(made.coef(lam)).ravel().tolist() for lam in lams],
            "b": [float(y.mean() - x.mean(axis=0) @ np.ravel(made.coef(lam))) for lam in lams],
            "freedom": [float(1 + (s**2 / (s**2 + lam)).sum()) for lam in lams],
        })  # fmt: skip
    return rows


def network_row() -> dict[str, Any]:
    """Return a training of `dwindle.population` in float64 on numbers drawn here: first weights, orders, rates, losses, ‖w‖."""
    draw = np.random.default_rng(5)
    x, y = np.maximum(draw.standard_normal((50, 12)), 0.0), draw.integers(0, 4, 50)
    held, answers = np.maximum(draw.standard_normal((20, 12)), 0.0), draw.integers(0, 4, 20)
    mlp, epochs, batch, steps = MLP((12, 7, 4)), 6, 8, 7
    plan = dw.parse("peak 0.3 | warmup 2ep, cosine to 10% | l2 0.02")
    run = Horizon(epochs=epochs, steps_per_epoch=steps, batch_size=batch)
    table = plan.table(run)
    result = train(
        mlp, SGD(), Rates(table.lr[None], table.shrink[None], table.l2[None]), Data(Examples(x, y), Examples(held, answers)),
        seeds=[3], batch_size=batch, evaluate_every=steps, order_seed=3, dtype="float64", engine="numpy", workers=1,
    )  # fmt: skip
    return {
        "x": x.tolist(), "y": y.tolist(), "held": held.tolist(), "answers": answers.tolist(), "plan": str(plan),
        "epochs": epochs, "batch": batch, "sizes": list(mlp.sizes),
        "first": [w.ravel().tolist() for w in initial_weights(mlp, 3)],
        "order": [epoch_order(len(x), 3, epoch).tolist() for epoch in range(epochs)],
        "train": result.train_loss[0].tolist(), "validation": result.validation_loss[0].tolist(),
        "norm": float(np.sqrt(sum((w[0] ** 2).sum() for w in result.weights))),
    }  # fmt: skip
