"""Every recorded recipe of every peer, written as source for every peer and read back: are the learning rates the same?

Run: python benchmarks/recipes.py [steps]. Rows are where a recipe comes from, columns what it was written for; a cell says
how many came back with the same rate on every step, to relative 1e-12.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dwindle import foreign
from dwindle.errors import DwindleError
from dwindle.plan import Plan
from dwindle.units import Horizon

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


def recipes() -> Iterator[tuple[str, Plan]]:
    """Yield (peer, plan) of every recorded schedule that does not answer a metric."""
    for file in sorted(GOLDEN.glob("schedule_*.json")):
        for case in json.loads(file.read_text())["cases"]:
            if "metric" not in case and "float32" not in file.name:
                plan = foreign.read(case["peer"], case["name"], case["params"], base_lr=case.get("base_lr"))
                yield case["peer"].replace("transformers", "hf"), plan


def difference(plan: Plan, peer: str, run: Horizon) -> float | str:
    """Return the largest relative difference of a rate after writing and reading back, or what was said instead."""
    try:
        back = foreign.read(foreign.write(plan, peer, run), run=run)
    except DwindleError as error:
        return str(error)
    got, want = back.lrs(run), plan.lrs(run)  # type: ignore[union-attr]
    return float((np.abs(got - want) / np.where(want > 0.0, want, 1.0)).max())


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    run = Horizon(steps=steps, steps_per_epoch=steps, batch_size=1, examples=steps)
    plans = list(recipes())
    peers = list(foreign.PEERS)
    print(f"{len(plans)} recipes, {steps} steps: came back the same / written; the rest was refused in words\n")
    print("from      " + "".join(f"{peer:>12}" for peer in peers))
    refused: Counter[str] = Counter()
    for source in dict.fromkeys(peer for peer, _ in plans):
        cells = []
        for peer in peers:
            results = [difference(plan, peer, run) for origin, plan in plans if origin == source]
            written = [r for r in results if isinstance(r, float)]
            refused.update(f"{peer}: {r}" for r in results if isinstance(r, str))
            cells.append(f"{sum(r <= 1e-12 for r in written)}/{len(written)} of {len(results)}")
        print(f"{source:<10}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    for said, times in refused.most_common():
        print(f"\n{times} × {said}")


if __name__ == "__main__":
    main()
