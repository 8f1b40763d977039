"""What was found wrong, on the page: how bad with a sign and a word, what to do, the plan as it is and as it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dwindle.finding import SEVERITIES, Finding
from dwindle.report.evidence import Evidence
from dwindle.report.markup import Html, joined, tag
from dwindle.report.words import number, plural

__all__ = ["NOTHING", "SIGNS", "findings", "found_figures", "in_short", "tally", "worst_first"]

SIGNS = {"fault": "✗", "warning": "▲", "note": "●"}
NOTHING = "nothing"  # a field that the plan has not
_BRIEF = 2  # findings beside the answer
_MOST_VALUES = 12  # of a list of numbers
_DEEPEST = 4


def worst_first(evidence: Evidence) -> list[Finding]:
    """Return the findings by severity, the worst first, else in the order they were given."""
    return sorted(evidence.findings, key=lambda finding: SEVERITIES.index(finding.severity))


def tally(evidence: Evidence) -> str:
    """Return how many findings of each severity there are.

    >>> from types import SimpleNamespace as N
    >>> tally(N(findings=[N(severity="fault"), N(severity="note"), N(severity="note")]))
    '1 fault, 2 notes'
    """
    counts = {severity: sum(each.severity == severity for each in evidence.findings) for severity in SEVERITIES}
    return ", ".join(plural(amount, severity) for severity, amount in counts.items() if amount)


def in_short(evidence: Evidence) -> Html | None:
    """Return the worst two findings, to stand beside the answer, and the way to all of them; None if there are none."""
    if not evidence.findings:
        return None
    items = [
        tag("li", _severity(each), tag("p", *_about(each), tag("bdi", each.verdict), *_advised(each)))
        for each in worst_first(evidence)[:_BRIEF]
    ]
    way = tag("p", tag("a", f"All that was found: {tally(evidence)}", href="#findings"), class_="note")
    return tag("aside", tag("h3", "Findings"), tag("ul", *items, class_="advice"), way, class_="findings")


def findings(evidence: Evidence) -> Html:
    """Return every finding, the worst first, and what was looked at."""
    looked = tag("p", f"Looked at: {'; '.join(evidence.looked_at)}.", class_="note") if evidence.looked_at else None
    if not evidence.findings:
        return joined(tag("p", "Nothing was found."), looked)
    items = [_finding(each) for each in worst_first(evidence)]
    return joined(tag("p", f"{tally(evidence).capitalize()}."), tag("ul", *items, class_="advice found"), looked)


def found_figures(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers behind a finding as names and texts, what is nested under names with a dot.

    >>> found_figures({"opened": 400, "gap": {"last": 0.8125, "best": None}, "steps": [1, 2]})
    [('opened', '400'), ('gap.last', '0.8125'), ('gap.best', '–'), ('steps', '1, 2')]
    """
    return list(_figures(values, "", _DEEPEST))


def _finding(finding: Finding) -> Html:
    head = [tag("code", tag("bdi", finding.code))] if finding.code else []
    head += [tag("bdi", finding.subject)] if finding.subject else []
    figures = found_figures(finding.evidence)
    rows = [joined(tag("dt", tag("bdi", name)), tag("dd", tag("bdi", text))) for name, text in figures]
    return tag(
        "li",
        _severity(finding),
        tag(
            "div",
            tag("p", tag("bdi", finding.verdict)),
            tag("p", tag("b", "Do: "), tag("bdi", finding.remedy.says)) if finding.remedy.says else None,
            _change(finding.remedy.change),
            tag("p", *_spaced(head), class_="note") if head else None,
            tag("details", tag("summary", "The numbers"), tag("dl", *rows, class_="figures")) if rows else None,
            tag("p", "Source: ", tag("bdi", finding.source), class_="note") if finding.source else None,
        ),
    )


def _severity(finding: Finding) -> Html:
    return tag("span", f"{SIGNS[finding.severity]}\u00a0{finding.severity}", class_=f"verdict {finding.severity}")


def _about(finding: Finding) -> list[str | Html]:
    return [tag("b", tag("bdi", finding.subject)), ". "] if finding.subject else []


def _advised(finding: Finding) -> list[str | Html]:
    says = finding.remedy.says
    return [" ", tag("bdi", says[:1].upper() + says[1:])] if says else []


def _change(change: Mapping[str, tuple[str, str]]) -> Html | None:
    """Return the plan diff, a line for each field: now → then."""
    if not change:
        return None
    lines = [
        tag("li", tag("b", tag("bdi", name)), " ", _text("del", now), tag("span", " → ", role="img", aria_label="becomes"),
            _text("ins", then)) for name, (now, then) in change.items()
    ]  # fmt: skip
    return tag("ul", *lines, class_="change")


def _text(name: str, text: str) -> Html:
    return tag(name, tag("code", tag("bdi", text))) if text else tag("i", NOTHING)


def _spaced(parts: Sequence[Html]) -> list[Html | str]:
    return [piece for index, part in enumerate(parts) for piece in ([" · ", part] if index else [part])]


def _figures(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and depth:
        for key, inner in value.items():
            yield from _figures(inner, f"{name}.{key}" if name else str(key), depth - 1)
        return
    if not isinstance(value, (list, tuple)):
        yield name, _figure(value)
        return
    shown = ", ".join(_figure(each) for each in value[:_MOST_VALUES])
    yield name, shown + (f", … and {len(value) - _MOST_VALUES:,} more" if len(value) > _MOST_VALUES else "")


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    return number(value, 6) if isinstance(value, float) else str(value)
