"""The page of ``dwindle forecast``: what each plan would end at, in order, and whether the logs can tell at all."""

from __future__ import annotations

from collections.abc import Sequence

from dwindle.report.figures import sign
from dwindle.report.markup import Html, joined, tag
from dwindle.report.outlook import Outlook, Rank, harmless
from dwindle.report.outlook_sections import difference, finals, outlook_page, supported
from dwindle.report.words import decimals, listed

__all__ = ["forecast_page"]


def forecast_page(outlook: Outlook, ranking: Sequence[Rank]) -> str:
    """Return the page of a forecast as one HTML document; ``ranking`` is the order in which its prospects are told.

    The first of the ranking is what the others are compared with. Every text is made inert and escaped; the page cannot
    reach a network (see `document`). The answer and the tables are in the HTML itself; the curves need its script.
    """
    told = harmless(outlook)
    title = "What would this plan end at?" if len(told.prospects) == 1 else "Which of these plans ends lowest?"
    verdicts = {rank.prospect: _verdict(told, ranking, rank) for rank in ranking}
    rows = finals(told, [rank.prospect for rank in ranking], verdicts)
    return outlook_page(told, title, _lede(told, ranking), tag("article", rows, class_="card"))


def _lede(told: Outlook, ranking: Sequence[Rank]) -> str:
    first = told.prospects[ranking[0].prospect]
    loss, low, high = (decimals(value, first.half) for value in first.final)
    after = f"After {told.steps:,} steps"
    if not first.supported:
        these = "this plan" if len(ranking) == 1 else "any of these plans"
        return f"The logs cannot tell what {these} would end at: {first.why}. The figures below are a guess."
    if len(ranking) == 1:
        return f"{after} the loss should be {loss}: in nine of ten cases between {low} and {high}."
    said = [f"{after} {first.label} should end at {loss}, the lowest of those that the logs can tell of."]
    others = ranking[1:]
    name = {rank: told.prospects[rank.prospect].label for rank in others}
    tied = [name[rank] for rank in others if rank.behind is not None and not rank.apart]
    higher = [name[rank] for rank in others if rank.apart]
    unknown = [name[rank] for rank in others if rank.behind is None]
    if tied:
        said.append(f"{_start(tied)} cannot be told from it.")
    if higher:
        said.append(f"{_start(higher)} {'ends' if len(higher) == 1 else 'end'} higher.")
    if unknown:
        said.append(f"For {listed(unknown)} the logs give no more than a guess.")
    return " ".join(said)


def _start(names: Sequence[str]) -> str:
    return listed(names).capitalize()


def _verdict(told: Outlook, ranking: Sequence[Rank], rank: Rank) -> Html:
    return joined(_compared(told, ranking, rank), supported(told.prospects[rank.prospect]))


def _compared(told: Outlook, ranking: Sequence[Rank], rank: Rank) -> Html | None:
    first = told.prospects[ranking[0].prospect]
    if len(ranking) == 1 or not told.prospects[rank.prospect].supported:
        return None
    if rank is ranking[0]:
        return tag("p", sign("better", "the lowest"))
    if rank.behind is None or rank.half is None:
        return None
    figures = difference(rank.behind, rank.half)
    if rank.apart:
        return tag("p", sign("worse", f"higher than {first.label}"), f" by {figures}")
    return tag("p", sign("not", f"not distinguishable from {first.label}"), f": {figures} higher")
