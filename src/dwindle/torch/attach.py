"""One line makes any ``torch.optim`` optimiser follow a Plan: learning rate and weight decay, step by step, resumable."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from dwindle.errors import InvalidValueError, UnknownNameError, known, shown, suggestion
from dwindle.mask import Decision, report
from dwindle.plan import Plan, Rates
from dwindle.torch.decays import Update, refuse_optimizer
from dwindle.torch.live import LiveGroups
from dwindle.torch.resume import ON_CHANGE, record, resumed_step
from dwindle.units import Horizon, as_horizon

__all__ = ["Controller", "attach"]

_KEY = "dwindle"  # where a saved optimiser carries our state, in its first group


def attach(
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    horizon: Horizon | int,
    *,
    model: torch.nn.Module | None = None,
    on_change: str = "error",
) -> Controller:
    """Make ``optimizer`` follow ``plan`` over ``horizon``; from here on ``loss.backward(); opt.step(); opt.zero_grad()``.

    Step t takes ``plan.rates(t)``: every group's lr is peak·lr_scale·f(t), and the decay falls on the parameters that the
    mask picks, by their names (``AdamW(model.named_parameters())``, or ``model``) and module kinds (``model``).
    A step is a call of ``optimizer.step()`` that updates: steps skipped by a GradScaler and micro-batches do not count.
    The optimiser's own state_dict carries the step too, so saving the optimiser alone is enough to resume.
    ``on_change``: what a resumed step becomes if the plan or horizon changed; see `Controller.load_state_dict`.

    Raises InvalidValueError for an optimiser that cannot follow a plan exactly or has a decay of its own, and
    ResumeError if it was loaded from a run under another plan. Nothing has changed then.

    >>> from dwindle.decay import Decoupled
    >>> model = torch.nn.Linear(3, 2)
    >>> opt = torch.optim.AdamW(model.named_parameters())
    >>> ctl = attach(opt, Plan(0.1, decay=Decoupled(0.5)), 100)
    >>> for _ in range(2):
    ...     model(torch.ones(3)).sum().backward(); opt.step(); opt.zero_grad()
    >>> ctl.step, ctl.lr
    (2, 0.1)
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidValueError(f"optimizer must be a torch.optim optimiser; got {shown(optimizer)}.")
    if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        raise InvalidValueError(
            f"{type(optimizer).__name__} wraps an optimiser and has no hooks; attach to the inner one."
        )
    if not isinstance(plan, Plan):
        raise InvalidValueError(f"plan must be a Plan; got {shown(plan)}. For text use parse(text).")
    if model is not None and not isinstance(model, torch.nn.Module):
        raise InvalidValueError(f"model must be a torch.nn.Module; got {shown(model)}.")
    known("on_change", on_change, ON_CHANGE)
    hooks = optimizer._optimizer_load_state_dict_post_hooks.values()
    if any(isinstance(getattr(hook, "__self__", None), Controller) for hook in hooks):
        raise InvalidValueError("this optimiser already follows a plan; detach() its controller first.")
    return Controller(optimizer, plan, as_horizon(horizon), model, on_change)


class Controller:
    """A plan at work on an optimiser; made by `attach`."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        horizon: Horizon,
        model: torch.nn.Module | None,
        on_change: str,
    ) -> None:
        self.plan, self.horizon, self.on_change = plan, horizon, on_change
        self._optimizer, self._resolved = optimizer, plan.resolve(horizon)
        refuse_optimizer(optimizer, plan)
        found = next((group[_KEY] for group in optimizer.param_groups if _KEY in group), None)
        self._step = 0 if found is None else resumed_step(found, plan, horizon, on_change)
        self._resolved.rates(self._step)  # a schedule of the user's own may raise: before anything changes
        self._groups = LiveGroups(optimizer, plan, self._resolved, model)
        for group in optimizer.param_groups:
            group.pop(_KEY, None)
        self._groups.set_rates(self._step)
        self._update = Update()
        self._depth, self._running, self._idle = 0, False, False
        self._warned: set[str] = set()
        self._loaded: int | None = None
        self._handles = self._hook()

    @property
    def step(self) -> int:
        """The number of updates done, which is the 0-based index of the next one."""
        return self._step

    @property
    def lr(self) -> float:
        """The plan's learning rate for the next update, before any lr_scale."""
        return float(self._resolved.lr(self._step))

    def rates(self, name: str | None = None) -> Rates:
        """Return (lr, shrink, l2) of the next update for the parameter ``name``; by default for one that decays."""
        if name is None:
            return self._resolved.rates(self._step)
        placed = {a.name: a for a in self._groups.assignments}
        if name not in placed:
            raise UnknownNameError(f"parameter {name!r} is not known; {suggestion(name, placed)}")
        return self._resolved.rates(self._step, lr_scale=placed[name].lr_scale, decays=placed[name].decays)

    def report(self) -> str:
        """Return the decay, then one line per parameter: its name, whether it decays, and which rule said so."""
        rows = []
        for a in self._groups.assignments:
            why = a.rule if a.lr_scale == 1.0 else f"{a.rule}; lr × {a.lr_scale:g}"
            rows.append(Decision(a.name, a.decays, why, a.tied_to))
        return f"{self.plan.decay or 'no decay'}\n{report(rows)}"

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the plan's text and the horizon, as plain JSON values."""
        return record(self._step, self.plan, self.horizon)

    def load_state_dict(self, state: Mapping[str, Any], *, on_change: str | None = None) -> None:
        """Go on from a saved state, before or after the optimiser loads its own: the order does not matter.

        A plan or horizon other than the saved one is a ResumeError that names the difference, unless ``on_change``
        (here or in `attach`) says "keep" (the step stays), "rescale" (the same share of the run) or "restart" (step 0).
        The plan given to `attach` is followed in any case; the saved learning rates never win.
        """
        self._step = resumed_step(state, self.plan, self.horizon, self.on_change if on_change is None else on_change)
        self._groups.set_rates(self._step)

    def detach(self) -> None:
        """Let the optimiser go: hooks removed, and its groups, lr and weight_decay as they were before `attach`."""
        for handle in self._handles:
            handle.remove()
        self._update.forget()
        if self._handles:
            self._groups.restore()
        self._handles = []

    def __repr__(self) -> str:
        return f"Controller({type(self._optimizer).__name__}, '{self.plan}', step {self._step} of {self.horizon.steps})"

    def _hook(self) -> list[Any]:
        # What a step hook writes differs each time: traced into a compiled graph it would be compiled anew each time.
        outside: Callable[[Any], Any] = torch.compiler.disable
        return [
            self._optimizer.register_step_pre_hook(outside(self._before_step)),
            self._optimizer.register_step_post_hook(outside(self._after_step)),
            self._optimizer.register_state_dict_pre_hook(lambda _: self._groups.adopt()),
            self._optimizer.register_state_dict_post_hook(self._after_saving),
            self._optimizer.register_load_state_dict_pre_hook(self._before_loading),
            self._optimizer.register_load_state_dict_post_hook(self._after_loading),
        ]

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._running and _steps_running(optimizer) > 1:
            self._depth += 1  # a subclass whose step calls its parent's: one update, two hooks
            return None
        self._depth, self._running = 0, True
        self._update.forget()
        self._groups.adopt()
        # A fused optimiser under a GradScaler is called for skipped steps too, and skips inside.
        found_inf = getattr(optimizer, "found_inf", None)
        self._idle = (found_inf is not None and bool(found_inf)) or self._groups.is_dry_run()
        if self._idle:
            return None
        self._warn()
        self._groups.set_rates(self._step)
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if not callable(closure) or set(self._groups.ways) <= {"none", "own"}:
            self._groups.begin(self._update, self._step)
            return None
        # The closure computes the gradient: it must see the weights before they decay.
        wrapped = self._closing(closure)
        return ((args[0], wrapped, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": wrapped})

    def _closing(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        called = False

        def wrapped() -> Any:
            nonlocal called
            if called:
                raise InvalidValueError(
                    f"{type(self._optimizer).__name__} calls its closure more than once in a step, so no decay beside it "
                    "is exact; add the penalty to the loss and use decay=None."
                )
            called = True
            loss = closure()
            self._groups.begin(self._update, self._step)
            return loss

        return wrapped

    def _after_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._depth:
            self._depth -= 1
            return
        self._running = False
        if not self._idle:
            self._update.after()
            self._step += 1

    def _warn(self) -> None:
        if self._step >= self.horizon.steps and "horizon" not in self._warned:
            self._warned.add("horizon")
            warnings.warn(
                f"step {self._step} is beyond the horizon of {self.horizon.steps} steps; the schedule goes on as it ends.",
                stacklevel=2,
            )
        changed = self._groups.foreign_lr()
        if changed and "lr" not in self._warned:
            self._warned.add("lr")
            warnings.warn(
                f"the learning rate was changed from {changed[0]:g} to {changed[1]:g} by something else, such as an LR "
                "scheduler; the plan owns it and sets it back. Remove the scheduler, or detach().",
                stacklevel=2,
            )

    def _after_saving(self, optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
        first, *others = self._groups.as_saved(state["param_groups"])
        return {**state, "param_groups": [{**first, _KEY: self.state_dict()}, *others]}

    def _before_loading(self, optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
        self._groups.adopt()
        saved = [dict(group) for group in state["param_groups"]]
        found = [group.pop(_KEY) for group in saved if _KEY in group]
        self._loaded = resumed_step(found[0], self.plan, self.horizon, self.on_change) if found else None
        return {**state, "param_groups": self._groups.as_live(saved)}

    def _after_loading(self, optimizer: Any) -> None:
        self._step = self._step if self._loaded is None else self._loaded
        self._loaded = None
        self._groups.set_rates(self._step)


def _steps_running(optimizer: Any) -> int:
    """Return how many calls of ``optimizer.step`` are under way, one inside the other."""
    frame, running = sys._getframe(1), 0
    while frame is not None:
        if frame.f_code.co_name == "wrapper" and "pre_hook" in frame.f_code.co_varnames:
            running += frame.f_locals.get("self") is optimizer
        frame = frame.f_back  # type: ignore[assignment]
    return running
