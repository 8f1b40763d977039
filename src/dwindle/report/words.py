"""The answer in words and figures; the page and the terminal say the same because both ask here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from dwindle.report.effects import effect
from dwindle.report.evidence import DECAYS, Comparison, Contender, Evidence, Setting

__all__ = [
    "COLOURS", "METRICS", "NAMES", "SINGLE", "beside", "decimal", "decimals", "duration", "folded", "gain_sentence",
    "gap_sentence", "interval", "lede", "let_go", "listed", "mean", "measured", "number", "otherwise", "over", "places",
    "plural", "promised", "scope", "signed", "subtitle", "when",
]  # fmt: skip

METRICS = {"test_loss": "test loss", "test_accuracy": "test accuracy", "gap": "gap"}
NAMES = {
    "winner": "winner",
    "no weight decay": "best without weight decay",
    "weight decay": "best with weight decay",
    "constant lr": "best at constant rate",
    "falling lr": "best with a falling rate",
    "neither": "best with neither decay",
    "winner without weight decay": "winner without weight decay",
    "winner at constant lr": "winner at constant rate",
}
COLOURS = {  # the same in every figure, one for each question: a winner has a decay or it has none
    "winner": 1, "no weight decay": 2, "weight decay": 2, "constant lr": 3, "falling lr": 3, "neither": 4,
    "winner without weight decay": 5, "winner at constant lr": 6,
}  # fmt: skip
SINGLE = {  # what the winner does otherwise
    "no weight decay": "weight decay",
    "weight decay": "no weight decay",
    "constant lr": "learning-rate decay",
    "falling lr": "a constant learning rate",
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
    if metric in ("test_accuracy", "validation_accuracy"):
        return f"{100 * value:.1f} %"
    if abs(value) >= 10 or (metric != "gap" and 0 < abs(value) < 1e-3):  # a gap is a difference: none is none
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
    """Return a loss with the decimals that something as wide as ``width`` warrants, from a million on with four digits.

    >>> decimals(2.97358, 0.0075), decimals(2.97358, 0.42), decimals(9.4964e200, 1e-6)
    ('2.9736', '2.97', '9.496e+200')
    """
    return f"{value:.{places(width)}f}" if abs(value) < 1e6 else f"{value:.4g}"


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
    if low == high == 0:
        return "0", "0 to 0"
    half = (high - low) / 2
    power = math.floor(math.log10(half)) if half > 0 else -4
    places = min(max((1 if half < 3 * 10.0**power else 0) - power, 0), 6)
    return signed(middle, places), f"{signed(low, places)} to {signed(high, places)}"


def gain_sentence(comparison: Comparison) -> str:
    """Return what the winner gains over a contender, with its interval, the verdict and what is behind it.

    >>> gain_sentence(Comparison("no weight decay", "test_loss", -0.1724, -0.1903, -0.1547, 5, "better"))
    'weight decay: test loss −0.172 (95 % interval −0.190 to −0.155, 5 seeds), better'
    """
    difference, bounds = interval(comparison)
    unit = " points" if comparison.metric == "test_accuracy" else ""
    return (
        f"{SINGLE[comparison.against]}: {METRICS[comparison.metric]} {difference}{unit} "
        f"(95 % interval {bounds}, {over(comparison.seeds, comparison.examples)}), {comparison.verdict}"
    )


def over(seeds: int, examples: int | None) -> str:
    """Return what an interval is over: seeds, and test examples where it holds for others as well.

    >>> over(5, 400)
    '5 seeds and 400 test examples'
    """
    told = plural(seeds, "seed")
    return told if examples is None else f"{told} and {plural(examples, 'test example')}"


def scope(by_examples: bool, examples: int | None) -> str:
    """Return for what the intervals hold: for new examples too if ``by_examples``, else for the ``examples`` of the test set.

    >>> scope(False, 30)
    'The intervals are over seeds, on these 30 test examples: other examples may say otherwise.'
    """
    known = "test examples" if examples is None else plural(examples, "test example")
    if not by_examples:
        these = "this" if examples == 1 else "these"
        return f"The intervals are over seeds, on {these} {known}: other examples may say otherwise."
    return (
        f"The intervals of test results hold for new seeds and new examples, judged by these {known}; those of the gap are over "
        "seeds."
    )


def promised(setting: Setting) -> str | None:
    """Return what the intervals promise, for what, and what the sweep does; None if nothing was compared."""
    if not setting.comparisons:
        return None
    found = max(c.together or 1 for c in setting.comparisons)
    said = scope(all(c.examples is not None for c in setting.comparisons if c.metric != "gap"), setting.test_examples)
    if found > 1:
        held = f"of one metric, all {found} contain the truth in 95 % of studies (Bonferroni)."
        said = f"The intervals hold together: {held} {said}"
    swept = any(each.values for each in setting.advice)
    return said + " What the sweep says of a knob is about these validation examples alone." * swept


def otherwise(setting: Setting) -> str | None:
    """Return what was trained, if not what the first setting trained."""
    return f"Trained here: {setting.trained}." if setting.trained else None


def folded(setting: Setting) -> str | None:
    """Return on what the search judged, if not on the validation examples alone."""
    if setting.folds == 1:
        return None
    return (
        f"The winner was chosen by cross-validation: the losses of the search are means over {setting.folds} folds of the "
        "training and validation examples."
    )


def let_go(setting: Setting) -> str | None:
    """Return how many trainings of the sweep were let go before their end, if any."""
    gone = sum(trial.let_go for trial in setting.everything)
    return f"{gone} of {plural(len(setting.everything), 'training')} were let go early." if gone else None


def gap_sentence(setting: Setting) -> str:
    """Return what weight decay does to validation loss - train loss, from the mean over the seeds of both plans."""
    winner, other = setting.contender("winner"), beside(setting)
    ours = mean(winner.gap) if winner else None
    theirs = mean(other.gap) if other else None
    if ours is None:
        return "The gap between validation and train loss was not recorded."
    if theirs is None:
        said = f"Validation loss − train loss is {measured(ours, 'gap')} for the winner"
        return f"{said}; no plan {'without' if setting.winner.lam > 0 else 'with'} weight decay stands beside it."
    if other is not None and other.role == DECAYS["weight decay"].having:
        return (
            f"Validation loss − train loss is {measured(ours, 'gap')} for the winner, without weight decay; with weight decay "
            f"it would be {measured(theirs, 'gap')} (the best plan with it, λ = {number(other.lam)}){_closer(theirs, ours)}."
        )
    return (
        f"Validation loss − train loss is {measured(theirs, 'gap')} without weight decay "
        f"and {measured(ours, 'gap')} with λ = {number(setting.winner.lam)}{_closer(ours, theirs)}."
    )


def _closer(decayed: float, without: float) -> str:
    if without <= 0 or decayed <= 0:
        return ""
    return f", {100 * abs(1 - decayed / without):.0f} % {'smaller' if decayed < without else 'larger'}"


def beside(setting: Setting) -> Contender | None:
    """Return who shows beside the winner what weight decay does: the winner with λ = 0, else the best plan without or with."""
    shows = DECAYS["weight decay"]
    roles = (shows.stripped, shows.without, shows.having)
    return next((c for role in roles if (c := setting.contender(role)) is not None), None)


def lede(evidence: Evidence) -> str:
    """Return the answer of the whole study in one or two sentences, counted from the verdicts on the test loss."""
    said = {decay: outcome for decay in DECAYS if (outcome := _outcome(evidence.settings, decay))}
    if not said:
        return "No plan was compared with the winner on the test set."
    if len(said) == 2 and len(set(said.values())) == 1:
        first, second = said
        return f"{first.capitalize()} and {second} each {said[first]}."
    return " ".join(f"{what.capitalize()} {outcome}." for what, outcome in said.items())


def _outcome(settings: Sequence[Setting], decay: str) -> str:
    outcomes = {"better with it": "lowered the test loss", "better without it": "raised the test loss"}
    none = "did not measurably change the test loss"
    found = [
        (outcomes.get(shown.verdict, none), setting.name)
        for setting in settings
        if (shown := effect(setting, decay)) is not None
    ]
    total, kinds = len(found), {outcome for outcome, _ in found}
    if not total:
        return ""
    if len(kinds) == 1:
        every = {1: "", 2: " in both settings"}.get(total, f" in all {total} settings")
        if none in kinds:
            every = every.replace("both settings", "either setting").replace("all", "any of the")
        return kinds.pop() + every
    parts = []
    for outcome in outcomes.values():
        names = [name for said, name in found if said == outcome]
        if names:
            parts.append(f"{outcome} in {len(names)} of {total} settings ({', '.join(names)})")
    return " and ".join(parts)


def subtitle(evidence: Evidence) -> list[str]:
    """Return the few facts that stand under the title: trials, model, examples, time spent."""
    trials = [trial for setting in evidence.settings for trial in setting.everything]
    gone = sum(trial.let_go for trial in trials)
    return [
        plural(len(trials), "trial") + (f", {gone:,} let go early" if gone else ""),
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
