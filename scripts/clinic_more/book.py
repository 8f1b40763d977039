"""How the trainings of these sets are written down: the tools of scripts/clinic and a few besides."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import fresh
import numpy as np
from clinic.training import Trained
from clinic.writers import View, _rounded, epochs_of, rows_of

from clinic import writers

NAMES = {"momentum": "SGD", "nesterov": "SGD", "heavy": "SGD", "sgd": "SGD", "nadam": "NAdam", "adagrad": "Adagrad", "lion": "Lion",
         "radam": "RAdam", "adamax": "Adamax", "adam95": "Adam", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adam0": "Adam"}  # fmt: skip

NAMES |= fresh.NAMES


@dataclass(frozen=True)
class V(View):
    smooth: str = ""  # "ema" (fastai), "running" (the mean since the epoch began)
    only: str = ""  # "val": no training loss
    first: int = 0  # the first epoch's number
    seldom: int = 1  # an epoch's row only so often
    clock: bool = False  # columns of time and throughput beside
    sep: str = ","
    unit: str = "step"  # "epoch": no column of steps, a fractional epoch instead


def smoothed(run: Trained, how: str) -> list[float]:
    out, mean, since = [], 0.0, 0
    for i, loss in enumerate(run.loss):
        if how == "ema":
            mean = 0.98 * mean + 0.02 * loss
            out.append(mean / (1 - 0.98 ** (i + 1)))
        else:
            if i % run.per_epoch == 0:
                mean, since = 0.0, 0
            mean, since = mean + loss, since + 1
            out.append(mean / since)
    return out


def rows3(run: Trained, view: V):
    if not run.evaluated:
        view = replace(view, validation=False)
    rows = rows_of(run, view)
    if view.only == "val":
        rows = [
            r | ({"lr": run.lr[min(len(run.lr), int(r["step"])) - 1]} if view.lr else {})
            for r in rows
            if "val_loss" in r
        ]
    if view.clock:
        rows = [
            r
            | (
                {
                    "time": round(0.041 * r["step"] + 0.2 * i, 3),
                    "samples_per_second": round(700 + 40 * ((i * 7919) % 13 - 6) / 6, 1),
                }
                if "loss" in r
                else {}
            )
            for i, r in enumerate(rows)
        ]
    if view.unit == "epoch":
        rows = [{k: v for k, v in r.items() if k != "step"} for r in rows]
    return rows


def write(run: Trained, view: View, folder: Path, name: str) -> str:
    if not isinstance(view, V):
        view = V(**vars(view))
    if view.smooth:
        run = replace(run, loss=smoothed(run, view.smooth))
        view = replace(view, smooth="")
    own = {
        "rows": _rows,
        "jrows": _jrows,
        "epochs": _epochs,
        "history": _history,
        "wandb": _wandb,
        "lightning": _lightning,
    }.get(view.tool)
    if own is None:
        return writers.write(run, view, folder, name)
    path = own(run, view, folder, name)
    if path.stat().st_size > 8_000:
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        path.unlink()
        path = packed
    return str(path.relative_to(folder))


def _table(rows, path: Path, lineterminator="\n", delimiter=",") -> Path:
    keys = list(dict.fromkeys(k for row in rows for k in row))
    with path.open("w", newline="") as file:
        w = csv.DictWriter(file, keys, lineterminator=lineterminator, delimiter=delimiter)
        w.writeheader()
        w.writerows(rows)
    return path


def _rows(run, view, folder, name):
    rows = [{view.names.get(k, k): v for k, v in r.items()} for r in _rounded(rows3(run, view), view)]
    return _table(rows, folder / f"{name}.{'tsv' if view.sep == chr(9) else 'csv'}", delimiter=view.sep)


def _jrows(run, view, folder, name):
    """Objects by line, as accelerate scripts print them."""
    path = folder / f"{name}.jsonl"
    rows = [{view.names.get(k, k): v for k, v in r.items()} for r in _rounded(rows3(run, view), view)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def _epoch_rows(run, view):
    rows = epochs_of(run, view)
    out = []
    for i, r in enumerate(rows):
        if i % view.seldom and i != len(rows) - 1:
            continue
        if view.only == "val":
            r.pop("loss")
        out.append(
            {"epoch": i + view.first, **{view.names.get(k, k): float(f"{v:.{view.digits}g}") for k, v in r.items()}}
        )
    return out


def _epochs(run, view, folder, name):
    """A table an epoch, as timm's summary.csv or fastai's CSVLogger is."""
    return _table(_epoch_rows(run, view), folder / f"{name}.csv")


def _history(run, view, folder, name):
    """Keras' History.history as JSON: a list a column."""
    rows = _epoch_rows(run, view)
    columns = {k: [r[k] for r in rows] for k in rows[0] if k != "epoch"}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(columns) + "\n")
    return path


def _wandb(run, view, folder, name):
    """What W&B exports of a run's history: its step and clock, empty cells where nothing was logged."""
    tags = {
        "loss": "train/loss",
        "val_loss": "val/loss",
        "val_accuracy": "val/accuracy",
        "lr": "train/lr",
        "epoch": "epoch",
        "grad_norm": "train/grad_norm",
        "weight_norm": "train/weight_norm",
        "weight_decay": "train/weight_decay",
    }
    rows = []
    for i, r in enumerate(_rounded(rows3(run, view), view)):
        extra = {"_step": i, "_runtime": round(0.37 * i + 2.1, 2), "_timestamp": 1_760_000_000 + i}
        rows.append(
            extra
            | {"trainer/global_step" if k == "step" else view.names.get(k, tags.get(k, k)): v for k, v in r.items()}
        )
    return _table(rows, folder / f"{name}.csv")


def _lightning(run, view, folder, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning.pytorch.loggers import CSVLogger
    path = folder / name / "metrics.csv"
    with tempfile.TemporaryDirectory() as temporary:
        logger = CSVLogger(temporary, "run", 0)
        for row in rows3(run, view):
            step, epoch = int(row["step"]) - 1, int((row["step"] - 1) // run.per_epoch)
            if "lr" in row:
                logger.log_metrics({f"lr-{NAMES[run.job.optimizer]}": row["lr"]}, step)
            if "loss" in row:
                norms = {k: row[k] for k in ("grad_norm", "weight_norm", "weight_decay") if k in row}
                logger.log_metrics({view.names.get("loss", "train_loss"): row["loss"], "epoch": epoch, **norms}, step)
            elif "val_loss" in row:
                logger.log_metrics(
                    {**{k: row[k] for k in ("val_loss", "val_accuracy") if k in row}, "epoch": epoch}, step
                )
        logger.save()
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(logger.log_dir) / "metrics.csv", path)
    return path
