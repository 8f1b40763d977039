"""What the pages of ``dwindle forecast`` and ``dwindle optimize`` share: header, final losses, curves, what it is based on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dwindle.report.answer import snippet
from dwindle.report.document import document
from dwindle.report.figures import at, share, sign, ticks
from dwindle.report.markup import Html, joined, tag
from dwindle.report.outlook import Logged, Outlook, Prospect
from dwindle.report.outlook_charts import charts, colour, last_quarter, mark, span
from dwindle.report.sections import chart
from dwindle.report.words import decimals, listed, number, plural, when

__all__ = ["difference", "finals", "outlook_page", "supported"]

UNITS = {"level": "loss", "amount": "difference of losses", "pure": "–"}
MISFIT = "mean |law − log|"


def outlook_page(told: Outlook, title: str, lede: str, answer: Html) -> str:
    """Return the page with this title and answer, which stands first, over the curves and what they are based on."""
    parts = (
        ("curves", "How does the loss get there?", _curves(told)),
        ("data", "What is this based on?", _data(told)),
        ("again", "How to repeat it", _again(told)),
    )
    made = [tag("section", tag("h2", heading), body, id=key) for key, heading, body in parts]
    return document(
        title=title,
        description=lede,
        header=joined(tag("h1", title), tag("ul", *[tag("li", fact) for fact in _facts(told)], class_="meta")),
        contents=[(key, heading) for key, heading, _ in parts],
        answer=joined(tag("p", lede, class_="lede"), answer),
        sections=joined(*made),
        data={"charts": charts(told)},
        version=told.version,
    )


def _facts(told: Outlook) -> list[str]:
    return [
        f"{told.steps:,} steps",
        f"from {plural(len(told.logs), 'logged run')}",
        f"law {told.law.name}",
        "90 % intervals",
        when(told.created),
    ]


def difference(value: float, half: float) -> str:
    """Return a difference of losses with ± half its interval.

    >>> difference(0.03322, 0.0089)
    '0.0332 ± 0.0089'
    """
    return f"{decimals(value, half)} ± {decimals(half, half)}".replace("-", "−")


def _shape(place: int) -> Html:
    """Return the mark by which the prospect at ``place`` is known in every figure."""
    return tag(
        "svg", tag("use", href=f"#mark{mark(place)}"), viewBox="-7 -7 14 14", width=14, height=14, aria_hidden="true"
    )


# --- final losses, one under the other on one scale


def finals(told: Outlook, order: Sequence[int], verdicts: Mapping[int, Html]) -> Html:
    """Return one row for each prospect in this order: the plan, its final loss with its interval as a picture, what to think."""
    prospects = told.prospects
    sure, guesses = ([c.final[1:] for c in told.prospects if c.supported is known] for known in (True, False))
    low, high = span(sure, guesses, 1.0)
    pad = 0.06 * (high - low)
    scale = (low - pad, high + pad)
    first = prospects[order[0]].final[0]
    rows = [_place(prospects[i], i, scale, first, verdicts[i]) for i in order]
    labels = [
        tag("text", number(value, 6), x=at(share(value, *scale)), y=12, text_anchor="middle")
        for value in ticks(*scale, 5)
    ]
    axis = tag("svg", *labels, class_="final", height=16, aria_hidden="true")
    return tag("ul", *rows, tag("li", tag("span"), axis, tag("span"), class_="place axis"), class_="places")


def _place(prospect: Prospect, place: int, scale: tuple[float, float], first: float, verdict: Html) -> Html:
    loss, low, high = (decimals(value, prospect.half) for value in prospect.final)
    name = None if prospect.name == prospect.label else tag("span", prospect.name, class_="soft")
    return tag(
        "li",
        tag("div", tag("h3", _shape(place), tag("bdi", prospect.label), name), tag("code", tag("bdi", prospect.plan))),
        _whisker(prospect, place, scale, first),
        tag(
            "div",
            tag("p", loss, class_="big"),
            tag("p", f"90 % interval {low} to {high}"),
            verdict,
            *[tag("p", note, class_="note") for note in prospect.notes],
        ),
        class_=f"place c{colour(place)}",
    )


def _whisker(prospect: Prospect, place: int, scale: tuple[float, float], first: float) -> Html:
    low, high = scale
    loss, lower, upper = (share(min(max(value, low), high), low, high) for value in prospect.final)
    return tag(
        "svg",
        tag("line", class_="rule", x1="0", x2="100%", y1=15, y2=15),
        tag("line", class_="first", x1=at(share(first, low, high)), x2=at(share(first, low, high)), y1=0, y2=30),
        tag("line", class_="bar" if prospect.supported else "bar guess", x1=at(lower), x2=at(upper), y1=15, y2=15),
        _mark_or_arrow(place, prospect.final[0], scale, at(loss)),
        class_="final",
        height=30,
        role="img",
        aria_label="final loss {}, from {} to {}".format(*(number(value, 5) for value in prospect.final)),
    )


def _mark_or_arrow(place: int, value: float, scale: tuple[float, float], x: str) -> Html:
    """Return the mark, or an arrow to where it would be, off the scale."""
    if scale[0] <= value <= scale[1]:
        return tag("use", href=f"#mark{mark(place)}", x=x, y=15)
    left = value < scale[0]
    return tag("text", "←" if left else "→", x=x, y=10, text_anchor="start" if left else "end", class_="off")


def supported(prospect: Prospect) -> Html:
    """Return whether the logs can answer for this prospect at all, and why not."""
    if prospect.supported:
        return tag("p", sign("better", "supported"), f": {prospect.why}")
    return tag("p", sign("guess", "not supported"), f": {prospect.why}. The figures are a guess.")


# --- curves


def _curves(told: Outlook) -> Html:
    start, end = last_quarter(told)
    whole = [chart("loss", "loss by step"), chart("rate", "learning rate by step")]
    late = [chart("loss-late", "loss by step"), chart("rate-late", "learning rate by step")]
    panels = [
        tag("article", tag("h3", "The whole run"), *whole, class_="panel"),
        tag("article", tag("h3", f"Closer: its last quarter, steps {start:,} to {end:,}"), *late, class_="panel"),
    ]
    return joined(tag("p", _how_to_read(told), class_="intro"), tag("div", *panels, class_="panels"), *_asked(told))


def _how_to_read(told: Outlook) -> str:
    left = any(not all(log.fitted) for log in told.logs)
    guess = any(not prospect.supported for prospect in told.prospects)
    return (
        f"Dots: logged losses{', pale where the law does not count them' if left else ''}. Thin line over them: the law as "
        "fitted. Lines with shapes: forecasts, in their bands of 90 %"
        f"{'; dashed and marked with ?: not supported by the logs, a guess' if guess else ''}. "
        "The axis leaves out the steep beginning."
    )


def _asked(told: Outlook) -> list[Html]:
    """Return the table of the steps that were asked for, if any were: a row for each, a column for each plan."""
    if not told.prospects[0].asked:
        return []
    rows = [
        tag(
            "tr",
            tag("th", f"{step:,}", scope="row"),
            *[tag("td", _within(c.asked[i][1:], c.half)) for c in told.prospects],
        )
        for i, (step, *_) in enumerate(told.prospects[0].asked)
    ]
    return [
        tag("h3", "At the steps asked for", class_="gap"),
        _table(["step", *[c.label for c in told.prospects]], rows),
    ]


def _within(losses: Sequence[float], width: float) -> str:
    loss, low, high = losses
    return f"{decimals(loss, width)} ± {decimals((high - low) / 2.0, width)}"


def _table(heads: Sequence[str], rows: Sequence[Html], kind: str = "scroll") -> Html:
    head = tag("tr", *[tag("th", name, scope="col", class_=None if i else "text") for i, name in enumerate(heads)])
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    return tag("div", table, class_=kind, tabindex=0, role="region", aria_label=", ".join(heads))


# --- what it is based on


def _data(told: Outlook) -> Html:
    rows = [_log(log) for log in told.logs]
    table = _table(["log", "points", "of them fitted", "steps", "peak rate", MISFIT], rows, "scroll logs")
    notes = [tag("li", tag("b", log.label), " ", tag("bdi", note)) for log in told.logs for note in log.notes] + [
        tag("li", tag("bdi", note)) for note in told.law.notes
    ]
    return joined(
        tag("p", _misfit(told), class_="intro"),
        table,
        tag("h3", "What was left out, and what to know of the logs", class_="gap") if notes else None,
        tag("ul", *notes, class_="warnings") if notes else None,
        tag("h3", f"The law: {told.law.name}", class_="gap"),
        tag("p", told.law.about),
        _parameters(told),
        tag("details", tag("summary", "Files and columns"), _files(told.logs)),
    )


def _log(log: Logged) -> Html:
    cells = [
        f"{len(log.step):,}",
        f"{sum(map(bool, log.fitted)):,}",
        f"{int(log.step[0]):,} to {int(log.step[-1]):,}",
        number(float(max(log.lr))),
        "left out" if log.error is None else f"{log.error:.2g}",
    ]
    head = tag("th", f"{log.label} ", tag("bdi", log.name) if log.name != log.label else None, scope="row")
    return tag("tr", head, *[tag("td", cell) for cell in cells])


def _misfit(told: Outlook) -> str:
    known = [log.error for log in told.logs if log.error is not None]
    named = listed([log.label for log in told.logs if log.error is not None])
    if not known:
        return "No log could be used."
    worst = max(known)
    narrow = min(prospect.half for prospect in told.prospects)
    said = (
        f"The law is off by {worst:.2g} on average"
        if len(known) == 1
        else f"The law is off by at most {worst:.2g} on average"
    )
    return f"{said} on {named}; the intervals above are ± {decimals(narrow, narrow)} or wider."


def _parameters(told: Outlook) -> Html:
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", number(value)),
            tag("td", UNITS.get(unit, unit), class_="text"),
        )
        for name, value, unit in told.law.parameters
    ]
    return tag(
        "details",
        tag("summary", f"Its {plural(len(rows), 'parameter')}, as fitted"),
        _table(["parameter", "value", "unit"], rows),
    )


def _files(logs: Sequence[Logged]) -> Html:
    pairs = [(log.label, f"{log.path}: {log.columns}") for log in logs]
    return tag(
        "dl", *[joined(tag("dt", key), tag("dd", tag("bdi", value))) for key, value in pairs], class_="facts-list"
    )


def _again(told: Outlook) -> Html:
    return joined(tag("p", "The same page again:"), snippet("the command", told.command, "command"))
