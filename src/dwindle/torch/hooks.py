"""One optimiser step seen from its hooks: the rates are written before it, the decay falls around it, updates are counted."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch

from dwindle.errors import InvalidValueError
from dwindle.torch.compiled import noticing
from dwindle.torch.decays import Update
from dwindle.torch.live import LiveGroups

__all__ = ["StepHooks"]

_TO_PLACE = (
    "to go on from there load it first and say attach(..., step=...), or load the controller's state; for a new beginning "
    "say attach(..., step=0)."
)
_outside: Callable[[Any], Any] = torch.compiler.disable  # not part of a compiled graph


class StepHooks:
    """The hooks around the step of one optimiser, whose live groups are ``groups``.

    ``step`` is the number of updates done, ``ends`` the step from which the run is over, ``unplaced`` a reason to doubt
    that this step is the optimiser's own, ``own`` the ids of these hooks.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, groups: LiveGroups) -> None:
        self.step, self.ends, self.unplaced = 0, 0, ""
        self.own: set[int] = set()
        self._optimizer, self._groups, self._update = optimizer, groups, Update(groups.residues)
        self._depth, self._running, self._idle, self._called = 0, False, False, False
        self._begin: Callable[[], None] = _outside(self._after_closure)
        self._warned: set[str] = set()

    def go_on(self, step: int, ends: int) -> None:
        """Count from ``step`` on, in a run of ``ends`` steps; beyond another end is another warning."""
        if ends != self.ends:
            self._warned.discard("horizon")
        self.step, self.ends = step, ends

    def register(self) -> list[Any]:
        """Put the hooks into the optimiser; return their handles."""
        handles = [
            self._optimizer.register_step_pre_hook(noticing(self._before_step)),
            self._optimizer.register_step_post_hook(_outside(self._after_step)),
        ]
        self.own = {handle.id for handle in handles}
        return handles

    def forget(self) -> None:
        """Drop what a step that failed has left."""
        self._update.forget()

    def go_on_alike(self) -> bool:
        """Whether this update differs from the last in nothing but its number, so that `enter` would do nothing."""
        return self.step < self.ends and not self.unplaced and self._groups.undisturbed()

    def enter(self) -> bool:
        """Make ready for an update that the optimiser does by itself; return whether it is one, and counts."""
        self._update.forget()
        self._groups.adopt()
        self._groups.retype()
        if self._groups.is_dry_run():
            return False
        self._warn()
        return True

    def before(self, optimizer: Any) -> None:
        """Do what the hook before torch's own step does."""
        self._before_step(optimizer, (optimizer,), {}, compiled=False)

    def after(self, optimizer: Any) -> None:
        """Do what the hook after torch's own step does."""
        self._after_step(optimizer, (optimizer,), {})

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], compiled: bool) -> Any:
        if self._running and _steps_running(optimizer) > 1:
            self._depth += 1  # a subclass whose step calls its parent's: one update, two hooks
            return None
        self._depth, self._running = 0, True
        self._update.forget()
        self._groups.adopt()
        self._groups.retype()
        # A fused optimiser under a GradScaler is called for skipped steps too, and skips inside.
        found_inf = getattr(optimizer, "found_inf", None)
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        dry = not callable(closure) and self._groups.is_dry_run()  # a closure has the gradients still to make
        self._idle = dry or (found_inf is not None and bool(found_inf))
        if dry:
            self._groups.prepare()
        if self._idle:
            return None
        self._warn()
        self._groups.settle(compiled)
        self._groups.set_rates(self.step)
        if not callable(closure) or set(self._groups.ways) <= {"none", "own"}:
            self._groups.begin(self._update, self.step)
            return None
        # The closure computes the gradient: it must see the weights before they decay.
        wrapped = self._closing(closure)
        return ((args[0], wrapped, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": wrapped})

    def _closing(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        begin, self._called = self._begin, False  # a compiled closure keeps its graph while these stay the same

        def wrapped() -> Any:
            loss = closure()
            begin()
            return loss

        return wrapped

    def _after_closure(self) -> None:
        if self._called:
            raise InvalidValueError(
                f"{type(self._optimizer).__name__} calls its closure more than once in a step, so no decay beside it "
                "is exact; add the penalty to the loss and use decay=None."
            )
        self._called = True
        self._groups.begin(self._update, self.step)

    def _after_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._depth:
            self._depth -= 1
            return
        self._running = False
        if self._idle:
            self._groups.residues.settle()
        else:
            self._update.after()
            self.step += 1

    def _warn(self) -> None:
        if self.step >= self.ends:
            self._warn_once(
                "horizon",
                f"step {self.step} is beyond the horizon of {self.ends} steps; the schedule goes on as it ends.",
            )
        if self.unplaced:
            self._warn_once("place", f"{self.unplaced}, and the plan is at step {self.step}; {_TO_PLACE}")
        changed = self._groups.overruled()
        if changed is not None:
            name, ours, found = changed
            whose = "such as an LR scheduler" if name == "learning rate" else "by hand or by a callback"
            self._warn_once(
                name,
                f"the {name} was changed from {ours:g} to {found:g} by something else, {whose}; the plan owns it and sets it "
                "back. Remove what changes it, or detach().",
            )
        if "gradient" in self._groups.ways and self._is_followed():
            self._warn_once(
                "hook",
                "a step pre-hook was registered after attach: the gradients that it sees have their l2 part already. "
                "Register it first, then attach.",
            )

    def _warn_once(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(message, stacklevel=3)

    def _is_followed(self) -> bool:
        """Whether a pre-hook that is not ours comes after ours."""
        hooks = self._optimizer._optimizer_step_pre_hooks
        last = next(reversed(hooks))
        return last not in self.own and not getattr(hooks[last], "__module__", "").startswith("dwindle.")


def _steps_running(optimizer: Any) -> int:
    """Return how many calls of ``optimizer.step`` are under way, one inside the other."""
    frame, running = sys._getframe(1), 0
    while frame is not None:
        if frame.f_code.co_name == "wrapper" and "pre_hook" in frame.f_code.co_varnames:
            running += frame.f_locals.get("self") is optimizer
        frame = frame.f_back  # type: ignore[assignment]
    return running
