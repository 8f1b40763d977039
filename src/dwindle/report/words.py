"""The answer in words and figures; the page and the terminal say the same because both ask here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from dwindle.report.evidence import ROLES, Comparison, Contender, Evidence, Setting

__all__ = [
    "COLOURS", "METRICS", "NAMES", "SINGLE", "bare", "decimal", "decimals", "duration", "gain_sentence", "gap_sentence",
    "interval", "lede", "listed", "mean", "measured", "number", "places", "plural", "signed", "subtitle", "when",
]  # fmt: skip

METRICS = {"test_loss": "test loss", "test_accuracy": "test accuracy", "gap": "gap"}
NAMES = {
    "winner": "winner",
    "no weight decay": "best without weight decay",
    "constant lr": "best at constant rate",
    "neither": "best with neither decay",
    "winner without weight decay": "winner without weight decay",
    "winner at constant lr": "winner at constant rate",
}
COLOURS = {role: index for index, role in enumerate(ROLES, start=1)}  # the same in every figure
SINGLE = {
    "no weight decay": "weight decay",
    "constant lr": "learning-rate decay",
    "neither": "both decays together",
    "winner without weight decay": "the winner's own weight decay",
    "winner at constant lr": "the winner's own learning-rate decay",
}


def number(value: float | None, digits: int = 4) -> str:
    """Return ``value`` to ``digits`` significant digits with a true minus sign; an en dash if there is none.

    >>> number(0.50871), number(-3e-05), number(None)
    ('0.5087', '−3e-05', '–')
    """
    return "–" if value is None else f"{value:.{digits}g}".replace("-", "−", 1 if value < 0 else 0)


def measured(value: float | None, metric: str) -> str:
    """Return a measured loss, gap or accuracy; an accuracy, a fraction, is shown in per cent.

    >>> measured(0.8254, "test_accuracy"), measured(0.8801, "test_loss")
    ('82.5 %', '0.880')
    """
    if value is None:
        return "–"
    if metric.endswith("accuracy"):
        return f"{100 * value:.1f} %"
    if value and not 1e-3 <= abs(value) < 10:
        return number(value)
    return f"{value:.3f}".replace("-", "−")


def decimal(value: float | None) -> str:
    """Return ``value`` with four decimals, so that a column of losses lines up; very small or large ones as they are.

    >>> decimal(0.50871), decimal(1.04), decimal(3.1e-7), decimal(None)
    ('0.5087', '1.0400', '3.1e-07', '–')
    """
    if value is None or (value != 0 and not 1e-4 <= abs(value) < 1e4):
        return number(value)
    return f"{value:.4f}".replace("-", "−")


def places(width: float) -> int:
    """Return how many decimals something as wide as ``width`` warrants: two digits of the width.

    >>> places(0.0075), places(0.42), places(12.0)
    (4, 2, 0)
    """
    power = math.floor(math.log10(width)) if 0.0 < width < math.inf else -4
    return min(max(1 - power, 0), 8)


def decimals(value: float, width: float) -> str:
    """Return a loss with the decimals that something as wide as ``width`` warrants.

    >>> decimals(2.97358, 0.0075), decimals(2.97358, 0.42)
    ('2.9736', '2.97')
    """
    return f"{value:.{places(width)}f}"


def listed(names: Sequence[str]) -> str:
    """Return the names as a sentence has them.

    >>> listed(["1"]), listed(["1", "2"]), listed(["1", "2", "3"])
    ('1', '1 and 2', '1, 2 and 3')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def signed(value: float, places: int) -> str:
    """Return ``value`` with its sign and ``places`` decimals.

    >>> signed(-0.1724, 3), signed(0.0, 2)
    ('−0.172', '0.00')
    """
    shown = f"{value:+.{places}f}"
    return (shown[1:] if float(shown) == 0 else shown).replace("-", "−")


def interval(comparison: Comparison) -> tuple[str, str]:
    """Return the difference and ``lower to upper``; accuracies in percentage points; decimals that the width warrants.

    The half width of the interval gets two digits if it begins with 1 or 2, else one: more would be noise.

    >>> interval(Comparison("neither", "test_loss", -0.1724, -0.1903, -0.1547, 5, "better"))
    ('−0.172', '−0.190 to −0.155')
    """
    scale = 100.0 if comparison.metric == "test_accuracy" else 1.0
    low, middle, high = (scale * x for x in (comparison.lower, comparison.difference, comparison.upper))
    half = (high - low) / 2
    power = math.floor(math.log10(half)) if half > 0 else -4
    places = min(max((1 if half < 3 * 10.0**power else 0) - power, 0), 6)
    return signed(middle, places), f"{signed(low, places)} to {signed(high, places)}"


def gain_sentence(comparison: Comparison) -> str:
    """Return what the winner gains over a contender, with its interval, the verdict and the seeds behind it.

    >>> gain_sentence(Comparison("no weight decay", "test_loss", -0.1724, -0.1903, -0.1547, 5, "better"))
    'weight decay: test loss −0.172 (95 % interval −0.190 to −0.155, 5 seeds), better'
    """
    difference, bounds = interval(comparison)
    unit = " points" if comparison.metric == "test_accuracy" else ""
    return (
        f"{SINGLE[comparison.against]}: {METRICS[comparison.metric]} {difference}{unit} "
        f"(95 % interval {bounds}, {plural(comparison.seeds, 'seed')}), {comparison.verdict}"
    )


def gap_sentence(setting: Setting) -> str:
    """Return what weight decay does to validation loss - train loss, from the mean over the seeds of both plans."""
    winner, other = setting.contender("winner"), bare(setting)
    ours = mean(winner.gap) if winner else None
    theirs = mean(other.gap) if other else None
    if ours is None:
        return "The gap between validation and train loss was not recorded."
    if theirs is None:
        said = f"Validation loss − train loss is {measured(ours, 'gap')} for the winner"
        return f"{said}; no plan without weight decay stands beside it."
    kept = (
        f", {100 * abs(1 - ours / theirs):.0f} % {'smaller' if ours < theirs else 'larger'}"
        if theirs > 0 and ours > 0
        else ""
    )
    return (
        f"Validation loss − train loss is {measured(theirs, 'gap')} without weight decay "
        f"and {measured(ours, 'gap')} with λ = {number(setting.winner.lam)}{kept}."
    )


def bare(setting: Setting) -> Contender | None:
    """Return the contender that shows what weight decay does: the winner with λ = 0, else the best plan without."""
    return setting.contender("winner without weight decay") or setting.contender("no weight decay")


def lede(evidence: Evidence) -> str:
    """Return the answer of the whole study in one or two sentences, counted from the verdicts on the test loss."""
    found = {against: _outcome(evidence.settings, against) for against in ("no weight decay", "constant lr")}
    said = {SINGLE[against]: outcome for against, outcome in found.items() if outcome}
    if not said:
        return "No plan was compared with the winner on the test set."
    if len(said) == 2 and len(set(said.values())) == 1:
        first, second = said
        return f"{first.capitalize()} and {second} each {said[first]}."
    return " ".join(f"{what.capitalize()} {outcome}." for what, outcome in said.items())


def _outcome(settings: Sequence[Setting], against: str) -> str:
    found = [(c.verdict, setting.name) for setting in settings if (c := setting.comparison(against, "test_loss"))]
    total, kinds = len(found), {verdict for verdict, _ in found}
    if not total:
        return ""
    said = {"better": "lowered the test loss", "worse": "raised the test loss",
            "not distinguishable": "did not measurably change the test loss"}  # fmt: skip
    if len(kinds) == 1:
        every = {1: "", 2: " in both settings"}.get(total, f" in all {total} settings")
        none = "not distinguishable" in kinds
        return said[kinds.pop()] + (every.replace("both", "either").replace("all", "any of") if none else every)
    parts = []
    for kind in ("better", "worse"):
        names = [name for verdict, name in found if verdict == kind]
        if names:
            parts.append(f"{said[kind]} in {len(names)} of {total} settings ({', '.join(names)})")
    return " and ".join(parts)


def subtitle(evidence: Evidence) -> list[str]:
    """Return the few facts that stand under the title: trials, model, examples, time spent."""
    trials = sum(len(setting.trials) for setting in evidence.settings)
    return [
        plural(trials, "trial"),
        evidence.model,
        f"{evidence.data.train:,} training examples of {evidence.data.name}",
        duration(evidence.seconds),
        when(evidence.created),
    ]


def plural(amount: int, noun: str) -> str:
    """Return the amount and the noun in its number.

    >>> plural(1, "seed"), plural(2000, "trial")
    ('1 seed', '2,000 trials')
    """
    return f"{amount:,} {noun}" + ("" if amount == 1 else "s")


def duration(seconds: float) -> str:
    """Return a time span in the two units that matter.

    >>> duration(8.24), duration(200), duration(4320)
    ('8.2 s', '3 min 20 s', '1 h 12 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def when(created: str) -> str:
    """Return an ISO time as a reader writes it.

    >>> when("2026-11-24T10:24:31+00:00")
    '24 November 2026, 10:24 UTC'
    """
    time = datetime.fromisoformat(created)
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or ''}".rstrip()


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean, or None if a value is missing or there is none: a diverged seed leaves no honest mean.

    >>> mean([1.0, 3.0]), mean([1.0, None]), mean([])
    (2.0, None, None)
    """
    known = list(values)
    if not known or any(value is None for value in known):
        return None
    return math.fsum(value for value in known if value is not None) / len(known)
