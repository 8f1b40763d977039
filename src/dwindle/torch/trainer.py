"""Hugging Face's Trainer under a plan: the pair (optimizer, scheduler) that it takes, of which the scheduler only reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from dwindle.torch.attach import Controller, attach

__all__ = ["PlanScheduler", "pair"]


class PlanScheduler:
    """What a loop with a scheduler in it may call, beside an optimiser that follows a plan already: ``step`` does nothing.

    The state is the controller's. Made by `pair`; ``controller`` is what `attach` returned.
    """

    def __init__(self, controller: Controller, optimizer: torch.optim.Optimizer) -> None:
        self.controller, self._last = controller, controller.lr
        outside: Callable[[Any], Any] = torch.compiler.disable
        optimizer.register_step_pre_hook(outside(self._note))

    def _note(self, *_: Any) -> None:
        self._last = self.controller.lr

    @property
    def last_epoch(self) -> int:
        """The number of updates done, by the name that schedulers have for it."""
        return self.controller.step

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the optimiser's own step moved the plan on."""

    def get_last_lr(self) -> list[float]:
        """Return the plan's learning rate of the last update, before any lr_scale, as a list of one."""
        return [self._last]

    def state_dict(self) -> dict[str, Any]:
        """Return the controller's state, as plain JSON values."""
        return self.controller.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, before or after the optimiser loads its own."""
        self.controller.load_state_dict(state)
        self._last = self.controller.lr


def pair(optimizer: Any, plan: Any, horizon: Any, **options: Any) -> tuple[Any, PlanScheduler]:
    """Attach ``plan`` and return (optimizer, scheduler): ``Trainer(..., optimizers=pair(opt, plan, run, model=model))``.

    The arguments are those of `attach`. The horizon counts optimiser updates, what Trainer calls global steps: with
    accumulation ceil(batches per epoch / gradient_accumulation_steps)·epochs. Trainer's own ``learning_rate``,
    ``warmup_steps``, ``lr_scheduler_type`` and ``weight_decay`` have no effect then; it logs the plan's rate, and a
    checkpoint has the plan's step in ``optimizer.pt`` and in ``scheduler.pt``.

    Where Trainer takes no pair (``model_init``, FSDP), build it when Trainer knows the number of steps::

        class Planned(Trainer):
            def create_scheduler(self, num_training_steps, optimizer=None):
                if self.lr_scheduler is None:
                    _, self.lr_scheduler = pair(self.optimizer, plan, num_training_steps, model=self.model)
                return self.lr_scheduler

    >>> from dwindle.plan import Plan
    >>> from dwindle.schedule import linear
    >>> weight = torch.nn.Parameter(torch.ones(2, 2))
    >>> opt, sched = pair(torch.optim.SGD([weight]), Plan(0.5, linear()), 10)
    >>> for _ in range(6):
    ...     weight.sum().backward(); opt.step(); sched.step()
    >>> sched.get_last_lr(), sched.last_epoch
    ([0.25], 6)
    """
    controller = attach(optimizer, plan, horizon, **options)
    inner = optimizer.optimizer if type(optimizer).__name__ == "AcceleratedOptimizer" else optimizer
    return optimizer, PlanScheduler(controller, inner)
