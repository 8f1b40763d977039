"""The evidence of a study as plain data: contenders, the winner as text and code, and what it was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dwindle.decay import L2
from dwindle.errors import NoExactMapError
from dwindle.foreign import write
from dwindle.plan import Plan
from dwindle.population import SGD, Adam
from dwindle.studies.diagnosis import LOOKED_AT, diagnosis
from dwindle.studies.evidence import curve_mean
from dwindle.studies.records import Record, of_size
from dwindle.studies.space import Candidate
from dwindle.studies.task import Task
from dwindle.text import to_toml

__all__ = ["choice_row", "contender_row", "evidence", "trial_row", "winner_row"]


def trial_row(id_: int, candidate: Candidate, record: Record) -> dict[str, Any]:
    """Return what is shown of a training of the sweep."""
    names = ("lam", "peak", "schedule", "plan", "batch_size", "seed", "diverged", "stopped_at", "final")
    curves = ("epoch", "train_loss", "validation_loss", "validation_accuracy")
    return {
        "id": id_, **{name: record[name] for name in names}, "params": candidate.params,
        "curve": {name: record["curve"][name] for name in curves},
    }  # fmt: skip


def choice_row(candidate: Candidate, folds: Sequence[Sequence[Record]], swept: Record) -> dict[str, Any]:
    """Return what a candidate of the shortlist did from the seeds of the choice, and what was ``swept`` of it, on each fold."""
    records = [record for fold in folds for record in fold]
    losses = [[record["final"]["validation_loss"] for record in fold] for fold in folds]
    row = {
        **_what(candidate), "seeds": [record["seed"] for record in records],
        "validation_loss": [value for fold in losses for value in fold],
    }  # fmt: skip
    if len(folds) > 1:
        before = swept.get("by_fold", [None] * len(folds))  # None: let go on the first
        row["by_fold"] = [[value, *fold] for value, fold in zip(before, losses, strict=True)]
    return row


def contender_row(role: str, candidate: Candidate, records: Sequence[Record], task: Task) -> dict[str, Any]:
    """Return what one of those compared did from the seeds of the report."""
    task = of_size(task, candidate)
    run = task.horizon
    curves = [record["curve"] for record in records]
    steps = np.rint(np.array(curves[0]["epoch"]) * task.steps_per_epoch).astype(int)
    taken = np.minimum(steps, run.steps - 1)  # the step that comes next; after the last, the last
    finals = {name: [record["final"][name] for record in records] for name in ("train_loss", "validation_loss")}
    others = records[0].get("metrics", {}).get("test", {})
    return {
        "role": role, **_what(candidate), "seeds": [record["seed"] for record in records],
        **{name: [record[name] for record in records] for name in ("test_loss", "test_accuracy")}, **finals,
        "gap": [_gap(record["final"]) for record in records],
        "metrics": {name: [record["metrics"]["test"][name] for record in records] for name in others},
        "curves": {
            "epoch": curves[0]["epoch"],
            **{name: curve_mean([c[name] for c in curves]) for name in ("train_loss", "validation_loss", "weight_norm")},
            "lr": candidate.plan.lrs(run)[taken].tolist(),
            "decay_share": candidate.plan.sgd_shares(run)[taken].tolist(),  # as in share_left: l2 as plain SGD has it
            "share_left": candidate.plan.shares_left(run)[steps].tolist(),
        },
    }  # fmt: skip


def winner_row(candidate: Candidate, task: Task) -> dict[str, Any]:
    """Return the winner as text, TOML and code."""
    return {
        **_what(candidate), "toml": to_toml(candidate.plan), "code": _code(candidate.plan, of_size(task, candidate)),
        "batch_size": candidate.batch_size,
    }  # fmt: skip


def evidence(tasks: Sequence[Task], settings: list[dict[str, Any]], seed: int, seconds: float) -> dict[str, Any]:
    """Return the evidence of a study of these ``tasks``: what is trained is that of the first, and said where it differs."""
    task, data = tasks[0], tasks[0].data
    for setting, other in zip(settings, tasks, strict=True):
        if (said := _trained(other)) != _trained(task):
            setting["trained"] = said
    return {
        "format": "dwindle-evidence/1", "title": f"Study of {Path(data.provenance.source.split(chr(44))[0]).name}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds, "seed": seed,
        "environment": {
            "dwindle": version("dwindle"), "python": platform.python_version(), "numpy": np.__version__,
            "platform": platform.platform(), "cores": os.cpu_count() or 1,
        },
        "data": {
            "name": data.name, "provenance": [data.provenance.source, *data.provenance.steps], "train": len(data.train_x),
            "validation": len(data.validation_x), "test": len(data.test_x),
            "classes": len(data.classes) if data.task == "classification" else None, "task": data.task,
        },
        "model": task.model_text, "optimiser": str(task.optimiser), "batch_size": task.batch_size, "epochs": task.epochs,
        "steps": task.horizon.steps, "settings": settings,
        "findings": [finding.as_dict() for finding in diagnosis(settings)], "looked_at": [LOOKED_AT],
    }  # fmt: skip


def _trained(task: Task) -> str:
    return (
        f"{task.model_text}; {task.optimiser}, {task.epochs:,} epochs in batches of {task.batch_size:,} on "
        f"{len(task.data.train_x):,} examples of {task.data.name}"
    )


def _what(candidate: Candidate) -> dict[str, Any]:
    return {
        "plan": str(candidate.plan), "lam": candidate.lam, "peak": candidate.peak, "schedule": str(candidate.schedule),
        "params": candidate.params,
    }  # fmt: skip


def _gap(final: dict[str, float | None]) -> float | None:
    validation, training = final["validation_loss"], final["train_loss"]
    return None if validation is None or training is None else validation - training


def _code(plan: Plan, task: Task) -> dict[str, str]:
    """Return the winner as code: for torch with this library; after Adam as it comes also as plain source of the frameworks."""
    run, settings, name, o = task.horizon, "", "Adam" if isinstance(plan.decay, L2) else "AdamW", task.optimiser
    if isinstance(o, SGD):
        settings, name = f", lr=0.1, momentum={o.momentum}, nesterov={o.nesterov}", "SGD"
    elif o != Adam():
        settings = f", betas=({o.beta1}, {o.beta2}), eps={o.eps}"
    code = {
        "torch with dwindle": (
            "import dwindle as dw\nimport torch\n\n"
            f'plan = dw.parse("{plan}")\n'
            f"run = dw.Horizon(epochs={run.epochs}, steps_per_epoch={run.steps_per_epoch})\n"
            f"optimiser = torch.optim.{name}(model.named_parameters(){settings})\n"
            "dw.torch.attach(optimiser, plan, run)  # from here: loss.backward(); optimiser.step(); optimiser.zero_grad()\n"
        )
    }
    for peer in () if settings else ("torch", "optax", "keras", "hf"):  # written for the defaults of Adam
        with suppress(NoExactMapError):
            code[f"{peer} alone"] = write(plan, peer, run, optimizer=name.lower() if peer == "optax" else name)
    return code
