"""Any course of a run under a plan: whatever is done to it in any order, it is the run that the NumPy reference makes.

The machine attaches, steps, skips steps, saves, loads, plans anew, observes, adds groups and writes learning rates by hand;
beside it the model does the same with `dwindle.reference` and pure functions. After every move rates, weights, moments,
progress and warnings are compared.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from torch import nn

from dwindle.errors import InvalidValueError
from dwindle.plan import Group, Plan
from dwindle.reference import SGD, Adam
from dwindle.replan import cooldown, extended
from dwindle.schedule import Greedy, Plateau, Scaled
from dwindle.torch import attach
from dwindle.units import Horizon
from lawbook import lengthy
from strategies import decays, horizons, ramps, schedules

KINDS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "SGD": (torch.optim.SGD, {}, SGD()),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, SGD(momentum=0.9)),
    "nesterov": (torch.optim.SGD, {"momentum": 0.8, "nesterov": True}, SGD(momentum=0.8, nesterov=True)),
    "Adam": (torch.optim.Adam, {}, Adam()),
    "AdamW": (torch.optim.AdamW, {"betas": (0.8, 0.95)}, Adam(beta1=0.8, beta2=0.95)),
    "amsgrad": (torch.optim.AdamW, {"amsgrad": True}, Adam(amsgrad=True)),
}
MOMENTS = {"momentum_buffer": "buffer", "exp_avg": "m", "exp_avg_sq": "v", "max_exp_avg_sq": "v_max"}
HOW = [{"foreach": False}, {"foreach": True}, {"fused": True}]
RULES = [None, None, Plateau(0.5, patience=1), Greedy(0.5)]
ORDERS = ("aoc", "oac", "aco", "ao", "oa")
BASE = {"kernel": (2, 3), "filter": (2, 2, 1), "bias": (3,)}
LATE = (2, 2)

small = st.one_of(st.floats(0.0, 0.4), ramps().map(lambda ramp: Scaled(ramp, 0.05)))
plans = st.builds(
    Plan,
    st.sampled_from([0.001, 0.01, 0.02]),
    schedules,
    st.one_of(st.none(), decays(small)),
    groups=st.sampled_from([(), (Group("b", "bias", 2.0),), (Group("k", "k*", 0.5),)]),
)


@dataclass(frozen=True)
class Course:
    """The model: where the run stands, in NumPy and frozen values."""

    step: int
    plan: Plan
    run: Horizon
    feedback: Any
    weights: dict[str, np.ndarray]
    states: dict[str, Any]

    def rates(self, name: str, rule: Any) -> Any:
        scale = next((g.lr_scale for g in self.plan.groups if name.startswith(g.match.rstrip("*"))), 1.0)
        peak = None if rule is None else rule.rate(self.feedback, self.plan.peak)
        resolved = self.plan.resolve(self.run)
        return resolved.rates(self.step, lr_scale=scale, decays=name != "bias", peak=peak)

    def updated(self, optimiser: Any, grads: dict[str, np.ndarray], rule: Any) -> Course:
        weights, states = dict(self.weights), dict(self.states)
        cautious = self.plan.decay is not None and self.plan.decay.cautious
        for name, grad in grads.items():
            lr, shrink, l2 = self.rates(name, rule)
            weights[name], states[name] = optimiser.update(
                weights[name], grad, states[name], lr=lr, shrink=shrink, l2=l2, cautious=cautious
            )
        return replace(self, step=self.step + 1, weights=weights, states=states)


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk, and the model as it was then."""

    course: Course
    optimizer: bytes
    controller: str
    late: int


@dataclass
class Heard:
    """What a controller has warned of already: each is said once."""

    warned: set[str] = field(default_factory=set)
    ends: int = 0


class AnyCourse(RuleBasedStateMachine):
    """One run at a time; a restart makes a new optimiser as the script would, and loads."""

    checkpoints = Bundle("checkpoints")

    @initialize(plan=plans, run=horizons, kind=st.sampled_from(sorted(KINDS)), how=st.sampled_from(HOW),
                feedback=st.sampled_from(RULES), share=st.sampled_from([0.0, 0.0, 0.3, 0.97, 1.0]))  # fmt: skip
    def attached(self, plan: Plan, run: Horizon, kind: str, how: dict[str, Any], feedback: Any, share: float) -> None:
        self.kind, self.options, self.optimiser = KINDS[kind]
        self.options = self.options | how
        self.given, self.run, self.feedback = plan, run, feedback
        self.late = 0
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        rng = np.random.default_rng(0)
        start = {name: rng.normal(size=shape) for name, shape in BASE.items()}
        step = int(share * run.steps)
        states = {name: self.optimiser.init(w) for name, w in start.items()}
        self.course = Course(step, plan, run, None if feedback is None else feedback.init(), start, states)
        self.make()
        self.attach(step=step)

    def make(self) -> None:
        """Make the optimiser as the script does that has added ``late`` groups so far."""
        self.weights = {name: nn.Parameter(torch.tensor(w)) for name, w in self.course.weights.items()}
        pairs = list(self.weights.items())
        self.opt = self.kind(pairs[: len(BASE)], lr=0.02, weight_decay=0.0, **self.options)
        for pair in pairs[len(BASE) :]:
            self.opt.add_param_group({"params": [pair]})

    def attach(self, **options: Any) -> None:
        self.controller = attach(self.opt, self.given, self.run, feedback=self.feedback, **options)
        self.heard = Heard(ends=self.run.steps)
        self.written()

    def follow(self, course: Course) -> None:
        """Take another course: the rates are written anew, and another end may be warned of again."""
        if course.run.steps != self.heard.ends:
            self.heard.warned.discard("horizon")
        self.course, self.heard.ends = course, course.run.steps
        self.written()

    def written(self) -> None:
        """Note that the groups have the rates of the next step, which they keep until the step after it."""
        self.shown, self.by_hand, self.fresh = self.course, False, set()

    # Steps

    def expected(self) -> list[str]:
        said = []
        if self.course.step >= self.course.run.steps and "horizon" not in self.heard.warned:
            said.append("horizon")
        if self.by_hand and "learning rate" not in self.heard.warned:
            said.append("learning rate")
        return said

    def watched(self, step: Callable[[], Any], expected: list[str]) -> None:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            step()
        words = {"horizon": "beyond the horizon", "learning rate": "learning rate was changed"}
        assert len(heard) == len(expected), [str(w.message) for w in heard]
        for kind in expected:
            assert any(words[kind] in str(w.message) for w in heard)
        self.heard.warned.update(expected)

    @rule(
        seed=st.integers(0, 99),
        many=st.sampled_from([1, 1, 1, 2, 5]),
        way=st.sampled_from(["plain", "closure", "scaled"]),
        without=st.sampled_from([None, None, "kernel", "bias"]),
    )
    def steps(self, seed: int, many: int, way: str, without: str | None) -> None:
        if self.torch_would_leave_memory():  # and beside velocities that are made it refuses to make one more
            without = None
        for i in range(many):
            rng = np.random.default_rng(1000 * seed + i)
            grads = {n: rng.normal(size=w.shape) for n, w in self.course.weights.items() if n != without}
            expected, scale = self.expected(), 1.0
            if way == "scaled":
                scale = float(self.scaler.scale(torch.tensor(1.0)))
            give = self.giving(grads, scale)
            if way == "closure":
                self.watched(lambda give=give: self.opt.step(give), expected)
            else:
                give()
                self.watched(self.opt.step if way == "plain" else self.scaled_step, expected)
            self.opt.zero_grad()
            self.written()
            self.course = self.course.updated(self.optimiser, grads, self.feedback)

    def giving(self, grads: dict[str, np.ndarray], scale: float) -> Callable[[], float]:
        def give() -> float:
            for name, p in self.weights.items():
                p.grad = torch.tensor(grads[name] * scale) if name in grads else None
            return 0.0

        return give

    def scaled_step(self) -> None:
        self.scaler.step(self.opt)
        self.scaler.update()

    def torch_would_leave_memory(self) -> bool:
        """Whether torch's fused SGD has a velocity to make yet: skipped then, it keeps what the memory held (torch 2.13)."""
        made = all("momentum_buffer" in self.opt.state.get(p, {}) for p in self.weights.values())
        return bool(self.options.get("fused") and self.options.get("momentum")) and not made

    @precondition(lambda self: not self.torch_would_leave_memory())
    @rule()
    def a_step_that_the_scaler_skips(self) -> None:
        self.scaler.scale(torch.tensor(1.0))
        self.giving({name: np.full(w.shape, math.inf) for name, w in self.course.weights.items()}, 1.0)()
        self.watched(self.scaled_step, [])
        self.opt.zero_grad()

    # What a user does to the run

    @rule(lr=st.floats(0.0, 1.0))
    def a_rate_is_written_by_hand(self, lr: float) -> None:
        for group in self.opt.param_groups:
            group["lr"] = lr
        ours = [self.shown.rates(name, self.feedback).lr for name in self.weights if name not in self.fresh]
        self.by_hand = any(lr != each for each in ours)

    @precondition(lambda self: self.late < 2)
    @rule()
    def a_group_is_added(self) -> None:
        name = f"late{self.late}"
        w = np.random.default_rng(7 + self.late).normal(size=LATE)
        self.late += 1
        self.weights[name] = nn.Parameter(torch.tensor(w))
        self.opt.add_param_group({"params": [(name, self.weights[name])]})
        self.opt.state_dict()  # takes it in; its rate is written at the next step
        self.fresh.add(name)
        self.course = replace(
            self.course,
            weights=self.course.weights | {name: w},
            states=self.course.states | {name: self.optimiser.init(w)},
        )

    @precondition(lambda self: self.feedback is not None)
    @rule(metric=st.integers(1, 9))
    def a_metric_is_observed(self, metric: int) -> None:
        factor, state = self.feedback.observe(self.course.feedback, metric / 10)
        assert self.controller.observe(metric / 10) == factor
        self.follow(replace(self.course, feedback=state))

    @rule(steps=st.integers(1, 6000))
    def the_run_is_extended(self, steps: int) -> None:
        self.planned_anew(lambda c: extended(c.plan, c.run, c.step, steps), lambda: self.controller.extend(steps))

    @rule(
        steps=st.integers(1, 30), end=st.sampled_from([0.0, 0.1]), shape=st.sampled_from(["sqrt", "linear", "cosine"])
    )
    def it_is_cooled_down(self, steps: int, end: float, shape: str) -> None:
        self.planned_anew(
            lambda c: cooldown(c.plan, c.run, c.step, steps, end=end, shape=shape),
            lambda: self.controller.cooldown_now(steps, end=end, shape=shape),
        )

    def planned_anew(self, model: Callable[[Course], tuple[Plan, Horizon]], move: Callable[[], str]) -> None:
        before = self.controller.state_dict()
        try:
            plan, run = model(self.course)
        except InvalidValueError:
            with pytest.raises(InvalidValueError):
                move()
            assert self.controller.state_dict() == before
            return
        assert f"ends at {run.steps}" in move()
        self.follow(replace(self.course, plan=plan, run=run))

    @rule(target=checkpoints, steps=st.integers(1, 30))
    def a_cooldown_is_branched_off(self, steps: int) -> Any:
        course = self.course
        try:
            plan, run = cooldown(course.plan, course.run, course.step, steps)
        except InvalidValueError:
            assume(False)
        state = self.controller.branch(steps)
        return self.saved(replace(course, plan=plan, run=run), state)

    @rule()
    def it_is_detached_and_attached_anew(self) -> None:
        self.controller.detach()
        assert len(self.opt.param_groups) == 1 + self.late
        fresh = None if self.feedback is None else self.feedback.init()
        self.course = replace(self.course, plan=self.given, run=self.run, feedback=fresh)
        self.attach(step=self.course.step)

    # Kills and restarts

    @rule(target=checkpoints)
    def it_is_saved(self) -> Saved:
        return self.saved(self.course, self.controller.state_dict())

    def saved(self, course: Course, state: dict[str, Any]) -> Saved:
        file = io.BytesIO()
        torch.save(self.opt.state_dict(), file)
        return Saved(course, file.getvalue(), json.dumps(state), self.late)

    @rule(saved=checkpoints, order=st.sampled_from(ORDERS))
    def it_is_killed_and_resumed(self, saved: Saved, order: str) -> None:
        if json.loads(saved.controller) != self.carried(saved):
            order = order if "c" in order else f"{order}c"  # a branch is in the controller's state, not the optimiser's
        self.late, self.course = saved.late, saved.course
        self.make()
        for letter in order:
            if letter == "a":
                self.attach()
            else:
                self.load(saved, letter)
        self.follow(saved.course)

    @rule(saved=checkpoints, order=st.sampled_from(["oc", "co"]))
    def it_is_set_back_in_place(self, saved: Saved, order: str) -> None:
        assume(saved.late == self.late)
        for name, w in saved.course.weights.items():
            self.weights[name].data.copy_(torch.tensor(w))
        for letter in order:
            self.load(saved, letter)
        self.follow(saved.course)

    def load(self, saved: Saved, letter: str) -> None:
        if letter == "o":
            self.opt.load_state_dict(torch.load(io.BytesIO(saved.optimizer), weights_only=True))
        else:
            self.controller.load_state_dict(json.loads(saved.controller))

    def carried(self, saved: Saved) -> Any:
        return torch.load(io.BytesIO(saved.optimizer), weights_only=True)["param_groups"][0]["dwindle"]

    # What must be true after every move

    @invariant()
    def the_run_is_that_of_the_reference(self) -> None:
        if not hasattr(self, "course"):
            return
        course, controller = self.course, self.controller
        assert (controller.step, controller.plan, controller.horizon) == (course.step, course.plan, course.run)
        for name, p in self.weights.items():
            wanted = course.weights[name]
            scale = 1e-9 * max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(p.detach().numpy(), wanted, rtol=1e-9, atol=scale, err_msg=name)
            self.moments_agree(name, p)

    def moments_agree(self, name: str, p: Any) -> None:
        state = self.course.states[name]
        for theirs, ours in MOMENTS.items():
            if self.opt.state.get(p, {}).get(theirs) is not None:
                wanted = getattr(state, ours)
                scale = 1e-9 * max(1.0, float(np.abs(wanted).max()))
                np.testing.assert_allclose(self.opt.state[p][theirs].numpy(), wanted, rtol=1e-8, atol=scale)

    @invariant()
    def the_next_rates_are_those_of_the_plan(self) -> None:
        if not hasattr(self, "course"):
            return
        for name in self.weights:
            assert self.controller.rates(name) == self.course.rates(name, self.feedback), name
        if not self.by_hand:
            for group in self.opt.param_groups:
                for name in set(group["param_names"]) - self.fresh:
                    assert group["lr"] == self.shown.rates(name, self.feedback).lr

    @invariant()
    def the_state_is_plain_and_says_where_it_is(self) -> None:
        if not hasattr(self, "course"):
            return
        state = json.loads(json.dumps(self.controller.state_dict(), allow_nan=False))
        assert state["step"] == self.course.step
        assert state["plan"] == str(self.given)
        anew = state.get("replanned", {"plan": str(self.given), "horizon": state["horizon"]})
        assert (anew["plan"], anew["horizon"]["steps"]) == (str(self.course.plan), self.course.run.steps)


@pytest.mark.law
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_any_course_of_a_run_is_that_of_the_reference(examples: int | None, record_property: Any) -> None:
    short = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    long = settings(lengthy(max(1, examples // 10), short), stateful_step_count=40) if examples else short
    torch.set_num_threads(1)
    run_state_machine_as_test(AnyCourse, settings=long)
    record_property("examples", long.max_examples)
