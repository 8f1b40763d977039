"""The first thing a reader sees: for every setting the plan to use, what it gains, and the text to paste."""

from __future__ import annotations

from dwindle.report.effects import Effect, effect, has
from dwindle.report.evidence import DECAYS, Comparison, Evidence, Setting
from dwindle.report.figures import kind, sign, strip
from dwindle.report.findings import in_short
from dwindle.report.markup import Html, joined, tag
from dwindle.report.words import (
    METRICS,
    folded,
    interval,
    lede,
    mean,
    measured,
    number,
    otherwise,
    over,
    plural,
    promised,
    subtitle,
)

__all__ = ["answer", "header"]

AGAINST = {
    "no weight decay": "the best plan without it",
    "weight decay": "the best plan with it",
    "constant lr": "the best plan at a constant rate",
    "falling lr": "the best plan with a falling rate",
    "winner without weight decay": "the winner stripped of it",
    "winner at constant lr": "the winner stripped of it",
}


def header(evidence: Evidence) -> Html:
    """Return the title and the few facts under it."""
    facts = [tag("li", fact) for fact in subtitle(evidence)]
    return joined(tag("h1", tag("bdi", evidence.title)), tag("ul", *facts, class_="meta"))


def answer(evidence: Evidence) -> Html:
    """Return the answer in one sentence and a card for every setting."""
    cards = [_card(setting, index) for index, setting in enumerate(evidence.settings)]
    return joined(tag("p", lede(evidence), class_="lede"), tag("div", *cards, class_="panels"), in_short(evidence))


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
        tag("div", *[_gain(setting, decay) for decay in DECAYS], class_="gains"),
        *[
            tag("p", tag("bdi", said), class_="note")
            for said in (otherwise(setting), promised(setting), folded(setting))
            if said
        ],
        snippet(f"The winning plan in one line, {setting.name}", winner.plan, f"plan-{index}"),
        tag(
            "details",
            tag("summary", "The same as plan.toml"),
            snippet(f"plan.toml, {setting.name}", winner.toml, f"toml-{index}"),
        ),
        *[
            tag(
                "details",
                tag("summary", "As code for ", tag("bdi", name)),
                snippet(f"{name}, {setting.name}", code, f"code-{index}-{place}"),
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
    on = "" if setting.test_examples is None else f" on {plural(setting.test_examples, 'test example')}"
    return tag("p", f"Reaches {said} (mean of {plural(len(contender.seeds), 'seed')}{on}).", class_="reached")


def _gain(setting: Setting, decay: str) -> Html:
    """Return what the winner gains by a decay, or by having none of it: the comparison that decided, its verdict, the others."""
    heading, found = tag("h4", decay.capitalize()), effect(setting, decay)
    if found is None:
        return tag("section", heading, tag("p", _uncompared(setting, decay), class_="note"), class_="gain")
    loss = found.comparison
    accuracy = setting.comparison(loss.against, "test_accuracy")
    reach = max(_reach(each.comparison) for other in DECAYS if (each := effect(setting, other)))
    difference, bounds = interval(loss)
    tone = _tone(found)
    return tag(
        "section",
        heading,
        tag("p", tag("b", difference), " ", METRICS[loss.metric], class_="big"),
        strip(loss.lower, loss.difference, loss.upper, reach, "not" if tone == "guess" else tone),
        tag(
            "p",
            f"against {AGAINST[loss.against]}",
            tag("br"),
            f"95 % interval {bounds}, {over(loss.seeds, loss.examples)}",
            class_="note",
        ),
        tag("p", sign(tone, found.verdict)),
        _accuracy(accuracy) if accuracy else None,
        *[_other(comparison) for comparison in found.others],
        class_="gain",
    )


def _uncompared(setting: Setting, decay: str) -> str:
    if has(decay, setting.winner):
        return "No plan without it was compared on the test set."
    tried = any(has(decay, trial) for trial in setting.trials)
    missing = "compared on the test set" if tried else "tried"
    return f"{decay.capitalize()} is not part of the winner, and no plan with it was {missing}."


def _tone(found: Effect) -> str:
    """Return how the winner stands: as its comparison says, unless the verdict, which weighs all of them, does not decide."""
    return {"cannot be told": "guess"}.get(found.verdict) or (
        kind(found.comparison) if found.verdict.startswith("better") else "not"
    )


def _other(comparison: Comparison) -> Html:
    difference, bounds = interval(comparison)
    return tag("p", f"against {AGAINST[comparison.against]} {difference} ({bounds})", class_="note")


def _accuracy(comparison: Comparison) -> Html:
    difference, bounds = interval(comparison)
    return tag("p", f"accuracy {difference} points ({bounds})", class_="note")


def _reach(comparison: Comparison) -> float:
    return max(abs(comparison.lower), abs(comparison.upper)) or 1.0


def snippet(name: str, text: str, key: str) -> Html:
    """Return a block of text with room for a copy button, which the script adds."""
    block = tag("pre", tag("code", text, id=key), tabindex=0, role="region", aria_label=name)
    return tag("div", block, class_="snippet", data_copy=key, data_name=name)
