"""A plan at work on an optimiser: what the next update gets, what a metric does to it, planning anew, saving and loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import torch

from dwindle.errors import InvalidValueError, known
from dwindle.mask import Decision, report
from dwindle.plan import Plan, Rates
from dwindle.replan import change, cooldown, extended
from dwindle.torch.checks import refuse_optimizer, unplanned_progress, warn_of_habits
from dwindle.torch.copies import carry, carry_no_more
from dwindle.torch.groups import Group
from dwindle.torch.hooks import StepHooks
from dwindle.torch.live import LiveGroups
from dwindle.torch.metric import agreed
from dwindle.torch.resume import Given, Progress, record, replanned, resumed
from dwindle.units import Horizon

__all__ = ["Controller"]

_KEY = "dwindle"  # where a saved optimiser carries our state, in its first group


class Controller:
    """A plan at work on an optimiser; made by `attach`. (``steps`` and ``groups`` are for dwindle's own optimisers.)"""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        given: Given,
        model: torch.nn.Module | None,
        on_change: str,
        compensated: bool | None = None,
        step: int | None = None,
    ) -> None:
        self.on_change, self._optimizer, self._given = on_change, optimizer, given
        refuse_optimizer(optimizer, given.plan)
        found = next((group[_KEY] for group in optimizer.param_groups if _KEY in group), None)
        now = given.begin(step or 0) if found is None else resumed(found, given, on_change)
        if step not in (None, now.step):
            raise InvalidValueError(
                f"the optimiser was loaded from a run at step {now.step}, and step={step} was given too."
            )
        self._resolved_at(now)  # a schedule of the user's own may raise: before anything changes
        first = given.plan.resolve(given.horizon)
        self.groups = LiveGroups(optimizer, given.plan, first, model, given.horizon.steps, compensated)
        for group in optimizer.param_groups:
            group.pop(_KEY, None)
        warn_of_habits(optimizer, first, given.horizon.steps)
        self.steps = StepHooks(optimizer, self.groups)
        self._loaded: Progress | None = None
        self._told: int | None = None  # the step of the last state that was loaded here
        self._said: tuple[Mapping[str, Any], str] = {}, on_change  # that state, and what was said of a change
        self._now, self.detached, self._placed = now, False, step is not None
        self._follow(now)
        self._doubt(found is None)
        self._handles = self._hook()
        carry(optimizer, lambda: self._carrying(self.groups.as_saved(optimizer.param_groups)))

    @property
    def plan(self) -> Plan:
        """The plan in effect: the one given to `attach`, until the run is planned anew."""
        return self._now.plan

    @property
    def horizon(self) -> Horizon:
        """The run in effect."""
        return self._now.horizon

    @property
    def step(self) -> int:
        """The number of updates done, which is the 0-based index of the next one."""
        return self.steps.step

    @property
    def lr(self) -> float:
        """The learning rate of the next update, before any lr_scale."""
        return float(self.rates().lr)

    def rates(self, name: str | None = None) -> Rates:
        """Return (lr, shrink, l2) of the next update for the parameter ``name``; by default for one that decays."""
        if name is None:
            return self._resolved.rates(self.step, peak=self._peak)
        placed = {a.name: a for a in self.groups.assignments}
        at = placed[known("parameter", name, placed)]
        return self._resolved.rates(self.step, lr_scale=at.lr_scale, decays=at.decays, peak=self._peak)

    @property
    def compensated(self) -> dict[str, int]:
        """The parameters whose decay is kept beside them where rounding would lose it, and the bytes that takes."""
        return self.groups.compensated()

    def report(self) -> str:
        """Return the decay, then one line per parameter: its name, whether it decays, which rule said so, what it costs."""
        rows, bytes_of = [], self.compensated
        for a in self.groups.assignments:
            why = a.rule if a.lr_scale == 1.0 else f"{a.rule}; lr × {a.lr_scale:g}"
            why += f"; compensated, {bytes_of[a.name]} bytes" if a.name in bytes_of else ""
            rows.append(Decision(a.name, a.decays, why, a.tied_to))
        cost = f"; compensated for rounding, {sum(bytes_of.values())} bytes" if bytes_of else ""
        return f"{self.plan.decay or 'no decay'}{cost}\n{report(rows)}"

    def observe(self, metric: Any, *, reduce: str = "mean") -> float:
        """Give the feedback rule the metric of one evaluation; return the factor that it now puts on the plan's rate.

        From the next update on lr = factor·peak·lr_scale·f(t), and the decay reads the factor with f: the share is lr·λ for
        decoupled, factor·f·λ for independent, lr·factor·f·λ for corrected. A rule whose peak is 1 speaks in factors and
        fits any plan; one with the plan's own peak has absolute floors, for a parameter of lr_scale 1: every group keeps its
        proportion to it. Call it once after each evaluation; the updates in between do not matter.
        ``metric``: a number, or a tensor with one element. Where torch.distributed runs, every rank must call this, and all
        take the mean over the ranks, so that all decide the same; ``reduce`` "none" takes each rank's own.

        Raises InvalidValueError without a rule, and for a metric that the rule refuses; nothing has changed then.

        >>> from dwindle.schedule import Plateau
        >>> from dwindle.torch import attach
        >>> opt = torch.optim.SGD([torch.nn.Parameter(torch.ones(2, 2))])
        >>> ctl = attach(opt, Plan(0.1), 100, feedback=Plateau(0.5, patience=1))
        >>> [ctl.observe(loss) for loss in (3.0, 2.0, 2.0, 2.0)], ctl.lr
        ([1.0, 1.0, 1.0, 0.5], 0.05)
        """
        if self._given.rule is None:
            raise InvalidValueError(
                "no feedback rule was given, so a metric would change nothing; attach(..., feedback=Plateau(0.5))."
            )
        factor, state = self._given.rule.observe(self._now.feedback, agreed(metric, reduce))
        self._follow(replace(self._progress(), feedback=state))
        return float(factor)

    def extend(self, steps: Any) -> str:
        """Stretch what is left of the schedule so that the run ends at ``steps`` in all; return what changed, in a line.

        The learning rate goes on from where it is and comes to the same end; see `replan.extended`. ``steps`` is the new
        whole length, a time such as "20ep", or a Horizon. In a distributed run every rank does this, at the same step.

        Raises InvalidValueError if nothing is left or ``steps`` are done already, and for a plan that has no text.

        >>> from dwindle.torch import attach
        >>> opt = torch.optim.SGD([torch.nn.Parameter(torch.ones(2, 2))])
        >>> attach(opt, Plan(0.1), 100).extend(300)
        'from update 0 (lr 0.1) on: ends at 300 with lr 0.1, no longer at 100 with lr 0.1'
        """
        return self._replan(*extended(self.plan, self.horizon, self.step, steps))

    def cooldown_now(self, steps: Any, *, end: float = 0.0, shape: str = "sqrt") -> str:
        """Leave the schedule here and fall to ``end`` (a factor) within ``steps`` more; return what changed, in a line.

        The run then ends; see `replan.cooldown`. A feedback rule goes on acting on top. In a distributed run every rank
        does this, at the same step.

        Raises InvalidValueError if the rate is 0 or already below ``end``, and for a plan that has no text.
        """
        return self._replan(*cooldown(self.plan, self.horizon, self.step, steps, end=end, shape=shape))

    def branch(self, steps: Any, *, end: float = 0.0, shape: str = "sqrt") -> dict[str, Any]:
        """Return the state, plain JSON values, of a run that cools down from here; this run goes on untouched.

        Another process attaches the plan that this one was given, and loads this state with the model's and the optimiser's
        as they are now, in any order. See `cooldown_now`.
        """
        plan, run = cooldown(self.plan, self.horizon, self.step, steps, end=end, shape=shape)
        return record(self._given, replanned(self._progress(), plan, run))

    def _replan(self, plan: Plan, run: Horizon) -> str:
        old = self.plan, self.horizon
        self._follow(replanned(self._progress(), plan, run))
        return change(old, (plan, run), self.step)

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the plan given and its horizon, those in effect if others, and the rule and its state, as JSON values.

        The residues of compensated weights are in the optimiser's state_dict; without it they begin anew at zero.
        """
        return record(self._given, self._progress())

    def load_state_dict(self, state: Mapping[str, Any], *, on_change: str | None = None) -> None:
        """Go on from a saved state, before or after the optimiser loads its own: the order does not matter.

        A run that was planned anew goes on as planned anew, under the plan that `attach` was given at first, and under the
        one it became. A plan, horizon or rule other than these is a ResumeError that names the difference, unless
        ``on_change`` says "keep" (the step stays), "rescale" (the same share of the run) or "restart" (step 0). The plan
        given to `attach` is then followed; the saved learning rates never win. Said in `attach` it holds for every load;
        said here for this state and the copy of it that the optimiser loads afterwards.
        What is loaded here wins over the copy of the same step that the optimiser's state carries.
        """
        on_change = self.on_change if on_change is None else on_change
        told = resumed(state, self._given, on_change)
        self._follow(told)
        self._told, self._said = told.step, (dict(state), on_change)
        self.steps.unplaced = ""

    def detach(self) -> None:
        """Let the optimiser go: hooks removed, and its groups, lr and weight_decay as they were before `attach`.

        What compensated weights had kept of their decay, at most half a unit in the last place of each, is dropped.
        """
        carry_no_more(self._optimizer)
        for handle in self._handles:
            handle.remove()
        self.steps.forget()
        if self._handles:
            self.groups.restore()
        self._handles, self.detached = [], True

    def __repr__(self) -> str:
        return f"Controller({type(self._optimizer).__name__}, '{self.plan}', step {self.step} of {self.horizon.steps})"

    def _progress(self) -> Progress:
        return replace(self._now, step=self.step)

    def _resolved_at(self, now: Progress) -> tuple[Plan, float | None]:
        """Return the plan and the peak in effect; raise if they give the next update no rates."""
        resolved, peak = now.plan.resolve(now.horizon), self._given.peak(now.feedback)
        resolved.rates(now.step, peak=peak)
        return resolved, peak

    def _follow(self, now: Progress) -> None:
        """Go on from ``now``; nothing changes if its plan raises."""
        if self.detached:
            raise InvalidValueError("this controller has let its optimiser go; attach anew.")
        resolved, peak = self._resolved_at(now)
        self.groups.adopt()
        self._now, self._resolved, self._peak = now, resolved, peak
        self.steps.go_on(now.step, now.horizon.steps)
        self.groups.follow(resolved, peak, now.horizon.steps)
        self.groups.set_rates(self.step)

    def _doubt(self, untold: bool) -> None:
        """Note, for a warning at the next step, that the optimiser has gone further than the plan and nobody said where."""
        doubtful = untold and not self._placed
        self.steps.unplaced = unplanned_progress(self._optimizer, self.step) if doubtful else ""

    def __reduce__(self) -> NoReturn:
        raise InvalidValueError(
            "a Controller belongs to its optimiser and is not copied or pickled; save state_dict(), or copy the optimiser "
            "and attach to the copy."
        )

    def _hook(self) -> list[Any]:
        return [
            *self.steps.register(),
            self._optimizer.register_state_dict_pre_hook(lambda _: self.groups.adopt()),
            self._optimizer.register_state_dict_post_hook(self._after_saving),
            self._optimizer.register_load_state_dict_pre_hook(self._before_loading),
            self._optimizer.register_load_state_dict_post_hook(self._after_loading),
        ]

    def _after_saving(self, optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "param_groups": self._carrying(self.groups.as_saved(state["param_groups"]))}

    def _carrying(self, groups: list[Group]) -> list[Group]:
        return [{**groups[0], _KEY: self.state_dict()}, *groups[1:]]

    def _before_loading(self, optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
        self.groups.adopt()
        saved = [dict(group) for group in state["param_groups"]]
        found = [group.pop(_KEY) for group in saved if _KEY in group]
        on_change = self._said[1] if found[:1] == [self._said[0]] else self.on_change
        self._loaded = resumed(found[0], self._given, on_change) if found else None
        return {**state, "param_groups": self.groups.as_live(saved)}

    def _after_loading(self, optimizer: Any) -> None:
        loaded, self._loaded = self._loaded, None
        self._doubt(loaded is None and self._told is None)
        if loaded is None or loaded.step == self._told == self.step:
            self.groups.set_rates(self.step)
        else:
            self._follow(loaded)
            self._told = None
