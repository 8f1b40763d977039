"""No file and no text runs anything, or takes all memory or time: each of the payloads is tried in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from payloads import MEGABYTES, PAYLOADS, SECONDS

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="it forks"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("payloads"),  # all are tried once, for all tests of one worker
]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("payloads")
    command = [sys.executable, str(Path(__file__).parent / "payloads.py"), str(folder / "each")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=590, cwd=folder, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, dict[str, Any]] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_runs_nothing_and_ends_in_words_or_as_data(tried: dict[str, dict[str, Any]], name: str) -> None:
    found = tried[name]
    assert not found["ran"]
    assert found["ours"], found["said"]
    assert found["seconds"] < SECONDS
    assert found["megabytes"] < MEGABYTES


def test_there_are_more_than_a_hundred() -> None:
    assert len(PAYLOADS) > 100


def test_the_sentinel_tells_what_runs(tmp_path: Path) -> None:
    opens = """
import pickle, sys
from pathlib import Path
import payloads
opened = payloads.file("x", payloads.PICKLE, lambda path: pickle.loads(path.read_bytes()))
payloads.PAYLOADS = {"opened": opened}
assert payloads.run_all(Path("each").resolve())["opened"]["ran"]
"""
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    # in a process of its own, as it forks and threads may run in this one
    process = subprocess.run([sys.executable, "-c", opens], cwd=tmp_path, env=where, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
