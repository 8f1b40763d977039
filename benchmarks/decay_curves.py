"""Loss curves over weight decay: what a law that knows λ says of λ it has not seen, beside laws that do not know it.

    python benchmarks/decay_curves.py [--curves FILE] [--quick] [--json FILE]

The curves are those that dwindle ships, or of a FILE that `scripts/make_decay_curves.py` wrote: 8 λ, 4 peaks, 8 schedules.
Whole λ are held out. Protocols:

- ``between``: all λ but one that has neighbours on both sides are fitted, and that one predicted; each in turn.
- ``above``: fit λ ≤ 0.5, predict 1 and 2. ``below``: fit λ ≥ 0.125, predict 0, 0.03 and 0.06.
- ``few``: fit 18 curves (λ 0.03, 0.25, 2; peaks 0.001, 0.004; constant, cosine, 20 % cooldown), predict the other λ in all
  peaks and schedules.

Laws: ``aware``, the decay-aware law; ``blind``, the noise-floor law fitted to the same curves, whatever their λ;
``per λ``, the noise-floor law fitted to each λ alone, their forecasts taken linearly in log λ (0 counts as half the least
λ), and that of the nearest beyond the ends. Errors are means over the points from step 200 on, and of last losses, in nats.
``spread`` is the mean distance of the held-out losses from their mean over the curves at the same step. Differences are
paired over the curves, rival less aware; 95 % intervals are bootstrapped over curves, and over groups of one λ and peak, which
share stretches of training and so may be wrong together.

The best λ of each peak and schedule: fitted to ``few``, or to all λ and peaks of its three schedules (``schedules``, judged on
the other five). ``loss`` is how much more the run at the predicted λ loses than the best of the eight, ``off`` counts places
on the list of λ. Beside it the best one λ for all (``fixed``) and the best λ·Σlr for all (``timescale``), as the fitted
curves have them. ``points`` and ``finals``: what part of the logged losses, and of the last ones, lies in the 90 % interval.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from surroundings import begin, command, save

from dwindle.laws import Fitted, Run, fit
from dwindle.laws.decay_curves import SHIPPED, DecayCurve, decay_curves

START = 200  # where the laws begin
FEW_LAMBDAS, FEW_PEAKS = (0.03, 0.25, 2.0), (0.001, 0.004)
FEW_SCHEDULES = ("constant", "cosine to 10%", "constant, linear to 0% over 20%")
RIVALS = ("blind", "per λ")

Curves = list[DecayCurve]
Forecaster = Callable[[DecayCurve, Any], tuple[Any, Any]]  # losses, and half their 90 % intervals


def plain(curve: DecayCurve) -> str:
    """Return the schedule without its warm-up."""
    return curve.schedule.partition(", ")[2]


def lambdas(curves: Curves) -> list[float]:
    return sorted({curve.lam for curve in curves})


def few(curve: DecayCurve) -> bool:
    return curve.lam in FEW_LAMBDAS and curve.peak in FEW_PEAKS and plain(curve) in FEW_SCHEDULES


def tasks(curves: Curves) -> Iterator[tuple[str, Curves, Curves]]:
    """Yield (protocol, fitted curves, curves to predict)."""
    for lam in lambdas(curves)[1:-1]:
        yield "between", [c for c in curves if c.lam != lam], [c for c in curves if c.lam == lam]
    yield "above", [c for c in curves if c.lam <= 0.5], [c for c in curves if c.lam > 0.5]
    yield "below", [c for c in curves if c.lam >= 0.125], [c for c in curves if c.lam < 0.125]
    yield "few", [c for c in curves if few(c)], [c for c in curves if c.lam not in FEW_LAMBDAS]


def aware(curves: Curves) -> Forecaster:
    return forecaster(fit([curve.run for curve in curves], "decay-aware"))


def blind(curves: Curves) -> Forecaster:
    return forecaster(fit([Run(c.run.lr, c.run.step, c.run.loss, c.run.name) for c in curves]))


def forecaster(fitted: Fitted) -> Forecaster:
    def forecast(curve: DecayCurve, at: Any) -> tuple[Any, Any]:
        told = fitted.predict(curve.run.course, at=at)
        return told.loss, told.upper - told.loss

    return forecast


def per_lambda(curves: Curves) -> Forecaster:
    known = lambdas(curves)
    laws = [blind([curve for curve in curves if curve.lam == lam]) for lam in known]
    least = min(lam for lam in known if lam) / 2.0

    def forecast(curve: DecayCurve, at: Any) -> tuple[Any, Any]:
        place = np.interp(np.log(max(curve.lam, least)), np.log(np.maximum(known, least)), np.arange(len(known)))
        low = min(int(place), len(known) - 2)
        near, far = (laws[i](curve, at)[0] for i in (low, low + 1))
        return (1.0 - place + low) * near + (place - low) * far, np.full(len(near), np.nan)

    return forecast


LAWS: dict[str, Callable[[Curves], Forecaster]] = {"aware": aware, "blind": blind, "per λ": per_lambda}


def errors(forecast: Forecaster, curve: DecayCurve) -> list[float]:
    """Return the mean error over the points, that of the last loss, and what part of the points and whether it is inside."""
    run = curve.run
    later = run.step >= START
    told, half = forecast(curve, run.step[later])
    off = np.abs(told - run.loss[later])
    inside = np.where(np.isnan(half), np.nan, off <= half)
    return [float(each) for each in (off.mean(), off[-1], inside.mean(), inside[-1])]


def spread(curves: Curves) -> float:
    losses = np.array([curve.run.loss[curve.run.step >= START] for curve in curves])
    return float(np.abs(losses - losses.mean(axis=0)).mean())


def interval(values: Any, groups: Any) -> list[float]:
    """Return the 95 % interval of the mean of ``values``, drawn again by whole ``groups``."""
    generator = np.random.default_rng(0)
    _, group = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(group, values), np.bincount(group)
    drawn = generator.integers(len(sums), size=(10_000, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(each) for each in np.quantile(means, (0.025, 0.975))]


def judged(given: list[tuple[str, Curves, Curves]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Print and return the errors of each law in each protocol, and the paired differences."""
    rows, differences = list[dict[str, Any]](), list[dict[str, Any]]()
    heads = {"error": 9, "/ spread": 9, "final": 9, "largest": 9, "points": 8, "finals": 8, "fits, s": 9}
    print(f"{'protocol':11}{'law':9}{'curves':>6}" + "".join(f"{head:>{width}}" for head, width in heads.items()))
    for protocol in dict.fromkeys(name for name, _, _ in given):
        mine = [(fitted, left) for name, fitted, left in given if name == protocol]
        held = [curve for _, left in mine for curve in left]
        found = {}
        for law, fitting in LAWS.items():
            begun = time.perf_counter()
            made = [(fitting(fitted), left) for fitted, left in mine]
            seconds = time.perf_counter() - begun
            found[law] = np.array([errors(forecast, curve) for forecast, left in made for curve in left])
            error, final, points, finals = found[law].mean(axis=0)
            row = {
                "protocol": protocol, "law": law, "curves": len(held), "error": float(error),
                "relative": float(error) / spread(held), "final": float(final), "largest_final": float(found[law][:, 1].max()),
                "points_inside": None if np.isnan(points) else float(points),
                "finals_inside": None if np.isnan(finals) else float(finals),
                "seconds": seconds, "each": {"names": [curve.run.name for curve in held], "errors": found[law][:, :2].tolist()},
            }  # fmt: skip
            rows.append(row)
            inside = "".join(f"{'-':>8}" if np.isnan(each) else f"{each:8.0%}" for each in (points, finals))
            print(
                f"{protocol:11}{law:9}{len(held):6}{row['error']:9.4f}{row['relative']:9.1%}{row['final']:9.4f}"
                f"{row['largest_final']:9.4f}{inside}{seconds:9.1f}",
                flush=True,
            )
        names, groups = [c.run.name for c in held], [f"{c.lam} {c.peak}" for c in held]
        for rival in RIVALS:
            for column, what in enumerate(("error", "final")):
                less = found[rival][:, column] - found["aware"][:, column]
                by_curve, by_group = interval(less, names), interval(less, groups)
                differences.append(
                    {
                        "protocol": protocol, "rival": rival, "of": what, "mean": float(less.mean()),
                        "better": float((less > 0.0).mean()), "by_curve": by_curve, "by_group": by_group,
                    }
                )  # fmt: skip
    print(f"\n{'protocol':11}{'rival':9}{'of':7}{'less':>9}{'95 % by curve':>20}{'by group':>20}{'aware better':>14}")
    for row in differences:
        bounds = "".join(f"{row[by][0]:11.4f}{row[by][1]:9.4f}" for by in ("by_curve", "by_group"))
        print(f"{row['protocol']:11}{row['rival']:9}{row['of']:7}{row['mean']:9.4f}{bounds}{row['better']:14.0%}")
    return rows, differences


def best(curves: Curves) -> list[dict[str, Any]]:
    """Print and return how well the best λ of each peak and schedule is found."""
    rows = list[dict[str, Any]]()
    print(f"\n{'best λ':11}{'by':11}{'of':>4}{'hit':>7}{'off':>7}{'loss':>9}{'largest':>9}")
    for protocol, fitted, judge in (
        ("few", [c for c in curves if few(c)], lambda schedule: True),
        ("schedules", [c for c in curves if plain(c) in FEW_SCHEDULES], lambda schedule: schedule not in FEW_SCHEDULES),
    ):
        runs: dict[tuple[float, str], Curves] = {}
        for curve in sorted((c for c in curves if judge(plain(c))), key=lambda c: c.lam):
            runs.setdefault((curve.peak, curve.schedule), []).append(curve)
        measured = np.array([[last(curve) for curve in group] for group in runs.values()])
        for by, chosen in choices(fitted, list(runs.values())).items():
            off, more = (
                chosen - measured.argmin(axis=1),
                measured[np.arange(len(chosen)), chosen] - measured.min(axis=1),
            )
            row = {
                "protocol": protocol, "by": by, "runs": len(chosen), "hit": float((off == 0).mean()),
                "off": float(np.abs(off).mean()), "loss": float(more.mean()), "largest": float(more.max()),
                "each": [
                    {"run": f"peak {peak:g}, {schedule}", "predicted": group[at].lam, "measured": group[best_at].lam}
                    for ((peak, schedule), group), at, best_at in zip(runs.items(), chosen, measured.argmin(axis=1), strict=True)
                ],
            }  # fmt: skip
            rows.append(row)
            print(
                f"{protocol:11}{by:11}{row['runs']:4}{row['hit']:7.0%}{row['off']:7.2f}{row['loss']:9.4f}{row['largest']:9.4f}",
                flush=True,
            )
    return rows


def last(curve: DecayCurve) -> float:
    return float(curve.run.loss[-1])


def choices(fitted: Curves, groups: list[Curves]) -> dict[str, Any]:
    """Return the place of the λ that each rule chooses in each group of runs that differ in λ alone."""
    forecast = aware(fitted)
    told = [[forecast(curve, [len(curve.run.lr)])[0][0] for curve in group] for group in groups]
    known: dict[tuple[float, str], Curves] = {}
    for curve in fitted:
        known.setdefault((curve.peak, curve.schedule), []).append(curve)

    def regret(choose: Callable[[Curves], int]) -> float:
        return sum(last(group[choose(group)]) for group in known.values())

    def by_timescale(total: float) -> Callable[[Curves], int]:
        return lambda group: int(np.argmin([abs(np.log(max(c.lam, 0.015) * c.run.lr.sum() / total)) for c in group]))

    def by_lambda(lam: float) -> Callable[[Curves], int]:
        return lambda group: [c.lam for c in group].index(lam)

    total = min(np.geomspace(0.03, 30.0, 61), key=lambda each: regret(by_timescale(each)))
    lam = min(lambdas(fitted), key=lambda each: regret(by_lambda(each)))
    return {
        "aware": np.argmin(told, axis=1),
        "fixed": np.array([by_lambda(lam)(group) for group in groups]),
        "timescale": np.array([by_timescale(total)(group) for group in groups]),
    }


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--curves", type=Path, default=SHIPPED, metavar="FILE")
    given = parser.parse_args()
    around, curves = begin(), decay_curves(given.curves)
    every = list(tasks(curves))
    if given.quick:
        shapes = (*FEW_SCHEDULES[:2], "linear to 0%")
        curves = [c for c in curves if c.lam in (0.0, *FEW_LAMBDAS) and c.peak in FEW_PEAKS and plain(c) in shapes]
        every = [task for task in tasks(curves) if task[0] == "few"]
    rows, differences = judged(every)
    save(given.json, around, laws=rows, differences=differences, best=best(curves))


if __name__ == "__main__":
    main()
