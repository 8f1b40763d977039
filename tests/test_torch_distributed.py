"""Two processes: DDP, FSDP2 and distributed checkpoints give the weights of one process, and count optimiser steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RANKS = Path(__file__).with_name("ranks.py")


def together(folder, *cases, seconds=100):
    """Run ``cases`` on two ranks over the loopback; every rank must succeed, and none outlives this call."""
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}

    def start(rank):
        command = [sys.executable, str(RANKS), str(rank), str(folder), *cases]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    ranks = [start(rank) for rank in range(2)]
    try:
        said = [process.communicate(timeout=seconds)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    assert [process.returncode for process in ranks] == [0, 0], "\n---\n".join(text[-3000:] for text in said)


def test_ddp_with_accumulation_counts_optimiser_steps(tmp_path):
    together(tmp_path, "ddp")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("cases", ["ddp_all", "fsdp2", "masks", "resume", "accelerated", "observed refused"])
def test_two_ranks(cases, tmp_path):
    together(tmp_path, *cases.split(), seconds=350)


@pytest.mark.slow
def test_a_rank_that_fails_is_seen(tmp_path):
    """The launcher's own test: a case that does not exist must not pass."""
    with pytest.raises(AssertionError, match="KeyError"):
        together(tmp_path, "no_such_case", seconds=100)
