"""What somebody may hand in by mistake to the adapters of torch, JAX and Keras: see `bad_inputs`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np
import torch

import dwindle as dw
from dwindle import population
from dwindle.population.modules import train_modules
from dwindle.torch import SGD, AdamW, attach
from dwindle.torch.lightning import FollowPlan
from dwindle.torch.trainer import pair

__all__ = ["FRAMEWORKS"]

PLAN = dw.Plan(0.1, dw.cosine(), dw.decoupled(0.1))
NAN = math.nan


def opt(**more: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(torch.nn.Linear(2, 2).named_parameters(), lr=0.1, **more)


def followed() -> torch.optim.Optimizer:
    """Return an optimiser that follows a plan already."""
    made = opt()
    attach(made, PLAN, 100)
    return made


_KEPT: list[Any] = []  # a controller does not keep its optimiser


def control(**more: Any) -> Any:
    _KEPT[:] = [opt()]
    return attach(_KEPT[0], PLAN, 100, **more)


def named() -> Any:
    return torch.nn.Linear(2, 2).named_parameters()


def state(**changed: Any) -> dict[str, Any]:
    """Return a saved state, changed."""
    return {**control().state_dict(), **changed}


def kopt() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1)


def tm(**changed: Any) -> Any:
    """Train modules, with what is changed."""
    given: dict[str, Any] = {
        "optimiser": population.SGD(),
        "seeds": [0],
        "batch_size": 4,
        "evaluate_every": 2,
        **changed,
    }
    make, loss = given.pop("make", lambda: torch.nn.Linear(2, 2)), given.pop("loss", torch.nn.functional.cross_entropy)
    data = given.pop("data", (torch.zeros(8, 2), torch.zeros(8, dtype=torch.long)))
    return train_modules(make, loss, given.pop("rates", population.Rates(lr=np.full((1, 4), 0.1))), data, **given)


FRAMEWORKS: list[tuple[str, Callable[[], Any], str]] = [
    ("attach opt text", lambda: attach("adam", PLAN, 100), 'adam'),
    ("attach opt none", lambda: attach(None, PLAN, 100), 'None'),
    ("attach plan text", lambda: attach(opt(), "peak 1", 100), 'peak 1'),
    ("attach plan none", lambda: attach(opt(), None, 100), 'None'),
    ("attach horizon text", lambda: attach(opt(), PLAN, "x"), "horizon must be a whole number; got 'x'."),
    ("attach horizon 0", lambda: attach(opt(), PLAN, 0), 'horizon must be positive; got 0.'),
    ("attach horizon none", lambda: attach(opt(), PLAN, None), 'None'),
    ("attach unresolved", lambda: attach(opt(), dw.Plan(0.1, dw.step("5ep")), 100), 'steps_per_epoch'),
    ("attach model text", lambda: attach(opt(), PLAN, 100, model="m"), "model must be a torch.nn.Module; got 'm'."),
    ("attach feedback", lambda: attach(opt(), PLAN, 100, feedback="plateau"), 'plateau'),
    ("attach feedback number", lambda: attach(opt(), PLAN, 100, feedback=3), 'feedback must be a rule such as Plateau(0.5,'),
    ("attach on_change", lambda: attach(opt(), PLAN, 100, on_change="ignore"), 'ignore'),
    ("attach compensated",
     lambda: attach(opt(), PLAN, 100, compensated="yes"),
     "compensated must be True or False; got 'yes'."),
    ("attach step neg", lambda: attach(opt(), PLAN, 100, step=-1), 'step must be at least 0; got -1.'),
    ("attach step text", lambda: attach(opt(), PLAN, 100, step="1"), "step must be a whole number; got '1'."),
    ("attach twice", lambda: attach(followed(), PLAN, 100), 'this optimiser already follows a plan; detach() its'),
    ("attach group", lambda: attach(opt(), dw.Plan(0.1, groups=(dw.Group("h","head.*"),)), 100), 'head'),
    ("attach mask",
     lambda: attach(opt(), dw.Plan(0.1, decay=dw.l2(0.1), mask=dw.Mask.of(dw.Rule("name","head.*",False))), 100),
     'head'),
    ("attach torch wd", lambda: attach(opt(weight_decay=0.1), PLAN, 100), 'weight_decay'),
    ("attach unnamed model",
     lambda: attach(torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1), PLAN, 100, model=torch.nn.Linear(1,1)),
     "model Linear owns none of the optimiser's 1"),
    ("attach schedule rather", lambda: attach(opt(), dw.cosine(), 100), 'plan must be a Plan; got Ramp(end=0.0, steps=None,'),
    ("control observe", lambda: control().observe(1.0), 'feedback'),
    ("control observe nan",
     lambda: control(feedback=dw.plateau()).observe(NAN),
     'the metric is nan, which says that the run diverged'),
    ("control observe text", lambda: control(feedback=dw.plateau()).observe("x"), "a metric must be a real number; got 'x'."),
    ("control observe reduce", lambda: control(feedback=dw.plateau()).observe(1.0, reduce="median"), 'median'),
    ("control extend", lambda: control().extend(0), 'steps must be positive; got 0.'),
    ("control extend text", lambda: control().extend("soon"), 'soon'),
    ("control cooldown", lambda: control().cooldown_now(-1), 'steps must be positive; got -1.'),
    ("control cooldown end", lambda: control().cooldown_now(10, end=-1), 'end must be zero or more; got -1.'),
    ("control branch", lambda: control().branch(0), 'steps must be positive; got 0.'),
    ("control rates", lambda: control().rates("nobody"), 'nobody'),
    ("saved none", lambda: control().load_state_dict(None), 'None'),
    ("state empty", lambda: control().load_state_dict({}), 'dwindle-torch/1'),
    ("state version", lambda: control().load_state_dict(state(format="dwindle-torch/7")), 'dwindle-torch/7'),
    ("state step", lambda: control().load_state_dict(state(step=-1)), 'step'),
    ("state step text", lambda: control().load_state_dict(state(step="x")), 'step'),
    ("state plan", lambda: control().load_state_dict(state(plan="peak 0.2 | constant")), 'peak 0.2'),
    ("state plan bad",
     lambda: control().load_state_dict(state(plan="foo")),
     'the saved run, at step 0, had another plan: where'),
    ("state plan number", lambda: control().load_state_dict(state(plan=3)), 'the saved state cannot be read: plan must be text'),
    ("state horizon",
     lambda: control().load_state_dict(state(horizon={"steps": 200})),
     'the saved run, at step 0, had another plan: its'),
    ("state horizon bad", lambda: control().load_state_dict(state(horizon={"stepz": 200})), 'stepz'),
    ("state key", lambda: control().load_state_dict(state(extra=1)), 'extra'),
    ("state checksum", lambda: control().load_state_dict(state(checksum="crc32:0")), 'checksum'),
    ("state on_change",
     lambda: control().load_state_dict(state(), on_change="foo"),
     "on_change 'foo' is not known; it must be one of"),
    ("state missing", lambda: control().load_state_dict({"format": "dwindle-torch/1"}), 'step'),
    ("SGD params", lambda: SGD("x", PLAN, 100), 'SGD cannot be made: optimizer can only optimize'),
    ("SGD empty", lambda: SGD([], PLAN, 100), 'SGD cannot be made: optimizer got an empty'),
    ("SGD plan", lambda: SGD(named(), "p", 100), "plan must be a Plan; got 'p'. For text use"),
    ("SGD momentum", lambda: SGD(named(), PLAN, 100, momentum=-1), 'momentum'),
    ("SGD momentum text", lambda: SGD(named(), PLAN, 100, momentum="x"), "momentum must be a real number; got 'x'."),
    ("SGD nesterov", lambda: SGD(named(), PLAN, 100, nesterov=True), 'esterov'),
    ("SGD clip", lambda: SGD(named(), PLAN, 100, clip=-1), 'clip'),
    ("SGD clip text", lambda: SGD(named(), PLAN, 100, clip="1"), 'clip'),
    ("SGD ema", lambda: SGD(named(), PLAN, 100, ema=1.5), 'ema must be at most 1; got 1.5.'),
    ("SGD norms", lambda: SGD(named(), PLAN, 100, norms="yes"), 'norms'),
    ("SGD zero", lambda: SGD(named(), PLAN, 100, zero="yes"), 'zero'),
    ("SGD option", lambda: SGD(named(), PLAN, 100, fused=True), 'fused'),
    ("SGD averages", lambda: SGD(named(), PLAN, 100).averages(), 'this SGD averages nothing; make it with ema=0.999,'),
    ("AdamW betas", lambda: AdamW(named(), PLAN, 100, betas=(1.0, 0.9)), 'beta'),
    ("AdamW betas n", lambda: AdamW(named(), PLAN, 100, betas=0.9), 'betas must be two numbers, such as (0.9, 0.999);'),
    ("AdamW betas text", lambda: AdamW(named(), PLAN, 100, betas=("a","b")), "beta1 must be a real number; got 'a'."),
    ("AdamW eps", lambda: AdamW(named(), PLAN, 100, eps=-1), 'eps must be zero or more; got -1.'),
    ("AdamW eps text", lambda: AdamW(named(), PLAN, 100, eps="x"), "eps must be a real number; got 'x'."),
    ("params text", lambda: dw.torch.params("model"), 'model'),
    ("pair", lambda: pair("x", PLAN, 100), "optimizer must be a torch.optim optimiser; got 'x'."),
    ("pair plan", lambda: pair(opt(), "x", 100), "plan must be a Plan; got 'x'. For text use"),
    ("follow", lambda: FollowPlan("peak"), "'peak'"),
    ("follow log", lambda: FollowPlan(PLAN, log="x"), "log must be True or False; got 'x'."),
    ("follow list", lambda: FollowPlan([]), 'plan must be a Plan, or a list with one for each'),
    ("follow option", lambda: FollowPlan(PLAN, colour=1), 'colour'),
    ("jax plan", lambda: dw.jax.adamw("peak", 100), 'peak'),
    ("jax horizon", lambda: dw.jax.adamw(PLAN, "x"), "horizon must be a whole number; got 'x'."),
    ("jax horizon 0", lambda: dw.jax.sgd(PLAN, 0), 'horizon must be positive; got 0.'),
    ("jax b1", lambda: dw.jax.adamw(PLAN, 100, b1=1.5), 'b1 must be below 1; got 1.5.'),
    ("jax b2 nan", lambda: dw.jax.adam(PLAN, 100, b2=NAN), 'b2 must be finite; got nan.'),
    ("jax eps", lambda: dw.jax.adam(PLAN, 100, eps=-1), 'eps must be positive; got -1.'),
    ("jax momentum", lambda: dw.jax.sgd(PLAN, 100, momentum=2), 'momentum'),
    ("jax momentum text", lambda: dw.jax.sgd(PLAN, 100, momentum="x"), 'momentum'),
    ("jax nesterov", lambda: dw.jax.sgd(PLAN, 100, nesterov="x"), 'nesterov'),
    ("jax mask", lambda: dw.jax.sgd(PLAN, 100, mask="bias").init({"w": jnp.ones((2,2))}), 'bias'),
    ("jax mask tree",
     lambda: dw.jax.sgd(PLAN, 100, mask={"v": True}).init({"w": jnp.ones((2,2))}),
     'mask must be a tree of bools like the parameters,'),
    ("jax group", lambda: dw.jax.schedule(PLAN, 100, "head"), 'head'),
    ("jax attach", lambda: dw.jax.attach("adam", PLAN, 100), 'adam'),
    ("jax attach none", lambda: dw.jax.attach(None, PLAN, 100), 'None'),
    ("jax decay", lambda: dw.jax.decay(3, 100), 'plan must be a Plan; got 3. For text use'),
    ("jax schedule", lambda: dw.jax.schedule(dw.cosine(), 100), 'plan must be a Plan; got Ramp(end=0.0, steps=None,'),
    ("jax no params",
     lambda: (lambda t: t.update({"w": jnp.ones((2,2))}, t.init({"w": jnp.ones((2,2))})))(dw.jax.adamw(PLAN, 100)),
     'params'),
    ("keras opt", lambda: dw.keras.attach("adam", PLAN, 100), 'adam'),
    ("keras plan", lambda: dw.keras.attach(kopt(), "p", 100), "plan must be a Plan; got 'p'. For text use"),
    ("keras horizon", lambda: dw.keras.attach(kopt(), PLAN, -3), 'horizon must be positive; got -3.'),
    ("keras model", lambda: dw.keras.attach(kopt(), PLAN, 100, model="m"), "model must be a keras.Model; got 'm'."),
    ("keras sched", lambda: dw.keras.schedule("x", 100), "plan must be a Plan; got 'x'. For text use"),
    ("keras sched group", lambda: dw.keras.schedule(PLAN, 100, "head"), 'head'),
    ("keras config", lambda: dw.keras.PlanSchedule.from_config({"a": 1}), 'a configuration holds a plan and its horizon, as'),
    ("keras config text", lambda: dw.keras.PlanSchedule.from_config("x"), 'a configuration holds a plan and its horizon, as'),
    ("keras twice",
     lambda: dw.keras.attach(dw.keras.attach(kopt(), PLAN, 100), PLAN, 100),
     'this optimiser already follows a plan; attach to a'),
    ("modules make", lambda: tm(make=3), 'make must be a function that returns a module; got'),
    ("modules make none", lambda: tm(make=lambda: None), 'None'),
    ("modules loss", lambda: tm(loss="mse"), "loss must be a function of (output, y); got 'mse'."),
    ("modules data",
     lambda: tm(data=(torch.zeros(8,2), torch.zeros(7))),
     'train has 8 rows of x and 7 of y. Give one y a row.'),
    ("modules data one", lambda: tm(data=torch.zeros(8,2)), "train must be a pair (x, y); got 'Tensor'. Give"),
    ("modules seeds", lambda: tm(seeds=[0,1]), 'seeds'),
    ("modules batch", lambda: tm(batch_size=0), 'batch_size'),
    ("modules optimiser", lambda: tm(optimiser="sgd"), "optimiser is 'sgd'; it must be SGD() or Adam()."),
    ("modules rates", lambda: tm(rates="x"), "rates is 'x'; it must be Rates(lr, shrink, l2). A"),
    ("doctor processes",
     lambda: dw.doctor(torch.nn.Linear(2,2), opt(), processes=0),
     "model Linear owns none of the optimiser's 2"),
    ("doctor accumulation",
     lambda: dw.doctor(torch.nn.Linear(2,2), opt(), accumulation="x"),
     "model Linear owns none of the optimiser's 2"),
    ("doctor opt", lambda: dw.doctor(torch.nn.Linear(2,2), "adam"), 'adam'),
    ("doctor sched", lambda: dw.doctor(torch.nn.Linear(2,2), opt(), "cosine"), 'cosine'),
    ("doctor plan", lambda: dw.doctor(torch.nn.Linear(2,2), opt(), plan="p"), "model Linear owns none of the optimiser's 2"),
    ("doctor horizon", lambda: dw.doctor(torch.nn.Linear(2,2), opt(), horizon="h"), "horizon must be a whole number; got 'h'."),
]  # fmt: skip
