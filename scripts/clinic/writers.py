"""A training as a log, written by the tool that people use: each writer takes rows in time order and a path."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from .training import Trained

os.environ.setdefault("KERAS_BACKEND", "jax")
Row = dict[str, float]


@dataclass(frozen=True)
class View:
    """What of a run is logged, and by which tool: every so many steps the last or the mean loss; which columns; their names."""

    tool: str = "csv"
    every: int = 1
    how: str = "last"
    validation: bool = True
    accuracy: bool = False
    lr: bool = True
    norms: bool = False
    decay: bool = False
    sparse: bool = True
    late: int = 0  # 1: the rate of the next step is logged, as Trainers did that stepped the scheduler first
    names: dict[str, str] = field(default_factory=dict)
    digits: int = 6


def rows_of(run: Trained, view: View) -> list[Row]:
    """Return the rows in time order: those of the training, and after them those of an evaluation at the same place."""
    evaluated = {int(e["row"]): e for e in run.evaluated}
    rows: list[Row] = []
    epochs = [s / run.per_epoch for s in run.step]
    since = 0
    for i, step in enumerate(run.step, 1):
        at = i - 1
        if step % view.every == 0 or i == len(run.step):
            loss = run.loss[at] if view.how == "last" else float(np.mean(run.loss[since:i]))
            row: Row = {"step": step, "epoch": epochs[at], "loss": loss}
            if view.lr:
                row["lr"] = run.lr[min(at + view.late, len(run.lr) - 1)]
            if view.norms:
                row |= {"grad_norm": run.grad_norm[at], "weight_norm": run.weight_norm[at]}
            if view.decay:
                row["weight_decay"] = run.job.decay
            rows.append(row)
            since = i
        if view.validation and i in evaluated:
            extra: Row = {"step": step, "epoch": epochs[at], "val_loss": evaluated[i]["val"]}
            if view.accuracy:
                extra["val_accuracy"] = evaluated[i]["val_accuracy"]
            rows.append(extra)
    return rows


def epochs_of(run: Trained, view: View) -> list[Row]:
    """Return a row an epoch: the mean loss, the last rate and, if asked for, the validation loss at its end."""
    rows: list[Row] = []
    since = 0
    for e in run.evaluated:
        end = int(e["row"])
        row: Row = {"loss": float(np.mean(run.loss[since:end]))}
        if view.lr:
            row["learning_rate"] = run.lr[end - 1]
        if view.validation:
            row["val_loss"] = e["val"]
        if view.accuracy:
            row["val_accuracy"] = e["val_accuracy"]
        if view.decay:
            row["weight_decay"] = run.job.decay
        rows.append(row)
        since = end
    return rows


def write(run: Trained, view: View, folder: Path, name: str) -> str:
    """Write the log into ``folder``; return its path there, compressed where that pays."""
    path = {
        "csv": lambda: _csv(run, view, folder / f"{name}.csv"),
        "jsonl": lambda: _jsonl(run, view, folder / f"{name}.jsonl"),
        "keras": lambda: _keras(run, view, folder / f"{name}.csv"),
        "lightning": lambda: _lightning(run, view, folder / name / "metrics.csv"),
        "hf": lambda: _hf(run, view, folder / name / "trainer_state.json"),
        "tensorboard": lambda: _tensorboard(run, view, folder / name),
    }[view.tool]()
    if path.stat().st_size > 8_000:
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        path.unlink()
        path = packed
    return str(path.relative_to(folder))


def _rounded(rows: list[Row], view: View) -> list[Row]:
    return [{k: v if k == "step" else float(f"{v:.{view.digits}g}") for k, v in row.items()} for row in rows]


def _csv(run: Trained, view: View, path: Path) -> Path:
    """Rows of the csv module; of a sparse log training and validation stand in rows of their own."""
    rows = _rounded(rows_of(run, view), view)
    if not view.sparse:
        merged: list[Row] = []
        for row in rows:
            if merged and merged[-1]["step"] == row["step"] and "loss" not in row:
                merged[-1] |= row
            else:
                merged.append(dict(row))
        rows = merged
    rows = [{view.names.get(k, k): v for k, v in row.items()} for row in rows]
    keys = list(dict.fromkeys(k for row in rows for k in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, keys, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _jsonl(run: Trained, view: View, path: Path) -> Path:
    rows = _rounded(rows_of(run, view), view)
    path.write_text("".join(json.dumps({view.names.get(k, k): v for k, v in row.items()}) + "\n" for row in rows))
    return path


def _keras(run: Trained, view: View, path: Path) -> Path:
    import keras

    logger = keras.callbacks.CSVLogger(str(path))
    logger.set_model(SimpleNamespace(stop_training=False))
    logger.on_train_begin()
    for epoch, row in enumerate(epochs_of(run, view)):
        logger.on_epoch_end(epoch, {view.names.get(k, k): v for k, v in row.items()})
    logger.on_train_end()
    return path


def _lightning(run: Trained, view: View, path: Path) -> Path:
    """The calls that Trainer and LearningRateMonitor make: training, rate and validation one call each, steps from 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning.pytorch.loggers import CSVLogger
    optimizer = {"sgd": "SGD", "momentum": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}[
        run.job.optimizer
    ]
    with tempfile.TemporaryDirectory() as temporary:
        logger = CSVLogger(temporary, "run", 0)
        for row in rows_of(run, view):
            step, epoch = int(row["step"]) - 1, int((row["step"] - 1) // run.per_epoch)
            if "lr" in row:
                logger.log_metrics({f"lr-{optimizer}": row["lr"]}, step)
            if "loss" in row:
                norms = {k: row[k] for k in ("grad_norm", "weight_norm", "weight_decay") if k in row}
                logger.log_metrics({"train_loss": row["loss"], "epoch": epoch, **norms}, step)
            else:
                named = {k: row[k] for k in ("val_loss", "val_accuracy") if k in row}
                logger.log_metrics({**named, "epoch": epoch}, step)
        logger.save()
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(logger.log_dir) / "metrics.csv", path)
    return path


def _hf(run: Trained, view: View, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.trainer_callback import TrainerState
    history: list[dict[str, float]] = []
    for row in rows_of(run, view):
        both = {"epoch": round(row["epoch"], 4), "step": int(row["step"])}
        if "loss" in row:
            named = {"loss": round(row["loss"], 4), "grad_norm": run.grad_norm[run.step.index(int(row["step"]))]}
            history.append({**named, **({"learning_rate": row["lr"]} if "lr" in row else {}), **both})
        else:
            extra = {"eval_accuracy": row["val_accuracy"]} if "val_accuracy" in row else {}
            history.append({"eval_loss": row["val_loss"], **extra, "eval_runtime": 0.31, **both})
    history.append(
        {"epoch": both["epoch"], "step": both["step"], "train_loss": float(np.mean(run.loss)), "train_runtime": 9.1}
    )
    state = TrainerState(
        epoch=both["epoch"], global_step=both["step"], max_steps=run.job.steps, logging_steps=view.every,
        num_train_epochs=-(-run.job.steps // run.per_epoch), log_history=history,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    state.save_to_json(str(path))
    return path


def _tensorboard(run: Trained, view: View, folder: Path) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    tags = {"loss": "train/loss", "val_loss": "val/loss", "val_accuracy": "val/accuracy", "lr": "train/lr"}
    with tempfile.TemporaryDirectory() as temporary:
        writer = SummaryWriter(temporary)
        for i, row in enumerate(rows_of(run, view)):
            for key, value in row.items():
                if key not in ("step", "epoch"):
                    writer.add_scalar(view.names.get(key, tags.get(key, key)), value, int(row["step"]), 1.7e9 + i)
        writer.close()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "events.out.tfevents.1700000000.clinic.1.0"
        shutil.copy(next(Path(temporary).glob("events*")), path)
    return path
