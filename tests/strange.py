"""Values that nobody should give, and calls to give them to: whatever comes in, an answer or a `DwindleError` comes out.

``CALLS`` maps a name to a function and arguments it takes; a test replaces each argument by each value of ``STRANGE`` in turn.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

import dwindle as dw
from dwindle import (
    decay,
    explain,
    findings,
    foreign,
    laws,
    logs,
    mask,
    population,
    reference,
    replan,
    ridge,
    studies,
    text,
)
from dwindle import schedule as schedules

Call = tuple[Callable[..., Any], Mapping[str, Any]]

STRANGE: tuple[Any, ...] = (
    None, "x", "", "\ud800", "1", "0", "3ep", "100 %", "5 ep", "nan", "∞", b"x",
    float("nan"), float("inf"), -float("inf"), -1, 0, 1, 1.5, -0.5, 5e-324, 1.7e308, 2**63, -(2**63), 10**18, 10**400,
    True, False, 1j, [], {}, (), set(), object(), [None], ["x"], [1, "x"], [float("nan")], [[1, 2], [3]], {"a": 1}, {1: 2},
    int, range(3), np.array(3), np.array([1.0, 2.0]), np.array([]), np.array("x"), np.array([None]), np.zeros((2, 2)),
    np.float32("nan"), np.datetime64("2020"), np.ma.masked, decimal.Decimal("nan"), decimal.Decimal(3), fractions.Fraction(1, 3),
    pathlib.Path("no such file"), datetime.timedelta(1), slice(1), NotImplemented, Ellipsis,
    dw.cosine(), dw.Plan(0.1), dw.Horizon(100), dw.decoupled(0.1), dw.Mask(), dw.plateau(),
)  # fmt: skip

RUN = dw.Horizon(epochs=10, steps_per_epoch=10, batch_size=4)
PLAN = dw.Plan(peak=0.1, schedule=dw.warmup("10%").then(dw.cosine()), decay=dw.decoupled(0.1))
ONE = PLAN.resolve(RUN)
FALL = dw.cosine(100)
PARAM = mask.Param("a.weight", (3, 4))


def core() -> dict[str, Call]:
    """Return calls of what says what is wanted: schedules, decays, plans, masks, times, text, replanning."""
    plateau, greedy, stall = dw.plateau(), dw.greedy(), dw.stall()
    calls: dict[str, Call] = {
        "constant": (dw.constant, {"factor": 0.5}),
        "cosine": (dw.cosine, {"steps": 10, "end": 0.1, "power": 1.0}),
        "cosine_restarts": (dw.cosine_restarts, {"every": 10, "growth": 2.0, "decay": 0.5, "end": 0.0, "cycles": 2}),
        "exponential": (dw.exponential, {"decay_rate": 0.5, "every": 3, "staircase": True, "allow_growth": False}),
        "formula": (dw.formula, {"text": "1/(1+step)"}),
        "inverse_sqrt": (dw.inverse_sqrt, {"every": 10}),
        "inverse_time": (dw.inverse_time, {"every": 10, "rate": 1.0, "staircase": True}),
        "linear": (dw.linear, {"steps": 10, "end": 0.1, "start": 1.0}),
        "multi_step": (dw.multi_step, {"boundaries": [3, 5], "factor": 0.1}),
        "one_cycle": (dw.one_cycle, {"rise": "30%", "start": 0.04, "end": 1e-6, "shape": "cosine"}),
        "piecewise": (dw.piecewise, {"boundaries": [3, 5], "factors": [1, 0.5, 0.2]}),
        "interpolate": (dw.interpolate, {"at": [0, 5], "factors": [1.0, 0.5], "shape": "linear"}),
        "polynomial": (dw.polynomial, {"steps": 10, "power": 2.0, "end": 0.1}),
        "power_law": (dw.power_law, {"exponent": 0.5, "every": 10}),
        "step": (dw.step, {"every": 10, "factor": 0.5}),
        "warmup": (dw.warmup, {"steps": 10}),
        "custom": (dw.custom, {"function": float}),
        "greedy": (
            dw.greedy,
            {"factor": 0.9, "patience": 3, "threshold": 1e-6, "threshold_mode": "abs", "mode": "min", "cooldown": 0},
        ),
        "plateau": (
            dw.plateau,
            {"factor": 0.1, "patience": 3, "threshold": 1e-4, "threshold_mode": "rel", "mode": "min", "cooldown": 0},
        ),
        "stall": (
            dw.stall,
            {"factor": 0.5, "window": 40, "level": 0.05, "margin": 1.0, "cut_on": ("flat",), "rest": None, "every": None},
        ),
        "Clip": (schedules.Clip, {"schedule": FALL, "low": 0.0, "high": 1.0}),
        "Join": (schedules.Join, {"pieces": (FALL, FALL), "lengths": (3, None)}),
        "Scaled": (schedules.Scaled, {"schedule": FALL, "factor": 0.5}),
        "Product": (schedules.Product, {"factors": (FALL, FALL)}),
        "Sum": (schedules.Sum, {"terms": (FALL, FALL)}),
        "Extend": (schedules.Extend, {"schedule": FALL, "every": 3}),
        "Table": (schedules.Table, {"factors": (1.0, 0.5), "every": 2}),
        "Tanh": (schedules.Tanh, {"end": 0.0, "steps": 10, "lower": -6.0, "upper": 3.0, "warp": 1.0}),
        "Ramp": (schedules.Ramp, {"end": 0.0, "steps": 10, "start": 1.0, "shape": "linear", "power": 1.0, "warp": 1.0}),
        "PlateauState": (schedules.PlateauState, {"step": 1, "lr": 0.1, "best": 0.1, "bad": 0, "cooldown_left": 0}),
        "schedule(step)": (FALL, {"step": 3}),
        "clip": (FALL.clip, {"low": 0.0, "high": 1.0}),
        "mirror": (FALL.mirror, {"every": 3}),
        "repeat": (FALL.repeat, {"every": 10, "growth": 1.0, "decay": 0.5, "cycles": 3}),
        "resolve": (dw.cosine().resolve, {"horizon": RUN}),
        "shift": (FALL.shift, {"steps": 3}),
        "stretch": (FALL.stretch, {"by": 2.0}),
        "then": (FALL.then, {"other": FALL, "after": 3}),
        "curve": (schedules.curve, {"schedule": FALL, "steps": 10, "start": 0}),
        "total": (schedules.total, {"schedule": FALL, "steps": 10}),
        "verdict": (schedules.verdict, {"metrics": [1 / (1 + i) for i in range(60)], "level": 0.05, "margin": 1.0}),
        "plateau.observe": (plateau.observe, {"state": plateau.init(), "metric": 0.1}),
        "greedy.observe": (greedy.observe, {"state": greedy.init(), "metric": 0.1}),
        "stall.observe": (stall.observe, {"state": stall.init(), "metric": 0.1}),
        "plateau.factors": (plateau.factors, {"metrics": [1.0, 2.0]}),
        "plateau.lrs": (plateau.lrs, {"metrics": [1.0, 2.0], "peak": 0.1}),
        "plateau.rate": (plateau.rate, {"state": plateau.init(), "peak": 0.1}),
        "Horizon": (dw.Horizon, {"steps": 100}),
        "Horizon by epochs": (dw.Horizon, {"epochs": 3, "steps_per_epoch": 10, "batch_size": 4}),
        "Time": (dw.Time, {"value": 3.0, "unit": "st"}),
        "Time.parse": (dw.Time.parse, {"text": "3ep"}),
        "Time.steps": (dw.Time(3, "ep").steps, {"horizon": RUN}),
        "Group": (dw.Group, {"name": "a", "match": "*", "lr_scale": 0.5}),
        "Rule": (dw.Rule, {"subject": "name", "pattern": "a", "decays": True}),
        "Mask": (dw.Mask, {"rules": (dw.Rule("name", "a", True),)}),
        "Mask.decide": (dw.Mask().decide, {"params": [PARAM]}),
        "Plan": (dw.Plan, {"peak": 0.1, "schedule": dw.cosine(), "decay": dw.l2(0.1), "mask": dw.Mask(), "groups": ()}),
        "Plan.lr": (ONE.lr, {"step": 3, "group": None}),
        "Plan.dose": (ONE.dose, {"step": 3, "group": None}),
        "Plan.rates": (ONE.rates, {"step": 3, "group": None}),
        "Plan.assign": (PLAN.assign, {"params": [PARAM]}),
        "difference": (dw.difference, {"old": PLAN, "new": PLAN}),
        "penalty": (dw.penalty, {"coefficient": 0.1, "groups": {"a": [np.ones(3)]}}),
        "l2.from_cost": (dw.l2.from_cost, {"lam": 0.1, "n": 100}),
        "l2.from_sklearn": (dw.l2.from_sklearn, {"alpha": 0.1, "estimator": "sgd", "batch_size": None}),
        "l2.from_keras": (dw.l2.from_keras, {"l2": 0.1}),
        "decoupled.from_cost": (dw.decoupled.from_cost, {"lam": 0.1, "n": 10, "momentum": 0.9}),
        "independent.from_cost": (dw.independent.from_cost, {"lam": 0.1, "n": 10, "peak": 0.1, "momentum": 0.9}),
        "independent.from_tfa": (dw.independent.from_tfa, {"weight_decay": 0.1, "scheduled": True}),
        "convert": (decay.convert, {"decay": dw.l2(0.1), "to": "decoupled", "peak": 0.1, "optimiser": "sgd", "momentum": 0.0}),
        "half_life": (decay.half_life, {"share": 0.1}),
        "timescale": (decay.timescale, {"share": 0.1}),
        "cooldown": (replan.cooldown, {"plan": PLAN, "run": RUN, "at": 50, "steps": 10, "end": 0.0, "shape": "sqrt"}),
        "extended": (replan.extended, {"plan": PLAN, "run": RUN, "at": 50, "steps": 200}),
        "change": (replan.change, {"old": (PLAN, RUN), "new": (PLAN, RUN), "at": 3}),
        "parse": (dw.parse, {"text": "peak 1 | constant"}),
        "from_json": (text.from_json, {"text": text.to_json(dw.Plan(0.1))}),
        "from_toml": (text.from_toml, {"text": text.to_toml(dw.Plan(0.1))}),
        "parse_decay": (text.parse_decay, {"text": "l2 0.1"}),
        "parse_mask": (text.parse_mask, {"text": "standard"}),
        "parse_schedule": (text.parse_schedule, {"text": "cosine to 0"}),
        "load": (text.load, {"path": "/nonexistent.toml"}),
        "save": (text.save, {"plan": dw.Plan(0.1), "path": pathlib.Path(tempfile.gettempdir(), "no such folder", "plan.toml")}),
        "to_json": (text.to_json, {"plan": dw.Plan(0.1)}),
        "to_toml": (text.to_toml, {"plan": dw.Plan(0.1)}),
    }  # fmt: skip
    for kind in ("decoupled", "l2", "independent", "corrected"):
        calls[kind] = (getattr(dw, kind), {"weight_decay": 0.1, "cautious": False, "allow_overshoot": False})
    for method in (
        "lrs", "factors", "table", "shares_left", "decay_shares", "sgd_shares", "timescale", "half_life", "resolve",
    ):  # fmt: skip
        calls[f"Plan.{method}"] = (getattr(PLAN, method), {"horizon": RUN})
    return calls


def told() -> dict[str, Call]:
    """Return calls of what foretells, explains, reads and trains on numbers."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    steps = np.arange(0, 300, 10)
    loss, lr = 1.0 / (1 + steps * 0.01) + 1, np.full(300, 0.1)
    runs = [laws.Run(lr, steps, loss), laws.Run(np.linspace(0.1, 1e-3, 300), steps, loss - 0.1 * steps / 300)]
    fitted, path, series = laws.fit(runs), ridge.path(x, y), {"loss": logs.Series("loss", np.arange(30), np.ones(30))}
    history, sgd, mlp = logs.History("h", series, {"training loss": "loss"}), reference.SGD(), population.MLP((3, 4, 2))
    more = dw.Horizon(epochs=10, steps_per_epoch=5, batch_size=8)
    source = "torch.optim.lr_scheduler.StepLR(torch.optim.SGD(p, lr=1), 30)"
    examples = population.Examples(x, np.zeros(20, int))
    bounded = {"distance": 1.0, "gradient_norm": 1.0}
    return {
        "explain": (explain.explain, {"plan": PLAN, "horizon": RUN, "step": 3, "param": PARAM, "group": None}),
        "compare": (explain.compare, {"old": PLAN, "new": PLAN, "horizon": RUN}),
        "taken_apart": (explain.taken_apart, {"schedule": FALL, "step": 3}),
        "of_plan": (findings.of_plan, {"plan": PLAN, "horizon": RUN}),
        "of_config": (findings.of_config, {"path": "/nonexistent.json"}),
        "of_history": (findings.of_history, {"history": history, "plan": PLAN, "horizon": RUN}),
        "Finding": (
            findings.Finding,
            {"code": "x", "severity": "note", "verdict": "v", "evidence": {}, "remedy": findings.Remedy("r")},
        ),
        "History": (logs.History, {"name": "h", "series": series, "roles": {"training loss": "loss"}}),
        "Series": (logs.Series, {"name": "a", "step": np.arange(3), "value": np.ones(3)}),
        "history": (logs.history, {"path": "/nonexistent.csv", "roles": {}, "step": "step"}),
        "logs.read": (logs.read, {"path": "/nonexistent.csv", "step": None, "lr": None, "loss": None, "needs_lr": True}),
        "kind": (logs.kind, {"column": "loss"}),
        "History.get": (history.get, {"role": "lr"}),
        "foreign.explain": (foreign.explain, {"plan": PLAN, "peer": "torch", "run": RUN, "source": "keras", "optimizer": None}),
        "foreign.read": (
            foreign.read,
            {"peer": "torch", "name": "StepLR", "params": {"step_size": 3}, "base_lr": 0.1, "run": RUN},
        ),
        "read_optimizer": (foreign.read_optimizer, {"peer": "torch", "name": "SGD", "params": {"lr": 0.1}, "base_lr": 0.1}),
        "read_source": (foreign.read_source, {"text": source, "peer": "torch", "run": RUN}),
        "write": (foreign.write, {"plan": PLAN, "peer": "torch", "run": RUN, "optimizer": None}),
        "laws.Run": (laws.Run, {"lr": lr, "step": steps, "loss": loss, "name": "a", "share": None}),
        "Run.logged": (laws.Run.logged, {"step": np.arange(100), "lr": np.full(100, 0.1), "loss": np.ones(100), "warmup": None}),
        "Run.of": (laws.Run.of, {"plan": PLAN, "horizon": RUN, "step": [1, 5, 9, 20], "loss": [3.0, 2.0, 1.0, 0.9], "name": "a"}),
        "fit": (laws.fit, {"runs": runs, "law": "auto", "like": ()}),
        "predict": (fitted.predict, {"lr": PLAN, "horizon": RUN, "share": None, "at": None}),
        "Fitted.loss": (fitted.loss, {"lr": lr, "at": [5]}),
        "Fitted.difference": (fitted.difference, {"one": lr, "other": lr}),
        "best_cooldown": (laws.best_cooldown, {"run": 100, "warmup": 0, "shape": "linear", **bounded}),
        "best_factors": (laws.best_factors, {"steps": 10, "gradient_norm": 1.0}),
        "best_peak": (laws.best_peak, {"factors": [1.0, 0.5], **bounded}),
        "bound": (laws.bound, {"lrs": [0.1, 0.2], **bounded}),
        "bounds": (laws.bounds, {"lrs": [0.1, 0.2], "at": None, **bounded}),
        "carry": (laws.carry, {"plan": PLAN, "old": RUN, "new": more, "rules": ("sqrt", "epochs"), "width": None}),
        "course": (laws.course, {"lr": PLAN, "horizon": RUN, "share": None, "name": "lr"}),
        "equilibrium": (laws.equilibrium, {"plan": PLAN, "run": RUN, "rule": "adamw", "momentum": None, "size": 10.0}),
        "refine": (
            laws.refine,
            {"norms": [1.0, 2.0, 1.0], "steps": None, "at": None, "rule": "sgd", "smooth": 0.1, "points": 200},
        ),
        "shares": (laws.shares, {"plan": PLAN, "run": RUN, "group": None}),
        "from_last": (laws.shares(PLAN, RUN).from_last, {"part": 0.1}),
        "ridge.path": (ridge.path, {"X": x, "y": y, "lams": 10, "intercept": True, "weights": None}),
        "standardised": (ridge.standardised, {"X": x}),
        "coef": (path.coef, {"lam": 0.1}),
        "coef_blocks": (lambda most: list(path.coef_blocks(most)), {"most": 100}),
        "errors": (path.errors, {"X": x, "y": y}),
        "intercept_at": (path.intercept_at, {"lam": 0.1}),
        "loo_residuals": (path.loo_residuals, {"lam": 0.1}),
        "Path.predict": (path.predict, {"X": x, "lam": 0.1}),
        "like": (ridge.standardised(x).like, {"X": x}),
        "population.Adam": (population.Adam, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}),
        "population.SGD": (population.SGD, {"momentum": 0.9, "nesterov": True}),
        "MLP": (population.MLP, {"sizes": (3, 4, 2), "activation": "relu", "loss": "softmax", "dropout": 0.1}),
        "Rates": (population.Rates, {"lr": np.full((2, 5), 0.1), "shrink": None, "l2": None}),
        "Examples": (population.Examples, {"x": x, "y": np.zeros(20, int)}),
        "epoch_order": (partial(population.epoch_order, 10), {"seed": 0, "epoch": 1}),
        "initial_weights": (population.initial_weights, {"mlp": mlp, "seed": 0}),
        "steps_per_epoch": (population.steps_per_epoch, {"rows": 10, "batch_size": 3}),
        "engine_for": (population.engine_for, {"mlp": mlp, "batch_size": 3, "engine": "auto"}),
        "train": (
            population.train,
            {"mlp": mlp, "optimiser": population.SGD(), "rates": population.Rates(np.full((2, 5), 0.1)),
             "data": population.Data(examples), "seeds": [0, 1], "batch_size": 4, "evaluate_every": 5, "engine": "numpy"},
        ),
        "reference.Adam": (reference.Adam, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}),
        "reference.SGD": (reference.SGD, {"momentum": 0.9, "dampening": 0.0, "nesterov": True}),
        "SGD.update": (
            sgd.update,
            {"w": np.ones(3), "grad": np.ones(3), "state": sgd.init(np.ones(3)), "lr": 0.1, "shrink": 1.0, "l2": 0.0},
        ),
        "textbook_step": (
            reference.textbook_step,
            {"w": np.ones(3), "b": np.ones(3), "grad_w": np.ones(3), "grad_b": np.ones(3), "lr": 0.1, "lam": 0.1, "n": 10},
        ),
    }  # fmt: skip


def studied() -> dict[str, Call]:
    """Return calls of studies, their data and their spaces; none trains."""
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = (x[:, 0] > 0).astype(int)
    parts = {
        "train_x": x,
        "train_y": y,
        "validation_x": x[:20],
        "validation_y": y[:20],
        "test_x": x[:20],
        "test_y": y[:20],
    }
    said = {"name": "d", "task": "classification", "classes": ("a", "b")}
    data, span = studies.Dataset(**parts, **said), studies.Range(0.1, 1.0)
    space = studies.Space.parse("lam 0 0.1..1 | peak 1e-3 1e-2")
    file = {
        "source": "/nonexistent.csv",
        "target": None,
        "task": None,
        "drop": (),
        "label_noise": 0.0,
        "validation": None,
        "seed": 0,
    }
    return {
        "Dataset": (studies.Dataset, {**parts, **said}),
        "Dataset.part": (data.part, {"name": "train"}),
        "Task": (studies.Task, {"data": data, "name": "t", "hidden": (4,), "activation": "relu", "batch_size": 8, "epochs": 1}),
        "Halving": (studies.Halving, {"rungs": ((0.25, 0.5),)}),
        "Here": (studies.Here, {"workers": 1}),
        "Processes": (studies.Processes, {"processes": 2}),
        "Range": (studies.Range, {"low": 0.1, "high": 1.0, "log": True, "whole": False}),
        "Range.at": (span.at, {"u": 0.5}),
        "Range.grid": (span.grid, {"points": 3}),
        "Range.unit": (span.unit, {"value": 0.5}),
        "Space": (studies.Space, {"lams": (0.0, 0.1), "peaks": (0.1,), "schedules": (dw.constant(),)}),
        "Space.parse": (studies.Space.parse, {"text": "lam 0 1 | peak 1e-3"}),
        "Space.load": (studies.Space.load, {"path": "/nonexistent.toml"}),
        "Space.candidates": (space.candidates, {"most": 3, "seed": 0}),
        "Space.grid": (space.grid, {"points_per_range": 2}),
        "Space.point": (space.point, {"units": [0.5] * len(space.axes)}),
        "Space.candidate": (space.candidate, {"params": {}}),
        "Space.units": (space.units, {"params": {}}),
        "Family.parse": (studies.Family.parse, {"text": "cosine to 0..20%"}),
        "sampler": (studies.sampler, {"name": "sobol", "space": space, "seed": 0}),
        "studies.load": (studies.load, file),
        "tasks_of": (studies.tasks_of, {key: value for key, value in file.items() if key != "label_noise"} | {"hidden": (4,)}),
        "Store.open": (lambda folder: studies.Store.open(folder).close(), {"folder": "/dev/null/no folder"}),
    }  # fmt: skip
