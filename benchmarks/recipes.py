"""Every recorded recipe of every peer, written as source for every peer and read back: are the learning rates the same?

    python benchmarks/recipes.py [steps] [--quick] [--json FILE]

Rows are where a recipe comes from, columns what it was written for; a cell says how many came back with the same rate on
every step (320, unless told), to relative 1e-12.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from surroundings import begin, command, save

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


def compared(by_source: dict[str, list[Plan]], run: Horizon) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Print and return a row for each pair of peers, and what was said of the recipes that were not written."""
    rows: list[dict[str, Any]] = []
    refused: Counter[tuple[str, str]] = Counter()
    print("from      " + "".join(f"{peer:>12}" for peer in foreign.PEERS))
    for source, plans in by_source.items():
        line = f"{source:<10}"
        for peer in foreign.PEERS:
            results = [difference(plan, peer, run) for plan in plans]
            written = [r for r in results if isinstance(r, float)]
            refused.update((peer, r) for r in results if isinstance(r, str))
            same, of = sum(r <= 1e-12 for r in written), {"written": len(written), "recipes": len(plans)}
            rows.append({"source": source, "target": peer, "same": same, **of})
            line += f"{f'{same}/{len(written)} of {len(plans)}':>12}"
        print(line, flush=True)
    said = [{"target": peer, "message": message, "count": n} for (peer, message), n in refused.most_common()]
    for each in said:
        print(f"\n{each['count']} × {each['target']}: {each['message']}")
    return rows, said


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("steps", type=int, nargs="?", default=320)
    given = parser.parse_args()
    by_source: dict[str, list[Plan]] = {}
    for source, plan in recipes():
        by_source.setdefault(source, []).append(plan)
    if not by_source:
        parser.error(f"no recorded schedules in {GOLDEN}; put them there.")
    if given.quick:
        by_source = {source: plans[:2] for source, plans in by_source.items()}
    run = Horizon(steps=given.steps, steps_per_epoch=given.steps, batch_size=1, examples=given.steps)
    around, total = begin(), sum(map(len, by_source.values()))
    print(f"{total} recipes, {run.steps} steps: came back the same / written; the rest was refused in words\n")
    rows, refused = compared(by_source, run)
    save(given.json, around, steps=run.steps, total=total, recipes=rows, refused=refused)


if __name__ == "__main__":
    main()
