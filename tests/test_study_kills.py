"""A study killed again and again, at any moment: no finished trial is lost or counted twice, and it ends the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dwindle.studies import Store

KILLS = 50
SPACE = "lam 0 1e-3..1 | peak 1e-3..1e-1 | batch 50 100 | schedule constant; cosine to 0..20%"
WORDS = [
    "study", "--space", SPACE, "--sampler", "tpe", "--trials", "60", "--seeds", "3", "--hidden", "24", "--epochs", "8",
    "--label-noise", "0.2", "--json", "--quiet",
]  # fmt: skip


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dwindle", *WORDS, "--out", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def finished(folder: Path) -> dict[str, Any]:
    out, _ = start(folder).communicate(timeout=200)
    return {k: v for k, v in json.loads(out).items() if k not in ("created", "seconds")}


def stored(folder: Path) -> set[str]:
    if not (folder / "trials.jsonl").exists():
        return set()
    store = Store.open(folder)
    store.close()
    return set(store.records)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_killed_at_fifty_moments_ends_as_if_it_had_never_been(tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole")
    begun = time.monotonic()
    assert finished(tmp_path / "again") == whole
    lasts = time.monotonic() - begun
    draw, kills, at_work, round_ = random.Random(0), 0, 0, 0
    while kills < KILLS:
        folder, known = tmp_path / f"round {round_}", set[str]()
        while kills < KILLS:
            process = start(folder)
            try:
                process.communicate(timeout=draw.uniform(0.3, 1.0) * lasts)
                break  # it came to its end
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
            found = stored(folder)
            assert known <= found, "a finished trial was lost"
            at_work += found > known
            known = found
        assert finished(folder) == whole
        lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines() if line.endswith("}")]
        keys = Counter(json.loads(line["body"])["key"] for line in lines)
        assert max(keys.values()) == 1, "a trial was trained and counted twice"
        round_ += 1
    assert at_work > 5  # some were hit between their first and last trial
    assert not (tmp_path / "whole" / "lock").exists()
    os.sync()
