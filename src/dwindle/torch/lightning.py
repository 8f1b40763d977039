"""Lightning under a plan: a callback that attaches it when fit starts, logs it, and keeps its step in the checkpoint."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from dwindle.errors import InvalidValueError, MissingExtraError, ResumeError, flag, known_keys, shown
from dwindle.plan import Plan
from dwindle.torch.attach import Controller, attach
from dwindle.units import Horizon

__all__ = ["FollowPlan"]

_PACKAGES = (
    "lightning.pytorch",
    "pytorch_lightning",
)  # one and the same by two names; either Trainer takes the other's


def _callback() -> Any:
    """Return the base class of callbacks, of the package that is in use already if one is."""
    for package in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(package).Callback
        except ImportError:
            continue
    raise MissingExtraError(
        "lightning is not installed; FollowPlan is a callback of its Trainer. pip install lightning"
    )


Callback: Any = _callback()
_OPTIONS = ("model", "feedback", "on_change", "compensated", "step")  # of `attach`


class FollowPlan(Callback):  # type: ignore[misc]  # a class found at run time
    """``Trainer(callbacks=[FollowPlan(plan)])``: every optimiser of the module follows ``plan``, step by step.

    ``configure_optimizers`` returns optimisers and no scheduler. ``plan`` is one for all of them, or a list with one for
    each. ``horizon`` is by default Trainer's own count of optimiser steps, accumulation counted, with its steps per epoch,
    so that times such as ``5ep`` are understood. ``options`` are those of `attach`. With ``log`` the rates of the next
    update are logged as ``lr``, ``lr/NAME`` for each group of the plan, and ``decay``, the share lr·λ that it takes from
    each weight; for a second optimiser ``1/lr`` and so on. ``controllers`` is what `attach` returned, from fit's start on.
    A further ``fit`` of the same Trainer goes on from the step it has, as Trainer's own count does, over the longer run.

    Raises InvalidValueError at fit's start if a scheduler was configured too, if the length of the run is not known, or if
    there are not as many plans as optimisers; ResumeError if the checkpoint is of another run.

    ::

        trainer = Trainer(max_epochs=10, callbacks=[FollowPlan(plan)])
        trainer.fit(module, data, ckpt_path=path)  # a path: the step comes from the checkpoint

    >>> FollowPlan(Plan(0.1), 100).state_dict()
    {'controllers': []}
    """

    def __init__(
        self, plan: Plan | Sequence[Plan], horizon: Horizon | int | None = None, *, log: bool = True, **options: Any
    ) -> None:
        if not isinstance(plan, Plan | list | tuple) or plan in ([], ()):
            raise InvalidValueError(f"plan must be a Plan, or a list with one for each optimiser; got {shown(plan)}.")
        known_keys("option", options, _OPTIONS)
        self.plan, self.horizon, self.options = plan, horizon, options
        self.log = flag("log", log)
        self.controllers: list[Controller] = []
        self._saved: Sequence[Mapping[str, Any]] | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach the plan to the optimisers as Lightning has just made them."""
        if trainer.lr_scheduler_configs:
            raise InvalidValueError(
                f"configure_optimizers returned {type(trainer.lr_scheduler_configs[0].scheduler).__name__} too, and the "
                "plan owns the learning rate; return the optimiser alone."
            )
        earlier = self.controllers
        for controller in earlier:
            controller.detach()
        plans = self._plans(len(trainer.optimizers))
        horizon = _horizon(trainer) if self.horizon is None else self.horizon
        self.controllers = [
            attach(optimizer, plan, horizon, **{"model": pl_module, **self.options})
            for optimizer, plan in zip(trainer.optimizers, plans, strict=True)
        ]
        if self._saved is not None:
            saved, self._saved = self._saved, None
            self._resume(saved)
        elif earlier and trainer.global_step and len(earlier) == len(self.controllers):
            # a further fit of the same Trainer, which goes on counting
            for controller, before in zip(self.controllers, earlier, strict=True):
                controller.load_state_dict(before.state_dict(), on_change="keep")

    def _plans(self, optimizers: int) -> Sequence[Plan]:
        plans = [self.plan] * optimizers if isinstance(self.plan, Plan) else list(self.plan)
        if len(plans) != optimizers:
            raise InvalidValueError(
                f"{len(plans)} plans were given and configure_optimizers returned {optimizers} optimisers; "
                "give one plan for all, or one for each."
            )
        return plans

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Log the rates of the next update."""
        if self.log:
            pl_module.log_dict(self.rates(), on_step=True, on_epoch=False)

    def rates(self) -> dict[str, float]:
        """Return what is logged, by name."""
        named: dict[str, float] = {}
        for i, controller in enumerate(self.controllers):
            lr, shrink, l2 = controller.rates()
            first = f"{i}/" if i else ""
            named |= {f"{first}lr": float(lr), f"{first}decay": float(1.0 - shrink + lr * l2)}
            named |= {f"{first}lr/{group.name}": float(lr * group.lr_scale) for group in controller.plan.groups}
        return named

    def state_dict(self) -> dict[str, Any]:
        """Return every controller's state, as plain JSON values."""
        return {"controllers": [controller.state_dict() for controller in self.controllers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a saved state, before fit starts (Lightning's usual order) or after."""
        saved = state_dict.get("controllers")
        if not isinstance(saved, list):
            raise ResumeError(f"this is not the state of FollowPlan; got {shown(state_dict)}. Take another checkpoint.")
        if self.controllers:
            self._resume(saved)
        else:
            self._saved = saved

    def _resume(self, saved: Sequence[Mapping[str, Any]]) -> None:
        if len(saved) != len(self.controllers):
            raise ResumeError(
                f"the checkpoint has the state of {len(saved)} optimisers and this run has {len(self.controllers)}; "
                "resume with the optimisers that it was saved with."
            )
        for controller, state in zip(self.controllers, saved, strict=True):
            controller.load_state_dict(state)


def _horizon(trainer: Any) -> Horizon:
    """Return the run that ``trainer`` is about to make, in optimiser steps."""
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps) or steps < 1:
        raise InvalidValueError(
            "this Trainer does not know how many steps it will make (max_steps, max_epochs or the data have no end); "
            "give FollowPlan the horizon."
        )
    batches = trainer.num_training_batches
    known = math.isfinite(batches) and batches > 0
    per_epoch = math.ceil(batches / trainer.accumulate_grad_batches) if known else None
    return Horizon(steps=int(steps), steps_per_epoch=per_epoch)
