"""Figures drawn here as SVG: they need no script, follow the theme, and print sharp.

Horizontal places are percentages and sizes are pixels, so a figure is as wide as its column and its text never shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dwindle.report.evidence import Comparison, Contender, Setting
from dwindle.report.grid import best_by_lam
from dwindle.report.markup import Html, joined, tag
from dwindle.report.words import COLOURS, METRICS, NAMES, interval, mean, measured, number

__all__ = ["at", "called", "duel", "gap_by_lam", "kind", "marks", "share", "sign", "strip", "ticks", "verdict"]


LETTERS = 48  # of labels that fit side by side on a phone


def marks() -> Html:
    """Return the shapes that tell the contenders apart beside their colour; other figures refer to them."""
    shapes = {
        1: "M0-5A5 5 0 1 1 0 5A5 5 0 1 1 0-5Z",
        2: "M-4.5-4.5H4.5V4.5H-4.5Z",
        3: "M0-5.5L5.5 4.5H-5.5Z",
        4: "M0-6L6 0L0 6L-6 0Z",
        5: "M0 5.5L5.5-4.5H-5.5Z",
        6: "M-1.7-5.5H1.7V-1.7H5.5V1.7H1.7V5.5H-1.7V1.7H-5.5V-1.7H-1.7Z",
    }
    paths = [tag("path", id=f"mark{index}", d=path) for index, path in shapes.items()]
    return tag("svg", tag("defs", *paths), class_="defs", width=0, height=0, aria_hidden="true")


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round values inside [low, high], about so many: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 1.0), ticks(0.47, 0.71)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.5, 0.55, 0.6, 0.65, 0.7])
    """
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def strip(lower: float, difference: float, upper: float, reach: float, tone: str) -> Html:
    """Return a one-line picture of an interval: zero in the middle, ``reach`` at either end; better, worse or not."""
    low, middle, high = (50 + 46 * x / reach for x in (lower, difference, upper))
    return tag(
        "svg",
        tag("line", class_="rule", x1="0", x2="100%", y1=11, y2=11),
        tag("line", class_="zero", x1="50%", x2="50%", y1=2, y2=20),
        tag("line", class_="bar", x1=at(low), x2=at(high), y1=11, y2=11),
        tag("circle", class_="dot", cx=at(middle), cy=11, r=4),
        class_=f"strip {tone}",
        height=22,
        aria_hidden="true",
    )


def verdict(comparison: Comparison) -> Html:
    """Return the verdict as a small label with its own sign, not colour alone."""
    return sign(kind(comparison), comparison.verdict)


def sign(tone: str, label: str) -> Html:
    """Return a small label for what is better, worse, not distinguishable, or a guess, with its own sign."""
    mark = {"better": "✓", "worse": "✗", "not": "≈", "guess": "?"}[tone]
    return tag("span", f"{mark}\u00a0{label.replace(' ', chr(0xA0))}", class_=f"verdict {tone}")


def duel(setting: Setting, metric: str) -> Html | None:
    """Return one row per plan in one metric: its seeds and their mean; then the winner minus it, with interval."""
    shown = [alike for alike in setting.plans if any(v is not None for v in alike[0].values(metric))]
    values = [value for alike in shown for value in alike[0].values(metric) if value is not None]
    if not values:
        return None
    pad = (max(values) - min(values)) * 0.06 or abs(max(values)) * 0.01 or 1.0
    low, high = min(values) - pad, max(values) + pad
    found = {c.against: c for c in setting.comparisons if c.metric == metric}
    reach = max((max(abs(c.lower), abs(c.upper)) for c in found.values()), default=1.0) or 1.0
    rows = [
        tag("div", *_seeds(alike, metric, low, high), *_difference(found.get(alike[0].role), reach), class_="row")
        for alike in shown
    ]
    labels = [
        tag("text", _scale(value, metric), x=at(share(value, low, high)), y=12, text_anchor="middle")
        for value in ticks(low, high, 3)
    ]
    scale = tag("svg", *labels, height=16, class_="scale", aria_hidden="true")
    guide = _guide(metric) if found else tag("span")
    axis = tag("div", tag("span"), scale, tag("span"), guide, tag("span"), class_="row axis")
    return tag("div", *rows, axis, class_="rows")


def _seeds(alike: Sequence[Contender], metric: str, low: float, high: float) -> tuple[Html, Html, Html]:
    contender = alike[0]
    values = contender.values(metric)
    count, colour, middle = max(len(values), 1), COLOURS[contender.role], mean(values)
    dots = [
        tag("use", href=f"#mark{colour}", x=at(share(value, low, high)), y=f"{7 + 16 * (index + 0.5) / count:.1f}")
        for index, value in enumerate(values)
        if value is not None
    ]
    place = at(share(middle, low, high)) if middle is not None else None
    picture = tag(
        "svg",
        tag("line", class_="rule", x1="0", x2="100%", y1=15, y2=15),
        *dots,
        tag("line", class_="mean", x1=place, x2=place, y1=2, y2=28) if place else None,
        class_=f"dots c{colour}",
        height=30,
        role="img",
        aria_label=f"{METRICS.get(metric, metric)} of each seed: "
        + ", ".join(measured(value, metric) for value in values),
    )
    lost = sum(value is None for value in values)
    said = f"{lost} of {count} diverged" if lost else measured(middle, metric)
    return tag("span", called(alike), class_="who"), picture, tag("b", said, class_="mean-value")


def called(alike: Sequence[Contender]) -> Html:
    """Return the names of the roles that one plan plays, each on a line."""
    first, *more = (NAMES[contender.role] for contender in alike)
    return joined(first, *[joined(tag("br"), f"= {name}") for name in more])


def _difference(comparison: Comparison | None, reach: float) -> tuple[Html, Html]:
    if comparison is None:
        return tag("span"), tag("span")
    difference, bounds = interval(comparison)
    said = tag("span", tag("b", difference), f" ({bounds}) ", verdict(comparison), class_="figure")
    picture = strip(comparison.lower, comparison.difference, comparison.upper, reach, kind(comparison))
    return picture, said


def _scale(value: float, metric: str) -> str:
    return f"{number(100 * value)} %" if metric == "test_accuracy" else number(value)


def _guide(metric: str) -> Html:
    lower, higher = ("worse", "better") if metric == "test_accuracy" else ("better", "worse")
    ends = (f"← {lower}", "same", f"{higher} →")
    return tag("span", *[tag("span", end) for end in ends], class_="guide", aria_hidden="true")


def gap_by_lam(setting: Setting) -> Html | None:
    """Return train and validation loss of the best trial at every λ, and between them the gap, shaded."""
    points = [(lam, t.final.train_loss, t.score) for lam, t in best_by_lam(setting) if t is not None]
    known = [(lam, train, score) for lam, train, score in points if train is not None and score is not None]
    if len(known) < 2:
        return None
    values = [value for _, train, score in known for value in (train, score)]
    high, low = max(values), min(0.0, *values)
    marked = ticks(low, high * 1.05)
    top = max(high * 1.05, marked[-1])
    height = 230.0
    xs = [100 * (index + 0.5) / len(known) for index in range(len(known))]
    every = math.ceil(max(len(lam.label) + 2 for lam, _, _ in known) * len(known) / LETTERS)
    upper = [height * (1 - share(score, low, top) / 100) for _, _, score in known]
    lower = [height * (1 - share(train, low, top) / 100) for _, train, _ in known]
    return tag(
        "svg",
        *[_gridline(value, height * (1 - share(value, low, top) / 100)) for value in marked],
        _band(xs, upper, lower, height),
        *[
            _lam_column(x, up, down, entry, height, named=index % every == 0)
            for index, (x, up, down, entry) in enumerate(zip(xs, upper, lower, known, strict=True))
        ],
        tag("text", "λ", x="100%", y=height + 20, text_anchor="end", class_="unit"),
        class_="bylam",
        height=height + 26,
        role="img",
        aria_label="; ".join(
            f"λ {lam.label}: train loss {number(train, 3)}, validation loss {number(score, 3)}"
            for lam, train, score in known
        ),
    )


def _gridline(value: float, y: float) -> Html:
    return joined(
        tag("line", class_="rule", x1="0", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}"),
        tag("text", number(value, 3), x=-8, y=f"{y + 4:.1f}", text_anchor="end"),
    )


def _band(xs: Sequence[float], upper: Sequence[float], lower: Sequence[float], height: float) -> Html:
    over = [f"{x:.2f},{y:.1f}" for x, y in zip(xs, upper, strict=True)]
    under = [f"{x:.2f},{y:.1f}" for x, y in zip(xs, lower, strict=True)]
    return tag(
        "svg",
        tag("polygon", class_="between", points=" ".join(over + under[::-1])),
        tag("polyline", class_="validation", points=" ".join(over), vector_effect="non-scaling-stroke"),
        tag("polyline", class_="train", points=" ".join(under), vector_effect="non-scaling-stroke"),
        width="100%",
        height=height,
        viewBox=f"0 0 100 {height:.0f}",
        preserveAspectRatio="none",
    )


def _lam_column(
    x: float, up: float, down: float, entry: tuple[object, float, float], height: float, *, named: bool
) -> Html:
    lam, train, score = entry
    label = getattr(lam, "label", "")
    return tag(
        "g",
        tag(
            "title",
            f"λ {label}: validation {number(score, 3)}, train {number(train, 3)}, gap {number(score - train, 3)}",
        ),
        tag("circle", class_="validation", cx=at(x), cy=f"{up:.1f}", r=5),
        tag("rect", class_="train", x=at(x), y=f"{down:.1f}", width=9, height=9, transform="translate(-4.5 -4.5)"),
        tag("text", label, x=at(x), y=f"{height + 20:.0f}", text_anchor="middle") if named else None,
    )


def share(value: float, low: float, high: float) -> float:
    """Return where the value lies between low and high, in per cent."""
    return 100 * (value - low) / (high - low) if high > low else 50.0


def at(percent: float) -> str:
    """Return a place in a figure that is as wide as its column."""
    return f"{percent:.2f}%"


def kind(comparison: Comparison) -> str:
    """Return the word that colours a comparison: better, worse or not."""
    return comparison.verdict.split()[0]
