"""Loss-curve laws on real curves: what each says of curves it has not seen, how often its intervals hold, how long it takes.

    python benchmarks/laws.py [--curves FOLDER] [--quick] [--json FILE]

Curves of two projects, read from FOLDER (../shared/curves unless given). Protocols:

- ``left out``: of the three multi-power curves of a size (constant and cosine over 24,000 steps, a drop to 30 %), fit two
  and predict the third; sizes 25, 100, 400 million.
- ``horizon``: fit what a short budget gives (a constant rate to step 16,000, a cosine of 25,000 steps, a cooldown of 20 % at
  15,000) and predict all longer runs, up to 50,000 steps; peaks 5e-4 and 1e-3, each alone.
- ``same peak``: all curves of a peak but one, which is predicted. ``pooled``: the same, with the curves of both peaks fitted.
- ``other peak``: all curves of one peak; predict those of the other.
- ``one run``: of each size fit one curve and predict the other two; of each peak a cosine of 25,000 steps, or a cooldown of
  20 % at 15,000, and predict all others. ``one, like``: the same of sizes, with the three curves of the next smaller, or the
  next larger, as `fit`'s ``like``.
- ``other kind``: the shipped curves of a small network, whose task these laws were not made for: of each peak and weight
  decay fit the constant rate and the cosine, predict the other six schedules. ``one, other``: fit the cosine alone, predict the
  other seven; ``like, other``: the same with the constant rate, the cosine and a cooldown of the next lower λ as ``like``.

Errors are in nats. ``points`` and ``finals`` are the shares of logged losses and of last ones inside their 90 % intervals,
``rank`` is Spearman's correlation of predicted and logged last losses within one peak. Points before the law begins are
left out of the errors as they are of the fit: the warm-up, and the first 5 % of the longest fitted run.
"""

from __future__ import annotations

import csv
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from surroundings import begin, command, save

import dwindle as dw
from dwindle.laws import LAWS, Fitted, Run, decay_curves, fit, optimize
from dwindle.laws.features import warmup

SHARED = Path(__file__).resolve().parents[2] / "shared" / "curves"
SIZES = (25, 100, 400)


def multi_power(folder: Path, size: int) -> dict[str, Run]:
    """Return the three curves of a size; their warm-up is not in the files, and is 2,160 steps from 0 to 3e-4."""
    rates = {
        "constant_24000": dw.constant(),
        "cosine_24000": dw.cosine(21_840, end=0.1),
        "wsdcon_9": dw.piecewise((5840,), (1.0, 0.3)),
    }
    found = {}
    for name, after in rates.items():
        step, logged, loss = np.loadtxt(
            folder / "multipowerlaw" / f"csv_{size}" / f"{name}.csv", delimiter=",", skiprows=1
        ).T
        lr = dw.Plan(3e-4, dw.warmup(2160).then(after)).lrs(int(step[-1]) + 1)
        if np.abs(lr[step.astype(int)] - logged).max() > 2e-7:
            raise SystemExit(f"{name}: the rates of the file are not those of its schedule")
        found[name] = Run(lr, step, loss, f"{name}, {size}M")
    return found


def lr_scheduling(folder: Path) -> dict[tuple[str, float], Run]:
    """Return the curves by what they are and their peak; a cooldown's earlier losses are those of the stable run."""
    found = {}
    for file in sorted((folder / "lr-scheduling" / "main").glob("*.csv")):
        peak, steps = float(re.search(r"_lr([\d.]+)_", file.name)[1]), int(re.search(r"_iter(\d+)_", file.name)[1])
        if file.name.startswith("cos"):
            name, after = f"cosine {steps}", dw.cosine(steps - 300)
        elif file.name.startswith("stable"):
            name, after = f"stable {steps}", dw.constant()
        else:
            part = float(re.search(r"_linear_([\d.]+)_iter", file.name)[1])
            name, after = f"cooldown {part:g} {steps}", dw.constant().then(dw.linear(round(part * steps)))
        with file.open() as lines:
            rows = [(int(row["iter"]), float(row["val_loss"])) for row in csv.DictReader(lines) if row["val_loss"]]
        step, loss = np.array([row for row in rows if 300 < row[0] <= steps]).T
        found[name, peak] = Run(dw.Plan(peak, dw.warmup(300).then(after)).lrs(steps), step, loss, f"{name} {peak:g}")
    return found


def until(run: Run, end: int) -> Run:
    early = run.step <= end
    return Run(run.lr[: end + 1], run.step[early], run.loss[early], run.name)


Task = tuple[str, list[Run], list[Run], list[Run]]


def tasks(folder: Path) -> Iterator[Task]:
    """Yield (protocol, fitted runs, runs to predict, runs of a like model)."""
    sizes = {size: multi_power(folder, size) for size in SIZES}
    for size, runs in sizes.items():
        for name, left in runs.items():
            others = [run for other, run in runs.items() if other != name]
            yield "left out", others, [left], []
            yield "one run", [left], others, []
            for near in (at for at in SIZES if at in (size // 4, 4 * size)):
                yield "one, like", [left], others, list(sizes[near].values())
    curves = lr_scheduling(folder)
    peaks = sorted({peak for _, peak in curves})
    for peak in peaks:
        own = {name: run for (name, at), run in curves.items() if at == peak}
        short = [until(own["stable 50000"], 16_000), own["cosine 25000"], own["cooldown 0.2 15000"]]
        yield (
            "horizon",
            short,
            [run for name, run in own.items() if name not in ("cosine 25000", "cooldown 0.2 15000")],
            [],
        )
        for run in short[1:]:
            yield "one run", [run], [other for other in own.values() if other is not run], []
        for name, left in own.items():
            yield "same peak", [run for other, run in own.items() if other != name], [left], []
            yield "pooled", [run for run in curves.values() if run is not left], [left], []
        yield "other peak", list(own.values()), [run for (_, at), run in curves.items() if at != peak], []

    yield from other_kind()


def other_kind() -> Iterator[Task]:
    groups: dict[tuple[float, float], dict[str, Run]] = {}
    for curve in decay_curves():
        run = curve.run  # these laws are told nothing of decay
        groups.setdefault((curve.lam, curve.peak), {})[curve.schedule] = Run(run.lr, run.step, run.loss, run.name)
    lambdas = sorted({lam for lam, _ in groups})
    for (lam, peak), runs in groups.items():
        short = [name for name in runs if name.endswith("constant") or "cosine" in name]
        yield "other kind", [runs[name] for name in short], [run for name, run in runs.items() if name not in short], []
        one = next(name for name in runs if "cosine" in name)
        rest = [run for name, run in runs.items() if name != one]
        yield "one, other", [runs[one]], rest, []
        if lam > 0.0:
            lower = groups[lambdas[lambdas.index(lam) - 1], peak]
            yield (
                "like, other",
                [runs[one]],
                rest,
                [lower[name] for name in (*short, "warmup 100st, constant, linear to 0% over 20%")],
            )


def judged(fitted: Fitted, run: Run) -> dict[str, Any]:
    """Return what a forecast of one curve was worth."""
    later = run.step >= max(warmup(run.lr), fitted.begins)
    told, loss = fitted.predict(run.lr, at=run.step[later]), run.loss[later]
    off, inside = np.abs(told.loss - loss), (told.lower <= loss) & (loss <= told.upper)
    return {
        "run": run.name, "peak": run.peak, "supported": told.supported,
        "mean_error": float(off.mean()), "worst_relative_error": float((off / np.abs(loss)).max()), "final_error": float(off[-1]),
        "points_inside": float(inside.mean()), "final_inside": bool(inside[-1]),
        "final_half_width": float(told.upper[-1] - told.lower[-1]) / 2.0,
        "final": float(loss[-1]), "final_forecast": float(told.loss[-1]),
    }  # fmt: skip


def ranked(rows: list[dict[str, Any]]) -> float | None:
    """Return the mean over the peaks of the correlation of last losses."""
    by_peak = [[row for row in rows if row["peak"] == peak] for peak in sorted({row["peak"] for row in rows})]
    found = [
        spearmanr([r["final"] for r in some], [r["final_forecast"] for r in some])[0]
        for some in by_peak
        if len(some) > 3
    ]
    return float(np.mean(found)) if found else None


def compare(law: str, given: list[Task]) -> list[dict[str, Any]]:
    """Print and return a row for each protocol."""
    found: dict[str, list[dict[str, Any]]] = {}
    seconds: dict[str, list[float]] = {}
    for protocol, fitted_runs, left, like in given:
        if like and law != "noise-floor":
            continue
        begun = time.perf_counter()
        fitted = fit(fitted_runs, law, like=like)
        seconds.setdefault(protocol, []).append(time.perf_counter() - begun)
        found.setdefault(protocol, []).extend(judged(fitted, run) for run in left)
    rows = []
    for protocol, each in found.items():
        mean = {key: statistics.fmean(row[key] for row in each) for key in
                ("mean_error", "final_error", "points_inside", "final_inside", "final_half_width")}  # fmt: skip
        row = {
            "law": law, "protocol": protocol, "curves": len(each), **mean,
            "largest_mean_error": max(r["mean_error"] for r in each), "largest_final_error": max(r["final_error"] for r in each),
            "worst_relative_error": max(r["worst_relative_error"] for r in each), "supported": sum(r["supported"] for r in each),
            "rank": ranked(each) if protocol in ("same peak", "pooled") else None,
            "seconds": statistics.median(seconds[protocol]), "each": each,
        }  # fmt: skip
        rows.append(row)
        rank = "-" if row["rank"] is None else f"{row['rank']:.2f}"
        print(
            f"{law:20}{protocol:12}{len(each):4}{row['mean_error']:9.4f}{row['largest_mean_error']:9.4f}{row['final_error']:9.4f}"
            f"{row['largest_final_error']:9.4f}{row['worst_relative_error']:8.2%}{row['points_inside']:8.0%}"
            f"{row['final_inside']:8.0%}{row['final_half_width']:9.4f}{row['supported']:6}{rank:>6}{row['seconds']:8.2f}",
            flush=True,
        )
    return rows


def best(folder: Path, steps: int) -> list[dict[str, Any]]:
    """Print and return what the best schedule gains, by the three curves of each size."""
    rows = []
    print(f"\nthe best schedule of {steps} steps (90 % intervals)")
    for size in SIZES:
        fitted = fit(multi_power(folder, size).values())
        begun = time.perf_counter()
        found = optimize(fitted, steps)
        took = time.perf_counter() - begun
        again = optimize(fitted, steps, against=found.plan)
        rows.append(
            {
                "size": size,
                "seconds": took,
                "gain": found.gain,
                "half": found.half,
                "said": found.said,
                "again": again.said,
            }
        )
        print(f"{size}M, {took:.2f} s: {found.said}\n    against that: {again.said}")
    return rows


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--curves", type=Path, default=SHARED, metavar="FOLDER")
    given = parser.parse_args()
    if not (given.curves / "multipowerlaw").is_dir():
        parser.error(f"no curves in {given.curves}; name their folder with --curves.")
    around, every = begin(), list(tasks(given.curves))
    if given.quick:
        every = every[:2]
    heads = (
        "curves",
        "error",
        "largest",
        "final",
        "largest",
        "worst",
        "points",
        "finals",
        "± final",
        "supp.",
        "rank",
        "fit, s",
    )
    widths = (4, 9, 9, 9, 9, 8, 8, 8, 9, 6, 6, 8)
    print(f"{'law':20}{'protocol':12}" + "".join(f"{h[:w]:>{w}}" for h, w in zip(heads, widths, strict=True)))
    laws = ["noise-floor"] if given.quick else [name for name, law in LAWS.items() if not law.decays]
    rows = [row for law in laws for row in compare(law, every)]
    save(given.json, around, laws=rows, best=best(given.curves, 2400 if given.quick else 24_000), interval=0.9)


if __name__ == "__main__":
    main()
