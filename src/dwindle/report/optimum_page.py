"""The page of ``dwindle optimize``: the plan to take as text to paste, what it gains, and what else was looked at."""

from __future__ import annotations

from dwindle.report.answer import snippet
from dwindle.report.figures import sign, strip
from dwindle.report.markup import Html, joined, tag
from dwindle.report.outlook import Choice, Option, Outlook, harmless
from dwindle.report.outlook_sections import difference, outlook_page, supported
from dwindle.report.words import decimals

__all__ = ["optimum_page"]


def optimum_page(outlook: Outlook, choice: Choice) -> str:
    """Return the page of an optimum as one HTML document; the outlook's first prospect is that of the plan taken.

    Every text is made inert and escaped; the page cannot reach a network (see `document`). The answer and the tables are
    in the HTML itself; the curves need its script.
    """
    told, made = harmless(outlook), harmless(choice)
    title = f"Which schedule for {told.steps:,} steps?"
    return outlook_page(told, title, _lede(told, made), joined(_card(told, made), _candidates(told, made)))


def _lede(told: Outlook, made: Choice) -> str:
    prospect, taken = told.prospects[0], made.options[made.taken]
    figures = difference(taken.gain, taken.half)
    guess = "" if prospect.supported else f"The logs do not support an answer: {prospect.why}. As a guess: "
    loss = decimals(prospect.final[0], prospect.half)
    said = f"{guess}{'t' if guess else 'T'}ake {_named(made)}. It should end at a loss of {loss}"
    if _tone(taken) == "better":
        return f"{said}, {figures} lower than {made.rival}."
    if _tone(taken) == "worse":
        return f"{said} and gains nothing: {made.rival} should end {difference(-taken.gain, taken.half)} lower."
    return f"{said}, {_by(taken)} {'as' if taken.gain == 0.0 else 'than'} {made.rival}: not distinguishable."


def _named(made: Choice) -> str:
    name = made.options[made.taken].name
    return {"constant": "a constant rate", "the best": "the best schedule found"}.get(name, f"the {name}")


def _tone(option: Option) -> str:
    return "better" if option.gain > option.half else "worse" if option.gain < -option.half else "not"


def _card(told: Outlook, made: Choice) -> Html:
    prospect = told.prospects[0]
    loss, low, high = (decimals(value, prospect.half) for value in prospect.final)
    pairs = [("final loss", loss), ("peak learning rate", made.peak), ("schedule", made.schedule)]
    recipe = [tag("div", tag("dt", name), tag("dd", tag("bdi", value))) for name, value in pairs]
    notes = [tag("p", note[:1].upper() + note[1:] + ".", class_="note") for note in made.notes]
    short = snippet("The plan in one line", made.plan, "plan") if made.plan else None
    toml = snippet("plan.toml", made.toml, "toml")
    return tag(
        "article",
        tag("h3", "The plan to take"),
        tag("dl", *recipe, class_="recipe"),
        short,
        toml if short is None else tag("details", tag("summary", "The same as plan.toml"), toml),
        *notes,
        tag(
            "p",
            f"90 % interval of the final loss {low} to {high}, after {told.steps:,} steps. The peak is {made.whence}.",
        ),
        supported(prospect),
        tag("div", _gain(told, made), _best(made), class_="gains"),
        class_="card",
    )


def _gain(told: Outlook, made: Choice) -> Html:
    taken, rival = made.options[made.taken], told.prospects[-1]
    reach = 1.15 * (abs(taken.gain) + taken.half) or 1.0
    label = {"better": "distinguishable", "worse": "no gain", "not": "not distinguishable"}[_tone(taken)]
    guess = (
        None if rival.supported else tag("p", sign("guess", "a guess"), f": under the plan compared with, {rival.why}")
    )
    return tag(
        "section",
        tag("h4", f"Against {made.rival}"),
        tag("p", tag("b", _by(taken)), class_="big"),
        strip(-taken.gain - taken.half, -taken.gain, -taken.gain + taken.half, reach, _tone(taken)),
        tag("p", sign(_tone(taken), label), ", by the 90 % interval of the difference"),
        guess,
        tag("p", tag("code", tag("bdi", rival.plan)), class_="note") if rival.plan != made.rival else None,
        class_="gain",
    )


def _by(option: Option) -> str:
    """Return by how much the option ends lower or higher than the rival, or that it is the same."""
    if option.gain == 0.0:
        return "the same"
    return f"{difference(abs(option.gain), option.half)} {'lower' if option.gain > 0 else 'higher'}"


def _best(made: Choice) -> Html:
    taken = made.options[made.taken]
    if made.taken == made.best:
        said, figure = "It is the best schedule found.", None
    else:
        said = "The best schedule found would end that much lower, which the logs cannot tell from nothing."
        figure = tag("p", tag("b", f"{decimals(taken.behind, taken.half)} higher"), class_="big")
    best = None
    if made.best_toml:
        text = snippet("best.toml", made.best_toml, "best")
        best = tag("details", tag("summary", "The best as plan.toml"), text)
    tied = None if figure is None else tag("p", sign("not", "tied"))
    return tag(
        "section",
        tag("h4", "Beside the best schedule"),
        figure,
        tied,
        tag("p", said, class_="note"),
        best,
        class_="gain",
    )


def _candidates(told: Outlook, made: Choice) -> Html:
    reach = max(abs(o.gain) + o.half for o in made.options) or 1.0
    width = told.prospects[0].half
    heads = (
        "schedule, simplest first",
        "final loss",
        f"gain on {made.rival}",
        "← lower · higher →",
        "behind the best",
        "verdict",
    )
    head = tag(
        "tr",
        *[
            tag("th", name, scope="col", class_={0: "text", 3: "middle", 5: "text"}.get(i))
            for i, name in enumerate(heads)
        ],
    )
    rows = [_row(made, i, option, width, reach) for i, option in enumerate(made.options)]
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="candidates")
    return joined(
        tag("h3", "What was looked at", class_="gap"),
        tag("p", "The first that the logs cannot tell from the best is taken.", class_="note"),
        tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="the candidates"),
    )


def _row(made: Choice, place: int, option: Option, width: float, reach: float) -> Html:
    if place == made.taken:
        verdict = sign("better", "taken" if place != made.best else "taken, the lowest")
    elif place == made.best:
        verdict = sign("not", "the lowest")
    else:
        verdict = sign("not", "tied") if option.tied else sign("worse", "worse")
    guess = None if option.supported else joined(" ", sign("guess", "a guess"))
    picture = strip(-option.gain - option.half, -option.gain, -option.gain + option.half, reach, _tone(option))
    return tag(
        "tr",
        tag("th", option.name, scope="row"),
        tag("td", decimals(option.loss, width)),
        tag("td", difference(option.gain, option.half)),
        tag("td", picture, class_="text picture"),
        tag("td", decimals(option.behind, width)),
        tag("td", verdict, guess, class_="text"),
        class_="taken" if place == made.taken else None,
    )
