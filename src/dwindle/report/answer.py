"""The first thing a reader sees: for every setting the plan to use, what it gains, and the text to paste."""

from __future__ import annotations

from dwindle.report.evidence import Comparison, Evidence, Setting
from dwindle.report.figures import kind, strip, verdict
from dwindle.report.markup import Html, joined, tag
from dwindle.report.words import METRICS, interval, lede, mean, measured, number, plural, subtitle

__all__ = ["answer", "header"]

GAINS = {"no weight decay": "Weight decay", "constant lr": "Learning-rate decay"}
AGAINST = {"no weight decay": "the best plan without it", "constant lr": "the best plan at a constant rate"}
REMOVED = {"no weight decay": "winner without weight decay", "constant lr": "winner at constant lr"}


def header(evidence: Evidence) -> Html:
    """Return the title and the few facts under it."""
    facts = [tag("li", fact) for fact in subtitle(evidence)]
    return joined(tag("h1", tag("bdi", evidence.title)), tag("ul", *facts, class_="meta"))


def answer(evidence: Evidence) -> Html:
    """Return the answer in one sentence and a card for every setting."""
    cards = [_card(setting, index) for index, setting in enumerate(evidence.settings)]
    return joined(tag("p", lede(evidence), class_="lede"), tag("div", *cards, class_="panels"), _findings(evidence))


def _card(setting: Setting, index: int) -> Html:
    winner = setting.winner
    recipe = [("weight decay λ", number(winner.lam)), ("peak learning rate", number(winner.peak)),
              ("schedule", winner.schedule)]  # fmt: skip
    recipe += [] if winner.batch_size is None else [("batch size", str(winner.batch_size))]
    pairs = [tag("div", tag("dt", name), tag("dd", tag("bdi", value))) for name, value in recipe]
    return tag(
        "article",
        tag("h3", tag("bdi", setting.name)),
        tag("dl", *pairs, class_="recipe"),
        _reached(setting),
        tag("div", *[_gain(setting, against) for against in GAINS], class_="gains"),
        snippet("The winning plan in one line", winner.plan, f"plan-{index}"),
        tag("details", tag("summary", "The same as plan.toml"), snippet("plan.toml", winner.toml, f"toml-{index}")),
        *[
            tag(
                "details",
                tag("summary", "As code for ", tag("bdi", name)),
                snippet(name, code, f"code-{index}-{place}"),
            )
            for place, (name, code) in enumerate(winner.code.items())
        ],
        _facts(setting),
        class_="card",
    )


def _facts(setting: Setting) -> Html | None:
    if not setting.facts:
        return None
    said = tag("ul", *[tag("li", fact) for fact in setting.facts], class_="facts")
    return tag("details", tag("summary", "The same in words"), said)


def _reached(setting: Setting) -> Html | None:
    contender = setting.contender("winner")
    loss = mean(contender.test_loss) if contender else None
    if contender is None or loss is None:
        return None
    accuracy = mean(contender.test_accuracy)
    said = f"test loss {measured(loss, 'test_loss')}" + (
        f", test accuracy {measured(accuracy, 'test_accuracy')}" if accuracy is not None else ""
    )
    return tag("p", f"Reaches {said} (mean of {plural(len(contender.seeds), 'seed')}).", class_="reached")


def _gain(setting: Setting, against: str) -> Html:
    loss, accuracy = setting.comparison(against, "test_loss"), setting.comparison(against, "test_accuracy")
    heading = tag("h4", GAINS[against])
    if loss is None:
        contender = setting.contender(against)
        same = (
            "was not compared on the test set"
            if contender
            else "is not part of the winner, so there is nothing to gain"
        )
        return tag("section", heading, tag("p", f"{GAINS[against]} {same}.", class_="note"), class_="gain")
    reach = max(_reach(c) for other in GAINS if (c := setting.comparison(other, "test_loss")))
    difference, bounds = interval(loss)
    return tag(
        "section",
        heading,
        tag("p", tag("b", difference), " ", METRICS[loss.metric], class_="big"),
        strip(loss.lower, loss.difference, loss.upper, reach, kind(loss)),
        tag(
            "p",
            f"against {AGAINST[against]}",
            tag("br"),
            f"95 % interval {bounds}, {plural(loss.seeds, 'seed')}",
            class_="note",
        ),
        tag("p", verdict(loss)),
        _accuracy(accuracy) if accuracy else None,
        _removed(setting.comparison(REMOVED[against], "test_loss")),
        class_="gain",
    )


def _removed(comparison: Comparison | None) -> Html | None:
    if comparison is None:
        return None
    difference, bounds = interval(comparison)
    return tag("p", f"against the winner stripped of it {difference} ({bounds})", class_="note")


def _accuracy(comparison: Comparison) -> Html:
    difference, bounds = interval(comparison)
    return tag("p", f"accuracy {difference} points ({bounds})", class_="note")


def _reach(comparison: Comparison) -> float:
    return max(abs(comparison.lower), abs(comparison.upper)) or 1.0


def snippet(name: str, text: str, key: str) -> Html:
    """Return a block of text with room for a copy button, which the script adds."""
    block = tag("pre", tag("code", text, id=key), tabindex=0, role="region", aria_label=name)
    return tag("div", block, class_="snippet", data_copy=key, data_name=name)


def _findings(evidence: Evidence) -> Html | None:
    if not evidence.findings:
        return None
    items = [
        tag("li", finding) if isinstance(finding, str)
        else tag("li", *[joined(tag("b", key), f" {value} ") for key, value in finding.items()])
        for finding in evidence.findings
    ]  # fmt: skip
    return tag("aside", tag("h3", "Findings"), tag("ul", *items), class_="findings")
