"""Weights & Biases: a run for each training, its id the training's key; online, or offline with WANDB_MODE=offline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwindle.errors import InvalidValueError
from dwindle.tracking.trackers import package
from dwindle.tracking.training import curves, finals, hyperparameters, title

__all__ = ["Wandb"]


class Wandb:
    """Trainings as runs of the project WANDB_PROJECT, or "dwindle", grouped by study; the files are in ``folder``/wandb.

    What is written is noted in ``folder``/wandb/dwindle-finished.txt; a run cut short is resumed where it stood.

    Raises InvalidValueError where nobody is logged in: W&B would ask for a key in the middle of the study.
    """

    name = "wandb"

    def __init__(self, folder: Path) -> None:
        self._wandb = package("wandb")
        self.folder = folder
        self.project = os.environ.get("WANDB_PROJECT") or "dwindle"
        if _is_online():
            self._log_in()
        self._ledger = folder / "wandb" / "dwindle-finished.txt"
        self._written = set(self._ledger.read_text().split()) if self._ledger.exists() else set()

    def _log_in(self) -> None:
        remedy = "Run 'wandb login', or set WANDB_MODE=offline."
        try:
            known = self._wandb.login(prompt=False)
        except Exception as error:  # a key that the server refuses, or no server
            raise InvalidValueError(f"--log wandb cannot log in: {error}. {remedy}") from error
        if not known:
            raise InvalidValueError(f"--log wandb needs an account, and nobody is logged in. {remedy}")

    @property
    def place(self) -> str:
        return f"project {self.project}" if _is_online() else f"{self.folder / 'wandb'} (wandb sync sends it)"

    def write(self, record: Mapping[str, Any]) -> None:
        mark = f"{self.project}/{record['key']}"
        if mark in self._written:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        run = self._wandb.init(
            project=self.project, id=record["key"], name=title(record), group=self.folder.name, job_type=record["stage"],
            config=hyperparameters(record), dir=str(self.folder), resume="allow", reinit="create_new",
            settings=self._wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )  # fmt: skip
        try:
            run.define_metric("*", step_metric="epoch")
            for i, point in enumerate(curves(record)):
                if i >= run.step:  # where a run that was cut short stood
                    run.log({"epoch": point.epoch, **point.values}, step=i)
            run.summary.update(finals(record))
        finally:
            run.finish()
        self._note(mark)

    def _note(self, mark: str) -> None:
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        with self._ledger.open("a") as file:
            file.write(f"{mark}\n")
        self._written.add(mark)


def _is_online() -> bool:
    return os.environ.get("WANDB_MODE", "online").lower() not in ("offline", "disabled", "dryrun")
