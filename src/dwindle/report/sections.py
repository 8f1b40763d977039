"""The questions after the answer, one section each: the picture, what it says in words, and how it was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dwindle.report.answer import snippet
from dwindle.report.charts import MOST_SCHEDULES, trial_points
from dwindle.report.evidence import Evidence, Setting
from dwindle.report.figures import called, duel, gap_by_lam, sign
from dwindle.report.findings import findings
from dwindle.report.grid import edges, ranked, turn_sentence
from dwindle.report.heat import heat, near_best
from dwindle.report.markup import Html, joined, tag
from dwindle.report.words import decimal, duration, gap_sentence, measured, number, promised, when

__all__ = ["chart", "contents", "sections"]


def sections(evidence: Evidence) -> Html:
    """Return every section in order."""
    return joined(*[_section(key, title, intro, body(evidence)) for key, title, intro, body in _shown(evidence)])


def contents(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the anchor and the title of every section."""
    return [(key, title) for key, title, _, _ in _shown(evidence)]


def _shown(evidence: Evidence) -> list[Section]:
    absent = {
        "advice": not any(setting.advice for setting in evidence.settings),
        "findings": not (evidence.findings or evidence.looked_at),
    }
    return [section for section in SECTIONS if not absent.get(section[0])]


def _section(key: str, title: str, intro: str, body: Html) -> Html:
    return tag("section", tag("h2", title), tag("p", intro, class_="intro") if intro else None, body, id=key)


def _panels(evidence: Evidence, draw: Callable[[Setting, int], Html]) -> Html:
    """Return one panel per setting, side by side where there is room, so that the settings compare at a glance."""
    panels = [
        tag("article", tag("h3", tag("bdi", setting.name)), draw(setting, index), class_="panel")
        for index, setting in enumerate(evidence.settings)
    ]
    return tag("div", *panels, class_="panels")


def chart(key: str, caption: str | None = None) -> Html:
    """Return the place where the script draws the chart ``key``."""
    return tag(
        "figure",
        tag("figcaption", caption) if caption else None,
        tag(
            "noscript",
            tag("p", "This curve is drawn by a script; its figures are in the text and tables.", class_="note"),
        ),
        class_="chart",
        data_chart=key,
    )


def _advice(setting: Setting, index: int) -> Html:
    if not setting.advice:
        return tag("p", "The evidence holds no advice.", class_="note")
    tones = {"matters": "better", "does not matter here": "not", "cannot be told": "guess"}
    items = [
        tag("li", sign(tones[each.verdict], each.verdict.removesuffix(" here")), tag("p", tag("bdi", each.said)))
        for each in setting.advice
    ]
    return tag("ul", *items, class_="advice")


def _gap(setting: Setting, index: int) -> Html:
    return joined(tag("p", gap_sentence(setting)), chart(f"gap-{index}", "loss by epoch"))


def _by_lam(setting: Setting, index: int) -> Html:
    figure = gap_by_lam(setting)
    if figure is None:
        return tag("p", "Fewer than two values of λ were tried; there is nothing to draw.", class_="note")
    marks = (("●", "validation loss", "c1"), ("□", "train loss", "c2"), ("▒", "gap", "soft"))
    key = tag("p", *[tag("span", tag("i", mark, class_=ink), f" {name}") for mark, name, ink in marks],
              class_="key", aria_hidden="true")  # fmt: skip
    return joined(tag("p", turn_sentence(setting)), key, tag("div", figure, class_="plot"))


def _plans(setting: Setting, index: int) -> Html:
    charts = [
        chart(f"lr-{index}", "learning rate"),
        chart(f"shrink-{index}", "what the decay takes of each weight in a step: 1 − shrink"),
        chart(f"left-{index}", "share of w(0) that the decay alone leaves"),
        chart(f"norm-{index}", "norm of the weights"),
    ]
    return tag("div", *charts, class_="three")


def _heat(setting: Setting, index: int) -> Html:
    warnings = [tag("li", warning) for warning in edges(setting)]
    return joined(
        tag("p", near_best(setting)), heat(setting), tag("ul", *warnings, class_="warnings") if warnings else None
    )


def _proof(evidence: Evidence) -> Html:
    panels = [
        tag(
            "article",
            tag("h3", tag("bdi", setting.name)),
            _contenders(setting),
            *_duels(setting),
            tag("p", said, class_="note") if (said := promised(setting)) else None,
            class_="panel",
        )
        for setting in evidence.settings
    ]
    return tag("div", *panels, class_="stack")


def _duels(setting: Setting) -> list[Html]:
    titles = {"test_loss": "test loss", "test_accuracy": "test accuracy", "gap": "gap: validation loss − train loss"}
    titles |= {name: f"test {name}" for name in setting.metrics if name not in titles}
    drawn = [(title, duel(setting, metric)) for metric, title in titles.items()]
    return [joined(tag("h4", tag("bdi", title)), figure) for title, figure in drawn if figure is not None]


def _contenders(setting: Setting) -> Html:
    titles: list[tuple[str, str | None]] = [
        (tag("span", "role", class_="sr"), None), ("λ", None), ("peak", None), ("schedule", "text"), ("plan", "text"),
    ]  # fmt: skip
    head = [tag("th", name, scope="col", class_=kind) for name, kind in titles]
    rows = [
        tag(
            "tr",
            tag("th", called(alike), scope="row"),
            tag("td", number(c.lam)),
            tag("td", number(c.peak)),
            tag("td", tag("bdi", c.schedule), class_="text"),
            tag("td", tag("code", c.plan), class_="text"),
        )
        for alike in setting.plans
        for c in alike[:1]
    ]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    label = f"the contenders, {setting.name}"
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _trials(evidence: Evidence) -> Html:
    labelled = any(t.final.validation_accuracy is not None for setting in evidence.settings for t in setting.everything)
    names = ["setting", "id", "λ", "peak", "schedule", "seed", "train", "validation", "gap"]
    names += ["accuracy"] * labelled + ["state"]
    words = ("setting", "schedule", "state")
    head = [tag("th", name, scope="col", class_="text" if name in words else None) for name in names]
    rows = [
        tag(
            "tr",
            tag("td", tag("bdi", setting.name), class_="text"),
            tag("td", str(t.id)),
            tag("td", number(t.lam)),
            tag("td", number(t.peak)),
            tag("td", tag("bdi", t.schedule), class_="text", title=t.plan),
            tag("td", str(t.seed)),
            *[tag("td", decimal(v)) for v in (t.final.train_loss, t.final.validation_loss, t.final.gap)],
            tag("td", measured(t.final.validation_accuracy, "validation_accuracy")) if labelled else None,
            tag("td", t.state, class_="text"),
            class_="soft" if t.let_go else None,
        )
        for setting in evidence.settings
        for t in ranked(setting)
    ]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows), id="trials-table")
    most = trial_points(evidence)
    longest = max(len(t.curve.epoch) for setting in evidence.settings for t in setting.everything)
    note = f"Curves are drawn from {most} of {longest} epochs. " if longest > most else ""
    return joined(
        chart("trials", "Curves of the trials chosen in the table"),
        tag("div", id="trials-controls", class_="controls"),
        tag("div", table, class_="scroll tall", tabindex=0, role="region", aria_label="all trials"),
        tag("p", note, class_="note") if note else None,
    )


def _data(evidence: Evidence) -> Html:
    data = evidence.data
    pairs: list[tuple[str, str]] = [
        ("data", data.name),
        *[("provenance", text) for text in data.provenance],
        ("examples", f"{data.train:,} to train, {data.validation:,} to choose, {data.test:,} to measure"),
        *[
            (
                "cross-validation",
                f"{s.name}: {s.folds} folds of the {data.train + data.validation:,} to train and to choose",
            )
            for s in evidence.settings
            if s.folds > 1
        ],
        ("task", data.task + (f", {data.classes} classes" if data.classes else "")),
        ("model", evidence.model),
        ("optimiser", evidence.optimiser),
        ("batch size", f"{evidence.batch_size:,}"),
        ("length", f"{evidence.epochs:,} epochs, {evidence.steps:,} steps"),
        *[(f"in {s.name}", s.trained) for s in evidence.settings if s.trained],
        ("time spent", duration(evidence.seconds)),
        ("made", when(evidence.created)),
        *[(key, "–" if value is None else str(value)) for key, value in evidence.environment.items()],
    ]
    return tag(
        "dl", *[joined(tag("dt", key), tag("dd", tag("bdi", value))) for key, value in pairs], class_="facts-list"
    )


def _again(evidence: Evidence) -> Html:
    lines = ["import dwindle as dw", ""]
    lines += [f"plan = dw.parse({s.winner.plan!r})  # {' '.join(s.name.split())}" for s in evidence.settings]
    versions = " ".join(
        f"{name}=={evidence.environment[name]}" for name in ("dwindle", "numpy") if evidence.environment.get(name)
    )
    python = evidence.environment.get("python")
    return joined(
        tag("p", f"The study used seed {evidence.seed} and these versions:"),
        snippet("versions", (f"# Python {python}\n" if python else "") + f"pip install {versions}", "versions"),
        tag("p", "The winning plans, ready for ", tag("code", "dw.torch.attach"), ":"),
        snippet("winning plans", "\n".join(lines), "again"),
    )


Section: TypeAlias = tuple[str, str, str, Callable[[Evidence], Html]]
SECTIONS: tuple[Section, ...] = (
    (
        "advice",
        "What matters, and what does not?",
        "Weight decay and learning-rate decay are judged on fresh seeds and the test examples; the other knobs by the best "
        "validation loss that the search found at each value, against what the seeds alone could do.",
        lambda evidence: _panels(evidence, _advice),
    ),
    (
        "gap",
        "Does weight decay close the gap?",
        "Solid: validation loss. Dashed: train loss, on the labels trained on, noisy ones included. Between them: the gap.",
        lambda evidence: _panels(evidence, _gap),
    ),
    (
        "decay",
        "Which decay of the learning rate frees the loss?",
        f"The best single trial of every schedule, at most {MOST_SCHEDULES}, each with its own best λ and peak: the curves show "
        "the shape, the seeds below show whether the order can be trusted.",
        lambda evidence: _panels(evidence, lambda _, index: chart(f"decay-{index}", "validation loss by epoch")),
    ),
    (
        "map",
        "How carefully must λ and the learning rate be chosen?",
        "The lowest validation loss of every pair that was tried: the stronger the blue, the closer to the best of all.",
        lambda evidence: _panels(evidence, _heat),
    ),
    (
        "lambda",
        "What does more weight decay do?",
        "The best trial at every λ. A narrow gap is no aim in itself: what counts is the validation loss.",
        lambda evidence: _panels(evidence, _by_lam),
    ),
    (
        "plans",
        "What do the plans do to the rate and to the weights?",
        "λ, peak and schedule as they act in each epoch; the norm is the mean over the seeds.",
        lambda evidence: _panels(evidence, _plans),
    ),
    (
        "proof",
        "Is it more than luck?",
        "The choice was made by validation loss; the test set is shown for these contenders alone. Each mark is a seed, the "
        "bar their mean; beside it the winner minus the other, paired by seed, with its 95 % interval.",
        _proof,
    ),
    ("findings", "What was found wrong?", "", findings),
    ("trials", "Every trial", "Sort by a heading, filter, and tick rows to draw their curves.", _trials),
    ("data", "Data and environment", "What was trained, on what, where.", _data),
    ("again", "How to reproduce", "", _again),
)
