"""LightningCLI's config.yaml: classes by their path, with their arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dwindle.errors import DwindleError, InvalidValueError, ParseError, shown
from dwindle.findings.configs.config import Config
from dwindle.findings.configs.families import is_adaptive
from dwindle.findings.configs.run import Run
from dwindle.findings.configs.values import PRECISIONS, is_number
from dwindle.findings.setups.wording import BY_EPOCHS
from dwindle.foreign import OPTIMIZERS, read, read_optimizer
from dwindle.plan import Plan
from dwindle.setup import Scheduler, Setup, sampled, setup_of_plan
from dwindle.units import Horizon

__all__ = ["is_lightning", "of_lightning"]


def is_lightning(given: Mapping[str, Any]) -> bool:
    """Return whether an optimizer is given by its class_path, as LightningCLI writes it."""
    return any(
        isinstance(part.get("optimizer"), Mapping) and "class_path" in part["optimizer"] for part in _parts(given)
    )


def _parts(given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield given
    for key in ("fit", "model"):
        if isinstance(given.get(key), Mapping):
            yield given[key]


def of_lightning(given: Mapping[str, Any], run: Run) -> Config:
    """Return what a LightningCLI config sets up; raise InvalidValueError for an optimiser that is none of torch's."""
    part = next(p for p in _parts(given) if isinstance(p.get("optimizer"), Mapping) and "class_path" in p["optimizer"])
    path, arguments = _called(part["optimizer"])
    name = path.rpartition(".")[2]
    unread: list[str] = []
    if name not in OPTIMIZERS["torch"]:
        raise InvalidValueError(
            f"optimizer {shown(path)} is none of torch's; those that are read: {', '.join(OPTIMIZERS['torch'])}."
        )
    plan = read_optimizer("torch", name, arguments)
    trainer: Mapping[str, Any] = next(
        (p["trainer"] for p in _parts(given) if isinstance(p.get("trainer"), Mapping)), {}
    )
    horizon = run.horizon(trainer.get("max_steps"), trainer.get("max_epochs"))
    devices = trainer.get("devices")
    nodes = trainer.get("num_nodes") or 1
    fields = run.fields(
        optimizer=name, adaptive=is_adaptive(name), accumulation=trainer.get("accumulate_grad_batches"),
        processes=devices * nodes if isinstance(devices, int) and devices > 0 else None,
        dtype=PRECISIONS.get(str(trainer.get("precision")), "float32"),
    )  # fmt: skip
    setups = [setup_of_plan(plan, None, **fields, schedule_known=False)]
    scheduler = part.get("lr_scheduler") or next(
        (p["lr_scheduler"] for p in _parts(given) if p.get("lr_scheduler")), None
    )
    looked = ["optimizer"]
    if isinstance(scheduler, Mapping) and "class_path" in scheduler:
        looked.append("lr_scheduler")
        setups += _scheduled(plan, scheduler, trainer.get("max_epochs"), horizon, fields, unread)
    elif horizon is not None:
        setups = [setup_of_plan(plan, horizon, **fields)]
    if horizon is None:
        unread.append("the steps of the run: say --steps-per-epoch, or --steps")
    looked += [f"trainer.{key}" for key in ("max_epochs", "max_steps", "precision", "devices") if key in trainer]
    return Config("LightningCLI config", tuple(setups), tuple(looked), tuple(unread))


def _scheduled(
    plan: Plan,
    given: Mapping[str, Any],
    epochs: Any,
    horizon: Horizon | None,
    fields: dict[str, Any],
    unread: list[str],
) -> Iterator[Setup]:
    """Yield the set-up of the CLI's scheduler, which Lightning steps once an epoch; in epochs where no step is known."""
    path, arguments = _called(given)
    name = path.rpartition(".")[2]
    try:
        found = read("torch", name, arguments, base_lr=plan.peak)
    except DwindleError as error:
        unread.append(f"the scheduler {name}: {error}")
        return
    if not isinstance(found, Plan):
        return
    key = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps", "PolynomialLR": "total_iters"}.get(name, "")
    length = arguments.get(key) if isinstance(arguments.get(key), int) else None
    by_epochs = horizon is None or horizon.steps_per_epoch is None
    unsaid = tuple[str, ...]()
    if by_epochs and is_number(epochs) and epochs > 0:
        horizon, unsaid = Horizon(steps=max(1, round(epochs)), steps_per_epoch=1), (BY_EPOCHS,)
    if horizon is None:
        return
    epoch = horizon.steps_per_epoch or 1
    counts = sampled(max(1, -(-horizon.steps // epoch)))
    lr = found.peak * found.schedule.resolve(horizon)(counts.astype("int64"))
    scheduler = Scheduler(
        name, counts, [lr, lr], length=length, said=f"{key}={length}" if length else "", per_update=1.0 / epoch,
        why="Lightning's interval 'epoch'", by_design=name in ("CosineAnnealingWarmRestarts", "CyclicLR"),
    )  # fmt: skip
    shape = setup_of_plan(plan if not by_epochs else replace(plan, decay=None), None, **fields)
    yield replace(shape, scheduler=scheduler, horizon=horizon, plan=None, schedule_known=True, unread=unsaid)


def _called(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    path, arguments = given["class_path"], given.get("init_args") or {}
    if not isinstance(path, str) or not isinstance(arguments, Mapping):
        raise ParseError(f"class_path must be text and init_args a mapping; got {shown(path)}, {shown(arguments)}.")
    return path, {key: value for key, value in arguments.items() if key not in ("params", "optimizer")}
